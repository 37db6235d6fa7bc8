// expect: stash: a clock's now() must return a std::chrono::sys_time (UTC)
#include <stash/basic_stash.hpp>

#ifdef WRONG
using my_clock = std::chrono::steady_clock;
#else
using my_clock = std::chrono::system_clock;
#endif

static_assert(sizeof(stash::basic_stash<stash::memory_storage, stash::json_serializer, my_clock>) > 0);
