#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <vector>

namespace stash::inline v1::ckan {

/// What people wrote on a table: on its fields, and, as a datastore's `remarks` has it, on all else.
struct table_words {
  fields all;                   ///< each field with its words
  boost::json::object remarks;  ///< on the table itself and on columns that are no fields
};

/// For a datastore's `swap_in`.
struct swap_options {
  /// What to write on the new table. Called while the live one is locked, with the words that the new one was built
  /// with and those that stand on the live one now, marked unfinished or not; nullopt: there is none. The result has
  /// the fields of the first. Without it, the words stay that it was built with.
  std::function<table_words(table_words built, std::optional<table_words> const& live)> words{};
  /// true: what cannot be carried over is left behind, and its statements are told to `leaving`.
  bool leave_behind = false;
  /// Called before the old table is destroyed, where something is left behind. What it throws stops the swap.
  std::function<void(std::vector<stash::left_behind> const&)> leaving{};
  /// How long to try while others have locks in the way.
  std::chrono::milliseconds patience{std::chrono::minutes(10)};
  /// Called each time that a try failed, with who is in the way.
  std::function<void(std::string const& who)> waiting{};
};

}  // namespace stash::inline v1::ckan
