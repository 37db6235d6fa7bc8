#pragma once

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stash/ckan/api_options.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/http_status.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/detail/ckan/api_site.hpp>
#include <stash/detail/ckan/api_table.hpp>
#include <stash/detail/ckan/field_names.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/system/standard_error.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan {

/// CKAN's DataStore through its actions, for who has a site's address and an API token, and no password of its
/// database. Link with curl.
///
/// A resource must be there (`resource_create` makes one). Its table, dictionary, aliases and indexes are made and
/// removed by CKAN itself, which keeps its own books: `datastore_active`, counts, permissions. There are no
/// transactions, so `reload` is `keep::words` on it. What marks a table unfinished is the resource's key
/// `stash_unfinished`, with the time when it was begun, which people see in CKAN; where a site takes no such key,
/// `options.notice` is told, and a table that a dead job leaves half-built looks whole.
///
/// One thread at a time may use an object. In a forked child an inherited one may be used: it makes its own connection.
///
///     stash::ckan::api_datastore d{"https://data.example.org", token};
///     d.create("5f1f1a0e-resource-id", {{"id", "text", {}}});
///     d.finish("5f1f1a0e-resource-id");
///
/// Errors: `stash::error` with the site's words and its status as code (`http_status`), the resource as subject;
/// `host_unreachable` where it cannot be reached; `errc::indeterminate` where nobody knows whether it has done what the
/// last request asked. A table that was begun then stays unfinished. The token is in none.
class api_datastore {
 public:
  class loader;  ///< in api_loader.hpp

  /// Asks nothing yet. Throws EINVAL for an address that is no site's or would show the token to others on its way, and
  /// for a token that is none.
  api_datastore(std::string url, std::string token, api_datastore_options options = {})
      : options_(std::move(options)),
        site_(std::make_unique<detail::api_site>(std::move(url), std::move(token), options_)) {}

  /// The fields of a whole table, in their order, with the keys of CKAN's plugins in `beside`; nullopt: there is none,
  /// or an unfinished one.
  ///
  /// Throws `errc::mismatch` where the id is an alias, and where a number in the words has more digits than a `double`:
  /// it would not come back.
  std::optional<fields> describe(std::string_view id) const {
    stash::detail::operation const op{"describe", id};
    auto found = table(id, op);
    if (!found || is_unfinished(id, op)) return std::nullopt;
    return std::move(found->all);
  }
  /// What hangs on a whole table, as far as the actions tell it: `aliases`, `indexes` and `primary_key`, to give to
  /// `create`. Empty: nothing. Throws as `describe`.
  boost::json::object remarks(std::string_view id) const {
    stash::detail::operation const op{"remarks", id};
    auto found = table(id, op);
    if (!found || is_unfinished(id, op)) return {};
    return std::move(found->remarks);
  }
  /// What stands on a table that is marked unfinished; nullopt: there is none. Throws as `describe`.
  std::optional<table_words> unfinished(std::string_view id) const {
    stash::detail::operation const op{"unfinished", id};
    auto found = table(id, op);
    if (!found || !is_unfinished(id, op)) return std::nullopt;
    return found;
  }
  /// Whether the resource is not there any more, or is deleted.
  bool is_deleted(std::string_view id) const {
    auto const found = resource(id, {"is_deleted", id});
    if (!found) return true;
    auto const* const state = found->if_contains("state");
    return state != nullptr && *state == "deleted";
  }

  /// That the site is a CKAN of 2.10 or newer, that the resource is there, that the token may change it, and that CKAN
  /// takes the fields. Changes nothing. Throws what is wrong: `errc::mismatch`; 403; 404.
  void check(std::string_view id, fields const& columns) const {
    stash::detail::operation const op{"check", id};
    auto const status = site_->call("status_show", boost::json::object{}, detail::asking::reads, op);
    if (!detail::is_version(status.value, 2, 10, op).value_or(true)) {
      op.fail(errc::mismatch, site_->url(), "it is no CKAN of 2.10 or newer: " + boost::json::serialize(status.value));
    }
    if (is_deleted(id)) throw error{http_status(404), "check", std::string(id), "there is no such resource"};
    // No rows: it changes nothing, and without the right to change it is refused. (404: there is no table.)
    boost::json::object const nothing{{"resource_id", id},
                                      {"method", "insert"},
                                      {"force", true},
                                      {"records", boost::json::array{}},
                                      {"calculate_record_count", false}};
    site_->find("datastore_upsert", nothing, detail::asking::reads, op);
    detail::check_api_fields(columns, {}, op);
    for (field const& f : columns) detail::refuse_field_name(f, op.name, id);
  }

  /// Makes the table, marked unfinished, with its dictionary, and, of the remarks, aliases, indexes and primary key:
  /// but not what is on a field that it has not, nor what the site refuses; `options.notice` is told then. Throws
  /// `errc::mismatch` where there is one, for fields as `check`, and for remarks that are another datastore's.
  void create(std::string_view id, fields const& columns, boost::json::object const& remarks = {}) {
    stash::detail::operation const op{"create", id};
    detail::check_api_fields(columns, remarks, op);
    if (table(id, op)) op.fail(errc::mismatch, site_->url(), "the resource has a table already");
    begin(id, columns, op);
    send(id, columns, op);
    std::vector<std::string> without_field;
    for (auto const& member : detail::remarks_on(columns, remarks, without_field)) {
      boost::json::object const request{{"resource_id", id}, {"force", true}, {member.key(), member.value()}};
      try {
        site_->call("datastore_create", request, detail::asking::repeatable, op);
      } catch (error const& problem) {
        if (problem.code() != http_status(409)) throw;
        tell(id, "the site does not make these " + std::string(member.key()) + " again, " +
                     boost::json::serialize(member.value()) + ": " + problem.detail());
      }
    }
    for (auto const& one : without_field) tell(id, one + " is not made again: the table has no such field");
  }
  /// Marks a whole table of just these fields, words and remarks unfinished, and removes its rows alone: grants, views
  /// and what the actions do not tell of stay. false: it is another one, and nothing was done.
  bool empty(std::string_view id, fields const& columns, boost::json::object const& remarks) {
    stash::detail::operation const op{"empty", id};
    auto const found = table(id, op);
    bool const is_it =
        found && found->all == columns && boost::json::serialize(found->remarks) == boost::json::serialize(remarks);
    if (!is_it || is_unfinished(id, op) || !deletes_rows(op)) return false;
    begin(id, columns, op);
    try {
      delete_rows(id, op);
    } catch (error const& problem) {
      if (problem.code().category() == http_category()) forget_mark(id, op);  // it was refused: the rows are there
      throw;
    }
    return true;
  }
  /// Removes the rows of a table that is marked unfinished: then `finish` makes it an empty whole one, with all that
  /// hangs on it. false: there is none, or the site has no action for that, and nothing was done.
  bool empty_half_built(std::string_view id) {
    stash::detail::operation const op{"empty_half_built", id};
    if (!table(id, op) || !is_unfinished(id, op) || !deletes_rows(op)) return false;
    delete_rows(id, op);
    loading_.erase(std::string(id));
    return true;
  }
  /// Takes the mark away. `options.notice` is told of words that the site has not kept as `create` gave them. Throws
  /// `errc::mismatch` where there is no table, or its rows were not all loaded.
  void finish(std::string_view id) {
    stash::detail::operation const op{"finish", id};
    auto const found = table(id, op);
    if (!found) op.fail(errc::mismatch, site_->url(), "the resource has no table");
    if (loading_.contains(id)) op.fail(errc::mismatch, site_->url(), "a loader of it was not finished");
    auto const begun = begun_.find(id);
    for (auto const& name : detail::not_kept(begun == begun_.end() ? fields{} : begun->second, found->all)) {
      tell(id, "what was written on field \"" + name + "\" was not kept by the site, or changed by somebody since");
    }
    if (is_marked(id, op)) unmark(id, op);
    begun_.erase(std::string(id));
  }
  /// Removes the table, marked or not, with its dictionary, and the mark. There is none: does nothing.
  void drop(std::string_view id) {
    stash::detail::operation const op{"drop", id};
    site_->find("datastore_delete", {{"resource_id", id}, {"force", true}}, detail::asking::repeatable, op);
    loading_.erase(std::string(id));
    if (auto const it = resource(id, op); it && is_marked(*it)) unmark(id, op);
    begun_.erase(std::string(id));
  }

  /// Replaces the info of these fields, of a whole table. The others keep theirs. Throws `errc::mismatch` where there
  /// is no table, or it has no such field.
  void annotate(std::string_view id, data_dictionary const& dictionary) {
    stash::detail::operation const op{"annotate", id};
    auto found = table(id, op);
    if (!found || is_unfinished(id, op)) op.fail(errc::mismatch, site_->url(), "there is no whole table");
    for (auto const& member : dictionary) {
      auto const at = std::find_if(found->all.begin(), found->all.end(),
                                   [&](field const& f) { return std::string_view(f.id) == member.key(); });
      if (at == found->all.end()) {
        op.fail(errc::mismatch, site_->url(), "it has no field \"" + std::string(member.key()) + '"');
      }
      auto const type = at->type;
      detail::apply(*at, member.value(), {}, op.name);
      at->type = type;
    }
    send(id, found->all, op);
  }

  /// How many rows the table has, finished or not, as the site counts them. Throws 404 where there is no table.
  std::uint64_t rows(std::string_view id) const { return detail::rows_at(*site_, id, {"rows", id}); }

 private:
  static constexpr char mark_key[] = "stash_unfinished";

  /// nullopt: there is none. Throws `errc::mismatch` where the site says two things: what people typed is not to go
  /// because it was not seen.
  std::optional<table_words> table(std::string_view id, stash::detail::operation const& op) const {
    auto const found = site_->find("datastore_info", {{"id", id}}, detail::asking::reads, op);
    if (found) return detail::words_in_info(*found, id, op);
    auto const it = resource(id, op);
    auto const* const is_active = it ? it->if_contains("datastore_active") : nullptr;
    if (is_active != nullptr && is_active->is_bool() && is_active->get_bool()) {
      op.fail(errc::mismatch, site_->url(),
              "datastore_info knows of no table, but the resource says that it has one (datastore_active)");
    }
    return std::nullopt;
  }
  std::optional<boost::json::object> resource(std::string_view id, stash::detail::operation const& op) const {
    auto found = site_->find("resource_show", {{"id", id}}, detail::asking::reads, op);
    if (!found) return std::nullopt;
    if (!found->value.is_object()) op.fail(errc::mismatch, site_->url(), "resource_show: no object came");
    return std::move(found->value.get_object());
  }
  static bool is_marked(boost::json::object const& resource) {
    auto const* const mark = resource.if_contains(mark_key);
    return mark != nullptr && !mark->is_null() && *mark != "";
  }
  /// Of a resource that has a table. Throws 404 where the site knows of none.
  bool is_marked(std::string_view id, stash::detail::operation const& op) const {
    auto const found = resource(id, op);
    if (!found) throw error{http_status(404), std::string(op.name), std::string(id), "there is no such resource"};
    return is_marked(*found);
  }
  /// What this object has begun is so on a site without marks too.
  bool is_unfinished(std::string_view id, stash::detail::operation const& op) const {
    return is_marked(id, op) || begun_.contains(id);
  }
  void begin(std::string_view id, fields const& columns, stash::detail::operation const& op) {
    begun_.insert_or_assign(std::string(id), columns);
    mark(id, op);
  }
  void mark(std::string_view id, stash::detail::operation const& op) {
    auto const now = stash::detail::system_now();
    std::string const text = stash::detail::to_text(now);
    std::string why = "it does not keep the resource's key";
    try {
      auto const result = site_->call("resource_patch", {{"id", id}, {mark_key, text}}, detail::asking::repeatable, op);
      auto const* const all = result.value.if_object();
      if (all != nullptr && detail::text_of(*all, mark_key) == text) return;
    } catch (error const& problem) {
      if (problem.code() != http_status(409)) throw;
      why = problem.detail();
    }
    tell(id, "the site takes no mark of a table that is not whole yet: " + why);
  }
  void delete_rows(std::string_view id, stash::detail::operation const& op) {
    site_->call("datastore_records_delete", {{"resource_id", id}, {"force", true}, {"filters", boost::json::object{}}},
                detail::asking::repeatable, op);
  }
  /// After what failed already: where this fails too, the mark stays.
  void forget_mark(std::string_view id, stash::detail::operation const& op) {
    try {
      unmark(id, op);
      begun_.erase(std::string(id));
    } catch (error const&) {
    }
  }
  /// CKAN has it since 2.11. A site that hides its version is not asked.
  bool deletes_rows(stash::detail::operation const& op) const {
    auto const status = site_->call("status_show", boost::json::object{}, detail::asking::reads, op);
    return detail::is_version(status.value, 2, 11, op).value_or(false);
  }
  void unmark(std::string_view id, stash::detail::operation const& op) {
    site_->call("resource_patch", {{"id", id}, {mark_key, ""}}, detail::asking::repeatable, op);
  }
  void tell(std::string_view id, std::string const& what) const {
    std::string const line = "stash: \"" + std::string(id) + "\": " + what;
    if (options_.notice) return options_.notice(line);
    stash::detail::write_to_standard_error(line + '\n');
  }
  void send(std::string_view id, fields const& columns, stash::detail::operation const& op) {
    for (auto const& request : detail::requests_of_create(id, columns, options_.batch_bytes)) {
      site_->call("datastore_create", request, detail::asking::repeatable, op);
    }
  }

  api_datastore_options options_;
  std::unique_ptr<detail::api_site> site_;
  std::map<std::string, fields, std::less<>> begun_;  // created or emptied, and not finished yet
  std::set<std::string, std::less<>> loading_;        // those to which a loader has added rows that was not finished
};

}  // namespace stash::inline v1::ckan

#include <stash/ckan/api_loader.hpp>
