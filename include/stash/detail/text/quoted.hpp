#pragma once

#include <algorithm>
#include <cstddef>
#include <stash/detail/text/utf8.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// The lower-case hexadecimal digits of one byte.
inline void append_hex(std::string& out, unsigned char byte) {
  constexpr char digits[] = "0123456789abcdef";
  out += digits[byte >> 4];
  out += digits[byte & 15];
}

/// `text` for a message, one line of UTF-8 whatever it is: control bytes as `\xNN`, and where it is not UTF-8 all bytes
/// above ASCII too. Cut after some `longest` bytes.
inline std::string printable(std::string_view text, std::size_t longest = 400) {
  bool const is_text = detail::is_utf8(text);
  auto const is_inner = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  std::size_t size = std::min(text.size(), longest);
  while (is_text && size < text.size() && is_inner(text[size])) --size;  // not amid a letter
  std::string out;
  for (char const each : text.substr(0, size)) {
    auto const c = static_cast<unsigned char>(each);
    if (c < 0x20 || c == 0x7f || (c >= 0x80 && !is_text)) {
      out += "\\x";
      detail::append_hex(out, c);
    } else {
      out += each;
    }
  }
  if (text.size() > size) out += "...";
  return out;
}

/// `text` between double quotes, as JSON writes a string that has neither backslash nor control bytes.
inline void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (char const c : text) {
    if (c == '"') out += '\\';
    out += c;
  }
  out += '"';
}
inline std::string quoted(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  detail::append_quoted(out, text);
  return out;
}

}  // namespace stash::inline v1::detail
