// expect: from 'int' to
#include <stash/key.hpp>

void f() {
#ifdef WRONG
  stash::key const k = 17;
#else
  stash::key const k = "17";
#endif
}
