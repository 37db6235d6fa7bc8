#pragma once

#include <algorithm>
#include <array>
#include <boost/locale/utf.hpp>
#include <stash/ckan/data_dictionary.hpp>
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

}  // namespace stash::inline v1::ckan::detail
