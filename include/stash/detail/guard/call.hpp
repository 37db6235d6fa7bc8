#pragma once

#include <concepts>
#include <stash/key.hpp>
#include <type_traits>
#include <utility>

namespace stash::inline v1::detail {

// What a caller gives to act on a resource comes with the resource's key before its other arguments, or without it.
// Where it can be called both ways (a std::bind, a default argument, `auto const&...`), it means what it always meant:
// a `delete_guard` never had a key to give.
inline constexpr bool key_if_needed = false;   ///< `delete_guard`
inline constexpr bool key_if_possible = true;  ///< `delete_guards`, `recover`

template <class F, class... Args>
concept takes_key = std::invocable<F, key const&, Args...>;

template <bool When, class F, class... Args>
concept gets_key = (When && takes_key<F, Args...>) || (!When && !std::invocable<F, Args...> && takes_key<F, Args...>);
template <class F, bool When, class... Args>
concept callable = gets_key<When, F, Args...> || std::invocable<F, Args...>;

template <bool When, class F, class... Args>
requires callable<F, When, Args...>
decltype(auto) call(F&& f, [[maybe_unused]] key const& k, Args&&... args) {
  if constexpr (gets_key<When, F, Args...>) {
    return std::forward<F>(f)(k, std::forward<Args>(args)...);
  } else {
    return std::forward<F>(f)(std::forward<Args>(args)...);
  }
}

template <bool When, class F, class... Args>
using call_result_t =
    decltype(detail::call<When>(std::declval<F>(), std::declval<key const&>(), std::declval<Args>()...));

/// Whether it returns void. True too where it cannot be called: another rule says that.
template <class F, bool When, class... Args>
concept returns_nothing = !callable<F, When, Args...> || std::is_void_v<call_result_t<When, F, Args...>>;

}  // namespace stash::inline v1::detail
