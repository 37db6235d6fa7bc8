#pragma once

#include <algorithm>
#include <array>
#include <boost/filesystem/operations.hpp>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <set>
#include <stash/concepts.hpp>
#include <stash/detail/default_directory.hpp>
#include <stash/detail/directory.hpp>
#include <stash/detail/file_name.hpp>
#include <stash/detail/posix_file_ops.hpp>
#include <stash/detail/process.hpp>
#include <stash/detail/record_format.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// What an acknowledged write survives.
enum class durability {
  power_loss,    ///< the power cut too: everything is synced before a call returns
  process_crash  ///< the death of the process (`kill -9`), not of the machine: nothing is synced
};

struct file_options {
  stash::durability durability = durability::power_loss;
  std::uint64_t max_bytes = 64U << 20;  ///< the greatest payload, to write and to read
};

/// One file a key in a directory of our own, replaced in one step: readers see the old record or the new one.
///
/// An acknowledged `put`, `erase` or `set_aside` survives what `file_options::durability` says, on a file
/// system and a disk that honour fsync. The directory is made by the first `put` or `try_lock`, 0700, the
/// files 0600; one that is a link, is somebody else's, or that others may write to, is refused with
/// `errc::unsafe_directory`. Every member may be called from many threads and processes at once, `put`,
/// `erase`, `set_aside` and `sweep` with the key's lock held. Nothing is kept open between calls but locks,
/// so a forked child may use it as it is. A relative directory is taken from where the process is when the
/// storage is constructed. On NFS, a lock lives as long as its lease.
///
///     stash::atomic_file_storage files{"/var/lib/etl/stash"};
///     std::cout << files.path("orders");    // "/var/lib/etl/stash/orders.stash"
///
/// Errors name the operation, the key, the failed call and its path. Where nothing else is said, a throw
/// leaves everything as it was and removes the temporary file.
template <class FileOps = posix_file_ops>
class basic_atomic_file_storage {
 public:
  class lock_type;

  /// Touches nothing. Throws EINVAL for an empty path, and what finding the working directory throws.
  explicit basic_atomic_file_storage(boost::filesystem::path directory = default_directory(), file_options options = {},
                                     FileOps ops = {})
      : directory_(absolute(std::move(directory))), options_(options), ops_(std::move(ops)) {}

  /// Where the record of `k` is or would be. Throws `errc::invalid_key` where its file name would be too long.
  boost::filesystem::path path(key const& k) const { return directory_ / detail::record_name(k, "path"); }

  /// Whether the directory is there. Throws as `get` does.
  bool exists() const { return detail::directory<FileOps>::open(ops_, directory_, {"exists", {}}).has_value(); }

  /// Writes `r` in place of what stands under `k`, even if that is a link or a FIFO; never through it.
  ///
  /// Throws `errc::too_large`, `errc::invalid_key`, `errc::unsafe_directory`, or the operating system's error:
  /// the old record stands. Throws `errc::indeterminate` where the last sync failed: the old or the new one
  /// stands, and after a power cut it may be the other.
  void put(key const& k, record const& r) {
    detail::operation const op{"put", k};
    auto const name = detail::record_name(k, op.name);
    if (r.payload.size() > options_.max_bytes) {
      op.fail(errc::too_large, path(k).native(), bytes_over_cap(r.payload.size()));
    }
    std::string const header = detail::header_line(k, r);
    auto const dir = detail::directory<FileOps>::make(ops_, directory_, op);
    temporary file{ops_, dir, k, op};
    file.write(header, r.payload, options_.durability);
    file.rename_to(name);
    make_durable(dir, op);
  }

  /// The record of `k`; nullopt: there is none. Creates nothing.
  ///
  /// Throws `errc::corrupt`: what stands there is no whole record of `k` (a link, a directory or a FIFO is
  /// none); `errc::mismatch`: of a newer version; `errc::too_large`; `errc::unsafe_directory`; EPERM where the
  /// file is somebody else's; or the operating system's error.
  std::optional<record> get(key const& k) const {
    detail::operation const op{"get", k};
    auto const name = detail::record_name(k, op.name);
    auto const dir = detail::directory<FileOps>::open(ops_, directory_, op);
    if (!dir) return std::nullopt;
    return read(*dir, name, k, op);
  }

  /// Removes the record of `k`, whatever it is; false: there was none. No record that was there before comes
  /// back after a power cut, not even one whose remover died before it was durable.
  ///
  /// Throws `errc::indeterminate` where the sync failed: the record may come back.
  bool erase(key const& k) {
    detail::operation const op{"erase", k};
    auto const name = detail::record_name(k, op.name);
    auto const dir = detail::directory<FileOps>::open(ops_, directory_, op);
    if (!dir) return false;
    bool const was_there = detail::retried([&] { return ops_.unlink(dir->get(), name.c_str()); }) == 0;
    if (!was_there && errno != ENOENT) dir->fail("unlink", name);
    make_durable(*dir, op);
    return was_there;
  }

  /// All records, ordered by key; empty: there are none. `where` is the path.
  ///
  /// What cannot be read (somebody else's, over the cap, EIO) is listed as corrupt, so that one bad file hides
  /// no other; `get` tells what it is. A whole record of a newer version is intact. Reads every file.
  std::vector<entry> entries() const {
    return listed("entries", [](std::string_view name) { return detail::key_of_record(name); });
  }

  /// Moves the record of `k`, whatever it is, to `<key>.<reason>-<UTC time>-<random>` beside it, never onto
  /// anything; returns that path. Syncs its bytes first: they may have been written by one who did not.
  ///
  /// Throws ENOENT where there is none, and `errc::indeterminate` where the last sync failed: it stands under
  /// either name.
  std::string set_aside(key const& k, std::string_view reason) {
    detail::operation const op{"set_aside", k};
    auto const name = detail::record_name(k, op.name);
    auto const dir = detail::directory<FileOps>::open(ops_, directory_, op);
    if (!dir) op.fail(ENOENT, "open", directory_.native());
    sync_record(*dir, name);
    auto const now = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    std::string const aside = detail::set_aside_name(k, op.name, reason, now, dir->random());
    move_without_replacing(*dir, name, aside);
    make_durable(*dir, op);
    return dir->path_of(aside);
  }

  /// All that was set aside and not purged, by key and then by path. `state` tells whether the bytes are whole.
  std::vector<entry> set_aside_entries() const {
    return listed("set_aside_entries", [](std::string_view name) {
      auto parsed = detail::parse_set_aside(name);
      return parsed ? std::optional<key>(std::move(parsed->first)) : std::nullopt;
    });
  }

  /// Destroys what was set aside `older_than` ago or earlier, zero or less: all of it. Returns how many.
  /// Throws the first error; what could be removed is removed all the same.
  std::size_t purge(std::chrono::microseconds older_than) {
    detail::operation const op{"purge", {}};
    auto const dir = detail::directory<FileOps>::open(ops_, directory_, op);
    if (!dir) return 0;
    auto const now = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    auto const is_old = [&](std::string const& name) {
      auto const parsed = detail::parse_set_aside(name);
      return parsed && (older_than.count() <= 0 || detail::age_between(parsed->second, now) >= older_than);
    };
    return remove_all(*dir, is_old, op);
  }

  /// The keys that have temporary files: a save of theirs is under way, or was interrupted.
  std::vector<key> temporaries() const {
    auto const dir = detail::directory<FileOps>::open(ops_, directory_, {"temporaries", {}});
    std::set<key> found;
    if (dir) {
      for (auto const& name : dir->names()) {
        if (auto k = detail::key_of_temporary(name)) found.insert(std::move(*k));
      }
    }
    return {found.begin(), found.end()};
  }

  /// Removes the temporary files of `k`, whose lock the caller holds: what they were for was never acknowledged.
  void sweep(key const& k) {
    detail::operation const op{"sweep", k};
    auto const dir = detail::directory<FileOps>::open(ops_, directory_, op);
    if (dir) remove_all(*dir, [&](std::string const& name) { return detail::key_of_temporary(name) == k; }, op);
  }

  /// The lock of `k`, exclusive among all threads and processes that use this directory on this machine; it
  /// ends with the process. nullopt: another has it. Makes the directory.
  ///
  /// Throws whatever keeps it from telling: EMFILE, ENOLCK, EACCES, `errc::unsafe_directory`, ...
  std::optional<lock_type> try_lock(key const& k) {
    detail::operation const op{"try_lock", k};
    auto const name = detail::encoded(k, op.name);
    auto const offset = static_cast<off_t>(detail::xxh64::hash(name) >> 2);
    for (int tries = 0; tries < 100; ++tries) {
      auto const dir = detail::directory<FileOps>::make(ops_, directory_, op);
      int const fd = detail::retried(
          [&] { return ops_.open_lock(dir.get(), detail::lock_file_name, dir.lock_file_flags, 0600); });
      if (fd < 0) dir.fail("open", detail::lock_file_name);
      lock_type lock{ops_, (directory_ / detail::lock_file_name).native(), fd, offset};
      struct stat s;
      if (ops_.fstat(fd, &s) != 0) dir.fail("fstat", detail::lock_file_name);
      if (!S_ISREG(s.st_mode)) {
        op.fail(errc::unsafe_directory, dir.path_of(detail::lock_file_name), "not a regular file");
      }
      if ((s.st_mode & 0777) != 0600 && ops_.fchmod(fd, 0600) != 0) dir.fail("fchmod", detail::lock_file_name);
      if (detail::retried([&] { return ops_.lock_byte(fd, offset); }) != 0) {
        if (errno == EAGAIN || errno == EACCES) return std::nullopt;
        dir.fail("lock", detail::lock_file_name);
      }
      if (lock.held()) return lock;  // else it was deleted just now, and others lock another file
    }
    op.fail(ESTALE, "lock", (directory_ / detail::lock_file_name).native());
  }

 private:
  /// Constructed with a name that was free; removed again unless it was renamed.
  class temporary {
   public:
    temporary(FileOps const& ops, detail::directory<FileOps> const& dir, key const& k, detail::operation const& op)
        : ops_(ops), dir_(dir), name_(detail::temporary_name(k, op.name, dir.random())), file_(ops, create()) {}
    temporary(temporary const&) = delete;
    temporary& operator=(temporary const&) = delete;
    ~temporary() {
      if (!renamed_) ops_.unlink(dir_.get(), name_.c_str());
    }

    void write(std::string_view header, std::string_view payload, durability d) {
      // The umask may have taken even our own permissions away.
      if (ops_.fchmod(file_.get(), 0600) != 0) dir_.fail("fchmod", name_);
      write_all({header, payload, "\n"});
      // A sync that failed is not tried again: the kernel has marked the pages clean, and a second one lies.
      if (d == durability::power_loss && detail::retried([&] { return ops_.fsync(file_.get()); }) != 0) {
        dir_.fail("fsync", name_);
      }
      if (file_.close() != 0) dir_.fail("close", name_);  // NFS tells here that the disk is full
    }

    void rename_to(std::string const& name) {
      if (detail::retried([&] { return ops_.rename(dir_.get(), name_.c_str(), name.c_str()); }) != 0) {
        dir_.fail("rename", name);
      }
      renamed_ = true;
    }

   private:
    int create() {
      int const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
      int const fd = detail::retried([&] { return ops_.open(dir_.get(), name_.c_str(), flags, 0600); });
      if (fd < 0) dir_.fail("create", name_);
      return fd;
    }

    void write_all(std::array<std::string_view, 3> left) {
      for (;;) {
        std::array<iovec, 3> parts;
        std::size_t total = 0;
        for (std::size_t i = 0; i < left.size(); ++i) {
          parts[i] = {const_cast<char*>(left[i].data()), left[i].size()};
          total += left[i].size();
        }
        if (total == 0) return;
        auto const written = detail::retried([&] { return ops_.writev(file_.get(), parts.data(), 3); });
        if (written == 0) errno = EIO;
        if (written <= 0) dir_.fail("write", name_);
        auto done = static_cast<std::size_t>(written);
        for (auto& part : left) {
          auto const n = std::min(done, part.size());
          part.remove_prefix(n);
          done -= n;
        }
      }
    }

    FileOps const& ops_;
    detail::directory<FileOps> const& dir_;
    std::string name_;
    bool renamed_ = false;
    detail::descriptor<FileOps> file_;
  };

  static boost::filesystem::path absolute(boost::filesystem::path directory) {
    detail::operation const op{"atomic_file_storage", {}};
    if (directory.empty()) op.fail(EINVAL, "directory", "\"\"");
    if (directory.native().find('\0') != std::string::npos) op.fail(EINVAL, "directory", directory.native());
    directory = boost::filesystem::absolute(directory);
    // "link/" and "link/." would be followed where "link" is refused.
    while (directory.has_parent_path() && (directory.filename() == "." || directory.filename().empty() ||
                                           directory.native().back() == '/')) {
      directory = directory.parent_path();
    }
    return directory;
  }

  std::string bytes_over_cap(std::uint64_t bytes) const {
    return std::to_string(bytes) + " bytes; " + std::to_string(options_.max_bytes) + " are allowed";
  }

  /// A failed sync of a directory says nothing about which names the disk has.
  void make_durable(detail::directory<FileOps> const& dir, detail::operation const& op) const {
    if (options_.durability == durability::power_loss && dir.sync() != 0) {
      std::string const cause = boost::system::error_code(errno, boost::system::system_category()).message();
      op.fail(errc::indeterminate, "fsync " + directory_.native(), cause);
    }
  }

  void sync_record(detail::directory<FileOps> const& dir, std::string const& name) const {
    if (options_.durability != durability::power_loss) return;
    int const fd = detail::retried([&] { return ops_.open(dir.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK); });
    if (fd < 0) return;  // a link, or not ours to read: no bytes that we could lose
    detail::descriptor<FileOps> const file{ops_, fd};
    struct stat s;
    if (ops_.fstat(fd, &s) != 0) dir.fail("fstat", name);
    if (S_ISREG(s.st_mode) && detail::retried([&] { return ops_.fsync(fd); }) != 0) dir.fail("fsync", name);
  }

  void move_without_replacing(detail::directory<FileOps> const& dir, std::string const& from, std::string const& to) {
    int const moved = detail::retried([&] { return ops_.rename_noreplace(dir.get(), from.c_str(), to.c_str()); });
    if (moved == 0) return;
    if (errno != ENOSYS && errno != EINVAL) dir.fail("rename", from);
    // In two steps; dying between them leaves both names, which loses nothing.
    if (ops_.link(dir.get(), from.c_str(), to.c_str()) != 0) dir.fail("link", from);
    if (ops_.unlink(dir.get(), from.c_str()) != 0) dir.fail("unlink", from);
  }

  template <class Matches>
  std::size_t remove_all(detail::directory<FileOps> const& dir, Matches matches, detail::operation const& op) const {
    std::size_t removed = 0;
    std::exception_ptr first;
    for (auto const& name : dir.names()) {
      if (!matches(name)) continue;
      if (ops_.unlink(dir.get(), name.c_str()) == 0) {
        ++removed;
      } else if (errno != ENOENT && !first) {
        try {
          dir.fail("unlink", name);
        } catch (error const&) {
          first = std::current_exception();
        }
      }
    }
    if (removed > 0) make_durable(dir, op);
    if (first) std::rethrow_exception(first);
    return removed;
  }

  /// An open regular file of our own, and its size; nullopt: no such name.
  struct readable {
    detail::descriptor<FileOps> file;
    std::uint64_t size;
  };
  std::optional<readable> open_record(detail::directory<FileOps> const& dir, std::string const& name,
                                      detail::operation const& op) const {
    int const fd = detail::retried([&] { return ops_.open(dir.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK); });
    int const failed = errno;
    if (fd < 0 && failed == ENOENT) return std::nullopt;
    if (fd < 0 && failed != ELOOP && failed != ENXIO) dir.fail("open", name);
    readable result{{ops_, fd}, 0};
    struct stat s;  // a link (ELOOP) or a socket (ENXIO) is looked at from outside
    if ((fd >= 0 ? ops_.fstat(fd, &s) : ops_.lstat(dir.get(), name.c_str(), &s)) != 0) dir.fail("stat", name);
    if (s.st_uid != ops_.user()) {
      op.fail(EPERM, "owned by user " + std::to_string(s.st_uid) + ", not by us:", dir.path_of(name));
    }
    if (!S_ISREG(s.st_mode)) op.fail(errc::corrupt, dir.path_of(name), "not a regular file");
    if (fd < 0) op.fail(failed, "open", dir.path_of(name));
    result.size = static_cast<std::uint64_t>(s.st_size);
    return result;
  }

  std::optional<record> read(detail::directory<FileOps> const& dir, std::string const& name, key const& k,
                             detail::operation const& op) const {
    auto const opened = open_record(dir, name, op);
    if (!opened) return std::nullopt;
    constexpr std::uint64_t longest_header = 1024;
    auto const cap = options_.max_bytes;
    bool const over = opened->size > cap && opened->size - cap > longest_header;
    if (over) op.fail(errc::too_large, dir.path_of(name), bytes_over_cap(opened->size));
    std::string bytes(static_cast<std::size_t>(opened->size), '\0');
    std::size_t size = 0;
    while (size < bytes.size()) {
      auto const n = detail::retried([&] { return ops_.read(opened->file.get(), &bytes[size], bytes.size() - size); });
      if (n < 0) dir.fail("read", name);
      if (n == 0) break;
      size += static_cast<std::size_t>(n);
    }
    bytes.resize(size);
    record result = detail::parse_record(bytes, k, op.name, dir.path_of(name));
    if (result.payload.size() > cap) op.fail(errc::too_large, dir.path_of(name), bytes_over_cap(result.payload.size()));
    return result;
  }

  template <class KeyOf>
  std::vector<entry> listed(std::string_view operation, KeyOf key_of) const {
    std::vector<entry> result;
    auto const dir = detail::directory<FileOps>::open(ops_, directory_, {operation, {}});
    if (!dir) return result;
    for (auto const& name : dir->names()) {
      auto k = key_of(std::string_view(name));
      if (!k) continue;
      if (auto e = examine(*dir, name, std::move(*k), operation)) result.push_back(std::move(*e));
    }
    std::sort(result.begin(), result.end(), [](entry const& a, entry const& b) {
      return std::tie(a.key, a.where) < std::tie(b.key, b.where);
    });
    return result;
  }

  /// nullopt: it is gone.
  std::optional<entry> examine(detail::directory<FileOps> const& dir, std::string const& name, key k,
                               std::string_view operation) const {
    detail::operation const op{operation, k};
    struct stat s;
    if (ops_.lstat(dir.get(), name.c_str(), &s) != 0) {
      if (errno == ENOENT) return std::nullopt;
      dir.fail("lstat", name);
    }
    entry e{k, record_state::corrupt, std::nullopt, static_cast<std::uint64_t>(s.st_size), dir.path_of(name)};
    try {
      auto const r = read(dir, name, k, op);
      if (!r) return std::nullopt;
      e.state = record_state::intact;
      e.saved_at = r->saved_at;
      e.bytes = r->payload.size();
    } catch (error const& problem) {
      if (problem.code() == errc::mismatch) {
        e.state = record_state::intact;
      } else if (!concerns_one_file(problem.code())) {
        throw;
      }
    }
    return e;
  }

  static bool concerns_one_file(boost::system::error_code const& code) {
    if (code == errc::corrupt || code == errc::too_large) return true;
    for (int const one : {EPERM, EACCES, EIO}) {
      if (code == boost::system::error_code(one, boost::system::system_category())) return true;
    }
    return false;
  }

  boost::filesystem::path directory_;
  file_options options_;
  [[no_unique_address]] FileOps ops_;
};

/// A key's lock: a byte of the directory's lock file. Movable; the destructor releases it. In a forked child
/// an inherited one is not held, and its destructor does nothing.
template <class FileOps>
class basic_atomic_file_storage<FileOps>::lock_type {
 public:
  lock_type(lock_type&& other) noexcept
      : ops_(other.ops_), path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), offset_(other.offset_),
        owner_(other.owner_) {}
  lock_type& operator=(lock_type&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(offset_, other.offset_);
    std::swap(owner_, other.owner_);
    return *this;
  }
  ~lock_type() {
    if (fd_ >= 0 && owner_.is_current()) ops_.close_lock(fd_, offset_);
  }

  /// Whether others who come now would meet this lock: false where the lock file was deleted, or the directory
  /// replaced, or where that cannot be seen.
  bool held() const noexcept {
    if (fd_ < 0 || !owner_.is_current()) return false;
    struct stat ours, found;
    return ops_.fstat(fd_, &ours) == 0 && ops_.lstat(AT_FDCWD, path_.c_str(), &found) == 0 &&
           ours.st_dev == found.st_dev && ours.st_ino == found.st_ino;
  }

 private:
  friend basic_atomic_file_storage;
  lock_type(FileOps const& ops, std::string path, int fd, off_t offset)
      : ops_(ops), path_(std::move(path)), fd_(fd), offset_(offset) {}

  [[no_unique_address]] FileOps ops_;
  std::string path_;  // of the lock file
  int fd_;
  off_t offset_;
  detail::owned_by_process owner_;
};

using atomic_file_storage = basic_atomic_file_storage<>;

}  // namespace stash::inline v1
