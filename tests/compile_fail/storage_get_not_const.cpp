// expect: storage_policy
// expect: cs.get(k)
#include <stash/basic_stash.hpp>

#include "almost_storage.hpp"

struct storage : almost_storage<good_lock> {
  using lock_type = good_lock;
  void put(stash::key const&, stash::record const&);
#ifdef WRONG
  std::optional<stash::record> get(stash::key const&);
#else
  std::optional<stash::record> get(stash::key const&) const;
#endif
};

using store = stash::basic_stash<storage>;
