#pragma once

#include <algorithm>
#include <cerrno>
#include <stash/detail/files/descriptor.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <utility>

// The lock file of a directory, as a file. What is locked in it, see byte_locks.hpp.
namespace stash::inline v1::detail {

inline constexpr int lock_file_flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
inline constexpr mode_t lock_file_mode = 0600;  // whatever the umask says

/// Where another makes it just now, it is the same file.
template <class Ops>
void make_lock_file(Ops const& ops, directory<Ops> const& dir) {
  int const fd = retried([&] { return ops.open(dir.get(), lock_file_name, lock_file_flags, lock_file_mode); });
  if (fd < 0) dir.fail("open", lock_file_name);
  descriptor<Ops> const made{ops, fd};
  if (ops.fchmod(fd, lock_file_mode) != 0) dir.fail("fchmod", lock_file_name);
}

/// Removes it where nobody has a lock in it, and nothing else is in the directory.
template <class Ops>
void remove_unused_lock_file(Ops const& ops, directory<Ops> const& dir) {
  int const fd =
      retried([&] { return ops.open_lock(dir.get(), lock_file_name, lock_file_flags & ~O_CREAT, lock_file_mode); });
  if (fd < 0) return;
  struct at_end {
    Ops const& ops;
    int fd;
    ~at_end() { ops.close_lock(fd); }
  } const opened{ops, fd};
  struct stat ours, found;
  bool const is_alone = ops.lock_bytes(fd, 0, 0) == 0 && ops.fstat(fd, &ours) == 0 &&
                        ops.lstat(AT_FDCWD, dir.path_of(lock_file_name).c_str(), &found) == 0 &&
                        std::pair(ours.st_dev, ours.st_ino) == std::pair(found.st_dev, found.st_ino) &&
                        std::ranges::all_of(dir.names(), [](std::string const& name) {
                          return name == "." || name == ".." || name == lock_file_name;
                        });
  if (is_alone) ops.unlink(dir.get(), lock_file_name);
}

}  // namespace stash::inline v1::detail
