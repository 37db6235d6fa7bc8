#pragma once

#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stash/concepts.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/listing.hpp>
#include <stash/detail/postgres/reconnect.hpp>
#include <stash/detail/postgres/session.hpp>
#include <stash/detail/postgres/session_lock.hpp>
#include <stash/detail/record/check_size.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/record/row.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/detail/text/utf8.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <stash/storage/postgres_options.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// Records as rows of one table of a PostgreSQL database, which jobs on several machines share. Link with libpq.
///
/// An acknowledged `put`, `erase` or `set_aside` survives what the server's commit survives: a power cut, and with a
/// synchronous standby the loss of the machine. Under `durability::power_loss` a session with `synchronous_commit` or
/// `fsync` off is refused. The table is made by the first `put`; reads make nothing, and take only a missing table for
/// an empty one. In the schema `stash`, the default, which is made too, it belongs to the role that made it, and nobody
/// else is granted anything; where there is a `public.stash` of version 0.1, its records are found, and each moves when
/// it is changed. Another schema must exist. A table that would lose what is written (unlogged, a view, with rules),
/// and a change that a trigger swallows or alters, is an error (EOPNOTSUPP), and the old record stands. Every member
/// may be called from many threads and processes at once, which wait for each other within one object; `put`, `erase`
/// and `set_aside` with the key's lock held.
///
/// It has a connection of its own, in autocommit: a job's rollback does not take the stash along. The string is libpq's
/// (a URI, or `host=... dbname=...`; also from PGHOST, ~/.pgpass, ...), and may name several hosts, of which the one
/// that can be written to is used. Once it has its turn, a call ends when the server has been silent for
/// `postgres_options::timeout`, but for the time that finding a host's address takes. A session that ended, or in which
/// memory ran out, is made anew; the locks of the old one are then lost (`held()`), and what was being written is
/// written again, unless another had the key's lock meanwhile. Locks are the session's advisory locks: they end with
/// the process, at most a minute after its machine went dark. A pooler in between is refused. A forked child may use
/// the storage as it is, in a session of its own. One that was moved from may only be assigned to or destroyed.
///
///     stash::basic_stash<stash::postgres_storage> store{"postgresql://etl@db.example.com/etl"};
///
///     $ psql -c 'SELECT key, saved_at, payload FROM stash.stash'
///
/// Errors name the operation, the key and what the server says, with its SQLSTATE as code (class 08: no connection).
/// Where nothing else is said, a throw leaves everything as it was.
class postgres_storage {
 public:
  using lock_type = detail::postgres_lock;  ///< a key's lock, see `try_lock`

  /// Touches nothing: a bad connection string (EINVAL), too, is told by the first call. Throws EINVAL where `schema` or
  /// `table` is empty, over 63 bytes, not UTF-8, or has a NUL byte.
  explicit postgres_storage(std::string info, postgres_options options = {})
      : max_bytes_(options.max_bytes),
        session_(std::make_shared<detail::postgres_session>(std::move(info), std::move(options))) {}

  /// The table that all records are in, and the key.
  std::string where(key const& k) const { return session_->shown(k); }

  /// Whether there is a table, of this version or of 0.1. Throws the server's error, SQLSTATE 3F000 where there is no
  /// such schema and it is not the default one.
  bool exists() const {
    detail::operation const op{"exists", {}};
    return session_->read(op, [&](connection& db, detail::deadline until) {
      return session_->table().exists(db, op, until) || session_->table().has_old();
    });
  }

  /// Throws where `put` would refuse without trying: `errc::too_large`.
  void check(key const& k, record const& r) const { check_size(r.payload.size(), {"put", k}); }

  /// Writes `r` in place of what stands under `k`.
  ///
  /// Throws `errc::too_large`, `errc::invalid_key` (the database's encoding cannot hold it) or the server's error: the
  /// old record stands. Throws `errc::indeterminate` where the server warned (as when it stopped waiting for a
  /// standby), or where the session ended and the record could not be written again in time: the old or the new one
  /// stands. Throws `errc::busy` where the session ended and another changed the record since: what the other left
  /// stands, and `r` may have stood there before it.
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
    return session_->read_table<std::optional<record>>(op, [&](connection& db, auto const& table, auto until) {
      detail::postgres_table::require_held(db, k, op, until);
      auto const sql = "SELECT " + detail::record_columns("$2::text::numeric") +
                       ", coalesce(octet_length(payload), octet_length(payload_bytes))::text FROM " + table +
                       " WHERE key = $1 AND set_aside = ''";
      detail::postgres_question const question{sql, {k.str(), cap}};
      auto const rows = std::move(db.run_all({&question, 1}, op, until).front());
      if (rows.rows() == 0) return std::optional<record>();
      check_size(detail::number_in(rows.text(0, 6)), op);
      return std::optional(
          detail::record_of(detail::row_of(rows, 0), k, op, session_->table().shown(k, !rows.is_null(0, 5))));
    });
  }

  /// Removes the record of `k`, corrupt or not; false: there was none. Throws as `put`.
  bool erase(key const& k) { return erase_rows({"erase", k}, {&k, 1}) > 0; }

  /// As `erase` for each, in one transaction. Throws as `put_all`.
  void erase_all(std::span<key const> all) {
    if (!all.empty()) erase_rows({"erase_all", {}}, all);
  }

  /// All records, by key. `where` is the table and the key. Fetches every payload, those over 1 MiB one at a time: in
  /// memory are the entries, some 300 bytes each, and at most 20 MiB more than the greatest payload. Eight thousand at
  /// a time, so that other threads have their turn meanwhile; what changes meanwhile may be listed or not. Throws as
  /// `get`, but not for one record's damage.
  std::vector<entry> entries() const { return detail::list_rows(*session_, "entries", " WHERE set_aside = ''"); }

  /// Gives the row of `k` a name under which it is kept, and returns that behind the table's:
  /// `<schema>.<table>: <key>.<reason>-<UTC time>-<random>`. As durable as `put`.
  ///
  /// Throws ENOENT where there is none, or as `put`.
  std::string set_aside(key const& k, std::string_view reason) {
    detail::operation const op{"set_aside", k};
    auto const now = detail::system_now();
    std::string const name = detail::kept_name(k, reason, now, detail::random_number(posix_file_ops{}, op, {})),
                      at = detail::to_text(now);
    bool const was_there = session_->change(
        op, {{k, std::nullopt}}, false, false, [&](connection& db, auto const& before, auto const& ask, auto& written) {
          if (!before[0]) return false;
          auto const table = session_->table().sql(db);
          std::string const sql =
              "UPDATE " + table + " AS n SET set_aside = $2, set_aside_at = $3 FROM " + table +
              " AS o WHERE n.key = $1 AND n.set_aside IN ('', $2) AND o.ctid = n.ctid"  // the name: done again
              " RETURNING n.ctid::text, ((n.key, n.set_aside, n.set_aside_at, n.version, n.saved_at, n.xxh64,"
              " n.payload, n.payload_bytes) IS NOT DISTINCT FROM ($1, $2, $3, o.version, o.saved_at, o.xxh64,"
              " o.payload, o.payload_bytes))::text";
          auto const moved = ask({{sql, {k.str(), name, at}}});
          written.push_back({k.string(), {}, std::nullopt});
          written.push_back({k.string(), name, row_written(moved.front(), k, op)});
          return true;
        });
    if (!was_there) op.fail(ENOENT, "find in", session_->shown(k));
    return session_->shown(name);
  }

  /// All that was set aside and not purged, by key. Throws as `entries`.
  std::vector<entry> set_aside_entries() const {
    return detail::list_rows(*session_, "set_aside_entries", " WHERE set_aside <> ''");
  }

  /// Destroys what was set aside `older_than` ago or earlier, zero or less: all of it, also what was set aside nobody
  /// knows when. Returns how many; fewer where the session ended and it was done again. A throw may leave them
  /// destroyed.
  std::size_t purge(std::chrono::microseconds older_than) {
    detail::operation const op{"purge", {}};
    auto const now = detail::system_now();
    auto const before = detail::purged_until(older_than, now);
    return session_->read(op, [&](connection& db, detail::deadline until) {
      std::size_t count = 0;
      for (auto const& table : session_->table().all(db, op, until)) {
        auto const gone =
            db.run("WITH gone AS (DELETE FROM " + table +
                       " WHERE set_aside <> '' AND ($1::text IS NULL OR"
                       " (set_aside_at LIKE '____-__-__T__:__:__.______Z' AND set_aside_at <= $1)) RETURNING 1)"
                       " SELECT count(*)::text FROM gone",
                   {before}, op, until);
        count += static_cast<std::size_t>(detail::number_in(gone.text(0, 0)));
      }
      return count;
    });
  }

  /// The lock of `k`, exclusive among all sessions on this database; nullopt: another has it. Throws the server's
  /// error, and `errc::too_large` where this object would have more than an eighth of the locks of the whole server
  /// (800 as it is installed): others could take none then, in any of its databases.
  std::optional<lock_type> try_lock(key const& k) { return lock_type::try_take(session_, k); }

 private:
  using connection = detail::postgres_connection;

  void check_size(std::uint64_t bytes, detail::operation const& op) const {
    detail::check_size(
        bytes, max_bytes_, [&] { return session_->shown(op.subject); }, op);
  }

  /// Where it is, of a row and whether it is as it was sent.
  std::string row_written(detail::postgres_result const& row, key const& k, detail::operation const& op) const {
    if (row.rows() != 1 || row.text(0, 1) != "true") session_->table().refuse_change(k, op);
    return row.text(0, 0);
  }

  void put_rows(detail::operation const& op, std::span<std::pair<key, record> const> all) {
    std::vector<detail::change_of> changes;
    for (auto const& [k, r] : all) {
      check(k, r);
      changes.push_back({k, detail::row_checksum(k, detail::time_text{r.saved_at}.str(), r.payload)});
    }
    session_->change(op, changes, true, true, [&](connection& db, auto const&, auto const& ask, auto& written) {
      std::string const sql =
          "INSERT INTO " + session_->table().sql(db) +
          " AS r (key, version, saved_at, xxh64, payload, payload_bytes) VALUES ($1, $2::text::integer, $3, $4, $5, "
          "$6)" +
          detail::postgres_table::on_conflict +
          " RETURNING ctid::text, ((r.key COLLATE \"C\", r.set_aside, r.version, r.saved_at, r.xxh64, r.payload,"
          " r.payload_bytes) IS NOT DISTINCT FROM ($1, '', $2::text::integer, $3, $4, $5, $6))::text";
      std::string const version = std::to_string(detail::row_version);
      std::vector<std::string> times;
      for (auto const& [k, r] : all) times.push_back(detail::to_text(r.saved_at));
      std::vector<detail::postgres_question> questions;
      for (std::size_t i = 0; i < all.size(); ++i) {
        auto const& [k, r] = all[i];
        bool const is_text =
            r.payload.find('\0') == r.payload.npos && detail::is_utf8(r.payload) && detail::is_held(db, r.payload);
        detail::postgres_parameter const payload = r.payload, none;
        questions.push_back(
            {sql, {k.str(), version, times[i], changes[i].after, is_text ? payload : none, is_text ? none : payload}});
      }
      auto const rows = ask(std::move(questions));
      for (std::size_t i = 0; i < all.size(); ++i) {
        auto const& k = all[i].first;
        written.push_back({k.string(), {}, row_written(rows[i], k, op)});
      }
      return true;
    });
  }

  /// How many there were. Each writes to the server's log, where there was none too: an earlier removal that nobody
  /// waited for must be durable now.
  std::size_t erase_rows(detail::operation const& op, std::span<key const> all) {
    std::vector<detail::change_of> changes;
    for (auto const& k : all) changes.push_back({k, std::nullopt});
    return session_->change(op, changes, false, std::size_t{0},
                            [&](connection& db, auto const& before, auto const& ask, auto& written) {
                              std::string const sql = "WITH gone AS (DELETE FROM " + session_->table().sql(db) +
                                                      " WHERE key = $1 AND set_aside = '')"
                                                      " SELECT pg_logical_emit_message(true, 'stash', '')::text";
                              std::vector<detail::postgres_question> questions;
                              for (auto const& k : all) questions.push_back({sql, {k.str()}});
                              ask(std::move(questions));
                              std::size_t removed = 0;
                              for (std::size_t i = 0; i < all.size(); ++i) {
                                removed += before[i].has_value();
                                written.push_back({all[i].string(), {}, std::nullopt});
                              }
                              return removed;
                            });
  }

  std::uint64_t max_bytes_;
  std::shared_ptr<detail::postgres_session> session_;
};

}  // namespace stash::inline v1
