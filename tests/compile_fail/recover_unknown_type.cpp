// expect: stash: the stash's serializer cannot turn this type into bytes and back
#include <stash/recover.hpp>

struct mine {};

void f(stash::memory_stash& store) {
#ifdef WRONG
  using type = mine;
#else
  using type = int;
#endif
  stash::recover<type>(
      store, [](stash::key const&) { return true; }, [](stash::key const&, type) {});
}
