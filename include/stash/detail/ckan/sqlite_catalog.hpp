#pragma once

#include <unistd.h>

#include <boost/json/object.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/detail/ckan/field_names.hpp>
#include <stash/detail/ckan/sqlite_words.hpp>
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
#include <utility>

namespace stash::inline v1::ckan::detail {

/// A file with resources, and the tables that tell of them: `_stash_resource`, `_stash_field` and `_stash_load`. Not
/// thread safe.
class sqlite_catalog {
 public:
  using operation = stash::detail::operation;

  /// As the constructor of `sqlite_datastore`.
  explicit sqlite_catalog(std::string const& file) : db_(opened(path_of(file))) {
    ::sqlite3_busy_timeout(db_.get(), long_wait);
    stash::detail::sqlite_statement encoding{db_, "PRAGMA encoding", "open", file};
    is_utf8_ = encoding.step() && encoding.text(0) == "UTF-8";
    if (::sqlite3_db_readonly(db_.get(), "main") == 1) return;
    has_wal_ = stash::detail::turn_to_wal(db_, std::chrono::milliseconds(long_wait), {"open", file});
    if (!has_wal_) db_.execute("PRAGMA journal_mode=DELETE", "open", file);
    sync_each_commit({"open", file});
  }

  /// Not in a transaction. So it is when it is opened.
  void sync_each_commit(operation const& op) const {
    db_.execute(has_wal_ ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=EXTRA", op.name, op.subject);
  }
  /// Not in a transaction. The file stays whole after a power cut, but the last commits may not be there.
  void sync_seldom(operation const& op) const {
    if (has_wal_) db_.execute("PRAGMA synchronous=NORMAL", op.name, op.subject);
  }

  /// While it lives, a call waits for other writers for a second, and not for a minute.
  struct short_wait {
    sqlite_catalog& catalog;
    explicit short_wait(sqlite_catalog& c) : catalog(c) { ::sqlite3_busy_timeout(catalog.db_.get(), 1000); }
    short_wait(short_wait const&) = delete;
    short_wait& operator=(short_wait const&) = delete;
    ~short_wait() { ::sqlite3_busy_timeout(catalog.db_.get(), long_wait); }
  };

  stash::detail::sqlite_connection& db() noexcept { return db_; }
  stash::detail::sqlite_connection const& db() const noexcept { return db_; }
  bool is_utf8() const noexcept { return is_utf8_; }

  [[noreturn]] void refuse(operation const& op, std::string why) const {
    throw error{errc::mismatch, std::string(op.name), std::string(op.subject), db_.file() + ": " + std::move(why)};
  }
  /// Throws `errc::mismatch` where the file's encoding would change a character.
  void require_held(std::string_view text, operation const& op) const {
    if (is_utf8_ || stash::detail::is_held(db_, text, op)) return;
    refuse(op, "the file's encoding, UTF-16, would change a character of " + stash::detail::quoted(text));
  }
  std::string text_of(boost::json::object const& words, operation const& op, std::string const& field) const {
    return stash::detail::about(
        op.subject, op.name, [&] { return json_.serialize(words); }, [&] { return "field \"" + field + '"'; });
  }

  bool has_resources() const { return has_table("_stash_resource"); }
  bool has_loads() const { return has_table("_stash_load"); }
  bool has_table(std::string_view name) const {
    return statement{db_, "SELECT 1 FROM sqlite_schema WHERE name = ?", "describe", {}}.bind(name).step();
  }

  /// Whether the resource is finished; nullopt: there is none, or its table is gone.
  std::optional<bool> is_finished(std::string_view id, operation const& op) const {
    if (!has_resources()) return std::nullopt;
    statement state{db_,
                    "SELECT finished FROM _stash_resource WHERE id = ? AND EXISTS (SELECT 1 FROM sqlite_schema WHERE"
                    " type = 'table' AND name = _stash_resource.id)",
                    op.name, op.subject};
    return state.bind(id).step() ? std::optional(state.integer(0) != 0) : std::nullopt;
  }
  /// What is written on a resource, finished or not.
  table_words words_of(std::string_view id, operation const& op) const {
    table_words result;
    statement row{db_,
                  "SELECT id, type, info, beside, position FROM _stash_field WHERE resource_id = ? ORDER BY position",
                  op.name, op.subject};
    row.bind(id);
    while (row.step()) {
      if (row.integer(4) < 0) {
        result.remarks = json_.deserialize<boost::json::object>(row.text(2).value_or(""));
        continue;
      }
      field f{row.text(0).value_or(""), row.text(1).value_or(""), std::nullopt, {}};
      detail::take_words(f, row.text(2), row.text(3), [&](std::string const& why) { refuse(op, why); });
      result.all.push_back(std::move(f));
    }
    return result;
  }

  /// Throws `errc::mismatch` for what `create` would refuse.
  void check_for_table(fields const& columns, boost::json::object const& remarks, operation const& op) const {
    refuse_foreign_table(op);
    for (char const* const reserved : {"sqlite_", "_stash_"}) {
      if (stash::detail::in_lower_case(op.subject).starts_with(reserved))
        refuse(op, "names that begin with " + std::string(reserved) + " are reserved");
    }
    auto const most = static_cast<std::size_t>(::sqlite3_limit(db_.get(), SQLITE_LIMIT_COLUMN, -1)) - 1;
    detail::check_fields(columns, remarks, {most, std::string::npos, stash::detail::in_lower_case}, op.name,
                         op.subject);
    for (field const& f : columns) {
      require_held(f.id + (is_utf8_ ? "" : detail::comment_of(f).value_or("")), op);
    }
  }

  /// Throws `errc::mismatch` where a table of the resource's name, in any letter case, is not its.
  void refuse_foreign_table(operation const& op) const {
    statement found{db_, "SELECT name FROM sqlite_schema WHERE name = ? COLLATE NOCASE", op.name, op.subject};
    if (!found.bind(op.subject).step()) return;
    if (found.text(0) == op.subject && is_finished(op.subject, op)) return;
    refuse(op, "table \"" + found.text(0).value_or("") + "\" is in the way and is not this resource's");
  }

  /// Throws `errc::mismatch` where rows were added to it by a loader that was not finished, whoever did.
  void refuse_lost_rows(std::string_view id, operation const& op) const {
    if (!has_loads()) return;
    statement lost{db_, "SELECT has_rows FROM _stash_load WHERE resource_id = ? ORDER BY has_rows DESC", op.name,
                   op.subject};
    if (!lost.bind(id).step()) return;
    refuse(op, lost.integer(0) != 0
                   ? "some rows of a loader that was not finished stand in it: drop it and create it anew"
                   : "rows were added by a loader that was not finished: call its finish() at the end of a load");
  }

  static std::string create_sql(std::string_view table, fields const& columns) {
    std::string sql = "CREATE TABLE " + stash::detail::sql_name(table) + " (_id INTEGER PRIMARY KEY";
    for (field const& f : columns) {
      sql += ", " + stash::detail::sql_name(f.id) + (f.type == "numeric" ? "" : " TEXT");
    }
    return sql + ')';
  }

  // In a transaction:

  /// The table, marked unfinished, and its words.
  void create(std::string_view id, fields const& columns, boost::json::object const& remarks, operation const& op) {
    db_.execute(
        "CREATE TABLE IF NOT EXISTS _stash_resource (id TEXT PRIMARY KEY, finished INTEGER NOT NULL);"
        "CREATE TABLE IF NOT EXISTS _stash_field (resource_id TEXT NOT NULL, position INTEGER NOT NULL,"
        " id TEXT NOT NULL, type TEXT NOT NULL, info TEXT, beside TEXT, PRIMARY KEY (resource_id, position))",
        op.name, op.subject);
    db_.execute(create_sql(id, columns), op.name, op.subject);
    forget(id, op);  // what is left of a table that somebody dropped
    statement{db_, "INSERT INTO _stash_resource VALUES (?, 0)", op.name, op.subject}.bind(id).run();
    write_words(id, {columns, remarks}, op);
  }
  void write_words(std::string_view id, table_words const& words, operation const& op) {
    statement{db_, "DELETE FROM _stash_field WHERE resource_id = ?", op.name, op.subject}.bind(id).run();
    statement row{db_, "INSERT INTO _stash_field VALUES (?, ?, ?, ?, ?, ?)", op.name, op.subject};
    std::int64_t position = 0;
    for (field const& f : words.all) {
      bool const is_verbatim = detail::comment_holds(f);
      std::optional<std::string> info = f.comment, beside;
      if (!is_verbatim) info = f.info ? std::optional(text_of(*f.info, op, f.id)) : std::nullopt;
      if (!is_verbatim && !f.beside.empty()) beside = text_of(f.beside, op, f.id);
      row.bind(id).bind(position++).bind(f.id).bind(f.type).bind(info).bind(beside).run();
    }
    if (words.remarks.empty()) return;
    std::string const text = text_of(words.remarks, op, table_key);
    row.bind(id).bind(std::int64_t{-1}).bind(table_key).bind("").bind(text).bind(std::nullopt).run();
  }
  void finish(std::string_view id, operation const& op) {
    if (!has_resources()) refuse(op, "there is no such resource");
    statement{db_, "UPDATE _stash_resource SET finished = 1 WHERE id = ?", op.name, op.subject}.bind(id).run();
    if (::sqlite3_changes(db_.get()) != 1) refuse(op, "there is no such resource");
  }
  /// The table, and what tells of it.
  void drop(std::string_view id, operation const& op) {
    db_.execute("DROP TABLE IF EXISTS " + stash::detail::sql_name(id), op.name, op.subject);
    forget(id, op);
  }
  void forget(std::string_view id, operation const& op) {
    if (has_resources()) {
      for (char const* const sql :
           {"DELETE FROM _stash_field WHERE resource_id = ?", "DELETE FROM _stash_resource WHERE id = ?"}) {
        statement{db_, sql, op.name, op.subject}.bind(id).run();
      }
    }
    if (has_loads()) {
      statement{db_, "DELETE FROM _stash_load WHERE resource_id = ?", op.name, op.subject}.bind(id).run();
    }
  }

 private:
  static constexpr int long_wait = 60'000;  // milliseconds

  using statement = stash::detail::sqlite_statement;

  static std::string path_of(std::string const& file) {
    auto const address = stash::detail::address_in(file);
    if (!address) return file;
    throw error{{EINVAL, boost::system::system_category()}, "open", {}, *address + "...: an address, and no file"};
  }
  static stash::detail::sqlite_connection opened(std::string const& file) {
    bool const is_on_read_only = ::faccessat(AT_FDCWD, file.c_str(), W_OK, AT_EACCESS) != 0 && errno == EROFS;
    // One thread at a time may use it: SQLite need not see to that at each call.
    constexpr int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (!is_on_read_only) return stash::detail::sqlite_connection{file, "open", flags};
    auto const how = stash::detail::sqlite_view_of(file, {"open", file});
    return stash::detail::sqlite_connection{how.uri, "open", SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, file};
  }

  stash::detail::sqlite_connection db_;
  bool is_utf8_ = true, has_wal_ = false;
  json_serializer json_;
};

}  // namespace stash::inline v1::ckan::detail
