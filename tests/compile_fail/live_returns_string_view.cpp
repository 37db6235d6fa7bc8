// expect: stash: live must return a value that owns its bytes, not a view
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store, std::string const& text) {
#ifdef WRONG
  auto const live = [&] { return std::string_view(text); };
#else
  auto const live = [&] { return text; };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
