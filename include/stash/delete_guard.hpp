#pragma once

#include <chrono>
#include <concepts>
#include <exception>
#include <optional>
#include <stash/detail/guard/call.hpp>
#include <stash/detail/guard/guard_end.hpp>
#include <stash/detail/guard/guarded_key.hpp>
#include <stash/detail/guard/live_value.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/guard_options.hpp>
#include <stash/key.hpp>
#include <type_traits>
#include <utility>

namespace stash::inline v1 {

namespace detail {
struct guard_access;
}

/// A scope guard around a destructive step, whose undo outlives the process.
///
/// The constructor saves the live value, or adopts the record that an earlier run left, and returns only
/// when that record would survive what the storage promises: then destroy and rebuild. `commit()` when what
/// was built is as durable as the record. Every other way out of the scope calls `restore` with the value;
/// and where the process dies, the next guard of the key or `recover` has it.
///
/// It holds the key's lock for its whole life: a second guard of the key, in any thread or process, gets
/// `errc::busy`. One thread at a time may use a guard. The stash must outlive it. In a forked child an
/// inherited guard does nothing, and `commit` and `rollback` throw `errc::busy`. A thread that is cancelled
/// (pthread_cancel) unwinds, and so restores; in a call of the guard, `live` and `restore` too, it waits for its end.
///
///     stash::delete_guard guard{store, "orders", [&] { return catalog.dictionary("orders"); },
///                               [&](auto const& saved) { catalog.ensure("orders", saved); }};
///     catalog.drop("orders");
///     load("orders.csv", guard.value());
///     guard.commit();
///
/// `live` and `restore` may take the key as their first argument, as those of `delete_guards` and `recover`. What can
/// be called without it gets none.
///
/// `live` must not report a half-built resource. `restore` may be called though nothing was destroyed yet,
/// and again after half a restore: it leaves a whole resource whole, is durable when it returns, and
/// reports failure by throwing.
template <class Stash, class T, class Restore>
class [[nodiscard("a guard without a name ends, and restores, at once")]] delete_guard
    : detail::callback_checks<T, Restore, detail::key_if_needed> {
 public:
  /// Locks `k`, calls `live` once, then saves, adopts, or finds that there is nothing to restore:
  ///
  /// | live value | record         | result                                                            |
  /// | ---------- | -------------- | ----------------------------------------------------------------- |
  /// | yes        | none, the same | saved; origin `live`                                              |
  /// | yes        | another value  | the old one is set aside (`superseded`), then as above            |
  /// | no         | intact         | adopted, and put again as durable as a save; origin `adopted`     |
  /// | any        | corrupt        | set aside (`corrupt`), then as if there were none                 |
  /// | no         | none           | origin `none`                                                     |
  ///
  /// The same: the same bytes, or of a T with an unordered container an equal value. The value is what comes back from
  /// the bytes that are saved, in memory of its own.
  ///
  /// Throws what `live` throws; `errc::busy`; for a record that cannot be read, is no T or is too large, what
  /// reading it throws; what saving or setting aside throws. Then nothing was restored, no record was
  /// destroyed, and the delete must not start. `guard_options::best_effort` forgives some of it.
  template <detail::callable<detail::key_if_needed> Live>
  [[nodiscard]] delete_guard(Stash & stash, key k, Live && live, Restore restore, guard_options options = {})
      : restore_(std::move(restore)),
        options_(std::move(options)),
        key_(stash, std::move(k), options_, "delete_guard") {
    detail::no_cancel const whole;
    key_.lock(options_.wait_for_lock);
    key_.inspect(detail::live_value<T>(detail::call<detail::key_if_needed>(std::forward<Live>(live), key_.key())));
    key_.make_way();
    key_.put();
  }

  delete_guard(delete_guard const&) = delete;
  delete_guard& operator=(delete_guard const&) = delete;

  /// Rolls back, unless committed, rolled back or released. A restore that throws is told to the observer
  /// (`restore_failed`), the record stays, and the program goes on.
  ~delete_guard() {
    end_.reach_quietly([&] { roll_back(); });
  }

  /// What a rollback would restore; null: nothing. Valid until destruction, after `commit()` too.
  T const* value() const noexcept { return key_.value(); }
  /// A copy of it; where there is nothing, `fallback`. Throws what copying a `T` throws.
  T value_or(T fallback) const {
    if (auto const* const found = value()) return *found;
    return fallback;
  }
  /// Where `value()` came from; as it was when the guard was made.
  stash::origin origin() const noexcept { return key_.origin(); }
  /// How old an adopted record was when it was adopted; else nullopt.
  std::optional<std::chrono::microseconds> age() const noexcept { return key_.age(); }

  /// Destroys the record: what was built stands. From here on nothing will be restored, even if this throws.
  /// After a commit, rollback or release it does nothing. Where the guard had found nothing to save, or could not, it
  /// first looks for a record that was brought back by hand since, and sets it aside (`superseded`, of whatever type).
  ///
  /// Throws what the storage's `erase` throws, or `get` and `set_aside` where it looks first, and `errc::busy` where
  /// the lock was lost, for another may have adopted the record and need it still: then the record may stand, and a
  /// later guard finds it.
  void commit() { end(nullptr); }

  /// Restores now. After a commit, rollback or release it does nothing.
  ///
  /// Throws what `restore` throws, and `errc::busy` where the lock was lost to another (then restore was not
  /// called). The record stays then, and the destructor does not try again.
  void rollback() {
    end_.reach("rollback", key_.key(), [&] { roll_back(); });
  }

  /// Leaves the record for a later run: nothing is restored. Where the save had failed there is none, and the
  /// observer is told so again.
  void release() noexcept {
    end_.reach_quietly([&] { key_.release(); });
  }

 private:
  friend detail::guard_access;

  void roll_back() {
    key_.roll_back([&](T const& saved) { detail::call<detail::key_if_needed>(restore_, key_.key(), saved); });
  }

  /// Commits; with a reason the record is set aside instead of destroyed.
  void end(char const* reason, std::exception_ptr const& left = {}) {
    end_.reach("commit", key_.key(), [&] { key_.commit(reason, left); });
  }

  Restore restore_;
  guard_options options_;
  detail::guarded_key<Stash, T> key_;
  detail::guard_end end_;
};

/// `T` is what `live` returns, or what the optional holds that it returns (std::optional, boost::optional, any with a
/// `has_value()`).
template <class Stash, detail::callable<detail::key_if_needed> Live, class Restore>
delete_guard(Stash&, key, Live&&, Restore, guard_options = {})
    -> delete_guard<Stash, detail::live_value_t<detail::key_if_needed, Live>, Restore>;
/// For a `live` that cannot be called: the class says so in words.
template <class Stash, class Live, class Restore>
requires(!detail::callable<Live, detail::key_if_needed>) delete_guard(Stash&, key, Live&&, Restore, guard_options = {})
->delete_guard<Stash, detail::live_is_not_callable, Restore>;

namespace detail {

/// For `ckan::reload`, which may have to keep what it could not place, and what was typed since.
struct guard_access {
  /// Saves `value` in place of what was saved.
  template <class Guard, class T>
  static void save_again(Guard& guard, T const& value) {
    guard.key_.put_again(value, false);
  }
  /// Throws what kept a `best_effort` guard from saving.
  template <class Guard>
  static void require_saved(Guard const& guard) {
    if (guard.key_.save_error()) std::rethrow_exception(guard.key_.save_error());
  }
  /// As `save_again`, but sets aside what was saved.
  template <class Guard, class T>
  static void supersede(Guard& guard, T const& value) {
    guard.key_.put_again(value, true);
  }
  template <class Guard>
  static bool has_not_saved(Guard const& guard) noexcept {
    return guard.key_.save_error() != nullptr;
  }
  /// Rolls back, and removes the record then whatever the options say: the resource was never touched.
  template <class Guard>
  static void withdraw(Guard& guard) noexcept {
    try {
      guard.options_.clear_after_restore = true;
      guard.rollback();
    } catch (...) {  // told, and the record stays
    }
  }
  template <class Guard>
  static void commit_and_set_aside(Guard& guard, char const* reason, std::exception_ptr const& left = {}) {
    guard.end(reason, left);
  }
};

}  // namespace detail

}  // namespace stash::inline v1
