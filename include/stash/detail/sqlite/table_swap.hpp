#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// While it lives, a table can be dropped and another be renamed to its name, and what others say of that name means
/// the new one: with SQLite's defaults of today, views and triggers would be changed with the old table, or be in the
/// way. To be made before a transaction begins, for SQLite ignores a change of foreign_keys in one.
class sqlite_names_stay {
 public:
  sqlite_names_stay(sqlite_connection const& db, operation const& op) : db_(db), op_(op) {
    sqlite_statement now{db, "PRAGMA foreign_keys", op.name, op.subject};
    now.step();
    had_foreign_keys_ = now.integer(0) != 0;
    now.reset();
    db_.execute("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON", op.name, op.subject);
  }
  sqlite_names_stay(sqlite_names_stay const&) = delete;
  sqlite_names_stay& operator=(sqlite_names_stay const&) = delete;
  ~sqlite_names_stay() {
    ::sqlite3_exec(db_.get(), "PRAGMA legacy_alter_table = OFF", nullptr, nullptr, nullptr);
    if (had_foreign_keys_) ::sqlite3_exec(db_.get(), "PRAGMA foreign_keys = ON", nullptr, nullptr, nullptr);
  }

 private:
  sqlite_connection const& db_;
  operation op_;
  bool had_foreign_keys_ = false;
};

/// Puts a table in the place of another, with what hangs on that: indexes, triggers, views, the others' foreign keys,
/// the planner's statistics. In a transaction, while `sqlite_names_stay` lives. Not thread safe.
class sqlite_table_swap {
 public:
  /// `columns` are those that the live table was made with, with their types.
  sqlite_table_swap(sqlite_connection const& db, std::string built, std::string live,
                    std::map<std::string, std::string> columns, operation const& op)
      : db_(db), built_(std::move(built)), live_(std::move(live)), columns_(std::move(columns)), op_(op) {}

  /// `lost` are things of the live table that the new one does not have, whatever is done. Calls `save(left)` before
  /// something is left behind. Throws `errc::mismatch` where something cannot be carried over
  /// and may not be left behind: then the transaction is to be rolled back, and all is as it was.
  template <class Save>
  void run(bool may_leave, std::vector<left_behind> lost, Save save) {
    failed_ = std::move(lost);
    auto const views = working_views();
    auto const broken_before = broken_triggers();
    auto const keys = broken_keys();
    bool const has_statistics = is_analyzed();
    auto const wanted = belongings();
    look_at_definition();
    db_.execute("DROP TABLE IF EXISTS " + detail::sql_name(live_) + "; ALTER TABLE " + detail::sql_name(built_) +
                    " RENAME TO " + detail::sql_name(live_),
                op_.name, op_.subject);
    for (auto const& one : wanted) attempt(one);
    std::string to_drop;
    for (auto const& [trigger, why] : broken_triggers()) {
      if (!broken_before.contains(trigger)) give_up("trigger", trigger, why, to_drop);
    }
    for (auto const& view : views) {
      if (auto const why = problem_with("SELECT * FROM " + detail::sql_name(view)))
        give_up("view", view, *why, to_drop);
    }
    if (!failed_.empty()) leave_behind_all(may_leave, to_drop, save);
    for (auto const& [table, before] : keys) {
      auto const now = broken_keys_of(table);
      if (std::includes(before.begin(), before.end(), now.begin(), now.end())) continue;
      refuse("foreign keys of table " + table + " would not hold any more");
    }
    if (has_statistics) db_.execute("ANALYZE " + detail::sql_name(live_), op_.name, op_.subject);
  }

  /// What was left behind.
  std::vector<left_behind> const& left() const noexcept { return failed_; }

 private:
  struct belonging {
    std::string type, name, sql;
  };

  [[noreturn]] void refuse(std::string why) const {
    throw error{errc::mismatch, std::string(op_.name), std::string(op_.subject), db_.file() + ": " + std::move(why)};
  }
  sqlite_statement statement(std::string const& sql) const { return {db_, sql, op_.name, op_.subject}; }
  std::string text_of(std::string_view type, std::string_view name) const {
    auto row = statement("SELECT sql FROM sqlite_schema WHERE type = ? AND name = ?");
    return row.bind(type).bind(name).step() ? row.text(0).value_or("") : "";
  }

  std::vector<belonging> belongings() const {
    std::vector<belonging> all;
    auto row = statement(
        "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = ? COLLATE NOCASE AND type IN ('index', 'trigger')"
        " AND sql IS NOT NULL ORDER BY type, rowid");
    row.bind(live_);
    while (row.step()) all.push_back({row.text(0).value_or(""), row.text(1).value_or(""), row.text(2).value_or("")});
    return all;
  }

  /// What somebody made of the table itself cannot be made of another one.
  void look_at_definition() {
    constexpr std::array<std::string_view, 11> made_by_hand{"UNIQUE",        "CHECK",     "REFERENCES", "COLLATE",
                                                            "AUTOINCREMENT", "GENERATED", "AS",         "NOT",
                                                            "STRICT",        "WITHOUT",   "DEFAULT"};
    std::string const sql = text_of("table", live_);
    for (auto const& word : words_of(sql)) {
      if (std::find(made_by_hand.begin(), made_by_hand.end(), word) == made_by_hand.end()) continue;
      failed_.push_back({"definition of the table", "it says " + word + ", which somebody made of it", sql});
      return;
    }
    auto column = statement("SELECT name, type FROM pragma_table_info(?)");
    column.bind(live_);
    while (column.step()) {
      auto const name = column.text(0).value_or(""), type = column.text(1).value_or("");
      auto const found = columns_.find(name);
      if (found != columns_.end() && (found->second == type || (found->second.empty() && type == "NUMERIC"))) continue;
      failed_.push_back({"column " + name, "somebody made it, or gave it another type", sql});
    }
  }
  /// Those that are no names in quotes, in upper case.
  static std::vector<std::string> words_of(std::string_view sql) {
    std::vector<std::string> words(1);
    char quote = 0;
    for (char c : sql) {
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'' || c == '`' || c == '[') {
        quote = c == '[' ? ']' : c;
      } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_') {
        words.back() += c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
      } else if (!words.back().empty()) {
        words.emplace_back();
      }
    }
    return words;
  }

  /// Not that the disk is full, or broken.
  static void require_fault_of_statement(error const& problem) {
    int const code = problem.code().value() & 0xff;
    if (code != SQLITE_ERROR && code != SQLITE_CONSTRAINT) throw problem;
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
  void attempt(belonging const& one) {
    if (auto why = problem_with_running(one.sql)) failed_.push_back({one.type + ' ' + one.name, *why, one.sql});
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
  void give_up(std::string const& type, std::string const& name, std::string const& why, std::string& to_drop) {
    failed_.push_back({type + ' ' + name, why, text_of(type, name)});
    to_drop += "DROP " + type + ' ' + detail::sql_name(name) + ';';
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
  std::vector<std::string> working_views() const {
    std::vector<std::string> views = all_views();
    std::erase_if(
        views, [&](auto const& name) { return problem_with("SELECT * FROM " + detail::sql_name(name)).has_value(); });
    return views;
  }

  /// The rows of each other table that refer to a row of this one that is not there, each with the number of its key.
  using broken_rows = std::set<std::pair<std::int64_t, std::int64_t>>;
  std::map<std::string, broken_rows> broken_keys() const {
    std::map<std::string, broken_rows> result;
    auto row = statement(
        "SELECT DISTINCT s.name FROM sqlite_schema s, pragma_foreign_key_list(s.name) f WHERE s.type = 'table'"
        " AND f.\"table\" = ? COLLATE NOCASE AND s.name <> ? COLLATE NOCASE");
    row.bind(live_).bind(live_);
    while (row.step()) result.emplace(row.text(0).value_or(""), broken_rows{});
    for (auto& [table, broken] : result) broken = broken_keys_of(table);
    return result;
  }
  broken_rows broken_keys_of(std::string const& table) const {
    broken_rows result;
    try {
      auto row = statement("SELECT rowid, fkid FROM pragma_foreign_key_check(?) WHERE parent = ? COLLATE NOCASE");
      row.bind(table).bind(live_);
      while (row.step()) result.emplace(row.integer(0), row.integer(1));
    } catch (error const& problem) {
      if (problem.code().value() != SQLITE_ERROR) throw;
      result.emplace(-1, -1);  // what it refers to is no key (SQLite's "foreign key mismatch")
    }
    return result;
  }

  bool is_analyzed() const {
    if (!statement("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'").step()) return false;
    auto row = statement("SELECT 1 FROM sqlite_stat1 WHERE tbl = ? COLLATE NOCASE");
    return row.bind(live_).step();
  }

  template <class Save>
  void leave_behind_all(bool may_leave, std::string const& to_drop, Save save) {
    if (!may_leave) refuse("could not be carried over, and leave_behind was not said: " + detail::list_of(failed_));
    save(failed_);
    db_.execute(to_drop, op_.name, op_.subject);
  }

  sqlite_connection const& db_;
  std::string built_, live_;
  std::map<std::string, std::string> columns_;
  operation op_;
  std::vector<left_behind> failed_;
};

}  // namespace stash::inline v1::detail
