#pragma once

#include <boost/filesystem/path.hpp>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stash/detail/file_name.hpp>
#include <stash/detail/owner.hpp>
#include <stash/detail/posix_file_ops.hpp>
#include <stash/detail/sleep.hpp>
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

/// Calls again as long as a signal interrupted, for two seconds: then it is no signal but a filter of system calls, or
/// a file system, that always says so.
template <class Call>
auto retried(Call call) {
  std::optional<std::chrono::steady_clock::time_point> start;
  for (;;) {
    auto const result = call();
    if (result != -1 || errno != EINTR) return result;
    if (!start) start = std::chrono::steady_clock::now();
    if (since(*start) >= std::chrono::seconds(2)) return result;
  }
}

/// For a name that nobody else has; `path` is of the file or the directory.
template <class Ops>
std::uint64_t random_number(Ops const& ops, operation const& op, std::string_view path) {
  std::uint64_t n = 0;
  if (retried([&] { return ops.random(&n, sizeof n); }) != 0) op.fail(errno, "getentropy", path);
  return n;
}

/// "link/" and "link/." would be followed where "link" is refused.
inline boost::filesystem::path without_dots_behind(boost::filesystem::path path) {
  while (path.has_parent_path() && (path.filename() == "." || path.filename().empty())) path = path.parent_path();
  return path;
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

/// What a directory is opened for.
enum class access {
  read,  ///< root may then look at what is another user's
  write
};

/// A stash directory, open: ours alone, and not reached through a link in its last component but for one that only root
/// can have made. It looks at the path and the operation that it was given.
template <class Ops>
class directory {
 public:
  /// nullopt: there is none. Throws `errc::unsafe_directory` or the operating system's error.
  static std::optional<directory> open(Ops const& ops, boost::filesystem::path const& path, operation const& op,
                                       access wanted = access::write) {
    std::vector<boost::filesystem::path> way{path};
    for (;;) {
      auto const& place = way.back();
      int const fd = retried([&] { return ops.open(AT_FDCWD, place.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW); });
      if (fd >= 0) {
        directory opened{ops, fd, path, std::move(way), op};
        opened.check(wanted);
        return opened;
      }
      int const failed = errno;
      if (failed == ENOENT && way.size() == 1) return std::nullopt;
      if (failed == ENOENT) {  // an error, not absence: what it leads to may not be mounted
        op.fail(errc::unsafe_directory, path.native(), "a symbolic link to " + place.native() + ", which is not there");
      }
      auto target = failed == ENOTDIR || failed == ELOOP ? target_of_link(ops, place, op) : std::nullopt;
      if (!target) op.fail(failed, "open", place.native());
      constexpr std::size_t most_links = 40;  // as for Linux itself
      if (way.size() > most_links) op.fail(ELOOP, "open", path.native());
      way.push_back(std::move(*target));
    }
  }
  static void open(Ops const&, boost::filesystem::path&&, operation const&, access = access::write) = delete;  // gone

  /// Makes it, 0700, where there is none, with its parents. On return it would survive a power cut; only where that
  /// need not be `durable`, a file system that cannot sync directories (EINVAL) will do.
  static directory make(Ops const& ops, boost::filesystem::path const& path, bool durable, operation const& op) {
    directory made = open_or_make(ops, path, durable, op);
    // The lock file is made last. Where it is missing, whoever made the directory or one above may have died, or be
    // about to sync it into its parent, and all that is saved in it could vanish with it.
    struct stat s;
    if (ops.lstat(made.get(), lock_file_name, &s) != 0) {
      if (errno != ENOENT) made.fail("lstat", lock_file_name);
      for (auto const& leaf : made.way_) {
        for (auto level = leaf; level.has_parent_path(); level = level.parent_path()) {
          sync_into_parent(ops, level, leaf, durable, op);
        }
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
  /// Whose it is, and its files must be: we, or another where root only reads.
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

  std::uint64_t random() const { return detail::random_number(*ops_, op_, path_->native()); }

 private:
  directory(Ops const& ops, int fd, boost::filesystem::path const& path, std::vector<boost::filesystem::path> way,
            operation const& op)
      : ops_(&ops), fd_(ops, fd), path_(&path), way_(std::move(way)), op_(op) {}

  /// Where the link at `path` leads; nullopt: it is none, or cannot be looked at. Throws `errc::unsafe_directory`
  /// unless only root can have made it: it is root's, in a directory of root's to which nobody else may write.
  static std::optional<boost::filesystem::path> target_of_link(Ops const& ops, boost::filesystem::path const& path,
                                                               operation const& op) {
    auto const parent = path.parent_path();
    auto const name = path.filename();
    int const fd = retried([&] { return ops.open(AT_FDCWD, parent.c_str(), open_to_look_through | O_DIRECTORY); });
    if (fd < 0) return std::nullopt;
    descriptor<Ops> const above{ops, fd};  // nobody but root can exchange the link in it from here on
    struct stat in, link;
    if (ops.fstat(fd, &in) != 0 || ops.lstat(fd, name.c_str(), &link) != 0 || !S_ISLNK(link.st_mode)) {
      return std::nullopt;
    }
    bool const is_roots = link.st_uid == root_user && in.st_uid == root_user && (in.st_mode & 022) == 0;
    if (!is_roots || ops.user() == root_user) {
      op.fail(errc::unsafe_directory, path.native(),
              std::string("a symbolic link") + (is_roots ? "" : " that others than root could have made") +
                  "; name the directory that it leads to");
    }
    std::string target(static_cast<std::size_t>(link.st_size) + 1, '\0');
    auto const size = ops.read_link(fd, name.c_str(), target.data(), target.size());
    if (size <= 0) return std::nullopt;
    target.resize(static_cast<std::size_t>(size));
    return without_dots_behind(target.front() == '/' ? boost::filesystem::path(target) : parent / target);
  }

  /// Throws unless it is ours, and nobody else may write to it.
  void check(access wanted) {
    struct stat s;
    if (ops_->fstat(get(), &s) != 0) fail("fstat");
    user_ = s.st_uid;
    uid_t const us = ops_->user();
    bool const is_writable = (s.st_mode & 022) != 0;
    bool const is_ours = s.st_uid == us && (us != overflow_user || is_proved_ours());
    if (!is_ours && !(wanted == access::read && us == root_user)) {
      std::string why = "owned by " + shown_user(s.st_uid) + ", not by us, " + shown_user(us);
      if (is_writable) {  // the root of a volume, which cannot be made ours
        why += "; a directory below it will do: " + (*path_ / "stash").native();
      } else if (us == root_user) {
        why += "; to change something in it: " + as_user(s.st_uid);
      }
      op_.fail(errc::unsafe_directory, path_->native(), why);
    }
    if (is_writable) {
      op_.fail(errc::unsafe_directory, path_->native(),
               "others may write to it; chmod 700 would do, or a directory below it");
    }
  }

  /// All users without a number in our user namespace look the same, and so do we where we are one of them.
  bool is_proved_ours() const {
    int const proved = retried([&] { return ops_->require_owner(get()); });
    if (proved < 0 && errno != EPERM) fail("open");
    return proved == 0;
  }

#if defined(O_PATH)
  static constexpr int open_to_look_through = O_PATH;  // also where one may not list
#else
  static constexpr int open_to_look_through = O_RDONLY;
#endif

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
  uid_t user_ = 0;
  boost::filesystem::path const* path_;
  std::vector<boost::filesystem::path> way_;  // the path, and where each link led
  operation op_;
};

}  // namespace stash::inline v1::detail
