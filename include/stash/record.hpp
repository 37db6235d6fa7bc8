#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <stash/detail/text/print.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1 {

/// UTC, in microseconds since 1970.
using time_point = std::chrono::sys_time<std::chrono::microseconds>;

/// What stands under a key.
enum class record_state {
  absent,  ///< nothing
  intact,  ///< a whole record of that key
  corrupt  ///< something stands there that is not a whole record of that key
};

/// The enumerator's name, in static storage; "unknown" for what is none.
constexpr std::string_view to_string(record_state state) noexcept {
  switch (state) {
    case record_state::absent:
      return "absent";
    case record_state::intact:
      return "intact";
    case record_state::corrupt:
      return "corrupt";
  }
  return "unknown";
}
/// Its name, whatever width, flags and locale are left on `out`. Throws what `out` throws.
inline std::ostream& operator<<(std::ostream& out, record_state state) {
  return detail::print(out, stash::to_string(state));
}

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

  /// One line without a newline: `"orders": intact, 42 bytes, saved 2026-11-28T20:15:00.000000Z, at /srv/orders.stash`.
  /// It is the same whatever width, flags and locale are left on `out`. Throws what `out` throws.
  friend std::ostream& operator<<(std::ostream& out, entry const& e) {
    std::string line = detail::quoted(detail::printable(e.key.str())) + ": " + std::string(stash::to_string(e.state));
    line += ", " + std::to_string(e.bytes) + " bytes";
    if (e.saved_at) line += ", saved " + detail::to_text(*e.saved_at);
    if (!e.where.empty()) line += ", at " + detail::printable(e.where);
    return detail::print(out, line);
  }
};

}  // namespace stash::inline v1
