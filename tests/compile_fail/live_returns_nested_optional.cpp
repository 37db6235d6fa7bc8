// expect: stash: live must return T or std::optional<T>, not a nested optional
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] { return std::optional<std::optional<int>>(1); };
#else
  auto const live = [] { return std::optional<int>(1); };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
