// expect: stash: a place needs void park(value_type const&)
#include <stash/replace_guard.hpp>

#include "good_place.hpp"

struct place : good_place {
#ifdef WRONG
  void park();
#endif
};

void f(stash::memory_stash& store) { stash::replace_guard guard{store, "orders", place{}}; }
