#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <stash/key.hpp>
#include <stash/place/left_behind.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace stash::inline v1 {

namespace detail {

// The parts of the policies, each for itself: of a part that is missing, detail/storage/policy_checks.hpp says so in
// words.
template <class L>
concept has_held = requires(L const& lock) {
  { lock.held() } -> std::convertible_to<bool>;
};
template <class S>
concept has_lock_type = requires {
  typename S::lock_type;
};
template <class S>
concept has_put = requires(S& s, key const& k, record const& r) {
  { s.put(k, r) } -> std::same_as<void>;
};
template <class S>
concept has_get = requires(S const& cs, key const& k) {
  { cs.get(k) } -> std::same_as<std::optional<record>>;
};
template <class S>
concept has_erase = requires(S& s, key const& k) {
  { s.erase(k) } -> std::same_as<bool>;
};
template <class S>
concept has_entries = requires(S const& cs) {
  { cs.entries() } -> std::same_as<std::vector<entry>>;
};
template <class S>
concept has_set_aside = requires(S& s, key const& k, std::string_view reason) {
  { s.set_aside(k, reason) } -> std::same_as<std::string>;
};
template <class S>
concept has_set_aside_entries = requires(S const& cs) {
  { cs.set_aside_entries() } -> std::same_as<std::vector<entry>>;
};
template <class S>
concept has_purge = requires(S& s, std::chrono::microseconds older_than) {
  { s.purge(older_than) } -> std::same_as<std::size_t>;
};
template <class S>
concept has_try_lock = requires(S& s, key const& k) {
  { s.try_lock(k) } -> std::same_as<std::optional<typename S::lock_type>>;
};
template <class R>
concept has_live = requires(R const& cr) {
  { cr.live() } -> std::same_as<std::optional<typename R::value_type>>;
};
template <class R>
concept has_park = requires(R& r, typename R::value_type const& v) {
  { r.park(v) } -> std::same_as<void>;
};
template <class R>
concept has_put_back = requires(R& r, typename R::value_type const& v) {
  { r.put_back(v) } -> std::same_as<void>;
};
template <class R>
concept has_settle = requires(R& r, typename R::value_type const& v) {
  { r.settle(v) } -> std::same_as<void>;
};
template <class R>
concept settles_with_note = requires(R& r, typename R::value_type const& v,
                                     std::function<void(typename R::value_type const&)> const& keep) {
  { r.settle(v, keep) } -> std::same_as<std::vector<left_behind>>;
};
template <class R>
concept has_any_settle = has_settle<R> || settles_with_note<R>;
template <class R>
concept has_discard = requires(R& r) {
  { r.discard() } -> std::same_as<void>;
};
/// Where it has the member at all.
template <class R>
concept parked_as_live = !requires(R const& cr) {
  cr.parked();
}
|| requires(R const& cr) {
  { cr.parked() } -> std::same_as<std::optional<typename R::value_type>>;
};
template <class Z>
concept has_value_type = requires {
  typename Z::value_type;
};
template <class Z, class T>
concept has_serialize = requires(Z const& z, T const& v) {
  { z.serialize(v) } -> std::same_as<std::string>;
};
template <class Z, class T>
concept has_deserialize = requires(Z const& z, std::string_view bytes) {
  { z.template deserialize<T>(bytes) } -> std::same_as<T>;
};

}  // namespace detail

/// The lock of one key. Movable; its destructor does not throw and releases.
template <class L>
concept lock_policy = std::movable<L> && std::is_nothrow_destructible_v<L> && detail::has_held<L>;

/// Where the bytes go. Every member may be called from many threads at once, and `put`, `erase` and
/// `set_aside` are called with the key's lock held (`basic_stash`, the guard and `recover` see to it).
/// Below, `s` is an `S`, `cs` an `S const`; `record` and `entry` are in record.hpp. Errors are thrown, best as
/// `stash::error{code, operation, key, detail}` (error.hpp). A moved storage keeps its records and its locks.
///
/// | expression               | effect and result                                                                   |
/// | ------------------------ | ----------------------------------------------------------------------------------- |
/// | `S::lock_type`           | see `lock_policy`; `held()`: is the lock certainly still ours? Not in a lock that   |
/// |                          | was moved from, nor in a forked child                                               |
/// | `s.put(k, r)`            | on return `r` survives what the storage promises to survive; on a throw what stood  |
/// |                          | there stands unchanged, except `errc::indeterminate`: old or new; may throw         |
/// |                          | `errc::invalid_key` for a key that is too long for it, but not for 200 small        |
/// |                          | letters                                                                             |
/// | `cs.get(k)`              | the record; nullopt: absent; throws `errc::corrupt`, `errc::mismatch` (newer        |
/// |                          | version), `errc::too_large`, or the I/O error as it is; creates nothing             |
/// | `s.erase(k)`             | was there one? Idempotent; as durable as `put`, also where there was none           |
/// | `cs.entries()`           | all that stands under keys, intact or corrupt, in the order of the keys' bytes;     |
/// |                          | creates nothing                                                                     |
/// | `s.set_aside(k, reason)` | moves what stands there out of the way, never onto anything; where it went; as      |
/// |                          | durable as `put` before it returns; nothing there: throws ENOENT. Any reason will   |
/// |                          | do, and two records of a key may be set aside for the same one                      |
/// | `cs.set_aside_entries()` | all that was set aside, in any order; `where` is what `set_aside` returned; creates |
/// |                          | nothing                                                                             |
/// | `s.purge(older_than)`    | destroys what was set aside at least so long ago (zero or less: all; any number of  |
/// |                          | microseconds will do, their greatest too); how many                                 |
/// | `s.try_lock(k)`          | the key's lock, exclusive among threads and processes that share the storage;       |
/// |                          | nullopt: another holds it; throws when it cannot tell. What the last holder did is  |
/// |                          | seen by the next, as with a mutex                                                   |
///
/// A storage may also have these; the library uses them where they are:
///
/// | expression            | effect and result                                                                      |
/// | --------------------- | -------------------------------------------------------------------------------------- |
/// | `cs.exists()`         | false: its directory (table, file) was not made yet, so there is nothing to erase      |
/// | `cs.temporaries()`    | `std::vector<key>`: those with leftovers of interrupted saves and removals             |
/// | `s.sweep(k)`          | removes such leftovers of `k`; called with its lock held                               |
/// | `cs.check(k, r)`      | throws where `put` would refuse `r` without trying (too large)                         |
/// | `cs.where(k)`         | where a person finds the record, as text: a path, a row                                |
/// | `s.put_all(all)`      | `put` for each of a `std::span<std::pair<key, record> const>`, whose keys differ, with |
/// |                       | the locks of all held; on a throw each key has its old record or its new one, whole    |
/// | `s.erase_all(all)`    | `erase` for each of a `std::span<key const>`, likewise                                 |
/// | `s.sweep_all(all)`    | `sweep` for each of a `std::span<key const>`, with the locks of all held               |
/// | `s.try_lock_all(all,  | `try_lock` for each of a `std::span<key const>`, in this order, until another holds    |
/// | locks)`               | one; appends the locks to a `std::vector<lock_type>`, also where it throws then. A     |
/// |                       | static `lock_type::release_all(locks)` may release such a vector faster than one by one|
///
/// What this says of a storage of your own, `stash/testing/storage_conformance.hpp` checks.
template <class S>
concept storage_policy = std::movable<S> && detail::has_lock_type<S> && lock_policy<typename S::lock_type> &&
    detail::has_put<S> && detail::has_get<S> && detail::has_erase<S> && detail::has_entries<S> &&
    detail::has_set_aside<S> && detail::has_set_aside_entries<S> && detail::has_purge<S> && detail::has_try_lock<S>;

/// Where a resource stands that a `replace_guard` parks: a path, a table's name in a schema. Used by one thread at a
/// time, with the key's lock held; another object of the same place may go on where this one ended. To park is to move
/// what stands at the place out of the way, whole and in one step, under a name that follows from the place alone. That
/// something is parked means: what stands at the place is half-built. It outlives its process. Below, `r` is an `R`,
/// `cs` an `R const`.
///
/// | expression      | effect and result                                                                            |
/// | --------------- | -------------------------------------------------------------------------------------------- |
/// | `R::value_type` | what is kept of it in words: a note for `recover_places` and for people, and what `put_back` |
/// |                 | may fall back to                                                                             |
/// | `cr.live()`     | std::optional<value_type>: of what stands at the place, whole; nullopt: nothing does, or     |
/// |                 | something is parked. Changes nothing                                                         |
/// | `r.park(v)`     | durable, in one step: the place is free then. Something is parked already: what stands at    |
/// |                 | the place goes. Nothing there: does nothing. On a throw the old one stands, or is parked     |
/// | `r.put_back(v)` | durable, idempotent. Something is parked: what stands at the place goes, and the parked one  |
/// |                 | stands there. Nothing is: leaves what is whole. Throws where nothing is left to put back     |
/// | `r.settle(v)`   | durable, in one step: what was built is the resource, and nothing is parked. Throws with     |
/// |                 | nothing changed where it cannot carry over what belongs to the place                         |
/// | `r.discard()`   | removes what any of these steps, of an earlier run too, left to be removed; idempotent       |
///
/// A place may also have these; the library uses them where they are:
///
/// | expression          | effect and result                                                                        |
/// | ------------------- | ---------------------------------------------------------------------------------------- |
/// | `cr.parked()`       | std::optional<value_type>: of what is parked; for where the record of it was lost        |
/// | `cr.where()`        | std::string: where a person finds what is parked                                         |
/// | `r.settle(v, keep)` | in place of `settle(v)`: `std::vector<left_behind>`, what could not be carried over. It  |
/// |                     | calls `keep(value_type const&)`, which makes a note of that durable, before it lets go   |
///
/// What this says of a place of your own, `stash/testing/place_conformance.hpp` checks.
template <class R>
concept place_policy = std::move_constructible<R> && detail::has_value_type<R> && detail::has_live<R> &&
    detail::has_park<R> && detail::has_put_back<R> && detail::has_any_settle<R> && detail::has_discard<R>;

/// Values of type `T` to bytes and back. Used through `const`, from many threads at once.
///
/// | expression                | effect and result                                                              |
/// | ------------------------- | ------------------------------------------------------------------------------ |
/// | `Z::value_type`           | the `T` that is meant where none is named                                      |
/// | `z.serialize(v)`          | bytes from which `deserialize` makes the same value; throws                    |
/// |                           | `errc::unserializable` where there are none                                    |
/// | `z.deserialize<T>(bytes)` | the value; throws `errc::mismatch`: these bytes are not a `T`                  |
template <class Z, class T>
concept serializer_policy = detail::has_value_type<Z> && detail::has_serialize<Z, T> && detail::has_deserialize<Z, T>;

/// Tells the time, UTC. `now()` is a `std::chrono::sys_time` of any resolution; called from many threads at
/// once. It may jump: the library destroys nothing because of its age, and no age is ever negative.
template <class C>
concept clock_policy = requires(C const& c) {
  { std::chrono::floor<std::chrono::microseconds>(c.now()) } -> std::same_as<time_point>;
};

}  // namespace stash::inline v1
