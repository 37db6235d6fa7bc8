// expect: stash: a storage needs void put(key const&, record const&)
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct storage : good_storage<> {
#ifdef WRONG
  bool put(stash::key const&, stash::record const&);
#endif
};

static_assert(sizeof(stash::basic_stash<storage>) > 0);
