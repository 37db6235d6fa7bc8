#pragma once

#include <algorithm>
#include <array>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/parse_options.hpp>
#include <cmath>
#include <cstddef>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/text/nearest_double.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
#include <string>
#include <string_view>
#include <utility>

/// The comments in which CKAN keeps a column's words (2.11's ckanext/datastore/backend/postgres.py). Since 2.11 a
/// comment is ` {"_info":{...},"plugin":...}`, a space first. Before, it was the info alone, `{...}`, and 2.10 shows no
/// other. Python writes and reads them, so that NaN and numbers of any size may stand there. And people write remarks.
namespace stash::inline v1::ckan::detail {

/// What to read in place of a number that no `double` reaches. Python reads it as infinite, for which JSON has null, or
/// as zero. Empty: the number is within reach, and is read as it stands.
inline std::string_view for_number(std::string const& token) {
  double value = 0;
  if (stash::detail::nearest_double_by_strtod(token, value)) return "";
  return std::isinf(value) ? "null" : value == 0 ? "0" : "";
}

/// How many bytes the escape has that begins at `at` in a JSON string: 12 for a pair of UTF-16. 0: it is half a pair,
/// which Python reads.
inline std::size_t size_of_escape(std::string_view text, std::size_t at) {
  auto const is_half = [&](std::size_t from, std::string_view third) {
    auto const unit = text.substr(std::min(from, text.size()), 6);
    return unit.size() == 6 && unit.starts_with("\\u") && (unit[2] == 'd' || unit[2] == 'D') &&
           third.find(unit[3]) != third.npos;
  };
  constexpr std::string_view high = "89abAB", low = "cdefCDEF";
  if (is_half(at, high) && is_half(at + 6, low)) return 12;
  return is_half(at, high) || is_half(at, low) ? 0 : 2;
}

/// `text` with null for what Python's json has and JSON has not (NaN, Infinity, -Infinity, a number of any size), and
/// with U+FFFD for half a pair of UTF-16.
inline std::string without_nan(std::string_view text) {
  constexpr std::array<std::string_view, 3> words{"NaN", "Infinity", "-Infinity"};
  std::string result;
  bool in_string = false;
  std::string_view instead;
  for (std::size_t i = 0, size = 0; i < text.size(); i += size, result += instead) {
    auto const rest = text.substr(i);
    size = 1;
    instead = rest.substr(0, 1);
    if (in_string && rest[0] == '\\') {
      size = detail::size_of_escape(text, i);
      instead = size == 0 ? "\\ufffd" : rest.substr(0, size);
      if (size == 0) size = 6;
    } else if (rest[0] == '"') {
      in_string = !in_string;
    } else if (!in_string) {
      auto const word = std::find_if(words.begin(), words.end(), [&](auto w) { return rest.starts_with(w); });
      if (word != words.end()) {
        size = word->size();
        instead = "null";
      } else if (rest[0] == '-' || (rest[0] >= '0' && rest[0] <= '9')) {
        size = std::min(rest.find_first_not_of("0123456789+-.eE"), rest.size());
        auto const other = detail::for_number(std::string(rest.substr(0, size)));
        instead = other.empty() ? rest.substr(0, size) : other;
      }
    }
  }
  return result;
}

/// nullopt: it is no JSON object, or one that is nested too deep.
inline std::optional<boost::json::object> object_in(std::string_view text) {
  boost::json::parse_options options;
  options.max_depth = json_serializer::max_depth;
  std::string const json = detail::without_nan(text);
  boost::json::basic_parser<stash::detail::json_builder> parser{options};
  boost::system::error_code failed;
  if (parser.write_some(false, json.data(), json.size(), failed) != json.size() || failed) return std::nullopt;
  auto value = parser.handler().release();
  if (!value.is_object()) return std::nullopt;
  return std::move(value.get_object());
}

/// What a comment says.
struct column_words {
  std::optional<boost::json::object> info;
  boost::json::object beside;
};

/// Not where they are nested too deep, or have a name of ours.
inline bool can_be_saved(column_words const& words) {
  try {
    static_cast<void>(json_serializer{}.serialize(ckan::dictionary_of({{"", "", words.info, words.beside}})));
    return true;
  } catch (error const&) {
    return false;
  }
}

/// As near as a `json::value` comes to it; nothing where it is no object of CKAN's, or could not be saved.
inline column_words read_comment(std::string_view text) {
  column_words found;
  auto all = detail::object_in(text);
  if (!all) return found;
  if (!text.starts_with(' ')) {
    found.info = std::move(all);
  } else {
    for (auto const& member : *all) {
      if (member.key() == "_info" && member.value().is_object()) {
        found.info = member.value().get_object();
      } else {
        found.beside.emplace(member.key(), member.value());
      }
    }
  }
  return detail::can_be_saved(found) ? found : column_words{};
}

/// What we write where there is no text of somebody's; nullopt: nothing. Throws `errc::unserializable`.
inline std::optional<std::string> new_comment(field const& f) {
  if (!f.info && f.beside.empty()) return std::nullopt;
  boost::json::object all;
  if (f.info) all.emplace("_info", *f.info);
  for (auto const& member : f.beside) all.emplace(member.key(), member.value());
  return ' ' + json_serializer{}.serialize(all);
}

/// Whether the field's comment, which it has, says what its info and beside say. An empty info says nothing.
inline bool says_the_same(field const& f) {
  auto const said = detail::read_comment(*f.comment);
  return said.info.value_or(boost::json::object{}) == f.info.value_or(boost::json::object{}) && said.beside == f.beside;
}
/// Whether the field's comment is what is to be written: also where there is nothing else.
inline bool comment_holds(field const& f) {
  return f.comment && ((!f.info && f.beside.empty()) || detail::says_the_same(f));
}

/// Throws `errc::mismatch` where a comment is a remark of somebody's that no info could be written beside, unless that
/// has it among its notes.
inline void refuse_lost_remark(std::string_view comment, std::optional<boost::json::object> const& info) {
  if (comment.find_first_not_of(" \t\r\n") == comment.npos || detail::object_in(comment)) return;
  auto const* const notes = info ? info->if_contains("notes") : nullptr;
  if (notes != nullptr && notes->is_string() && notes->get_string().find(comment) != notes->get_string().npos) return;
  detail::fail(errc::mismatch, {}, {},
               "its comment is a remark, and no info: " + stash::detail::quoted(comment) +
                   "; write that into the \"notes\" of the info, or it would be lost");
}

inline void refuse_lost_remark(field const& f, std::string_view operation, std::string_view id) {
  if (!f.comment || detail::comment_holds(f)) return;
  stash::detail::about(
      id, operation, [&] { detail::refuse_lost_remark(*f.comment, f.info); }, [&] { return "field \"" + f.id + '"'; });
}

/// The comment to write; nullopt: none. Throws `errc::unserializable`.
inline std::optional<std::string> comment_of(field const& f) {
  return detail::comment_holds(f) ? f.comment : detail::new_comment(f);
}

/// Gives `f` what the comment `text` says, and the text itself where we would write another.
inline void take_comment(field& f, std::string text) {
  auto said = detail::read_comment(text);
  f.info = std::move(said.info);
  f.beside = std::move(said.beside);
  bool const is_ambiguous = f.info && f.info->empty() && !f.beside.empty();  // a dictionary has no empty info then
  if (is_ambiguous || detail::new_comment(f) != text) f.comment = std::move(text);
}

/// Where the name or value that begins at `at` in a JSON object ends: at its colon, comma or brace.
inline std::size_t end_of_part(std::string_view json, std::size_t at) {
  bool in_string = false;
  for (int depth = 0;; ++at) {
    char const c = json[at];
    if (in_string) {
      if (c == '\\') ++at;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (depth == 0 && (c == ':' || c == ',' || c == '}')) {
      return at;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

/// Calls `f(name, begin, end)` with each name in a JSON object, and where its value stands.
template <class F>
void for_each_part(std::string_view json, F f) {
  for (std::size_t at = json.find('{') + 1;; ++at) {
    std::size_t const colon = detail::end_of_part(json, at);
    if (json[colon] != ':') return;  // {}
    auto const name = boost::json::parse(json.substr(at, colon - at));
    at = detail::end_of_part(json, colon + 1);
    f(std::string_view(name.get_string()), colon + 1, at);
    if (json[at] == '}') return;
  }
}

/// `comment` with another info, `json`; all else in it stays byte for byte, and so does its form. Where it is no object
/// of CKAN's, a new one.
inline std::string with_info(std::string_view comment, std::string const& json) {
  if (!detail::object_in(comment)) return " {\"_info\":" + json + '}';
  if (!comment.starts_with(' ')) return json;
  std::string result(comment);
  bool is_empty = true;
  std::size_t from = 0, to = 0;  // of several infos the last one counts
  detail::for_each_part(comment, [&](std::string_view name, std::size_t begin, std::size_t end) {
    is_empty = false;
    if (name == "_info") from = begin, to = end;
  });
  if (to > 0) return result.replace(from, to - from, json);
  return result.insert(result.find('{') + 1, "\"_info\":" + json + (is_empty ? "" : ","));
}

/// The info to write for an entry of the dictionary that `annotate` is given, into `comment`. Throws `errc::mismatch`
/// for an entry that is none, `errc::unserializable`, or as `refuse_lost_remark`.
inline std::string info_to_write(boost::json::value const& entry, std::string_view comment) {
  field f;
  detail::apply(f, entry, {}, {});
  if (!f.beside.empty()) detail::fail(errc::mismatch, {}, {}, "\"_beside\" is reserved");
  detail::refuse_lost_remark(comment, f.info);
  if (!f.comment) return json_serializer{}.serialize(entry);
  if (!f.comment->starts_with('{') || !detail::says_the_same(f)) {
    detail::fail(errc::mismatch, {}, {}, "its \"_verbatim\" does not say what stands beside it");
  }
  return *f.comment;
}

}  // namespace stash::inline v1::ckan::detail

namespace stash::inline v1::ckan {

/// The info of a field as JSON: as somebody wrote it, where its text stands and is JSON. "null": it has none. Throws
/// `errc::unserializable`.
inline std::string info_text(field const& f) {
  if (!f.info) return "null";
  std::string text;
  if (detail::comment_holds(f)) {
    if (f.comment->starts_with(' ')) {
      detail::for_each_part(*f.comment, [&](std::string_view name, std::size_t begin, std::size_t end) {
        if (name == "_info") text = f.comment->substr(begin, end - begin);
      });
    } else {
      text = *f.comment;
    }
  }
  if (text.empty() || detail::without_nan(text) != text) return json_serializer{}.serialize(*f.info);
  return text;
}

}  // namespace stash::inline v1::ckan
