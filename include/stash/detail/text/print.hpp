#pragma once

#include <ios>
#include <ostream>
#include <stash/version.hpp>
#include <string_view>

namespace stash::inline v1::detail {

/// The text as it is, whatever width, fill, flags and locale were left on `out`. The width is used up, as by any `<<`.
inline std::ostream& print(std::ostream& out, std::string_view text) {
  out.width(0);
  return out.write(text.data(), static_cast<std::streamsize>(text.size()));
}

}  // namespace stash::inline v1::detail
