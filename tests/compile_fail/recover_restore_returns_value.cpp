// expect: stash: restore must return void: it reports failure by throwing
#include <stash/recover.hpp>

void f(stash::memory_stash& store) {
  auto const is_live = [](stash::key const&) { return true; };
#ifdef WRONG
  auto const restore = [](stash::key const&, boost::json::value const&) { return true; };
#else
  auto const restore = [](stash::key const&, boost::json::value const&) {};
#endif
  stash::recover(store, is_live, restore);
}
