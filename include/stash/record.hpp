#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stash/key.hpp>
#include <string>

namespace stash::inline v1 {

/// UTC, in microseconds since 1970.
using time_point = std::chrono::sys_time<std::chrono::microseconds>;

/// What stands under a key.
enum class record_state {
  absent,  ///< nothing
  intact,  ///< a whole record of that key
  corrupt  ///< something stands there that is not a whole record of that key
};

/// What a storage keeps under a key: the serialized value and when it was saved.
struct record {
  std::string payload;  ///< as the serializer wrote it, any bytes
  time_point saved_at;  ///< by the stash's clock
  /// Byte for byte, and to the microsecond.
  friend bool operator==(record const&, record const&) = default;
};

/// A line of a storage's listing.
struct entry {
  stash::key key;                      ///< under which it stands, or stood before it was set aside
  record_state state;                  ///< never `absent`
  std::optional<time_point> saved_at;  ///< none where the bytes do not tell it
  std::uint64_t bytes;                 ///< of the payload; where that is not known, of what stands there
  std::string where;                   ///< for a person: a path, a row
};

}  // namespace stash::inline v1
