#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <stash/detail/storage/locking.hpp>
#include <stash/detail/storage/traits.hpp>
#include <stash/key.hpp>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Has the storage remove the temporary files that killed processes left behind, for `recover`: those of a key whose
/// lock is free. (A lock that is held means a save or a removal that may be under way.)
template <class Storage>
class sweep {
 public:
  /// Lists the keys that have some. Throws as the storage's `temporaries`.
  explicit sweep(Storage& storage) : storage_(storage) {
    if constexpr (traits::is_sweepable) left_behind_ = storage.temporaries();
    ours_.reserve(left_behind_.size());
  }

  /// How many keys have some: `failed` is called at most once for each.
  std::size_t size() const noexcept { return left_behind_.size(); }

  /// Once. Calls `failed(key&&, problem)` for each key of which they could not be removed, or not for good.
  template <class Failed>
  void run(Failed failed) noexcept {
    if constexpr (traits::is_sweepable) {
      lock_set<Storage> locks;
      take(locks, failed);
      if (ours_.empty()) return;
      try {
        traits::sweep_all(storage_, ours_);
      } catch (...) {
        tell(failed, std::current_exception());
      }
    }
  }

 private:
  using traits = storage_traits<Storage>;

  template <class Failed>
  void take(lock_set<Storage>& locks, Failed& failed) noexcept {
    for (std::size_t at = 0; at < left_behind_.size(); ++at) {  // past the one that is busy
      std::size_t const before = locks.size();
      std::exception_ptr problem;
      try {
        locks.try_take(storage_, {left_behind_.data() + at, left_behind_.size() - at});
      } catch (...) {
        problem = std::current_exception();
      }
      for (auto taken = locks.size() - before; taken > 0; --taken) ours_.push_back(std::move(left_behind_[at++]));
      if (problem) failed(std::move(left_behind_[at]), problem);
    }
  }

  /// `problem` concerns those keys that still have files. Where none has, they may be back after a power cut: then it
  /// is told of one of them.
  template <class Failed>
  void tell(Failed& failed, std::exception_ptr const& problem) noexcept {
    std::vector<key> left;
    try {
      left = storage_.temporaries();
    } catch (...) {
      left.swap(ours_);
    }
    std::erase_if(
        left, [&](key const& k) { return !ours_.empty() && std::find(ours_.begin(), ours_.end(), k) == ours_.end(); });
    if (left.empty()) failed(std::move(ours_.front()), problem);
    for (auto& k : left) failed(std::move(k), problem);
  }

  Storage& storage_;
  std::vector<key> left_behind_, ours_;  // ours: those whose locks we have
};

}  // namespace stash::inline v1::detail
