#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string_view>

namespace stash::inline v1::detail {

/// XXH64 after its specification (xxHash, doc/xxhash_spec.md). Written out here because xxhash.h as an
/// inline header rewrites macros in every unit that includes it, and as a library is one more thing to link.
class xxh64 {
 public:
  static std::uint64_t hash(std::string_view bytes, std::uint64_t seed = 0) noexcept {
    char const* p = bytes.data();
    std::size_t left = bytes.size();
    std::uint64_t h = seed + prime5;
    if (left >= 32) {
      std::uint64_t a = seed + prime1 + prime2, b = seed + prime2, c = seed, d = seed - prime1;
      for (; left >= 32; left -= 32, p += 32) {
        a = round(a, word(p));
        b = round(b, word(p + 8));
        c = round(c, word(p + 16));
        d = round(d, word(p + 24));
      }
      h = std::rotl(a, 1) + std::rotl(b, 7) + std::rotl(c, 12) + std::rotl(d, 18);
      for (std::uint64_t const lane : {a, b, c, d}) h = (h ^ round(0, lane)) * prime1 + prime4;
    }
    h += bytes.size();
    for (; left >= 8; left -= 8, p += 8) h = std::rotl(h ^ round(0, word(p)), 27) * prime1 + prime4;
    for (; left >= 4; left -= 4, p += 4) h = std::rotl(h ^ (half_word(p) * prime1), 23) * prime2 + prime3;
    for (; left > 0; --left, ++p) h = std::rotl(h ^ (*as_bytes(p) * prime5), 11) * prime1;
    h = (h ^ (h >> 33)) * prime2;
    h = (h ^ (h >> 29)) * prime3;
    return h ^ (h >> 32);
  }

 private:
  static constexpr std::uint64_t prime1 = 0x9E3779B185EBCA87U, prime2 = 0xC2B2AE3D27D4EB4FU,
                                 prime3 = 0x165667B19E3779F9U, prime4 = 0x85EBCA77C2B2AE63U,
                                 prime5 = 0x27D4EB2F165667C5U;

  static unsigned char const* as_bytes(char const* p) noexcept { return reinterpret_cast<unsigned char const*>(p); }
  // Not Boost.Endian's: with it, including the library would take a twentieth longer.
  static std::uint64_t word(char const* p) noexcept {
    std::uint64_t n = 0;
    std::memcpy(&n, p, sizeof n);
    return std::endian::native == std::endian::little ? n : __builtin_bswap64(n);
  }
  static std::uint64_t half_word(char const* p) noexcept {
    std::uint32_t n = 0;
    std::memcpy(&n, p, sizeof n);
    return std::endian::native == std::endian::little ? n : __builtin_bswap32(n);
  }
  static std::uint64_t round(std::uint64_t lane, std::uint64_t input) noexcept {
    return std::rotl(lane + input * prime2, 31) * prime1;
  }
};

}  // namespace stash::inline v1::detail
