#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <ostream>
#include <stash/detail/text/print.hpp>
#include <stash/detail/text/quoted.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1 {

/// What guards and `recover` tell their observer.
enum class event_kind {
  saved,           ///< the live value is safe
  save_failed,     ///< it is not; unless `best_effort`, the guard's constructor throws
  adopted,         ///< an orphan is taken as the value; `age` is its age
  superseded,      ///< another value stood there; it was set aside at `where`; `age` is its age
  corrupt,         ///< what stood there is no whole record; a guard sets it aside at `where`, `recover` leaves it there
  restored,        ///< restore returned
  restore_failed,  ///< restore threw, or the lock was lost to another; the record stays
  committed,       ///< the record is gone, or set aside at `where`; `error`: what a reload had to leave behind
  clear_failed,    ///< after a restore or in a commit, the record could not be removed
  released,        ///< the record was left for a later run
  // Of a `replace_guard` and `recover_places`, beside the above.
  parked,      ///< what stood at the place is out of the way, at `where`; the place is free
  put_back,    ///< what was parked, at `where`, stands at its place again
  settled,     ///< what was built is the resource now
  left_behind  ///< `error` says what could not be carried over to the new one, or what could not be removed
};

/// What an observer is told. `key` and `where` are valid during its call only.
struct event {
  event_kind kind;                               ///< what happened
  std::string_view key;                          ///< to whose record or resource
  std::optional<std::chrono::microseconds> age;  ///< of the record that is meant, never negative; where it is known
  std::string_view where;                        ///< for a person: a path, a row; may be empty
  std::exception_ptr error;                      ///< what went wrong, or what is wrong with the record; else null
};

/// The enumerator's name, in static storage; "unknown" for what is none.
constexpr std::string_view to_string(event_kind kind) noexcept {
  switch (kind) {
    case event_kind::saved:
      return "saved";
    case event_kind::save_failed:
      return "save_failed";
    case event_kind::adopted:
      return "adopted";
    case event_kind::superseded:
      return "superseded";
    case event_kind::corrupt:
      return "corrupt";
    case event_kind::restored:
      return "restored";
    case event_kind::restore_failed:
      return "restore_failed";
    case event_kind::committed:
      return "committed";
    case event_kind::clear_failed:
      return "clear_failed";
    case event_kind::released:
      return "released";
    case event_kind::parked:
      return "parked";
    case event_kind::put_back:
      return "put_back";
    case event_kind::settled:
      return "settled";
    case event_kind::left_behind:
      return "left_behind";
  }
  return "unknown";
}

/// What `silent` is.
struct silent_observer {
  /// Does nothing.
  void operator()(event const&) const noexcept {}
};
/// An observer that says nothing.
///
/// Without an observer, guards and `recover` write these events to standard error, a line each: `corrupt`,
/// `restore_failed`, `clear_failed` (of these two also where a `rollback` or a `commit` throws them), `left_behind`,
/// and a `save_failed` that `best_effort` forgave. Otherwise nobody would hear of some of them.
///
///     stash::delete_guard guard{store, "orders", live, restore, {.observer = stash::silent}};
inline constexpr silent_observer silent;

namespace detail {

inline std::string line_of(event const& e) {
  constexpr std::size_t longest_reason = 4400;  // bytes: it may list all that was left behind
  std::string line = "stash: " + std::string(stash::to_string(e.kind)) + ' ' + detail::quoted(detail::printable(e.key));
  if (e.age) line += ", age " + std::to_string(e.age->count() / 1'000'000) + " s";
  if (!e.where.empty()) line += ", at " + detail::printable(e.where);
  if (e.error) {
    try {
      std::rethrow_exception(e.error);
    } catch (std::exception const& problem) {
      line += ": " + detail::printable(problem.what(), longest_reason);
    } catch (...) {
      line += ": something that is not a std::exception";
    }
  }
  return line;
}

}  // namespace detail

/// Its name, whatever width, flags and locale are left on `out`. Throws what `out` throws.
inline std::ostream& operator<<(std::ostream& out, event_kind kind) {
  return detail::print(out, stash::to_string(kind));
}

/// One log line, without a newline: `stash: adopted "orders", age 93 s, at /var/lib/etl/stash/orders.stash`. It is the
/// same whatever width, flags and locale are left on `out`. Throws what `out` throws.
inline std::ostream& operator<<(std::ostream& out, event const& e) { return detail::print(out, detail::line_of(e)); }

}  // namespace stash::inline v1
