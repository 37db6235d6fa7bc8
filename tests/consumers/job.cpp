// A job of somebody else's, built in each way that the README tells. Prints the version that it was built with.
#include <iostream>
#include <stash/stash.hpp>
#include <string>

int main(int, char** arguments) {
  stash::file_stash store{arguments[1]};
  std::string words = "typed by hand";
  {
    stash::delete_guard guard{store, "orders", [&] { return words; }, [&](std::string const& saved) { words = saved; }};
    words.clear();  // the delete; and the reload fails
  }
  std::cout << STASH_VERSION_STRING << '\n';
  return words == "typed by hand" && store.load<std::string>("orders") == words ? 0 : 1;
}
