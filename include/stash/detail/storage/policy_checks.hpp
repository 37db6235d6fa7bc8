#pragma once

#include <concepts>
#include <stash/concepts.hpp>
#include <type_traits>

namespace stash::inline v1::detail {

// Each rule of a policy that is broken is an error in words, where a concept would only say that it does not hold.

template <class L>
consteval bool check_lock() {
  static_assert(std::movable<L>, "stash: a lock must be movable (see lock_policy in stash/concepts.hpp)");
  static_assert(std::is_nothrow_destructible_v<L>, "stash: a lock's destructor releases, and must not throw");
  static_assert(has_held<L>, "stash: a lock needs bool held() const: is it certainly still ours?");
  return true;
}

template <class S>
consteval bool check_storage() {
  static_assert(std::movable<S>, "stash: a storage must be movable (see storage_policy in stash/concepts.hpp)");
  static_assert(has_lock_type<S>, "stash: a storage needs a lock_type (see lock_policy in stash/concepts.hpp)");
  static_assert(has_put<S>, "stash: a storage needs void put(key const&, record const&)");
  static_assert(has_get<S>, "stash: a storage needs std::optional<record> get(key const&) const");
  static_assert(has_erase<S>, "stash: a storage needs bool erase(key const&): was there one?");
  static_assert(has_entries<S>, "stash: a storage needs std::vector<entry> entries() const");
  static_assert(has_set_aside<S>, "stash: a storage needs std::string set_aside(key const&, std::string_view reason)");
  static_assert(has_set_aside_entries<S>, "stash: a storage needs std::vector<entry> set_aside_entries() const");
  static_assert(has_purge<S>, "stash: a storage needs std::size_t purge(std::chrono::microseconds older_than)");
  if constexpr (has_lock_type<S>) {
    static_assert(has_try_lock<S>, "stash: a storage needs std::optional<lock_type> try_lock(key const&)");
    return check_lock<typename S::lock_type>();
  }
  return true;
}

template <class Z>
consteval bool check_serializer() {
  static_assert(
      has_value_type<Z>,
      "stash: a serializer needs a value_type, the T that is meant where none is named (see serializer_policy "
      "in stash/concepts.hpp)");
  if constexpr (has_value_type<Z>) {
    using value = typename Z::value_type;
    static_assert(has_serialize<Z, value>, "stash: a serializer needs std::string serialize(T const&) const");
    static_assert(has_deserialize<Z, value>,
                  "stash: a serializer needs T deserialize<T>(std::string_view) const, a template of the T to return");
  }
  return true;
}

template <class C>
consteval bool check_clock() {
  constexpr bool has_now = requires(C const& c) { c.now(); };
  static_assert(has_now, "stash: a clock needs now() const, or static (see clock_policy in stash/concepts.hpp)");
  static_assert(clock_policy<C> || !has_now,
                "stash: a clock's now() must return a std::chrono::sys_time (UTC), as system_clock's does");
  return true;
}

}  // namespace stash::inline v1::detail
