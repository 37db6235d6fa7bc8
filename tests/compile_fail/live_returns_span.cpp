// expect: stash: live must return a value that owns its bytes, not a view
#include <span>
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store, std::vector<int> const& numbers) {
#ifdef WRONG
  auto const live = [&] { return std::span(numbers); };
#else
  auto const live = [&] { return numbers; };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
