#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <stash/detail/sqlite/connection.hpp>
#include <string>
#include <string_view>
#include <vector>

// The statements in sqlite_schema, compared as SQLite reads them.
namespace stash::inline v1::detail {

/// As SQLite folds names: ASCII alone.
inline std::string sqlite_folded(std::string_view name) {
  std::string out(name);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

struct sql_word {
  std::string text;        ///< folded, and a name without its quotes; the text of a string with them
  std::size_t begin, end;  ///< where it stands
};

/// Without white space and comments.
inline std::vector<sql_word> sql_words(std::string_view sql) {
  auto const is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
           (static_cast<unsigned char>(c) & 0x80) != 0;
  };
  /// A word that means something else without its quotes.
  auto const needs_quotes = [](std::string const& name) {
    return ::sqlite3_keyword_check(name.c_str(), static_cast<int>(name.size())) != 0 || name == "true" ||
           name == "false" || (!name.empty() && name[0] >= '0' && name[0] <= '9');
  };
  std::vector<sql_word> words;
  for (std::size_t i = 0; i < sql.size();) {
    std::size_t const begin = i;
    char const c = sql[i];
    std::string text;
    if (std::string_view(" \t\n\r\f").find(c) != std::string_view::npos) {
      ++i;
    } else if (sql.substr(i, 2) == "--") {
      i = std::min(sql.find('\n', i), sql.size());
    } else if (sql.substr(i, 2) == "/*") {
      auto const end = sql.find("*/", i + 2);
      i = end == sql.npos ? sql.size() : end + 2;
    } else if (c == '"' || c == '\'' || c == '`' || c == '[') {
      char const close = c == '[' ? ']' : c;
      for (++i; i < sql.size(); ++i) {
        if (sql[i] == close) {
          if (close == ']' || sql.substr(i + 1, 1) != sql.substr(i, 1)) break;
          ++i;  // doubled
        }
        text += sql[i];
      }
      i = std::min(i + 1, sql.size());
      if (c == '\'') {
        text = std::string("'").append(text);
      } else {
        text = detail::sqlite_folded(text);
        if (needs_quotes(text)) text = detail::sql_name(text);
      }
      words.push_back({text, begin, i});
    } else {
      while (i < sql.size() && is_letter(sql[i])) ++i;
      i = std::max(i, begin + 1);
      words.push_back({detail::sqlite_folded(sql.substr(begin, i - begin)), begin, i});
    }
  }
  return words;
}

/// Which of the words of a `CREATE [UNIQUE] INDEX` or a `CREATE TRIGGER`, as sqlite_schema has them, is the name.
inline std::size_t place_of_name(std::vector<sql_word> const& words) {
  return words.size() > 1 && words[1].text == "unique" ? 3 : 2;
}

/// Whether both would make the same, whatever its name.
inline bool make_the_same(std::string_view one, std::string_view other) {
  auto const texts = [](std::string_view sql) {
    auto const words = detail::sql_words(sql);
    std::vector<std::string> all;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (i != detail::place_of_name(words)) all.push_back(words[i].text);
    }
    return all;
  };
  return texts(one) == texts(other);
}

/// `sql` with another name.
inline std::string renamed(std::string_view sql, std::string_view name) {
  auto const words = detail::sql_words(sql);
  auto const at = detail::place_of_name(words);
  if (at >= words.size()) return std::string(sql);
  return std::string(sql.substr(0, words[at].begin)).append(detail::sql_name(name)).append(sql.substr(words[at].end));
}

}  // namespace stash::inline v1::detail
