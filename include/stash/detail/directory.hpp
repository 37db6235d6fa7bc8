#pragma once

#include <boost/filesystem/path.hpp>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stash/detail/file_name.hpp>
#include <stash/detail/posix_file_ops.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// What is being done, for the errors that end it.
struct operation {
  std::string_view name, subject;

  [[noreturn]] void fail(int os_error, std::string_view call, std::string_view path) const {
    throw error{{os_error, boost::system::system_category()},
                std::string(name),
                std::string(subject),
                std::string(call).append(" ").append(path)};
  }
  [[noreturn]] void fail(errc code, std::string_view path, std::string_view why) const {
    throw error{code, std::string(name), std::string(subject), std::string(path).append(": ").append(why)};
  }
};

/// Calls again as long as a signal interrupted.
template <class Call>
auto retried(Call call) {
  for (;;) {
    auto const result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

/// For a name that nobody else has; `path` is of the file or the directory.
template <class Ops>
std::uint64_t random_number(Ops const& ops, operation const& op, std::string_view path) {
  std::uint64_t n = 0;
  if (retried([&] { return ops.random(&n, sizeof n); }) != 0) op.fail(errno, "getentropy", path);
  return n;
}

/// An open descriptor.
template <class Ops>
class descriptor {
 public:
  descriptor(Ops const& ops, int fd) noexcept : ops_(&ops), fd_(fd) {}
  descriptor(descriptor&& other) noexcept : ops_(other.ops_), fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&&) = delete;
  ~descriptor() {
    if (fd_ >= 0) ops_->close(fd_);
  }
  int get() const noexcept { return fd_; }
  /// -1 and `errno`: what was written may be lost. The descriptor is gone either way.
  int close() noexcept { return ops_->close(std::exchange(fd_, -1)); }

 private:
  Ops const* ops_;
  int fd_;
};

/// A stash directory, open: ours alone, and not reached through a link in its last component. It looks at the path and
/// the operation that it was given.
template <class Ops>
class directory {
 public:
  /// nullopt: there is none. Throws `errc::unsafe_directory` or the operating system's error.
  static std::optional<directory> open(Ops const& ops, boost::filesystem::path const& path, operation const& op) {
    int const fd = retried([&] { return ops.open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW); });
    struct stat s;
    if (fd < 0) {
      int const failed = errno;
      if (failed == ENOENT) return std::nullopt;
      if ((failed == ENOTDIR || failed == ELOOP) && ops.lstat(AT_FDCWD, path.c_str(), &s) == 0 && S_ISLNK(s.st_mode)) {
        op.fail(errc::unsafe_directory, path.native(), "a symbolic link");
      }
      op.fail(failed, "open", path.native());
    }
    directory opened{ops, fd, path, op};
    if (ops.fstat(fd, &s) != 0) opened.fail("fstat");
    if (s.st_uid != opened.user_) {
      op.fail(errc::unsafe_directory, path.native(), "owned by user " + std::to_string(s.st_uid) + ", not by us");
    }
    if ((s.st_mode & 022) != 0)
      op.fail(errc::unsafe_directory, path.native(), "others may write to it; chmod 700 would do");
    return opened;
  }
  static void open(Ops const&, boost::filesystem::path&&, operation const&) = delete;  // it would be gone

  /// Makes it, 0700, where there is none, with its parents. On return it would survive a power cut; only where that
  /// need not be `durable`, a file system that cannot sync directories (EINVAL) will do.
  static directory make(Ops const& ops, boost::filesystem::path const& path, bool durable, operation const& op) {
    directory made = open_or_make(ops, path, durable, op);
    // The lock file is made last. Where it is missing, whoever made the directory or one above may have died, or be
    // about to sync it into its parent, and all that is saved in it could vanish with it.
    struct stat s;
    if (ops.lstat(made.get(), lock_file_name, &s) != 0) {
      if (errno != ENOENT) made.fail("lstat", lock_file_name);
      for (auto level = path; level.has_parent_path(); level = level.parent_path()) {
        sync_into_parent(ops, level, path, durable, op);
      }
      int const fd = retried([&] { return ops.open(made.get(), lock_file_name, lock_file_flags, 0600); });
      if (fd < 0) made.fail("open", lock_file_name);
      descriptor<Ops> const lock_file{ops, fd};
      if (ops.fchmod(fd, 0600) != 0) made.fail("fchmod", lock_file_name);  // whatever the umask says
    }
    return made;
  }

  static void make(Ops const&, boost::filesystem::path&&, bool, operation const&) = delete;

  static constexpr int lock_file_flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK;

  int get() const noexcept { return fd_.get(); }
  uid_t user() const noexcept { return user_; }
  std::string path_of(std::string_view name) const { return (*path_ / std::string(name)).native(); }

  /// Throws what `errno` says of `call` on `name`.
  [[noreturn]] void fail(std::string_view call, std::string_view name = {}) const {
    int const failed = errno;
    op_.fail(failed, call, name.empty() ? path_->native() : path_of(name));
  }

  /// -1 and `errno`: nobody knows which of the changes in it are durable.
  int sync() const noexcept {
    return retried([&] { return ops_->fsync(get()); });
  }

  std::vector<std::string> names() const {
    std::vector<std::string> result;
    if (ops_->list(get(), result) != 0) fail("list");
    return result;
  }

  std::uint64_t random() const { return random_number(*ops_, op_, path_->native()); }

 private:
  directory(Ops const& ops, int fd, boost::filesystem::path const& path, operation const& op)
      : ops_(&ops), fd_(ops, fd), user_(ops.user()), path_(&path), op_(op) {}

  static directory open_or_make(Ops const& ops, boost::filesystem::path const& path, bool durable,
                                operation const& op) {
    if (auto found = open(ops, path, op)) return std::move(*found);
    make_levels(ops, path, durable, op);
    if (auto found = open(ops, path, op)) return std::move(*found);
    op.fail(ENOENT, "open", path.native());  // removed again
  }

  /// Each level is synced into its parent before the next is made in it: so that one whose sync fails is still empty.
  static void make_levels(Ops const& ops, boost::filesystem::path const& path, bool durable, operation const& op) {
    auto const parent = path.parent_path();
    if (parent.empty()) op.fail(ENOENT, "mkdir", path.native());
    bool is_made = ops.mkdir(path.c_str()) == 0;
    if (!is_made && errno == ENOENT) {
      make_levels(ops, parent, durable, op);
      is_made = ops.mkdir(path.c_str()) == 0;
    }
    if (!is_made && errno != EEXIST) op.fail(errno, "mkdir", path.native());  // EEXIST: another made it just now
    sync_into_parent(ops, path, path, durable, op);
  }

  /// Makes the entry of `path`, which is `leaf` or above it, durable. Where that fails, the leaf is removed if it is
  /// empty, whoever made it: who tries again makes it anew, for a second sync of this one would lie. (For what is above
  /// it, and others made, nothing can be done: there it would.)
  static void sync_into_parent(Ops const& ops, boost::filesystem::path const& path, boost::filesystem::path const& leaf,
                               bool durable, operation const& op) {
    auto const parent = path.parent_path();
    auto const open = [&](boost::filesystem::path const& p) {
      return retried([&] { return ops.open(AT_FDCWD, p.c_str(), O_RDONLY | O_DIRECTORY); });
    };
    int fd = open(parent);
    bool const readable = fd >= 0 || errno != EACCES;
    if (!readable) fd = open(leaf);  // one may make directories where one may not read
    if (fd < 0) op.fail(errno, "open", parent.native());
    descriptor<Ops> const opened{ops, fd};
    struct stat above, here;
    if (ops.fstat(fd, &above) != 0) op.fail(errno, "fstat", parent.native());
    if (ops.lstat(AT_FDCWD, leaf.c_str(), &here) != 0) op.fail(errno, "lstat", leaf.native());
    if (above.st_dev != here.st_dev) return;  // where a file system is mounted: not made by us, and made anew at boot
    if (retried([&] { return readable ? ops.fsync(fd) : ops.syncfs(fd); }) == 0) return;
    int const failed = errno;
    if (!durable && failed == EINVAL) return;
    ops.rmdir(leaf.c_str());
    op.fail(failed, "fsync", parent.native());
  }

  Ops const* ops_;
  descriptor<Ops> fd_;
  uid_t user_;  // we
  boost::filesystem::path const* path_;
  operation op_;
};

}  // namespace stash::inline v1::detail
