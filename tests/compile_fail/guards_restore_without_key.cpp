// expect: stash: restore must be callable with a key and what live returns, as T const&
#include <stash/delete_guards.hpp>

void f(stash::memory_stash& store, std::vector<stash::key> const& keys) {
#ifdef WRONG
  auto const restore = [](boost::json::value const&) {};
#else
  auto const restore = [](stash::key const&, boost::json::value const&) {};
#endif
  stash::delete_guards guard{store, keys, [](stash::key const&) { return boost::json::value(1); }, restore};
}
