// expect: stash: live must return a value that owns its bytes, not a view
#include <boost/utility/string_view.hpp>
#include <map>
#include <stash/delete_guard.hpp>

void f(stash::memory_stash& store, std::map<std::string, std::string> const& words) {
#ifdef WRONG
  auto const live = [&] {
    std::map<std::string, boost::string_view> all;
    for (auto const& [name, text] : words) all.emplace(name, text);
    return all;
  };
#else
  auto const live = [&] { return words; };
#endif
  stash::delete_guard guard{store, "orders", live, [](auto const&) {}};
}
