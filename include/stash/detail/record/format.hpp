#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <stash/error.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

// A record as bytes: a header line and the payload with a newline behind it.
//
//     {"stash":1,"key":"orders","saved_at":"2026-11-22T14:44:21.123456Z","bytes":18,"xxh64":"<16 hex digits>"}
//     {"id":{"label":1}}
//
// The checksum is XXH64 of the payload, seeded with XXH64 of the header line without its 16 digits (and
// without the newline). It ends the header line in every version of the format, so that it can be checked
// before anything else is believed.
namespace stash::inline v1::detail {

inline constexpr std::string_view checksum_field = ",\"xxh64\":\"";
inline constexpr std::string_view header_end = "\"}";

/// `header`: its line without the digits and the newline.
inline std::string checksum_under(std::string_view header, std::string_view payload) {
  return hex16(xxh64::hash(payload, xxh64::hash(header)));
}
/// The same where `prefix` is the header up to the digits.
inline std::string checksum(std::string_view prefix, std::string_view payload) {
  std::string header;
  header.reserve(prefix.size() + header_end.size());
  return detail::checksum_under(header.append(prefix).append(header_end), payload);
}

/// The header line without the digits and the newline. `saved_at` is as `time_text` writes it.
inline std::string header_without_digits(key const& k, std::string_view saved_at, std::size_t bytes) {
  std::string line;
  line.reserve(256);
  detail::append_quoted(line.append("{\"stash\":1,\"key\":"), k);
  line.append(",\"saved_at\":\"").append(saved_at);
  line.append("\",\"bytes\":").append(std::to_string(bytes)).append(checksum_field).append(header_end);
  return line;
}

/// The header line of `r`, its newline included.
inline std::string header_line(key const& k, record const& r) {
  std::string line = detail::header_without_digits(k, time_text{r.saved_at}.str(), r.payload.size());
  std::string const digits = detail::checksum_under(line, r.payload);
  line.resize(line.size() - header_end.size());
  line.append(digits).append(header_end) += '\n';
  return line;
}

/// Takes `expected` off the front of `text`; false where it does not stand there.
inline bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

struct record_parts {
  std::string_view prefix;  // of the header, up to the checksum's digits
  std::string_view payload;
};

/// Splits whole bytes into their parts; nullopt: the framing or the checksum is wrong.
inline std::optional<record_parts> split(std::string_view bytes) {
  auto const newline = bytes.find('\n');
  if (newline == bytes.npos || !bytes.ends_with('\n') || newline + 1 == bytes.size()) return std::nullopt;
  std::string_view line = bytes.substr(0, newline);
  std::string_view const payload = bytes.substr(newline + 1, bytes.size() - newline - 2);
  if (!line.ends_with(header_end) || line.size() < 16 + header_end.size()) return std::nullopt;
  line.remove_suffix(header_end.size());
  std::string_view const digits = line.substr(line.size() - 16);
  line.remove_suffix(16);
  if (!line.ends_with(checksum_field) || detail::checksum(line, payload) != digits) return std::nullopt;
  return record_parts{line, payload};
}

/// The record that `bytes` are; `where()` is for the message.
///
/// Throws `errc::corrupt` (framing, checksum, another key: whatever `header_line` and `k` would not have
/// made) and `errc::mismatch` (whole, but of another version).
template <class Where>
record parse_record(std::string bytes, key const& k, std::string_view operation, Where where) {
  auto const fail = [&](errc code, std::string_view why) {
    return error{code, std::string(operation), k.string(), std::string(where()).append(": ").append(why)};
  };
  auto const parts = detail::split(bytes);
  if (!parts) throw fail(errc::corrupt, "cut off or damaged");
  std::string_view header = parts->prefix;
  std::uint64_t version = 0;
  if (!detail::take(header, "{\"stash\":")) throw fail(errc::corrupt, "no header");
  auto const parsed = std::from_chars(header.data(), header.data() + header.size(), version);
  if (parsed.ec != std::errc{}) throw fail(errc::corrupt, "no version");
  if (version != 1) throw fail(errc::mismatch, "of format version " + std::to_string(version) + ", not 1");

  if (!detail::take(header, "1")) throw fail(errc::corrupt, "no version");  // "01" is none
  if (!detail::take(header, ",\"key\":")) throw fail(errc::corrupt, "no key");
  if (!detail::take(header, detail::quoted(k))) throw fail(errc::corrupt, "it is the record of another key");
  if (!detail::take(header, ",\"saved_at\":\"")) throw fail(errc::corrupt, "no time");
  std::string_view const time = header.substr(0, header.find('"'));
  auto const saved_at = detail::to_time(time);
  if (!saved_at) throw fail(errc::corrupt, "no time");
  header.remove_prefix(time.size());
  if (!detail::take(header, "\",\"bytes\":") || !detail::take(header, std::to_string(parts->payload.size())) ||
      header != checksum_field) {
    throw fail(errc::corrupt, "its header is not of the form of version 1");
  }
  auto const payload_at = static_cast<std::size_t>(parts->payload.data() - bytes.data());
  bytes.pop_back();
  bytes.erase(0, payload_at);
  return {std::move(bytes), *saved_at};
}

}  // namespace stash::inline v1::detail
