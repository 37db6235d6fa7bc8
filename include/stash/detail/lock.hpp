#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <stash/detail/error_context.hpp>
#include <stash/detail/no_cancel.hpp>
#include <stash/detail/observer.hpp>
#include <stash/detail/sleep.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// How long `save`, `clear` and `recover` wait for another short operation.
inline constexpr std::chrono::milliseconds short_wait{1000};

template <class Storage>
error busy(Storage const& storage, char const* operation, key const& k, std::string why) {
  return error{errc::busy, operation, std::string(k.str()),
               detail::with_place(std::move(why), detail::place_of(storage, k))};
}

/// Calls `try_it` until it returns true: again, in growing pauses, for as long as `wait`. Then returns how long it has
/// waited, in vain; nullopt: it has not.
template <class Try>
std::optional<std::chrono::milliseconds> wait_for(std::chrono::milliseconds wait, Try try_it) {
  using namespace std::chrono_literals;
  auto const start = std::chrono::steady_clock::now();
  for (std::chrono::milliseconds pause = 1ms;; pause = std::min<std::chrono::milliseconds>(2 * pause, 50ms)) {
    if (try_it()) return std::nullopt;
    auto const waited = detail::since(start);
    if (waited >= wait) return waited;
    detail::sleep_for(std::min(pause, wait - waited));
  }
}

template <class Storage>
[[noreturn]] void held_by_another(Storage const& storage, char const* operation, key const& k,
                                  std::chrono::milliseconds waited) {
  throw detail::busy(
      storage, operation, k,
      "its lock is held by another guard, thread or process; waited " + std::to_string(waited.count()) + " ms");
}

/// The lock of `k`. Waits for it as long as `wait`; then throws `errc::busy`.
template <class Storage>
typename Storage::lock_type acquire(Storage& storage, key const& k, std::chrono::milliseconds wait,
                                    char const* operation) {
  std::optional<typename Storage::lock_type> lock;
  auto const in_vain = detail::wait_for(wait, [&] {
    if (auto taken = storage.try_lock(k)) lock.emplace(std::move(*taken));
    return lock.has_value();
  });
  if (in_vain) detail::held_by_another(storage, operation, k, *in_vain);
  return std::move(*lock);
}

/// The order of the keys' bytes: where each stands in `keys`. Throws EINVAL for a key that is there twice.
inline std::vector<std::size_t> order_of(std::vector<key> const& keys, char const* operation) {
  std::vector<std::size_t> order(keys.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  auto const key_of = [&](std::size_t i) -> key const& { return keys[i]; };
  std::ranges::sort(order, {}, key_of);
  if (auto const twice = std::ranges::adjacent_find(order, {}, key_of); twice != order.end()) {
    throw error{{EINVAL, boost::system::system_category()},
                operation,
                std::string(keys[*twice].str()),
                "the key is given twice"};
  }
  return order;
}

/// Locks of many keys, in the order in which they were taken. The destructor releases them.
template <class Storage>
class lock_set {
 public:
  using lock_type = typename Storage::lock_type;

  lock_set() = default;
  lock_set(lock_set const&) = delete;
  lock_set& operator=(lock_set const&) = delete;
  ~lock_set() { release(); }

  std::size_t size() const noexcept { return locks_.size(); }
  lock_type& operator[](std::size_t i) { return locks_[i]; }
  void pop_back() noexcept { locks_.pop_back(); }
  void release() noexcept {
    no_cancel const whole;
    if constexpr (requires { lock_type::release_all(locks_); }) lock_type::release_all(locks_);
    locks_.clear();
  }

  /// Takes the locks of `keys` in their order, until another has one.
  void try_take(Storage& storage, std::span<key const> keys) {
    if constexpr (requires { storage.try_lock_all(keys, locks_); }) {
      storage.try_lock_all(keys, locks_);
    } else {
      for (auto const& k : keys) {
        auto lock = storage.try_lock(k);
        if (!lock) return;
        locks_.push_back(std::move(*lock));
      }
    }
  }

  /// Takes those of `keys`, which are in the order of their bytes, so that no two that lock many wait for each other.
  /// For all together it waits as long as `wait`; then throws `errc::busy`, and has those before the one that is busy.
  void take(Storage& storage, std::vector<key> const& keys, std::chrono::milliseconds wait, char const* operation) {
    auto const in_vain = detail::wait_for(wait, [&] {
      if (size() < keys.size()) try_take(storage, std::span(keys).subspan(size()));
      return size() == keys.size();
    });
    if (in_vain) detail::held_by_another(storage, operation, keys[size()], *in_vain);
  }

 private:
  std::vector<lock_type> locks_;
};

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
  /// Whether the lock that was borrowed was lost and taken again: that one.
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

  /// `r` was put, with the lock held.
  void know(record r) noexcept { known_ = std::move(r); }
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
