#pragma once

#include <pthread.h>
#include <signal.h>

namespace stash::inline v1::detail {

/// While it lives, this thread takes no signal; a thread that is made meanwhile never takes one.
class no_signals {
 public:
  no_signals() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  no_signals(no_signals const&) = delete;
  no_signals& operator=(no_signals const&) = delete;
  ~no_signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace stash::inline v1::detail
