// expect: stash: a lock's destructor releases, and must not throw
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct lock {
#ifdef WRONG
  ~lock() noexcept(false);
  lock(lock&&) noexcept;
  lock& operator=(lock&&) noexcept;
  bool held() const;
#else
  bool held() const;
#endif
};

static_assert(sizeof(stash::basic_stash<good_storage<lock>>) > 0);
