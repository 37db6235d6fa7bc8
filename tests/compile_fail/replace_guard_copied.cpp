// expect: deleted
#include <stash/replace_guard.hpp>

#include "good_place.hpp"

void f(stash::memory_stash& store) {
  stash::replace_guard guard{store, "orders", good_place{}};
#ifdef WRONG
  auto other = guard;
#else
  auto& other = guard;
#endif
  other.commit();
}
