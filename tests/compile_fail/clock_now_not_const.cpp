// expect: stash: a clock needs now() const
#include <stash/basic_stash.hpp>

struct my_clock {
#ifdef WRONG
  std::chrono::sys_seconds now();
#else
  std::chrono::sys_seconds now() const;
#endif
};

static_assert(sizeof(stash::basic_stash<stash::memory_storage, stash::json_serializer, my_clock>) > 0);
