// expect: stash: restore must be callable as void(key const&, T const&)
#include <stash/recover.hpp>

void f(stash::memory_stash& store) {
  auto const is_live = [](stash::key const&) { return true; };
#ifdef WRONG
  auto const restore = [](boost::json::value const&) {};
#else
  auto const restore = [](stash::key const&, boost::json::value const&) {};
#endif
  stash::recover(store, is_live, restore);
}
