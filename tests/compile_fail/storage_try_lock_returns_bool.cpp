// expect: stash: a storage needs std::optional<lock_type> try_lock(key const&)
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct storage : good_storage<> {
#ifdef WRONG
  bool try_lock(stash::key const&);
#endif
};

static_assert(sizeof(stash::basic_stash<storage>) > 0);
