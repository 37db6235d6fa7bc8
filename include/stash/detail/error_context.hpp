#pragma once

#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// What an error says, with the place of the record or field that it says it of.
inline std::string with_place(std::string what, std::string const& place) {
  return place.empty() ? what : std::move(what) + ", at " + place;
}

/// Calls `f`; an error that names no subject yet gets this one, `operation`, and the place that `where` tells.
template <class F, class Where>
decltype(auto) about(std::string_view subject, std::string_view operation, F f, Where where) {
  try {
    return f();
  } catch (error const& e) {
    if (!e.subject().empty()) throw;
    throw error{e.code(), std::string(operation), std::string(subject), detail::with_place(e.detail(), where())};
  }
}

}  // namespace stash::inline v1::detail
