#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// The ASCII letters of `text` in lower case, whatever the locale.
inline std::string in_lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

/// Whether a text has a password in it as connection strings have: "password=...", "Pwd=...", "user:...@host".
inline bool has_password(std::string_view text) {
  if (text.starts_with('.') || (text.starts_with('/') && !text.starts_with("//"))) return false;
  std::string const lower = detail::in_lower_case(text);
  for (std::string_view const word : {"password", "passwd", "pass", "pwd"}) {
    for (auto at = lower.find(word); at != lower.npos; at = lower.find(word, at + 1)) {
      bool const is_in_a_word = at > 0 && lower[at - 1] >= 'a' && lower[at - 1] <= 'z';
      auto const behind = is_in_a_word ? lower.npos : lower.find_first_not_of(" \t", at + word.size());
      if (behind != lower.npos && (lower[behind] == '=' || lower[behind] == ':')) return true;
    }
  }
  auto const first = text.substr(0, text.find('/', text.find_first_not_of('/')));
  auto const colon = first.find(':');
  return colon != first.npos && first.find('@', colon) != first.npos;
}

/// What a text begins with that is a URL or a connection string, and no path: "postgresql://", "host=". No more of it
/// than that, for a password may follow. nullopt: it may be a path, as "a:b" and "date=2026" may.
inline std::optional<std::string> address_in(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n\r\f\v'\""), text.size()));
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  constexpr std::string_view rest = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-_";
  auto const word = text.substr(0, text.find_first_not_of(rest));
  if (word.empty() || letters.find(word.front()) == letters.npos) {
    return detail::has_password(text) ? std::optional<std::string>("") : std::nullopt;
  }
  auto behind = text.substr(word.size());
  if (behind.starts_with("://")) return std::string(word) + "://";
  auto const name = detail::in_lower_case(word);
  auto const is_one_of = [&](std::string_view words) {  // with a space on either side of each
    return words.find(std::string(" ").append(name).append(" ")) != words.npos;
  };
  // pusher's own, and what libpq and JDBC have before an address.
  if (behind.starts_with(':') && is_one_of(" postgresql postgres jdbc sqlite journal file ")) {
    return std::string(word) + ':';
  }
  // libpq's, at https://www.postgresql.org/docs/15/libpq-connect.html, and what other programs call the first of them.
  constexpr std::string_view keywords =
      " host hostaddr port dbname user password passfile channel_binding connect_timeout client_encoding "
      "options application_name fallback_application_name keepalives keepalives_idle keepalives_interval "
      "keepalives_count tcp_user_timeout replication gssencmode sslmode requiressl sslcompression sslcert "
      "sslkey sslpassword sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version "
      "ssl_max_protocol_version krbsrvname gsslib service target_session_attrs server database uid "
      "servicefile load_balance_hosts ";
  behind.remove_prefix(std::min(behind.find_first_not_of(" \t\n\r\f\v"), behind.size()));
  if (behind.starts_with('=') && is_one_of(keywords)) return std::string(word) + '=';
  return detail::has_password(text) ? std::optional<std::string>("") : std::nullopt;
}

}  // namespace stash::inline v1::detail
