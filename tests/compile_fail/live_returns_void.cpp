// expect: stash: live must return the value to save, or a std::optional of it, not void
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] {};
#else
  auto const live = [] { return 1; };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
