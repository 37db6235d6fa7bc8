#pragma once

#include <algorithm>

namespace stash::inline v1::detail {

/// All of it in the order of `<`. (clang instantiates std::sort, which is constexpr, wherever it reads a call of it;
/// this it does not, unless it is called.)
template <class Container>
Container sorted(Container all) {
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace stash::inline v1::detail
