#pragma once

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

namespace stash::inline v1::detail {

/// Writes `text` to standard error, in one piece. Whatever becomes of it changes nothing: where nobody reads there any
/// more, SIGPIPE does not end the program. Thread safe; leaves `errno` alone.
inline void write_to_standard_error(std::string_view text) noexcept {
  int const before = errno;
  sigset_t pipe, masked, pending;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  bool const is_masked = ::pthread_sigmask(SIG_BLOCK, &pipe, &masked) == 0;
  bool const was_pending = ::sigpending(&pending) == 0 && ::sigismember(&pending, SIGPIPE) == 1;
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
  if (is_masked) {
    timespec const at_once{};
    if (!was_pending) ::sigtimedwait(&pipe, nullptr, &at_once);  // our own
    ::pthread_sigmask(SIG_SETMASK, &masked, nullptr);
  }
  errno = before;
}

}  // namespace stash::inline v1::detail
