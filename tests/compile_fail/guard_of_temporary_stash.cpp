// expect: lvalue
#include <stash/delete_guard.hpp>

void f() {
#ifdef WRONG
  stash::delete_guard guard{stash::memory_stash{}, "orders", [] { return 1; }, [](int) {}};
#else
  stash::memory_stash store;
  stash::delete_guard guard{store, "orders", [] { return 1; }, [](int) {}};
#endif
}
