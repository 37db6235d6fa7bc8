// expect: stash: live must return a value that owns its bytes, not a view
#include <map>
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] { return std::map<std::string, std::string_view>{}; };
#else
  auto const live = [] { return std::map<std::string, std::string>{}; };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
