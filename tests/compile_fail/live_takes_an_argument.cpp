// expect: stash: live must be callable without an argument
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [](stash::key const&) { return 1; };
#else
  auto const live = [] { return 1; };
#endif
  stash::delete_guard guard{store, "orders", live, [](int) {}};
}
