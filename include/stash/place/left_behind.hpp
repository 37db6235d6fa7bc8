#pragma once

#include <string>

namespace stash::inline v1 {

/// Something that hung on a table (an index, a grant, a view, ...) and could not be carried over to the one that takes
/// its place.
struct left_behind {
  std::string what;  ///< its kind and name, as a person knows them
  std::string why;   ///< the database's own words, as a rule
  std::string ddl;   ///< the statements that would make it again; empty: there are none
  /// Member by member.
  friend bool operator==(left_behind const&, left_behind const&) = default;
};

}  // namespace stash::inline v1
