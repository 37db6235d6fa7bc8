// expect: clock_policy
// expect: c.now()
#include <stash/basic_stash.hpp>

#ifdef WRONG
using my_clock = std::chrono::steady_clock;
#else
using my_clock = std::chrono::system_clock;
#endif

using store = stash::basic_stash<stash::memory_storage, stash::json_serializer, my_clock>;
