#pragma once

#include <cstdint>
#include <stash/file_options.hpp>

namespace stash::inline v1 {

/// For `journal_storage`.
struct journal_options {
  stash::durability durability = durability::power_loss;  ///< what a change survives once it has returned
  std::uint64_t max_bytes = 64U << 20;                    ///< the greatest payload to write: 64 MiB
  std::uint64_t chunk = 256U << 10;                       ///< bytes, 64 or more; the file grows by a multiple of it
  bool must_exist = false;                                ///< as in `file_options`
};

}  // namespace stash::inline v1
