// expect: nodiscard
#include <stash/replace_guard.hpp>

#include "good_place.hpp"

void f(stash::memory_stash& store) {
#ifdef WRONG
  stash::replace_guard{store, "orders", good_place{}};
#else
  stash::replace_guard guard{store, "orders", good_place{}};
#endif
}
