#pragma once

#include <stash/concepts.hpp>
#include <stash/detail/guard/call.hpp>
#include <stash/detail/guard/liveness.hpp>
#include <stash/detail/guard/recovery.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/key.hpp>
#include <stash/recover_options.hpp>
#include <type_traits>

namespace stash::inline v1 {

/// Restores every orphan: each record whose key no guard holds and whose resource `is_live` says is gone.
/// For the start of a service, or after a crash; safe while jobs run, and run twice at once.
///
/// For each record, under its key's lock: `bool is_live(key const&)`, then `void restore(key const&, T const&)`, then
/// the record is removed. `is_live` may also be the `live` of a guard that returns an optional: then `T` is what is in
/// it, else it is the serializer's `value_type`, unless you write `recover<T>`. Both may come without the key. An
/// `is_live` that returns bool answers for all then. A guard's `live`, and a `restore`, without the key are for a stash
/// that has the records of their resource alone: whose record it is they are not told. `restore` owes what a guard's
/// restore owes: idempotent, durable when it returns, failure by throwing. What goes wrong with one key, in `is_live`
/// too, is in the report and stops no other. Then temporary files that interrupted saves left are removed, each under
/// its key's lock.
///
/// A busy key is tried again when all others are done: for a second, for all of them together. Records are removed
/// up to 256 at a time, with one sync where the storage can, at the latest half a second after the first was restored
/// and the next `restore` has returned, and before a busy key is waited for; a key's lock is held until then. Where the
/// process dies in between, its record is restored again by the next.
///
/// Throws only what listing the records throws, and EINVAL where such a `live` or `restore` without the key meets the
/// records of several resources; nothing was restored then.
///
///     auto report = stash::recover(store, [&](auto const& k) { return catalog.has(k); },
///                                  [&](auto const& k, auto const& saved) { catalog.ensure(k, saved); });
template <class T = detail::serializers_own, class Stash, class IsLive, class Restore>
recovery_report recover(Stash& stash, IsLive is_live, Restore restore,
                        // A copy, for the observer that is called may assign to the caller's.
                        recover_options options = {}) {  // NOLINT(performance-unnecessary-value-param)
  using own = typename Stash::serializer_type::value_type;
  using value = typename detail::recovered<T, own, IsLive>::type;
  static_assert(detail::tells_liveness<IsLive>,
                "stash: is_live must be callable as bool(key const&), as bool(), or be a guard's live that returns an "
                "optional of a T that is no bool");
  static_assert(!std::is_const_v<Stash>, "stash: recover writes to its stash, which must not be const");
  static_assert(serializer_policy<typename Stash::serializer_type, value>,
                "stash: the stash's serializer cannot turn this type into bytes and back");
  static_assert(detail::callable<Restore&, detail::key_if_possible, value const&>,
                "stash: restore must be callable as void(key const&, T const&) or void(T const&), where T is what live "
                "returns an optional of, or the serializer's value_type, unless you write recover<T>");
  static_assert(detail::returns_nothing<Restore&, detail::key_if_possible, value const&>,
                "stash: restore must return void: it reports failure by throwing");
  detail::no_cancel const whole;
  return detail::recovery<value, Stash, IsLive, Restore>{stash, is_live, restore, options}.run();
}

}  // namespace stash::inline v1
