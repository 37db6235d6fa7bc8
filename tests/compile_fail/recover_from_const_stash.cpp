// expect: stash: recover writes to its stash, which must not be const
#include <stash/recover.hpp>

#ifdef WRONG
void f(stash::memory_stash const& store) {
#else
void f(stash::memory_stash& store) {
#endif
  stash::recover<int>(
      store, [](stash::key const&) { return true; }, [](stash::key const&, int) {});
}
