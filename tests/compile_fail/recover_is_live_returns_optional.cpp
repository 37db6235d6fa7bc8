// expect: stash: is_live must be callable as bool(key const&)
#include <stash/recover.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const is_live = [](stash::key const&) { return std::optional<bool>(true); };
#else
  auto const is_live = [](stash::key const&) { return true; };
#endif
  auto const restore = [](stash::key const&, boost::json::value const&) {};
  stash::recover(store, is_live, restore);
}
