#pragma once

#include <boost/system/errc.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <stash/detail/at_fork.hpp>
#include <stash/detail/directory.hpp>
#include <stash/detail/lock.hpp>
#include <stash/detail/postgres.hpp>
#include <stash/detail/process.hpp>
#include <stash/detail/quoted.hpp>
#include <stash/detail/xxh64.hpp>
#include <stash/error.hpp>
#include <stash/file_options.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// For `postgres_storage`.
struct postgres_options {
  stash::durability durability = durability::power_loss;  ///< process_crash: a session that does not sync will do
  std::uint64_t max_bytes = 64U << 20;                    ///< the greatest payload to write or read: 64 MiB
  std::string schema = "public";                          ///< must exist
  std::string table = "stash";                            ///< made by the first save
  std::chrono::milliseconds timeout{30'000};              ///< of the server's silence, and of doing it again; a day at most
};

namespace detail {

/// The session that one storage has: made by the first call that needs it, and made anew when it ended. Locks belong to
/// the session in which they were taken.
class postgres_session {
 public:
  using generation = std::uint64_t;

  postgres_session(std::string info, postgres_options options) : info_(std::move(info)), options_(std::move(options)) {}
  ~postgres_session() { abandon_inherited(); }
  postgres_session(postgres_session const&) = delete;
  postgres_session& operator=(postgres_session const&) = delete;

  /// Calls `f(connection, until)`, alone; in another session again where that ended meanwhile.
  template <class F>
  auto read(operation const& op, F f) {
    std::lock_guard const alone{mutex_};
    auto const until = end();
    return repeat(op, until, f);
  }

  /// As `read`, with an empty result where there is no table.
  template <class T, class F>
  T read_table(operation const& op, T nothing, F f) {
    return read(op, [&](postgres_connection& db, deadline until) {
      std::optional<T> found;
      return if_table(db, op, until, [&] { found.emplace(f(db, until)); }) ? std::move(*found) : std::move(nothing);
    });
  }

  bool has_table(postgres_connection& db, operation const& op, deadline until) const {
    auto const found = db.run(
        "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = $1::text)::text, (SELECT count(*) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname = $2::text)::text",
        {options_.schema, options_.table}, op, until);
    if (found.text(0, 0) == "0") db.fail("3F000", "there is no schema " + stash::detail::quoted(options_.schema), op);
    return found.text(0, 1) != "0";
  }

  /// In which session the lock was taken; nullopt: another has it, here or elsewhere.
  std::optional<generation> try_lock(key const& k, operation const& op) {
    std::lock_guard const alone{mutex_};
    auto const until = end();
    auto const [row, is_new] = locks_.try_emplace(k, 0);  // now: afterwards a lack of memory would leave it locked
    if (!is_new) return std::nullopt;
    try {
      bool const taken = repeat(op, until, [&](auto& db, deadline end) { return try_lock(db, k, op, end); });
      if (taken) return row->second = generation_;
    } catch (...) {
      locks_.erase(row);
      throw;
    }
    locks_.erase(row);
    return std::nullopt;
  }
  void unlock(key const& k, generation taken) noexcept {
    try {
      std::lock_guard const alone{mutex_};
      auto const until = end();
      locks_.erase(k);
      if (!is_current(taken)) return;
      try {
        db_->run("SELECT pg_advisory_unlock($1::text::bigint)::text", {lock_id(k)}, {"unlock", k}, until);
      } catch (...) {
        db_.reset();  // which ends the lock, too
      }
    } catch (...) {  // there is nobody to tell
    }
  }
  /// Asks the server, for a session that was ended shows only then.
  bool is_held(generation taken) noexcept {
    try {
      std::lock_guard const alone{mutex_};
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

  /// What a change is about: whose record, by checksum, should stand there afterwards; nullopt: none.
  struct change_of {
    key const& k;
    std::optional<std::string> after;
  };
  /// A record that stands there: its checksum, and which version of the row it is.
  struct found_record {
    std::string checksum, version;
    friend bool operator==(found_record const&, found_record const&) = default;
  };
  using found_records = std::vector<std::optional<found_record>>;

  /// Calls `write(connection, before, until)`, in a transaction where there are several keys; `before` has the
  /// records that stand there. Where there is no table, `make` makes it; else returns `nothing`.
  ///
  /// Where nobody knows whether it was done, it is done again in a new session, with the locks taken there: a read
  /// would prove nothing, for what it shows may not have reached the standby that the save must wait for. While the old
  /// session lives on the server, it has the locks. If another changed a record meanwhile, `errc::busy`.
  template <class T, class Write>
  T change(operation const& op, std::vector<change_of> const& all, bool make, T nothing, Write write) {
    std::lock_guard const alone{mutex_};
    auto const until = end();
    for (auto const& one : all) require_lock(one.k, op);
    auto& db = connected(op, until);
    std::optional<found_records> before;
    try {
      before = standing(db, all, op, until);
    } catch (error const& problem) {
      if (!db.is_lost()) throw;
      db_.reset();  // and the locks with it, before anything was written
      op.fail(errc::busy, shown(op.subject), "the session that had its lock has ended: " + problem.detail());
    }
    if (!before) {
      if (!make) return nothing;
      make_table(db, op, until);
      before.emplace(all.size());
    }
    auto const unknown = std::make_exception_ptr(  // now: where memory runs out, none is left to say so
        error{errc::indeterminate, std::string(op.name), std::string(op.subject),
              shown(op.subject) + ": memory ran out"});
    try {
      return write_once(db, all, *before, op, until, write);
    } catch (...) {
      if (!db.is_lost()) throw;
    }
    db_.reset();
    try {
      T result = write_again(all, *before, op, until, write);
      unlock_all(op, until);
      return result;
    } catch (std::bad_alloc const&) {
      db_.reset();
      std::rethrow_exception(unknown);
    }
  }

  std::string table(postgres_connection const& db) const {
    return db.identifier(options_.schema) + '.' + db.identifier(options_.table);
  }
  std::string shown(std::string_view name) const {
    return (options_.schema + '.' + options_.table + ": ").append(name);
  }

 private:
  deadline end() const { return deadline_in(options_.timeout); }
  static bool is_over(deadline until) { return std::chrono::steady_clock::now() >= until; }

  /// Whether the session in which a lock was taken is the one that we have.
  bool is_current(generation taken) const noexcept { return db_ && !db_->is_lost() && taken == generation_; }

  bool is_durable() const noexcept { return options_.durability == durability::power_loss; }

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
    if (db_ && db_->is_lost()) db_.reset();
    if (db_) return *db_;
    connect(db_, info_, generation_ > 0, op, until, [&] {
      owner_ = {};
      check_session(op, until);
    });
    ++generation_;
    return *db_;
  }
  void abandon_inherited() noexcept {
    if (!db_ || owner_.is_current()) return;
    db_->abandon();
    db_.reset();
  }

  /// Under `power_loss` commits wait for the disk, and for a synchronous standby where there is one, whatever the
  /// settings say; otherwise as the settings said when the session began.
  void check_session(operation const& op, deadline until) {
    auto const found = db_->run(
        "SELECT pg_is_in_recovery()::text, current_setting('fsync'), c, set_config('synchronous_commit',"
        " CASE WHEN $1 = 'durable' AND c <> 'remote_apply' THEN 'on' ELSE c END, false)"
        " FROM current_setting('synchronous_commit') c",
        {is_durable() ? "durable" : ""}, op, until);
    auto const refuse = [&](std::string const& why) {
      throw error{boost::system::errc::make_error_code(boost::system::errc::operation_not_supported),
                  std::string(op.name), std::string(op.subject), why};
    };
    if (found.text(0, 0) != "false") {
      db_->fail("25006", "the server is a standby; with several hosts, say target_session_attrs=read-write", op);
    }
    if (!is_durable()) return;
    if (found.text(0, 1) == "off") refuse("the server has fsync off: a save would not survive a power cut");
    if (found.text(0, 2) == "off") {
      refuse("synchronous_commit is off: a save would not survive a power cut; set it on, or say process_crash");
    }
  }

  std::string lock_id(key const& k) const {
    std::string const name = options_.schema + '\0' + options_.table + '\0' + std::string(k.str());
    return std::to_string(static_cast<std::int64_t>(xxh64::hash(name)));
  }
  bool try_lock(postgres_connection& db, key const& k, operation const& op, deadline until) {
    auto const taken = db.run("SELECT pg_try_advisory_lock($1::text::bigint)::text", {lock_id(k)}, op, until);
    return taken.text(0, 0) == "true";
  }
  void require_lock(key const& k, operation const& op) const {
    auto const row = locks_.find(k);
    if (row == locks_.end() || is_current(row->second)) return;
    op.fail(errc::busy, shown(k), "the session that had its lock has ended");
  }

  /// Calls `f`, which looks into the table; false: there is none.
  template <class F>
  bool if_table(postgres_connection& db, operation const& op, deadline until, F f) const {
    try {
      f();
      return true;
    } catch (error const& problem) {
      if (problem.code() != sqlstate("42P01")) throw;
    }
    if (!has_table(db, op, until)) return false;
    f();  // it was made just now
    return true;
  }

  /// What stands under the keys; nullopt: there is no table.
  std::optional<found_records> standing(postgres_connection& db, std::vector<change_of> const& all, operation const& op,
                                        deadline until) {
    found_records found;
    bool const is_there = if_table(db, op, until, [&] {
      found.clear();
      for (auto const& one : all) {
        auto const row = db.run("SELECT xxh64, xmin::text FROM " + table(db) + " WHERE key = $1 AND set_aside = ''",
                                {one.k.str()}, op, until);
        found.emplace_back();
        if (row.rows() > 0) found.back().emplace(found_record{row.text(0, 0), row.text(0, 1)});
      }
    });
    return is_there ? std::optional(std::move(found)) : std::nullopt;
  }

  /// Another may make it at the same time.
  void make_table(postgres_connection& db, operation const& op, deadline until) {
    try {
      db.run("CREATE TABLE IF NOT EXISTS " + table(db) +
                 " (key text COLLATE \"C\" NOT NULL, set_aside text COLLATE \"C\" NOT NULL DEFAULT '',"
                 " set_aside_at text COLLATE \"C\", version integer NOT NULL, saved_at text NOT NULL,"
                 " xxh64 text NOT NULL, payload text, payload_bytes bytea,"
                 " CHECK ((payload IS NULL) <> (payload_bytes IS NULL)), PRIMARY KEY (key, set_aside))",
             {}, op, until);
    } catch (error const& problem) {
      for (char const* const made : {"42P07", "42710", "23505"}) {
        if (problem.code() == sqlstate(made)) return;
      }
      throw error{problem.code(), std::string(op.name), std::string(op.subject),
                  "making the table " + options_.schema + '.' + options_.table + ": " + problem.detail()};
    }
  }

  template <class Write>
  auto write_once(postgres_connection& db, std::vector<change_of> const& all, found_records const& before,
                  operation const& op, deadline until, Write& write) {
    db.forget_warning();
    std::optional<postgres_transaction> together;
    if (all.size() > 1) together.emplace(db, op, [=] { return until; });
    auto result = write(db, before, until);
    if (together) together->commit();
    db.refuse_warning(op);
    return result;
  }

  template <class Write>
  auto write_again(std::vector<change_of> const& all, found_records const& before, operation const& op, deadline until,
                   Write& write) -> decltype(write(std::declval<postgres_connection&>(), before, until)) {
    for (;;) {
      try {
        auto& db = connected(op, until);
        for (auto const& one : all) {
          constexpr std::chrono::milliseconds pause{50};
          while (!try_lock(db, one.k, op, until)) {
            if (is_over(until - 2 * pause))
              op.fail(errc::indeterminate, shown(one.k), "its lock could not be taken again");
            sleep_for(pause);
          }
        }
        auto const now = standing(db, all, op, until).value_or(found_records(all.size()));
        for (std::size_t i = 0; i < all.size(); ++i) {
          if (now[i] == before[i] || checksum_of(now[i]) == all[i].after) continue;
          op.fail(errc::busy, shown(all[i].k), "the session ended, and another changed the record since");
        }
        return write_once(db, all, before, op, until, write);
      } catch (error const& problem) {
        bool const is_lost = db_ && db_->is_lost();
        if (db_ && !is_lost) {
          unlock_all(op, until);
          if (problem.code() == errc::indeterminate || problem.code() == errc::busy) throw;
        }
        if (is_lost) db_.reset();
        if (!is_lost || is_over(until)) op.fail(errc::indeterminate, shown(op.subject), problem.what());
      }
      sleep_for(std::chrono::milliseconds(100));
    }
  }
  static std::optional<std::string> checksum_of(std::optional<found_record> const& r) {
    return r ? std::optional(r->checksum) : std::nullopt;
  }
  /// Of a session in which only `write_again` took locks.
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
  std::optional<postgres_connection> db_;
  generation generation_ = 0;
  std::unordered_map<key, generation> locks_;
  owned_by_process owner_;
  at_fork hook_{mutex_, [] {},
                [this] {
                  abandon_inherited();
                  locks_.clear();
                }};
};

}  // namespace detail

}  // namespace stash::inline v1
