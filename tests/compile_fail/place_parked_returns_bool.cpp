// expect: stash: parked(), which a place may have, returns std::optional<value_type>
#include <stash/replace_guard.hpp>

#include "good_place.hpp"

struct place : good_place {
#ifdef WRONG
  bool parked() const;
#else
  std::optional<std::string> parked() const;
#endif
};

void f(stash::memory_stash& store) { stash::replace_guard guard{store, "orders", place{}}; }
