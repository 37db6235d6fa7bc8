#pragma once

#include <chrono>
#include <functional>
#include <ostream>
#include <stash/detail/text/print.hpp>
#include <stash/event.hpp>
#include <string_view>

namespace stash::inline v1 {

/// Where a guard's value came from.
enum class origin {
  live,     ///< from the resource
  adopted,  ///< from the record of an earlier run that did not end well
  none      ///< there is no value: nothing to restore
};

/// The enumerator's name, in static storage; "unknown" for what is none.
constexpr std::string_view to_string(origin from) noexcept {
  switch (from) {
    case origin::live:
      return "live";
    case origin::adopted:
      return "adopted";
    case origin::none:
      return "none";
  }
  return "unknown";
}
/// Its name, whatever width, flags and locale are left on `out`. Throws what `out` throws.
inline std::ostream& operator<<(std::ostream& out, origin from) { return detail::print(out, stash::to_string(from)); }

/// For `delete_guard`, `delete_guards` and `replace_guard`.
struct guard_options {
  /// true: a failed save of a live value is reported (`save_failed`) and the job continues. Then an exception in this
  /// process still restores, but nothing survives its death. Never forgiven: a bad key, a key that is busy, a lock that
  /// cannot be judged (EMFILE), a value that cannot be copied to be kept in memory; and when there is no live value, a
  /// lock that cannot be made, a record that cannot be read or put again.
  bool best_effort = false;
  /// true: a restore that returned removes the record; false: it stays for the next run.
  bool clear_after_restore = false;
  /// Called for every event, in the thread where it happens. What it throws is dropped. Without one, the events that
  /// must be heard are written to standard error (see `stash::silent`).
  std::function<void(event const&)> observer{};
  /// How long to wait for another guard of the same key before `errc::busy`; zero: not at all.
  std::chrono::milliseconds wait_for_lock{0};
};

}  // namespace stash::inline v1
