// expect: storage_policy
// expect: S::lock_type
#include <stash/basic_stash.hpp>

#include "almost_storage.hpp"

struct storage : almost_storage<good_lock> {
  void put(stash::key const&, stash::record const&);
#ifdef WRONG
#else
  using lock_type = good_lock;
#endif
};

using store = stash::basic_stash<storage>;
