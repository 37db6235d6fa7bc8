#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stash/detail/text/decimal.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

namespace stash::inline v1::detail {

struct no_number {};
struct inexact_number {};  ///< one that would change
using number_found = std::variant<no_number, inexact_number, std::int64_t, double>;

/// The number that a text tells, where it can be printed again as exactly that: an integer of 64 bits, or at most 15
/// significant digits, which every double holds, times or by a power of ten that a double holds exactly: then one
/// operation rounds right.
inline number_found exact_number(std::string_view text) {
  auto found = detail::read_decimal(text);
  if (!found) return no_number{};
  auto& digits = found->digits;
  auto& tens = found->tens;
  auto const integer = [&]() -> std::optional<std::int64_t> {
    std::int64_t n = 0;
    bool const fits = std::from_chars(digits.data(), digits.data() + digits.size(), n).ec == std::errc{};
    return fits ? std::optional(n) : std::nullopt;
  };
  if (digits.empty() || digits == "-") return std::int64_t{0};
  if (auto const n = tens == 0 ? integer() : std::nullopt) return *n;
  *found = detail::normal(std::move(*found));
  constexpr std::size_t most_digits = 15;
  constexpr std::int64_t most_tens = 22;
  if (digits.size() - (digits.front() == '-' ? 1 : 0) > most_digits || std::abs(tens) > most_tens)
    return inexact_number{};
  double power = 1;
  for (auto i = std::abs(tens); i > 0; --i) power *= 10;
  auto const n = static_cast<double>(*integer());
  double const value = tens < 0 ? n / power : n * power;
  constexpr double most = 9007199254740992;  // 2^53
  bool const is_integer = std::abs(value) < most && value == static_cast<double>(static_cast<std::int64_t>(value));
  if (is_integer) return static_cast<std::int64_t>(value);
  return value;
}

}  // namespace stash::inline v1::detail
