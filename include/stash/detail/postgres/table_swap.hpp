#pragma once

#include <algorithm>
#include <functional>
#include <iterator>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/as_owner.hpp>
#include <stash/detail/postgres/attempts.hpp>
#include <stash/detail/postgres/belongings.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/failure_kinds.hpp>
#include <stash/detail/postgres/table_moves.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Puts a table in the place of another, with all that hangs on that one, where the new one does not say otherwise.
/// Whether it is all there is seen by listing it anew at the end: what could not be carried over is found missing, and
/// not lost. What depends on the table in a way that the lists do not know keeps the old one from being dropped.
///
/// The new table has the same name in another schema: so all that is its own (indexes, a sequence) can have the name
/// that it will have. `until` is asked for each statement's end. Not thread safe.
class postgres_table_swap {
 public:
  /// `live` and `built` are the schemas. `reader` is one for who has made the new table: `by`.
  postgres_table_swap(postgres_connection& db, postgres_belongings_reader const& reader, postgres_built_by by,
                      std::string live, std::string built, std::string name, operation const& op,
                      std::function<deadline()> until)
      : db_(db),
        reader_(reader),
        by_(by),
        live_(std::move(live)),
        built_(std::move(built)),
        name_(std::move(name)),
        op_(op),
        until_(std::move(until)),
        attempts_(db, op) {}

  /// What hangs on the live table that no new one could have, and that could not be left behind. Changes nothing.
  std::vector<left_behind> hopeless() const {
    std::vector<left_behind> result;
    auto const old = oid(live_), fresh = oid(built_);
    if (!old || !fresh) return result;
    auto all = dependents_of(*old);
    auto own_things = detail::missing(own(*old, *fresh, built_), own(*fresh, *fresh, built_));
    std::move(own_things.begin(), own_things.end(), std::back_inserter(all));
    for (auto const& one : all) {
      if (!one.make && !one.unmake) result.push_back({one.what(), postgres_attempts::no_way, {}});
    }
    return result;
  }

  /// Not in a transaction. Makes on the new table what takes long, as indexes do, and the planner's statistics. The
  /// table gets its owner first: what is in an index or a column runs as that. What cannot be made there, `run` will
  /// find missing. Throws 55P03 where another has a lock in the way; then it may be called again.
  void prepare() {
    auto const old = oid(live_), fresh = oid(built_);
    if (!fresh) refuse("what was built is gone");
    unprepared_.clear();
    if (old) prepare(*old, *fresh, built_, waits_for_autovacuum);
    db_.execute("ANALYZE " + sql(built_, name_), op_, postgres_attempts::forever());
  }
  /// The same, but for the planner's statistics, for two tables wherever they are: the new one is in `schema`.
  /// `set_timeout` says how long a lock is waited for.
  void prepare(std::string const& old, std::string const& fresh, std::string const& schema,
               std::string const& set_timeout) {
    unprepared_.clear();
    for (auto const& one : detail::missing(own(old, fresh, schema), own(fresh, fresh, schema))) {
      if (one.kind == "owner" && by_ == postgres_built_by::us) detail::admit(db_, schema, one.name, op_, until_);
      if (one.step < first_step_of_swap) make_before(one, fresh, schema, set_timeout);
    }
  }
  /// `run` makes all, also what takes long.
  void prepare_nothing() { makes_all_ = true; }

  /// In a transaction that has locked the live table, if there is one. Carries over what hangs on it, destroys it, puts
  /// the new one in its place. `lost` are things of the live table that the new one does not have, whatever is done.
  /// `save(left)` is called before something is left behind, `write()` for the new table's words as soon as it has its
  /// name.
  ///
  /// false: something new that takes long hangs on the live table since `prepare`. Throws `errc::mismatch` where
  /// something could not be carried over, and may not be left behind. Then the transaction is to be rolled back, and
  /// all is as it was.
  template <class Save, class Write>
  bool run(bool may_leave, std::vector<left_behind> lost, Save save, Write write) {
    auto old = oid(live_);
    bool const is_first = !old;
    if (is_first) {  // an empty one stands in for it: so the new one gets what a table here has by default
      db_.execute("CREATE TABLE " + sql(live_, name_) + " (_id serial PRIMARY KEY)", op_, until_());
      old = oid(live_);
    }
    auto const fresh = oid(built_);
    if (!fresh) refuse("what was built is gone");
    return run(*old, *fresh, {}, is_first, may_leave, std::move(lost), save, write);
  }
  /// The same, for two tables by their oids, after the statements `moves`, which bring the old one to its place and the
  /// new one out of its way.
  template <class Save>
  bool run(std::string const& old, std::string const& fresh, std::string const& moves, bool may_leave, Save save) {
    return run(old, fresh, moves, false, may_leave, {}, save, [] {});
  }

  /// As `run`, where there is no new table.
  template <class Save>
  void drop_only(bool may_leave, Save save) {
    attempts_.reset();
    lost_.clear();
    auto const old = oid(live_);
    if (!old) refuse("what is to be dropped is gone");  // its schema may have another name
    auto const dependents = dependents_of(*old);
    for (auto const& one : dependents) {
      if (one.comes_off_first) execute(*one.unmake);
      attempts_.add(one, "nothing was built in the table's place");
    }
    if (!attempts_.failed().empty()) leave_behind_all(may_leave, dependents, save);
    drop(sql(live_, name_));
  }

  /// What was left behind.
  std::vector<left_behind> left() const {
    std::vector<left_behind> result = lost_;
    auto failed = attempts_.left();
    std::move(failed.begin(), failed.end(), std::back_inserter(result));
    return result;
  }

 private:
  static constexpr int first_step_of_swap = 10, most_rounds = 4;

  [[noreturn]] void refuse(std::string why) const {
    throw error{errc::mismatch, std::string(op_.name), std::string(op_.subject), std::move(why)};
  }
  std::string sql(std::string const& schema, std::string const& name) const {
    return detail::qualified(db_, schema, name);
  }
  std::optional<std::string> oid(std::string const& schema) const {
    return detail::oid_of(db_, schema, name_, op_, until_());
  }
  postgres_belongings dependents_of(std::string const& oid) const { return reader_.dependents(oid, op_, until_()); }
  /// As statements for the table of this name in `schema`.
  postgres_belongings own(std::string const& oid, std::string const& for_table, std::string const& schema,
                          std::string const& first = {}) const {
    return reader_.own(oid, for_table, sql(schema, name_), db_.identifier(schema), op_, until_(), first);
  }
  void execute(std::string const& statements) const { attempts_.execute(statements); }

  template <class Save, class Write>
  bool run(std::string const& old, std::string const& fresh, std::string const& first, bool is_first, bool may_leave,
           std::vector<left_behind> lost, Save save, Write write) {
    attempts_.reset();
    lost_ = std::move(lost);
    auto const [rights, wanted, dependents, renames] =
        reader_.all(old, fresh, sql(live_, name_), db_.identifier(live_), op_, until_(), first);
    for (auto const& one : dependents) {
      if (one.comes_off_first) attempts_.attempt(one, one.unmake);
    }
    auto const moves = detail::moves_of_table(db_, fresh, live_, op_, until_(), renames);
    if (!carry_over(wanted, fresh, moves, is_first)) return false;
    for (bool const off_first : {false, true}) {  // materialized views see the others as they are now
      std::vector<postgres_attempts::making> together;
      for (auto const& one : dependents) {
        if (one.comes_off_first == off_first && !attempts_.has_failed(one)) together.push_back({&one, one.make});
      }
      make(together);
    }
    if (!attempts_.failed().empty() || !lost_.empty()) leave_behind_all(may_leave, dependents, save);
    // Who grants or revokes takes no lock of the table.
    if (reader_.rights_on(old, op_, until_()) != rights) return false;
    drop(sql(live_, detail::name_aside(old)));
    write();
    verify(wanted, dependents, fresh);
    return true;
  }

  void make_before(postgres_belonging const& one, std::string const& fresh, std::string const& schema,
                   std::string const& set_timeout) {
    if (!one.make) return unprepared_.push_back({one, postgres_attempts::no_way});
    try {
      execute(set_timeout + "; " + as_who_may(one, fresh, schema));  // in the transaction that several statements are
    } catch (error const& problem) {
      auto why = postgres_attempts::reason(db_, problem);
      if (one.kind == "primary key" && by_ == postgres_built_by::us) throw;  // no table of a datastore's is without
      unprepared_.push_back({one, std::move(why)});
    }
  }
  /// The statements that make it; where they run what the table's owner wrote, with his rights.
  std::string as_who_may(postgres_belonging const& one, std::string const& fresh, std::string const& schema) const {
    bool const is_owners = one.kind == "check constraint" || one.kind == "generated column";
    return is_owners ? detail::as_owner(db_, schema, fresh, *one.make, op_, until_()) : *one.make;
  }

  void make(std::vector<postgres_attempts::making> const& all) {
    if (makes_all_) return static_cast<void>(attempts_.attempt(all));
    for (auto const& one : all) attempts_.attempt(*one.what, one.statements);
  }
  void drop(std::string const& aside) const {
    try {
      execute("DROP TABLE " + aside);
    } catch (error const& problem) {
      if (problem.code() != stash::sqlstate("2BP01")) throw;
      refuse("what hangs on the table could not be carried over: " + problem.detail());
    }
  }

  /// Makes the new table's own things equal to `wanted`; in rounds, for grants depend on the owner, and an index may
  /// give another its name. What is still not there is among the failed. After the statements `first`. false: as `run`.
  bool carry_over(postgres_belongings const& wanted, std::string const& fresh, std::string first, bool is_first) {
    auto const before = attempts_.failed();
    for (int round = 0;; ++round) {
      auto const there = own(fresh, fresh, live_, std::exchange(first, {}));
      auto left = detail::missing(wanted, there);
      std::erase_if(left, [&](auto const& one) { return is_made_key(one, there); });
      attempts_.reset(before);
      bool is_changed = false;
      for (auto const& one : detail::missing(there, wanted)) {
        if (one.unmake && (!is_first || one.kind == "grant")) is_changed |= attempts_.attempt(one, one.unmake);
      }
      std::vector<postgres_attempts::making> together;
      for (auto const& one : left) {
        if (makes_all_ && one.kind != "owner") {  // as whom the rest is made
          together.push_back({&one, one.make ? std::optional(as_who_may(one, fresh, live_)) : std::nullopt});
        } else if (makes_all_ || one.step >= first_step_of_swap) {
          is_changed |= attempts_.attempt(one, one.make);
        } else if (auto const known = why_unprepared(one)) {
          attempts_.add(one, *known);
        } else {
          return false;
        }
      }
      if (!together.empty()) is_changed |= attempts_.attempt(together);
      if (!is_changed || round == most_rounds) return true;
    }
  }
  /// A primary key that the new table did not have: since an earlier round made it, it is listed as a rename.
  bool is_made_key(postgres_belonging const& one, postgres_belongings const& there) const {
    return makes_all_ && one.kind == "primary key" && !one.is_rename() &&
           std::any_of(there.begin(), there.end(), [&](auto const& other) { return other.is_same(one); });
  }
  std::optional<std::string> why_unprepared(postgres_belonging const& one) const {
    auto const found =
        std::find_if(unprepared_.begin(), unprepared_.end(), [&](auto const& f) { return f.what.is_same(one); });
    return found == unprepared_.end() ? std::nullopt : std::optional(found->why);
  }

  template <class Save>
  void leave_behind_all(bool may_leave, postgres_belongings const& dependents, Save save) {
    auto const all = left();
    if (!may_leave) refuse("could not be carried over, and leave_behind was not said: " + detail::list_of(all));
    save(all);
    for (auto const& one : dependents) {
      if (!attempts_.has_failed(one) || one.comes_off_first) continue;
      if (!one.unmake) refuse("can neither be carried over nor be left behind: " + one.what());
      execute(*one.unmake);
    }
  }

  void verify(postgres_belongings const& wanted, postgres_belongings const& dependents,
              std::string const& fresh) const {
    auto const compare = [&](postgres_belongings const& all, postgres_belongings const& now) {
      for (auto const& one : detail::missing(all, now)) {
        if (!attempts_.has_failed(one)) refuse(one.what() + " is not on the new table as it was on the old one");
      }
    };
    if (!makes_all_) compare(wanted, own(fresh, fresh, live_));  // else nothing came after carry_over's last look
    compare(dependents, dependents_of(fresh));
  }

  postgres_connection& db_;
  postgres_belongings_reader const& reader_;
  postgres_built_by by_;
  bool makes_all_ = false;
  std::string live_, built_, name_;
  operation op_;
  std::function<deadline()> until_;
  postgres_attempts attempts_;
  std::vector<postgres_attempts::failure> unprepared_;
  std::vector<left_behind> lost_;
};

}  // namespace stash::inline v1::detail
