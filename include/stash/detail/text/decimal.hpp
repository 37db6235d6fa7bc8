#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace stash::inline v1::detail {

/// `digits` times ten to the power of `tens`.
struct decimal {
  std::string digits;  // with the sign, where it is a minus; no zeros in front
  std::int64_t tens = 0;
  friend bool operator==(decimal const&, decimal const&) = default;
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

/// The same number with no zeros at the end: equal where the values are, however they were written. A zero keeps its
/// sign.
inline decimal normal(decimal number) {
  auto const end = number.digits.find_last_not_of('0') + 1;
  number.tens += static_cast<std::int64_t>(number.digits.size() - end);
  number.digits.resize(end);
  if (number.digits.empty() || number.digits == "-") number.tens = 0;
  return number;
}

}  // namespace stash::inline v1::detail
