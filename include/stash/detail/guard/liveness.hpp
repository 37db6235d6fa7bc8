#pragma once

#include <concepts>
#include <stash/detail/guard/call.hpp>
#include <stash/detail/values/parts.hpp>
#include <type_traits>

namespace stash::inline v1::detail {

template <callable<key_if_possible> IsLive>
using liveness_of = std::remove_cvref_t<call_result_t<key_if_possible, IsLive&>>;

// What may tell whether a resource is live is the `live` of a guard, which returns an optional (of a bool nobody could
// tell whether it says no or has a value), or says yes or no. Without the key it says that with a bool and nothing
// else: a number may be the value of a guard's `live`.
template <class IsLive>
concept is_guards_live =
    optional_like<liveness_of<IsLive>> && !std::same_as<std::remove_cv_t<held_by<liveness_of<IsLive>>>, bool>;
template <class IsLive>
concept says_yes_or_no =
    !optional_like<liveness_of<IsLive>> &&
    (takes_key<IsLive&> ? std::is_convertible_v<liveness_of<IsLive>, bool> : std::same_as<liveness_of<IsLive>, bool>);
template <class IsLive>
concept tells_liveness = callable<IsLive&, key_if_possible> &&(is_guards_live<IsLive> || says_yes_or_no<IsLive>);

struct serializers_own {};

/// The T of `recover` where none is written: what the `live` of a guard has in its optional, or the serializer's.
template <class T, class Own, class IsLive>
struct recovered {
  using type = T;
};
template <class Own, class IsLive>
struct recovered<serializers_own, Own, IsLive> {
  using type = Own;
};
template <class Own, is_guards_live IsLive>
struct recovered<serializers_own, Own, IsLive> {
  using type = std::remove_cv_t<held_by<liveness_of<IsLive>>>;
};

}  // namespace stash::inline v1::detail
