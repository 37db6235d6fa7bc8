// expect: stash: a place needs std::optional<value_type> live() const
#include <stash/replace_guard.hpp>

#include "good_place.hpp"

struct place : good_place {
#ifdef WRONG
  std::string live() const;
#endif
};

void f(stash::memory_stash& store) { stash::replace_guard guard{store, "orders", place{}}; }
