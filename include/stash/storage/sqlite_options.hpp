#pragma once

#include <chrono>
#include <cstdint>
#include <stash/file_options.hpp>

namespace stash::inline v1 {

/// For `sqlite_storage`.
struct sqlite_options {
  stash::durability durability = durability::power_loss;  ///< what a change survives once it has returned
  std::uint64_t max_bytes = 64U << 20;                    ///< the greatest payload to write or read: 64 MiB
  std::chrono::milliseconds wait_for_file{10'000};        ///< for what another process does in it, before SQLITE_BUSY
  bool must_exist = false;  ///< as in `file_options`: true, a directory that is not there is an error
};

}  // namespace stash::inline v1
