#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
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
      std::uint64_t lane[4] = {seed + prime1 + prime2, seed + prime2, seed, seed - prime1};
      for (; left >= 32; left -= 32) {
        for (std::uint64_t& l : lane) {
          l = round(l, read<8>(p));
          p += 8;
        }
      }
      h = std::rotl(lane[0], 1) + std::rotl(lane[1], 7) + std::rotl(lane[2], 12) + std::rotl(lane[3], 18);
      for (std::uint64_t const l : lane) h = (h ^ round(0, l)) * prime1 + prime4;
    }
    h += bytes.size();
    for (; left >= 8; left -= 8, p += 8) h = std::rotl(h ^ round(0, read<8>(p)), 27) * prime1 + prime4;
    for (; left >= 4; left -= 4, p += 4) h = std::rotl(h ^ (read<4>(p) * prime1), 23) * prime2 + prime3;
    for (; left > 0; --left, ++p) h = std::rotl(h ^ (read<1>(p) * prime5), 11) * prime1;
    h = (h ^ (h >> 33)) * prime2;
    h = (h ^ (h >> 29)) * prime3;
    return h ^ (h >> 32);
  }

 private:
  static constexpr std::uint64_t prime1 = 0x9E3779B185EBCA87U, prime2 = 0xC2B2AE3D27D4EB4FU,
                                 prime3 = 0x165667B19E3779F9U, prime4 = 0x85EBCA77C2B2AE63U,
                                 prime5 = 0x27D4EB2F165667C5U;

  static std::uint64_t round(std::uint64_t lane, std::uint64_t input) noexcept {
    return std::rotl(lane + input * prime2, 31) * prime1;
  }

  /// Little endian whatever the machine is: files move between machines. Compilers make one load of it.
  template <int N>
  static std::uint64_t read(char const* p) noexcept {
    std::uint64_t value = 0;
    for (int i = 0; i < N; ++i) value |= std::uint64_t{static_cast<unsigned char>(p[i])} << (8 * i);
    return value;
  }
};

}  // namespace stash::inline v1::detail
