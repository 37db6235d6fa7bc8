// expect: deleted
#include <stash/key.hpp>

void take(stash::key const&);

void f() {
#ifdef WRONG
  take(nullptr);
#else
  take("orders");
#endif
}
