// expect: stash: a storage needs std::size_t purge(std::chrono::microseconds older_than)
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct storage : good_storage<> {
#ifdef WRONG
  std::size_t purge(std::size_t newest);
#endif
};

static_assert(sizeof(stash::basic_stash<storage>) > 0);
