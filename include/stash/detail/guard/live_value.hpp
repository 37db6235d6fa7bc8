#pragma once

#include <boost/json/storage_ptr.hpp>
#include <concepts>
#include <exception>
#include <optional>
#include <stash/concepts.hpp>
#include <stash/detail/guard/call.hpp>
#include <stash/detail/sorted.hpp>
#include <stash/detail/values/parts.hpp>
#include <string>
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
template <bool When, callable<When> Live>
using live_value_t = typename unwrapped<std::remove_cvref_t<call_result_t<When, Live>>>::type;

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

/// A value that could not be saved, for `best_effort`; throws `problem`, which kept it from being saved, where it may
/// be in the resource's memory.
template <class T>
T kept_unsaved(T live, [[maybe_unused]] std::exception_ptr const& problem) {
  if constexpr (json_native<T>) {
    return detail::in_own_memory(std::move(live));
  } else if constexpr (may_be_in_anothers_memory<T>) {
    std::rethrow_exception(problem);
  } else {
    return live;
  }
}

/// What a `live` may return. Of another T the guard says what is wrong with it, and nothing else.
template <class T>
concept live_type = !std::derived_from<T, no_live_value> && !pointer_like<T> && !std::is_null_pointer_v<T> &&
                    !result_like<T> && !optional_like<T> && !looks_elsewhere<T>;

/// Whether two values, whose bytes differ, are one. An unordered value may have other bytes each time: it is the same
/// if it is equal and so are the bytes but for their order (there may be more in a T than its `==` looks at).
template <class T>
bool is_same_value(T const& a, T const& b, std::string const& bytes_of_a, std::string const& bytes_of_b) {
  if constexpr (has_unordered<T> && is_comparable<T>) {
    return a == b && detail::sorted(bytes_of_a) == detail::sorted(bytes_of_b);
  }
  return false;
}

template <class S>
concept stash_like = requires(S& stash) {
  typename S::storage_type;
  typename S::serializer_type;
  stash.storage();
};

/// A base of what has a guard's T: each rule that T or the stash breaks is an error in words. (In a class, for a
/// compiler goes no further into one that is broken.)
template <class Stash, class T>
struct guarded_checks {
  static_assert(stash_like<Stash>, "stash: a guard's first argument is a basic_stash");
  static_assert(!std::is_const_v<Stash>, "stash: a guard writes to its stash, which must not be const");
  static_assert(!std::same_as<T, live_returns_void>,
                "stash: live must return the value to save, or a std::optional of it, not void");
  static_assert(!pointer_like<T> && !std::is_null_pointer_v<T>,
                "stash: live must return the value itself, not a pointer: what it points to goes with the resource "
                "(an optional has has_value())");
  static_assert(!result_like<T>,
                "stash: live must throw where it fails, not return an expected or a result: an error is not absence");
  static_assert(!optional_like<T>, "stash: live must return T or std::optional<T>, not a nested optional");
  static_assert(pointer_like<T> || !looks_elsewhere<T>,
                "stash: live must return a value that owns its bytes, not a view, nor what has a view, a pointer or a "
                "reference in it: what it looks at goes with the resource");
  static_assert(
      !live_type<T> || serializer_policy<typename Stash::serializer_type, T>,
      "stash: the stash's serializer cannot turn what live returns into bytes and back (for json_serializer, "
      "a struct and each struct in it needs BOOST_DESCRIBE_STRUCT, or tag_invoke for value_from and value_to)");
};

/// The same for what a guard is given to call.
template <class T, class Restore, bool When>
struct callback_checks {
  static_assert(
      !std::same_as<T, live_is_not_callable>,
      "stash: live must be callable without an argument, or with a key (a stash::key, which is no std::string): "
      "it returns the value to save");
  static_assert(
      !live_type<T> || callable<Restore&, When, T const&>,
      "stash: restore must be callable with what live returns, as T const&, or with a key (a stash::key, which "
      "is no std::string) and that");
  static_assert(returns_nothing<Restore&, When, T const&>,
                "stash: restore must return void: it reports failure by throwing");
};

}  // namespace stash::inline v1::detail
