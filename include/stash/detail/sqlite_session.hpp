#pragma once

#include <sqlite3.h>
#include <sys/stat.h>

#include <boost/filesystem/path.hpp>
#include <boost/system/errc.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stash/detail/at_fork.hpp>
#include <stash/detail/directory.hpp>
#include <stash/detail/lock.hpp>
#include <stash/detail/posix_file_ops.hpp>
#include <stash/detail/sqlite.hpp>
#include <stash/error.hpp>
#include <stash/file_options.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1 {

/// For `sqlite_storage`.
struct sqlite_options {
  stash::durability durability = durability::power_loss;  ///< what a change survives once it has returned
  std::uint64_t max_bytes = 64U << 20;                    ///< the greatest payload to write or read: 64 MiB
  std::chrono::milliseconds wait_for_file{10'000};        ///< for what another process does in it, before SQLITE_BUSY
};

namespace detail {

/// The connection to a file of records, which is opened by the first call that needs it. A connection must not be
/// inherited: a child that opens the file would take the parent's locks on it for its own
/// (https://sqlite.org/howtocorrupt.html). So it is closed before a fork, and opened again afterwards.
class sqlite_session {
 public:
  sqlite_session(boost::filesystem::path file, sqlite_options const& options)
      : file_(std::move(file)), directory_(file_.parent_path()), options_(options) {}

  boost::filesystem::path const& file() const noexcept { return file_; }
  std::string shown(std::string_view name) const { return (file_.native() + ": ").append(name); }
  boost::filesystem::path const& directory() const noexcept { return directory_; }
  bool is_durable() const noexcept { return options_.durability == durability::power_loss; }

  /// The file, if there is one. Not by opening it: closing a descriptor of it would drop SQLite's own locks.
  std::optional<struct stat> look(operation const& op) const {
    auto const dir = stash::detail::directory<posix_file_ops>::open(ops_, directory_, op);
    if (!dir) return std::nullopt;
    struct stat s;
    if (ops_.lstat(dir->get(), file_.filename().c_str(), &s) != 0) {
      if (errno == ENOENT) return std::nullopt;
      op.fail(errno, "lstat", file_.native());
    }
    if (!S_ISREG(s.st_mode)) op.fail(errc::unsafe_directory, file_.native(), "not a regular file");
    if (s.st_uid != dir->user()) {
      op.fail(EPERM, "owned by user " + std::to_string(s.st_uid) + ", not by us:", file_.native());
    }
    return s;
  }

  /// Calls `f(connection)`, alone; where there is no file, or no table in it, returns `nothing`.
  template <class T, class F>
  T read(operation const& op, T nothing, F f) {
    std::lock_guard const alone{mutex_};
    auto const found = look(op);
    if (!found) return nothing;
    connect(*found, op);
    if (!has_table(op)) return nothing;
    return f(*db_);
  }

  /// Calls `f(connection)` in a transaction, alone. Where there is no file or no table, `make` makes it; else returns
  /// `nothing`.
  template <class T, class F>
  T write(operation const& op, bool make, T nothing, F f) {
    std::lock_guard const alone{mutex_};
    auto found = look(op);
    if (!found) {
      if (!make) return nothing;
      found = make_file(op);
    }
    connect(*found, op);
    try {
      prepare(op);
      sqlite_transaction all{*db_, op.name, op.subject};
      if (make) {
        db_->execute(
            "CREATE TABLE IF NOT EXISTS stash (key TEXT NOT NULL, set_aside TEXT NOT NULL DEFAULT '', set_aside_at "
            "TEXT,"
            " version INTEGER NOT NULL, saved_at TEXT NOT NULL, xxh64 TEXT NOT NULL, payload NOT NULL,"
            " PRIMARY KEY (key, set_aside))",
            op.name, op.subject);
      } else if (!has_table(op)) {
        return nothing;
      }
      T result = f(*db_);
      all.commit();
      return result;
    } catch (error const& problem) {
      if (problem.code() != boost::system::errc::io_error) throw;
      db_.reset();  // what it believes of the file may be wrong now
      op.fail(errc::indeterminate, problem.detail(), problem.code().message());
    }
  }

 private:
  boost::filesystem::path const file_, directory_;
  sqlite_options const options_;
  [[no_unique_address]] posix_file_ops ops_;
  std::mutex mutex_;
  std::optional<sqlite_connection> db_;
  struct stat opened_ {};  // the file that db_ has
  bool is_prepared_ = false;
  std::chrono::steady_clock::time_point waiting_since_{};
  at_fork hook_{mutex_, [this] { db_.reset(); }, [] {}};

  /// 0600. Not by SQLite, which would give it the umask's permissions, nor by open (see `look`).
  struct stat make_file(operation const& op) {
    stash::detail::directory<posix_file_ops>::make(ops_, directory_, is_durable(), op);
    if (::mknod(file_.c_str(), S_IFREG | 0600, 0) != 0 && errno != EEXIST) op.fail(errno, "mknod", file_.native());
    auto const made = look(op);
    if (!made) op.fail(ENOENT, "lstat", file_.native());
    return *made;
  }

  /// A connection to a file that was deleted or replaced goes on with what nobody will find.
  void connect(struct stat const& found, operation const& op) {
    if (db_ && std::pair(found.st_dev, found.st_ino) != std::pair(opened_.st_dev, opened_.st_ino)) db_.reset();
    if (db_) return;
    try {
      db_.emplace(file_.native(), op.name, SQLITE_OPEN_READWRITE);
    } catch (error const& problem) {
      throw error{problem.code(), std::string(op.name), std::string(op.subject), shown("open: " + problem.detail())};
    }
    opened_ = found;
    is_prepared_ = false;
    ::sqlite3_busy_handler(db_->get(), wait_for_others, this);
  }

  /// SQLite's own waiting pauses for up to 100 ms, and where another writes without a pause it hardly ever gets a turn.
  static int wait_for_others(void* session, int tries) {
    auto& self = *static_cast<sqlite_session*>(session);
    auto const now = std::chrono::steady_clock::now();
    if (tries == 0) self.waiting_since_ = now;
    if (std::chrono::floor<std::chrono::milliseconds>(now - self.waiting_since_) >= self.options_.wait_for_file)
      return 0;
    sleep_for(std::chrono::milliseconds(1));
    return 1;
  }

  /// Before the first write. On a file system without shared memory there is no WAL, and a rollback journal whose
  /// directory is synced too (EXTRA) promises the same.
  void prepare(operation const& op) {
    if (is_prepared_) return;
    sqlite_statement mode{*db_, "PRAGMA journal_mode=WAL", op.name, op.subject};
    bool const is_wal = mode.step() && mode.text(0) == "wal";
    mode.reset();
    char const* const synced =
        is_wal ? "PRAGMA synchronous=FULL" : "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA";
    db_->execute(is_durable() ? synced : "PRAGMA synchronous=NORMAL", op.name, op.subject);
    is_prepared_ = true;
  }

  bool has_table(operation const& op) {
    return sqlite_statement{*db_, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'stash'", op.name,
                            op.subject}
        .step();
  }
};

}  // namespace detail

}  // namespace stash::inline v1
