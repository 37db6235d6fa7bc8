#pragma once

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/locale/utf.hpp>
#include <cstddef>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/detail/text/utf8.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <vector>

/// What CKAN 2.11 does not take as a field name (is_valid_field_name in its ckanext/datastore/helpers.py). A table can
/// have such a column, but CKAN then refuses to save anything that is typed for any field of the resource.
namespace stash::inline v1::ckan::detail {

/// White space as Python's str.strip has it.
inline bool is_white(boost::locale::utf::code_point c) noexcept {
  struct range {
    boost::locale::utf::code_point first, last;
  };
  constexpr std::array<range, 10> all{{{0x9, 0xd},
                                       {0x1c, 0x20},
                                       {0x85, 0x85},
                                       {0xa0, 0xa0},
                                       {0x1680, 0x1680},
                                       {0x2000, 0x200a},
                                       {0x2028, 0x2029},
                                       {0x202f, 0x202f},
                                       {0x205f, 0x205f},
                                       {0x3000, 0x3000}}};
  return std::any_of(all.begin(), all.end(), [&](range r) { return r.first <= c && c <= r.last; });
}

/// The first code point of `text`, and the last.
inline std::array<boost::locale::utf::code_point, 2> ends_of(std::string_view text) noexcept {
  using traits = boost::locale::utf::utf_traits<char>;
  char const* const end = text.data() + text.size();
  char const* first = text.data();
  auto const c = traits::decode(first, end);
  char const* last = end - 1;
  while (last != text.data() && traits::is_trail(*last)) --last;
  return {c, traits::decode(last, end)};
}

/// Why CKAN refuses the name, which has a character at least; null: it does not.
inline char const* why_no_field_name(std::string_view name) noexcept {
  if (name.front() == '_') return "names that begin with _ are reserved";
  if (name.find('"') != name.npos) return "CKAN takes no field name with a double quote";
  auto const ends = detail::ends_of(name);
  if (std::any_of(ends.begin(), ends.end(), is_white)) {
    return "CKAN takes no field name with white space at its beginning or end";
  }
  return nullptr;
}

[[noreturn]] inline void refuse_field(field const& f, std::string_view operation, std::string_view id,
                                      std::string const& why) {
  throw error{errc::mismatch, std::string(operation), std::string(id), "field \"" + f.id + "\": " + why};
}

/// Throws `errc::mismatch` for a name that CKAN refuses.
inline void refuse_field_name(field const& f, std::string_view operation, std::string_view id) {
  if (char const* const why = detail::why_no_field_name(f.id)) detail::refuse_field(f, operation, id, why);
}

/// The same for a field that is new. One with words is restored: it had its name in a table that stood.
inline void refuse_new_field_name(field const& f, std::string_view operation, std::string_view id) {
  bool const had_words = f.info || !f.beside.empty() || f.comment;
  if (!had_words || f.id.front() == '_') detail::refuse_field_name(f, operation, id);
}

/// Throws `errc::mismatch` where two of the names, which may be in any order, are equal.
inline void refuse_equal_names(std::vector<std::string>& names, std::string_view operation, std::string_view id) {
  std::sort(names.begin(), names.end());
  auto const twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return;
  throw error{errc::mismatch, std::string(operation), std::string(id), "field \"" + *twice + "\" stands there twice"};
}

/// What a datastore can hold beside what all of them can.
struct field_rules {
  std::size_t most_fields, longest_name;        ///< in bytes; each datastore says how many
  std::string (*same_names)(std::string_view);  ///< two names that it makes equal are one
};

/// Throws `errc::mismatch` for a text that is no UTF-8 or has a NUL byte. `what` is for the message.
inline void refuse_no_text(std::string_view text, std::string const& what, std::string_view operation,
                           std::string_view id) {
  if (text.find('\0') == text.npos && stash::detail::is_utf8(text)) return;
  throw error{errc::mismatch, std::string(operation), std::string(id), what + " is no text"};
}

/// Throws `errc::mismatch` for a name that is empty, too long, or no text.
inline void refuse_no_name(std::string_view name, std::string const& what, std::size_t longest,
                           std::string_view operation, std::string_view id) {
  auto const refuse = [&](std::string const& why) {
    throw error{errc::mismatch, std::string(operation), std::string(id), what + why};
  };
  if (name.empty()) refuse(" is empty");
  if (name.size() > longest) refuse(" has more than " + std::to_string(longest) + " bytes");
  detail::refuse_no_text(name, what, operation, id);
}

/// Throws `errc::mismatch` for fields that `create` of no datastore takes: none at all (unless there are remarks), too
/// many, a name that is none, or that stands there twice, words that would be lost.
inline void check_fields(fields const& columns, boost::json::object const& remarks, field_rules const& rules,
                         std::string_view operation, std::string_view id) {
  auto const refuse = [&](std::string const& why) {
    throw error{errc::mismatch, std::string(operation), std::string(id), why};
  };
  if (columns.empty() && remarks.empty()) refuse("no fields");
  if (columns.size() > rules.most_fields) refuse("more than " + std::to_string(rules.most_fields) + " fields");
  std::vector<std::string> names;
  for (field const& f : columns) {
    detail::refuse_no_name(f.id, "the name of field \"" + f.id + '"', rules.longest_name, operation, id);
    detail::refuse_new_field_name(f, operation, id);
    detail::refuse_lost_remark(f, operation, id);
    names.push_back(rules.same_names(f.id));
  }
  detail::refuse_equal_names(names, operation, id);
}

}  // namespace stash::inline v1::ckan::detail
