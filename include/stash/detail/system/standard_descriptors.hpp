#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

// A daemon may have closed its standard descriptors. What is opened next gets the lowest number that is free, and then
// whatever some other thread writes to 1 or 2, a log line, would go into it.
namespace stash::inline v1::detail {

/// Where 0, 1 or 2 is closed, puts something there that can neither be read nor written (EBADF, as for what is closed),
/// is gone in a program that is executed, and stays: who closed it again could not know that it is still the same.
/// To be called before something is opened; also before a directory, which can neither be read nor written: while one
/// has such a number, another thread finds it taken, and what that opens gets it next. Thread safe; leaves `errno`
/// alone.
inline void occupy_standard_descriptors() noexcept {
  int const before = errno;
  constexpr int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1) continue;
    int const placeholder = ::open("/", flags);
    if (placeholder > STDERR_FILENO) ::close(placeholder);  // another thread was faster
  }
  errno = before;
}

/// `fd` with a number above those, for what got one of them all the same, because the program closed it just now. -1
/// and `errno`: it is closed.
inline int above_standard_descriptors(int fd) noexcept {
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  int const moved = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  int const failed = errno;
  ::close(fd);
  errno = failed;
  return moved;
}

}  // namespace stash::inline v1::detail
