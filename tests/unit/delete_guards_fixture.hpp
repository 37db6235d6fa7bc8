#pragma once

#include <map>
#include <set>
#include <stash/delete_guards.hpp>
#include <utility>

#include "support.hpp"

namespace delete_guards_test {

using namespace std::chrono_literals;

using maybe = std::optional<std::string>;
using file_stash = stash::basic_stash<support::spoiled_storage, stash::json_serializer, stash::manual_clock>;

/// Resources that hold values, a stash whose system calls can be spoiled, and what was told and restored.
struct fixture : support::scratch {
  support::spoiled_ops ops;
  stash::manual_clock clock{stash::time_point{1000s}};
  file_stash store{support::spoiled_storage{dir(), {}, ops}, {}, clock};
  support::event_log log;
  std::map<std::string, maybe> live{{"a", "of a"}, {"b", "of b"}, {"c", "of c"}};
  std::vector<std::string> keys{"b", "a", "c"}, asked, restored;
  std::set<std::string> cannot_restore;

  auto guard(stash::guard_options o = {}) {
    o.observer = log.observer();
    return stash::delete_guards{store, keys,
                                [this](stash::key const& k) {
                                  asked.emplace_back(k.str());
                                  return live.at(std::string(k.str()));
                                },
                                [this](stash::key const& k, std::string const& saved) {
                                  auto const name = std::string(k.str());
                                  if (cannot_restore.contains(name)) throw std::runtime_error("cannot restore " + name);
                                  restored.push_back(name + "=" + saved);
                                },
                                std::move(o)};
  }
  maybe stashed(char const* k) { return store.load<std::string>(k); }
  std::string all_stashed() {
    std::string result;
    for (char const* const k : {"a", "b", "c"}) result += stashed(k).value_or("-") + " ";
    return result;
  }
  void spoil(std::string name, int error, int nth = 1) {
    *ops.before = [name, error, nth](std::string_view call) mutable { return call == name && --nth == 0 ? error : 0; };
  }
  void heal() {
    *ops.before = [](std::string_view) { return 0; };
  }
  int count(std::string name, std::function<void()> const& f) {
    int n = 0;
    *ops.before = [&](std::string_view call) { return n += call == name, 0; };
    f();
    heal();
    return n;
  }
  /// So many keys, in no order.
  void many(int n) {
    keys.clear();
    live.clear();
    for (int i = 0; i < n; ++i) live[keys.emplace_back("table " + std::to_string(i * 7919 % n))] = "x";
  }
  bool all_free() {
    return store.storage().try_lock("a") && store.storage().try_lock("b") && store.storage().try_lock("c");
  }
};

}  // namespace delete_guards_test
