// expect: lock_policy
// expect: lock.held()
#include <stash/basic_stash.hpp>

#include "almost_storage.hpp"

struct lock {
#ifdef WRONG
#else
  bool held() const noexcept;
#endif
};

struct storage : almost_storage<lock> {
  using lock_type = lock;
  void put(stash::key const&, stash::record const&);
};

using store = stash::basic_stash<storage>;
