#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/detail/text/quoted.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>
#include <utility>

// The names in a directory of `atomic_file_storage` (the journal's are in detail/journal/file.hpp):
//
//     orders.stash                                                        the record of the key "orders"
//     orders.superseded-20261122T144421.123456Z-9f3c0a5b7d1e2c48          one that was set aside
//     .orders.9f3c0a5b7d1e2c48.tmp                                        a save or a removal that has not ended
//     .lock                                                               a byte of it for each key's lock
namespace stash::inline v1::detail {

inline constexpr std::string_view record_suffix = ".stash";
inline constexpr std::string_view temporary_suffix = ".tmp";
inline constexpr char lock_file_name[] = ".lock";

inline std::string hex16(std::uint64_t n) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out(16, '0');
  for (std::size_t at = out.size(); at-- > 0; n >>= 4) out[at] = digits[n & 15];
  return out;
}
/// Other programs have temporary files too: only what `hex16` writes is ours.
inline bool is_hex16(std::string_view text) noexcept {
  return text.size() == 16 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

/// Only a-z 0-9 _ and, where `dots`, - and . stay, the latter two not in front: a name is no option and not
/// hidden. Upper-case letters are encoded, so that "A" and "a" stay apart where a directory folds case; all
/// bytes above ASCII are, so that no file system normalises them.
inline std::string percent_encoded(std::string_view text, bool dots) {
  std::string out;
  out.reserve(text.size() + record_suffix.size());
  for (char const each : text) {
    auto const c = static_cast<unsigned char>(each);
    bool const stays = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
                       (dots && (c == '-' || c == '.') && !out.empty());
    if (stays) {
      out += each;
    } else {
      detail::append_hex(out += '%', c);
    }
  }
  return out;
}

/// The key's part of every file name. Throws `errc::invalid_key` over 200 bytes: with the longest suffix it
/// must stay under NAME_MAX, which is 255.
inline std::string encoded(key const& k, std::string_view operation) {
  constexpr std::size_t longest = 200;
  std::string name = detail::percent_encoded(k, true);
  if (name.size() > longest) {
    throw error{errc::invalid_key, std::string(operation), k.string(),
                "its file name would have " + std::to_string(name.size()) + " bytes; 200 are allowed"};
  }
  return name;
}

/// The key that `encoded` makes this name of; nullopt: none does.
inline std::optional<key> decoded(std::string_view name) {
  std::string text;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '%') {
      text += name[i];
      continue;
    }
    if (i + 2 >= name.size()) return std::nullopt;
    constexpr std::string_view digits = "0123456789abcdef";
    auto const high = digits.find(name[++i]), low = digits.find(name[++i]);
    if (high == digits.npos || low == digits.npos) return std::nullopt;
    text += static_cast<char>(16 * high + low);
  }
  try {
    key k{text};
    if (detail::encoded(k, "decode") != name) return std::nullopt;
    return k;
  } catch (error const&) {  // no name of ours
    return std::nullopt;
  }
}

inline std::string record_name(key const& k, std::string_view operation) {
  return detail::encoded(k, operation).append(record_suffix);
}

inline std::optional<key> key_of_record(std::string_view name) {
  if (!name.ends_with(record_suffix)) return std::nullopt;
  return detail::decoded(name.substr(0, name.size() - record_suffix.size()));
}

inline std::string temporary_name(key const& k, std::string_view operation, std::uint64_t random) {
  return '.' + detail::encoded(k, operation) + '.' + hex16(random).append(temporary_suffix);
}

inline std::optional<key> key_of_temporary(std::string_view name) {
  constexpr std::size_t behind_key = 1 + 16 + temporary_suffix.size();
  if (!name.starts_with('.') || !name.ends_with(temporary_suffix) || name.size() <= 1 + behind_key) return std::nullopt;
  name.remove_prefix(1);
  if (name[name.size() - behind_key] != '.') return std::nullopt;
  if (!detail::is_hex16(name.substr(name.size() - behind_key + 1, 16))) return std::nullopt;
  return detail::decoded(name.substr(0, name.size() - behind_key));
}

/// What the name of a record set aside has beside the key, of the reason ten bytes.
inline constexpr std::size_t longest_behind_key = 55;

/// The name for a record set aside. The reason is cut where the name would have more than `most` bytes; the longest key
/// leaves it ten.
inline std::string set_aside_name(key const& k, std::string_view operation, std::string_view reason, time_point when,
                                  std::uint64_t random, std::size_t most = 255) {
  std::string const head = detail::encoded(k, operation) + '.';
  std::string const tail = '-' + detail::to_text(when, true) + '-' + detail::hex16(random);
  std::size_t const left = most - std::min(most, head.size() + tail.size());
  return head + detail::percent_encoded(reason, false).substr(0, left) + tail;
}

/// The same where it is no file name: the key as it is, of the reason what an index of PostgreSQL can take. It has no
/// newline.
inline std::string kept_name(key const& k, std::string_view reason, time_point when, std::uint64_t random) {
  return k.string() + '.' + detail::percent_encoded(reason, false).substr(0, 1000) + '-' + detail::to_text(when, true) +
         '-' + hex16(random);
}

/// The key of a record set aside, and when that was.
inline std::optional<std::pair<key, time_point>> parse_set_aside(std::string_view name) {
  auto const random = name.rfind('-');
  if (random == name.npos || !detail::is_hex16(name.substr(random + 1))) return std::nullopt;
  std::string_view const head = name.substr(0, random);
  auto dash = head.rfind('-');  // the reason has none
  if (dash == head.npos) return std::nullopt;
  if (dash > 0 && head[dash - 1] == '-') --dash;  // the sign of a year before 0
  auto const dot = head.rfind('.', dash);
  if (dot == head.npos) return std::nullopt;
  std::string_view const reason = head.substr(dot + 1, dash - dot - 1);
  if (reason.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_%") != reason.npos) return std::nullopt;
  auto const t = detail::to_time(head.substr(dash + 1), true);
  auto k = detail::decoded(head.substr(0, dot));
  if (!t || !k) return std::nullopt;
  return std::pair{std::move(*k), *t};
}
inline std::optional<key> key_of_set_aside(std::string_view name) {
  auto parsed = detail::parse_set_aside(name);
  return parsed ? std::optional<key>(std::move(parsed->first)) : std::nullopt;
}

}  // namespace stash::inline v1::detail
