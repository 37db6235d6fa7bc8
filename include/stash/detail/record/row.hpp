#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/format.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <utility>

// A record as a row of a table that people can read: key, version, saved_at, checksum and payload have a column each.
// The row of a record that was set aside has the name it got in `set_aside`, which else is empty.
namespace stash::inline v1::detail {

/// Views of what the database's library holds.
struct record_row {
  std::int64_t version;
  std::string_view saved_at;  // ISO 8601, as in a file's header
  std::string_view xxh64;
  std::string_view payload;
  friend bool operator==(record_row const&, record_row const&) = default;
};

inline constexpr std::int64_t row_version = 1;

/// The checksum that a file with this record would have; `saved_at` as in its header.
inline std::string row_checksum(key const& k, std::string_view saved_at, std::string_view payload) {
  return detail::checksum_under(detail::header_without_digits(k, saved_at, payload.size()), payload);
}

/// Looks at what the row says, and returns when it was saved. Throws `errc::mismatch` (of another version) and
/// `errc::corrupt`. `where` is for the message.
inline time_point check_row(record_row const& row, key const& k, operation const& op, std::string_view where) {
  if (row.version < row_version) op.fail(errc::corrupt, where, "no version");
  if (row.version != row_version) {
    op.fail(errc::mismatch, where, "of version " + std::to_string(row.version) + ", not 1");
  }
  auto const saved_at = detail::to_time(row.saved_at);
  if (!saved_at) op.fail(errc::corrupt, where, "no time");
  if (detail::row_checksum(k, row.saved_at, row.payload) != row.xxh64) {
    op.fail(errc::corrupt, where, "damaged, or changed by hand");
  }
  return *saved_at;
}
/// The record that the row is. Throws as `check_row`.
inline record record_of(record_row const& row, key const& k, operation const& op, std::string_view where) {
  auto const saved_at = detail::check_row(row, k, op, where);
  return {std::string(row.payload), saved_at};
}

/// The row in a listing; nullopt: it is not under a key, so not ours.
inline std::optional<entry> entry_of(record_row const& row, std::string_view key_text, std::string where) {
  std::optional<key> k;
  try {
    k.emplace(key_text);
  } catch (error const&) {
    return std::nullopt;
  }
  entry e{std::move(*k), record_state::corrupt, std::nullopt, row.payload.size(), std::move(where)};
  try {
    e.saved_at = detail::check_row(row, e.key, {"entries", e.key}, {});
    e.state = record_state::intact;
  } catch (error const& problem) {
    if (problem.code() == errc::mismatch) e.state = record_state::intact;
  }
  return e;
}

/// Since when a record must have been set aside to be destroyed by `purge(older_than)`, as text that sorts; nullopt:
/// all are.
inline std::optional<std::string> purged_until(std::chrono::microseconds older_than, time_point now) {
  if (older_than.count() <= 0) return std::nullopt;
  return detail::to_text(now - older_than);
}

}  // namespace stash::inline v1::detail
