// expect: stash: a storage must be movable
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct storage : good_storage<> {
#ifdef WRONG
  storage(storage const&) = delete;
  storage& operator=(storage const&) = delete;
#endif
};

static_assert(sizeof(stash::basic_stash<storage>) > 0);
