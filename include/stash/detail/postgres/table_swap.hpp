#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/as_owner.hpp>
#include <stash/detail/postgres/belongings.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/failure_kinds.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Puts a table in the place of another, with all that hangs on that one. Whether it is all there is seen by listing it
/// anew at the end: what could not be carried over is found missing, and not lost. What depends on the table in a way
/// that the lists do not know keeps the old one from being dropped.
///
/// The new table has the same name in another schema: so all that is its own (indexes, a sequence) can have the name
/// that it will have. `until` is asked for each statement's end. Not thread safe.
class postgres_table_swap {
 public:
  /// `live` and `built` are the schemas.
  postgres_table_swap(postgres_connection& db, std::string live, std::string built, std::string name,
                      operation const& op, std::function<deadline()> until)
      : db_(db),
        live_(std::move(live)),
        built_(std::move(built)),
        name_(std::move(name)),
        op_(op),
        until_(std::move(until)),
        reader_(db, op, until_()) {}

  /// The oid of what has this name, a table or not; nullopt: nothing.
  static std::optional<std::string> oid_of(postgres_connection& db, std::string const& schema, std::string const& name,
                                           operation const& op, deadline until) {
    auto const found = db.run(
        "SELECT c.oid::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1::text AND c.relname = $2::text",
        {schema, name}, op, until);
    return found.rows() > 0 ? std::optional(found.text(0, 0)) : std::nullopt;
  }

  /// What hangs on the live table that no new one could have, and that could not be left behind. Changes nothing.
  std::vector<left_behind> hopeless() const {
    std::vector<left_behind> result;
    auto const old = oid(live_), fresh = oid(built_);
    if (!old || !fresh) return result;
    auto all = reader_.dependents(*old, until_());
    auto own_things = detail::missing(own(*old, *fresh, built_), own(*fresh, *fresh, built_));
    std::move(own_things.begin(), own_things.end(), std::back_inserter(all));
    for (auto const& one : all) {
      if (!one.make && !one.unmake) result.push_back({one.what(), no_way, {}});
    }
    return result;
  }

  /// Not in a transaction. Makes on the new table what takes long, as indexes do, and the planner's statistics. The
  /// table gets its owner first: what is in an index or a column runs as that. What cannot be made there, `run` will
  /// find missing. Throws 55P03 where another has a lock in the way; then it may be called again.
  void prepare() {
    unprepared_.clear();
    auto const old = oid(live_), fresh = oid(built_);
    if (!fresh) refuse("what was built is gone");
    if (old) {
      for (auto const& one : detail::missing(own(*old, *fresh, built_), own(*fresh, *fresh, built_))) {
        if (one.kind == "owner") detail::admit(db_, built_, one.name, op_, until_);
        if (one.step < first_step_of_swap) make_before(one, *fresh);
      }
    }
    db_.execute("ANALYZE " + sql(built_, name_), op_, forever());
  }

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
    failed_.clear();
    lost_ = std::move(lost);
    bool const is_first = !oid(live_);
    // Where there is no table, an empty one stands in for it: so the new one gets what a table here has by default.
    if (is_first) db_.execute("CREATE TABLE " + sql(live_, name_) + " (_id serial PRIMARY KEY)", op_, until_());
    auto const old = oid(live_), fresh = oid(built_);
    if (!fresh) refuse("what was built is gone");
    auto const wanted = own(*old, *fresh, live_);
    auto const rights = rights_on(*old);
    auto const dependents = reader_.dependents(*old, until_());
    for (auto const& one : dependents) {
      if (one.comes_off_first) attempt(one, one.unmake);
    }
    std::string const aside = move_aside(*old);
    put_in_place(*fresh);
    if (!carry_over(wanted, *fresh, is_first)) return false;
    for (bool const first : {false, true}) {  // materialized views see the others as they are now
      for (auto const& one : dependents) {
        if (one.comes_off_first == first && !has_failed(one)) attempt(one, one.make);
      }
    }
    if (!failed_.empty() || !lost_.empty()) leave_behind_all(may_leave, dependents, save);
    // Who grants or revokes takes no lock of the table.
    if (rights_on(*old) != rights) return false;
    drop(aside);
    write();
    verify(wanted, dependents, *fresh);
    return true;
  }

  /// What was left behind.
  std::vector<left_behind> left() const {
    std::vector<left_behind> result = lost_;
    for (auto const& [one, why] : failed_) {
      result.push_back({one.what(), why, one.ddl ? *one.ddl : one.make.value_or("")});
    }
    return result;
  }

 private:
  static constexpr int first_step_of_swap = 10, most_rounds = 4;
  static constexpr char no_way[] = "there is no statement that would make it anew";

  struct failure {
    postgres_belonging what;
    std::string why;
  };

  [[noreturn]] void refuse(std::string why) const {
    throw error{errc::mismatch, std::string(op_.name), std::string(op_.subject), std::move(why)};
  }
  std::string sql(std::string const& schema, std::string const& name) const {
    return db_.identifier(schema) + '.' + db_.identifier(name);
  }
  std::optional<std::string> oid(std::string const& schema) const { return oid_of(db_, schema, name_, op_, until_()); }
  /// As statements for the table of this name in `schema`.
  postgres_belongings own(std::string const& oid, std::string const& for_table, std::string const& schema) const {
    return reader_.own(oid, for_table, sql(schema, name_), db_.identifier(schema), until_());
  }
  /// For what may take hours, in which the server says nothing; that it is gone, the connection notices.
  static deadline forever() { return detail::deadline_in(std::chrono::hours(24)); }

  void execute(std::string const& statements) const { db_.execute(statements, op_, forever()); }

  void make_before(postgres_belonging const& one, std::string const& fresh) {
    if (!one.make) return unprepared_.push_back({one, no_way});
    bool const is_owners = one.kind == "check constraint" || one.kind == "generated column";
    try {
      // In the transaction that several statements are.
      execute(std::string(waits_for_autovacuum) + "; " +
              (is_owners ? detail::as_owner(db_, built_, fresh, *one.make, op_, until_()) : *one.make));
    } catch (error const& problem) {
      if (db_.is_lost() || detail::may_be_tried_again(problem) || !detail::is_about_the_statement(problem)) throw;
      if (one.kind == "primary key") throw;  // a table without one is none of a datastore's
      unprepared_.push_back({one, problem.detail()});
    }
  }

  /// Whether it was done; else all but that is as before, and it is among the failed.
  bool attempt(postgres_belonging const& one, std::optional<std::string> const& statements) {
    if (!statements) {
      failed_.push_back({one, no_way});
      return false;
    }
    try {
      execute("SAVEPOINT stash; " + *statements + "; RELEASE stash");
      return true;
    } catch (error const& problem) {
      if (db_.is_lost() || detail::may_be_tried_again(problem) || !detail::is_about_the_statement(problem)) throw;
      failed_.push_back({one, problem.detail()});
    }
    execute("ROLLBACK TO stash; RELEASE stash");
    return false;
  }
  /// GRANTs on the table and its columns.
  std::string rights_on(std::string const& oid) const {
    auto const found = db_.run(
        "SELECT coalesce(c.relacl::text, '-') || coalesce((SELECT string_agg(attnum || attacl::text, ' ' ORDER BY "
        "attnum)"
        " FROM pg_attribute WHERE attrelid = c.oid), '') FROM pg_class c WHERE c.oid = $1::text::oid",
        {oid}, op_, until_());
    return found.text(0, 0);
  }
  void drop(std::string const& aside) const {
    try {
      execute("DROP TABLE " + aside);
    } catch (error const& problem) {
      if (problem.code() != stash::sqlstate("2BP01")) throw;
      refuse("what hangs on the table could not be carried over: " + problem.detail());
    }
  }
  bool has_failed(postgres_belonging const& one) const {
    return std::any_of(failed_.begin(), failed_.end(), [&](auto const& f) { return f.what.is_same(one); });
  }

  /// Gives the old table and what is its own other names. Returns its name as SQL.
  std::string move_aside(std::string const& old) const {
    auto const found = db_.run(
        "SELECT string_agg(format('ALTER %s %I.%I RENAME TO %I', kind, nspname, name, 'stash: replaced ' || its.oid), "
        "'; ' ORDER BY kind, name)"
        " FROM (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' ELSE 'TABLE' "
        "END"
        " AS kind, relnamespace AS schema, relname AS name, c.oid FROM pg_class c WHERE c.oid = $1::text::oid OR c.oid "
        "IN"
        " (SELECT indexrelid FROM pg_index WHERE indrelid = $1::text::oid) OR c.relkind = 'S' AND c.oid IN (SELECT "
        "objid"
        " FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid WHERE refobjid = "
        "$1::text::oid"
        " AND classid = 'pg_class'::regclass AND (deptype = 'i' OR deptype = 'a' AND attname = '_id'))"
        " UNION ALL SELECT 'STATISTICS', stxnamespace, stxname, oid FROM pg_statistic_ext WHERE stxrelid = "
        "$1::text::oid)"
        " AS its JOIN pg_namespace n ON n.oid = its.schema",
        {old}, op_, until_());
    db_.execute(found.text(0, 0), op_, until_());
    return sql(live_, "stash: replaced " + old);
  }

  /// On the way under another name: its array type, "_name", may meet a table here.
  void put_in_place(std::string const& fresh) const {
    std::string const on_the_way = "stash: new " + fresh;
    db_.execute("ALTER TABLE " + sql(built_, name_) + " RENAME TO " + db_.identifier(on_the_way) + "; ALTER TABLE " +
                    sql(built_, on_the_way) + " SET SCHEMA " + db_.identifier(live_) + "; ALTER TABLE " +
                    sql(live_, on_the_way) + " RENAME TO " + db_.identifier(name_),
                op_, until_());
  }

  /// Makes the new table's own things equal to `wanted`; in rounds, for grants depend on the owner, and an index may
  /// give another its name. What is still not there is among the failed. false: as `run`.
  bool carry_over(postgres_belongings const& wanted, std::string const& fresh, bool is_first) {
    auto const before = failed_;
    for (int round = 0;; ++round) {
      auto const there = own(fresh, fresh, live_);
      auto const left = detail::missing(wanted, there);
      failed_ = before;
      bool is_changed = false;
      for (auto const& one : detail::missing(there, wanted)) {
        if (one.unmake && (!is_first || one.kind == "grant")) is_changed |= attempt(one, one.unmake);
      }
      for (auto const& one : left) {
        if (one.step >= first_step_of_swap) {
          is_changed |= attempt(one, one.make);
        } else if (auto const known = why_unprepared(one)) {
          failed_.push_back({one, *known});
        } else {
          return false;
        }
      }
      if (!is_changed || round == most_rounds) return true;
    }
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
      if (!has_failed(one) || one.comes_off_first) continue;
      if (!one.unmake) refuse("can neither be carried over nor be left behind: " + one.what());
      execute(*one.unmake);
    }
  }

  void verify(postgres_belongings const& wanted, postgres_belongings const& dependents,
              std::string const& fresh) const {
    for (auto const& [all, now] :
         {std::pair(wanted, own(fresh, fresh, live_)), std::pair(dependents, reader_.dependents(fresh, until_()))}) {
      for (auto const& one : detail::missing(all, now)) {
        if (!has_failed(one)) refuse(one.what() + " is not on the new table as it was on the old one");
      }
    }
  }

  postgres_connection& db_;
  std::string live_, built_, name_;
  operation op_;
  std::function<deadline()> until_;
  postgres_belongings_reader reader_;
  std::vector<failure> unprepared_, failed_;
  std::vector<left_behind> lost_;
};

}  // namespace stash::inline v1::detail
