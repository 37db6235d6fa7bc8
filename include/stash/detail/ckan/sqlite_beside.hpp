#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/detail/ckan/sqlite_catalog.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/names_stay.hpp>
#include <stash/detail/sqlite/table_swap.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan::detail {

/// A table that an object builds.
struct sqlite_build {
  std::int64_t number;    ///< by which it knows its own again
  std::int64_t last_row;  ///< the greatest `_id` of the live table when it was begun; 0: it had no rows
};
/// By resource.
using sqlite_builds = std::map<std::string, sqlite_build, std::less<>>;

/// A resource's table that is built under a name of ours, in the same file, to take the live one's place.
class sqlite_beside {
 public:
  sqlite_beside(sqlite_catalog& catalog, sqlite_builds& builds, stash::detail::operation const& op)
      : catalog_(catalog), db_(catalog.db()), builds_(builds), op_(op), table_(name_of(op.subject)) {}

  static std::string name_of(std::string_view id) { return "_stash_beside_" + std::string(id); }

  /// Makes an empty table, in place of what an earlier run left.
  void build(fields const& columns, boost::json::object const& remarks) {
    {
      stash::detail::sqlite_transaction all{db_, op_.name, op_.subject};
      catalog_.check_for_table(columns, remarks, op_);
      catalog_.drop(table_, op_);
      catalog_.create(table_, columns, remarks, op_);
      statement("UPDATE _stash_resource SET finished = -2 - abs(random() % 4611686018427387904) WHERE id = ?")
          .bind(table_)
          .run();
      builds_.insert_or_assign(std::string(op_.subject), sqlite_build{*number(), last_row()});
      all.commit();
    }
    catalog_.sync_seldom(op_);  // what is not there after a power cut would be removed anyway
  }

  std::vector<left_behind> swap_in(swap_options const& options) {
    catalog_.sync_each_commit(op_);
    sqlite_catalog::short_wait const short_wait{catalog_};
    auto const end = std::chrono::steady_clock::now() + options.patience;
    for (;;) {
      try {
        note_complete();
        return try_swap(options);
      } catch (error const& problem) {
        bool const is_locked = problem.code().category() == stash::detail::sqlite_category() &&
                               (problem.code().value() & 0xff) == SQLITE_BUSY;
        if (!is_locked) throw;
        if (options.waiting) options.waiting("another writes to " + db_.file());
        if (std::chrono::steady_clock::now() >= end) {
          throw error{errc::busy, std::string(op_.name), std::string(op_.subject), problem.detail()};
        }
      }
    }
  }

  /// By one that builds it, only its own.
  void discard() {
    catalog_.sync_each_commit(op_);
    auto const built = builds_.find(op_.subject);
    bool const is_anothers =
        built != builds_.end() && number() && *number() != built->second.number && !is_complete(*number());
    builds_.erase(std::string(op_.subject));
    if (is_anothers || !catalog_.has_table(table_)) return;
    stash::detail::sqlite_transaction all{db_, op_.name, op_.subject};
    catalog_.drop(table_, op_);
    all.commit();
  }

 private:
  // A complete table has the last row instead of its number.
  static bool is_complete(std::int64_t number) { return number >= 0; }

  stash::detail::sqlite_statement statement(std::string const& sql) const { return {db_, sql, op_.name, op_.subject}; }
  /// Of the live table.
  std::int64_t last_row() const {
    if (!catalog_.has_table(op_.subject)) return 0;
    auto row = statement("SELECT max(0, coalesce(max(_id), 0)) FROM " + stash::detail::sql_name(op_.subject));
    row.step();
    return row.integer(0);
  }
  /// What others have added to the live table since the new one was begun.
  std::vector<left_behind> rows_meanwhile(std::int64_t last) const {
    if (!catalog_.has_table(op_.subject)) return {};
    // One that was made since is another: its entry stands behind that of what was built.
    auto other = statement(
        "SELECT 1 FROM _stash_resource live, _stash_resource built WHERE live.id = ? AND built.id = ?"
        " AND live.rowid > built.rowid");
    bool const is_another = other.bind(op_.subject).bind(table_).step();
    auto row = statement("SELECT count(*) FROM " + stash::detail::sql_name(op_.subject) + " WHERE _id > ?");
    row.bind(is_another ? std::numeric_limits<std::int64_t>::min() : last).step();
    if (row.integer(0) == 0) return {};
    return {stash::detail::rows_meanwhile(static_cast<std::uint64_t>(row.integer(0)))};
  }
  std::optional<std::int64_t> number() const {
    if (!catalog_.has_resources()) return std::nullopt;
    auto row = statement("SELECT finished FROM _stash_resource WHERE id = ?");
    return row.bind(table_).step() ? std::optional(row.integer(0)) : std::nullopt;
  }

  /// In a transaction: that what stands beside the live table has all its rows, and was built by this object, or by one
  /// that gave up when it was complete. The last row that the live table had when it was begun.
  std::int64_t require_built() const {
    auto const now = number();
    if (!now) catalog_.refuse(op_, "nothing was built for it");
    auto const built = builds_.find(op_.subject);
    bool const is_ours = built != builds_.end() && built->second.number == *now;
    if (!is_ours && !is_complete(*now)) catalog_.refuse(op_, "what was built is not complete, or another's");
    catalog_.refuse_lost_rows(table_, op_);
    return is_ours ? built->second.last_row : *now;
  }
  void note_complete() {
    stash::detail::sqlite_transaction all{db_, op_.name, op_.subject};
    auto const last = require_built();
    statement("UPDATE _stash_resource SET finished = ? WHERE id = ?").bind(last).bind(table_).run();
    all.commit();
  }

  std::vector<left_behind> try_swap(swap_options const& options) {
    std::string const id(op_.subject);
    stash::detail::sqlite_names_stay const names{db_, op_};
    stash::detail::sqlite_transaction all{db_, op_.name, op_.subject};
    auto const last = require_built();
    catalog_.refuse_foreign_table(op_);
    bool const is_first = !catalog_.is_finished(id, op_);
    table_words words = catalog_.words_of(table_, op_);
    if (options.words) {
      words = options.words(std::move(words), is_first ? std::nullopt : std::optional(catalog_.words_of(id, op_)));
    }
    std::map<std::string, std::string> columns{{"_id", "INTEGER"}};
    if (!is_first) {
      for (field const& f : catalog_.words_of(id, op_).all) columns[f.id] = f.type == "numeric" ? "" : "TEXT";
    }
    stash::detail::sqlite_table_swap swap{db_, table_, id, std::move(columns), op_};
    swap.run(options.leave_behind, rows_meanwhile(last), [&](auto const& left) {
      if (options.leaving) options.leaving(left);
    });
    catalog_.forget(id, op_);
    statement("UPDATE _stash_resource SET id = ?, finished = 1 WHERE id = ?").bind(id).bind(table_).run();
    statement("DELETE FROM _stash_field WHERE resource_id = ?").bind(table_).run();
    catalog_.write_words(id, words, op_);
    all.commit();
    builds_.erase(id);
    return swap.left();
  }

  sqlite_catalog& catalog_;
  stash::detail::sqlite_connection const& db_;
  sqlite_builds& builds_;
  stash::detail::operation op_;
  std::string table_;
};

}  // namespace stash::inline v1::ckan::detail
