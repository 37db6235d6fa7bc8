// expect: stash: is_live must be callable as bool(key const&), as bool(), or be a guard's live
#include <stash/recover.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] { return boost::json::value(1); };  // always live: nothing would ever be restored
#else
  auto const live = [] { return std::optional(boost::json::value(1)); };
#endif
  stash::recover(store, live, [](boost::json::value const&) {});
}
