// expect: lock_policy
// expect: movable
#include <stash/basic_stash.hpp>

#include "almost_storage.hpp"

struct lock {
  lock() = default;
#ifdef WRONG
  lock(lock const&) = delete;
#else
  lock(lock&&) = default;
  lock& operator=(lock&&) = default;
#endif
  bool held() const noexcept;
};

struct storage : almost_storage<lock> {
  using lock_type = lock;
  void put(stash::key const&, stash::record const&);
};

using store = stash::basic_stash<storage>;
