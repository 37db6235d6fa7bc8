// expect: stash: a guard's first argument is a basic_stash
#include <stash/delete_guard.hpp>

void f() {
#ifdef WRONG
  stash::memory_storage store;
#else
  stash::memory_stash store;
#endif
  stash::delete_guard guard{store, "orders", [] { return 1; }, [](int) {}};
}
