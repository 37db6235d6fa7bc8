#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

// Numbers as files have them, whatever the machine's own order is: files move between machines. By memcpy where it is
// the same, for g++ at -O2 makes no one load and no one store of the loops.
namespace stash::inline v1::detail {

template <class Number>
Number load_little_endian(char const* from) noexcept {
  Number n = 0;
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(&n, from, sizeof n);
  } else {
    for (std::size_t i = sizeof n; i-- > 0;) n = static_cast<Number>(n << 8 | static_cast<unsigned char>(from[i]));
  }
  return n;
}

inline void append_little_endian(std::string& out, std::uint64_t n) {
  char bytes[sizeof n];
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(bytes, &n, sizeof n);
  } else {
    for (char& byte : bytes) byte = static_cast<char>(n), n >>= 8;
  }
  out.append(bytes, sizeof bytes);
}

}  // namespace stash::inline v1::detail
