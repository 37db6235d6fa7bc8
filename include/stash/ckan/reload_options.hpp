#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/guard_options.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <vector>

namespace stash::inline v1::ckan {

/// What `reload` does with the old table.
enum class keep {
  everything,  ///< it stays, whole, until the new one takes its place in one step
  words        ///< it is dropped first, and its dictionary is kept: for who has no room for two tables
};

/// For `reload`.
struct reload_options {
  type_mapping types{};   ///< as `annotate` takes it
  guard_options guard{};  ///< for the guard around all of it
  /// Where the datastore cannot build beside, it is `keep::words`.
  ckan::keep keep = ckan::keep::everything;
  /// true: what hangs on the old table and cannot be carried over (an index on a column that is gone) is left behind:
  /// its statements are set aside in the stash, and `event_kind::committed` tells of it. So are rows that others added
  /// to the old table since the new one was begun: how many is told, they are gone. false: either stops the reload.
  bool leave_behind = false;
  /// How long to try to take the old table's place while others have locks on it. After that what was built stays, for
  /// `finish_reload`.
  std::chrono::milliseconds patience{std::chrono::minutes(10)};
  /// Called with who has such a lock: process id, name and since when, where the datastore can tell. Without it, a line
  /// on standard error.
  std::function<void(std::string const& who)> waiting{};
};

/// What `reload` returns.
struct reload_report {
  stash::origin origin;                          ///< where the dictionary came from; none: there was nothing to keep
  std::optional<std::chrono::microseconds> age;  ///< of an adopted record
  /// Fields with info that the new headers do not have, and other columns of the old table with a remark; `table_key`
  /// where the datastore has no place for what was written on the table itself. Their record was set aside.
  std::vector<std::string> unplaced;
  std::vector<stash::left_behind> left_behind{};  ///< what could not be carried over; its record was set aside
  /// With `keep::words`: the new table would have been the old one, which stayed with all that hangs on it; its rows
  /// alone were replaced (`api_datastore`).
  bool rows_only = false;
};

}  // namespace stash::inline v1::ckan
