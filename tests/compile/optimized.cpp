// What a user's program does with each storage, place and datastore: for compilers that warn of what they see only
// where they optimize. It is compiled, and not run.
#include <chrono>
#include <cstddef>
#include <optional>
#include <stash/ckan/postgres_datastore.hpp>
#include <stash/ckan/recover.hpp>
#include <stash/ckan/reload.hpp>
#include <stash/ckan/sqlite_datastore.hpp>
#include <stash/place/postgres_table.hpp>
#include <stash/place/sqlite_table.hpp>
#include <stash/stash.hpp>
#include <stash/storage/journal.hpp>
#include <stash/storage/postgres.hpp>
#include <stash/storage/sqlite.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace user {

using text = std::optional<std::string>;

template <class Stash>
std::size_t use(Stash store) {
  store.save("k", std::string("words"));
  std::vector<std::pair<stash::key, std::string>> const several{{"a", "words"}, {"b", "words"}};
  store.save_all(several);
  auto const found = store.template look_up<std::string>("k");
  std::size_t n = store.entries().size() + store.set_aside_entries().size() + store.purge(std::chrono::hours(1));
  n += store.template load<std::string>("k") ? 1U : 0U;
  n += store.age("k") ? 1U : 0U;
  n += store.clear("k") ? 1U : 0U;
  auto const live = [] { return text("words"); };
  auto const restore = [](std::string const&) {};
  {
    stash::delete_guard guard{store, "k", live, restore};
    guard.commit();
  }
  std::vector<stash::key> const keys{"a", "b"};
  stash::delete_guards guards{store, keys, live, restore};
  n += guards.rollback().restored;
  auto const is_live = [](stash::key const&) { return false; };
  n += stash::recover<std::string>(store, is_live, [](stash::key const&, std::string const&) {}).restored;
  return n + found.value.has_value();
}

template <class Place>
std::size_t replace(stash::file_stash& store, Place place) {
  {
    stash::replace_guard guard{store, "k", std::move(place)};
    guard.commit();
  }
  return stash::recover_places(
             store, [](stash::key const&, typename Place::value_type const&) { return std::optional<Place>(); })
      .restored;
}

template <class Datastore>
std::size_t reload(stash::file_stash& store, Datastore d) {
  stash::ckan::fields const headers{{"id", "text", {}}};
  auto const report = stash::ckan::reload(d, store, "k", headers, [&](stash::ckan::fields const& created) {
    typename Datastore::loader rows{d, "k", created};
    rows.add(std::vector<std::optional<std::string_view>>{"1"});
    rows.finish();
  });
  return report.unplaced.size() + stash::ckan::recover(d, store).restored;
}

}  // namespace user

int main(int argc, char** argv) {
  std::string const where = argv[argc - 1];
  stash::file_stash store{where};
  using stash::basic_stash;
  std::size_t n = user::use(stash::file_stash{where}) + user::use(stash::memory_stash{}) +
                  user::use(basic_stash<stash::journal_storage>{where}) +
                  user::use(basic_stash<stash::sqlite_storage>{where}) +
                  user::use(basic_stash<stash::postgres_storage>{where});
  n += user::replace(store, stash::tree{where}) + user::replace(store, stash::sqlite_table{where, "t"}) +
       user::replace(store, stash::postgres_table{where, {"public", "t"}});
  n += user::reload(store, stash::ckan::sqlite_datastore{where}) +
       user::reload(store, stash::ckan::postgres_datastore{where});
  return n == 0;
}
