// expect: stash: live must be callable without an argument
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store, boost::json::value const& value) {
#ifdef WRONG
  auto const live = value;
#else
  auto const live = [&] { return value; };
#endif
  stash::delete_guard guard{store, "orders", live, [](boost::json::value const&) {}};
}
