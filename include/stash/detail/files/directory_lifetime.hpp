#pragma once

#include <atomic>
#include <boost/filesystem/path.hpp>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <stash/detail/files/descriptor.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/lock_file.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/error.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// How many levels of a directory, from the deepest up, were made for a lock while nothing was saved in it. Null:
/// nobody counts.
using made_levels = std::shared_ptr<std::atomic<unsigned>>;

/// Makes a stash directory, and removes one again that was made for a lock alone.
template <class Ops>
class directory_maker {
 public:
  /// Makes it, 0700, where there is none, with its parents, which get what the umask leaves. On return it would survive
  /// a power cut; only where that need not be `durable`, a file system that cannot sync directories (EINVAL) will do.
  /// Where the directory itself was made, sets `levels` to how many were made, it and what is above it. Where it
  /// throws, they are removed again.
  static directory<Ops> make(Ops const& ops, boost::filesystem::path const& path, bool durable, operation const& op,
                             std::atomic<unsigned>* levels = nullptr) {
    for (int tries = 1;; ++tries) {
      std::vector<boost::filesystem::path> made;
      try {
        directory<Ops> result = open_or_make(ops, path, durable, op, made);
        complete(ops, result, durable, op);
        if (unsigned const n = levels_of(path, made); levels != nullptr && n > 0) *levels = n;
        return result;
      } catch (error const& problem) {
        if (!made.empty()) remove(ops, path, made, true);
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
    unsigned count = levels;
    if (count == 0) return;
    try {
      auto const path = boost::filesystem::path(lock_file).parent_path();
      std::vector<boost::filesystem::path> made(count, path);
      for (std::size_t at = count - 1; at-- > 0;) made[at] = made[at + 1].parent_path();
      bool const is_gone = remove(ops, path, made, false);
      if (is_gone) levels.compare_exchange_strong(count, 0U);  // unless another has made it anew, or saved in it
    } catch (...) {                                            // no memory: it stays
    }
  }

 private:
  /// From `path` up to the first that another had made.
  static unsigned levels_of(boost::filesystem::path path, std::vector<boost::filesystem::path> const& made) {
    unsigned result = 0;
    while (result < made.size() && made[made.size() - 1 - result] == path) {
      path = path.parent_path();
      ++result;
    }
    return result;
  }

  static directory<Ops> open_or_make(Ops const& ops, boost::filesystem::path const& path, bool durable,
                                     operation const& op, std::vector<boost::filesystem::path>& made) {
    if (auto found = directory<Ops>::open(ops, path, op)) return std::move(*found);
    make_levels(ops, path, 0700, durable, op, made);
    if (auto found = directory<Ops>::open(ops, path, op)) return std::move(*found);
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

  /// Removes what was made, the deepest first, as far as it is unused; whether the deepest is gone. Where another has
  /// removed that one, and it was not made `just_now`, what is above it may be another's, too.
  static bool remove(Ops const& ops, boost::filesystem::path const& path,
                     std::vector<boost::filesystem::path> const& made, bool just_now) {
    try {
      if (auto const found = directory<Ops>::open(ops, path, {"release", {}}))
        detail::remove_unused_lock_file(ops, *found);
    } catch (error const&) {  // then it is not empty
    }
    bool const is_gone = ops.rmdir(made.back().c_str()) == 0;
    if (!is_gone && !just_now) return false;
    for (std::size_t at = made.size() - 1; at-- > 0;) ops.rmdir(made[at].c_str());
    return is_gone;
  }

  /// The lock file is made last. Where it is missing, whoever made the directory or one above may have died, or be
  /// about to sync it into its parent, and all that is saved in it could vanish with it.
  static void complete(Ops const& ops, directory<Ops> const& dir, bool durable, operation const& op) {
    struct stat s;
    if (ops.lstat(dir.get(), lock_file_name, &s) == 0) return;
    if (errno != ENOENT) dir.fail("lstat", lock_file_name);
    for (auto const& leaf : dir.way()) {
      for (auto level = leaf; level.has_parent_path(); level = level.parent_path()) {
        sync_into_parent(ops, level, leaf, durable, op);
      }
    }
    detail::make_lock_file(ops, dir);
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
};

}  // namespace stash::inline v1::detail
