#pragma once

#include <optional>
#include <stash/basic_stash.hpp>
#include <stash/recover_places.hpp>
#include <stash/replace_guard.hpp>
#include <stash/storage/atomic_file.hpp>
#include <string>
#include <vector>

#include "cut_calls.hpp"

// What is replaced under a guard, with its record in files beside it.
namespace power_cut {

/// All of it is on the file system that loses power.
template <class Kind>
struct place_job {
  Kind thing;

  auto store() const {
    using storage = stash::basic_atomic_file_storage<powered_ops>;
    return stash::basic_stash<storage>{thing.root / "stash", stash::file_options{}, thing.ops};
  }
  auto guard(auto& store) const {
    return stash::replace_guard{store, "orders", thing.place(), {.observer = stash::silent}};
  }
  void acknowledge(std::string const& what) const {
    say(what);
    mark("acknowledged");
    (*thing.ops.before)("acknowledged");
  }
  void sync() const {
    int const fd = ::open(thing.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || ::syncfs(fd) != 0) throw std::runtime_error("syncfs " + thing.root.native());
    ::close(fd);
  }
  void recover() const {
    auto s = store();
    auto const report = stash::recover_places(
        s, [this](auto const&, auto const&) { return std::optional(thing.place()); }, {.observer = stash::silent});
    for (auto const& [k, why] : report.failed) std::rethrow_exception(why);
    if (report.busy > 0) throw std::runtime_error("nothing was recovered: somebody has the lock");
    acknowledge("recovered");
  }
  void replace(std::string const& workload) const {
    auto s = store();
    auto g = guard(s);
    acknowledge("parked");
    thing.build("new");
    acknowledge("built");
    if (workload == "commit") return g.commit(), acknowledge("committed");
    if (workload == "roll back") return g.rollback(), acknowledge("rolled back");
    sync();  // of a job that died later
    g.release();
  }

  void run(std::string const& workload) const {
    bool const is_second = workload == "go on recovering";
    if (!is_second) thing.build("old"), sync();
    thing.prepare();
    mark("prepared");
    if (!is_second) replace(workload);
    if (is_second || workload == "recover") recover();
  }

  /// What there is, and whether it is parked; then what stands at the place when the next job has failed and its
  /// leftovers are gone, and what else stands beside it.
  void check() const {
    say(thing.word());
    {
      auto s = store();
      auto g = guard(s);
      thing.build("half");
    }
    std::string line = thing.word();
    for (auto const& name : thing.all()) {
      if (name != "orders") line += ' ' + name;
    }
    say(line);
  }
};
template <class Kind>
int run_place(std::vector<std::string> const& args) {
  if (args.size() < 5) return 2;
  place_job<Kind> j{{args[2], std::stoul(args[4]), {}}};
  if (args[0] == "check" && args.size() == 5) return j.check(), 0;
  if (args[0] != "run" || args.size() != 9) return 2;
  *j.thing.ops.before = countdown{std::stol(args[6]), args[7] == "all"};
  j.thing.ops.protocol = args[8];
  j.run(args[5]);
  say("ended");
  wait_for_the_end();
}

}  // namespace power_cut
