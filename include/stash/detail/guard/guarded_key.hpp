#pragma once

#include <chrono>
#include <exception>
#include <optional>
#include <stash/basic_stash.hpp>
#include <stash/detail/fork.hpp>
#include <stash/detail/guard/forgiven.hpp>
#include <stash/detail/guard/live_value.hpp>
#include <stash/detail/guard/locked_record.hpp>
#include <stash/detail/guard/observer.hpp>
#include <stash/detail/storage/traits.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/detail/values/parts.hpp>
#include <stash/error.hpp>
#include <stash/event.hpp>
#include <stash/guard_options.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// What a guard does for one of its keys. `lock`, `inspect`, `make_way` and `put` in this order are its constructor
/// (see the table of `delete_guard`); what one of them throws, its constructor throws.
template <class Stash, class T>
class guarded_key : guarded_checks<Stash, T> {
 public:
  /// `guard` is the operation that errors name. The options must outlive it.
  guarded_key(Stash& stash, stash::key k, guard_options const& options, char const* guard)
      : stash_(stash), key_(std::move(k)), options_(options), guard_(guard), record_(stash.storage(), key_) {}

  stash::key const& key() const noexcept { return key_; }
  T const* value() const noexcept { return value_ ? &*value_ : nullptr; }
  stash::origin origin() const noexcept { return origin_; }
  std::optional<std::chrono::microseconds> age() const noexcept { return age_; }
  std::exception_ptr const& save_error() const noexcept { return save_error_; }

  void lock(std::chrono::milliseconds wait) {
    try {
      record_.lock(wait, guard_);
    } catch (boost::system::system_error const&) {
      lock_failed(std::current_exception());
    }
  }

  // `lock` in parts, for a guard that locks all its keys at once.

  /// It must outlive this.
  void borrow(typename Stash::storage_type::lock_type& lock) noexcept { record_.borrow(lock); }
  /// Lets go of a lock of its own, taken where the borrowed one was lost: a descriptor for each key is too much.
  void drop_own_lock() noexcept { static_cast<void>(record_.take_own()); }
  /// Throws `problem`, unless `best_effort` forgives that no lock can be made at all: then the next step tells it.
  void lock_failed(std::exception_ptr const& problem) {
    if (!options_.best_effort || !detail::no_lock_can_be_made(problem)) std::rethrow_exception(problem);
    no_lock_ = problem;
  }

  /// Finds out what is to be put, and what stands in its way. Changes nothing.
  void inspect(std::optional<T> live) {
    if (!live) {
      if (no_lock_) std::rethrow_exception(no_lock_);  // without a live value nothing can be known without a lock
      return inspect_orphan();
    }
    origin_ = stash::origin::live;
    clearable_ = false;  // until what stands there is out of the way
    saving([&] {
      record r{detail::bytes_of(stash_, key_, *live), {}};
      value_.emplace(deserialize(r));  // what a later run would restore, and in memory of its own
      pending_ = std::move(r);
    });
    if (!value_) value_.emplace(detail::kept_unsaved(std::move(*live), save_error_));
    saving([&] {
      if (no_lock_) std::rethrow_exception(no_lock_);
      traits::check(stash_.storage(), key_, *pending_);  // before another record is moved out of its way
      auto old = look();
      if (old && is_another(*old)) old_ = std::move(old);
    });
  }

  /// Sets aside what stands in the way of the record to put.
  void make_way() {
    if (origin_ != stash::origin::live) return set_damaged_aside();
    saving([&] {
      set_damaged_aside();
      if (old_) supersede(*old_, guard_);
      clearable_ = true;  // from here on, what stands there is ours or nothing
    });
  }

  /// Puts the record, if there is one to put.
  void put() {
    std::optional<record> r;
    try {
      r = to_put();
      if (r) stash_.storage().put(key_, *r);
    } catch (...) {
      put_failed(std::current_exception(), std::exchange(r, std::nullopt));
    }
    if (r) was_put(std::move(*r));
    require_lock();
  }

  // `put` in parts, for a guard that puts the records of all its keys at once.

  /// nullopt: there is none. Throws `errc::busy` where the lock was lost.
  std::optional<record> to_put() {
    if (!pending_) return std::nullopt;
    record_.require_held(guard_);
    if (origin_ == stash::origin::live) pending_->saved_at = now();
    return std::exchange(pending_, std::nullopt);
  }
  /// Throws `problem`, unless `best_effort` forgives it. `r` may stand there all the same.
  void put_failed(std::exception_ptr const& problem, std::optional<record> r = {}) {
    pending_.reset();
    save_error_ = problem;
    if (r) record_.know(std::move(*r));
    bool const is_forgiven = origin_ == stash::origin::live && options_.best_effort && !detail::is_busy(problem);
    if (is_forgiven || options_.observer) tell(event_kind::save_failed, {.where = place(), .error = problem});
    if (!is_forgiven) std::rethrow_exception(problem);
  }
  /// Puts another value in place of the one that was put or found, which it may set aside. Throws what these throw.
  void put_again(T const& value, bool sets_aside) {
    record_.require_held(guard_);
    spare_stranger(guard_);
    record r{detail::bytes_of(stash_, key_, value), now()};
    T again = deserialize(r);
    if (sets_aside && value_) {
      tell(event_kind::superseded, {.age = age_, .where = record_.set_aside("superseded", guard_)});
    }
    stash_.storage().put(key_, r);
    record_.know(std::move(r));
    value_.emplace(std::move(again));
    clearable_ = true;
    tell(event_kind::saved, {.where = place()});
  }
  void was_put(record r) {
    record_.know(std::move(r));
    if (origin_ == stash::origin::live) return tell(event_kind::saved, {.where = place()});
    origin_ = stash::origin::adopted;
    tell(event_kind::adopted, {.age = age_, .where = place()});
  }

  /// Throws `errc::busy` where the lock was lost: no delete must start without it. A put may take its time, and a
  /// storage that lost its session meanwhile puts in another. What `best_effort` forgives is that none could be made.
  void require_lock() const {
    if (record_.was_locked()) record_.require_held(guard_);
  }

  /// Restores, unless there is no value. Throws as a guard's `rollback`: then the record stays.
  template <class Restore>
  void roll_back(Restore&& restore) {
    if (!value_) return;
    try {
      if (record_.was_locked()) record_.ensure_held("rollback");
      restore(std::as_const(*value_));
    } catch (...) {
      auto const problem = std::current_exception();
      tell(event_kind::restore_failed, {.where = detail::is_busy(problem) ? rescue() : place(), .error = problem});
      throw;
    }
    tell(event_kind::restored, {.age = age_});
    if (!options_.clear_after_restore || !clearable_) return;
    try {
      spare_stranger("rollback");
      record_.erase("rollback");
    } catch (...) {
      clear_failed(std::current_exception());
    }
  }

  /// Removes the record, or, with a reason, sets it aside.
  void commit(char const* reason, std::exception_ptr const& left = {}) {
    std::string where;
    try {
      if (may_erase()) {
        if (reason != nullptr) where = record_.set_aside(reason, "commit");
        record_.erase("commit");  // where there is none too: an earlier removal may not be durable yet
      }
    } catch (...) {
      clear_failed(std::current_exception());
      throw;
    }
    tell(event_kind::committed, {.where = where, .error = left});
  }

  // `commit` in parts.

  /// Whether there is anything that a commit may remove. Throws `errc::busy` where the lock was lost.
  bool may_erase() {
    if (clearable_) record_.require_held("commit");
    if (clearable_) spare_stranger("commit");
    return clearable_;
  }
  void clear_failed(std::exception_ptr const& problem) noexcept {
    tell(event_kind::clear_failed, {.where = place(), .error = problem});
  }
  void committed(std::string const& where = {}) noexcept { tell(event_kind::committed, {.where = where}); }

  /// Where the save had failed there is no record to leave.
  void release() noexcept {
    save_error_ ? tell(event_kind::save_failed, {.error = save_error_}) : tell(event_kind::released);
  }

 private:
  using traits = storage_traits<typename Stash::storage_type>;

  void inspect_orphan() {
    pending_ = look();
    record_.require_held(guard_);  // else "not live" may be stale, and another's whole resource stands
    clearable_ = true;
    if (!pending_) return;
    value_.emplace(deserialize(*pending_));
    age_ = detail::age_between(pending_->saved_at, now());
  }

  /// Whether it is of another value. Throws `errc::mismatch` where it is no T: it is not ours to move.
  bool is_another(record const& old) const {
    return old.payload != pending_->payload &&
           !detail::is_same_value(deserialize(old), *value_, old.payload, pending_->payload);
  }

  /// The record; of a corrupt one there is none, and it is in the way.
  std::optional<record> look() {
    try {
      return record_.look();
    } catch (boost::system::system_error const& problem) {
      if (problem.code() != errc::corrupt) throw;
      damage_ = std::current_exception();
    }
    return std::nullopt;
  }

  void set_damaged_aside() {
    if (!damage_) return;
    tell(event_kind::corrupt,
         {.where = record_.set_aside("corrupt", guard_), .error = std::exchange(damage_, nullptr)});
  }

  /// Where the guard found nothing, or could not save, what stands there at its end may have been brought back by hand.
  /// Where it has saved it does not look: each commit would take a read longer.
  void spare_stranger(char const* operation) {
    if (value_ && !save_error_) return;
    auto const ours = clearable_ ? record_.known() : std::nullopt;  // else it is what stood in the way, and still does
    auto const found = look();
    if (found && found != ours) supersede(*found, operation);
    set_damaged_aside();
  }
  void supersede(record const& old, char const* operation) {
    auto const age = detail::age_between(old.saved_at, now());
    tell(event_kind::superseded, {.age = age, .where = record_.set_aside("superseded", operation)});
  }

  /// A step of a save, unless one has failed before.
  template <class F>
  void saving(F f) {
    if (save_error_) return;
    try {
      f();
    } catch (...) {
      put_failed(std::current_exception());
    }
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

  T deserialize(record const& r) const { return detail::value_of<T>(stash_, key_, r, guard_); }
  time_point now() const { return std::chrono::floor<std::chrono::microseconds>(stash_.clock().now()); }
  std::string place() const noexcept { return traits::where(stash_.storage(), key_); }
  void tell(event_kind kind, event_details const& details = {}) noexcept {
    detail::tell(options_.observer, kind, key_, details);
  }

  Stash& stash_;
  stash::key key_;
  guard_options const& options_;
  char const* guard_;
  locked_record<typename Stash::storage_type> record_;
  std::optional<T> value_;
  stash::origin origin_ = stash::origin::none;
  std::optional<std::chrono::microseconds> age_;
  std::optional<record> pending_, old_;  // to be put; of another value, to be set aside
  std::exception_ptr no_lock_, damage_, save_error_;
  bool clearable_ = false;  // what stands under the key may be destroyed by this guard, which has had its lock
};

}  // namespace stash::inline v1::detail
