#pragma once

#include <sys/prctl.h>

#include <csignal>
#include <utility>

#include "support.hpp"

namespace locks_test {

namespace fs = boost::filesystem;

/// A process that takes the key's lock and then sleeps until it is killed; constructed when it has the lock.
class holder {
 public:
  template <class F>
  explicit holder(F hold) {
    int pipe_ends[2];
    BOOST_REQUIRE(::pipe(pipe_ends) == 0);
    child_ = ::fork();
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      hold([&] {
        [[maybe_unused]] auto const n = ::write(pipe_ends[1], "x", 1);
        for (;;) ::pause();
      });
      ::_exit(1);
    }
    ::close(pipe_ends[1]);
    char c = 0;
    BOOST_REQUIRE(::read(pipe_ends[0], &c, 1) == 1);
    ::close(pipe_ends[0]);
  }
  ~holder() { kill(); }
  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }

 private:
  pid_t child_;
};

/// This process's descriptor of a file; -1: it has none.
inline int descriptor_of(fs::path const& file) {
  for (auto const& name : support::names("/proc/self/fd")) {
    boost::system::error_code gone;
    if (fs::read_symlink(fs::path("/proc/self/fd") / name, gone) == fs::canonical(file)) return std::stoi(name);
  }
  return -1;
}

struct fixture : support::scratch {
  stash::file_stash store{dir()};
  fs::path lock_file = dir() / ".lock";
  std::vector<int> restored;

  auto guard(stash::guard_options options = {}, std::optional<int> live = 1) {
    return stash::delete_guard{store, "k", [live] { return live; }, [this](int v) { restored.push_back(v); },
                               std::move(options)};
  }
};

}  // namespace locks_test
