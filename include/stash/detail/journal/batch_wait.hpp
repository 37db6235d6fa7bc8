#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <stash/version.hpp>

namespace stash::inline v1::detail {

/// Lets more requests share a flush. Of threads that save all the time, those of the last batch have just been woken
/// when the next begins, and would all come too late for it: two halves would take turns. So whoever leads waits for
/// them for a moment (and never where one thread is alone), as long as that pays. Used with the journal's mutex locked.
class batch_wait {
 public:
  /// A request came: `size` wait now.
  void came(std::size_t size) noexcept {
    if (size == awaited_) all_came_.notify_one();
  }

  /// Waits until as many as were in the last two batches have come, or 20 microseconds (and what the kernel adds).
  /// `size()` is how many wait.
  template <class Size>
  void wait(std::unique_lock<std::mutex>& only, Size size) {
    std::size_t const there = size(), all = last_ + before_last_;
    if (all <= 2 || there >= all) return;
    if (vain_ > 0) {
      --vain_;
      return;
    }
    awaited_ = all;
    all_came_.wait_for(only, std::chrono::microseconds(20), [&] { return size() >= all; });
    awaited_ = 0;
    if (4 * (size() - there) < all - there) vain_ = 4;
  }

  /// So many were in this batch.
  void took(std::size_t size) noexcept {
    before_last_ = last_;
    last_ = size;
  }

 private:
  std::condition_variable all_came_;
  std::size_t awaited_ = 0, last_ = 0, before_last_ = 0;
  int vain_ = 0;  // batches that wait for nobody, after one that has waited in vain
};

}  // namespace stash::inline v1::detail
