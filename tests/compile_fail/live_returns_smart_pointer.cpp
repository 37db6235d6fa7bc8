// expect: stash: live must return the value itself, not a pointer
#include <memory>
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] { return std::make_shared<std::string>(); };
#else
  auto const live = [] { return std::string(); };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
