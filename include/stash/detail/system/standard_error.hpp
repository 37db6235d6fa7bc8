#pragma once

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace stash::inline v1::detail {

/// Writes a line to descriptor 2. What becomes of it changes nothing: no signal of that write reaches the program
/// (SIGPIPE, SIGXFSZ, SIGTTOU), and where nobody takes it for a tenth of a second it is dropped, for the caller may
/// have a lock. (POSIX: what a pipe takes up to PIPE_BUF bytes of, it takes whole.) Thread safe; leaves `errno` and
/// `stderr` alone.
inline void write_to_standard_error(std::string_view line) noexcept {
  constexpr int patience = 100;  // milliseconds
  int const before = errno;
  sigset_t ours, masked, pending;
  ::sigemptyset(&ours);
  ::sigpending(&pending);
  for (int const one : {SIGPIPE, SIGXFSZ, SIGTTOU}) ::sigaddset(&ours, one);
  ::pthread_sigmask(SIG_BLOCK, &ours, &masked);  // POSIX: fails for another first argument only
  pollfd room{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&room, 1, patience) == 1 && (room.revents & POLLOUT) != 0) {
    static_cast<void>(::write(STDERR_FILENO, line.data(), line.size()) < 0);
  }
  for (int const one : {SIGPIPE, SIGXFSZ, SIGTTOU}) {
    if (::sigismember(&pending, one) == 1) ::sigdelset(&ours, one);  // that was not our write's
  }
  timespec const at_once{};
  while (::sigtimedwait(&ours, nullptr, &at_once) > 0) {
  }
  ::pthread_sigmask(SIG_SETMASK, &masked, nullptr);
  errno = before;
}

}  // namespace stash::inline v1::detail
