// expect: stash: restore must return void: it reports failure by throwing
#include <stash/delete_guards.hpp>

void f(stash::memory_stash& store, std::vector<stash::key> const& keys) {
#ifdef WRONG
  auto const restore = [](stash::key const&, int) { return true; };
#else
  auto const restore = [](stash::key const&, int) {};
#endif
  stash::delete_guards guard{store, keys, [](stash::key const&) { return 1; }, restore};
}
