// expect: stash: a storage needs std::optional<record> get(key const&) const
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct storage : good_storage<> {
#ifdef WRONG
  std::optional<stash::record> get(stash::key const&);
#endif
};

static_assert(sizeof(stash::basic_stash<storage>) > 0);
