// expect: stash: the stash's serializer cannot turn what live returns into bytes and back
#include <chrono>
#include <map>
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] { return std::map<std::string, std::chrono::system_clock::time_point>{}; };
#else
  auto const live = [] { return std::map<std::string, long>{}; };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
