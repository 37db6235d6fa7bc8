#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <stash/detail/fork.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/check_session.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/found_records.hpp>
#include <stash/detail/postgres/reconnect.hpp>
#include <stash/detail/postgres/session_locks.hpp>
#include <stash/detail/postgres/table.hpp>
#include <stash/detail/postgres/transaction.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/detail/system/sleep.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/storage/postgres_options.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// The session that one storage has: made by the first call that needs it, and made anew when it ended. Locks belong to
/// the session in which they were taken.
class postgres_session {
 public:
  using generation = session_locks::generation;

  postgres_session(std::string info, postgres_options options)
      : info_(std::move(info)), options_(std::move(options)), table_(options_.schema, options_.table) {}
  ~postgres_session() { abandon_inherited(); }
  postgres_session(postgres_session const&) = delete;
  postgres_session& operator=(postgres_session const&) = delete;

  /// Calls `f(connection, until)`, alone; in another session again where that ended meanwhile.
  template <class F>
  auto read(operation const& op, F f) {
    turn const alone{*this};
    auto const until = end();
    return repeat(op, until, f);
  }

  /// As `read`, calling `f(connection, rows, until)` where `rows` is what SQL selects from (see
  /// `postgres_table::read`); with an empty result, `T()`, where there is no table.
  template <class T, class F>
  T read_table(operation const& op, F f) {
    return read(op, [&](postgres_connection& db, deadline until) {
      T found{};
      table_.read(db, {}, op, until, [&](std::string const& rows) { found = f(db, rows, until); });
      return found;
    });
  }

  /// In which session the lock was taken; nullopt: another has it, here or elsewhere.
  std::optional<generation> try_lock(key const& k, operation const& op) {
    turn const alone{*this};
    auto const until = end();
    if (!locks_.add(k)) return std::nullopt;  // now: afterwards a lack of memory would leave it locked
    try {
      bool const taken = repeat(op, until, [&](auto& db, deadline end) {
        locks_.require_room(db, shown(op.subject), op, end);
        return try_lock(db, k, op, end);
      });
      if (taken) return locks_.was_taken(k, generation_), generation_;
    } catch (...) {
      locks_.remove(k);
      throw;
    }
    locks_.remove(k);
    return std::nullopt;
  }
  void unlock(key const& k, generation taken) noexcept {
    try {
      turn const alone{*this};
      auto const until = end();
      locks_.remove(k);
      if (!is_current(taken)) return;
      try {
        db_->run("SELECT pg_advisory_unlock($1::text::bigint)::text", {table_.lock_id(k)}, {"unlock", k}, until);
      } catch (...) {
        db_.reset();  // which ends the lock, too
      }
    } catch (...) {  // there is nobody to tell
    }
  }
  /// Asks the server, for a session that was ended shows only then.
  bool is_held(generation taken) noexcept {
    try {
      turn const alone{*this};
      auto const until = end();
      if (!is_current(taken)) return false;
      try {
        db_->run("SELECT 'here'", {}, {"held", {}}, until);
        return true;
      } catch (...) {
        db_.reset();
      }
    } catch (...) {
    }
    return false;
  }

  /// Calls `write(connection, before, ask, written)` in a transaction; `before` has the records that stand there,
  /// `ask(questions)` is to be called once, and `written` is to have the rows that must stand there at its end. Where
  /// there is no table, `make` makes it; else returns `nothing`.
  ///
  /// Where nobody knows whether it was done, it is done again in a new session, with the locks taken there: a read
  /// would prove nothing, for what it shows may not have reached the standby that the save must wait for. While the old
  /// session lives on the server, it has the locks. If another changed a record meanwhile, `errc::busy`.
  template <class T, class Write>
  T change(operation const& op, std::vector<change_of> const& all, bool make, T nothing, Write write) {
    turn const alone{*this};
    auto const until = end();
    for (auto const& one : all) require_lock(one.k, op);
    auto& db = connected(op, until);
    tried_change tried;
    auto there = postgres_table::place::nothing;
    try {
      there = detail::standing(table_, db, all, tried.before, op, until);
    } catch (error const& problem) {
      if (!db.is_lost()) throw;
      db_.reset();  // and the locks with it, before anything was written
      op.fail(errc::busy, shown(op.subject), "the session that had its lock has ended: " + problem.detail());
    }
    if (there == postgres_table::place::nothing && !make) return nothing;
    if (there != postgres_table::place::table) table_.make(db, op, until);
    auto const unknown = std::make_exception_ptr(  // now: where memory runs out, none is left to say so
        error{errc::indeterminate, std::string(op.name), std::string(op.subject),
              shown(op.subject) + ": memory ran out"});
    try {
      return write_once(db, all, tried, op, until, write);
    } catch (...) {
      if (!db.is_lost()) throw;
    }
    db_.reset();
    try {
      T result = write_again(all, tried, op, until, write);
      unlock_all(op, until);
      return result;
    } catch (std::bad_alloc const&) {
      db_.reset();
      std::rethrow_exception(unknown);
    }
  }

  postgres_table const& table() const noexcept { return table_; }
  postgres_table& table() noexcept { return table_; }
  std::string shown(std::string_view row) const { return table_.shown(row); }

 private:
  /// Alone with the session. One that was lost meanwhile is ended then, and the locks that the server holds for it: at
  /// the beginning of a turn none is lost, and what a child inherits is none of these.
  struct turn {
    postgres_session& of;
    std::lock_guard<std::mutex> const alone{of.mutex_};
    explicit turn(postgres_session& session) : of(session) {}
    ~turn() {
      if (of.db_ && of.db_->is_lost()) of.db_.reset();
    }
    turn(turn const&) = delete;
    turn& operator=(turn const&) = delete;
  };

  deadline end() const { return detail::deadline_in(options_.timeout); }
  static bool is_over(deadline until) { return std::chrono::steady_clock::now() >= until; }

  /// Whether the session in which a lock was taken is the one that we have.
  bool is_current(generation taken) const noexcept { return db_ && taken == generation_; }

  template <class F>
  auto repeat(operation const& op, deadline until, F f) -> decltype(f(std::declval<postgres_connection&>(), until)) {
    for (;;) {
      try {
        return f(connected(op, until), until);
      } catch (error const&) {
        if (!db_ || !db_->is_lost()) throw;
        db_.reset();
        if (is_over(until)) throw;
      }
    }
  }

  postgres_connection& connected(operation const& op, deadline until) {
    abandon_inherited();
    if (db_) return *db_;
    detail::connect(db_, info_, generation_ > 0, op, until, [&] {
      owner_ = {};
      detail::check_session(*db_, options_.durability == durability::power_loss, op, until);
      table_.start(*db_, op, until);
    });
    ++generation_;
    return *db_;
  }
  void abandon_inherited() noexcept {
    if (!db_ || owner_.is_current()) return;
    db_->abandon();
    db_.reset();
  }

  bool try_lock(postgres_connection& db, key const& k, operation const& op, deadline until) {
    auto const taken = db.run("SELECT pg_try_advisory_lock($1::text::bigint)::text", {table_.lock_id(k)}, op, until);
    return taken.text(0, 0) == "true";
  }
  void require_lock(key const& k, operation const& op) const {
    auto const taken = locks_.find(k);
    if (!taken || is_current(*taken)) return;
    op.fail(errc::busy, shown(k), "the session that had its lock has ended");
  }

  /// In a transaction, so that what it wrote is looked at before it counts.
  template <class Write>
  auto write_once(postgres_connection& db, std::vector<change_of> const& all, tried_change& tried, operation const& op,
                  deadline until, Write& write) {
    tried.number.reset();
    return detail::in_words(table_, db, op, until, [&] {
      postgres_transaction together{db, op, [=] { return until; }, postgres_transaction::later()};
      if (table_.has_old()) {
        together.begin();
        for (auto const& one : all) table_.take_over(db, one.k, op, until);
      }
      bool has_triggers = false;
      auto const ask = [&](std::vector<postgres_question> questions) {
        questions.push_back(table_.question_of_kind());
        auto answers = together.run_all(questions);
        has_triggers = table_.check_kind(answers.back(), op);
        tried.note_number(answers.back());
        return answers;
      };
      std::vector<postgres_written> written;
      auto result = write(db, tried.before, ask, written);
      if (has_triggers) table_.check_written(db, written, op, until);  // else it is as it was sent
      together.commit();
      return result;
    });
  }

  template <class Write>
  auto write_again(std::vector<change_of> const& all, tried_change& tried, operation const& op, deadline until,
                   Write& write)
      -> decltype(write_once(std::declval<postgres_connection&>(), all, tried, op, until, write)) {
    for (;;) {
      try {
        auto& db = connected(op, until);
        for (auto const& one : all) {
          constexpr std::chrono::milliseconds pause{50};
          while (!try_lock(db, one.k, op, until)) {
            if (is_over(until)) op.fail(errc::indeterminate, shown(one.k), "its lock could not be taken again");
            detail::sleep_for(pause);
          }
        }
        if (key const* const k = detail::changed_by_another(table_, db, all, tried, op, until)) {
          op.fail(errc::busy, shown(*k), "the session ended, and another changed the record since");
        }
        return write_once(db, all, tried, op, until, write);
      } catch (error const& problem) {
        bool const is_lost = db_ && db_->is_lost();
        if (db_ && !is_lost) {
          unlock_all(op, until);
          if (problem.code() == errc::indeterminate || problem.code() == errc::busy) throw;
        }
        if (is_lost) db_.reset();
        if (!is_lost || is_over(until)) op.fail(errc::indeterminate, shown(op.subject), problem.what());
      }
      detail::sleep_for(std::chrono::milliseconds(100));
    }
  }
  /// For a session in which only `write_again` took locks.
  void unlock_all(operation const& op, deadline until) {
    try {
      db_->run("SELECT pg_advisory_unlock_all()::text", {}, op, until);
    } catch (...) {
      db_.reset();
    }
  }

  std::string const info_;
  postgres_options const options_;
  std::mutex mutex_;
  postgres_table table_;
  std::optional<postgres_connection> db_;
  generation generation_ = 0;
  session_locks locks_;
  owned_by_process owner_;
  at_fork hook_{mutex_, [] {},
                [this] {
                  abandon_inherited();
                  locks_.clear();
                }};
};

}  // namespace stash::inline v1::detail
