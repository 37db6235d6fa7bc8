// expect: stash: the serializer cannot turn this type into bytes and back
#include <stash/basic_stash.hpp>

struct mine {};

void f(stash::memory_stash& store) {
#ifdef WRONG
  store.save("orders", mine{});
#else
  store.save("orders", 1);
#endif
}
