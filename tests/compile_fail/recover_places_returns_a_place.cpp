// expect: stash: place_of must return a std::optional of a place
#include <stash/recover_places.hpp>
#include <stash/storage/memory.hpp>

#include "good_place.hpp"

void f(stash::memory_stash& store) {
#ifdef WRONG
  stash::recover_places<std::string>(store, [](auto const&, auto const&) { return good_place{}; });
#else
  stash::recover_places<std::string>(store, [](auto const&, auto const&) { return std::optional(good_place{}); });
#endif
}
