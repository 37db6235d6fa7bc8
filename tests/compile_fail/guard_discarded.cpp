// expect: nodiscard
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  stash::delete_guard{store, "orders", [] { return 1; }, [](int) {}};
#else
  stash::delete_guard guard{store, "orders", [] { return 1; }, [](int) {}};
#endif
}
