// expect: stash: a guard writes to its stash, which must not be const
#include <stash/delete_guard.hpp>

#ifdef WRONG
void f(stash::memory_stash const& store) {
#else
void f(stash::memory_stash& store) {
#endif
  stash::delete_guard guard{store, "orders", [] { return 1; }, [](int) {}};
}
