#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/detail/ckan/exact_json.hpp>
#include <stash/detail/text/utf8.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
#include <string>
#include <utility>

namespace stash::inline v1::ckan::detail {

/// A field has a place for one text only, not for two.
template <class Refuse>
boost::json::object words_exactly(std::string const& text, std::string const& field, Refuse refuse) {
  std::string const what = "the words of field \"" + field + "\": ";
  stash::detail::exact_object read;
  try {
    read = stash::detail::read_exactly(text);
  } catch (error const& problem) {
    refuse(what + problem.detail());
  }
  if (!read.inexact.empty()) {
    refuse(what + "a number under \"" + *read.inexact.begin() + "\" would not come back");
  }
  return std::move(read.value);
}

/// Gives `f` what stands in the columns `info` and `beside` of SQLite. Calls `refuse(why)`, which throws, for what
/// would not come back.
template <class Refuse>
void take_words(field& f, std::optional<std::string> info, std::optional<std::string> const& beside, Refuse refuse) {
  if (beside) {
    f.beside = detail::words_exactly(*beside, f.id, refuse);
    if (info) f.info = detail::words_exactly(*info, f.id, refuse);
    return;
  }
  if (!info) return;
  if (!stash::detail::is_utf8(*info)) refuse("the words of field \"" + f.id + "\" are no UTF-8");
  auto said = detail::read_comment(*info);
  bool const is_ours = said.info && said.beside.empty() && json_serializer{}.serialize(*said.info) == *info;
  f.info = std::move(said.info);
  f.beside = std::move(said.beside);
  if (!is_ours) f.comment = std::move(*info);
}

}  // namespace stash::inline v1::ckan::detail
