#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <stash/detail/operation.hpp>
#include <stash/detail/storage/traits.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/detail/system/sleep.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// How long `save`, `clear` and `recover` wait for another short operation.
inline constexpr std::chrono::milliseconds short_wait{1000};

template <class Storage>
error busy(Storage const& storage, char const* operation, key const& k, std::string why) {
  return error{errc::busy, operation, k.string(),
               detail::with_place(std::move(why), storage_traits<Storage>::where(storage, k))};
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

/// The order of the keys' bytes: where each stands in `keys`. Throws EINVAL for a key that is there twice. (A template,
/// as most here, so that only who calls it pays for compiling it.)
template <class Key>
std::vector<std::size_t> order_of(std::vector<Key> const& keys, char const* operation) {
  std::vector<std::size_t> order(keys.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; });
  auto const twice =
      std::adjacent_find(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return keys[a] == keys[b]; });
  if (twice != order.end()) {
    throw error{{EINVAL, boost::system::system_category()}, operation, keys[*twice].string(), "the key is given twice"};
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
    storage_traits<Storage>::release_all(locks_);
  }

  /// Takes the locks of `keys` in their order, until another has one.
  void try_take(Storage& storage, std::span<key const> keys) {
    storage_traits<Storage>::try_lock_all(storage, keys, locks_);
  }

  /// Takes those of `keys`, which are in the order of their bytes, so that no two that lock many wait for each other.
  /// For all together it waits as long as `wait`; then throws `errc::busy`, and has those before the one that is busy.
  void take(Storage& storage, std::vector<key> const& keys, std::chrono::milliseconds wait, char const* operation) {
    auto const in_vain = detail::wait_for(wait, [&] {
      if (size() < keys.size()) try_take(storage, {keys.data() + size(), keys.size() - size()});
      return size() == keys.size();
    });
    if (in_vain) detail::held_by_another(storage, operation, keys[size()], *in_vain);
  }

 private:
  std::vector<lock_type> locks_;
};

}  // namespace stash::inline v1::detail
