// expect: stash: live must be callable without an argument, or with a key
#include <stash/delete_guards.hpp>

void f(stash::memory_stash& store, std::vector<stash::key> const& keys) {
#ifdef WRONG
  auto const live = [](int) { return 1; };
#else
  auto const live = [] { return 1; };
#endif
  stash::delete_guards guard{store, keys, live, [](stash::key const&, int) {}};
}
