#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <stash/detail/fork.hpp>
#include <stash/key.hpp>
#include <unordered_map>
#include <utility>

namespace stash::inline v1::detail {

/// Locks of keys among the threads of this process. Thread safe. A forked child starts without any. (A template so that
/// only who uses it pays for compiling it.)
template <class Mutex>
class key_locks {
 public:
  /// Movable; the destructor releases it, but not in a forked child. May outlive the storage.
  class lock {
   public:
    lock(lock&&) noexcept = default;
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
    owned_by_process owner_;
  };

  /// nullopt: another has it.
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
  std::unordered_map<key, owned_by_process> rows_;
};

}  // namespace stash::inline v1::detail
