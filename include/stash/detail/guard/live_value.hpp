#pragma once

#include <boost/json/storage_ptr.hpp>
#include <concepts>
#include <optional>
#include <stash/detail/parts.hpp>
#include <type_traits>
#include <utility>

namespace stash::inline v1::detail {

// In place of the T, where there is none: the guard says in words what is wrong, and nothing else.
struct no_live_value {};
struct live_is_not_callable : no_live_value {};
struct live_returns_void : no_live_value {};

template <class T>
struct unwrapped {
  using type = T;
};
template <optional_like T>
struct unwrapped<T> {
  using type = std::remove_cvref_t<held_by<T>>;
};
template <>
struct unwrapped<void> {
  using type = live_returns_void;
};

/// The T of a `live` that returns T or an optional of it: std::optional, or any that is used like it.
template <class Live, class... Args>
requires std::invocable<Live, Args...>
using live_value_t = typename unwrapped<std::remove_cvref_t<std::invoke_result_t<Live, Args...>>>::type;

/// What `live` returned. (Made from a foreign optional directly, a T such as `json::value` might be the null that a
/// newer Boost.JSON makes of an empty one.)
template <class T, class Result>
std::optional<T> live_value(Result&& result) {
  using result_type = std::remove_cvref_t<Result>;
  if constexpr (optional_like<result_type> && !std::same_as<result_type, std::optional<T>>) {
    if (!result.has_value()) return std::nullopt;
    return *std::forward<Result>(result);
  } else {
    return std::forward<Result>(result);
  }
}

/// The value in memory of its own, for the resource's may go with the resource. Only the bytes of other types make
/// a copy that shares nothing.
template <json_native T>
T in_own_memory(T value) {
  return T(std::move(value), boost::json::storage_ptr{});
}

/// Of what cannot be called there is nothing to say.
template <class F, class... Args>
concept returns_nothing = !std::invocable<F, Args...> || std::is_void_v<std::invoke_result_t<F, Args...>>;

/// What a `live` may return. Of another T the guard says what is wrong with it, and nothing else.
template <class T>
concept live_type = !std::derived_from<T, no_live_value> && !pointer_like<T> && !std::is_null_pointer_v<T> &&
                    !result_like<T> && !optional_like<T> && !looks_elsewhere<T>;

}  // namespace stash::inline v1::detail
