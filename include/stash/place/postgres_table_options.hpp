#pragma once

#include <chrono>
#include <string>

namespace stash::inline v1 {

/// Which table; as the catalog has it, without quotes: `{"public", "Orders, net"}`.
struct postgres_table_name {
  std::string schema = "public";  ///< must exist
  std::string name = {};          ///< of at most 63 bytes, as the schema's
};

/// For `postgres_table`. New members go last.
struct postgres_table_options {
  /// How long a step waits for locks that others have. It only looks in now and then, so that who comes meanwhile need
  /// not wait; but for the last two and a half seconds, or half of a shorter time, in which others may wait behind it.
  /// What autovacuum does there the server ends after a second.
  std::chrono::milliseconds lock_timeout{60'000};
  /// true: what cannot be carried over is noted and told, and goes with the old table; false: `settle` throws.
  bool leave_behind = false;
  std::chrono::milliseconds timeout{30'000};  ///< of connecting, and of the server's silence; a day at most
};

}  // namespace stash::inline v1
