// ckan::api_datastore against a stand-in that answers as a real CKAN does, and fails in every way that HTTP can.
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

namespace {

/// Called around each request, before it and after it.
std::function<void()> around_request;
/// Asked before each request; what it returns is what comes of it, unless that is CURLE_OK.
std::function<CURLcode()> instead_of_request;

}  // namespace

// A library below libcurl keeps some bytes of its configuration.
extern "C" char const* __lsan_default_suppressions() { return "leak:argz_add_sep\n"; }

extern "C" CURLcode curl_easy_perform(CURL* easy) {
  if (auto const code = instead_of_request ? instead_of_request() : CURLE_OK; code != CURLE_OK) return code;
  if (around_request) around_request();
  auto const result = reinterpret_cast<decltype(&::curl_easy_perform)>(::dlsym(RTLD_NEXT, "curl_easy_perform"))(easy);
  if (around_request) around_request();
  return result;
}

namespace {

support::ckan_site& site() {
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
    return {{"id", "numeric", json::object{{"label", "Number"}, {"notes", "a\nb"}}}, {"day", "date", {}}};
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
    auto const words = [&]() -> std::optional<json::object> {
      auto const all = d.describe(id);
      return all ? all->at(0).info : std::nullopt;
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
    if (words() != columns()[0].info) return "the words are gone";
    reload(d, {"3", "4"}, wanted);
    if (is() != fresh) return "again: " + is() + " in place of " + fresh;
    if (words() != columns()[0].info) return "the words are gone at last";
    return store.entries().empty() ? "" : "a record is left at last";
  }
  static ckan::fields headers() { return {{"id", "numeric", {}}, {"day", "date", {}}}; }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(api_datastore, fixture)

BOOST_AUTO_TEST_CASE(a_table_is_made_loaded_described_annotated_and_dropped) {
  auto d = datastore();
  BOOST_TEST(!d.describe(id));
  d.check(id, columns());
  d.create(id, columns());
  BOOST_TEST(code_of([&] { d.create(id, columns()); }) == errc::mismatch);
  BOOST_TEST(!d.describe(id));
  BOOST_TEST(d.unfinished(id).has_value());
  BOOST_TEST(mark() != "");
  load(d, {"1", "2"});
  d.finish(id);
  BOOST_TEST((d.describe(id) == columns()));
  BOOST_TEST(rows() == "1,2");
  BOOST_TEST(mark() == "");
  BOOST_TEST(!d.unfinished(id));
  d.annotate(id, {{"day", {{"label", "Day"}}}});
  BOOST_TEST((d.describe(id)->at(1).info == json::object{{"label", "Day"}}));
  BOOST_TEST((d.describe(id)->at(0) == columns()[0]));
  d.drop(id);
  BOOST_TEST(rows() == "none");
  d.drop(id);
  BOOST_TEST(!d.is_deleted(id));
  BOOST_TEST(d.is_deleted("nobody"));
}

BOOST_AUTO_TEST_CASE(what_hangs_on_it_is_told_and_made_again) {
  auto d = datastore();
  make(d, {{"aliases", {"an_alias"}}, {"indexes", {"day", "id, day"}}});
  auto const remarks = d.remarks(id);
  BOOST_TEST(json::serialize(remarks.at("aliases")) == R"(["an_alias"])");
  BOOST_TEST(code_of([&] { d.describe("an_alias"); }) == errc::mismatch);
  auto const report = reload(d, {"3"}, {{"id", "text", {}}, {"day", "date", {}}});
  BOOST_TEST(!report.rows_only);
  BOOST_TEST(rows() == "\"3\"");
  BOOST_TEST(json::serialize(d.remarks(id)) == json::serialize(remarks));
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(where_nothing_would_change_the_table_stays_and_its_rows_alone_go) {
  auto d = datastore();
  make(d);
  auto const report = reload(d, {"3", "4"}, headers());
  BOOST_TEST(report.rows_only);
  BOOST_TEST(rows() == "3,4");
  BOOST_TEST(table().at("last_id") == 4);  // it was never dropped
  std::string order;
  for (auto const& r : requests()) order += std::string(r.as_array()[0].as_string()) + ' ';
  BOOST_TEST(order.find("resource_patch datastore_records_delete ") != std::string::npos, order);
  BOOST_TEST((d.describe(id) == columns()));
  BOOST_TEST(mark() == "");
}

BOOST_AUTO_TEST_CASE(a_row_that_ckan_refuses_stops_the_reload_with_its_words_and_the_dictionary_is_back) {
  auto d = datastore();
  make(d);
  auto const why = message_of([&] { reload(d, {"5", "nonsense"}, headers()); });
  BOOST_TEST(why.find("invalid input syntax for type numeric") != std::string::npos, why);
  BOOST_TEST((d.describe(id)->at(0).info == columns()[0].info));
  BOOST_TEST(rows() == "");
  BOOST_TEST(mark() == "");
}

BOOST_AUTO_TEST_CASE(an_address_or_a_token_that_is_none_is_refused_at_once_and_the_token_is_not_told) {
  for (char const* const url : {"", "ftp://a", "https://", "https://u:secret@a", "http://data.example.org",
                                "https://a/?x", "https://a b", "http://127.example.org"}) {
    auto const why = message_of([&] { ckan::api_datastore{url, "secret"}; });
    BOOST_TEST(why.find("the site's address") != std::string::npos, url << ": " << why);
    BOOST_TEST(why.find("secret") == std::string::npos, why);
  }
  for (std::string const token : {"two words", "a line\n", "gr\xc3\xb6"}) {
    auto const why = message_of([&] { ckan::api_datastore{"https://a", token}; });
    BOOST_TEST(why.find("the token has characters") != std::string::npos, why);
    BOOST_TEST(why.find(token) == std::string::npos, why);
  }
  ckan::api_datastore{"http://data.example.org", "t", {.allow_plain_http = true}};
  ckan::api_datastore{"https://data.example.org/ckan/", ""};
}

BOOST_AUTO_TEST_CASE(a_token_without_the_right_is_told_before_anything_is_touched) {
  auto d = datastore();
  make(d);
  for (char const* const token : {"", "another"}) {
    auto stranger = datastore(token);
    BOOST_TEST(code_of([&] { stranger.check(id, columns()); }) == http_status(403));
    BOOST_TEST(code_of([&] { reload(stranger, {"9"}, headers()); }) == http_status(403));
    BOOST_TEST(rows() == "1,2");
    BOOST_TEST(mark() == "");
  }
  BOOST_TEST(code_of([&] { d.check("nobody", columns()); }) == http_status(404));
  // Who answers may repeat it: here a word of the answer is the token.
  auto echoed = datastore("denied");
  auto const why = message_of([&] { echoed.drop(id); });
  BOOST_TEST(why.find("Access (token)") != std::string::npos, why);
}

BOOST_AUTO_TEST_CASE(a_site_that_says_two_things_is_not_believed_that_there_is_no_table) {
  auto d = datastore();
  make(d);
  site().fail("datastore_info", nullptr, 404);
  BOOST_TEST(code_of([&] { d.describe(id); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { reload(d, {"9"}, headers()); }) == errc::mismatch);
  site().heal();
  site().fail("resource_show", nullptr, 404);
  BOOST_TEST(code_of([&] { d.describe(id); }) == http_status(404));
  BOOST_TEST(rows() == "1,2");
}

BOOST_AUTO_TEST_CASE(a_page_that_is_not_found_is_no_table_that_is_not_there) {
  ckan::api_datastore elsewhere{site().url() + "/elsewhere/", "token", options()};
  BOOST_TEST(code_of([&] { elsewhere.describe(id); }) == http_status(404));
  BOOST_TEST(code_of([&] { elsewhere.drop(id); }) == http_status(404));
  BOOST_TEST(code_of([&] { reload(elsewhere, {"9"}, headers()); }) == http_status(404));
}

BOOST_AUTO_TEST_CASE(fields_that_ckan_would_refuse_are_told_before_anything_is_touched) {
  auto d = datastore();
  make(d);
  for (ckan::field const& wrong : {ckan::field{"_x", "text", {}},
                                   {"", "text", {}},
                                   {"a\"b", "text", {}},
                                   {" a", "text", {}},
                                   {"x", "nonsense", {}},
                                   {std::string(64, 'x'), "text", {}}}) {
    BOOST_TEST(code_of([&] { reload(d, {}, {wrong}); }) == errc::mismatch, wrong.id);
  }
  ckan::field remark{"x", "text", {}};
  remark.comment = "a remark of PostgreSQL's";
  BOOST_TEST(code_of([&] { d.create("other", {remark}); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { d.create("other", columns(), {{"comment", "a"}}); }) == errc::mismatch);
  BOOST_TEST(rows() == "1,2");
}

BOOST_AUTO_TEST_CASE(a_site_that_takes_no_mark_is_told_of_and_loaded_all_the_same) {
  support::ckan_site old{{{"version", "2.10.4"}, {"refuses_extra_keys", true}}};
  ckan::api_datastore d{old.url(), "token", options()};
  d.create(id, columns());
  BOOST_TEST(notices.size() == 1U);
  BOOST_TEST(notices[0].find("takes no mark") != std::string::npos, notices[0]);
  d.finish(id);
  BOOST_TEST(d.describe(id).has_value());
  auto const report = reload(d, {"3"}, headers());  // and it has no action that deletes rows alone
  BOOST_TEST(!report.rows_only);
  BOOST_TEST((d.describe(id) == columns()));
  support::ckan_site older{{{"version", "2.9.11"}}};
  ckan::api_datastore o{older.url(), "token", options()};
  BOOST_TEST(code_of([&] { o.check(id, columns()); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_site_that_hides_its_version_is_taken_for_one_that_makes_the_table_anew) {
  support::ckan_site hiding{{{"version", nullptr}}};
  ckan::api_datastore d{hiding.url(), "token", options()};
  d.check(id, columns());
  make(d);
  auto const report = reload(d, {"3"}, headers());
  BOOST_TEST(!report.rows_only);
  BOOST_TEST((d.describe(id) == columns()));
  json::value const status = json::parse(R"({"ckan_version":"2.11.5"})");
  BOOST_TEST(code_of([&] { ckan::detail::is_version(status, 2, 10, {"check", id}); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_site_that_is_not_there_is_unreachable_and_a_certificate_that_nobody_vouches_for_is_refused) {
  ckan::api_datastore nowhere{"http://127.0.0.1:9", "token", options()};
  BOOST_TEST(code_of([&] { nowhere.describe(id); }) == boost::system::errc::host_unreachable);
  auto const key = (root / "key").native(), certificate = (root / "certificate").native();
  std::string const make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -days 1 -keyout " + key +
                           " -out " + certificate + " 2>/dev/null";
  BOOST_REQUIRE(std::system(make.c_str()) == 0);
  support::ckan_site tls{{{"tls", {certificate, key}}}};
  BOOST_TEST(tls.url().starts_with("https://"));
  ckan::api_datastore strange{tls.url(), "token", options()};
  auto const why = message_of([&] { strange.describe(id); });
  BOOST_TEST(code_of([&] { strange.describe(id); }) == boost::system::errc::protocol_error);
  BOOST_TEST(why.find("ertificate") != std::string::npos, why);
  // One that is vouched for, but is another host's.
  ::setenv("CURL_CA_BUNDLE", certificate.c_str(), 1);
  ckan::api_datastore named{tls.url(), "token", options()};
  BOOST_TEST(code_of([&] { named.describe(id); }) == boost::system::errc::protocol_error);
  std::string const right =
      "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=here -days 1 -addext"
      " subjectAltName=IP:127.0.0.1 -keyout " +
      key + " -out " + certificate + " 2>/dev/null";
  BOOST_REQUIRE(std::system(right.c_str()) == 0);
  support::ckan_site good{{{"tls", {certificate, key}}}};
  ckan::api_datastore vouched{good.url(), "token", options()};
  BOOST_TEST(!vouched.describe(id));
  ::unsetenv("CURL_CA_BUNDLE");
}

BOOST_AUTO_TEST_CASE(rows_go_in_batches_of_bytes_and_of_rows_and_are_counted_once) {
  auto o = options();
  o.batch_rows = 3;
  ckan::api_datastore d{site().url(), "token", o};
  d.create(id, columns());
  auto const upserts = [&] {
    std::string sizes;
    for (auto const& r : requests()) {
      auto const& sent = r.as_array()[1].as_object();
      if (r.as_array()[0] != "datastore_upsert") continue;
      sizes += std::to_string(sent.at("records").as_array().size());
      if (sent.at("calculate_record_count").as_bool()) sizes += '!';
    }
    return sizes;
  };
  load(d, {"1", "2", "3", "4", "5", "6", "7"});
  BOOST_TEST(upserts() == "331!");
  d.finish(id);
  o.batch_rows = 1000;
  o.batch_bytes = 300;
  ckan::api_datastore small{site().url(), "token", o};
  load(small, {"8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20"});
  BOOST_TEST(rows() == "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20");
  for (auto const& r : requests()) {
    if (r.as_array()[0] == "datastore_upsert") BOOST_TEST(json::serialize(r.as_array()[1]).size() <= 360U);
  }
}

BOOST_AUTO_TEST_CASE(each_text_comes_to_the_site_as_it_is) {
  auto d = datastore();
  d.create(id, {{"text", "text", {}}});
  std::vector<std::string> texts{"",
                                 "plain",
                                 "\"",
                                 "\\",
                                 "a\"b\\c",
                                 "\n",
                                 "\t\r\b\f",
                                 "\x01\x1f\x7f",
                                 "</script>",
                                 "\u00e4",
                                 "\u20ac \U0001f600",
                                 "\u2028",
                                 std::string(3000, 'x'),
                                 std::string(3000, '"')};
  {
    ckan::api_datastore::loader all{d, id, {{"text", "text", {}}}};
    for (auto const& one : texts) all.add(std::array<std::optional<std::string_view>, 1>{one});
    all.finish();
  }
  auto const there = table().at("rows").as_array();
  BOOST_TEST_REQUIRE(there.size() == texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    BOOST_TEST(there[i].as_object().at("text").as_string() == texts[i], "text " << i);
  }
}

BOOST_AUTO_TEST_CASE(a_loader_that_was_not_finished_leaves_the_resource_unfinished) {
  auto d = datastore();
  d.create(id, columns());
  {
    ckan::api_datastore::loader all{d, id, columns()};
    all.add(std::array<std::optional<std::string_view>, 2>{"1", std::nullopt});
    BOOST_TEST(code_of([&] { all.add(std::array<std::optional<std::string_view>, 1>{"1"}); }) == errc::mismatch);
    BOOST_TEST(code_of([&] {
                 all.add(std::array<std::optional<std::string_view>, 2>{"\xff", "2"});
               }) == errc::mismatch);
  }
  BOOST_TEST(code_of([&] { d.finish(id); }) == errc::mismatch);
  BOOST_TEST(!d.describe(id));
}

BOOST_AUTO_TEST_CASE(a_batch_of_which_nobody_knows_is_counted_and_sent_again_only_if_it_is_not_there) {
  for (char const* const kind : {"cut_before", "cut_after", "502", "502_after", "503", "silent_after", "json_cut"}) {
    site().reset();
    auto o = hasty();
    o.batch_rows = 1;  // the second goes over a connection that was kept
    ckan::api_datastore d{site().url(), "token", o};
    d.create(id, columns());
    json::value const how = std::isdigit(kind[0]) && kind[3] == '\0' ? json::value(std::atoi(kind)) : json::value(kind);
    site().fail("datastore_upsert", 2, how);
    load(d, {"1", "2", "3"});
    d.finish(id);
    BOOST_TEST(rows() == "1,2,3", kind);
  }
  // Somebody else adds rows.
  site().reset();
  auto d = datastore(), other = datastore();
  d.create(id, columns());
  ckan::api_datastore::loader all{d, id, columns()};
  all.add(std::array<std::optional<std::string_view>, 2>{"1", std::nullopt});
  load(other, {"8"});
  site().fail("datastore_upsert", 1, "cut_after");
  BOOST_TEST(code_of([&] { all.finish(); }) == errc::indeterminate);
}

BOOST_AUTO_TEST_CASE(several_batches_on_their_way_at_one_time_add_each_row_once_or_say_that_they_did_not) {
  std::vector<std::string> ids;
  for (int n = 1; n <= 9; ++n) ids.push_back(std::to_string(n));
  auto const all_rows = [&] {
    auto all = table().at("rows").as_array();
    std::multiset<std::string> result;
    for (auto const& row : all) result.insert(json::serialize(row.as_object().at("id")));
    return result;
  };
  std::multiset<std::string> const wanted{ids.begin(), ids.end()};
  int indeterminate = 0, refused = 0;
  for (json::value const& kind : std::initializer_list<json::value>{"", "cut_before", "cut_after", 502, "502_after",
                                                                    503, "silent_after", "json_cut", 409, 403}) {
    for (json::value const& nth : std::initializer_list<json::value>{1, 2, 3, 9, {}}) {
      if (kind == "" && nth != 1) continue;
      site().reset();
      auto o = hasty();
      o.at_once = 3;
      o.batch_rows = 1;
      o.settle = 300ms;
      ckan::api_datastore d{site().url(), "token", o};
      d.create(id, columns());
      if (kind != "") site().fail("datastore_upsert", nth, kind);
      boost::system::error_code problem;
      try {
        load(d, ids);
      } catch (stash::error const& e) {
        problem = e.code();
      }
      site().heal();
      auto const what = json::serialize(kind) + " of " + json::serialize(nth) + ": " + problem.message();
      auto const there = all_rows();
      if (!problem.failed()) BOOST_TEST((there == wanted), what);
      for (auto const& one : there) BOOST_TEST(there.count(one) == 1U, what << ", row " << one);
      bool const has_acted =
          kind == "" || kind == "cut_after" || kind == "502_after" || kind == "silent_after" || kind == "json_cut";
      bool const can_be_mended = has_acted || (!nth.is_null() && kind != 409 && kind != 403);
      BOOST_TEST(problem.failed() != can_be_mended, what);
      indeterminate += problem == errc::indeterminate;
      refused += problem.failed() && problem != errc::indeterminate;
      BOOST_TEST((code_of([&] { d.finish(id); }) == errc::mismatch) == problem.failed(), what);
    }
  }
  BOOST_TEST(indeterminate > 0);
  BOOST_TEST(refused >= 10);
  // One of two is there, and nobody knows which.
  site().reset();
  auto o = hasty();
  o.at_once = 2;
  o.batch_rows = 1;
  o.settle = 300ms;
  ckan::api_datastore d{site().url(), "token", o};
  d.create(id, columns());
  site().fail("datastore_upsert", 1, 502);
  site().fail("datastore_upsert", 2, "502_after");
  BOOST_TEST(code_of([&] { load(d, {"1", "2", "3", "4"}); }) == errc::indeterminate);
  BOOST_TEST(code_of([&] { d.finish(id); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(what_a_site_refuses_is_told_by_the_numbers_of_the_rows_and_no_more_are_taken) {
  auto o = options();
  o.batch_rows = 2;
  ckan::api_datastore d{site().url(), "token", o};
  d.create(id, columns());
  ckan::api_datastore::loader all{d, id, columns()};
  auto const add = [&](std::string_view one) {
    all.add(std::array<std::optional<std::string_view>, 2>{one, "2026-11-30"});
  };
  for (char const* const one : {"1", "2", "3", "much"}) add(one);
  std::string const why = message_of([&] {
    for (char const* const one : {"5", "6", "7", "8", "9"}) add(one);
  });
  BOOST_TEST(why.find("rows 3 to 4: ") != std::string::npos, why);
  BOOST_TEST(why.find("much") != std::string::npos, why);
  BOOST_TEST(code_of([&] { add("9"); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { all.finish(); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { d.finish(id); }) == errc::mismatch);
  BOOST_TEST(rows().find('3') == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_forked_child_does_not_wait_for_what_its_parent_has_on_its_way) {
  auto o = options();
  o.batch_rows = 1;
  ckan::api_datastore d{site().url(), "token", o};
  d.create(id, columns());
  std::array<std::optional<std::string_view>, 2> const row{"1", std::nullopt};
  auto all = std::make_unique<ckan::api_datastore::loader>(d, id, columns());
  site().fail("datastore_upsert", 1, 429, {{"retry_after", 2}});
  auto const before = requests().size();
  all->add(row);
  all->add(row);  // one is on its way now
  while (requests().size() == before) stash::detail::sleep_for(1ms);
  stash::detail::sleep_for(200ms);  // now it waits to be sent again
  BOOST_TEST(support::in_child([&] {
               ::alarm(20);
               int const code = code_of([&] { all->add(row); }) == errc::busy ? 0 : 1;
               all.reset();
               return code;
             }) == 0);
  all->finish();
  BOOST_TEST(d.rows(id) == 2U);
}

BOOST_AUTO_TEST_CASE(a_busy_site_is_asked_again_when_it_says_and_no_longer_than_a_call_may_take) {
  auto d = datastore();
  d.create(id, columns());
  for (int const busy : {429, 503}) {
    auto const start = std::chrono::steady_clock::now();
    site().fail("datastore_search", 1, busy, {{"retry_after", 1}});
    BOOST_TEST(d.rows(id) == 0U);
    BOOST_TEST((std::chrono::steady_clock::now() - start >= 1s), busy);
    site().fail("datastore_search", 1, busy, {{"retry_after", 3600}});
    auto const before = requests().size();
    BOOST_TEST(code_of([&] { d.rows(id); }) == http_status(busy));
    BOOST_TEST(requests().size() == before + 1);
    // Without a word of the site's, and with its last try when the call's time is over.
    site().fail("datastore_search", {}, busy, {{"retry_after", nullptr}});
    ckan::api_datastore hurried{site().url(), "token", hasty()};
    auto const again = std::chrono::steady_clock::now();
    auto const tries = requests().size();
    BOOST_TEST(code_of([&] { hurried.rows(id); }) == http_status(busy));
    BOOST_TEST((std::chrono::steady_clock::now() - again < 30s), busy);
    BOOST_TEST(requests().size() > tries + 4);  // of 2 s, each pause twice the one before
    BOOST_TEST(requests().size() < tries + 20);
    site().heal();
  }
}

BOOST_AUTO_TEST_CASE(only_an_answer_that_is_whole_and_says_so_is_a_success) {
  using ckan::detail::is_success;
  for (char const* const one : {R"({"success":true})", R"({"success":true,"result":{"records":[{"success":false}]}})",
                                R"({"result":[1,-2,18446744073709551615,0.5,null,"\u00e4"],"succ\u0065ss":true} )"}) {
    BOOST_TEST(is_success(one), one);
  }
  for (char const* const one :
       {"", "{}", "true", "[true]", R"({"success":false})", R"({"success":"true"})", R"({"success":true)",
        R"({"success":true}})", R"({"success":true,"result":{"reco)", R"({"result":{"success":true}})",
        R"({"success":false,"result":[{"success":true}]})", R"([{"success":true}])", R"({"success":[true]})",
        R"({"success":{"a":true}})", "<html>true</html>"}) {
    BOOST_TEST(!is_success(one), one);
  }
}

BOOST_AUTO_TEST_CASE(whichever_request_fails_in_whichever_way_no_word_is_lost_and_no_row_stands_there_twice) {
  json::value const kinds[] = {"cut_before", "cut_after", "cut_amid",   "silent",   "silent_after",
                               401,          403,         404,          409,        413,
                               429,          500,         502,          503,        504,
                               "502_after",  "html",      "html_after", "json_cut", "redirect"};
  std::uint64_t seen = 0, tried = 0, bad = 0, failed = 0;
  for (bool const stays : {true, false}) {
    ckan::fields const wanted{{"id", stays ? "numeric" : "text", {}}, {"day", "date", {}}};
    std::string const fresh = stays ? "3,4" : R"("3","4")";
    // What a reload that nothing happens to asks for.
    std::map<std::string, int> asked;
    site().reset();
    {
      auto d = datastore();
      make(d);
      auto const before = requests().size();
      reload(d, {"3", "4"}, wanted);
      auto const all = requests();
      for (std::size_t i = before; i < all.size(); ++i) ++asked[std::string(all[i].as_array()[0].as_string())];
    }
    for (auto const& [action, count] : asked) {
      for (int nth = 1; nth <= count; ++nth) {
        for (auto const& kind : kinds) {
          for (bool const lasts : {false, true}) {
            if (lasts && nth > 1) continue;
            if (++seen % static_cast<unsigned>(support::stride()) != 0) continue;
            site().reset();
            for (auto const& e : store.entries()) store.clear(e.key);
            auto first = datastore();
            make(first);
            ckan::api_datastore d{site().url(), "token", hasty()};
            site().fail(action, lasts ? json::value{} : json::value(nth), kind, {{"retry_after", nullptr}});
            boost::system::error_code problem;
            std::string why;
            try {
              reload(d, {"3", "4"}, wanted);
            } catch (stash::error const& e) {
              problem = e.code();
              why = e.what();
            }
            auto const what = action + " " + std::to_string(nth) + (lasts ? " and later" : "") + ": " +
                              json::serialize(kind) + (stays ? ", the table stays" : "") + ": " + why;
            std::string wrong;
            try {
              wrong = judge(problem.failed(), wanted, fresh);
            } catch (std::exception const& e) {
              wrong = e.what();
            }
            BOOST_TEST(wrong == "", what << ": " << wrong);
            BOOST_TEST(why.find("token") == std::string::npos, what);
            ++tried;
            bad += !wrong.empty();
            failed += problem.failed();
          }
        }
      }
    }
  }
  BOOST_TEST(failed > 100U);
  support::figure("every call fails", "each request of a reload through CKAN's actions, in each way of HTTP", tried,
                  bad);
}

BOOST_AUTO_TEST_CASE(whenever_the_site_is_not_reached_or_the_job_throws_no_word_is_lost_and_no_row_stands_there_twice) {
  struct thrown {};
  std::uint64_t tried = 0, bad = 0;
  // Connection refused, a name that is not known, a wrong certificate; and, in its place, an exception of the job's.
  for (auto const code :
       {CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST, CURLE_PEER_FAILED_VERIFICATION, CURLE_ABORTED_BY_CALLBACK}) {
    for (bool const stays : {true, false}) {
      for (bool const lasts : {true, false}) {
        ckan::fields const wanted{{"id", stays ? "numeric" : "text", {}}, {"day", "date", {}}};
        bool was_asked = true;
        for (int n = 1; was_asked; n += support::stride()) {
          site().reset();
          for (auto const& e : store.entries()) store.clear(e.key);
          auto d = datastore();
          make(d);
          was_asked = false;
          bool has_failed = false;
          instead_of_request = [&, calls = 0]() mutable {
            ++calls;
            was_asked = was_asked || calls == n;
            if (calls != n && !(lasts && calls > n)) return CURLE_OK;
            if (code == CURLE_ABORTED_BY_CALLBACK) throw thrown{};
            return code;
          };
          try {
            reload(d, {"3", "4"}, wanted);
          } catch (stash::error const& e) {
            has_failed = true;
            bool const is_told =
                e.code() == boost::system::errc::host_unreachable || e.code() == boost::system::errc::protocol_error;
            BOOST_TEST(is_told, e.what());
          } catch (thrown const&) {
            has_failed = true;
          }
          instead_of_request = nullptr;
          std::string wrong;
          try {
            wrong = judge(has_failed, wanted, stays ? "3,4" : R"("3","4")");
          } catch (std::exception const& e) {
            wrong = e.what();
          }
          BOOST_TEST(wrong == "", "code " << code << " at " << n << (lasts ? " and later" : "")
                                          << (stays ? ", the table stays: " : ": ") << wrong);
          ++tried;
          bad += !wrong.empty();
        }
      }
    }
  }
  BOOST_TEST(tried > 40U);
  support::figure("every call fails", "each request of a reload through CKAN's actions, a site that is not reached",
                  tried, bad);
}

BOOST_AUTO_TEST_CASE(wherever_the_job_is_killed_no_word_is_lost_and_no_row_stands_there_twice) {
  std::uint64_t tried = 0, bad = 0;
  for (bool const stays : {true, false}) {
    ckan::fields const wanted{{"id", stays ? "numeric" : "text", {}}, {"day", "date", {}}};
    bool was_killed = true;
    for (int n = 1; was_killed; ++n) {
      site().reset();
      for (auto const& e : store.entries()) store.clear(e.key);
      {
        auto d = datastore();
        make(d);
      }
      was_killed = support::in_child([&] {
                     auto d = datastore();
                     around_request = [&, calls = 0]() mutable {
                       if (++calls == n) ::raise(SIGKILL);
                     };
                     reload(d, {"3", "4"}, wanted);
                     return 0;
                   }) == 256 + SIGKILL;
      std::string wrong;
      try {
        wrong = judge(was_killed, wanted, stays ? "3,4" : R"("3","4")");
      } catch (std::exception const& e) {
        wrong = e.what();
      }
      BOOST_TEST(wrong == "", "killed at " << n << (stays ? ", the table stays: " : ": ") << wrong);
      ++tried;
      bad += !wrong.empty();
    }
  }
  BOOST_TEST(tried > 40U);
  support::figure("kills", "before and after each request of a reload through CKAN's actions", tried, bad);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace api_datastore_test
