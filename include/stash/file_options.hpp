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
  /// true: a directory that is not there is an error, ENOENT, for whoever reads, too. For one on a volume that may not
  /// be mounted: there it looks as if nothing had been saved, and a new one would be made where the volume belongs.
  bool must_exist = false;
};

}  // namespace stash::inline v1
