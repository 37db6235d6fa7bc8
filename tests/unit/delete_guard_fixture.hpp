#pragma once

#include <utility>

#include "support.hpp"

namespace delete_guard_test {

using namespace std::chrono_literals;
using stash::time_point;
namespace fs = boost::filesystem;

using text = std::optional<std::string>;
using file_stash = stash::basic_stash<support::spoiled_storage, stash::json_serializer, stash::manual_clock>;

/// A resource that holds a value, a stash whose system calls can be spoiled, and what was told and restored.
struct fixture : support::scratch {
  support::spoiled_ops ops;
  stash::manual_clock clock{time_point{1000s}};
  file_stash store{support::spoiled_storage{dir(), {}, ops}, {}, clock};
  support::event_log log;
  text live;
  std::vector<std::string> restored;
  std::function<void()> in_restore = [] {};

  stash::guard_options options(stash::guard_options o = {}) {
    o.observer = log.observer();
    return o;
  }
  auto guard(stash::guard_options o = {}) {
    return stash::delete_guard{store, "orders", [this] { return live; },
                               [this](std::string const& saved) {
                                 in_restore();
                                 restored.push_back(saved);
                                 live = saved;
                               },
                               options(std::move(o))};
  }
  fs::path file() const { return store.storage().path("orders"); }
  text stashed() { return store.load<std::string>("orders"); }
  void spoil(std::string name, int error) {
    *ops.before = [name, error](std::string_view call) { return call == name ? error : 0; };
  }
  void heal() {
    *ops.before = [](std::string_view) { return 0; };
  }
  std::size_t aside() { return store.set_aside_entries().size(); }
};

}  // namespace delete_guard_test
