#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <stash/version.hpp>

namespace stash::inline v1::detail {

/// Lets more requests share a flush. Of threads that save all the time, those of the last batch have just been woken
/// when the next begins, and would all come too late for it: two halves would take turns. So whoever leads waits for
/// them for a moment, but not again soon after one that came in vain. Used with the journal's mutex locked.
class batch_wait {
 public:
  /// A request came: `size` wait now.
  void came(std::size_t size) noexcept {
    if (all_came_ != nullptr && size == all_) all_came_->notify_one();
  }

  /// Waits until as many have come as wrote lately, or 20 microseconds (and what the kernel adds). `size()` is how many
  /// wait.
  template <class Size>
  void wait(std::unique_lock<std::mutex>& only, Size size) {
    std::size_t const there = size();
    if (there >= all_) return;
    if (vain_ > 0) {
      --vain_;
      return;
    }
    std::condition_variable came;  // here, for a forked child could never destroy one that somebody waits for
    all_came_ = &came;
    came.wait_for(only, std::chrono::microseconds(20), [&] { return size() >= all_; });
    all_came_ = nullptr;
    if (4 * (size() - there) < all_ - there) vain_ = 4;
  }

  /// So many threads wrote just now, or wait already for the next batch.
  void saw(std::size_t all) noexcept { all_ = all; }

 private:
  std::condition_variable* all_came_ = nullptr;  // of the one who waits
  std::size_t all_ = 0;
  int vain_ = 0;  // batches that wait for nobody, after one that has waited in vain
};

}  // namespace stash::inline v1::detail
