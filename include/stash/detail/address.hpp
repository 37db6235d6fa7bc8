#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// What a text begins with that is a URL or a connection string of libpq's, and no path: "postgresql://", "host=". No
/// more of it than that, for a password may follow. nullopt: it may be a path, as "a:b" and "date=2026" may.
inline std::optional<std::string> address_in(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n\r\f\v'\""), text.size()));
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  constexpr std::string_view rest = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-_";
  auto const word = text.substr(0, text.find_first_not_of(rest));
  if (word.empty() || letters.find(word.front()) == letters.npos) return std::nullopt;
  text.remove_prefix(word.size());
  if (text.starts_with("://")) return std::string(word) + "://";
  constexpr std::array<std::string_view, 12> keywords{"host",    "hostaddr", "port",    "dbname",
                                                      "user",    "password", "service", "passfile",
                                                      "sslmode", "options",  "sslcert", "sslpassword"};
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n\r\f\v"), text.size()));
  bool const is_setting = text.starts_with('=') && std::find(keywords.begin(), keywords.end(), word) != keywords.end();
  return is_setting ? std::optional(std::string(word) + '=') : std::nullopt;
}

}  // namespace stash::inline v1::detail
