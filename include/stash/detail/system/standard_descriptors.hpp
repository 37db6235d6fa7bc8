#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

// A daemon may have closed its standard descriptors. What is opened next gets the lowest number that is free, and then
// whatever some other thread writes to 1 or 2, a log line, would go into it.
namespace stash::inline v1::detail {

/// What can neither be read nor written (EBADF, as for what is closed), and is gone in a program that is executed.
inline int open_placeholder() noexcept { return ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC); }

/// Where 0, 1 or 2 is closed, puts something there that can neither be read nor written (EBADF, as for what is closed),
/// is gone in a program that is executed, and stays: who closed it again could not know that it is still the same.
/// To be called before something is opened that others could write into. Thread safe; leaves `errno` alone.
inline void occupy_standard_descriptors() noexcept {
  int const before = errno;
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1) continue;
    int const placeholder = detail::open_placeholder();
    if (placeholder > STDERR_FILENO) ::close(placeholder);  // another thread was faster
  }
  errno = before;
}

/// Puts what `occupy_standard_descriptors` puts there in the place of `fd`, one of these that was opened just now: it is
/// free at no moment, so that no other thread gets it.
inline void replace_standard_descriptor(int fd) noexcept {
  int const placeholder = detail::open_placeholder();
  if (placeholder < 0 || ::dup3(placeholder, fd, O_CLOEXEC) < 0) ::close(fd);
  if (placeholder > STDERR_FILENO) ::close(placeholder);
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
