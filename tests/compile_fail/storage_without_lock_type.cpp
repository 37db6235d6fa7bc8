// expect: stash: a storage needs a lock_type
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

#ifdef WRONG
using storage = storage_without_lock_type<good_lock>;
#else
using storage = good_storage<>;
#endif

static_assert(sizeof(stash::basic_stash<storage>) > 0);
