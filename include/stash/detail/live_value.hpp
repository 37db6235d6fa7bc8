#pragma once

#include <concepts>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace stash::inline v1::detail {

template <class T>
struct unwrapped {
  using type = T;
};
template <class T>
struct unwrapped<std::optional<T>> {
  using type = T;
};
template <class T>
inline constexpr bool is_optional = !std::same_as<T, typename unwrapped<T>::type>;

// In place of the T, where there is none: the guard says in words what is wrong, and nothing else.
struct no_live_value {};
struct live_is_not_callable : no_live_value {};
struct live_returns_void : no_live_value {};
template <>
struct unwrapped<void> {
  using type = live_returns_void;
};

/// The T of a `live` that returns T or std::optional<T>.
template <class Live, class... Args>
requires std::invocable<Live, Args...>
using live_value_t = typename unwrapped<std::remove_cvref_t<std::invoke_result_t<Live, Args...>>>::type;

/// Of what cannot be called there is nothing to say.
template <class F, class... Args>
concept returns_nothing = !std::invocable<F, Args...> || std::is_void_v<std::invoke_result_t<F, Args...>>;

template <class T>
inline constexpr bool is_initializer_list = false;
template <class T>
inline constexpr bool is_initializer_list<std::initializer_list<T>> = true;

// Not from <ranges>, whose adaptors would double what this header costs to include.
namespace range_access {
using std::begin, std::end;
template <class T>
auto first(T& r) -> decltype(begin(r));
template <class T>
auto last(T& r) -> decltype(end(r));
}  // namespace range_access
template <class T>
using iterator_of = decltype(range_access::first(std::declval<T&>()));
/// What a range-for goes through.
template <class T>
concept range = requires(T& r) {
  { range_access::first(r) } -> std::input_iterator;
  { range_access::last(r) } -> std::sentinel_for<iterator_of<T>>;
};

/// A look at bytes or elements that somebody else owns: gone with the resource. (<span> declares `enable_view`.)
template <class T>
inline constexpr bool is_view = std::ranges::enable_view<T> || is_initializer_list<T> ||
                                (std::is_convertible_v<T, std::string_view> && std::is_trivially_copyable_v<T>);

/// A view, or a range of views: deserialized, it would look at bytes that are gone.
template <class T>
inline constexpr bool looks_elsewhere = is_view<T>;
template <range T>
inline constexpr bool looks_elsewhere<T> = is_view<T> || is_view<std::iter_value_t<iterator_of<T>>>;

/// What a `live` may return. Of another T the guard says what is wrong with it, and nothing else.
template <class T>
concept live_type = !std::derived_from<T, no_live_value> && !std::is_pointer_v<T> && !std::is_null_pointer_v<T> &&
                    !is_view<T> && !is_optional<T>;

}  // namespace stash::inline v1::detail
