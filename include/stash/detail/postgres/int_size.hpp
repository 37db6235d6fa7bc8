#pragma once

#include <cstddef>
#include <stash/detail/operation.hpp>
#include <stash/error.hpp>
#include <string>
#include <utility>

namespace stash::inline v1::detail {

/// `size` as the int that many C functions take; a cast would make a negative one of it, or a smaller one. Throws
/// `errc::too_large` where it is more than an int holds.
inline int int_size(std::size_t size, operation const& op) {
  if (std::in_range<int>(size)) return static_cast<int>(size);
  throw error{errc::too_large, std::string(op.name), std::string(op.subject), std::to_string(size) + " bytes at once"};
}

}  // namespace stash::inline v1::detail
