// A service that restores at its start what killed jobs left. Here a job is really killed, between its delete and its
// reload.
// g++ -std=c++20 -Iinclude tests/examples/recover_at_startup.cpp -lboost_json -lboost_filesystem -o job && ./job at
#include <sys/wait.h>
#include <unistd.h>

#include <boost/filesystem/path.hpp>
#include <csignal>
#include <iostream>
#include <optional>
#include <stash/stash.hpp>
#include <string>

namespace {

/// Tables with their words. This one is kept in files, by the library itself, so that it outlives the job; yours is a
/// database. ensure() is durable when it returns, and leaves a table that is there as it is.
class catalog {
 public:
  explicit catalog(boost::filesystem::path const& directory) : tables_(directory) {}
  std::optional<std::string> find(stash::key const& table) const { return tables_.load<std::string>(table); }
  bool has(stash::key const& table) const { return find(table).has_value(); }
  void ensure(stash::key const& table, std::string const& words) {
    if (!has(table)) tables_.save(table, words);
  }
  void drop(stash::key const& table) { tables_.clear(table); }

 private:
  stash::file_stash tables_;
};

void job(boost::filesystem::path const& at) {
  catalog tables{at / "catalog"};
  stash::file_stash store{at / "stash"};
  stash::delete_guard guard{store, "orders", [&] { return tables.find("orders"); },
                            [&](std::string const& saved) { tables.ensure("orders", saved); }};
  tables.drop("orders");
  std::raise(SIGKILL);  // nothing of this process runs any more
}

bool service_starts(boost::filesystem::path const& at) {
  catalog tables{at / "catalog"};
  stash::file_stash store{at / "stash"};
  auto const report = stash::recover<std::string>(
      store, [&](stash::key const& table) { return tables.has(table); },
      [&](stash::key const& table, std::string const& saved) { tables.ensure(table, saved); },
      {.observer = [](stash::event const& e) { std::cout << to_string(e.kind) << ' ' << e.key << '\n'; }});
  std::cout << "restored " << report.restored << ", live " << report.live << ", busy " << report.busy << ", corrupt "
            << report.corrupt << ", failed " << report.failed.size() << '\n';
  return report.failed.empty() && report.corrupt == 0;  // else somebody must look: the records are still there
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  boost::filesystem::path const at = argv[1];
  catalog tables{at / "catalog"};
  tables.ensure("orders", "typed by hand");

  pid_t const child = ::fork();
  if (child == 0) job(at);
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) return 1;
  std::cout << "the job was killed; the table is " << (tables.has("orders") ? "there\n" : "gone\n");

  if (!service_starts(at)) return 1;
  std::cout << "the table is there again: " << tables.find("orders").value_or("LOST") << '\n';
  return service_starts(at) && tables.find("orders") == "typed by hand" ? 0 : 1;  // a second start does nothing
}
