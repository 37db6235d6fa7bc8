// expect: stash: live must return a value that owns its bytes, not a view
#include <map>
#include <stash/delete_guard.hpp>
#include <tuple>
#include <variant>

void f(stash::memory_stash& store) {
#ifdef WRONG
  auto const live = [] {
    return std::optional(std::map<std::string, std::vector<std::tuple<int, std::variant<int, std::string_view>>>>{});
  };
#else
  auto const live = [] {
    return std::optional(std::map<std::string, std::vector<std::tuple<int, std::variant<int, std::string>>>>{});
  };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
