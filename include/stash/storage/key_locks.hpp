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
  using table = std::unordered_map<key, detail::owned_by_process>;

 public:
  /// Movable; the destructor releases it, but not in a forked child. May outlive the storage.
  class lock {
   public:
    /// The other holds nothing then.
    lock(lock&&) noexcept = default;
    /// Swaps the two: what this one held is released with the other.
    lock& operator=(lock&& other) noexcept {
      std::swap(locks_, other.locks_);
      std::swap(row_, other.row_);
      std::swap(owner_, other.owner_);
      return *this;
    }
    ~lock() {
      if (!held()) return;
      std::lock_guard const only{locks_->mutex_};
      locks_->rows_.erase(locks_->rows_.find(row_->first));
    }
    /// Whether it was taken in this process.
    bool held() const noexcept { return locks_ != nullptr && owner_.is_current(); }

   private:
    friend key_locks;
    lock() = default;
    std::shared_ptr<key_locks> locks_;
    typename table::const_pointer row_ = nullptr;  // others may come and go, and it stays where it is
    detail::owned_by_process owner_;
  };

  /// The lock of `k`; nullopt: another has it. Throws where memory runs out.
  static std::optional<lock> try_take(std::shared_ptr<key_locks> const& locks, key const& k) {
    std::optional<lock> taken{lock{}};
    std::lock_guard const only{locks->mutex_};
    auto const [row, is_new] = locks->rows_.try_emplace(k);
    if (!is_new && row->second.is_current()) return std::nullopt;
    row->second = taken->owner_;  // a row that came through a fork is nobody's here
    taken->row_ = &*row;
    taken->locks_ = locks;
    return taken;
  }

 private:
  Mutex mutex_;
  table rows_;
};

}  // namespace stash::inline v1
