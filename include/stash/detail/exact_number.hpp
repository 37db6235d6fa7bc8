#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

namespace stash::inline v1::detail {

/// `digits` times ten to the power of `tens`.
struct decimal {
  std::string digits;  // with the sign, where it is a minus; no zeros in front
  std::int64_t tens = 0;
};

/// nullopt: no number, as SQLite reads a text (https://sqlite.org/datatype3.html): in decimal, with white space around.
inline std::optional<decimal> read_decimal(std::string_view text) {
  constexpr std::string_view white = " \t\n\v\f\r";
  text = text.substr(0, text.find_last_not_of(white) + 1);
  text.remove_prefix(std::min(text.find_first_not_of(white), text.size()));
  auto const takes = [&](std::string_view any_of) {
    bool const is_there = !text.empty() && any_of.find(text.front()) != any_of.npos;
    if (is_there) text.remove_prefix(1);
    return is_there;
  };
  auto const digits = [&] {
    auto const found = text.substr(0, text.find_first_not_of("0123456789"));
    text.remove_prefix(found.size());
    return found;
  };
  bool const is_negative = text.starts_with('-');
  takes("+-");
  auto const whole = digits();
  auto const fraction = takes(".") ? digits() : std::string_view{};
  if (whole.empty() && fraction.empty()) return std::nullopt;
  std::int64_t tens = 0;
  if (takes("eE")) {
    bool const is_small = text.starts_with('-');
    takes("+-");
    auto const power = digits();
    if (power.empty()) return std::nullopt;
    constexpr std::int64_t too_many = 1'000'000'000;
    if (std::from_chars(power.data(), power.data() + power.size(), tens).ec != std::errc{}) tens = too_many;
    tens = is_small ? -std::min(tens, too_many) : std::min(tens, too_many);
  }
  if (!text.empty()) return std::nullopt;
  std::string all = std::string(whole).append(fraction);
  all.erase(0, all.find_first_not_of('0'));
  if (is_negative) all.insert(0, 1, '-');
  return decimal{std::move(all), tens - static_cast<std::int64_t>(fraction.size())};
}

struct no_number {};
struct inexact_number {};  ///< one that would change
using number = std::variant<no_number, inexact_number, std::int64_t, double>;

/// The number that a text tells, where it can be printed again as exactly that: an integer of 64 bits, or at most 15
/// significant digits, which every double holds, times or by a power of ten that a double holds exactly: then one
/// operation rounds right.
inline number exact_number(std::string_view text) {
  auto found = read_decimal(text);
  if (!found) return no_number{};
  auto& [digits, tens] = *found;
  auto const integer = [&]() -> std::optional<std::int64_t> {
    std::int64_t n = 0;
    auto const end = digits.data() + digits.size();
    auto const read = std::from_chars(digits.data(), end, n);
    return read.ec == std::errc{} && read.ptr == end ? std::optional(n) : std::nullopt;
  };
  if (digits.empty() || digits == "-") return std::int64_t{0};
  if (auto const n = tens == 0 ? integer() : std::nullopt) return *n;
  auto const end = digits.find_last_not_of('0') + 1;
  tens += static_cast<std::int64_t>(digits.size() - end);
  digits.resize(end);
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
