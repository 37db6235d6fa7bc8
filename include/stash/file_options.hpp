#pragma once

#include <cstdint>

namespace stash::inline v1 {

/// What an acknowledged write survives.
enum class durability {
  power_loss,    ///< the power cut too: everything is synced before a call returns
  process_crash  ///< the death of the process (`kill -9`), not of the machine: no record is synced
};

/// For `atomic_file_storage`.
struct file_options {
  stash::durability durability = durability::power_loss;  ///< what a change survives once it has returned
  std::uint64_t max_bytes = 64U << 20;                    ///< the greatest payload to write or read: 64 MiB
};

}  // namespace stash::inline v1
