#pragma once

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace stash::inline v1::detail {

/// The end of a call's time, by which each of its loops ends; and how long the server may be silent meanwhile. Time
/// begins anew with whatever comes from it: an answer may take as long as it goes on.
struct deadline : std::chrono::steady_clock::time_point {
  deadline(time_point end) : time_point(end), silence(end - std::chrono::steady_clock::now()) {}
  duration silence;
};

/// The point in time that is `timeout` from now; a day at most, so that it has a number.
inline deadline deadline_in(std::chrono::milliseconds timeout) {
  return std::chrono::steady_clock::now() + std::min<std::chrono::milliseconds>(timeout, std::chrono::hours(24));
}

/// Whether the socket is ready; false: the time is over, and so it is from then on, whatever comes.
inline bool wait_for(PGconn* c, short events, std::chrono::steady_clock::time_point until) {
  for (;;) {
    auto const left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() < 0) return false;
    pollfd one{::PQsocket(c), events, 0};
    constexpr std::chrono::milliseconds::rep longest = 1'000'000'000;
    int const ready = ::poll(&one, 1, static_cast<int>(std::clamp(left.count(), decltype(longest){0}, longest)));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

}  // namespace stash::inline v1::detail
