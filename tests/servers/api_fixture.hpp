#pragma once

#include <dlfcn.h>

#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stash/ckan/api_datastore.hpp>
#include <stash/ckan/recover.hpp>
#include <stash/ckan/reload.hpp>

#include "ckan_site.hpp"
#include "figures.hpp"
#include "support.hpp"

namespace api_datastore_test {

using namespace std::chrono_literals;
using namespace std::string_literals;
namespace ckan = stash::ckan;
namespace json = boost::json;
using ckan::http_status;
using stash::errc;
using support::code_of;
using support::message_of;

/// Called around each request, before it and after it.
inline std::function<void()> around_request;
/// Asked before each request; what it returns is what comes of it, unless that is CURLE_OK.
inline std::function<CURLcode()> instead_of_request;

}  // namespace api_datastore_test

extern "C" [[gnu::weak]] CURLcode curl_easy_perform(CURL* easy) {
  using namespace api_datastore_test;
  if (auto const code = instead_of_request ? instead_of_request() : CURLE_OK; code != CURLE_OK) return code;
  if (around_request) around_request();
  auto const result = reinterpret_cast<decltype(&::curl_easy_perform)>(::dlsym(RTLD_NEXT, "curl_easy_perform"))(easy);
  if (around_request) around_request();
  return result;
}

namespace api_datastore_test {

inline support::ckan_site& site() {
  static support::ckan_site one;
  return one;
}

struct fixture : support::scratch {
  std::string const id = "resource";
  stash::file_stash store{dir()};
  std::vector<std::string> notices;

  fixture() { site().reset(); }

  ckan::api_datastore_options options() {
    ckan::api_datastore_options o;
    o.connect = 60s;
    o.silence = 60s;
    o.timeout = 60s;
    o.settle = 20ms;
    o.pause = 1ms;
    o.notice = [this](std::string const& what) { notices.push_back(what); };
    return o;
  }
  /// Of one that has little patience with a site that says nothing.
  ckan::api_datastore_options hasty() {
    auto o = options();
    o.silence = 1s;
    o.timeout = 2s;
    return o;
  }
  ckan::api_datastore datastore(std::string const& token = "token") { return {site().url(), token, options()}; }

  static ckan::fields columns() {
    json::object const of_a_plugin{{"an_int", 5}, {"of_mine", {{"deep", {1, "two"}}}}};
    return {{"id", "numeric", json::object{{"label", "Number"}, {"notes", "a\nb"}}, of_a_plugin}, {"day", "date", {}}};
  }
  /// With two rows.
  void make(ckan::api_datastore& d, json::object const& remarks = {}) {
    d.create(id, columns(), remarks);
    load(d, {"1", "2"});
    d.finish(id);
  }
  void load(ckan::api_datastore& d, std::vector<std::string> const& ids) {
    ckan::api_datastore::loader rows{d, id, columns()};
    for (auto const& one : ids) rows.add(std::array<std::optional<std::string_view>, 2>{one, std::nullopt});
    rows.finish();
  }
  json::object table() {
    auto const all = site().state().at("tables").as_object();
    return all.contains(id) ? all.at(id).as_object() : json::object{};
  }
  static json::array requests() {
    auto const all = site().state();
    return all.at("requests").as_array();
  }
  /// The ids of its rows; "none": there is no table.
  std::string rows() {
    auto const it = table();
    if (it.empty()) return "none";
    std::string result;
    for (auto const& row : it.at("rows").as_array()) {
      result += (result.empty() ? "" : ",") + json::serialize(row.as_object().at("id"));
    }
    return result;
  }
  std::string mark() {
    auto const resource = site().state().at("resources").as_object().at(id).as_object();
    return resource.contains("stash_unfinished") ? std::string(resource.at("stash_unfinished").as_string()) : "";
  }
  ckan::reload_report reload(ckan::api_datastore& d, std::vector<std::string> const& ids, ckan::fields headers) {
    return ckan::reload(d, store, id, std::move(headers),
                        [&](ckan::fields const& created) {
                          ckan::api_datastore::loader all{d, id, created};
                          for (auto const& one : ids) {
                            std::vector<std::optional<std::string_view>> row(created.size());
                            row[0] = one;
                            all.add(row);
                          }
                          all.finish();
                        },
                        {.guard = {.observer = stash::silent}});
  }
  /// What is wrong after a reload to `fresh`; "": nothing. The site is well again.
  std::string judge(bool has_failed, ckan::fields const& wanted, std::string const& fresh) {
    site().heal();
    auto d = datastore();
    auto const has_words = [&] {
      auto const all = d.describe(id);
      return all && all->at(0).info == columns()[0].info && all->at(0).beside == columns()[0].beside;
    };
    auto const is = [&] { return rows() + (mark().empty() ? "" : ", marked"); };
    if (!has_failed && is() != fresh) return is() + " in place of " + fresh;
    if (!has_failed && !store.entries().empty()) return "a record is left";
    if (has_failed) {
      ckan::recover(d, store, {.observer = stash::silent});
      auto const now = is();
      // Not touched; given back; or done, but for its last words.
      if (now != "1,2" && now != "" && now != fresh) return "recovered: " + now;
    }
    if (!has_words()) return "the words are gone";
    reload(d, {"3", "4"}, wanted);
    if (is() != fresh) return "again: " + is() + " in place of " + fresh;
    if (!has_words()) return "the words are gone at last";
    return store.entries().empty() ? "" : "a record is left at last";
  }
  static ckan::fields headers() { return {{"id", "numeric", {}}, {"day", "date", {}}}; }
};

}  // namespace api_datastore_test
