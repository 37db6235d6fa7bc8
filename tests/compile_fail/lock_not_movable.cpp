// expect: stash: a lock must be movable
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct lock {
#ifdef WRONG
  lock(lock const&) = delete;
  lock& operator=(lock const&) = delete;
  bool held() const;
#else
  bool held() const;
#endif
};

static_assert(sizeof(stash::basic_stash<good_storage<lock>>) > 0);
