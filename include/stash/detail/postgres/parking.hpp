#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/doomed.hpp>
#include <stash/detail/postgres/parked_schema.hpp>
#include <stash/detail/postgres/place_session.hpp>
#include <stash/detail/postgres/prepared.hpp>
#include <stash/detail/postgres/table_moves.hpp>
#include <stash/detail/postgres/table_note.hpp>
#include <stash/detail/postgres/table_swap.hpp>
#include <stash/detail/values/left_behind_json.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// The steps of a `postgres_table`. Each is one transaction, and looks what is there first.
class postgres_parking {
 public:
  postgres_parking(postgres_place_session& session, std::string_view what) : session_(session), op_(session.op(what)) {}

  std::optional<boost::json::object> live() {
    std::optional<boost::json::object> note;
    session_.run(op_, [&](postgres_connection& db, postgres_patience const&) {
      note.reset();
      auto const [here, there] = look(db);
      if (!here || there) return;
      require_table(*here);
      note = postgres_table_note{session_, db, op_}.of(here->oid, session_.schema());
    });
    return note;
  }
  std::optional<boost::json::object> parked() {
    std::optional<boost::json::object> note;
    session_.run(op_, [&](postgres_connection& db, postgres_patience const&) {
      note.reset();
      auto const there = look(db).there;
      if (there) note = postgres_table_note{session_, db, op_}.of(there->oid, session_.parked());
    });
    return note;
  }

  void park() {
    session_.set_settled(false);
    session_.run(op_, [&](postgres_connection& db, postgres_patience const& patience) {
      postgres_step step{session_, db, patience, op_};
      auto const [here, there] = look(db, step.first());
      if (there) {
        if (here) doom_half_built(db, *here);
      } else if (here) {
        require_table(*here);
        if (!here->has_room) detail::make_room(db, session_, here->owner, op_);
        auto const now = lock(db, {nullptr, &*here}, patience, session_.parked());
        if (!now.has_room) detail::make_room(db, session_, here->owner, op_);  // somebody has tidied up
        require_rights(db, here->oid);
        execute(db, "DROP TABLE IF EXISTS " + dropped(db) + "; " + now.moves);
      }
      step.commit();
    });
  }

  void put_back(boost::json::object const& note) {
    session_.set_settled(false);
    session_.run(op_, [&](postgres_connection& db, postgres_patience const& patience) {
      postgres_step step{session_, db, patience, op_};
      auto const [here, there] = look(db, step.first());
      if (there) {
        lock(db, {&*there, nullptr}, patience, {});
        if (here) doom_half_built(db, *here);
        detail::move_table(db, there->oid, session_.schema(), op_, session_.end());
      } else if (!here && !detail::oid_of(db, session_.parked(), session_.dropped(), op_, session_.end())) {
        postgres_table_note{session_, db, op_}.make(note);
      }
      step.commit();
    });
  }

  std::vector<left_behind> settle(boost::json::object const& note,
                                  std::function<void(boost::json::object const&)> const& keep) {
    std::vector<left_behind> left;  // also of a try whose answer was lost
    int tries = 0;
    bool prepares = false;
    for (auto now = end_of_try::has_changed; now != end_of_try::done;) {
      session_.run(op_, [&](postgres_connection& db, postgres_patience const& patience) {
        postgres_table_swap swap{db,
                                 session_.reader(),
                                 postgres_built_by::others,
                                 session_.schema(),
                                 session_.built(),
                                 session_.name(),
                                 op_,
                                 [this] { return session_.end(); }};
        if (prepares) {
          prepare(db, swap, patience);
        } else {
          swap.prepare_nothing();
        }
        now = try_settle(db, swap, patience, left, !prepares, [&](auto const& all) {
          if (keep) keep(with(note, all));
        });
      });
      prepares = true;
      if (now == end_of_try::has_changed && ++tries == 5) refuse("what hangs on the table changes all the time");
    }
    session_.set_settled(true);
    return left;
  }

 private:
  struct relation {
    std::string oid, kind, owner;
    std::string why;                                           ///< it cannot be parked; empty: it can
    bool is_small = false, is_ours = false, has_room = false;  ///< in the schemas of a place
  };

  std::string dropped(postgres_connection const& db) const {
    return detail::qualified(db, session_.parked(), session_.dropped());
  }
  [[noreturn]] void refuse(std::string why) const {
    throw error{errc::mismatch, std::string(op_.name), std::string(op_.subject), std::move(why)};
  }
  void execute(postgres_connection& db, std::string const& sql) const { db.execute(sql, op_, session_.end()); }

  struct both {
    std::optional<relation> here, there;  ///< at the place; parked
  };
  /// After the statements `first`. Throws 42501 where what is parked may be anybody's, `errc::mismatch` where it is no
  /// table.
  both look(postgres_connection& db, std::string const& first = {}) const {
    return told(detail::look(db, session_, session_.name(), op_, first).back());
  }
  both told(postgres_result const& found) const {
    both result;
    for (int i = 0; i < found.rows(); ++i) {
      (found.text(i, 0) == "here" ? result.here : result.there)
          .emplace(relation{found.text(i, 1), found.text(i, 3), found.text(i, 4), found.text(i, 2),
                            found.text(i, 5) == "true", found.text(i, 6) == "true", found.text(i, 7) == "true"});
    }
    if (result.there && result.there->kind != "r") {
      refuse("where it would be parked is no table: " + result.there->why + " of schema " + session_.parked() +
             " has its name");
    }
    return result;
  }
  void require_table(relation const& one) const {
    if (one.why.empty()) return;
    refuse("only an ordinary table can be parked, and settled: there is " + one.why);
  }
  struct locked {
    std::string moves;  ///< statements that move what stands there, if it is locked, to the schema `to`
    bool has_room;      ///< for what is parked, or what stands there, see `relation`
  };
  /// What is parked and what stands there, or one of them; and sees that they are still the ones that were looked at,
  /// and the schemas those of somebody who may have them.
  locked lock(postgres_connection& db, std::pair<relation const*, relation const*> const& which,
              postgres_patience const& patience, std::string const& to) const {
    std::string all;
    for (auto const& [one, schema] :
         {std::pair(which.first, session_.parked()), std::pair(which.second, session_.schema())}) {
      if (one == nullptr) continue;
      all += "LOCK TABLE " + detail::qualified(db, schema, session_.name()) + " IN ACCESS EXCLUSIVE MODE; ";
    }
    all += patience.set_short_timeout() + "; ";
    if (which.second != nullptr) all += detail::execute_sql(db, "stash_moves", {which.second->oid, to}) + "; ";
    auto const found = detail::look(db, session_, session_.name(), op_, all);
    auto const [here, there] = told(found.back());
    auto const is_still = [](relation const* one, std::optional<relation> const& now) {
      return one == nullptr || now.value_or(relation{}).oid == one->oid;
    };
    bool const is_same = is_still(which.first, there) && is_still(which.second, here);
    if (!is_same) refuse("another table has taken its name just now");
    return {which.second != nullptr ? detail::moves_in(found.end()[-2]) : "",
            which.first != nullptr ? there->has_room : here->has_room};
  }
  /// What the job has built as another role.
  template <class Step>
  void telling_owner(postgres_connection& db, std::optional<relation> const& built, Step step) const {
    try {
      step();
    } catch (error const& problem) {
      if (!built || built->is_ours || problem.code() != stash::sqlstate("42501")) throw;
      db.fail("42501",
              problem.detail() + ": what stands there is role " + built->owner + "'s, of which role " +
                  session_.role() + " must be a member",
              op_);
    }
  }
  void doom_half_built(postgres_connection& db, relation const& one) const {
    if (std::string_view("rpfvm").find(one.kind) == std::string_view::npos) {
      refuse("something that is no table has its name: " + one.why);
    }
    telling_owner(db, one, [&] { detail::doom(session_, db, one.oid, op_); });
  }

  /// That what depends on it could be carried over; so that it is not found out when the new table stands.
  void require_rights(postgres_connection& db, std::string const& oid) const {
    auto const found = db.run(detail::execute_sql(db, "stash_owners", {oid}), {}, op_, session_.end());
    if (found.rows() > 0) db.fail("42501", "must be owner of " + found.text(0, 0), op_);
    for (auto const& one : session_.reader().dependents(oid, op_, session_.end())) {
      if (one.make || (one.unmake && session_.options().leave_behind)) continue;
      refuse("no new table could take the place of this one: " + one.what() +
             " depends on it, and cannot be made anew" + (one.unmake ? "; leave_behind was not said" : ""));
    }
  }

  static boost::json::object with(boost::json::object note, std::vector<left_behind> const& all) {
    note["left_behind"] = detail::as_json(all);
    return note;
  }

  /// Before anybody is locked out.
  void prepare(postgres_connection& db, postgres_table_swap& swap, postgres_patience const& patience) const {
    auto const [here, there] = look(db);
    if (!here || !there) return;
    require_table(*here);
    swap.prepare(there->oid, here->oid, session_.schema(), patience.set_timeout());
  }

  enum class end_of_try {
    done,
    is_large,    ///< what takes long is to be prepared
    has_changed  ///< what hangs on the table, since it was listed
  };
  template <class Save>
  end_of_try try_settle(postgres_connection& db, postgres_table_swap& swap, postgres_patience const& patience,
                        std::vector<left_behind>& left, bool only_small, Save save) const {
    postgres_step step{session_, db, patience, op_};
    auto const [here, there] = look(db, step.first());
    if (here && there && here->why.empty() && only_small && !here->is_small) return end_of_try::is_large;
    if (there) {
      if (here) require_table(*here);
      locked now{};
      telling_owner(db, here, [&, &at = here, &old = there] {
        now = lock(db, {&*old, at ? &*at : nullptr}, patience, session_.built());
      });
      if (here && !now.has_room) detail::make_room(db, session_, there->owner, op_);  // somebody may have tidied up
      std::string moves;
      telling_owner(db, here, [&, &old = there] {
        moves = detail::moves_of_table(db, old->oid, session_.schema(), op_, session_.end(), now.moves);
      });
      if (here) {
        bool const is_done = swap.run(there->oid, here->oid, moves, session_.options().leave_behind, save);
        if (!is_done) return end_of_try::has_changed;
      } else {
        execute(db, moves);
        swap.drop_only(session_.options().leave_behind, save);
        // So that nobody makes it anew who finds the record.
        execute(db, "CREATE TABLE IF NOT EXISTS " + dropped(db) + " ()");
      }
      left = swap.left();
    }
    step.commit();
    return end_of_try::done;
  }

  postgres_place_session& session_;
  operation op_;
};

}  // namespace stash::inline v1::detail
