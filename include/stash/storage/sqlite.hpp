#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stash/concepts.hpp>
#include <stash/detail/files/absolute.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/file_lock.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/check_size.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/record/row.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/rows.hpp>
#include <stash/detail/sqlite/session.hpp>
#include <stash/detail/sqlite/table.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/detail/text/utf8.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/storage/default_directory.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <stash/storage/sqlite_options.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// Records as rows of the table `stash` of one SQLite file, which several processes of a machine share. Link with
/// sqlite3.
///
/// An acknowledged `put`, `erase` or `set_aside` survives what `sqlite_options::durability` says, on a file system and
/// a disk that honour fsync: under `power_loss` the file is in WAL mode with synchronous=FULL (or in DELETE mode with
/// EXTRA where WAL cannot be had), under `process_crash` with synchronous=NORMAL. The directory is made by the first
/// `put` or `try_lock`, 0700, the file 0600; an unsafe directory is refused, as by the atomic files. The file may have
/// other tables. What only reads works where its directory cannot be written to (a rescue system), and for root in that
/// of another user, and makes nothing there. A table in which a key could stand twice, and a change that a trigger
/// swallows or alters, is an error (EOPNOTSUPP), and the old record stands. In a file that is damaged (up to 64 MiB it
/// is looked through, once, before a record is said not to be there) nothing is written or listed: SQLITE_CORRUPT, as
/// in one that was cut to nothing. What was damaged in SQLite's own log, `-wal`, nobody can tell: SQLite takes it for
/// the end of the log. Locks are in `.lock` beside it, so that SQLite's own are never in the way. Every member may be
/// called from many threads and processes at once, `put`, `erase` and `set_aside` with the key's lock held. The
/// connection is closed before a fork, so a forked child may use the storage as it is, unless the process has another
/// connection open to that file. One that was moved from may only be assigned to or destroyed. Not for NFS.
///
///     stash::basic_stash<stash::sqlite_storage> store{"/var/lib/etl/stash.sqlite"};
///
///     $ sqlite3 /var/lib/etl/stash.sqlite 'SELECT key, saved_at, payload FROM stash'
///
/// Errors name the operation, the key and the file; they are SQLite's, or those of the directory. Where nothing else is
/// said, a throw leaves everything as it was.
class sqlite_storage {
 public:
  using lock_type = detail::file_lock<posix_file_ops>;  ///< a key's lock, see `try_lock`

  /// Touches nothing. Throws EINVAL for a path that is empty or has a NUL in it, and what finding the working
  /// directory throws; where none is given, as `default_directory`.
  explicit sqlite_storage(boost::filesystem::path file = default_directory() / "stash.sqlite",
                          sqlite_options options = {})
      : options_(options),
        session_(
            std::make_shared<detail::sqlite_session>(detail::absolute(std::move(file), "sqlite_storage"), options)) {}

  /// The path of the file that all records are in.
  std::string where(key const&) const { return session_->file().native(); }

  /// Whether there is a file. Throws SQLITE_CORRUPT where it is empty, `errc::unsafe_directory` or the operating
  /// system's error.
  bool exists() const { return session_->look({"exists", {}}, detail::access::read).has_value(); }

  /// Throws where `put` would refuse without trying: `errc::too_large`.
  void check(key const& k, record const& r) const { check_size(r.payload.size(), {"put", k}); }

  /// Writes `r` in place of what stands under `k`.
  ///
  /// Throws `errc::too_large`, `errc::invalid_key` (in a file of UTF-16 another key would come of it),
  /// `errc::unsafe_directory`, the operating system's error or SQLite's: the old record stands. Throws
  /// `errc::indeterminate` where SQLite met an I/O error: the old or the new one stands.
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
  /// Throws `errc::corrupt`, `errc::mismatch` (of another version), `errc::too_large`, `errc::unsafe_directory`, the
  /// operating system's error or SQLite's.
  std::optional<record> get(key const& k) const {
    detail::operation const op{"get", k};
    return session_->read(op, std::optional<record>(), [&](auto const& db) -> std::optional<record> {
      detail::require_held(db, k, op);
      statement row{db, detail::select_rows(detail::one_sqlite_row), op.name, op.subject};
      if (!row.bind(k.str()).bind("").step()) return session_->require_whole(op), std::nullopt;
      auto const found = detail::row_of(row);
      check_size(found.payload.size(), op);
      return detail::record_of(found, k, op, session_->shown(k));
    });
  }

  /// Removes the record of `k`, corrupt or not; false: there was none. Throws as `put`.
  bool erase(key const& k) { return erase_rows({"erase", k}, {&k, 1}) > 0; }

  /// As `erase` for each, in one transaction. Throws as `put_all`.
  void erase_all(std::span<key const> all) {
    if (!all.empty()) erase_rows({"erase_all", {}}, all);
  }

  /// All records, by key. `where` is the file and the key. Reads every payload, one at a time; the list itself is in
  /// memory, some 200 bytes a record. Other calls of this object wait meanwhile; those of others do not, but for
  /// writers where the file is not in WAL mode. Throws as `get`, but not for one record's damage.
  std::vector<entry> entries() const { return detail::list_rows(*session_, "entries", "WHERE set_aside = ''"); }

  /// Gives the row of `k` a name under which it is kept, and returns that behind the file's path:
  /// `<file>: <key>.<reason>-<UTC time>-<random>`. As durable as `put`.
  ///
  /// Throws ENOENT where there is none, or as `put`.
  std::string set_aside(key const& k, std::string_view reason) {
    detail::operation const op{"set_aside", k};
    auto const now = detail::system_now();
    std::string const name = detail::kept_name(k, reason, now, detail::random_number(ops_, op, {})),
                      at = detail::to_text(now);
    std::string where = session_->shown(name);
    bool const was_there = session_->write(op, false, false, [&](auto const& db) {
      detail::require_held(db, k, op);
      auto const one_row = detail::select_rows(detail::one_sqlite_row);
      statement row{db, one_row, op.name, op.subject}, written{db, one_row, op.name, op.subject};
      if (!row.bind(k.str()).bind("").step()) return false;
      auto const kept = detail::row_of(row);
      statement{db, "UPDATE stash SET set_aside = ?, set_aside_at = ? WHERE key = ? AND set_aside = ''", op.name,
                op.subject}
          .bind(name)
          .bind(at)
          .bind(k.str())
          .run();
      detail::check_written(written, k, "", std::nullopt, op);
      detail::check_written(written, k, name, kept, op);
      return true;
    });
    if (!was_there) op.fail(ENOENT, "find in", session_->file().native());
    return where;
  }

  /// All that was set aside and not purged, by key. Throws as `entries`.
  std::vector<entry> set_aside_entries() const {
    return detail::list_rows(*session_, "set_aside_entries", "WHERE set_aside <> ''");
  }

  /// Destroys what was set aside `older_than` ago or earlier, zero or less: all of it, also what was set aside nobody
  /// knows when. Returns how many. Throws as `put`.
  std::size_t purge(std::chrono::microseconds older_than) {
    detail::operation const op{"purge", {}};
    auto const now = detail::system_now();
    auto const until = detail::purged_until(older_than, now);
    return session_->write(op, false, std::size_t{0}, [&](auto const& db) {
      detail::sqlite_statement{db,
                               "DELETE FROM stash WHERE set_aside <> '' AND (?1 IS NULL OR"
                               " (set_aside_at LIKE '____-__-__T__:__:__.______Z' AND set_aside_at <= ?1))",
                               op.name, op.subject}
          .bind(until)
          .run();
      return static_cast<std::size_t>(::sqlite3_changes(db.get()));
    });
  }

  /// The lock of `k`, exclusive among the threads and processes of this machine; nullopt: another has it. Makes the
  /// directory. Throws `errc::unsafe_directory` or the operating system's error.
  std::optional<lock_type> try_lock(key const& k) {
    std::vector<lock_type> one;
    try_lock_all({&k, 1}, one);
    if (one.empty()) return std::nullopt;
    return std::move(one.front());
  }

  /// As `atomic_file_storage::try_lock_all`.
  void try_lock_all(std::span<key const> all, std::vector<lock_type>& locks) {
    std::vector<off_t> bytes;
    for (auto const& k : all) bytes.push_back(lock_type::byte_of(lock_name(k)));
    bool const is_one = all.size() == 1;
    detail::operation const op{is_one ? "try_lock" : "try_lock_all", is_one ? all[0].str() : std::string_view()};
    if (options_.must_exist) session_->find_directory(op, detail::access::write);
    lock_type::try_take_all(ops_, session_->directory(), session_->is_durable(), bytes, op, locks, session_->made());
  }

 private:
  std::string lock_name(key const& k) const { return session_->file().filename().native() + '/' + k.string(); }

  using statement = detail::sqlite_statement;

  void check_size(std::size_t bytes, detail::operation const& op) const {
    detail::check_size(
        bytes, options_.max_bytes, [&] { return session_->shown(op.subject); }, op);
  }

  void put_rows(detail::operation const& op, std::span<std::pair<key, record> const> all) {
    for (auto const& [k, r] : all) check(k, r);
    session_->write(op, true, true, [&](auto const& db) {
      // Not as an upsert: SQLite does not write a row that stays as it is, and so would not sync it; but what a process
      // wrote that died before its sync must be durable when it is put again. To replace gives it another rowid.
      statement row{db, "INSERT OR REPLACE INTO stash (key, version, saved_at, xxh64, payload) VALUES (?, ?, ?, ?, ?)",
                    op.name, op.subject};
      statement written{db, detail::select_rows(detail::one_sqlite_row), op.name, op.subject};
      std::vector<std::pair<std::string, std::string>> texts;  // of its time and its checksum
      for (auto const& [k, r] : all) {
        detail::require_held(db, k, op);
        auto& [saved_at, checksum] = texts.emplace_back(detail::to_text(r.saved_at), "");
        checksum = detail::row_checksum(k, saved_at, r.payload);
        row.bind(k.str()).bind(detail::row_version).bind(saved_at).bind(checksum);
        // As text where it can be, so that people can read it.
        bool const is_text =
            r.payload.find('\0') == r.payload.npos && detail::is_utf8(r.payload) && detail::is_held(db, r.payload, op);
        (is_text ? row.bind(r.payload) : row.bind_bytes(r.payload)).run();
      }
      for (std::size_t i = 0; i < all.size(); ++i) {  // at last: see erase_rows
        auto const& [saved_at, checksum] = texts[i];
        detail::record_row const expected{detail::row_version, saved_at, checksum, all[i].second.payload};
        detail::check_written(written, all[i].first, "", expected, op);
      }
      return true;
    });
  }

  /// How many there were. Where there was none too, something is written: an earlier removal, by a process that died
  /// before its sync, must be durable now.
  std::size_t erase_rows(detail::operation const& op, std::span<key const> all) {
    return session_->write(op, false, std::size_t{0}, [&](auto const& db) {
      std::size_t removed = 0;
      statement row{db, "DELETE FROM stash WHERE key = ? AND set_aside = ''", op.name, op.subject};
      statement written{db, detail::select_rows(detail::one_sqlite_row), op.name, op.subject};
      for (auto const& k : all) {
        detail::require_held(db, k, op);
        row.bind(k.str()).run();
        removed += static_cast<std::size_t>(::sqlite3_changes(db.get()));
      }
      // When all is done: what is done for one key may, by a trigger, undo what was done for another.
      for (auto const& k : all) detail::check_written(written, k, "", std::nullopt, op);
      if (removed == 0) {
        db.execute(
            "INSERT INTO stash (key, version, saved_at, xxh64, payload) VALUES ('', 0, '', '', '');"
            "DELETE FROM stash WHERE key = '' AND set_aside = ''",
            op.name, op.subject);
      }
      return removed;
    });
  }

  sqlite_options options_;
  [[no_unique_address]] posix_file_ops ops_;
  std::shared_ptr<detail::sqlite_session> session_;
};

}  // namespace stash::inline v1
