#pragma once

#include <algorithm>
#include <atomic>
#include <boost/filesystem/path.hpp>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <optional>
#include <stash/detail/files/owner.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/names.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

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
      auto target = failed == ENOTDIR || failed == ELOOP ? target_of_link(ops, place, wanted, op) : std::nullopt;
      if (!target) op.fail(failed, "open", place.native());
      constexpr std::size_t most_links = 40;  // as for Linux itself
      if (way.size() > most_links) op.fail(ELOOP, "open", path.native());
      way.push_back(std::move(*target));
    }
  }
  static void open(Ops const&, boost::filesystem::path&&, operation const&, access = access::write) = delete;  // gone

  /// As `open`; where it `must_exist` and does not, throws ENOENT.
  static std::optional<directory> find(Ops const& ops, boost::filesystem::path const& path, operation const& op,
                                       access wanted, bool must_exist) {
    auto found = open(ops, path, op, wanted);
    if (!found && must_exist) op.fail(ENOENT, "open", path.native());
    return found;
  }

  /// Makes it, 0700, where there is none, with its parents, which get what the umask leaves. On return it would survive
  /// a power cut; only where that need not be `durable`, a file system that cannot sync directories (EINVAL) will do.
  /// How many levels were made is added to `levels`; where it throws, they are removed again.
  static directory make(Ops const& ops, boost::filesystem::path const& path, bool durable, operation const& op,
                        std::atomic<unsigned>* levels = nullptr) {
    for (int tries = 1;; ++tries) {
      std::vector<boost::filesystem::path> made;
      try {
        directory result = open_or_make(ops, path, durable, op, made);
        result.make_lock_file(durable);
        if (levels != nullptr) *levels += static_cast<unsigned>(made.size());
        return result;
      } catch (error const& problem) {
        if (!made.empty()) remove(ops, path, made);
        // Whoever else had made it, or one above, may have removed it again, unused.
        bool const is_gone = problem.code() == boost::system::error_code(ENOENT, boost::system::system_category());
        if (!is_gone || tries == 100) throw;
      }
    }
  }
  static void make(Ops const&, boost::filesystem::path&&, bool, operation const&,
                   std::atomic<unsigned>* = nullptr) = delete;

  /// Removes the directory of `lock_file`, and what else of `levels` was made with it, where nobody has a lock in it
  /// and it has nothing but the lock file. Who opened that file meanwhile sees that it is deleted, and makes all anew.
  static void remove_unused(Ops const& ops, std::string const& lock_file, std::atomic<unsigned>& levels) noexcept {
    unsigned const count = levels;
    if (count == 0) return;
    try {
      auto const path = boost::filesystem::path(lock_file).parent_path();
      std::vector<boost::filesystem::path> made{path};
      while (made.size() < count) made.push_back(made.back().parent_path());
      std::ranges::reverse(made);
      if (remove(ops, path, made)) levels -= count;
    } catch (...) {  // no memory: it stays
    }
  }

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

  /// The most bytes that a name in it may have: 255, or less (143 where eCryptfs encrypts names).
  std::size_t name_max() const {
    constexpr long most = 255;
    long const told = ops_->name_max(get());
    return static_cast<std::size_t>(told > 0 ? std::min(told, most) : most);
  }
  /// Throws `errc::invalid_key` where the record of `k` could be written, but not set aside.
  void check_name(key const& k) const {
    auto const needed = detail::encoded(k, op_.name).size() + longest_behind_key;
    if (needed <= name_max()) return;
    throw error{errc::invalid_key, std::string(op_.name), std::string(k.str()),
                "a file name of it may have " + std::to_string(needed) + " bytes; in " + path_->native() + " " +
                    std::to_string(name_max()) + " are allowed"};
  }

  std::uint64_t random() const { return detail::random_number(*ops_, op_, path_->native()); }

 private:
  directory(Ops const& ops, int fd, boost::filesystem::path const& path, std::vector<boost::filesystem::path> way,
            operation const& op)
      : ops_(&ops), fd_(ops, fd), path_(&path), way_(std::move(way)), op_(op) {}

  /// Where the link at `path` leads; nullopt: it is none, or cannot be looked at. Throws `errc::unsafe_directory`
  /// unless only root can have made it: it is root's, in a directory of root's to which nobody else may write.
  static std::optional<boost::filesystem::path> target_of_link(Ops const& ops, boost::filesystem::path const& path,
                                                               access wanted, operation const& op) {
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
    if (!is_roots || (ops.user() == root_user && wanted == access::write)) {
      op.fail(errc::unsafe_directory, path.native(),
              std::string("a symbolic link") + (is_roots ? "" : " that others than root could have made") +
                  "; name the directory that it leads to");
    }
    std::string target(static_cast<std::size_t>(link.st_size) + 1, '\0');
    auto const size = ops.read_link(fd, name.c_str(), target.data(), target.size());
    if (size <= 0) return std::nullopt;
    target.resize(static_cast<std::size_t>(size));
    return detail::without_dots_behind(target.front() == '/' ? boost::filesystem::path(target) : parent / target);
  }

  /// Throws unless it is ours, and nobody else may write to it.
  void check(access wanted) {
    struct stat s;
    if (ops_->fstat(get(), &s) != 0) fail("fstat");
    user_ = s.st_uid;
    uid_t const us = ops_->user();
    if (us == root_user && s.st_uid == us &&
        way_.size() > 1) {  // root follows a link only to look at what is another's
      op_.fail(errc::unsafe_directory, path_->native(), "a symbolic link; name the directory that it leads to");
    }
    bool const is_writable = (s.st_mode & 022) != 0;
    bool const is_ours = s.st_uid == us && (us != overflow_user || is_proved_ours());
    bool const may_look = wanted == access::read && us == root_user;
    if (!is_ours && !may_look) {
      std::string why = "owned by " + shown_user(s.st_uid) + ", not by us, " + shown_user(us);
      if (is_writable) {  // the root of a volume, which cannot be made ours
        why += "; a directory below it will do: " + (*path_ / "stash").native();
      } else if (us == root_user) {
        why += "; to change something in it: " + as_user(s.st_uid);
      }
      op_.fail(errc::unsafe_directory, path_->native(), why);
    }
    if (is_writable) {
      bool const is_shared = (s.st_mode & S_ISVTX) != 0;  // as /tmp is, on purpose
      op_.fail(errc::unsafe_directory, path_->native(),
               std::string("others may write to it; ") + (is_shared ? "" : "chmod 700 would do, or ") +
                   "a directory below it" + (is_shared ? " will do" : ""));
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

  static directory open_or_make(Ops const& ops, boost::filesystem::path const& path, bool durable, operation const& op,
                                std::vector<boost::filesystem::path>& made) {
    if (auto found = open(ops, path, op)) return std::move(*found);
    make_levels(ops, path, 0700, durable, op, made);
    if (auto found = open(ops, path, op)) return std::move(*found);
    op.fail(ENOENT, "open", path.native());  // removed again
  }

  /// Each level is synced into its parent before the next is made in it: so that one whose sync fails is still empty.
  static void make_levels(Ops const& ops, boost::filesystem::path const& path, mode_t mode, bool durable,
                          operation const& op, std::vector<boost::filesystem::path>& made) {
    auto const parent = path.parent_path();
    if (parent.empty()) op.fail(ENOENT, "mkdir", path.native());
    bool is_made = ops.mkdir(path.c_str(), mode) == 0;
    if (!is_made && errno == ENOENT) {
      make_levels(ops, parent, 0777, durable, op, made);
      is_made = ops.mkdir(path.c_str(), mode) == 0;
    }
    if (!is_made && errno != EEXIST) op.fail(errno, "mkdir", path.native());  // EEXIST: another made it just now
    if (is_made) made.push_back(path);
    sync_into_parent(ops, path, path, durable, op);
  }

  /// Removes what was made, the deepest last, as far as it is unused; whether the deepest is gone.
  static bool remove(Ops const& ops, boost::filesystem::path const& path,
                     std::vector<boost::filesystem::path> const& made) {
    try {
      if (auto const found = open(ops, path, {"release", {}})) found->remove_lock_file();
    } catch (error const&) {  // then it is not empty
    }
    bool const is_gone = ops.rmdir(made.back().c_str()) == 0;
    for (auto level = std::next(made.rbegin()); level != made.rend(); ++level) ops.rmdir(level->c_str());
    return is_gone;
  }

  /// The lock file is made last. Where it is missing, whoever made the directory or one above may have died, or be
  /// about to sync it into its parent, and all that is saved in it could vanish with it.
  void make_lock_file(bool durable) const {
    struct stat s;
    if (ops_->lstat(get(), lock_file_name, &s) == 0) return;
    if (errno != ENOENT) fail("lstat", lock_file_name);
    for (auto const& leaf : way_) {
      for (auto level = leaf; level.has_parent_path(); level = level.parent_path()) {
        sync_into_parent(*ops_, level, leaf, durable, op_);
      }
    }
    int const fd = retried([&] { return ops_->open(get(), lock_file_name, lock_file_flags, 0600); });
    if (fd < 0) fail("open", lock_file_name);
    descriptor<Ops> const lock_file{*ops_, fd};
    if (ops_->fchmod(fd, 0600) != 0) fail("fchmod", lock_file_name);  // whatever the umask says
  }

  /// Only where nobody has a lock in it, and there is nothing else.
  void remove_lock_file() const {
    int const fd = retried([&] { return ops_->open_lock(get(), lock_file_name, lock_file_flags & ~O_CREAT, 0600); });
    if (fd < 0) return;
    struct at_end {
      Ops const& ops;
      int fd;
      ~at_end() { ops.close_lock(fd); }
    } const opened{*ops_, fd};
    struct stat ours, found;
    bool const is_alone = ops_->lock_bytes(fd, 0, 0) == 0 && ops_->fstat(fd, &ours) == 0 &&
                          ops_->lstat(AT_FDCWD, path_of(lock_file_name).c_str(), &found) == 0 &&
                          std::pair(ours.st_dev, ours.st_ino) == std::pair(found.st_dev, found.st_ino) &&
                          std::ranges::all_of(names(), [](std::string const& name) {
                            return name == "." || name == ".." || name == lock_file_name;
                          });
    if (is_alone) ops_->unlink(get(), lock_file_name);
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
