// expect: stash: live must throw where it fails, not return an expected or a result
#include <boost/system/result.hpp>
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] { return boost::system::result<int>(1); };
#else
  auto const live = [] { return boost::system::result<int>(1).value(); };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
