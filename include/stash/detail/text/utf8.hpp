#pragma once

#include <boost/locale/utf.hpp>  // header only: needs no Boost.Locale library
#include <cstdint>
#include <cstring>
#include <stash/version.hpp>  // first of all, to refuse an older standard in words
#include <string_view>

namespace stash::inline v1::detail {

/// Whether `bytes` is UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing above U+10FFFF.
inline bool is_utf8(std::string_view bytes) noexcept {
  char const* p = bytes.data();
  char const* const end = p + bytes.size();
  while (p != end) {
    std::uint64_t eight = 0;  // most text is ASCII: eight bytes a step
    while (end - p >= 8 && (std::memcpy(&eight, p, 8), (eight & 0x8080808080808080U) == 0)) p += 8;
    while (p != end && static_cast<unsigned char>(*p) < 0x80) ++p;
    if (p == end) break;
    auto const point = boost::locale::utf::utf_traits<char>::decode(p, end);
    if (point == boost::locale::utf::illegal || point == boost::locale::utf::incomplete) return false;
  }
  return true;
}

}  // namespace stash::inline v1::detail
