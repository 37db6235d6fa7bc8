// expect: stash: live must return T or std::optional<T>, not a nested optional
#include <boost/optional/optional.hpp>
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] { return std::optional(boost::optional<int>(1)); };
#else
  auto const live = [] { return boost::optional<int>(1); };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
