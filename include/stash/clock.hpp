#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <stash/record.hpp>

namespace stash::inline v1 {

/// A clock that stands still until it is told: for tests of what depends on age.
///
/// Starts at 1970. Copies share one time. Every member may be called from many threads at once.
///
///     stash::manual_clock clock;
///     stash::basic_stash<stash::memory_storage, stash::json_serializer, stash::manual_clock> store{{}, {}, clock};
///     clock.advance(std::chrono::seconds{93});
class manual_clock {
 public:
  manual_clock() : manual_clock(time_point{}) {}
  explicit manual_clock(time_point start)
      : micros_(std::make_shared<std::atomic<rep>>(start.time_since_epoch().count())) {}

  time_point now() const noexcept { return time_point{std::chrono::microseconds{micros_->load()}}; }
  void set(time_point t) noexcept { micros_->store(t.time_since_epoch().count()); }
  void advance(std::chrono::microseconds by) noexcept { micros_->fetch_add(by.count()); }

 private:
  using rep = std::chrono::microseconds::rep;
  std::shared_ptr<std::atomic<rep>> micros_;
};

}  // namespace stash::inline v1
