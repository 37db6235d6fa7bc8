#pragma once

#include <sched.h>
#include <time.h>

#include <cerrno>
#include <chrono>

namespace stash::inline v1::detail {

/// How long ago `start` was. In milliseconds: a wait of milliseconds::max() has no number of nanoseconds.
inline std::chrono::milliseconds since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
}

/// Sleeps for `pause`, or less: where there is no sleeping (a seccomp filter), it only lets others run. So whoever
/// waits asks the clock whether it has waited long enough. (Not from <thread>, which costs much to include.)
inline void sleep_for(std::chrono::milliseconds pause) {
  auto const start = std::chrono::steady_clock::now();
  for (auto left = pause; left.count() > 0; left = pause - detail::since(start)) {
    timespec const rest{static_cast<time_t>(left.count() / 1000), static_cast<long>(left.count() % 1000) * 1'000'000};
    if (::nanosleep(&rest, nullptr) != 0 && errno != EINTR) {
      ::sched_yield();
      return;
    }
  }
}

}  // namespace stash::inline v1::detail
