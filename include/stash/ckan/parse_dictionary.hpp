#pragma once

#include <cstddef>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/detail/ckan/exact_json.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::ckan {

/// The dictionary that a person wrote as JSON, to give to a datastore's `annotate`. Where a number in the info of a
/// field has more digits than a `json::value` holds, the text of that info stands beside it as "_verbatim", which is
/// what the datastore writes.
///
/// Throws `errc::mismatch`, with the field as subject, where it is no JSON object, a name stands twice in one object, a
/// number is beyond what a `double` reaches, or an info has a "_beside" or "_verbatim".
inline data_dictionary parse_dictionary(std::string_view json) {
  auto read = stash::detail::read_exactly(json);
  detail::for_each_part(json, [&](std::string_view name, std::size_t begin, std::size_t end) {
    auto* const info = read.value.at(name).if_object();
    if (info == nullptr) return;
    if (char const* const key = detail::reserved_key(*info)) {
      detail::fail(errc::mismatch, "parse", name, "\"" + std::string(key) + "\" is reserved");
    }
    if (!read.inexact.contains(name)) return;
    auto const text = json.substr(begin, end - begin);
    std::size_t const from = text.find('{');  // behind white space
    info->emplace(detail::comment_key, text.substr(from, text.rfind('}') + 1 - from));
  });
  return std::move(read.value);
}

}  // namespace stash::inline v1::ckan
