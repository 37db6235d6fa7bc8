#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <stash/place/left_behind.hpp>
#include <vector>

namespace stash::inline v1::detail {

/// As a member of a note that is kept.
inline boost::json::array as_json(std::vector<left_behind> const& all) {
  boost::json::array list;
  for (auto const& one : all) {
    list.push_back(boost::json::object{{"what", one.what}, {"why", one.why}, {"ddl", one.ddl}});
  }
  return list;
}

}  // namespace stash::inline v1::detail
