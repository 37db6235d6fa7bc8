// expect: stash: restore must return void: it reports failure by throwing
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const restore = [](boost::json::value const&) { return true; };
#else
  auto const restore = [](boost::json::value const&) {};
#endif
  stash::delete_guard guard{store, "orders", [] { return boost::json::value(1); }, restore};
}
