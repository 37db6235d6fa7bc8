#pragma once

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <vector>

namespace stash::inline v1::detail {

/// Which process this is. The count of forks tells apart what a reused process id would not.
struct process_id {
  pid_t pid;
  unsigned forks;
  friend bool operator==(process_id const&, process_id const&) = default;
};

/// This process's open lock descriptors.
///
/// A forked child shares the open file descriptions behind them: as long as it has them open, the locks of a
/// parent that died would stay. So the child closes its copies at once (closing, unlike unlocking, takes
/// nothing from the parent) and forgets the rows. Thread safe.
class lock_table {
 public:
  /// Never destroyed: a guard in static storage may be the last to ask.
  static lock_table& instance() {
    static lock_table* const table = new lock_table;
    return *table;
  }

  /// Calls `open`, which returns a descriptor or -1, and notes the descriptor. No fork comes in between.
  template <class Open>
  int open(Open open) {
    std::lock_guard const only{mutex_};
    descriptors_.reserve(descriptors_.size() + 1);
    int const fd = open();
    if (fd >= 0) descriptors_.push_back(fd);
    return fd;
  }

  /// Calls `close` with `fd`, and forgets it.
  template <class Close>
  void close(int fd, Close close) noexcept {
    std::lock_guard const only{mutex_};
    descriptors_.erase(std::remove(descriptors_.begin(), descriptors_.end(), fd), descriptors_.end());
    close(fd);
  }

  process_id this_process() const noexcept { return {::getpid(), forks_}; }

 private:
  lock_table() {
    if (::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                         [] { instance().after_fork(); }) != 0) {
      throw std::bad_alloc{};
    }
  }

  void after_fork() noexcept {
    for (int const fd : descriptors_) ::close(fd);
    descriptors_.clear();
    ++forks_;
    mutex_.unlock();
  }

  std::mutex mutex_;
  std::vector<int> descriptors_;
  unsigned forks_ = 0;  // written in a child that has one thread
};

/// Whoever holds it was made in this process, not inherited by a fork.
class owned_by_process {
 public:
  owned_by_process() = default;
  explicit owned_by_process(process_id owner) noexcept : owner_(owner) {}
  bool is_current() const noexcept { return owner_ == lock_table::instance().this_process(); }

 private:
  process_id owner_ = lock_table::instance().this_process();
};

}  // namespace stash::inline v1::detail
