#pragma once

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include <boost/filesystem/path.hpp>
#include <boost/system/errc.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stash/detail/files/byte_locks.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/directory_lifetime.hpp>
#include <stash/detail/fork.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/table.hpp>
#include <stash/detail/sqlite/view.hpp>
#include <stash/detail/storage/locking.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <stash/storage/sqlite_options.hpp>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace stash::inline v1::detail {

/// The connection to a file of records, which is opened by the first call that needs it. A connection must not be
/// inherited: a child that opens the file would take the parent's locks on it for its own
/// (https://sqlite.org/howtocorrupt.html). So it is closed before a fork, and opened again afterwards.
class sqlite_session {
 public:
  sqlite_session(boost::filesystem::path file, sqlite_options const& options)
      : file_(std::move(file)), directory_(file_.parent_path()), options_(options) {}

  boost::filesystem::path const& file() const noexcept { return file_; }
  std::string shown(std::string_view name) const {
    std::string text;
    text.reserve(file_.size() + 2 + name.size());
    return text.append(file_.native()).append(": ").append(name);
  }
  boost::filesystem::path const& directory() const noexcept { return directory_; }
  bool is_durable() const noexcept { return options_.durability == durability::power_loss; }
  made_levels const& made() const noexcept { return made_; }

  std::optional<stash::detail::directory<posix_file_ops>> find_directory(operation const& op, access wanted) const {
    return stash::detail::directory<posix_file_ops>::find(ops_, directory_, op, wanted, options_.must_exist);
  }

  /// The file, if there is one. Not by opening it: closing a descriptor of it would drop SQLite's own locks.
  std::optional<struct stat> look(operation const& op, access wanted) const {
    auto const dir = find_directory(op, wanted);
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
    // It is made with a table in it. SQLite takes a file of no byte, or of one, for a new one, and deletes its log.
    if (s.st_size < 512) {
      throw error{{SQLITE_CORRUPT, sqlite_category()},
                  std::string(op.name),
                  std::string(op.subject),
                  file_.native() + " has " + std::to_string(s.st_size) +
                      " bytes: it was cut off, or is none of ours;"
                      " where it never had a record, remove it"};
    }
    return s;
  }

  /// Calls `f(connection)`, alone; where there is no file, or no table in it, returns `nothing`. It may be another
  /// user's where root looks. `f` calls `require_whole` before it says that something is not there.
  template <class T, class F>
  T read(operation const& op, T nothing, F f) {
    std::lock_guard const alone{mutex_};
    for (int tries = 0;; ++tries) {
      auto const found = look(op, access::read);
      if (!found) return nothing;
      bool const is_view = found->st_uid != ops_.user() || !is_writable(), is_alone = is_view && view(op);
      if (!is_view) connect(*found, op);
      T result = nothing;
      has_table_ = detail::sqlite_table_of(*db_, op).has_value();
      if (has_table_) {
        result = f(*db_);
      } else {
        require_whole(op);
      }
      if (is_view) db_.reset();
      if (!is_alone || is_unchanged(*found, op)) return result;
      if (tries == 10) op.fail(errc::busy, file_.native(), "another changes it, and it cannot be locked from here");
    }
  }
  /// Throws where the file is damaged, so that something in it may not be found. Once for a connection.
  void require_whole(operation const& op) {
    if (is_whole_) return;
    stash::detail::require_whole(*db_, has_table_, op);
    is_whole_ = true;
  }

  /// Calls `f(connection)` in a transaction, alone. Where there is no file or no table, `make` makes it; else returns
  /// `nothing`.
  template <class T, class F>
  T write(operation const& op, bool make, T nothing, F f) {
    std::lock_guard const alone{mutex_};
    auto found = look(op, access::write);
    if (!found) {
      if (!make) return nothing;
      make_file(op);
      found = look(op, access::write);
      if (!found) op.fail(ENOENT, "lstat", file_.native());
    }
    if (!is_writable()) op.fail(errno, "write in", directory_.native());
    connect(*found, op);
    try {
      prepare(op);
      sqlite_transaction all{*db_, op.name, op.subject};
      auto const table = detail::sqlite_table_of(*db_, op);
      has_table_ = table.has_value();
      require_whole(op);
      if (!table) {
        if (!make) return nothing;
        db_->execute(sqlite_table_sql, op.name, op.subject);
      } else if (*table != sqlite_table_sql) {
        detail::check_sqlite_table(*db_, op);
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
  made_levels made_ = std::make_shared<std::atomic<unsigned>>(0U);
  std::mutex mutex_;
  std::optional<sqlite_connection> db_;
  struct stat opened_ {};                                            // the file that db_ has
  bool is_prepared_ = false, has_table_ = false, is_whole_ = false;  // of db_
  std::chrono::steady_clock::time_point waiting_since_{};
  at_fork hook_{mutex_, [this] { db_.reset(); }, [] {}};

  /// Under another name until it has its table, so that a file without one is damaged. 0600: not by SQLite, which would
  /// give it the umask's permissions, nor by open (see `look`). Another may make it at the same time.
  void make_file(operation const& op) {
    auto const dir = stash::detail::directory_maker<posix_file_ops>::make(ops_, directory_, is_durable(), op);
    std::string const to = file_.filename().native(), from = to + ".new-" + hex16(dir.random());
    std::string const path = dir.path_of(from);
    if (::mknod(path.c_str(), S_IFREG | 0600, 0) != 0) op.fail(errno, "mknod", path);
    struct at_end {
      posix_file_ops const& ops;
      stash::detail::directory<posix_file_ops> const& dir;
      std::string const& name;
      ~at_end() { ops.unlink(dir.get(), name.c_str()); }
    } const unless_renamed{ops_, dir, from};
    sqlite_connection{path, op.name, SQLITE_OPEN_READWRITE}.execute(
        std::string("PRAGMA journal_mode=MEMORY; PRAGMA synchronous=FULL;") + sqlite_table_sql, op.name, op.subject);
    if (ops_.rename_noreplace(dir.get(), from.c_str(), to.c_str()) != 0) {
      bool const is_there = errno == EEXIST;
      if (!is_there && ops_.link(dir.get(), from.c_str(), to.c_str()) != 0 && errno != EEXIST) dir.fail("link", from);
    }
    if (is_durable() && dir.sync() != 0) dir.fail("fsync");
    *made_ = 0;
  }

  /// Whether SQLite may make the files beside it that it needs to read it.
  bool is_writable() const { return ::faccessat(AT_FDCWD, directory_.c_str(), W_OK, AT_EACCESS) == 0; }

  /// A connection for one look that makes nothing, where nothing can be made, or it would be root's in the way of its
  /// owner. True: there is nothing beside the file, which is then read as it is, without a lock; who changes it
  /// meanwhile changes its time, or has a log beside it.
  bool view(operation const& op) {
    auto const how = detail::sqlite_view_of(file_, op);
    db_.reset();
    open(how.uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, op);
    return how.is_alone;
  }
  bool is_unchanged(struct stat const& before, operation const& op) const {
    auto const now = look(op, access::read);
    auto const of = [](struct stat const& s) {
      return std::tuple(s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    };
    return now && of(*now) == of(before) && detail::sqlite_view_of(file_, op).is_alone;
  }

  /// A connection to a file that was deleted or replaced goes on with what nobody will find.
  void connect(struct stat const& found, operation const& op) {
    if (db_ && std::pair(found.st_dev, found.st_ino) != std::pair(opened_.st_dev, opened_.st_ino)) db_.reset();
    if (db_) return;
    open(file_.native(), SQLITE_OPEN_READWRITE, op);
    opened_ = found;
  }
  void open(std::string const& name, int flags, operation const& op) {
    try {
      db_.emplace(name, op.name, flags | SQLITE_OPEN_NOMUTEX, file_.native());  // each call is alone with it already
    } catch (error const& problem) {
      throw error{problem.code(), std::string(op.name), std::string(op.subject), shown("open: " + problem.detail())};
    }
    is_prepared_ = is_whole_ = false;
    ::sqlite3_busy_handler(db_->get(), wait_for_others, this);
  }

  /// SQLite's own waiting pauses for up to 100 ms, and where another writes without a pause it hardly ever gets a turn.
  static int wait_for_others(void* session, int tries) {
    auto& self = *static_cast<sqlite_session*>(session);
    auto const now = std::chrono::steady_clock::now();
    if (tries == 0) self.waiting_since_ = now;
    if (std::chrono::floor<std::chrono::milliseconds>(now - self.waiting_since_) >= self.options_.wait_for_file)
      return 0;
    detail::sleep_for(std::chrono::milliseconds(1));
    return 1;
  }

  /// Before the first write. On a file system without shared memory there is no WAL, and a rollback journal whose
  /// directory is synced too (EXTRA) promises the same.
  void prepare(operation const& op) {
    if (is_prepared_) return;
    bool const is_wal = detail::turn_to_wal(*db_, options_.wait_for_file, op);
    char const* const synced =
        is_wal ? "PRAGMA synchronous=FULL" : "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA";
    db_->execute(is_durable() ? synced : "PRAGMA synchronous=NORMAL", op.name, op.subject);
    is_prepared_ = true;
  }
};

}  // namespace stash::inline v1::detail
