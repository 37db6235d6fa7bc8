// expect: stash: a place needs a value_type
#include <stash/replace_guard.hpp>

#include "good_place.hpp"

struct no_place {
  std::optional<std::string> live() const;
};
#ifdef WRONG
using place = no_place;
#else
using place = good_place;
#endif

static_assert(sizeof(stash::replace_guard<stash::memory_stash, place>) > 0);
