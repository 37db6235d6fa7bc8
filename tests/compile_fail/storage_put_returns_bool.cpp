// expect: storage_policy
// expect: s.put(k, r)
// expect: bool
#include <stash/basic_stash.hpp>

#include "almost_storage.hpp"

struct storage : almost_storage<good_lock> {
  using lock_type = good_lock;
#ifdef WRONG
  bool put(stash::key const&, stash::record const&);
#else
  void put(stash::key const&, stash::record const&);
#endif
};

using store = stash::basic_stash<storage>;
