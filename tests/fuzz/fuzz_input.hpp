#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <stash/error.hpp>
#include <string_view>

// What the fuzz targets share.
namespace fuzz {

/// Unless it holds, ends the process, so that libFuzzer keeps the input.
inline void require(bool holds, char const* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Bytes to take choices from, front to back. Behind their end there are zeros and empty texts.
class input {
 public:
  explicit input(std::string_view bytes) noexcept : left_(bytes) {}

  std::string_view text(std::size_t size) noexcept {
    std::string_view const result = left_.substr(0, size);
    left_.remove_prefix(result.size());
    return result;
  }
  std::string_view rest() noexcept { return text(left_.size()); }
  bool empty() const noexcept { return left_.empty(); }

  std::uint64_t number(std::size_t bytes) noexcept {  // little endian
    std::uint64_t result = 0;
    for (std::size_t i = 0; i < bytes; ++i) {
      std::string_view const one = text(1);
      if (!one.empty()) result |= std::uint64_t{static_cast<unsigned char>(one[0])} << (8 * i);
    }
    return result;
  }
  std::size_t below(std::size_t limit) noexcept { return static_cast<std::size_t>(number(2)) % limit; }
  bool flag() noexcept { return number(1) % 2 != 0; }

 private:
  std::string_view left_;
};

/// The code that `f` throws; nullopt: it throws nothing. What is no `stash::error` ends the process.
template <class F>
std::optional<stash::errc> refusal(F f) {
  try {
    f();
  } catch (stash::error const& e) {
    require(e.code().category() == stash::stash_category(), "an error of bytes is one of the library's own");
    return static_cast<stash::errc>(e.code().value());
  }
  return std::nullopt;
}

/// UTF-8 by the table in RFC 3629, section 4; independent of the library's decoder and of utfcpp.
inline bool is_utf8(std::string_view bytes) noexcept {
  struct form {
    unsigned char first_low, first_high, second_low, second_high;
    std::size_t size;
  };
  static constexpr form forms[] = {
      {0x00, 0x7F, 0x80, 0xBF, 1}, {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
      {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
      {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
  };
  auto const at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  for (std::size_t i = 0; i < bytes.size();) {
    auto const* const f = std::find_if(std::begin(forms), std::end(forms), [&](form const& each) {
      return at(i) >= each.first_low && at(i) <= each.first_high;
    });
    if (f == std::end(forms) || bytes.size() - i < f->size) return false;
    if (f->size > 1 && (at(i + 1) < f->second_low || at(i + 1) > f->second_high)) return false;
    for (std::size_t j = 2; j < f->size; ++j) {
      if (at(i + j) < 0x80 || at(i + j) > 0xBF) return false;
    }
    i += f->size;
  }
  return true;
}

}  // namespace fuzz
