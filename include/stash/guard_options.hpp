#pragma once

#include <chrono>
#include <functional>
#include <stash/event.hpp>

namespace stash::inline v1 {

/// Where a guard's value came from.
enum class origin {
  live,     ///< from the resource
  adopted,  ///< from the record of an earlier run that did not end well
  none      ///< there is no value: nothing to restore
};

/// For `delete_guard` and `delete_guards`.
struct guard_options {
  /// true: a failed save of a live value is reported (`save_failed`) and the job continues. Then an exception in this
  /// process still restores, but nothing survives its death. Never forgiven: a key that is busy, a lock that cannot be
  /// judged (EMFILE); and when there is no live value, a lock that cannot be made, a record that cannot be read or put
  /// again.
  bool best_effort = false;
  /// true: a restore that returned removes the record; false: it stays for the next run.
  bool clear_after_restore = false;
  /// Called for every event, in the thread where it happens. What it throws is dropped.
  std::function<void(event const&)> observer{};
  /// How long to wait for another guard of the same key before `errc::busy`; zero: not at all.
  std::chrono::milliseconds wait_for_lock{0};
};

}  // namespace stash::inline v1
