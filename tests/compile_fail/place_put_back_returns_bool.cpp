// expect: stash: a place needs void put_back(value_type const&)
#include <stash/replace_guard.hpp>

#include "good_place.hpp"

struct place : good_place {
#ifdef WRONG
  bool put_back(std::string const&);
#endif
};

void f(stash::memory_stash& store) { stash::replace_guard guard{store, "orders", place{}}; }
