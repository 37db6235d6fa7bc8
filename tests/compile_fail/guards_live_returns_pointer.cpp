// expect: stash: live must return the value itself, not a pointer
#include <stash/delete_guards.hpp>

void f(stash::memory_stash& store, std::vector<stash::key> const& keys, boost::json::value const& value) {
#ifdef WRONG
  auto const live = [&](stash::key const&) { return &value; };
#else
  auto const live = [&](stash::key const&) { return value; };
#endif
  stash::delete_guards guard{store, keys, live, [](auto const&, auto const&) {}};
}
