#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/detail/ckan/field_names.hpp>
#include <stash/detail/ckan/sqlite_beside.hpp>
#include <stash/detail/ckan/sqlite_catalog.hpp>
#include <stash/detail/fork.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace stash::inline v1::ckan {

/// Resources as tables of one SQLite file, each with its Data Dictionary. Link with sqlite3.
///
/// A resource is a table of its name, with `_id INTEGER PRIMARY KEY` before its fields; `numeric` fields have
/// no affinity, all others TEXT. The fields, their dictionary and the unfinished mark are rows of
/// `_stash_field` and `_stash_resource`; a text of somebody's that we would write otherwise (`field::comment`) stands
/// in the column `info`. The file is in WAL mode with synchronous=FULL (or in DELETE mode with EXTRA where WAL cannot
/// be had), so what a call did survives a power cut when it returns.
///
/// One thread at a time may use an object; several objects and processes may use a file, and wait up to a
/// minute for each other. In a forked child an inherited one must not be used; destroying it does nothing.
///
///     stash::ckan::sqlite_datastore d{"datastore.sqlite"};
///     d.create("orders", {{"id", "text", {}}});
///     d.finish("orders");
///
/// Errors: `stash::error` with SQLite's code and message, the resource as subject; then nothing was changed.
class sqlite_datastore {
 public:
  class loader;  ///< in sqlite_loader.hpp

  /// Opens the file, and makes it where there is none, in a directory that there is. Not "" and not ":memory:": what
  /// SQLite makes of these goes with the connection (https://sqlite.org/c3ref/open.html). On a read-only file system it
  /// can be read, and to change something throws SQLITE_READONLY.
  ///
  /// Throws SQLite's error: SQLITE_CANTOPEN, SQLITE_NOTADB, SQLITE_READONLY, ...; EINVAL for what looks like a URL or a
  /// connection string, and is no file.
  explicit sqlite_datastore(std::string const& file) : catalog_(file) {}
  /// Not while a loader uses the other, which may only be destroyed afterwards.
  sqlite_datastore(sqlite_datastore&&) noexcept = default;
  /// Closes the file; in a forked child, nothing.
  ~sqlite_datastore() {
    if (!owner_.is_current()) catalog_.db().abandon();
  }

  /// The fields of a whole table, in column order; nullopt: none, or an unfinished one. Throws
  /// `errc::mismatch` where a table of that name, in any letter case, stands there that is not this resource's, and
  /// where somebody wrote something that would not come back into the columns `info` and `beside`.
  std::optional<fields> describe(std::string_view id) const {
    operation const op{"describe", id};
    catalog_.refuse_foreign_table(op);
    if (!catalog_.is_finished(id, op).value_or(false)) return std::nullopt;
    return catalog_.words_of(id, op).all;
  }

  /// What `create` was given with a table that is whole now. Empty: nothing. Throws as `describe`.
  boost::json::object remarks(std::string_view id) const {
    if (!describe(id)) return {};
    return catalog_.words_of(id, {"remarks", id}).remarks;
  }

  /// What is written on a table that is marked unfinished; nullopt: there is none. Throws as `describe`.
  std::optional<table_words> unfinished(std::string_view id) const {
    operation const op{"unfinished", id};
    if (catalog_.is_finished(id, op).value_or(true)) return std::nullopt;
    return catalog_.words_of(id, op);
  }

  /// Throws `errc::mismatch` for what `create` would refuse: a table that is not ours, a reserved resource id, no
  /// or too many fields, a field name that is empty or has a NUL, or two that are equal when their ASCII letters are
  /// folded to one case, as SQLite does. And for a field name that CKAN refuses: one that begins with "_", begins or
  /// ends with white space, or has a double quote. Changes nothing.
  void check(std::string_view id, fields const& columns) const {
    catalog_.check_for_table(columns, {}, {"check", id});
    for (field const& f : columns) detail::refuse_field_name(f, "check", id);
  }

  /// Makes the table, marked unfinished, and its dictionary, in one transaction. Fields that have words keep the name
  /// that they had, though CKAN would refuse it now. Throws as `check`, SQLITE_ERROR where the resource exists, and
  /// `errc::unserializable` for a dictionary that JSON cannot bring back. `remarks` are kept as they are; no fields at
  /// all are allowed where there are some.
  void create(std::string_view id, fields const& columns, boost::json::object const& remarks = {}) {
    operation const op{"create", id};
    builds_.erase(std::string(id));
    catalog_.check_for_table(columns, remarks, op);
    transaction all{catalog_.db(), op.name, id};
    catalog_.create(id, columns, remarks, op);
    all.commit();
  }

  /// Takes the unfinished mark away; where there is none, does nothing. Throws `errc::mismatch` where there is no such
  /// resource, or rows were added to it by a loader that was not finished, and no later one was.
  void finish(std::string_view id) {
    operation const op{"finish", id};
    transaction all{catalog_.db(), op.name, id};
    catalog_.refuse_lost_rows(id, op);
    catalog_.finish(id, op);
    all.commit();
  }

  /// Removes the table, finished or not, with its rows and its dictionary. Nothing there: does nothing. Throws as
  /// `describe`.
  void drop(std::string_view id) {
    operation const op{"drop", id};
    builds_.erase(std::string(id));
    transaction all{catalog_.db(), op.name, id};
    catalog_.refuse_foreign_table(op);  // within: nobody can make such a table now
    catalog_.drop(id, op);
    all.commit();
  }

  /// Replaces the info of the fields that the dictionary names, all or none; what is beside it stays, byte for byte. A
  /// remark that is no info is refused (`errc::mismatch`), unless the new info has it in its `notes`.
  ///
  /// Throws `errc::mismatch` where the resource is not live, has no such field, or the dictionary has something that is
  /// no object, has a "_beside", or has a "_verbatim" that says something else (see `parse_dictionary`).
  void annotate(std::string_view id, data_dictionary const& dictionary) {
    operation const op{"annotate", id};
    auto& db = catalog_.db();
    transaction all{db, op.name, id};
    auto const live = describe(id);
    if (!live) catalog_.refuse(op, "the resource is not live");
    std::unordered_map<std::string_view, field const*> by_name;
    for (field const& f : *live) by_name.emplace(f.id, &f);
    statement row{db, "UPDATE _stash_field SET info = ?, beside = ? WHERE resource_id = ? AND id = ?", op.name, id};
    for (auto const& member : dictionary) {
      std::string const name(member.key());
      auto const f = by_name.find(name);
      if (f == by_name.end()) catalog_.refuse(op, "there is no field \"" + name + "\"");
      auto const comment = detail::comment_of(*f->second).value_or("");
      std::string info = stash::detail::about(
          id, op.name, [&] { return detail::info_to_write(member.value(), comment); },
          [&] { return "field \"" + name + '"'; });
      std::optional<std::string> beside;
      if (is_one_text(*f->second, member.value())) {
        info = detail::with_info(comment, info);
      } else if (!f->second->beside.empty()) {
        beside = catalog_.text_of(f->second->beside, op, name);
      }
      catalog_.require_held(info + beside.value_or(""), op);
      row.bind(info).bind(beside).bind(id).bind(name).run();
    }
    all.commit();
  }

  /// Makes an empty table beside the live one, under a name of ours: from here on to `swap_in` or `discard`, loaders of
  /// this object add to it, and what they have committed need not survive a power cut. What an earlier run left there
  /// is removed. Nothing of the live one is changed. Throws as `create`, but not where the resource exists.
  void build(std::string_view id, fields const& columns, boost::json::object const& remarks = {}) {
    detail::sqlite_beside{catalog_, builds_, {"build", id}}.build(columns, remarks);
  }

  /// Puts what was built in the place of the live table, whole, in one transaction; no reader waits for it, where the
  /// file is in WAL mode. What hangs on the live table is carried over: indexes, triggers, views, foreign keys of other
  /// tables, and SQLite's statistics (ANALYZE). Returns what was left behind.
  ///
  /// It may have been built by another object, which gave up at its swap.
  ///
  /// Throws `errc::mismatch` where nothing was built, or not to its end, rows were added by a loader that was not
  /// finished, or something cannot be carried over and `leave_behind` is not said (a foreign key that would not hold
  /// any more never is left); `errc::busy` where others write for longer than `patience`. Then the live table is as it
  /// was, and what was built stays, for another try or for `discard`.
  std::vector<left_behind> swap_in(std::string_view id, swap_options const& options = {}) {
    return detail::sqlite_beside{catalog_, builds_, {"swap", id}}.swap_in(options);
  }

  /// Removes what was built, by whomever. Nothing there: does nothing.
  void discard(std::string_view id) { detail::sqlite_beside{catalog_, builds_, {"discard", id}}.discard(); }

  /// The resources for which there is a table that was built and not put in its place, by whomever.
  std::vector<std::string> leftovers() const {
    std::vector<std::string> result;
    if (!catalog_.has_resources()) return result;
    std::string const prefix = detail::sqlite_beside::name_of("");
    statement row{
        catalog_.db(), "SELECT id FROM _stash_resource WHERE substr(id, 1, ?) = ? ORDER BY id", "leftovers", {}};
    row.bind(static_cast<std::int64_t>(prefix.size())).bind(prefix);
    while (row.step()) result.push_back(row.text(0).value_or("").substr(prefix.size()));
    return result;
  }

  /// How many rows the table has, finished or not: counted one by one. Throws SQLITE_ERROR where there is no table.
  std::uint64_t rows(std::string_view id) const {
    statement count{catalog_.db(), "SELECT count(*) FROM " + stash::detail::sql_name(id), "rows", id};
    count.step();
    return static_cast<std::uint64_t>(count.integer(0));
  }

  /// The connection, for what this class does not do. Owned by this object: not to be closed.
  sqlite3* native_handle() const noexcept { return catalog_.db().get(); }

 private:
  using operation = stash::detail::operation;
  using statement = stash::detail::sqlite_statement;
  using transaction = stash::detail::sqlite_transaction;

  /// Whether the words, new info and what is beside it, stand in one text, as CKAN has them.
  static bool is_one_text(field const& f, boost::json::value const& annotated) {
    return f.comment || (!f.beside.empty() && annotated.get_object().contains(detail::comment_key));
  }

  /// Where rows of a resource go: into the table that is built for it, if one is, else into the live one.
  std::string table_for_load(std::string_view id) const {
    return builds_.contains(id) ? detail::sqlite_beside::name_of(id) : std::string(id);
  }

  detail::sqlite_catalog catalog_;
  detail::sqlite_builds builds_;
  stash::detail::owned_by_process owner_;
};

}  // namespace stash::inline v1::ckan

#include <stash/ckan/sqlite_loader.hpp>  // its loader
