#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <stash/detail/fork.hpp>
#include <stash/key.hpp>
#include <unordered_map>
#include <utility>

namespace stash::inline v1 {

/// Locks of keys among the threads of this process, for a storage that has no others. Thread safe. A forked child
/// starts without any.
///
///     using locks = stash::key_locks<>;
///     std::shared_ptr<locks> locks_ = std::make_shared<locks>();  // stays where it is when the storage is moved
///     std::optional<locks::lock> try_lock(stash::key const& k) { return locks::try_take(locks_, k); }
template <class Mutex = std::mutex>  // a template so that only who uses it pays for compiling it
class key_locks {
 public:
  /// Movable; the destructor releases it, but not in a forked child. May outlive the storage.
  class lock {
   public:
    /// The other holds nothing then.
    lock(lock&&) noexcept = default;
    /// Swaps the two: what this one held is released with the other.
    lock& operator=(lock&& other) noexcept {
      std::swap(rows_, other.rows_);
      std::swap(key_, other.key_);
      std::swap(owner_, other.owner_);
      return *this;
    }
    ~lock() {
      if (!rows_ || !owner_.is_current()) return;
      std::lock_guard const only{rows_->mutex_};
      rows_->rows_.erase(key_);
    }
    /// Whether it was taken in this process.
    bool held() const noexcept { return rows_ != nullptr && owner_.is_current(); }

   private:
    friend key_locks;
    explicit lock(key k) : key_(std::move(k)) {}
    std::shared_ptr<key_locks> rows_;
    key key_;
    detail::owned_by_process owner_;
  };

  /// The lock of `k`; nullopt: another has it. Throws where memory runs out.
  static std::optional<lock> try_take(std::shared_ptr<key_locks> const& locks, key const& k) {
    lock taken{k};
    std::lock_guard const only{locks->mutex_};
    auto const [row, is_new] = locks->rows_.try_emplace(k);
    if (!is_new && row->second.is_current()) return std::nullopt;
    row->second = taken.owner_;  // a row that came through a fork is nobody's here
    taken.rows_ = locks;
    return taken;
  }

 private:
  Mutex mutex_;
  std::unordered_map<key, detail::owned_by_process> rows_;
};

}  // namespace stash::inline v1
