// expect: stash: a place must be movable
#include <stash/replace_guard.hpp>

#include "good_place.hpp"

struct place : good_place {
#ifdef WRONG
  place(place const&) = delete;
  place();
#endif
};

void f(stash::memory_stash& store) { stash::replace_guard guard{store, "orders", place{}}; }
