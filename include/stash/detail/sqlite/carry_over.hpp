#pragma once

#include <algorithm>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/hanging.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// What hung on a table is made to hang on the one that has taken its place: indexes, triggers, views, the others'
/// foreign keys, the planner's statistics. In a transaction, while `sqlite_names_stay` lives. Not thread safe.
class sqlite_carry_over {
 public:
  sqlite_carry_over(sqlite_connection const& db, std::string table, operation const& op)
      : db_(db), hanging_(db, table, op), table_(std::move(table)), op_(op) {}

  /// Something that the new table does not have, whatever is done.
  void lose(left_behind one) { failed_.push_back(std::move(one)); }

  /// `before` is what hung on the old table, and `wanted` what is to be made on the new one. Calls `save(left)` before
  /// something is left behind. Throws `errc::mismatch` where something cannot be carried over and may not be left
  /// behind: then the transaction is to be rolled back, and all is as it was.
  template <class Save>
  void run(sqlite_hung const& before, std::vector<sqlite_belonging> const& wanted, bool may_leave, Save save) {
    for (auto const& one : wanted) attempt(one);
    std::string to_drop;
    for (auto const& [trigger, why] : hanging_.broken_triggers()) {
      if (!before.broken_triggers.contains(trigger)) give_up("trigger", trigger, why, to_drop);
    }
    for (auto const& view : before.working_views) {
      if (auto const why = hanging_.problem_with("SELECT * FROM " + detail::sql_name(view)))
        give_up("view", view, *why, to_drop);
    }
    if (!failed_.empty()) leave_behind_all(may_leave, to_drop, save);
    for (auto const& [table, broken] : before.broken_keys) {
      auto const now = hanging_.broken_keys_of(table);
      if (std::includes(broken.begin(), broken.end(), now.begin(), now.end())) continue;
      refuse("foreign keys of table " + table + " would not hold any more");
    }
    if (before.is_analyzed) db_.execute("ANALYZE " + detail::sql_name(table_), op_.name, op_.subject);
  }

  /// What was left behind.
  std::vector<left_behind> const& left() const noexcept { return failed_; }

 private:
  [[noreturn]] void refuse(std::string why) const {
    throw error{errc::mismatch, std::string(op_.name), std::string(op_.subject), db_.file() + ": " + std::move(why)};
  }
  void attempt(sqlite_belonging const& one) {
    if (auto why = hanging_.problem_with_running(one.sql))
      failed_.push_back({one.type + ' ' + one.name, *why, one.sql});
  }
  void give_up(std::string const& type, std::string const& name, std::string const& why, std::string& to_drop) {
    failed_.push_back({type + ' ' + name, why, hanging_.text_of(type, name)});
    to_drop += "DROP " + type + ' ' + detail::sql_name(name) + ';';
  }

  template <class Save>
  void leave_behind_all(bool may_leave, std::string const& to_drop, Save save) {
    if (!may_leave) refuse("could not be carried over, and leave_behind was not said: " + detail::list_of(failed_));
    save(failed_);
    db_.execute(to_drop, op_.name, op_.subject);
  }

  sqlite_connection const& db_;
  sqlite_hanging hanging_;
  std::string table_;
  operation op_;
  std::vector<left_behind> failed_;
};

}  // namespace stash::inline v1::detail
