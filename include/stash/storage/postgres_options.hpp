#pragma once

#include <chrono>
#include <cstdint>
#include <stash/file_options.hpp>
#include <string>

namespace stash::inline v1 {

/// For `postgres_storage`.
struct postgres_options {
  stash::durability durability = durability::power_loss;  ///< process_crash: a session that does not sync will do
  std::uint64_t max_bytes = 64U << 20;                    ///< the greatest payload to write or read: 64 MiB
  std::string schema = "stash";                           ///< made where it is this one; any other must exist
  std::string table = "stash";                            ///< made by the first save
  std::chrono::milliseconds timeout{30'000};  ///< of the server's silence, and of doing it again; a day at most
};

}  // namespace stash::inline v1
