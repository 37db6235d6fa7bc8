// expect: stash: a clock's now() must return a std::chrono::sys_time
#include <stash/basic_stash.hpp>

struct my_clock {
#ifdef WRONG
  long now() const;
#else
  std::chrono::sys_seconds now() const;
#endif
};

static_assert(sizeof(stash::basic_stash<stash::memory_storage, stash::json_serializer, my_clock>) > 0);
