#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <optional>
#include <stash/concepts.hpp>
#include <stash/detail/guard/observer.hpp>
#include <stash/error.hpp>
#include <stash/event.hpp>
#include <stash/key.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <vector>

namespace stash::inline v1::detail {

/// A base of what has a place: each rule that it breaks is an error in words.
template <class R>
struct place_checks {
  static_assert(std::move_constructible<R>, "stash: a place must be movable (see place_policy in stash/concepts.hpp)");
  static_assert(has_value_type<R>, "stash: a place needs a value_type, what is kept of the resource in words");
  static_assert(!has_value_type<R> || has_live<R>, "stash: a place needs std::optional<value_type> live() const");
  static_assert(!has_value_type<R> || has_park<R>, "stash: a place needs void park(value_type const&)");
  static_assert(!has_value_type<R> || has_put_back<R>, "stash: a place needs void put_back(value_type const&)");
  static_assert(!has_value_type<R> || has_any_settle<R>,
                "stash: a place needs void settle(value_type const&), or a std::vector<stash::left_behind> "
                "settle(value_type const&, std::function<void(value_type const&)> const& keep)");
  static_assert(has_discard<R>, "stash: a place needs void discard()");
  static_assert(!has_value_type<R> || parked_as_live<R>,
                "stash: parked(), which a place may have, returns std::optional<value_type>");
};

// What a place may have, beside what it must have.

template <class R>
std::optional<typename R::value_type> parked_at(R const& place) {
  if constexpr (requires { place.parked(); }) return place.parked();
  return std::nullopt;
}

template <class R>
std::string where_parked(R const& place) noexcept {
  try {
    if constexpr (requires { place.where(); }) return place.where();
  } catch (...) {  // it is for messages only
  }
  return {};
}

/// What could not be carried over. `keep` as in `place_policy`.
template <class R, class Keep>
std::vector<left_behind> settle(R& place, typename R::value_type const& v, Keep keep) {
  if constexpr (settles_with_note<R>) {
    return place.settle(v, std::function<void(typename R::value_type const&)>(keep));
  } else {
    place.settle(v);
    return {};
  }
}

/// A `discard` that fails costs room, and no more.
template <class R>
void discard(R& place, key const& k, observer const& to) noexcept {
  try {
    place.discard();
  } catch (...) {
    detail::tell(to, event_kind::left_behind, k, {.error = std::current_exception()});
  }
}

/// Puts back, tells it, and removes what that left.
template <class R>
void put_back(R& place, key const& k, typename R::value_type const& v, observer const& to) {
  place.put_back(v);
  detail::tell(to, event_kind::put_back, k, {.where = detail::where_parked(place)});
  detail::discard(place, k, to);
}

}  // namespace stash::inline v1::detail
