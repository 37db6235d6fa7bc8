#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <stash/basic_stash.hpp>
#include <stash/detail/lock.hpp>
#include <stash/detail/observer.hpp>
#include <stash/event.hpp>
#include <stash/key.hpp>
#include <type_traits>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// For `recover`.
struct recover_options {
  bool clear_after_restore = true;               ///< false: a restored record stays
  std::function<void(event const&)> observer{};  ///< called in `recover`'s thread; what it throws is dropped
};

/// What became of each record.
struct recovery_report {
  std::size_t restored = 0;  ///< restore returned
  std::size_t live = 0;      ///< left: the resource is live
  std::size_t busy = 0;      ///< left: a guard holds it, here or in another process
  std::size_t corrupt = 0;   ///< left where it is, for a person to look at
  /// Left, with what went wrong; also one that was restored but could not be removed afterwards, and one whose
  /// temporary files could not be removed, which may have no record, or stand here twice.
  std::vector<std::pair<key, std::exception_ptr>> failed{};
};

namespace detail {

struct serializers_own {};

/// A storage that an interrupted save leaves something in.
template <class S>
concept sweepable = requires(S& s, key const& k) {
  s.temporaries();
  s.sweep(k);
};

template <class T, class Stash, class IsLive, class Restore>
class recovery {
 public:
  recovery(Stash& stash, IsLive& is_live, Restore& restore, recover_options const& options)
      : stash_(stash), is_live_(is_live), restore_(restore), options_(options) {}

  recovery_report run() {
    auto records = stash_.entries();
    std::vector<key> interrupted;
    if constexpr (sweepable<typename Stash::storage_type>) interrupted = stash_.storage().temporaries();
    report_.failed.reserve(records.size() + interrupted.size());
    // All is listed and there is memory to tell of each: from here on nothing is thrown.
    for (auto& e : records) attempt(e.key, [&] { recover_one(e.key); });
    if constexpr (sweepable<typename Stash::storage_type>) {
      for (auto& k : interrupted) attempt(k, [&] { sweep(k); });
    }
    return std::move(report_);
  }

 private:
  /// What goes wrong with one key stops no other.
  template <class F>
  void attempt(key& k, F f) noexcept {
    try {
      f();
    } catch (...) {
      report_.failed.emplace_back(std::move(k), std::current_exception());
    }
  }

  void recover_one(key const& k) {
    locked_record<typename Stash::storage_type> held{stash_.storage(), k};
    try {
      held.lock(short_wait, "recover");
    } catch (boost::system::system_error const& problem) {
      if (problem.code() != errc::busy) throw;
      ++report_.busy;
      return;
    }
    std::optional<record> found;
    try {
      found = held.look();  // what the listing said may be out of date
    } catch (boost::system::system_error const& problem) {
      if (problem.code() != errc::corrupt) throw;
      ++report_.corrupt;
      tell(options_.observer, event_kind::corrupt, k, {.where = place(k), .error = std::current_exception()});
      return;
    }
    if (found) restore(k, *found, held);
  }

  void restore(key const& k, record const& r, locked_record<typename Stash::storage_type>& held) {
    auto const now = std::chrono::floor<std::chrono::microseconds>(stash_.clock().now());
    auto const age = age_between(r.saved_at, now);
    try {
      if (is_live_(k)) {
        ++report_.live;
        return;
      }
      T const value = value_of<T>(stash_, k, r, "recover");
      held.ensure_held("recover");
      restore_(k, value);
    } catch (...) {
      tell(options_.observer, event_kind::restore_failed, k,
           {.age = age, .where = place(k), .error = std::current_exception()});
      throw;
    }
    ++report_.restored;
    tell(options_.observer, event_kind::restored, k, {.age = age});
    if (!options_.clear_after_restore) return;
    try {
      held.erase("recover");
    } catch (...) {
      tell(options_.observer, event_kind::clear_failed, k, {.where = place(k), .error = std::current_exception()});
      throw;
    }
  }

  void sweep(key const& k) {
    if (auto const lock = stash_.storage().try_lock(k)) stash_.storage().sweep(k);
  }

  std::string place(key const& k) const noexcept { return place_of(stash_.storage(), k); }

  Stash& stash_;
  IsLive& is_live_;
  Restore& restore_;
  recover_options const& options_;
  recovery_report report_;
};

}  // namespace detail

/// Restores every orphan: each record whose key no guard holds and whose resource `is_live` says is gone.
/// For the start of a service, or after a crash; safe while jobs run, and run twice at once.
///
/// For each record, under its key's lock (waiting up to a second for a short operation): `bool is_live(key
/// const&)`, then `void restore(key const&, T const&)`, then the record is removed. `restore` owes what a
/// guard's restore owes: idempotent, durable when it returns, failure by throwing. What goes wrong with one
/// key, in `is_live` too, is in the report and stops no other. Then temporary files that interrupted saves
/// left are removed, each under its key's lock.
///
/// Throws only what listing the records throws; nothing was restored then.
///
///     auto report = stash::recover(store, [&](auto const& k) { return catalog.has(k); },
///                                  [&](auto const& k, auto const& saved) { catalog.ensure(k, saved); });
template <class T = detail::serializers_own, class Stash, class IsLive, class Restore>
recovery_report recover(Stash& stash, IsLive is_live, Restore restore,
                        // A copy, for the observer that is called may assign to the caller's.
                        recover_options options = {}) {  // NOLINT(performance-unnecessary-value-param)
  using own = typename Stash::serializer_type::value_type;
  using value = std::conditional_t<std::same_as<T, detail::serializers_own>, own, T>;
  static_assert(std::is_invocable_r_v<bool, IsLive&, key const&>,
                "stash: is_live must be callable as bool(key const&)");
  static_assert(!std::is_const_v<Stash>, "stash: recover writes to its stash, which must not be const");
  static_assert(serializer_policy<typename Stash::serializer_type, value>,
                "stash: the stash's serializer cannot turn this type into bytes and back");
  static_assert(std::invocable<Restore&, key const&, value const&>,
                "stash: restore must be callable as void(key const&, T const&), where T is the serializer's value_type "
                "unless you write recover<T>");
  static_assert(detail::returns_nothing<Restore&, key const&, value const&>,
                "stash: restore must return void: it reports failure by throwing");
  return detail::recovery<value, Stash, IsLive, Restore>{stash, is_live, restore, options}.run();
}

}  // namespace stash::inline v1
