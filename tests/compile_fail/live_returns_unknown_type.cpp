// expect: stash: the stash's serializer cannot turn what live returns into bytes and back
#include <stash/delete_guard.hpp>

struct mine {};

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] { return mine{}; };
#else
  auto const live = [] { return 1; };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
