// expect: stash: a storage needs bool erase(key const&): was there one?
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct storage : good_storage<> {
#ifdef WRONG
  void erase(stash::key const&);
#endif
};

static_assert(sizeof(stash::basic_stash<storage>) > 0);
