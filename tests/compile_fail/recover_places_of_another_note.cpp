// expect: write recover_places<value_type>
#include <stash/recover_places.hpp>
#include <stash/storage/memory.hpp>

#include "good_place.hpp"

void f(stash::memory_stash& store) {
  auto const place_of = [](stash::key const&, std::string const&) { return std::optional(good_place{}); };
#ifdef WRONG
  stash::recover_places(store, place_of);
#else
  stash::recover_places<std::string>(store, place_of);
#endif
}
