// A job that uses the optional parts.
#include <iostream>
#include <stash/ckan/api_datastore.hpp>
#include <stash/stash.hpp>
#include <stash/storage/postgres.hpp>
#include <stash/storage/sqlite.hpp>
#include <string>

int main(int, char** arguments) {
  stash::basic_stash<stash::sqlite_storage> store{std::string(arguments[1]) + "/stash.sqlite"};
  std::string const words = "typed by hand";
  store.save("orders", words);
  stash::basic_stash<stash::postgres_storage> const elsewhere{"host=/nowhere"};  // connects when it is first used
  stash::ckan::api_datastore const site{"https://nowhere.example", "token"};     // asks nothing yet
  std::cout << STASH_VERSION_STRING << '\n';
  return store.load<std::string>("orders") == words ? 0 : 1;
}
