// expect: stash: a storage needs std::vector<entry> entries() const
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct storage : good_storage<> {
#ifdef WRONG
  std::vector<stash::entry> entries() const = delete;
#endif
};

static_assert(sizeof(stash::basic_stash<storage>) > 0);
