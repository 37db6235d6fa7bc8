#pragma once

#include <cerrno>
#include <chrono>
#include <concepts>
#include <exception>
#include <optional>
#include <stash/basic_stash.hpp>
#include <stash/detail/live_value.hpp>
#include <stash/detail/lock.hpp>
#include <stash/detail/observer.hpp>
#include <stash/detail/process.hpp>
#include <stash/event.hpp>
#include <stash/guard_options.hpp>
#include <stash/key.hpp>
#include <string>
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
/// inherited guard does nothing, and `commit` and `rollback` throw `errc::busy`.
///
///     stash::delete_guard guard{store, "orders", [&] { return catalog.dictionary("orders"); },
///                               [&](auto const& saved) { catalog.ensure("orders", saved); }};
///     catalog.drop("orders");
///     load("orders.csv", guard.value());
///     guard.commit();
///
/// `live` must not report a half-built resource. `restore` may be called though nothing was destroyed yet,
/// and again after half a restore: it leaves a whole resource whole, is durable when it returns, and
/// reports failure by throwing.
template <class Stash, class T, class Restore>
class [[nodiscard]] delete_guard {
  static_assert(!std::is_const_v<Stash>, "stash: a guard writes to its stash, which must not be const");
  static_assert(!std::is_void_v<T>, "stash: live must return the value to save, or a std::optional of it, not void");
  static_assert(!std::is_pointer_v<T> && !std::is_null_pointer_v<T>,
                "stash: live must return the value itself, not a pointer: what it points to goes with the resource");
  static_assert(
      !detail::is_view<T>,
      "stash: live must return a value that owns its bytes, not a view: what it looks at goes with the resource");
  static_assert(!detail::is_optional<T>, "stash: live must return T or std::optional<T>, not a nested optional");
  static_assert(serializer_policy<typename Stash::serializer_type, T>,
                "stash: the stash's serializer cannot turn what live returns into bytes and back");
  static_assert(std::invocable<Restore&, T const&>,
                "stash: restore must be callable with what live returns, as T const&");
  static_assert(!std::invocable<Restore&, T const&> || std::is_void_v<std::invoke_result_t<Restore&, T const&>>,
                "stash: restore must return void: it reports failure by throwing");

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
  /// Throws what `live` throws; `errc::busy`; for a record that cannot be read, is no T or is too large, what
  /// reading it throws; what saving or setting aside throws. Then nothing was restored, no record was
  /// destroyed, and the delete must not start. `guard_options::best_effort` forgives some of it.
  template <std::invocable Live>
  [[nodiscard]] delete_guard(Stash& stash, key k, Live&& live, Restore restore, guard_options options = {})
      : stash_(stash),
        key_(std::move(k)),
        restore_(std::move(restore)),
        options_(std::move(options)),
        record_(stash.storage(), key_) {
    std::exception_ptr const no_lock = lock();
    std::optional<T> value = std::forward<Live>(live)();
    if (value) {
      save(std::move(*value), no_lock);
    } else if (no_lock) {
      std::rethrow_exception(no_lock);  // without a live value nothing can be known without a lock
    } else {
      adopt();
    }
  }

  delete_guard(delete_guard const&) = delete;
  delete_guard& operator=(delete_guard const&) = delete;

  /// Rolls back, unless committed, rolled back or released. A restore that throws is told to the observer
  /// (`restore_failed`), the record stays, and the program goes on.
  ~delete_guard() {
    if (done_ || !owner_.is_current()) return;
    try {
      roll_back();
    } catch (...) {  // told; an exception from here would end the program
    }
  }

  /// What a rollback would restore; null: nothing. Valid until destruction, after `commit()` too.
  T const* value() const noexcept { return value_ ? &*value_ : nullptr; }
  stash::origin origin() const noexcept { return origin_; }
  /// Of an adopted record, when it was adopted; else nullopt.
  std::optional<std::chrono::microseconds> age() const noexcept { return age_; }

  /// Destroys the record: what was built stands. From here on nothing will be restored, even if this throws.
  /// After a commit, rollback or release it does nothing.
  ///
  /// Throws what the storage's `erase` throws, and `errc::busy` where the lock was lost, for another may have adopted
  /// the record and need it still: then the record may stand, and a later guard finds it.
  void commit() { end(nullptr); }

  /// Restores now. After a commit, rollback or release it does nothing.
  ///
  /// Throws what `restore` throws, and `errc::busy` where the lock was lost to another (then restore was not
  /// called). The record stays then, and the destructor does not try again.
  void rollback() {
    refuse_in_child("rollback");
    if (!done_) roll_back();
  }

  /// Leaves the record for a later run: nothing is restored. Where the save had failed there is none, and the
  /// observer is told so again.
  void release() noexcept {
    if (done_ || !owner_.is_current()) return;
    done_ = true;
    if (save_error_) {
      tell(event_kind::save_failed, {.error = save_error_});
    } else {
      tell(event_kind::released);
    }
  }

 private:
  friend detail::guard_access;

  /// The error that forbids a lock at all, where `best_effort` forgives it.
  std::exception_ptr lock() {
    try {
      record_.lock(options_.wait_for_lock, "delete_guard");
    } catch (boost::system::system_error const& problem) {
      if (!options_.best_effort || !no_lock_can_be_made(problem.code())) throw;
      return std::current_exception();
    }
    return nullptr;
  }

  static bool no_lock_can_be_made(boost::system::error_code const& code) {
    namespace os = boost::system::errc;
    if (code == errc::unsafe_directory) return true;
    for (auto const one : {os::read_only_file_system, os::permission_denied, os::operation_not_permitted,
                           os::no_space_on_device, os::not_a_directory}) {
      if (code == one) return true;
    }
    return code == boost::system::error_code(EDQUOT, boost::system::system_category());
  }

  void save(T&& value, std::exception_ptr const& no_lock) {
    value_.emplace(std::move(value));
    origin_ = stash::origin::live;
    try {
      if (no_lock) std::rethrow_exception(no_lock);
      record r{detail::bytes_of(stash_, key_, *value_), {}};
      check_size(r);
      auto const old = look();
      if (old && old->payload != r.payload) supersede(*old);
      clearable_ = true;  // from here on, what stands there is ours or nothing
      r.saved_at = now();
      record_.put(std::move(r), "delete_guard");
    } catch (...) {
      save_error_ = std::current_exception();
      tell(event_kind::save_failed, {.where = place(), .error = save_error_});
      if (!options_.best_effort || is_busy(save_error_)) throw;
      return;
    }
    tell(event_kind::saved, {.where = place()});
  }

  void adopt() {
    auto const old = look();
    record_.require_held("delete_guard");  // else "not live" may be stale, and another's whole resource stands
    clearable_ = true;
    if (!old) return;
    value_.emplace(deserialize(*old));
    age_ = detail::age_between(old->saved_at, now());
    try {
      record_.put(*old, "delete_guard");  // its writer may have died before it was durable
    } catch (...) {
      tell(event_kind::save_failed, {.where = place(), .error = std::current_exception()});
      throw;
    }
    origin_ = stash::origin::adopted;
    tell(event_kind::adopted, {.age = age_, .where = place()});
  }

  T deserialize(record const& r) const { return detail::value_of<T>(stash_, key_, r, "delete_guard"); }
  /// Throws what the storage would refuse to put anyway, before another record is moved out of its way.
  void check_size(record const& r) const {
    if constexpr (requires { stash_.storage().check(key_, r); }) stash_.storage().check(key_, r);
  }
  /// Throws `errc::mismatch` where the record is no `T`: it is not ours to move.
  void check_type(record const& r) const { static_cast<void>(deserialize(r)); }

  /// The record; a corrupt one is set aside and counts as none.
  std::optional<record> look() {
    std::exception_ptr damage;
    try {
      return record_.look();
    } catch (boost::system::system_error const& problem) {
      if (problem.code() != errc::corrupt) throw;
      damage = std::current_exception();
    }
    std::string const where = record_.set_aside("corrupt", "delete_guard");
    tell(event_kind::corrupt, {.where = where, .error = damage});
    return std::nullopt;
  }

  void supersede(record const& old) {
    check_type(old);
    auto const age = detail::age_between(old.saved_at, now());
    std::string const where = record_.set_aside("superseded", "delete_guard");
    tell(event_kind::superseded, {.age = age, .where = where});
  }

  void roll_back() {
    done_ = true;
    if (!value_) return;
    try {
      if (record_.was_locked()) record_.ensure_held("rollback");
      restore_(std::as_const(*value_));
    } catch (...) {
      auto const problem = std::current_exception();
      tell(event_kind::restore_failed, {.where = is_busy(problem) ? rescue() : place(), .error = problem});
      throw;
    }
    tell(event_kind::restored, {.age = age_});
    if (!options_.clear_after_restore || !clearable_) return;
    try {
      record_.erase("rollback");
    } catch (...) {
      tell(event_kind::clear_failed, {.where = place(), .error = std::current_exception()});
    }
  }

  /// Commits; with a reason the record is set aside instead of destroyed.
  void end(char const* reason) {
    refuse_in_child("commit");
    if (done_) return;
    done_ = true;
    std::string where;
    try {
      if (clearable_) {
        if (reason != nullptr) where = record_.set_aside(reason, "commit");
        record_.erase("commit");  // where there is none too: an earlier removal may not be durable yet
      }
    } catch (...) {
      tell(event_kind::clear_failed, {.where = place(), .error = std::current_exception()});
      throw;
    }
    tell(event_kind::committed, {.where = where});
  }

  /// The lock was lost to another and nothing may be restored. Where the record is gone too, the value in memory
  /// may be the last: it is written and set aside, for a person to look at. Returns where the record is.
  std::string rescue() noexcept {
    try {
      std::string where = record_.keep_aside({stash_.serializer().serialize(*value_), now()}, "unrestored");
      if (!where.empty()) return where;
    } catch (...) {  // the first error is the one that is told
    }
    return place();
  }

  void refuse_in_child(char const* operation) const {
    if (!owner_.is_current()) throw detail::busy(operation, key_, "the guard belongs to the parent process");
  }

  static bool is_busy(std::exception_ptr const& problem) {
    try {
      std::rethrow_exception(problem);
    } catch (boost::system::system_error const& e) {
      return e.code() == errc::busy;
    } catch (...) {
      return false;
    }
  }

  time_point now() const { return std::chrono::floor<std::chrono::microseconds>(stash_.clock().now()); }
  std::string place() const noexcept { return detail::place_of(stash_.storage(), key_); }
  void tell(event_kind kind, detail::event_details details = {}) noexcept {
    detail::tell(options_.observer, kind, key_, std::move(details));
  }

  Stash& stash_;
  key key_;
  Restore restore_;
  guard_options options_;
  detail::locked_record<typename Stash::storage_type> record_;
  std::optional<T> value_;
  stash::origin origin_ = stash::origin::none;
  std::optional<std::chrono::microseconds> age_;
  std::exception_ptr save_error_;
  bool clearable_ = false;  // what stands under the key may be destroyed by this guard, which has had its lock
  bool done_ = false;
  detail::owned_by_process owner_;
};

template <class Stash, std::invocable Live, class Restore>
delete_guard(Stash&, key, Live&&, Restore, guard_options = {})
    -> delete_guard<Stash, detail::live_value_t<Live>, Restore>;

namespace detail {

/// For `ckan::reload`, which may have to keep what it could not place.
struct guard_access {
  /// Throws what kept a `best_effort` guard from saving.
  template <class Guard>
  static void require_saved(Guard const& guard) {
    if (guard.save_error_) std::rethrow_exception(guard.save_error_);
  }
  template <class Guard>
  static void commit_and_set_aside(Guard& guard, char const* reason) {
    guard.end(reason);
  }
};

}  // namespace detail

}  // namespace stash::inline v1
