#pragma once

#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <new>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

// What a fork must do to what the library holds, and how an object tells that it came through one.
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

/// Tells whether this object was created in this process; false: it came through a fork.
///
/// It remembers a word in memory that a fork sets to zero in the child, and the number that stood there. A program may
/// have several copies of this library (plugins with hidden symbols), each with a word of its own: `is_current` looks
/// at the word of the copy that made the object, so the copies agree and share nothing. Thread safe.
class owned_by_process {
 public:
  owned_by_process() {
    mark& here = instance();
    word_ = here.word;
    number_ = word_->load();
    if (number_ != 0) return;
    std::lock_guard const only{here.only};
    number_ = word_->load();
    // It counts on from its parent's count, so that no number of an ancestor comes again.
    if (number_ == 0) here.word->store(number_ = ++here.count);
  }

  bool is_current() const noexcept { return word_->load() == number_; }

  /// Throws `errc::busy` in a forked child: what `operation` would change is the parent's.
  void require_current(std::string_view operation, std::string_view subject, char const* why) const {
    if (!is_current()) throw error{errc::busy, std::string(operation), std::string(subject), why};
  }

 private:
  using atomic_word = std::atomic<std::uint64_t>;

  struct mark {
    std::mutex only;
    atomic_word* word = zero_in_child();
    std::uint64_t count = 0;
    at_fork hook{only, [] {}, [this] { word->store(0); }};
  };

  /// Never destroyed: a guard in static storage may be the last to ask.
  static mark& instance() {
    static mark* const here = new mark;
    return *here;
  }

  /// A page of memory, never unmapped. The kernel clears it in a child (Linux 4.14), for one that was not made by
  /// fork(3) calls no handler. On an older kernel it is the handler that clears it.
  static atomic_word* zero_in_child() {
    void* const page = ::mmap(nullptr, sizeof(atomic_word), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) throw std::bad_alloc{};
#if defined(MADV_WIPEONFORK)  // which older C libraries lack
    static_cast<void>(::madvise(page, sizeof(atomic_word), MADV_WIPEONFORK));
#endif
    return new (page) atomic_word(0);
  }

  atomic_word const* word_;
  std::uint64_t number_;
};

}  // namespace stash::inline v1::detail
