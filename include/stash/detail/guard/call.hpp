#pragma once

#include <concepts>
#include <stash/key.hpp>
#include <type_traits>
#include <utility>

namespace stash::inline v1::detail {

template <class F, class... Args>
concept takes_key = std::invocable<F, key const&, Args...>;

/// What a caller gave to act on a resource: with the resource's key before its other arguments, or without it.
template <class F, class... Args>
concept callable = takes_key<F, Args...> || std::invocable<F, Args...>;

/// Calls it; with the key, where it can be called both ways.
template <class F, class... Args>
requires callable<F, Args...>
decltype(auto) call(F&& f, [[maybe_unused]] key const& k, Args&&... args) {
  if constexpr (takes_key<F, Args...>) {
    return std::forward<F>(f)(k, std::forward<Args>(args)...);
  } else {
    return std::forward<F>(f)(std::forward<Args>(args)...);
  }
}

template <class F, class... Args>
using call_result_t = decltype(detail::call(std::declval<F>(), std::declval<key const&>(), std::declval<Args>()...));

/// Whether it returns void. True too where it cannot be called: another rule says that.
template <class F, class... Args>
concept returns_nothing = !callable<F, Args...> || std::is_void_v<call_result_t<F, Args...>>;

}  // namespace stash::inline v1::detail
