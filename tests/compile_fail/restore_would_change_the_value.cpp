// expect: stash: restore must be callable with what live returns, as T const&
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const restore = [](boost::json::value&) {};
#else
  auto const restore = [](boost::json::value const&) {};
#endif
  stash::delete_guard guard{store, "orders", [] { return boost::json::value(1); }, restore};
}
