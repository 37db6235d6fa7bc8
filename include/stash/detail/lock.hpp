#pragma once

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <stash/detail/error_context.hpp>
#include <stash/detail/observer.hpp>
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
  return error{errc::busy, operation, std::string(k.str()), with_place(std::move(why), place_of(storage, k))};
}

// Not from <thread>, which costs twice as much to include as this header.
inline void sleep_for(std::chrono::milliseconds pause) {
  auto const seconds = std::chrono::floor<std::chrono::seconds>(pause);
  timespec rest{static_cast<time_t>(seconds.count()), static_cast<long>((pause - seconds).count()) * 1'000'000};
  while (::nanosleep(&rest, &rest) != 0) {  // a signal came; it goes on with the rest
  }
}

/// The lock of `k`. Asks again, in growing pauses, for as long as `wait`; then throws `errc::busy`.
template <class Storage>
typename Storage::lock_type acquire(Storage& storage, key const& k, std::chrono::milliseconds wait,
                                    char const* operation) {
  using namespace std::chrono_literals;
  auto const start = std::chrono::steady_clock::now();
  for (std::chrono::milliseconds pause = 1ms;; pause = std::min<std::chrono::milliseconds>(2 * pause, 50ms)) {
    if (auto lock = storage.try_lock(k)) return std::move(*lock);
    // In milliseconds: a wait of milliseconds::max() has no number of nanoseconds.
    auto const waited = std::chrono::floor<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
    if (waited >= wait) {
      throw busy(
          storage, operation, k,
          "its lock is held by another guard, thread or process; waited " + std::to_string(waited.count()) + " ms");
    }
    sleep_for(std::min(pause, wait - waited));
  }
}

/// Calls `lock(i, wait)` for each of the keys, with what is left of the time to wait: in the order of their bytes, so
/// that no two that lock many wait for each other. Throws EINVAL for a key that is there twice, before any is locked.
template <class Lock>
void lock_all(std::vector<key> const& keys, std::chrono::milliseconds wait, char const* operation, Lock lock) {
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
  auto const start = std::chrono::steady_clock::now();
  for (auto const i : order) {
    auto const waited = std::chrono::floor<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
    lock(i, std::max(wait - waited, std::chrono::milliseconds(0)));
  }
}

/// A key's lock together with what its holder knows to stand under the key, so that a lock that was lost on the
/// way (the file deleted, the session ended) can be told from one under which somebody else went on.
template <class Storage>
class locked_record {
 public:
  locked_record(Storage& storage, key k) : storage_(storage), key_(std::move(k)) {}

  void lock(std::chrono::milliseconds wait, char const* operation) {
    lock_.emplace(acquire(storage_, key_, wait, operation));
    locked_ = true;
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
    if (!is_held()) throw busy(storage_, operation, key_, "its lock was lost");
  }

  /// For a record that vanished while the lock was lost: writes it again, and sets it aside at once, so that no
  /// later run adopts what another may have ended on purpose. Returns where it went; empty: a record stands.
  std::string keep_aside(record const& r, char const* reason) {
    if (!is_held()) lock_ = storage_.try_lock(key_);
    if (!lock_ || storage_.get(key_)) return {};
    storage_.put(key_, r);
    return storage_.set_aside(key_, reason);
  }

  /// For a restore, which leaves a whole resource whole. Returns if the lock is ours, or was lost, could be taken
  /// again, and the record is byte for byte what it was. Else throws `errc::busy`, or what kept it from telling;
  /// nothing was changed.
  void ensure_held(char const* operation) {
    if (is_held()) return;
    lock_.reset();
    auto again = storage_.try_lock(key_);
    if (!again) throw busy(storage_, operation, key_, "its lock was lost and is held by another now");
    if (!stands_unchanged()) throw busy(storage_, operation, key_, "its lock was lost and another changed the record");
    lock_.emplace(std::move(*again));
  }

 private:
  bool is_held() const { return lock_ && lock_->held(); }

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
  std::optional<typename Storage::lock_type> lock_;
  std::optional<record> known_;
  bool locked_ = false;
};

}  // namespace stash::inline v1::detail
