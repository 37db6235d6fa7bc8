// expect: stash: live must return a value that owns its bytes, not a view
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] { return std::vector<char const*>{}; };
#else
  auto const live = [] { return std::vector<std::string>{}; };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
