// expect: stash: the datastore needs describe, create, finish and drop
// expect: d.finish(id)
#include <stash/ckan/reload.hpp>

struct datastore {
  std::optional<stash::ckan::fields> describe(std::string_view);
  void create(std::string_view, stash::ckan::fields const&);
#ifdef WRONG
#else
  void finish(std::string_view);
#endif
  void drop(std::string_view);
};

void f(datastore& d, stash::memory_stash& store) {
  stash::ckan::reload(d, store, "orders", {}, [](stash::ckan::fields const&) {});
}
