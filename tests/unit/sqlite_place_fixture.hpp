#pragma once

#include <sqlite3.h>

#include <fstream>
#include <stash/place/sqlite_table.hpp>
#include <string>
#include <vector>

#include "support.hpp"

namespace sqlite_place_test {

using namespace std::chrono_literals;
using namespace std::string_literals;
using stash::errc;
using stash::sqlite_table;
using stash::sqlite_table_options;
using support::code_of;
using support::message_of;
namespace json = boost::json;

/// A file, as it is seen through connections of others.
struct database {
  std::string file;

  void execute(std::string const& sql) const {
    stash::detail::sqlite_connection db{file};
    ::sqlite3_busy_timeout(db.get(), 5000);
    db.execute(sql, "test", {});
  }
  std::vector<std::string> query(std::string const& sql) const {
    stash::detail::sqlite_connection db{file};
    stash::detail::sqlite_statement row{db, sql, "query", {}};
    std::vector<std::string> result;
    while (row.step()) result.push_back(row.text(0).value_or("NULL"));
    return result;
  }
  std::string text(std::string const& sql) const {
    std::string all;
    for (auto const& line : query(sql)) all += (all.empty() ? "" : ",") + line;
    return all;
  }
  /// All that stands in it but for rows. A rename puts the table's name in quotes, which says the same.
  std::vector<std::string> schema() const {
    return query(
        "SELECT type || '|' || name || '|' || tbl_name || '|' || replace(coalesce(sql, ''), 'TABLE \"x\"', 'TABLE x')"
        " FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY 1");
  }
  std::string ids() const { return text("SELECT id FROM x ORDER BY id"); }
};

/// Table `x` with one of each that may hang on a table.
inline char const make_x[] =
    "CREATE TABLE x (id INTEGER PRIMARY KEY, day TEXT, n REAL DEFAULT 1 CHECK (n >= 0));"
    "INSERT INTO x (id, day) VALUES (1, 'a'), (2, 'b');"
    "CREATE TABLE log (text);"
    "CREATE INDEX by_day ON x (day DESC) WHERE id > 0;"
    "CREATE UNIQUE INDEX \"the key\" ON x (id, day COLLATE NOCASE);"
    "CREATE INDEX lower_day ON x (lower(day));"
    "CREATE TRIGGER noting AFTER UPDATE OF day ON x BEGIN INSERT INTO log VALUES (new.day); END;"
    "CREATE TRIGGER of_log AFTER INSERT ON log BEGIN UPDATE x SET n = 2 WHERE id = -1; END;"
    "CREATE VIEW alias AS SELECT id, day FROM x;"
    "CREATE VIEW over AS SELECT count(*) AS n FROM alias;"
    "CREATE VIEW broken AS SELECT no_such FROM x;"
    "CREATE TRIGGER on_alias INSTEAD OF INSERT ON alias BEGIN INSERT INTO x (id) VALUES (new.id); END;"
    "CREATE TABLE child (ref INTEGER REFERENCES x (id) ON DELETE CASCADE);"
    "INSERT INTO child VALUES (1), (99);"
    "ANALYZE;";

/// What a job says that knows nothing of us; with one of the indexes.
inline char const rebuild_x[] =
    "PRAGMA foreign_keys = ON;"
    "DROP TABLE IF EXISTS x;"
    "CREATE TABLE x (id INTEGER PRIMARY KEY, day TEXT, n REAL DEFAULT 1 CHECK (n >= 0));"
    "INSERT INTO x (id, day) VALUES (1, 'c'), (4, 'd'), (5, 'e');"
    "CREATE INDEX by_day ON x (day DESC) WHERE id > 0;";

/// As the documentation has it.
inline char const back_by_hand[] =
    "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; SELECT 1 FROM _stash_parked_x LIMIT 0;"
    "DROP TABLE IF EXISTS x; ALTER TABLE _stash_parked_x RENAME TO x";

struct fixture : support::scratch, database {
  fixture() : database{(root / "one.sqlite").native()} {}
  stash::file_stash store{dir()};

  sqlite_table place(sqlite_table_options options = {}, std::string name = "x") const {
    return sqlite_table{file, std::move(name), options};
  }
  static sqlite_table_options leaving() { return {.leave_behind = true}; }
  /// A guard around `job`, with commit.
  template <class Job>
  void replace(Job job, sqlite_table_options options = {},
               stash::guard_options guarding = {.observer = stash::silent}) {
    stash::replace_guard guard{store, "x", place(options), std::move(guarding)};
    job();
    guard.commit();
  }
};

/// What stands in a file of `make_x` whose rows are these, after a step that was to change them.
inline std::string whole_as(database const& db, std::vector<std::string> const& schema_before) {
  if (!db.query("SELECT 1 FROM sqlite_schema WHERE name LIKE '\\_stash%' ESCAPE '\\'").empty())
    return "something of ours";
  if (db.schema() != schema_before) return "another schema";
  return db.ids();
}

}  // namespace sqlite_place_test
