// expect: deleted
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
  stash::delete_guard guard{store, "orders", [] { return 1; }, [](int) {}};
#ifdef WRONG
  auto other = guard;
#else
  auto& other = guard;
#endif
  other.commit();
}
