#pragma once

#include <cstdint>
#include <stash/detail/operation.hpp>
#include <stash/error.hpp>
#include <string>

namespace stash::inline v1::detail {

/// Throws `errc::too_large` where a payload has more than `cap` bytes. `where()` is its path.
template <class Where>
void check_size(std::uint64_t bytes, std::uint64_t cap, Where where, operation const& op) {
  if (bytes <= cap) return;
  op.fail(errc::too_large, where(), std::to_string(bytes) + " bytes; " + std::to_string(cap) + " are allowed");
}

}  // namespace stash::inline v1::detail
