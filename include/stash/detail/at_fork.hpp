#pragma once

#include <pthread.h>

#include <functional>
#include <list>
#include <mutex>
#include <new>
#include <utility>

namespace stash::inline v1::detail {

/// While it lives, a fork of this process waits for `only`, so that no child is made amid what is done under it; just
/// before it, `before` is called, and in the child `in_child`, both with `only` locked. They must not throw, and
/// whoever has `only` must not construct or destroy one of these. All that the library must do at a fork is done here.
///
/// Each copy of the library in a program (plugins with hidden symbols) has a table of its own, and one of these may be
/// destroyed by another copy than the one that made it.
class at_fork {
 public:
  at_fork(std::mutex& only, std::function<void()> before, std::function<void()> in_child)
      : only_(only), before_(std::move(before)), in_child_(std::move(in_child)) {
    std::lock_guard const alone{home_.mutex};
    place_ = home_.rows.insert(home_.rows.end(), this);
  }
  at_fork(at_fork const&) = delete;
  at_fork& operator=(at_fork const&) = delete;
  ~at_fork() {
    std::lock_guard const alone{home_.mutex};
    home_.rows.erase(place_);
  }

 private:
  struct table {
    std::mutex mutex;
    std::list<at_fork*> rows;
  };

  /// Never destroyed: a storage in static storage may be the last to ask.
  static table& instance() {
    static table* const all = [] {
      auto* const made = new table;
      if (::pthread_atfork([] { prepare(); }, [] { release(false); }, [] { release(true); }) != 0) {
        throw std::bad_alloc{};
      }
      return made;
    }();
    return *all;
  }
  static void prepare() {
    table& all = instance();
    all.mutex.lock();
    for (auto* const row : all.rows) {
      row->only_.lock();
      row->before_();
    }
  }
  static void release(bool is_child) {
    table& all = instance();
    for (auto* const row : all.rows) {
      if (is_child) row->in_child_();
      row->only_.unlock();
    }
    all.mutex.unlock();
  }

  table& home_ = instance();  // not asked for again: another copy's would be another
  std::mutex& only_;
  std::function<void()> before_, in_child_;
  std::list<at_fork*>::iterator place_;
};

}  // namespace stash::inline v1::detail
