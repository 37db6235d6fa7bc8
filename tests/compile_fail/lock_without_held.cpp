// expect: stash: a lock needs bool held() const
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct lock {
#ifdef WRONG
  bool held();
#else
  bool held() const;
#endif
};

static_assert(sizeof(stash::basic_stash<good_storage<lock>>) > 0);
