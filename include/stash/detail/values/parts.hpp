#pragma once

#include <boost/describe/bases.hpp>
#include <boost/describe/members.hpp>
#include <boost/describe/modifiers.hpp>
#include <boost/json/fwd.hpp>
#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

/// What a type is made of, as far as a program can say: elements, alternatives, described members.
namespace stash::inline v1::detail {

template <class... T>
struct types {};

/// The four types of Boost.JSON that need no conversion.
template <class T>
concept json_native = std::same_as<T, boost::json::value> || std::same_as<T, boost::json::object> ||
    std::same_as<T, boost::json::array> || std::same_as<T, boost::json::string>;

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

/// std::optional, boost::optional, a smart pointer, a raw one.
template <class T>
concept nullable = requires(T& v) {
  static_cast<bool>(v);
  *v;
}
&&!std::is_array_v<T>;
/// std::expected, boost::system::result: what is in it in place of a value is an error, and not absence.
template <class T>
concept result_like = requires(T& v) {
  { v.has_value() } -> std::convertible_to<bool>;
  v.error();
};
template <class T>
concept optional_like = nullable<T> && !result_like<T> && requires(T const& v) {
  { v.has_value() } -> std::convertible_to<bool>;
};
template <class T>
concept pointer_like = nullable<T> && !result_like<T> && !optional_like<T>;

template <class T>
struct held {
  using type = void;
};
template <nullable T>
struct held<T> {
  using type = std::remove_reference_t<decltype(*std::declval<T&>())>;
};
template <nullable T>
requires requires { typename T::value_type; }
struct held<T> {
  using type = typename T::value_type;
};
/// What is in a T that is `nullable`; else void.
template <class T>
using held_by = typename held<T>::type;

/// std::variant, boost::variant2::variant, boost::variant.
template <class T>
inline constexpr bool is_variant = false;
template <template <class...> class V, class... T>
requires requires(V<T...> const& v) { v.index(); } || requires(V<T...> const& v) {
  v.which();
}
inline constexpr bool is_variant<V<T...>> = true;

template <class T>
struct alternatives {
  using type = types<>;
};
template <template <class...> class V, class... T>
requires is_variant<V<T...>>
struct alternatives<V<T...>> {
  using type = types<T...>;
};

template <class Member>
struct member_type;
template <class T, class Class>
struct member_type<T Class::*> {
  using type = T;
};

// Each of these returns `types` of what a T holds, by its name alone: they are never called.

template <class T>
auto elements() {
  if constexpr (range<T>) {
    return types<std::iter_value_t<iterator_of<T>>>{};
  } else if constexpr (!std::is_void_v<held_by<T>>) {
    return types<held_by<T>>{};
  } else {
    return typename alternatives<T>::type{};
  }
}

template <class T>
auto tuple_elements() {
  if constexpr (requires { std::tuple_size<T>::value; }) {
    return []<std::size_t... I>(std::index_sequence<I...>) { return types<std::tuple_element_t<I, T>...>{}; }
    (std::make_index_sequence<std::tuple_size<T>::value>{});
  } else {
    return types<>{};
  }
}

template <class T>
auto described_members() {
  if constexpr (std::is_class_v<T> && boost::describe::has_describe_members<T>::value) {
    return []<template <class...> class List, class... D>(List<D...>) {
      return types<typename member_type<std::remove_cv_t<decltype(D::pointer)>>::type...>{};
    }(boost::describe::describe_members<T, boost::describe::mod_any_access>{});
  } else {
    return types<>{};
  }
}

template <class T>
auto described_bases() {
  if constexpr (std::is_class_v<T> && boost::describe::has_describe_bases<T>::value) {
    return []<template <class...> class List, class... D>(List<D...>) {
      return types<typename D::type...>{};
    }(boost::describe::describe_bases<T, boost::describe::mod_any_access>{});
  } else {
    return types<>{};
  }
}

template <class T>
concept is_complete = requires {
  sizeof(T);
};  // a class whose name alone is known may be behind a pointer

/// What is not looked into.
struct without_parts {
  template <class T>
  static constexpr bool has = json_native<T> || std::is_reference_v<T> || std::is_pointer_v<T> || !is_complete<T>;
};

template <class T, class Whole>
struct visit {};

/// Adds T, and all that it is made of, to what was seen; each type once, so that a type may be a part of itself.
template <class... Seen, class T, class Whole>
constexpr auto operator|(types<Seen...> seen, visit<T, Whole>) {
  if constexpr ((std::same_as<T, Seen> || ...)) {
    return seen;
  } else if constexpr (Whole::template has<T>) {
    return types<Seen..., T>{};
  } else {
    auto const all = []<class S, class... Part>(S with, types<Part...>) {
      return (with | ... | visit<std::remove_cv_t<Part>, Whole>{});
    };
    using some = decltype(all(all(types<Seen..., T>{}, detail::elements<T>()), detail::tuple_elements<T>()));
    return all(all(some{}, detail::described_members<T>()), detail::described_bases<T>());
  }
}

/// T and all that it is made of. A class that is not described has no parts but itself.
template <class T, class Whole = without_parts>
using parts_of = decltype(types<>{} | visit<std::remove_cv_t<T>, Whole>{});

template <class T>
inline constexpr bool is_initializer_list = false;
template <class T>
inline constexpr bool is_initializer_list<std::initializer_list<T>> = true;
template <class T>
inline constexpr bool is_reference_wrapper = false;
template <class T>
inline constexpr bool is_reference_wrapper<std::reference_wrapper<T>> = true;

/// A range that is no more than two pointers, or a pointer and a size: it has no elements of its own.
/// (boost::string_view, and boost::iterator_range, are no views of the standard's.)
template <class T>
inline constexpr bool is_two_pointers = std::is_trivially_copyable_v<T> && sizeof(T) <= 2 * sizeof(void*) &&
                                        alignof(T) >= alignof(void*) && std::ranges::range<T const> && !requires {
  std::tuple_size<T>::value;
};

/// A look at bytes or elements that somebody else owns: gone with the resource. (<span> declares `enable_view`. What is
/// aligned less than a pointer has none in it: a text in an array of its own.)
template <class T>
inline constexpr bool is_view = false;
template <class T>
requires std::is_class_v<T> && is_complete<T>
inline constexpr bool is_view<T> =
    !optional_like<T> &&  // which is a view by its name, from C++26 on, and owns what is in it
    (std::ranges::enable_view<T> || is_two_pointers<T> || is_initializer_list<T> || is_reference_wrapper<T> ||
     (std::is_convertible_v<T, std::string_view> && std::is_trivially_copyable_v<T> && alignof(T) >= alignof(void*)));
template <class T>
inline constexpr bool is_view<std::optional<T&>> = true;
template <class T>
inline constexpr bool is_view<T&> = true;
template <class T>
inline constexpr bool is_view<T&&> = true;
template <class T>
inline constexpr bool is_view<T*> = true;

/// A view, or anything that has one in it: deserialized, it would look at bytes that are gone.
template <class T>
inline constexpr bool looks_elsewhere =
    []<class... Part>(types<Part...>) { return (is_view<Part> || ...); }(parts_of<T>{});

template <class T>
concept uses_a_memory_resource = json_native<T> || requires(T const& v) {
  v.get_allocator().resource();
};
/// Whether the memory of a T may belong to somebody else: a `json::value` or a std::pmr container, or what has one.
template <class T>
inline constexpr bool may_be_in_anothers_memory =
    []<class... Part>(types<Part...>) { return (uses_a_memory_resource<Part> || ...); }(parts_of<T>{});

/// A variant, or what has one in it.
template <class T>
inline constexpr bool has_variant =
    []<class... Part>(types<Part...>) { return (is_variant<Part> || ...); }(parts_of<T>{});

template <class T>
concept unordered = requires(T const& v) {
  v.hash_function();
};
/// An unordered container, or what has one in it.
template <class T>
inline constexpr bool has_unordered =
    []<class... Part>(types<Part...>) { return (unordered<Part> || ...); }(parts_of<T>{});

template <class T>
concept has_equality = requires(T const& v) {
  { v == v } -> std::convertible_to<bool>;
};
/// Pointers are compared as such, not by what they point to. Of an array the elements are parts too.
template <class T>
inline constexpr bool is_compared_by_value = std::is_array_v<T> || (!pointer_like<T> && has_equality<T>);
/// Asked of all parts, for the `==` of a container is declared whatever its elements are.
template <class T>
inline constexpr bool is_comparable = !std::is_array_v<T> && []<class... Part>(types<Part...>) {
  return (is_compared_by_value<Part> && ...);
}(parts_of<T>{});

}  // namespace stash::inline v1::detail
