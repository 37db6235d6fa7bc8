// expect: stash: live must be callable without an argument, or with a key
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [](int) { return 1; };
#else
  auto const live = [](stash::key const&) { return 1; };
#endif
  stash::delete_guard guard{store, "orders", live, [](int) {}};
}
