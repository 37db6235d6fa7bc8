// expect: stash: a place needs void discard()
#include <stash/replace_guard.hpp>

#include "good_place.hpp"

struct place : good_place {
#ifdef WRONG
  bool discard();
#endif
};

void f(stash::memory_stash& store) { stash::replace_guard guard{store, "orders", place{}}; }
