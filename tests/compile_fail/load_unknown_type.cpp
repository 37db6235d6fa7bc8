// expect: stash: the serializer cannot turn this type into bytes and back
#include <stash/basic_stash.hpp>

struct mine {};

void f(stash::memory_stash const& store) {
#ifdef WRONG
  static_cast<void>(store.load<mine>("orders"));
#else
  static_cast<void>(store.load<int>("orders"));
#endif
}
