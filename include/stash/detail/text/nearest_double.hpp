#pragma once

#include <locale.h>
#include <stdlib.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <new>
#include <stash/version.hpp>
#include <string>
#include <system_error>

namespace stash::inline v1::detail {

// Each of these reads a number as JSON writes it, in any locale: `result` is the double that is nearest to it. false:
// it is no number, too large, or so small that it would be zero.

/// For a standard library that has no from_chars for double (libc++ 19). strtod rounds as exactly.
inline bool nearest_double_by_strtod(std::string const& digits, double& result) {
  static locale_t const plain = ::newlocale(LC_ALL_MASK, "C", nullptr);  // never freed
  if (plain == nullptr) throw std::bad_alloc{};
  char* end = nullptr;
  errno = 0;
  result = ::strtod_l(digits.c_str(), &end, plain);
  bool const is_too_small = result == 0 && errno == ERANGE;  // an ERANGE that is not zero is a subnormal, and exact
  return !digits.empty() && end == digits.c_str() + digits.size() && std::isfinite(result) && !is_too_small;
}

inline bool nearest_double(std::string const& digits, double& result) {
#if defined(__cpp_lib_to_chars)
  char const* const end = digits.data() + digits.size();
  auto const [stop, problem] = std::from_chars(digits.data(), end, result);
  return problem == std::errc{} && stop == end;
#else
  return detail::nearest_double_by_strtod(digits, result);
#endif
}

}  // namespace stash::inline v1::detail
