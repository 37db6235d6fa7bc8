#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// The lower-case hexadecimal digits of one byte.
inline void append_hex(std::string& out, unsigned char byte) {
  constexpr char digits[] = "0123456789abcdef";
  out += digits[byte >> 4];
  out += digits[byte & 15];
}

/// `text` for a message: control bytes as `\xNN`, so that it stays on one line, and cut after 400 bytes.
inline std::string printable(std::string_view text) {
  constexpr std::size_t longest = 400;
  std::string out;
  for (char const each : text.substr(0, longest)) {
    auto const c = static_cast<unsigned char>(each);
    if (c < 0x20 || c == 0x7f) {
      out += "\\x";
      append_hex(out, c);
    } else {
      out += each;
    }
  }
  if (text.size() > longest) out += "...";
  return out;
}

/// `text` between double quotes, as JSON writes a string that has neither backslash nor control bytes.
inline std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char const c : text) {
    if (c == '"') out += '\\';
    out += c;
  }
  return out += '"';
}

}  // namespace stash::inline v1::detail
