#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <stash/record.hpp>

namespace stash::inline v1 {

/// A clock that stands still until it is told: for tests of what depends on age.
///
/// Copies share one time. Every member may be called from many threads at once. One that was moved from may only be
/// assigned to or destroyed.
///
///     stash::manual_clock clock;
///     stash::basic_stash<stash::memory_storage, stash::json_serializer, stash::manual_clock> store{{}, {}, clock};
///     clock.advance(std::chrono::seconds{93});
class manual_clock {
 public:
  /// Starts at 1970.
  manual_clock() : manual_clock(time_point{}) {}
  /// Starts at `start`, with a time that it shares with none.
  explicit manual_clock(time_point start)
      : micros_(std::make_shared<std::atomic<rep>>(start.time_since_epoch().count())) {}

  /// What it was last told.
  time_point now() const noexcept { return time_point{std::chrono::microseconds{micros_->load()}}; }
  /// Jumps to `t`, which may be earlier.
  void set(time_point t) noexcept { micros_->store(t.time_since_epoch().count()); }
  /// Goes on by so much; back, where that is negative.
  void advance(std::chrono::microseconds by) noexcept { micros_->fetch_add(by.count()); }

 private:
  using rep = std::chrono::microseconds::rep;
  std::shared_ptr<std::atomic<rep>> micros_;
};

}  // namespace stash::inline v1
