#pragma once

#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <span>
#include <stash/file_options.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <utility>
#include <vector>

#include "turns.hpp"

// What contestants are asked to do. A contestant has put(key, value), get(key), erase(key) and, if it can do better
// than one after another, put_all(range of pairs); for each kind of work what that needs.
namespace bench {

inline stash::key new_key(int i) { return "key-" + std::to_string(1'000'000'000 + i); }
/// One of a hundred.
inline stash::key old_key(int i) { return new_key(-1 - i % 100); }

/// Letters that do not compress to nothing.
inline std::string text(std::size_t size) {
  std::minstd_rand random;
  std::string letters;
  while (letters.size() < size) letters += static_cast<char>('a' + random() % 26);
  return letters;
}
inline stash::record bytes(std::size_t size) { return {text(size), stash::time_point{}}; }

template <class Value>
struct save_new {
  Value value;
  template <class Store>
  turn operator()(std::shared_ptr<Store> store) const {
    return timed(new_key, [store, v = value](stash::key const& k) { return store->put(k, v); });
  }
};

template <class Value>
struct overwrite {
  Value value;
  template <class Store>
  turn operator()(std::shared_ptr<Store> store) const {
    for (int i = 0; i < 100; ++i) store->put(old_key(i), value);
    return timed(old_key, [store, v = value](stash::key const& k) { return store->put(k, v); });
  }
};

template <class Value>
struct load {
  Value value;
  template <class Store>
  turn operator()(std::shared_ptr<Store> store) const {
    for (int i = 0; i < 100; ++i) store->put(old_key(i), value);
    return timed(old_key, [store](stash::key const& k) { benchmark::DoNotOptimize(store->get(k)); });
  }
};

template <class Value>
struct clear {
  Value value;
  template <class Store>
  turn operator()(std::shared_ptr<Store> store) const {
    auto const save = [store, v = value](int i) {
      auto k = new_key(i);
      store->put(k, v);
      return k;
    };
    return timed(save, [store](stash::key const& k) { store->erase(k); });
  }
};

/// A hundred new keys at once; the time is that of one.
template <class Value>
struct batch {
  Value value;
  template <class Store>
  turn operator()(std::shared_ptr<Store> store) const {
    using pairs = std::vector<std::pair<stash::key, Value>>;
    auto const hundred = [v = value](int i) {
      pairs result;
      for (int j = 0; j < 100; ++j) result.emplace_back(new_key(100 * i + j), v);
      return result;
    };
    auto const save = [store](pairs const& all) {
      if constexpr (requires { store->put_all(all); }) {
        store->put_all(all);
      } else {
        for (auto const& [k, v] : all) store->put(k, v);
      }
    };
    return timed(hundred, save, 1, 100);
  }
};

/// Fewer where each of them takes long.
template <class Work>
int rounds_of(Work const&, settings const& with) {
  return with.rounds;
}
template <class Value>
int rounds_of(batch<Value> const&, settings const& with) {
  return with.rounds / 5;
}

/// Enters `Store(directory, durability)` under its name; as skipped, by name, where it is not built in.
template <class Store, class Work>
void enter(race& r, Work work, stash::durability d) {
  r.enter(Store::name, [work, d](fs::path const& directory) {
    if constexpr (requires { Store(directory, d); }) {
      return work(std::make_shared<Store>(directory, d));
    } else {
      throw std::runtime_error("skipped: built without it");
      return turn();
    }
  });
}

inline char const* name_of(stash::durability d) {
  return d == stash::durability::power_loss ? "power_loss" : "process_crash";
}

}  // namespace bench
