#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/version.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

using time_point = std::chrono::sys_time<std::chrono::microseconds>;  // as record.hpp names it for users

/// The system's time.
inline time_point system_now() noexcept {
  return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

/// How long ago `then` was: never negative (clocks jump), and the greatest duration rather than an overflow.
inline std::chrono::microseconds age_between(time_point then, time_point now) noexcept {
  if (now <= then) return std::chrono::microseconds::zero();
  std::int64_t age = 0;
  if (__builtin_sub_overflow(now.time_since_epoch().count(), then.time_since_epoch().count(), &age)) {
    return std::chrono::microseconds::max();
  }
  return std::chrono::microseconds{age};
}

inline constexpr std::int64_t micros_per_day = 86'400'000'000;

/// A day since 1970 as year, month, day. Not `std::chrono::year_month_day`, whose years end at 32767 while
/// a `time_point` reaches 292277. The algorithm is Howard Hinnant's `civil_from_days`.
struct civil_date {
  std::int64_t year, month, day;

  static civil_date of(std::int64_t days) noexcept {
    days += 719'468;  // from 0000-03-01
    std::int64_t const era = (days >= 0 ? days : days - 146'096) / 146'097;
    std::int64_t const doe = days - era * 146'097;
    std::int64_t const yoe = (doe - doe / 1460 + doe / 36'524 - doe / 146'096) / 365;
    std::int64_t const doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    std::int64_t const mp = (5 * doy + 2) / 153;
    std::int64_t const month = mp < 10 ? mp + 3 : mp - 9;
    return {yoe + era * 400 + (month <= 2 ? 1 : 0), month, doy - (153 * mp + 2) / 5 + 1};
  }

  std::int64_t days() const noexcept {
    std::int64_t const y = year - (month <= 2 ? 1 : 0);
    std::int64_t const era = (y >= 0 ? y : y - 399) / 400;
    std::int64_t const yoe = y - era * 400;
    std::int64_t const doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146'097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719'468;
  }
};

/// ISO 8601, UTC: `2026-11-22T14:44:21.123456Z`; compact, for file names, `20261122T144421.123456Z`.
/// Every `time_point` has a text, in years beyond 0..9999 with a sign before the year. In no memory of its own.
class time_text {
 public:
  explicit time_text(time_point t, bool compact = false) noexcept {
    std::int64_t const micros = t.time_since_epoch().count();
    std::int64_t day = micros / micros_per_day;
    std::int64_t rest = micros % micros_per_day;
    if (rest < 0) {
      rest += micros_per_day;
      --day;
    }
    auto const date = civil_date::of(day);
    if (date.year < 0) append("-");
    if (date.year > 9999) append("+");
    std::string_view const dash = compact ? "" : "-";
    std::string_view const colon = compact ? "" : ":";
    append(date.year < 0 ? -date.year : date.year, 4);
    append(dash).append(date.month, 2);
    append(dash).append(date.day, 2);
    append("T").append(rest / 3'600'000'000, 2);
    append(colon).append(rest / 60'000'000 % 60, 2);
    append(colon).append(rest / 1'000'000 % 60, 2);
    append(".").append(rest % 1'000'000, 6);
    append("Z");
  }
  std::string_view str() const noexcept { return {text_, size_}; }

 private:
  time_text& append(std::string_view more) noexcept {
    more.copy(text_ + size_, more.size());
    size_ += more.size();
    return *this;
  }
  /// At least `width` digits.
  time_text& append(std::int64_t n, std::size_t width) noexcept {
    char digits[20];
    char* const end = digits + sizeof digits;
    char* at = end;
    for (; n > 0 || at > end - width; n /= 10) *--at = static_cast<char>('0' + n % 10);
    return append({at, static_cast<std::size_t>(end - at)});
  }

  char text_[40];  // 30 in the last year that there is
  std::size_t size_ = 0;
};

inline std::string to_text(time_point t, bool compact = false) { return std::string(time_text{t, compact}.str()); }

/// Takes a number of `width` digits and what follows it, off the front of `text`; -1: they do not stand there.
inline std::int64_t take_number(std::string_view& text, std::size_t width, std::string_view follows) noexcept {
  if (text.size() < width + follows.size() || width == 0) return -1;
  std::int64_t n = 0;
  for (char const c : text.substr(0, width)) {
    if (c < '0' || c > '9') return -1;
    n = 10 * n + (c - '0');
  }
  text.remove_prefix(width);
  if (!text.starts_with(follows)) return -1;
  text.remove_prefix(follows.size());
  return n;
}

/// What `to_text(t, compact)` wrote, and nothing else: the text would come out of the result again.
inline std::optional<time_point> to_time(std::string_view text, bool compact = false) noexcept {
  bool const negative = text.starts_with('-'), far = text.starts_with('+');
  if (negative || far) text.remove_prefix(1);
  auto const mark = text.find('T');
  std::size_t const behind_year = compact ? 4 : 6;  // MMDD or -MM-DD
  if (mark == text.npos || mark < behind_year + 4 || mark > behind_year + 6) return std::nullopt;
  bool const is_padded = mark > behind_year + 4 && text.front() == '0';
  std::string_view const dash = compact ? "" : "-", colon = compact ? "" : ":";
  auto const year = detail::take_number(text, mark - behind_year, dash), month = detail::take_number(text, 2, dash),
             day = detail::take_number(text, 2, "T"), hour = detail::take_number(text, 2, colon),
             minute = detail::take_number(text, 2, colon), second = detail::take_number(text, 2, "."),
             micro = detail::take_number(text, 6, "Z");
  bool const is_of_its_form = year >= (negative ? 1 : 0) && far == (!negative && year > 9999) && !is_padded;
  if (!is_of_its_form || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 59 || micro < 0 || !text.empty()) {
    return std::nullopt;
  }
  civil_date const date{negative ? -year : year, month, day};
  std::int64_t days = date.days();
  if (civil_date::of(days).month != month) return std::nullopt;  // no month has so many
  std::int64_t rest = ((hour * 60 + minute) * 60 + second) * 1'000'000 + micro;
  if (days < 0) {  // towards zero, so that the earliest time_point does not overflow on the way
    ++days;
    rest -= micros_per_day;
  }
  std::int64_t micros = 0;
  if (__builtin_mul_overflow(days, micros_per_day, &micros) || __builtin_add_overflow(micros, rest, &micros)) {
    return std::nullopt;
  }
  return time_point{std::chrono::microseconds{micros}};
}

}  // namespace stash::inline v1::detail
