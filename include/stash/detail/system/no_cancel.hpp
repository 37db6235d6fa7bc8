#pragma once

#include <pthread.h>

namespace stash::inline v1::detail {

/// While it lives, a cancellation of this thread (pthread_cancel) waits. Else it would unwind from whatever call writes
/// or syncs: out of destructors, which ends the program, and from amid a change.
class no_cancel {
 public:
  no_cancel() noexcept { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  no_cancel(no_cancel const&) = delete;
  no_cancel& operator=(no_cancel const&) = delete;
  ~no_cancel() { ::pthread_setcancelstate(before_, nullptr); }

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace stash::inline v1::detail
