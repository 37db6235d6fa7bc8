// An observer that feeds a logger: each event is a line, at the level that it deserves at 3 a.m.
// g++ -std=c++20 -Iinclude tests/examples/observer.cpp -lboost_json -lboost_filesystem -o job && ./job at
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <stash/stash.hpp>
#include <stdexcept>
#include <string>

namespace {

enum class level { debug, info, warning, error };

/// Yours is spdlog, Boost.Log, syslog ... What it throws is dropped: a full log must not stop a restore.
void log(level at, std::string const& line) {
  static constexpr char const* names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
  std::cout << names[static_cast<int>(at)] << ' ' << line << '\n';
}

level level_of(stash::event_kind kind) {
  using enum stash::event_kind;
  switch (kind) {
    case saved:
    case committed:
    case released:
    case parked:
    case settled:
      return level::debug;
    case restored:  // the job failed, and the words, or the thing, are back
    case put_back:
      return level::info;
    case adopted:     // an earlier run did not come to its end
    case superseded:  // two people, or two jobs, said different things
      return level::warning;
    case save_failed:
    case restore_failed:
    case clear_failed:
    case corrupt:
    case left_behind:
      return level::error;
  }
  return level::error;
}

/// `event::key` and `where` live as long as the call: what is kept longer is copied, as the text is here.
void to_log(stash::event const& e) {
  std::ostringstream line;
  line << e;
  log(level_of(e.kind), line.str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  stash::file_stash store{argv[1]};
  std::optional<std::string> words = "typed by hand";  // a toy: yours is in a database
  bool database_is_up = true;
  auto const live = [&] { return words; };
  auto const restore = [&](std::string const& saved) {
    if (!database_is_up) throw std::runtime_error("the database is down");
    words = saved;
  };
  store.save("orders", std::string("typed by somebody else, long ago"));
  {
    stash::delete_guard guard{store, "orders", live, restore, {.observer = to_log}};
    words.reset();
    database_is_up = false;
  }  // restore throws: the record stays
  {
    database_is_up = true;
    stash::delete_guard guard{store, "orders", live, restore, {.observer = to_log}};
  }
  std::ofstream(store.storage().path("orders").native()) << "half a rec";  // a disk went bad
  stash::delete_guard guard{store, "orders", live, restore, {.observer = to_log}};
  guard.commit();
  return words == "typed by hand" && store.entries().empty() ? 0 : 1;
}
