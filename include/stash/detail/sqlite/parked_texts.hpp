#pragma once

#include <algorithm>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/hanging.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// A table as statements that make an empty one.
struct sqlite_table_text {
  std::string name, sql;  ///< empty: not known
  std::vector<sqlite_belonging> belongings;
  bool is_analyzed = false;

  bool is_known() const noexcept { return !sql.empty() || !belongings.empty(); }
};

/// The table `_stash_parked` of a file: what was taken off a parked table, because its name is to be free, and what
/// puts it on again. It stands in the file, so that it is there whenever the parked table is. `place` is the table's
/// name, `type` is `table`, `index`, `trigger` or `analyzed`. Not thread safe.
class sqlite_parked_texts {
 public:
  sqlite_parked_texts(sqlite_connection const& db, std::string place, operation const& op)
      : db_(db), place_(std::move(place)), op_(op) {}

  static constexpr std::string_view table = "_stash_parked";

  bool has_table() const {
    return statement("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_stash_parked'").step();
  }

  /// Whether one is parked, or was put back by hand.
  bool has_place() const {
    return has_table() &&
           statement("SELECT 1 FROM _stash_parked WHERE place = ? AND type = 'table'").bind(place_).step();
  }

  sqlite_table_text read() const {
    sqlite_table_text all;
    if (!has_table()) return all;
    auto row = statement("SELECT place, type, name, sql FROM _stash_parked WHERE place = ? ORDER BY rowid");
    row.bind(place_);
    while (row.step()) {
      auto const type = row.text(1).value_or("");
      if (type == "table") {
        all.name = row.text(0).value_or("");
        all.sql = row.text(3).value_or("");
      } else if (type == "analyzed") {
        all.is_analyzed = true;
      } else {
        all.belongings.push_back({type, row.text(2).value_or(""), row.text(3).value_or("")});
      }
    }
    return all;
  }

  // In a transaction:

  /// Beside what stands there.
  void add(sqlite_table_text const& all) {
    db_.execute(
        "CREATE TABLE IF NOT EXISTS _stash_parked (place TEXT NOT NULL COLLATE NOCASE, type TEXT NOT NULL,"
        " name TEXT NOT NULL COLLATE NOCASE, sql TEXT NOT NULL, UNIQUE (place, type, name))",
        op_.name, op_.subject);
    auto row = statement("INSERT OR REPLACE INTO _stash_parked (place, type, name, sql) VALUES (?, ?, ?, ?)");
    auto const put = [&](std::string const& type, std::string const& name, std::string const& sql) {
      row.bind(all.name).bind(type).bind(name).bind(sql).run();
    };
    put("table", all.name, all.sql);
    for (auto const& one : all.belongings) put(one.type, one.name, one.sql);
    if (all.is_analyzed) put("analyzed", "", "");
  }
  /// All but `kept`; and the table with the last.
  void forget_all_but(std::vector<sqlite_belonging> const& kept) {
    if (!has_table()) return;
    for (auto const& one : read().belongings) {
      bool const is_kept = std::any_of(kept.begin(), kept.end(),
                                       [&](auto const& k) { return k.type == one.type && k.name == one.name; });
      if (is_kept) continue;
      auto gone = statement("DELETE FROM _stash_parked WHERE place = ? AND type = ? AND name = ?");
      gone.bind(place_).bind(one.type).bind(one.name).run();
    }
    statement("DELETE FROM _stash_parked WHERE place = ? AND type NOT IN ('index', 'trigger')").bind(place_).run();
    if (!statement("SELECT 1 FROM _stash_parked").step())
      db_.execute("DROP TABLE _stash_parked", op_.name, op_.subject);
  }

 private:
  sqlite_statement statement(std::string const& sql) const { return {db_, sql, op_.name, op_.subject}; }

  sqlite_connection const& db_;
  std::string place_;
  operation op_;
};

}  // namespace stash::inline v1::detail
