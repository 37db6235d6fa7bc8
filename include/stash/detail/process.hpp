#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <stash/detail/at_fork.hpp>

namespace stash::inline v1::detail {

/// Which process made something: a word in memory that a fork sets to zero in the child, and the number that stood
/// there. A program may have several copies of this library (plugins with hidden symbols), each with a word of its own:
/// who compares looks at the maker's word, so the copies agree without anything that they would have to share.
class process_id {
 public:
  static process_id current() {
    mark& here = instance();
    std::uint64_t number = here.word->load();
    if (number == 0) {
      std::lock_guard const only{here.only};
      number = here.word->load();
      // It counts on from its parent's count, so that no number of an ancestor comes again.
      if (number == 0) here.word->store(number = ++here.count);
    }
    return {here.word, number};
  }
  /// Whether this is the process that it was made in. From any thread, and in any copy of the library.
  bool is_current() const noexcept { return word_->load() == number_; }

 private:
  using atomic_word = std::atomic<std::uint64_t>;

  struct mark {
    std::mutex only;
    atomic_word* word = zero_in_child();
    std::uint64_t count = 0;
    at_fork hook{only, [] {}, [this] { word->store(0); }};
  };

  process_id(atomic_word const* word, std::uint64_t number) noexcept : word_(word), number_(number) {}

  /// Never destroyed: a guard in static storage may be the last to ask.
  static mark& instance() {
    static mark* const here = new mark;
    return *here;
  }

  /// A page of memory, never unmapped. The kernel clears it in a child (Linux 4.14), for one that was not made by
  /// fork(3) calls no handler. Elsewhere it is the handler that clears it.
  static atomic_word* zero_in_child() {
    void* const page = ::mmap(nullptr, sizeof(atomic_word), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) throw std::bad_alloc{};
#if defined(MADV_WIPEONFORK)
    static_cast<void>(::madvise(page, sizeof(atomic_word), MADV_WIPEONFORK));
#endif
    return new (page) atomic_word(0);
  }

  atomic_word const* word_;
  std::uint64_t number_;
};

/// Whoever holds it was made in this process, not inherited by a fork.
class owned_by_process {
 public:
  owned_by_process() = default;
  bool is_current() const noexcept { return owner_.is_current(); }

 private:
  process_id owner_ = process_id::current();
};

}  // namespace stash::inline v1::detail
