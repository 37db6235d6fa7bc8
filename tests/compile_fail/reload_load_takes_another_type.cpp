// expect: stash: load must be callable with the created fields
#include <stash/ckan/reload.hpp>

struct datastore {
  std::optional<stash::ckan::fields> describe(std::string_view);
  void create(std::string_view, stash::ckan::fields const&);
  void finish(std::string_view);
  void drop(std::string_view);
};

void f(datastore& d, stash::memory_stash& store) {
#ifdef WRONG
  auto const load = [](std::string const&) {};
#else
  auto const load = [](stash::ckan::fields const&) {};
#endif
  stash::ckan::reload(d, store, "orders", {}, load);
}
