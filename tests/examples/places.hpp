#pragma once

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace example {

/// What the user names on the command line, by its scheme.
enum class place_kind { path, sqlite, journal, postgres, ckan, unknown };
struct place {
  place_kind kind = place_kind::unknown;
  std::string where{};
};

/// `text` is `sqlite:FILE`, `journal:DIRECTORY`, `postgresql://...`, `postgres://...`, a CKAN site as
/// `ckan+https://...` (or `ckan+http://...`; `where` has no `ckan+`), or a path. What only looks like one of these,
/// like another URL or like libpq's "host=... password=..." is none: a program that takes it for the name of a
/// directory makes that, and trusts it. A path with a colon in its first part can be given as ./a:b.
inline place place_of(std::string const& text) {
  auto const is_path = [](std::string_view s) {
    auto const first = s.substr(0, s.find('/'));
    bool const is_host = s.starts_with("//") && s.find_first_of(":@") != s.npos;
    return !s.empty() && first.find_first_of(":=") == first.npos && !is_host && s.find("://") == s.npos;
  };
  if (text.starts_with("postgresql://") || text.starts_with("postgres://")) return {place_kind::postgres, text};
  if (text.starts_with("ckan+https://") || text.starts_with("ckan+http://")) return {place_kind::ckan, text.substr(5)};
  if (is_path(text)) return {place_kind::path, text};
  for (auto const& [scheme, kind] :
       {std::pair{std::string("sqlite:"), place_kind::sqlite}, {"journal:", place_kind::journal}}) {
    if (!text.starts_with(scheme)) continue;
    std::string rest = text.substr(scheme.size());
    if (is_path(rest) && !rest.starts_with("//")) return {kind, std::move(rest)};  // not SQLAlchemy's sqlite:///FILE
  }
  return {};
}

/// Without white space at its end.
inline std::string trimmed(std::string text) {
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return text;
}

/// Hides the passwords and tokens that stand in the arguments and in the environment, and those that it is told of, in
/// whatever is printed.
class masking {
 public:
  /// Learns what may be a password in an argument: what stands between a colon and an @ of a URL, or behind
  /// "password=", as it is, without its escapes, and its parts, for libpq tells the part that it could not read.
  void learn(std::string const& argument) {
    for (auto const& text : {argument, decoded(argument)}) {
      learn_user(text);
      learn_settings(text);
    }
    sort();
  }
  void learn_environment() {
    for (char const* const name : {"PGPASSWORD", "PGSSLPASSWORD"}) {
      if (char const* const value = std::getenv(name)) learn_secret(value);
    }
    if (char const* const value = std::getenv("CKAN_API_TOKEN")) learn_token(trimmed(value));
    sort();
  }
  /// A token is hidden as a whole. It may stand in JSON, too, where a quote and a backslash have a backslash before
  /// them.
  void learn_token(std::string const& token) {
    if (token.empty()) return;
    std::string in_json;
    for (char const c : token) in_json += c == '"' || c == '\\' ? std::string{'\\', c} : std::string{c};
    secrets_.push_back(token);
    secrets_.push_back(std::move(in_json));
    sort();
  }

  std::string operator()(std::string text) const {
    constexpr std::string_view before = ":=\"'";
    for (auto const& secret : secrets_) {
      for (auto at = text.find(secret); at != text.npos; at = text.find(secret, at)) {
        bool const is_bare = secret.size() < shortest && (at == 0 || before.find(text[at - 1]) == before.npos);
        if (!is_bare) text.replace(at, secret.size(), "***");
        at += is_bare ? 1 : 3;
      }
    }
    return text;
  }

 private:
  static constexpr std::size_t shortest = 4;  // what is shorter is hidden only behind a colon, "=" or a quote

  /// The longest first: a shorter one may be a part of it.
  void sort() {
    std::sort(secrets_.begin(), secrets_.end(), [](auto const& a, auto const& b) { return a.size() > b.size(); });
  }
  static std::string decoded(std::string const& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      bool const is_escape = text[i] == '%' && i + 2 < text.size() &&
                             std::isxdigit(static_cast<unsigned char>(text[i + 1])) != 0 &&
                             std::isxdigit(static_cast<unsigned char>(text[i + 2])) != 0;
      out += is_escape ? static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16)) : text[i];
      if (is_escape) i += 2;
    }
    return out;
  }

  void learn_secret(std::string_view secret) {
    if (secret.empty()) return;
    secrets_.emplace_back(secret);
    for (std::size_t at = 0, end = 0; at < secret.size(); at = end + 1) {
      end = std::min(secret.find_first_of("/?#:@&'\\ ", at), secret.size());
      if (end > at) secrets_.emplace_back(secret.substr(at, end - at));
    }
  }
  void learn_user(std::string_view text) {
    auto const scheme = text.find("://");
    if (scheme != text.npos) text.remove_prefix(scheme + 3);
    auto const colon = text.find(':');
    auto const at = text.rfind('@');
    if (colon == text.npos) return;
    if (at != text.npos && at > colon) return learn_secret(text.substr(colon + 1, at - colon - 1));
    if (scheme == text.npos) return;
    auto const port =
        text.substr(colon + 1, text.find_first_of("/?", colon) - colon - 1);  // or a password without its @
    if (port.find_first_not_of("0123456789,:") != port.npos) learn_secret(port);
  }
  void learn_settings(std::string const& text) {
    std::string folded;
    for (char const c : text) folded += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    constexpr std::string_view word = "password";
    for (auto at = folded.find(word); at != folded.npos; at = folded.find(word, at + 1)) {
      auto const equals = folded.find_first_not_of(" \t\n", at + word.size());
      if (equals == folded.npos || folded[equals] != '=') continue;
      auto begin = text.find_first_not_of(" \t\n", equals + 1);
      if (begin == text.npos) continue;
      bool const is_quoted = text[begin] == '\'';
      if (is_quoted) ++begin;
      auto end = begin;
      while (end < text.size() &&
             (is_quoted ? text[end] != '\'' : std::string_view(" \t\n&").find(text[end]) == std::string_view::npos)) {
        end += text[end] == '\\' ? 2U : 1U;
      }
      learn_secret(std::string_view(text).substr(begin, std::min(end, text.size()) - begin));
    }
  }

  std::vector<std::string> secrets_;
};

}  // namespace example
