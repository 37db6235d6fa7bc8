#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <stash/event.hpp>
#include <stash/key.hpp>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// For `recover`.
struct recover_options {
  bool clear_after_restore = true;               ///< false: a restored record stays
  std::function<void(event const&)> observer{};  ///< as `guard_options::observer`, in `recover`'s thread
};

/// What became of each record.
struct recovery_report {
  std::size_t restored = 0;  ///< restore returned
  std::size_t live = 0;      ///< left: the resource is live
  std::size_t busy = 0;      ///< left: a guard holds it, here or in another process
  std::size_t corrupt = 0;   ///< left where it is, for a person to look at
  /// Left, with what went wrong; also one that was restored but could not be removed afterwards, and one whose
  /// temporary files could not be removed, which may have no record, or stand here twice.
  std::vector<std::pair<key, std::exception_ptr>> failed{};
};

}  // namespace stash::inline v1
