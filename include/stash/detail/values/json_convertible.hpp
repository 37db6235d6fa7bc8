#pragma once

#include <boost/json/conversion.hpp>
#include <boost/json/string_view.hpp>
#include <boost/json/value.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>
#include <concepts>
#include <optional>
#include <stash/detail/values/parts.hpp>
#include <string_view>
#include <type_traits>
#include <variant>

namespace stash::inline v1::detail {

template <class T>
inline constexpr bool json_converts_both_ways =
    std::conjunction_v<boost::json::has_value_from<T>, boost::json::has_value_to<T>>;

/// Whether T is an optional or a variant with a P in it. Boost has a `tag_invoke` for these. The user may have one for
/// T, too, which cannot be told from Boost's; then P itself need not be known.
template <class T, class P>
inline constexpr bool may_hold = false;
template <class T>
inline constexpr bool may_hold<std::optional<T>, T> = true;
template <class P, class... T>
inline constexpr bool may_hold<std::variant<T...>, P> = (std::same_as<T, P> || ...);

template <class T>
inline constexpr bool is_optional_or_variant = false;
template <class T>
inline constexpr bool is_optional_or_variant<std::optional<T>> = true;
template <class... T>
inline constexpr bool is_optional_or_variant<std::variant<T...>> = true;
/// With a `tag_invoke` of the user's own.
template <class T>
concept converts_itself = !is_optional_or_variant<T> && requires(boost::json::value & to, T const& from) {
  tag_invoke(boost::json::value_from_tag(), to, from);
};
template <class T>
concept text_like =
    std::convertible_to<T const&, boost::json::string_view> || std::convertible_to<T const&, std::string_view>;
template <class B, class T>
concept is_base_of_another = is_complete<T> && !std::same_as<B, T> && std::is_base_of_v<B, T>;

/// What Boost.JSON does not look into, either.
struct whole_for_json {
  template <class T>
  static constexpr bool has = without_parts::has<T> || converts_itself<T> || text_like<T>;
};
/// Of a container Boost.JSON says that it can be converted, whatever is in it. Of a base only the members matter.
template <class T>
inline constexpr bool json_knows_all_parts = []<class... Part>(types<Part...>) {
  auto const is_known = []<class P>(types<P>) {
    if constexpr (!is_complete<P> || text_like<P> || ((is_base_of_another<P, Part> || may_hold<Part, P>) || ...)) {
      return true;
    } else {
      return json_converts_both_ways<P>;
    }
  };
  return (is_known(types<Part>{}) && ...);
}(parts_of<T, whole_for_json>{});

/// What `json_serializer` takes: all of it owns its bytes, and Boost.JSON knows all of it.
template <class T>
concept json_convertible = json_native<T> ||
    (!looks_elsewhere<T> && json_converts_both_ways<T> && json_knows_all_parts<T>);

}  // namespace stash::inline v1::detail
