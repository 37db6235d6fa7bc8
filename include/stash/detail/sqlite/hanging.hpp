#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Of an index or a trigger of a table.
struct sqlite_belonging {
  std::string type, name, sql;
};

/// The rows of a table that refer to a row that is not there, each with the number of its key. Those of a table WITHOUT
/// ROWID cannot be told apart: they count.
using sqlite_broken_rows = std::multiset<std::pair<std::optional<std::int64_t>, std::int64_t>>;

/// What hangs on a table, and worked, before another takes its place.
struct sqlite_hung {
  std::vector<std::string> working_views;
  std::map<std::string, std::string> broken_triggers;  ///< with SQLite's words
  std::map<std::string, sqlite_broken_rows> broken_keys;
  bool is_analyzed = false;
};

/// What hangs on a table by its name, and whether it works. In a transaction, while `sqlite_names_stay` lives. Not
/// thread safe.
class sqlite_hanging {
 public:
  sqlite_hanging(sqlite_connection const& db, std::string table, operation const& op)
      : db_(db), table_(std::move(table)), op_(op) {}

  sqlite_hung look() const { return {working_views(), broken_triggers(), broken_keys(), is_analyzed()}; }

  std::string text_of(std::string_view type, std::string_view name) const {
    auto row = statement("SELECT sql FROM sqlite_schema WHERE type = ? AND name = ?");
    return row.bind(type).bind(name).step() ? row.text(0).value_or("") : "";
  }

  std::vector<sqlite_belonging> belongings() const {
    std::vector<sqlite_belonging> all;
    auto row = statement(
        "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = ? COLLATE NOCASE AND type IN ('index', 'trigger')"
        " AND sql IS NOT NULL ORDER BY type, rowid");
    row.bind(table_);
    while (row.step()) all.push_back({row.text(0).value_or(""), row.text(1).value_or(""), row.text(2).value_or("")});
    return all;
  }

  /// nullopt: SQLite can run it.
  std::optional<std::string> problem_with(std::string const& sql) const {
    try {
      statement(sql);
      return std::nullopt;
    } catch (error const& problem) {
      require_fault_of_statement(problem);
      return problem.detail();
    }
  }
  /// nullopt: it was done; else nothing was.
  std::optional<std::string> problem_with_running(std::string const& sql) const {
    std::optional<std::string> why;
    db_.execute("SAVEPOINT stash", op_.name, op_.subject);
    try {
      db_.execute(sql, op_.name, op_.subject);
    } catch (error const& problem) {
      require_fault_of_statement(problem);
      why = problem.detail();
    }
    db_.execute(why ? "ROLLBACK TO stash; RELEASE stash" : "RELEASE stash", op_.name, op_.subject);
    return why;
  }
  /// Those that name what is not there, with SQLite's words. It looks at a trigger when a table is renamed by today's
  /// rules, and, as for what it writes to, when it compiles a statement that fires it: so both are tried, one trigger
  /// at a time, and all that is taken back.
  std::map<std::string, std::string> broken_triggers() const {
    std::map<std::string, std::string> tables, result;
    auto row = statement("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger'");
    while (row.step()) tables.emplace(row.text(0).value_or(""), row.text(1).value_or(""));
    row.reset();
    for (auto const& [trigger, table] : tables) {
      db_.execute("SAVEPOINT stash_trigger; CREATE TABLE _stash_probe (x)", op_.name, op_.subject);
      for (auto const& [other, ignored] : tables) {
        if (other != trigger) db_.execute("DROP TRIGGER " + detail::sql_name(other), op_.name, op_.subject);
      }
      for (auto const& view : all_views()) {  // of which it would complain instead
        if (view != table && problem_with("SELECT * FROM " + detail::sql_name(view))) {
          db_.execute("DROP VIEW " + detail::sql_name(view), op_.name, op_.subject);
        }
      }
      if (auto why = problem_with_renaming()) {
        result.emplace(trigger, *why);
      } else if (auto also = problem_with_writing_to(table)) {
        result.emplace(trigger, *also);
      }
      db_.execute("ROLLBACK TO stash_trigger; RELEASE stash_trigger", op_.name, op_.subject);
    }
    return result;
  }
  std::vector<std::string> working_views() const {
    std::vector<std::string> views = all_views();
    std::erase_if(
        views, [&](auto const& name) { return problem_with("SELECT * FROM " + detail::sql_name(name)).has_value(); });
    return views;
  }

  /// Of each other table that refers to this one.
  std::map<std::string, sqlite_broken_rows> broken_keys() const {
    std::map<std::string, sqlite_broken_rows> result;
    auto row = statement(
        "SELECT DISTINCT s.name FROM sqlite_schema s, pragma_foreign_key_list(s.name) f WHERE s.type = 'table'"
        " AND f.\"table\" = ? COLLATE NOCASE AND s.name <> ? COLLATE NOCASE");
    row.bind(table_).bind(table_);
    while (row.step()) result.emplace(row.text(0).value_or(""), sqlite_broken_rows{});
    for (auto& [table, broken] : result) broken = broken_keys_of(table);
    return result;
  }
  sqlite_broken_rows broken_keys_of(std::string const& table) const {
    sqlite_broken_rows result;
    try {
      auto row = statement("SELECT rowid, fkid FROM pragma_foreign_key_check(?) WHERE parent = ? COLLATE NOCASE");
      row.bind(table).bind(table_);
      while (row.step()) {
        auto const id = row.integer(0);
        result.emplace(row.text(0) ? std::optional(id) : std::nullopt, row.integer(1));
      }
    } catch (error const& problem) {
      if (problem.code().value() != SQLITE_ERROR) throw;
      result.emplace(-1, -1);  // what it refers to is no key (SQLite's "foreign key mismatch")
    }
    return result;
  }

  bool is_analyzed() const {
    if (!statement("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'").step()) return false;
    auto row = statement("SELECT 1 FROM sqlite_stat1 WHERE tbl = ? COLLATE NOCASE");
    return row.bind(table_).step();
  }

 private:
  std::optional<std::string> problem_with_renaming() const {
    db_.execute("PRAGMA legacy_alter_table = OFF", op_.name, op_.subject);
    auto why = problem_with_running("ALTER TABLE _stash_probe RENAME TO _stash_probe_2");
    db_.execute("PRAGMA legacy_alter_table = ON", op_.name, op_.subject);
    return why;
  }
  std::optional<std::string> problem_with_writing_to(std::string const& table) const {
    std::string set;
    auto column = statement("SELECT name FROM pragma_table_info(?)");
    column.bind(table);
    while (column.step()) {
      auto const name = detail::sql_name(column.text(0).value_or(""));
      set.append(set.empty() ? "" : ", ").append(name).append(" = ").append(name);
    }
    for (auto const& sql :
         {"INSERT INTO " + detail::sql_name(table) + " DEFAULT VALUES", "DELETE FROM " + detail::sql_name(table),
          "UPDATE " + detail::sql_name(table) + " SET " + set}) {
      auto why = problem_with(sql);
      if (why && why->find("cannot modify") == why->npos) return why;  // a view, with a trigger for other statements
    }
    return std::nullopt;
  }
  std::vector<std::string> all_views() const {
    std::vector<std::string> views;
    auto row = statement("SELECT name FROM sqlite_schema WHERE type = 'view'");
    while (row.step()) views.push_back(row.text(0).value_or(""));
    return views;
  }
  sqlite_statement statement(std::string const& sql) const { return {db_, sql, op_.name, op_.subject}; }
  /// Not that the disk is full, or broken.
  static void require_fault_of_statement(error const& problem) {
    int const code = problem.code().value() & 0xff;
    if (code != SQLITE_ERROR && code != SQLITE_CONSTRAINT) throw problem;
  }

  sqlite_connection const& db_;
  std::string table_;
  operation op_;
};

}  // namespace stash::inline v1::detail
