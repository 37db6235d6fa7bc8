#pragma once

#include <condition_variable>
#include <exception>
#include <span>
#include <stash/detail/journal/format.hpp>
#include <stash/detail/journal/index.hpp>
#include <stash/key.hpp>

namespace stash::inline v1::detail {

/// A frame to write, and what it does to the index.
struct journal_change {
  new_frame frame{};
  stash::key const* key = nullptr;
  kept_records row{};      ///< of a set_aside
  bool was_there = false;  ///< what a purge destroyed
};

/// The changes of a thread that waits until they are on the disk. It is on that thread's stack, and belongs to the one
/// who leads, also without the mutex, until `is_done`: that is set, and the thread woken, with the mutex locked,
/// without which the thread cannot go on.
struct journal_request {
  std::span<journal_change> changes;
  bool is_done = false;
  std::exception_ptr failure{};
  std::condition_variable woken{};
};

}  // namespace stash::inline v1::detail
