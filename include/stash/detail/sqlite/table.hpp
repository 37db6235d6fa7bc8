#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <boost/system/errc.hpp>
#include <cstdint>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>

// The table `stash` of an SQLite file. (Its name is in no option, so all this is about a connection alone.)
namespace stash::inline v1::detail {

inline constexpr char sqlite_table_sql[] =
    "CREATE TABLE stash (key TEXT NOT NULL, set_aside TEXT NOT NULL DEFAULT '', set_aside_at TEXT,"
    " version INTEGER NOT NULL, saved_at TEXT NOT NULL, xxh64 TEXT NOT NULL, payload NOT NULL,"
    " PRIMARY KEY (key, set_aside))";

[[noreturn]] inline void refuse_table(sqlite_connection const& db, std::string_view why, operation const& op) {
  throw error{boost::system::errc::make_error_code(boost::system::errc::operation_not_supported), std::string(op.name),
              std::string(op.subject), (db.file() + ": ").append(why)};
}

/// Its definition; nullopt: there is none. Throws where something else has its name. (A damaged row of SQLite's own may
/// have lost one of the two names that are asked for.)
inline std::optional<std::string> sqlite_table_of(sqlite_connection const& db, operation const& op) {
  sqlite_statement row{db,
                       "SELECT type, sql FROM sqlite_schema WHERE (name = 'stash' COLLATE NOCASE AND type <> 'trigger')"
                       " OR (tbl_name = 'stash' COLLATE NOCASE AND type NOT IN ('trigger', 'index'))",
                       op.name, op.subject};
  if (!row.step()) return std::nullopt;
  auto sql = row.text(1).value_or("");
  if (row.text(0) != "table" || sql.starts_with("CREATE VIRTUAL")) {
    detail::refuse_table(db, "what it has by the name \"stash\" is no table", op);
  }
  return sql;
}

/// Before a change: throws where a table of that name, which others made, would not keep each record once. (What
/// triggers and generated columns do to a row is seen in the row.)
inline void check_sqlite_table(sqlite_connection const& db, operation const& op) {
  // WITHOUT ROWID, putting the same row again would write nothing, and sync nothing.
  sqlite_statement row{db,
                       "SELECT (SELECT sum(wr) FROM pragma_table_list('stash') WHERE schema = 'main'), count(*) FROM"
                       " pragma_index_list('stash') l WHERE l.\"unique\" AND NOT l.partial AND"
                       " (SELECT group_concat(name || ' ' || coll) FROM (SELECT name, coll FROM"
                       " pragma_index_xinfo(l.name) WHERE key ORDER BY name)) = 'key BINARY,set_aside BINARY'",
                       op.name, op.subject};
  row.step();
  if (row.integer(0) != 0) detail::refuse_table(db, "its table \"stash\" is WITHOUT ROWID", op);
  if (row.integer(1) == 0) detail::refuse_table(db, "its table \"stash\" has no unique index on (key, set_aside)", op);
}

/// Throws `SQLITE_CORRUPT` where the table or its index is damaged: a record may be there then, and not be found. A
/// larger file is not looked through; in it only what is damaged on the way to a record is noticed.
inline void require_whole(sqlite_connection const& db, bool has_table, operation const& op) {
  constexpr std::int64_t longest = 64 << 20;  // bytes, some 0.3 s
  auto const integer_of = [&](char const* sql) {
    sqlite_statement row{db, sql, op.name, op.subject};
    row.step();
    return row.integer(0);
  };
  if (integer_of("PRAGMA page_count") * integer_of("PRAGMA page_size") > longest) return;
  sqlite_statement found{db, has_table ? "PRAGMA integrity_check('stash')" : "PRAGMA integrity_check(1)", op.name,
                         op.subject};
  found.step();
  auto const said = found.text(0).value_or("");
  if (said == "ok") return;
  throw error{
      {SQLITE_CORRUPT, sqlite_category()}, std::string(op.name), std::string(op.subject), db.file() + ": " + said};
}

/// Whether the file has `text` as it is: in a file of UTF-16, SQLite makes U+FFFD of U+FFFE and U+FFFF.
inline bool is_held(sqlite_connection const& db, std::string_view text, operation const& op) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) return true;
  sqlite_statement row{db, "SELECT ?", op.name, op.subject};
  row.bind(text).step();  // there is always one
  return row.text(0) == text;
}

/// Throws `errc::invalid_key` where the file's encoding would make another key of `k`.
inline void require_held(sqlite_connection const& db, key const& k, operation const& op) {
  if (!detail::is_held(db, k.str(), op))
    op.fail(errc::invalid_key, db.file(), "its encoding, UTF-16, would change this key");
}

}  // namespace stash::inline v1::detail
