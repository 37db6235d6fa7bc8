#pragma once

#include <chrono>
#include <optional>
#include <stash/detail/storage/locking.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <utility>

namespace stash::inline v1::detail {

/// A key's lock together with what its holder knows to stand under the key, so that a lock that was lost on the
/// way (the file deleted, the session ended) can be told from one under which somebody else went on.
template <class Storage>
class locked_record {
  using lock_type = typename Storage::lock_type;

 public:
  locked_record(Storage& storage, key k) : storage_(storage), key_(std::move(k)) {}
  locked_record(locked_record const&) = delete;
  locked_record& operator=(locked_record const&) = delete;
  ~locked_record() {
    no_cancel const whole;
    own_.reset();
  }

  void lock(std::chrono::milliseconds wait, char const* operation) {
    own_.emplace(detail::acquire(storage_, key_, wait, operation));
    borrow(*own_);
  }
  /// Goes on with a lock that was taken already, and that must outlive this.
  void borrow(lock_type& lock) noexcept {
    lock_ = &lock;
    locked_ = true;
  }
  /// Hands over its own lock and has none then. nullopt: it had none, but a borrowed one or no lock at all.
  std::optional<lock_type> take_own() noexcept {
    lock_ = nullptr;
    return std::exchange(own_, std::nullopt);
  }
  bool was_locked() const noexcept { return locked_; }

  /// Reads the record, and remembers it as what stands there. Throws as `Storage::get`.
  std::optional<record> const& look() {
    known_ = storage_.get(key_);
    return known_;
  }

  /// `r` was put, with the lock held, or may have been.
  void know(record r) noexcept { known_ = std::move(r); }
  std::optional<record> const& known() const noexcept { return known_; }
  bool erase(char const* operation) {
    require_held(operation);
    bool const was_there = storage_.erase(key_);
    known_.reset();
    return was_there;
  }
  std::string set_aside(char const* reason, char const* operation) {
    require_held(operation);
    std::string where = storage_.set_aside(key_, reason);
    known_.reset();
    return where;
  }

  /// Throws `errc::busy` unless the lock was never lost since it was last taken. For what follows from a look at the
  /// resource, and for what destroys a record: under a lock that was lost, another may have adopted the record, which
  /// leaves no trace in it, and dropped the resource again since.
  void require_held(char const* operation) const {
    if (!is_held()) throw detail::busy(storage_, operation, key_, "its lock was lost");
  }

  /// For a record that vanished while the lock was lost: writes it again, and sets it aside at once, so that no
  /// later run adopts what another may have ended on purpose. Returns where it went; empty: a record stands.
  std::string keep_aside(record const& r, char const* reason) {
    if (!is_held() && !lock_again()) return {};
    if (storage_.get(key_)) return {};
    storage_.put(key_, r);
    return storage_.set_aside(key_, reason);
  }

  /// For a restore, which leaves a whole resource whole. Returns if the lock is ours, or was lost, could be taken
  /// again, and the record is byte for byte what it was. Else throws `errc::busy`, or what kept it from telling;
  /// nothing was changed.
  void ensure_held(char const* operation) {
    if (is_held()) return;
    if (!lock_again()) throw detail::busy(storage_, operation, key_, "its lock was lost and is held by another now");
    try {
      if (!stands_unchanged())
        throw detail::busy(storage_, operation, key_, "its lock was lost and another changed the record");
    } catch (...) {
      take_own();
      throw;
    }
  }

 private:
  bool is_held() const { return lock_ != nullptr && lock_->held(); }

  bool lock_again() {
    if (lock_ != nullptr) lock_type const released{std::move(*lock_)};
    take_own();
    if (auto again = storage_.try_lock(key_)) lock_ = &own_.emplace(std::move(*again));
    return lock_ != nullptr;
  }

  bool stands_unchanged() const {
    try {
      return storage_.get(key_) == known_;
    } catch (boost::system::system_error const& problem) {
      if (problem.code() == errc::corrupt) return false;
      throw;
    }
  }

  Storage& storage_;
  key key_;
  std::optional<lock_type> own_;
  lock_type* lock_ = nullptr;  // our own, or borrowed
  std::optional<record> known_;
  bool locked_ = false;
};

}  // namespace stash::inline v1::detail
