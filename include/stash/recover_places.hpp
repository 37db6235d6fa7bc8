#pragma once

#include <boost/json/object.hpp>
#include <concepts>
#include <optional>
#include <stash/concepts.hpp>
#include <stash/detail/guard/live_value.hpp>
#include <stash/detail/guard/place_calls.hpp>
#include <stash/detail/guard/recovery.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/key.hpp>
#include <stash/recover_options.hpp>
#include <type_traits>
#include <utility>

namespace stash::inline v1 {

/// `recover` for places: puts back what dead `replace_guard`s have parked, and removes what they left to be removed.
/// For the start of a service, or after a crash; safe while jobs run, and run twice at once. It goes by the records:
/// what a guard that died at the very end of a commit left to be removed has none, and waits for the next guard.
///
/// For each record, under its key's lock: `std::optional<Place> place_of(key const&, value_type const&)` makes its
/// place; nullopt leaves the record, counted as live. What stands at the place whole is left, and so is its record;
/// what is parked is put back, and the record removed. `T` is the places' `value_type`: that of the library's own,
/// unless you write `recover_places<T>`. Throws, and reports, as `recover`. What is parked without a record the next
/// guard of the place finds.
///
///     auto report = stash::recover_places(store, [](auto const&, auto const& note) {
///       if (!note.contains("path")) return std::optional<stash::tree>();  // of another kind of place
///       return std::optional(stash::tree{stash::tree::path_in(note)});
///     });
///
/// A record that is no `T` (words, in a stash that has both) is in the report's `failed`: places have a stash of their
/// own.
template <class T = boost::json::object, class Stash, class PlaceOf>
recovery_report recover_places(Stash& stash, PlaceOf place_of,
                               // A copy, as in `recover`.
                               recover_options options = {}) {  // NOLINT(performance-unnecessary-value-param)
  static_assert(!std::is_const_v<Stash>, "stash: recover_places writes to its stash, which must not be const");
  static_assert(std::invocable<PlaceOf&, key const&, T const&>,
                "stash: place_of must be callable as std::optional<Place>(key const&, value_type const&); where the "
                "value_type is no boost::json::object, write recover_places<value_type>");
  using result = std::remove_cvref_t<std::invoke_result_t<PlaceOf&, key const&, T const&>>;
  static_assert(detail::optional_like<result>, "stash: place_of must return a std::optional of a place");
  using place = typename detail::unwrapped<result>::type;
  [[maybe_unused]] detail::place_checks<place> const checked{};
  static_assert(std::same_as<T, typename place::value_type>,
                "stash: write recover_places<T>, where T is the value_type of the places that place_of returns");

  std::optional<place> at;  // of the record that it is at
  auto const is_live = [&](key const& k) {
    at.reset();
    auto const note = stash.template load<T>(k);
    if (!note) return true;  // its lock was lost, and another has ended it
    if (auto found = place_of(k, *note)) at.emplace(std::move(*found));
    if (!at) return true;
    if (!at->live()) return false;
    detail::discard(*at, k, options.observer);
    return true;
  };
  auto const put_back = [&](key const& k, T const& note) { detail::put_back(*at, k, note, options.observer); };
  detail::no_cancel const whole;
  return detail::recovery<T, Stash, decltype(is_live) const, decltype(put_back) const>{stash, is_live, put_back,
                                                                                       options}
      .run();
}

}  // namespace stash::inline v1
