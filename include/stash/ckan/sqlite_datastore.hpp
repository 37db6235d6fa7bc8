#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/detail/ckan/field_names.hpp>
#include <stash/detail/ckan/sqlite_words.hpp>
#include <stash/detail/fork.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/table.hpp>
#include <stash/detail/sqlite/view.hpp>
#include <stash/detail/text/address.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
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
  explicit sqlite_datastore(std::string const& file) : db_(opened(path_of(file))) {
    ::sqlite3_busy_timeout(db_.get(), 60'000);
    stash::detail::sqlite_statement encoding{db_, "PRAGMA encoding", "open", file};
    is_utf8_ = encoding.step() && encoding.text(0) == "UTF-8";
    if (::sqlite3_db_readonly(db_.get(), "main") == 1) return;
    stash::detail::sqlite_statement mode{db_, "PRAGMA journal_mode=WAL", "open", file};
    bool const wal = mode.step() && mode.text(0) == "wal";
    mode.reset();
    db_.execute(wal ? "PRAGMA synchronous=FULL" : "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA", "open", file);
  }
  /// Not while a loader uses the other, which may only be destroyed afterwards.
  sqlite_datastore(sqlite_datastore&&) noexcept = default;
  /// Closes the file; in a forked child, nothing.
  ~sqlite_datastore() {
    if (!owner_.is_current()) db_.abandon();
  }

  /// The fields of a whole table, in column order; nullopt: none, or an unfinished one. Throws
  /// `errc::mismatch` where a table of that name, in any letter case, stands there that is not this resource's, and
  /// where somebody wrote something that would not come back into the columns `info` and `beside`.
  std::optional<fields> describe(std::string_view id) const {
    refuse_foreign_table(id, "describe");
    if (!has_resources()) return std::nullopt;
    statement state{db_, "SELECT finished FROM _stash_resource WHERE id = ?", "describe", id};
    if (!state.bind(id).step() || state.integer(0) == 0) return std::nullopt;
    fields result;
    statement row{db_,
                  "SELECT id, type, info, beside FROM _stash_field WHERE resource_id = ? AND position >= 0"
                  " ORDER BY position",
                  "describe", id};
    row.bind(id);
    while (row.step()) {
      field f{row.text(0).value_or(""), row.text(1).value_or(""), std::nullopt, {}};
      detail::take_words(f, row.text(2), row.text(3), [&](std::string const& why) { refuse("describe", id, why); });
      result.push_back(std::move(f));
    }
    return result;
  }

  /// What `create` was given with a table that is whole now. Empty: nothing. Throws as `describe`.
  boost::json::object remarks(std::string_view id) const {
    if (!describe(id)) return {};
    statement row{db_, "SELECT info FROM _stash_field WHERE resource_id = ? AND position = -1", "remarks", id};
    if (!row.bind(id).step()) return {};
    return json_.deserialize<boost::json::object>(row.text(0).value_or(""));
  }

  /// Throws `errc::mismatch` for what `create` would refuse: a table that is not ours, a reserved resource id, no
  /// or too many fields, a field name that is empty or has a NUL, or two that are equal when their ASCII letters are
  /// folded to one case, as SQLite does. And for a field name that CKAN refuses: one that begins with "_", begins or
  /// ends with white space, or has a double quote. Changes nothing.
  void check(std::string_view id, fields const& columns) const {
    check_for_table(id, columns, {});
    for (field const& f : columns) detail::refuse_field_name(f, "check", id);
  }

  /// Makes the table, marked unfinished, and its dictionary, in one transaction. Fields that have words keep the name
  /// that they had, though CKAN would refuse it now. Throws as `check`, SQLITE_ERROR where the resource exists, and
  /// `errc::unserializable` for a dictionary that JSON cannot bring back. `remarks` are kept as they are; no fields at
  /// all are allowed where there are some.
  void create(std::string_view id, fields const& columns, boost::json::object const& remarks = {}) {
    check_for_table(id, columns, remarks);
    transaction all{db_, "create", id};
    db_.execute(
        "CREATE TABLE IF NOT EXISTS _stash_resource (id TEXT PRIMARY KEY, finished INTEGER NOT NULL);"
        "CREATE TABLE IF NOT EXISTS _stash_field (resource_id TEXT NOT NULL, position INTEGER NOT NULL,"
        " id TEXT NOT NULL, type TEXT NOT NULL, info TEXT, beside TEXT, PRIMARY KEY (resource_id, position))",
        "create", id);
    std::string sql = "CREATE TABLE " + stash::detail::sql_name(id) + " (_id INTEGER PRIMARY KEY";
    for (field const& f : columns) {
      sql += ", " + stash::detail::sql_name(f.id) + (f.type == "numeric" ? "" : " TEXT");
    }
    db_.execute(sql + ")", "create", id);
    statement{db_, "INSERT INTO _stash_resource VALUES (?, 0)", "create", id}.bind(id).run();
    statement row{db_, "INSERT INTO _stash_field VALUES (?, ?, ?, ?, ?, ?)", "create", id};
    std::int64_t position = 0;
    for (field const& f : columns) {
      bool const is_verbatim = detail::comment_holds(f);
      std::optional<std::string> info = f.comment, beside;
      if (!is_verbatim) info = f.info ? std::optional(text_of(*f.info, "create", id, f.id)) : std::nullopt;
      if (!is_verbatim && !f.beside.empty()) beside = text_of(f.beside, "create", id, f.id);
      row.bind(id).bind(position++).bind(f.id).bind(f.type).bind(info).bind(beside).run();
    }
    if (!remarks.empty()) {
      std::string const text = text_of(remarks, "create", id, table_key);
      row.bind(id).bind(std::int64_t{-1}).bind(table_key).bind("").bind(text).bind(std::nullopt).run();
    }
    all.commit();
  }

  /// Takes the unfinished mark away; where there is none, does nothing. Throws `errc::mismatch` where there is no such
  /// resource, or rows were added to it by a loader that was not finished, and no later one was.
  void finish(std::string_view id) {
    transaction all{db_, "finish", id};
    refuse_lost_rows(id);
    if (!has_resources()) refuse("finish", id, "there is no such resource");
    statement{db_, "UPDATE _stash_resource SET finished = 1 WHERE id = ?", "finish", id}.bind(id).run();
    if (::sqlite3_changes(db_.get()) != 1) refuse("finish", id, "there is no such resource");
    all.commit();
  }

  /// Removes the table, finished or not, with its rows and its dictionary. Nothing there: does nothing. Throws as
  /// `describe`.
  void drop(std::string_view id) {
    transaction all{db_, "drop", id};
    refuse_foreign_table(id, "drop");  // within: nobody can make such a table now
    db_.execute("DROP TABLE IF EXISTS " + stash::detail::sql_name(id), "drop", id);
    if (has_resources()) {
      for (char const* const sql :
           {"DELETE FROM _stash_field WHERE resource_id = ?", "DELETE FROM _stash_resource WHERE id = ?"}) {
        statement{db_, sql, "drop", id}.bind(id).run();
      }
    }
    if (has_loads()) statement{db_, "DELETE FROM _stash_load WHERE resource_id = ?", "drop", id}.bind(id).run();
    all.commit();
  }

  /// Replaces the info of the fields that the dictionary names, all or none; what is beside it stays, byte for byte. A
  /// remark that is no info is refused (`errc::mismatch`), unless the new info has it in its `notes`.
  ///
  /// Throws `errc::mismatch` where the resource is not live, has no such field, or the dictionary has something that is
  /// no object, has a "_beside", or has a "_verbatim" that says something else (see `parse_dictionary`).
  void annotate(std::string_view id, data_dictionary const& dictionary) {
    transaction all{db_, "annotate", id};
    auto const live = describe(id);
    if (!live) refuse("annotate", id, "the resource is not live");
    std::unordered_map<std::string_view, field const*> by_name;
    for (field const& f : *live) by_name.emplace(f.id, &f);
    statement row{db_, "UPDATE _stash_field SET info = ?, beside = ? WHERE resource_id = ? AND id = ?", "annotate", id};
    for (auto const& member : dictionary) {
      std::string const name(member.key());
      auto const f = by_name.find(name);
      if (f == by_name.end()) refuse("annotate", id, "there is no field \"" + name + "\"");
      auto const comment = detail::comment_of(*f->second).value_or("");
      std::string info = stash::detail::about(
          id, "annotate", [&] { return detail::info_to_write(member.value(), comment); },
          [&] { return "field \"" + name + '"'; });
      std::optional<std::string> beside;
      if (is_one_text(*f->second, member.value())) {
        info = detail::with_info(comment, info);
      } else if (!f->second->beside.empty()) {
        beside = text_of(f->second->beside, "annotate", id, name);
      }
      require_held(info + beside.value_or(""), "annotate", id);
      row.bind(info).bind(beside).bind(id).bind(name).run();
    }
    all.commit();
  }

  /// How many rows the table has, finished or not: counted one by one. Throws SQLITE_ERROR where there is no table.
  std::uint64_t rows(std::string_view id) const {
    statement count{db_, "SELECT count(*) FROM " + stash::detail::sql_name(id), "rows", id};
    count.step();
    return static_cast<std::uint64_t>(count.integer(0));
  }

  /// The connection, for what this class does not do. Owned by this object: not to be closed.
  sqlite3* native_handle() const noexcept { return db_.get(); }

 private:
  using statement = stash::detail::sqlite_statement;
  using transaction = stash::detail::sqlite_transaction;

  static std::string path_of(std::string const& file) {
    auto const address = stash::detail::address_in(file);
    if (!address) return file;
    throw error{{EINVAL, boost::system::system_category()}, "open", {}, *address + "...: an address, and no file"};
  }

  static stash::detail::sqlite_connection opened(std::string const& file) {
    bool const is_on_read_only = ::faccessat(AT_FDCWD, file.c_str(), W_OK, AT_EACCESS) != 0 && errno == EROFS;
    if (!is_on_read_only) return stash::detail::sqlite_connection{file};
    auto const how = stash::detail::sqlite_view_of(file, {"open", file});
    return stash::detail::sqlite_connection{how.uri, "open", SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, file};
  }

  /// Throws `errc::mismatch` where the file's encoding would change a character.
  void require_held(std::string_view text, char const* operation, std::string_view id) const {
    if (is_utf8_ || stash::detail::is_held(db_, text, {operation, id})) return;
    refuse(operation, id, "the file's encoding, UTF-16, would change a character of " + stash::detail::quoted(text));
  }

  [[noreturn]] void refuse(char const* operation, std::string_view id, std::string why) const {
    throw error{errc::mismatch, operation, std::string(id), db_.file() + ": " + std::move(why)};
  }
  std::string text_of(boost::json::object const& words, char const* operation, std::string_view id,
                      std::string const& field) const {
    return stash::detail::about(
        id, operation, [&] { return json_.serialize(words); }, [&] { return "field \"" + field + '"'; });
  }

  void check_for_table(std::string_view id, fields const& columns, boost::json::object const& remarks) const {
    refuse_foreign_table(id, "check");
    for (char const* const reserved : {"sqlite_", "_stash_"}) {
      if (stash::detail::in_lower_case(id).starts_with(reserved))
        refuse("check", id, "names that begin with " + std::string(reserved) + " are reserved");
    }
    auto const most = static_cast<std::size_t>(::sqlite3_limit(db_.get(), SQLITE_LIMIT_COLUMN, -1)) - 1;
    detail::check_fields(columns, remarks, {most, std::string::npos, stash::detail::in_lower_case}, "check", id);
    for (field const& f : columns) {
      require_held(f.id + (is_utf8_ ? "" : detail::comment_of(f).value_or("")), "check", id);
    }
  }

  /// Whether the words, new info and what is beside it, stand in one text, as CKAN has them.
  static bool is_one_text(field const& f, boost::json::value const& annotated) {
    return f.comment || (!f.beside.empty() && annotated.get_object().contains(detail::comment_key));
  }

  bool has_table(char const* name, char const* operation) const {
    return statement{db_, "SELECT 1 FROM sqlite_schema WHERE name = ?", operation, {}}.bind(name).step();
  }
  bool has_resources() const { return has_table("_stash_resource", "describe"); }
  bool has_loads() const { return has_table("_stash_load", "load"); }

  /// Whoever added them.
  void refuse_lost_rows(std::string_view id) const {
    if (!has_loads()) return;
    statement lost{db_, "SELECT has_rows FROM _stash_load WHERE resource_id = ? ORDER BY has_rows DESC", "finish", id};
    if (!lost.bind(id).step()) return;
    refuse("finish", id,
           lost.integer(0) != 0 ? "some rows of a loader that was not finished stand in it: drop it and create it anew"
                                : "rows were added by a loader that was not finished: load them again");
  }

  void refuse_foreign_table(std::string_view id, char const* operation) const {
    statement found{db_, "SELECT name FROM sqlite_schema WHERE name = ? COLLATE NOCASE", operation, id};
    if (!found.bind(id).step()) return;
    if (found.text(0) == id && has_resources()) {
      statement ours{db_, "SELECT 1 FROM _stash_resource WHERE id = ?", operation, id};
      if (ours.bind(id).step()) return;
    }
    refuse(operation, id, "table \"" + found.text(0).value_or("") + "\" is in the way and is not this resource's");
  }

  stash::detail::sqlite_connection db_;
  bool is_utf8_ = true;
  json_serializer json_;
  stash::detail::owned_by_process owner_;
};

}  // namespace stash::inline v1::ckan

#include <stash/ckan/sqlite_loader.hpp>  // its loader
