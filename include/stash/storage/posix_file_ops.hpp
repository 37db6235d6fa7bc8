#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/detail/system/standard_descriptors.hpp>
#include <string>
#include <vector>

namespace stash::inline v1 {

static_assert(sizeof(off_t) >= 8,
              "stash: compile with -D_FILE_OFFSET_BITS=64: with a 32-bit off_t a process locks other bytes of the lock "
              "file than a 64-bit one, and the two do not exclude each other");

/// Every system call that the atomic file and journal storages and `tree` make, and the only place that makes one. A
/// test puts another class with the same members in, and plays a full disk or a power cut.
///
/// Each is the POSIX call of that name unless it says more: -1 and `errno` on failure, no retry. Stateless;
/// thread safe. Whatever stands in for it is copied into storages and locks, and is called through `const`.
struct posix_file_ops {
  /// openat(2), with O_CLOEXEC. Never 0, 1 or 2, also where these are closed.
  int open(int directory, char const* name, int flags, mode_t mode = 0) const noexcept {
    // What has such a number is written to, and closed, by whoever does not know better. A place (O_PATH) can neither
    // be read nor written, and stays there where it got one; into a file that is only read nobody can write, and its
    // directory was opened just before. So for both it is enough to look at the number that they got, which is the
    // lowest that was free: three system calls less.
    bool const is_place = (flags & O_PATH) != 0;
    bool const is_read_only_file = (flags & (O_ACCMODE | O_DIRECTORY)) == O_RDONLY;
    if (!is_place && !is_read_only_file) detail::occupy_standard_descriptors();
    auto const opened = [&] { return ::openat(directory, name, flags | O_CLOEXEC, mode); };
    int fd = opened();
    if (is_place && fd >= 0 && fd <= STDERR_FILENO) {
      detail::occupy_standard_descriptors();
      fd = opened();
    }
    return detail::above_standard_descriptors(fd);
  }
  /// @{
  /// Where less was read or written than was asked for, the caller goes on.
  int close(int fd) const noexcept {
    detail::no_cancel const whole;  // for it is called by destructors
    return ::close(fd);
  }
  ssize_t read(int fd, void* to, std::size_t size) const noexcept { return ::read(fd, to, size); }
  ssize_t writev(int fd, iovec const* parts, int count) const noexcept { return ::writev(fd, parts, count); }

  ssize_t pread(int fd, void* to, std::size_t size, off_t at) const noexcept { return ::pread(fd, to, size, at); }
  ssize_t pwritev(int fd, iovec const* parts, int count, off_t at) const noexcept {
    return ::pwritev(fd, parts, count, at);
  }
  /// @}

  /// To the medium, not just to the drive's cache.
  int fsync(int fd) const noexcept { return ::fsync(fd); }
  /// As `fsync`, but for what is not needed to read the bytes again.
  int fdatasync(int fd) const noexcept { return ::fdatasync(fd); }
  /// A hint: what was written is about to be synced.
  void start_writeback(int fd) const noexcept { static_cast<void>(::sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE)); }
  /// The whole file system of `fd`, for a directory that may not be opened.
  int syncfs(int fd) const noexcept { return ::syncfs(fd); }

  /// Of an open file, whatever its name is now.
  int fstat(int fd, struct stat* s) const noexcept { return ::fstat(fd, s); }
  /// Of the link itself where `name` is one.
  int lstat(int directory, char const* name, struct stat* s) const noexcept {
    return ::fstatat(directory, name, s, AT_SYMLINK_NOFOLLOW);
  }
  /// 0 where the directory is the effective user's, or a capability stands in for that; else EPERM. The kernel knows it
  /// also where no user has a number (user_namespaces(7)): only an owner may open with O_NOATIME.
  int require_owner(int directory) const noexcept {
    int const fd = open(directory, ".", O_RDONLY | O_DIRECTORY | O_NOATIME);
    return fd < 0 ? -1 : ::close(fd);
  }
  /// readlinkat(2): no NUL behind it.
  ssize_t read_link(int directory, char const* name, char* to, std::size_t size) const noexcept {
    return ::readlinkat(directory, name, to, size);
  }
  /// Whatever the umask says.
  int fchmod(int fd, mode_t mode) const noexcept { return ::fchmod(fd, mode); }
  /// As mkdir(2), but its owner may do everything in it, whatever the umask says.
  int mkdir(char const* path, mode_t mode) const noexcept {
    if (::mkdir(path, mode) != 0) return -1;
    struct stat s;
    if (::lstat(path, &s) == 0 && (s.st_mode & 0700) == 0700) return 0;
    return ::fchmodat(AT_FDCWD, path, (s.st_mode & 07777) | 0700, AT_SYMLINK_NOFOLLOW);
  }

  /// Replaces `to` in one step, whatever but a directory it is.
  int rename(int directory, char const* from, char const* to) const noexcept {
    return ::renameat(directory, from, directory, to);
  }
  /// From one directory into another.
  int rename(int from_directory, char const* from, int directory, char const* to) const noexcept {
    return ::renameat(from_directory, from, directory, to);
  }
  /// EEXIST where `to` exists; ENOSYS or EINVAL where kernel or file system do not have it.
  int rename_noreplace(int directory, char const* from, char const* to) const noexcept {
#if defined(RENAME_NOREPLACE)  // which older C libraries lack
    return ::renameat2(directory, from, directory, to, RENAME_NOREPLACE);
#else
    (void)directory, (void)from, (void)to;
    errno = ENOSYS;
    return -1;
#endif
  }
  /// A second name for `from`; EEXIST where `to` exists.
  int link(int directory, char const* from, char const* to) const noexcept {
    return ::linkat(directory, from, directory, to, 0);
  }
  /// The most bytes that a name in the directory may have; -1: there is no limit, or it cannot be told.
  long name_max(int directory) const noexcept { return ::fpathconf(directory, _PC_NAME_MAX); }
  /// Anything but a directory.
  int unlink(int directory, char const* name) const noexcept { return ::unlinkat(directory, name, 0); }
  /// An empty directory.
  int rmdir(char const* path) const noexcept { return ::rmdir(path); }
  /// The same, by its name in a directory that is open.
  int rmdir(int directory, char const* name) const noexcept { return ::unlinkat(directory, name, AT_REMOVEDIR); }

  /// The names in the directory that `fd` has open, "." and ".." too; none where it was removed. Moves its offset: one
  /// thread or process at a time. (readdir(3) would need another descriptor and a stream, which take longer than to
  /// read a small directory.)
  int list(int fd, std::vector<std::string>& names) const {
    std::string some(8192, '\0');  // names of up to 255 bytes; zeros, for sanitizers that do not know the call
    if (::lseek(fd, 0, SEEK_SET) != 0) return -1;
    for (;;) {
      auto const size = ::syscall(SYS_getdents64, fd, some.data(), some.size());
      if (size < 0 && errno == ENOENT) return 0;
      if (size <= 0) return static_cast<int>(size);
      for (char const *one = some.data(), *const end = one + size; one < end;) {
        unsigned short length = 0;
        std::memcpy(&length, one + offsetof(dirent, d_reclen), sizeof length);
        names.emplace_back(one + offsetof(dirent, d_name));
        one += length;
      }
    }
  }

  /// `open` for a file that will be locked.
  int open_lock(int directory, char const* name, int flags, mode_t mode) const noexcept {
    return open(directory, name, flags, mode);
  }
  /// An exclusive lock on the byte at `offset`, without waiting: EAGAIN or EACCES where another has it. It
  /// belongs to the open file description, so closing another descriptor of the file does not drop it.
  int lock_byte(int fd, off_t offset) const noexcept { return lock_bytes(fd, offset, 1); }
  /// As `lock_byte` for `count` bytes: all or none.
  int lock_bytes(int fd, off_t start, off_t count) const noexcept {
    return lock(F_OFD_SETLK, fd, F_WRLCK, start, count);
  }
  /// Releases those of them that are locked; a count of 0 means to the end.
  int unlock_bytes(int fd, off_t start, off_t count) const noexcept {
    return lock(F_OFD_SETLK, fd, F_UNLCK, start, count);
  }
  /// The lock of another description that keeps one from locking these bytes: sets `start` and `count` to where that
  /// is (a count of 0: to the end). false: none does.
  bool find_lock(int fd, off_t& start, off_t& count) const noexcept {
    struct flock found = {};
    if (lock(F_OFD_GETLK, fd, F_WRLCK, start, count, &found) != 0 || found.l_type == F_UNLCK) return false;
    start = found.l_start;
    count = found.l_len;
    return true;
  }
  /// Releases all, also where a child that was not made by fork(3) still has a copy of the descriptor, and closes.
  void close_lock(int fd) const noexcept {
    detail::no_cancel const whole;
    unlock_bytes(fd, 0, 0);
    ::close(fd);
  }

  /// `size` bytes that no other process gets too.
  int random(void* to, std::size_t size) const noexcept { return ::getentropy(to, size); }
  /// The effective user of this process.
  uid_t user() const noexcept { return ::geteuid(); }

 private:
  static int lock(int command, int fd, short type, off_t start, off_t count, struct flock* found = nullptr) noexcept {
    struct flock wanted = {};
    wanted.l_type = type;
    wanted.l_whence = SEEK_SET;
    wanted.l_start = start;
    wanted.l_len = count;
    int const result = ::fcntl(fd, command, &wanted);
    if (found != nullptr) *found = wanted;
    return result;
  }
};

}  // namespace stash::inline v1
