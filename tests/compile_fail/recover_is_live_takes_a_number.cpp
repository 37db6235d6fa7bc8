// expect: stash: is_live must be callable as bool(key const&), as bool(), or be a guard's live
#include <stash/recover.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const is_live = [](int) { return true; };
#else
  auto const is_live = [] { return true; };
#endif
  stash::recover(store, is_live, [](boost::json::value const&) {});
}
