#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stash::inline v1 {

/// Something that hung on a table (an index, a grant, a view, ...) and could not be carried over to the one that takes
/// its place; or rows that others added to it meanwhile.
struct left_behind {
  std::string what;  ///< its kind and name, as a person knows them
  std::string why;   ///< the database's own words, as a rule
  std::string ddl;   ///< the statements that would make it again; empty: there are none
  /// Member by member.
  friend bool operator==(left_behind const&, left_behind const&) = default;
};

namespace detail {

/// "index a (why); view b (why)"
inline std::string list_of(std::vector<left_behind> const& all) {
  std::string list;
  for (auto const& one : all) list += (list.empty() ? "" : "; ") + one.what + " (" + one.why + ')';
  return list;
}

/// "1 row", "2 rows"
inline std::string rows_in_words(std::uint64_t count) {
  return std::to_string(count) + (count == 1 ? " row" : " rows");
}

/// Rows that others added to a table while the one that takes its place was built.
inline left_behind rows_meanwhile(std::uint64_t count) {
  return {detail::rows_in_words(count), "added since the new table was begun, which does not have them", {}};
}

}  // namespace detail
}  // namespace stash::inline v1
