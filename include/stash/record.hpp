#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stash/key.hpp>
#include <string>

namespace stash::inline v1 {

/// UTC, in microseconds since 1970.
using time_point = std::chrono::sys_time<std::chrono::microseconds>;

enum class record_state {
  absent,
  intact,
  corrupt  ///< something stands there that is not a whole record of that key
};

/// What a storage keeps under a key: the serialized value and when it was saved.
struct record {
  std::string payload;
  time_point saved_at;
  friend bool operator==(record const&, record const&) = default;
};

/// A line of a storage's listing.
struct entry {
  stash::key key;
  record_state state;                  ///< never `absent`
  std::optional<time_point> saved_at;  ///< none where the bytes do not tell it
  std::uint64_t bytes;                 ///< of the payload; where that is not known, of what stands there
  std::string where;                   ///< for a person: a path, a row
};

}  // namespace stash::inline v1
