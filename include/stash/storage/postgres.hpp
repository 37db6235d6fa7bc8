#pragma once

#include <boost/filesystem/path.hpp>
#include <boost/system/errc.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <stash/concepts.hpp>
#include <stash/detail/at_fork.hpp>
#include <stash/detail/directory.hpp>
#include <stash/detail/file_name.hpp>
#include <stash/detail/lock.hpp>
#include <stash/detail/posix_file_ops.hpp>
#include <stash/detail/postgres.hpp>
#include <stash/detail/process.hpp>
#include <stash/detail/quoted.hpp>
#include <stash/detail/read_file.hpp>
#include <stash/detail/record_row.hpp>
#include <stash/detail/utf8.hpp>
#include <stash/detail/xxh64.hpp>
#include <stash/error.hpp>
#include <stash/file_options.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace stash::inline v1 {

struct postgres_options {
  stash::durability durability = durability::power_loss;
  std::uint64_t max_bytes = 64U << 20;        ///< the greatest payload to write or read
  std::string schema = "public";              ///< must exist
  std::string table = "stash";                ///< made by the first save
  std::chrono::milliseconds timeout{30'000};  ///< of each call, with all that it does again
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
    auto const until = end();
    std::lock_guard const alone{mutex_};
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
    auto const until = end();
    std::lock_guard const alone{mutex_};
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
      auto const until = end();
      std::lock_guard const alone{mutex_};
      locks_.erase(k);
      if (!db_ || taken != generation_) return;
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
      auto const until = end();
      std::lock_guard const alone{mutex_};
      if (!db_ || taken != generation_) return false;
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
    auto const until = end();
    std::lock_guard const alone{mutex_};
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
    try {
      return write_once(db, all, *before, op, until, write);
    } catch (error const&) {
      if (!db.is_lost()) throw;
    } catch (std::bad_alloc const&) {  // what was done until then, nobody knows either
    }
    db_.reset();
    T result = write_again(all, *before, op, until, write);
    unlock_all(op, until);
    return result;
  }

  std::string table(postgres_connection const& db) const {
    return db.identifier(options_.schema) + '.' + db.identifier(options_.table);
  }
  std::string shown(std::string_view name) const {
    return (options_.schema + '.' + options_.table + ": ").append(name);
  }

 private:
  deadline end() const { return deadline_in(options_.timeout); }
  static std::chrono::milliseconds left(deadline until) {
    return std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  }
  static bool is_over(deadline until) { return std::chrono::steady_clock::now() >= until; }

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

  void check_session(operation const& op, deadline until) {
    auto const found = db_->run(
        "SELECT pg_backend_pid()::text, pg_is_in_recovery()::text, current_setting('fsync'),"
        " set_config('synchronous_commit', current_setting('synchronous_commit'), false)",  // as it is now, for good
        {}, op, until);
    auto const refuse = [&](std::string const& why) {
      throw error{boost::system::errc::make_error_code(boost::system::errc::operation_not_supported),
                  std::string(op.name), std::string(op.subject), why};
    };
    if (found.text(0, 0) != std::to_string(::PQbackendPID(db_->get()))) {
      refuse("there is a pooler between: a lock belongs to a session of the server; connect to the server itself");
    }
    if (found.text(0, 1) != "false") {
      db_->fail("25006", "the server is a standby; with several hosts, say target_session_attrs=read-write", op);
    }
    if (!is_durable()) return;
    if (found.text(0, 2) == "off") refuse("the server has fsync off: a save would not survive a power cut");
    if (found.text(0, 3) == "off") {
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
    if (row == locks_.end() || (db_ && row->second == generation_)) return;
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
    if (all.size() > 1) together.emplace(db, op, left(until));
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
            if (is_over(until - pause)) op.fail(errc::indeterminate, shown(one.k), "its lock could not be taken again");
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
        if (!is_lost) op.fail(errc::indeterminate, shown(op.subject), problem.what());
        db_.reset();  // and again; when the time is over, no other session can be made
      } catch (std::bad_alloc const& problem) {
        db_.reset();
        op.fail(errc::indeterminate, shown(op.subject), problem.what());
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

/// Records as rows of one table of a PostgreSQL database, which jobs on several machines share. Link with libpq.
///
/// An acknowledged `put`, `erase` or `set_aside` survives what the server's commit survives: a power cut, and with a
/// synchronous standby the loss of the machine. Under `durability::power_loss` a session with `synchronous_commit` or
/// `fsync` off is refused. The table is made by the first `put`, in a schema that must exist; reads make nothing, and
/// take only a missing table for an empty one. Every member may be called from many threads and processes at once,
/// which wait for each other within one object; `put`, `erase` and `set_aside` with the key's lock held.
///
/// It has a connection of its own, in autocommit: a job's rollback does not take the stash along. The string is libpq's
/// (a URI, or `host=... dbname=...`; also from PGHOST, ~/.pgpass, ...), and may name several hosts (but in a service
/// file), of which the one that can be written to is used. Each call ends within `postgres_options::timeout`, but for
/// the time that finding a host's address takes. A session that ended is made anew; the locks of the old one are then
/// lost (`held()`), and what was being written is written again, unless another had the key's lock meanwhile. Locks are
/// the session's advisory locks: they end with the process, at most a minute after its machine went dark. A pooler in
/// between is refused. A forked child may use the storage as it is, in a session of its own.
///
///     stash::basic_stash<stash::postgres_storage> store{"postgresql://etl@db.example.com/etl"};
///
///     $ psql -c 'SELECT key, saved_at, payload FROM public.stash'
///
/// Errors name the operation, the key and what the server says, with its SQLSTATE as code (class 08: no connection).
/// Where nothing else is said, a throw leaves everything as it was.
class postgres_storage {
 public:
  /// A key's lock. Movable; the destructor releases it, but not in a forked child. May outlive the storage.
  class lock_type {
   public:
    lock_type(lock_type&&) noexcept = default;
    lock_type& operator=(lock_type&& other) noexcept {
      std::swap(session_, other.session_);
      std::swap(key_, other.key_);
      std::swap(taken_, other.taken_);
      std::swap(owner_, other.owner_);
      return *this;
    }
    ~lock_type() {
      if (session_ && owner_.is_current()) session_->unlock(key_, taken_);
    }
    /// Whether the session in which it was taken lives, which the server is asked for.
    bool held() const noexcept { return session_ && owner_.is_current() && session_->is_held(taken_); }

   private:
    friend postgres_storage;
    lock_type(key k) : key_(std::move(k)) {}
    std::shared_ptr<detail::postgres_session> session_;
    key key_;
    detail::postgres_session::generation taken_ = 0;
    detail::owned_by_process owner_;
  };

  /// Touches nothing: a bad connection string (EINVAL), too, is told by the first call.
  explicit postgres_storage(std::string info, postgres_options options = {})
      : max_bytes_(options.max_bytes),
        session_(std::make_shared<detail::postgres_session>(std::move(info), std::move(options))) {}

  /// The table that all records are in, and the key.
  boost::filesystem::path path(key const& k) const { return session_->shown(k); }

  /// Whether there is a table. Throws as `get` does.
  bool exists() const {
    detail::operation const op{"exists", {}};
    return session_->read(op,
                          [&](connection& db, detail::deadline until) { return session_->has_table(db, op, until); });
  }

  /// Throws where `put` would refuse without trying: `errc::too_large`.
  void check(key const& k, record const& r) const { check_size(r.payload.size(), {"put", k}); }

  /// Writes `r` in place of what stands under `k`.
  ///
  /// Throws `errc::too_large` or the server's error: the old record stands. Throws `errc::indeterminate` where the
  /// server warned (as when it stopped waiting for a standby), or where the session ended and the record could not be
  /// written again in time: the old or the new one stands. Throws `errc::busy` where the session ended and another
  /// changed the record since.
  void put(key const& k, record const& r) {
    std::pair<key, record> const one{k, r};
    put_rows({"put", k}, {&one, 1});
  }

  /// As `put` for each, in one transaction: on a throw all old records stand, or after `errc::indeterminate` all old
  /// or all new ones.
  void put_all(std::span<std::pair<key, record> const> all) {
    if (!all.empty()) put_rows({"put_all", {}}, all);
  }

  /// The record of `k`; nullopt: there is none. Creates nothing.
  ///
  /// Throws `errc::corrupt`, `errc::mismatch` (of another version), `errc::too_large` (without fetching it), or the
  /// server's error.
  std::optional<record> get(key const& k) const {
    detail::operation const op{"get", k};
    auto const cap = std::to_string(max_bytes_);
    return session_->read_table(op, std::optional<record>(), [&](connection& db, detail::deadline until) {
      std::string const fits =
          "CASE WHEN coalesce(octet_length(payload), octet_length(payload_bytes)) <="
          " $2::text::numeric THEN ";
      auto const rows = db.run("SELECT version::text, saved_at, xxh64, " + fits + "payload END, " + fits +
                                   "payload_bytes END,"
                                   " coalesce(octet_length(payload), octet_length(payload_bytes))::text FROM " +
                                   session_->table(db) + " WHERE key = $1 AND set_aside = ''",
                               {k.str(), cap}, op, until);
      std::optional<record> found;
      if (rows.rows() > 0) {
        check_size(number(rows.text(0, 5)), op);
        found = detail::record_of(row_of(rows, 0), k, op, session_->shown(k));
      }
      return found;
    });
  }

  /// Removes the record of `k`, corrupt or not; false: there was none. Throws as `put`.
  bool erase(key const& k) { return erase_rows({"erase", k}, {&k, 1}) > 0; }

  /// As `erase` for each, in one transaction. Throws as `put_all`.
  void erase_all(std::span<key const> all) {
    if (!all.empty()) erase_rows({"erase_all", {}}, all);
  }

  /// All records, by key. `where` is the table and the key. Fetches every payload, one at a time. Throws as `get`, but
  /// not for one record's damage.
  std::vector<entry> entries() const { return listed("entries", " WHERE set_aside = ''"); }

  /// Gives the row of `k` a name under which it is kept, and returns that behind the table's:
  /// `<schema>.<table>: <key>.<reason>-<UTC time>-<random>`. As durable as `put`.
  ///
  /// Throws ENOENT where there is none, or as `put`.
  std::string set_aside(key const& k, std::string_view reason) {
    detail::operation const op{"set_aside", k};
    auto const now = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    std::string const name = detail::kept_name(k, reason, now, detail::random_number(posix_file_ops{}, op, {})),
                      at = detail::to_text(now);
    bool const was_there = session_->change(
        op, {{k, std::nullopt}}, false, false, [&](connection& db, auto const& before, detail::deadline until) {
          if (!before[0]) return false;
          db.run("UPDATE " + session_->table(db) +
                     " SET set_aside = $2, set_aside_at = $3"
                     " WHERE key = $1 AND set_aside IN ('', $2)",  // the name: where it is done again
                 {k.str(), name, at}, op, until);
          return true;
        });
    if (!was_there) op.fail(ENOENT, "find in", session_->shown(k));
    return session_->shown(name);
  }

  /// All that was set aside and not purged, by key. Throws as `entries`.
  std::vector<entry> set_aside_entries() const { return listed("set_aside_entries", " WHERE set_aside <> ''"); }

  /// Destroys what was set aside `older_than` ago or earlier, zero or less: all of it. Returns how many; fewer where
  /// the session ended and it was done again.
  std::size_t purge(std::chrono::microseconds older_than) {
    detail::operation const op{"purge", {}};
    auto const now = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    auto const before = detail::purged_until(older_than, now);
    return session_->read_table(op, std::size_t{0}, [&](connection& db, detail::deadline until) {
      auto const gone = db.run("WITH gone AS (DELETE FROM " + session_->table(db) +
                                   " WHERE set_aside <> '' AND set_aside_at <= coalesce($1, set_aside_at) RETURNING 1)"
                                   " SELECT count(*)::text FROM gone",
                               {before}, op, until);
      return static_cast<std::size_t>(number(gone.text(0, 0)));
    });
  }

  /// The lock of `k`, exclusive among all sessions on this database; nullopt: another has it. Throws the server's
  /// error.
  std::optional<lock_type> try_lock(key const& k) {
    lock_type lock{k};
    auto const taken = session_->try_lock(k, {"try_lock", k});
    if (!taken) return std::nullopt;
    lock.taken_ = *taken;
    lock.session_ = session_;
    return lock;
  }

 private:
  using connection = detail::postgres_connection;

  void check_size(std::uint64_t bytes, detail::operation const& op) const {
    detail::check_size(
        bytes, max_bytes_, [&] { return session_->shown(op.subject); }, op);
  }
  static std::uint64_t number(std::string const& text) { return std::strtoull(text.c_str(), nullptr, 10); }

  /// Of a result that begins with version, saved_at, xxh64, payload, payload_bytes.
  static detail::record_row row_of(detail::postgres_result const& rows, int row) {
    return {static_cast<std::int64_t>(number(rows.text(row, 0))), rows.text(row, 1), rows.text(row, 2),
            rows.text(row, rows.is_null(row, 3) ? 4 : 3)};
  }
  std::vector<entry> listed(std::string_view operation, char const* where) const {
    detail::operation const op{operation, {}};
    return session_->read_table(op, std::vector<entry>(), [&](connection& db, detail::deadline until) {
      std::vector<entry> found;
      db.run_by_row("SELECT version::text, saved_at, xxh64, payload, payload_bytes, key, set_aside FROM " +
                        session_->table(db) + where + " ORDER BY key, set_aside",
                    {}, op, until, [&](detail::postgres_result const& rows) {
                      for (int i = 0; i < rows.rows(); ++i) {
                        auto const k = rows.text(i, 5), name = rows.text(i, 6);
                        auto e = detail::entry_of(row_of(rows, i), k, session_->shown(name.empty() ? k : name));
                        if (e) found.push_back(std::move(*e));
                      }
                    });
      return found;
    });
  }

  void put_rows(detail::operation const& op, std::span<std::pair<key, record> const> all) {
    std::vector<detail::postgres_session::change_of> changes;
    for (auto const& [k, r] : all) {
      check(k, r);
      changes.push_back({k, detail::row_checksum(k, r)});
    }
    session_->change(op, changes, true, true, [&](connection& db, auto const&, detail::deadline until) {
      std::string const sql = "INSERT INTO " + session_->table(db) +
                              " (key, version, saved_at, xxh64, payload, payload_bytes)"
                              " VALUES ($1, $2::text::integer, $3, $4, $5, $6) ON CONFLICT (key, set_aside) DO UPDATE"
                              " SET version = excluded.version, saved_at = excluded.saved_at, xxh64 = excluded.xxh64,"
                              " payload = excluded.payload, payload_bytes = excluded.payload_bytes";
      std::string const version = std::to_string(detail::row_version);
      for (std::size_t i = 0; i < all.size(); ++i) {
        auto const& [k, r] = all[i];
        std::string const saved_at = detail::to_text(r.saved_at);
        bool const is_text = r.payload.find('\0') == r.payload.npos && detail::is_utf8(r.payload);
        detail::postgres_parameter const payload = r.payload, none;
        db.run(sql, {k.str(), version, saved_at, changes[i].after, is_text ? payload : none, is_text ? none : payload},
               op, until);
      }
      return true;
    });
  }

  /// How many there were. Each writes to the server's log, where there was none too: an earlier removal that nobody
  /// waited for must be durable now.
  std::size_t erase_rows(detail::operation const& op, std::span<key const> all) {
    std::vector<detail::postgres_session::change_of> changes;
    for (auto const& k : all) changes.push_back({k, std::nullopt});
    return session_->change(op, changes, false, std::size_t{0},
                            [&](connection& db, auto const& before, detail::deadline until) {
                              std::size_t removed = 0;
                              for (std::size_t i = 0; i < all.size(); ++i) {
                                db.run("WITH gone AS (DELETE FROM " + session_->table(db) +
                                           " WHERE key = $1 AND set_aside = '')"
                                           " SELECT pg_logical_emit_message(true, 'stash', '')::text",
                                       {all[i].str()}, op, until);
                                removed += before[i].has_value();
                              }
                              return removed;
                            });
  }

  std::uint64_t max_bytes_;
  std::shared_ptr<detail::postgres_session> session_;
};

}  // namespace stash::inline v1
