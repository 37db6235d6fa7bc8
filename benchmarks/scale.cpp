// Many threads, and many keys.
#include <malloc.h>
#include <unistd.h>

#include <barrier>
#include <optional>
#include <thread>

#include "stores.hpp"
#include "turns.hpp"
#include "work.hpp"

namespace {

using namespace bench;

/// All threads together: the time is that of one save of theirs.
struct save_from_threads {
  int threads, saves;
  stash::record value = bytes(4096);

  template <class Store>
  turn operator()(std::shared_ptr<Store> store) const {
    auto const keys = [n = saves](int i) {
      std::vector<stash::key> result;
      for (int j = 0; j < n; ++j) result.push_back(new_key(n * i + j));
      return result;
    };
    auto const save = [store, v = value, n = threads](std::vector<stash::key> const& all) {
      std::barrier start{n + 1};
      std::vector<std::jthread> running;
      for (int t = 0; t < n; ++t) {
        running.emplace_back([&, t] {
          start.arrive_and_wait();
          for (std::size_t i = static_cast<std::size_t>(t); i < all.size(); i += static_cast<std::size_t>(n)) {
            store->put(all[i], v);
          }
        });
      }
      return seconds_of([&] {
        start.arrive_and_wait();
        running.clear();
      });
    };
    return timed(keys, save, 1, saves);
  }
};

void enlist_threads(settings const& with) {
  for (int const threads : {1, 2, 4, 8, 16}) {
    race r{"scale/power_loss/threads/" + std::to_string(threads), with, with.rounds / 4};
    save_from_threads const work{threads, 64 * threads};
    auto const d = stash::durability::power_loss;
    enter<journal>(r, work, d);
    enter<files>(r, work, d);
    enter<leveldb_store>(r, work, d);
    enter<rocksdb_store>(r, work, d);
    race::enlist(std::move(r));
  }
}

/// A store that has so many keys already, of 100 bytes each.
template <class Storage>
class filled {
 public:
  static constexpr bool is_kept = !std::is_same_v<Storage, memory> && !std::is_same_v<Storage, locked_map>;

  filled(fs::path directory, int count) : directory_(std::move(directory)), count_(count) {}

  Storage& open() {
    fill();
    if (!store_) {
      store_.emplace(directory_, stash::durability::power_loss);
      benchmark::DoNotOptimize(store_->get(new_key(0)));  // a journal opens its file when it is first asked
    }
    return *store_;
  }
  void close() {
    fill();
    if (is_kept) store_.reset();
  }

 private:
  void fill() {
    if (std::exchange(is_filled_, true)) return;
    if (count_ >= 100'000) std::cerr << "filling " << Storage::name << " with " << count_ << " keys\n";
    auto const small = bytes(100);
    store_.emplace(directory_, stash::durability::process_crash);
    for (int i = 0; i < count_; ++i) store_->put(new_key(-1 - i), small);
    if (!is_kept) return;
    store_.reset();
    ::sync();  // or the first sync that is measured would do it
  }

  fs::path directory_;
  int count_;
  bool is_filled_ = false;
  std::optional<Storage> store_;
};

std::size_t heap() {
  auto const used = ::mallinfo2();
  return used.uordblks + used.hblkhd;
}

/// Each round saves a new key, loads it and removes it again, so that there are as many keys as before.
template <class Storage>
void enter_keys(race& saves, race& loads, int count, std::shared_ptr<filled<Storage>> store) {
  auto const name = std::to_string(count);
  saves.enter(name, [store](fs::path const&) {
    auto const clear_last = [store](int i) {
      if (i > 0) store->open().erase(new_key(i - 1));
      return new_key(i);
    };
    return timed(
        clear_last, [store, v = bytes(4096)](stash::key const& k) { store->open().put(k, v); }, 1);
  });
  loads.enter(name, [store, count](fs::path const&) {
    std::minstd_rand random;
    auto const any = [random, count](int) mutable {
      return new_key(-1 - static_cast<int>(random() % static_cast<unsigned>(count)));
    };
    return timed(any, [store](stash::key const& k) { benchmark::DoNotOptimize(store->open().get(k)); });
  });
}

/// Opening the store, with the memory that it takes then, and listing it.
template <class Storage>
void enlist_whole(std::string const& prefix, int count, std::shared_ptr<filled<Storage>> store) {
  auto const name = "/" + std::to_string(count);
  auto const once = [count](auto* b) {
    b->Iterations(1)->Repetitions(count < 100'000 ? 3 : 1)->Unit(benchmark::kMillisecond)->UseManualTime();
  };
  if (std::is_same_v<Storage, journal>) {
    once(benchmark::RegisterBenchmark((prefix + "open" + name).c_str(), [store](benchmark::State& state) {
      store->close();
      auto const before = heap();
      for (auto _ : state) state.SetIterationTime(seconds_of([&] { store->open(); }));
      state.counters["bytes"] = static_cast<double>(heap() - before);
    }));
  }
  once(benchmark::RegisterBenchmark((prefix + "entries" + name).c_str(), [store](benchmark::State& state) {
    auto const& open = store->open();
    for (auto _ : state) {
      state.SetIterationTime(seconds_of([&] { benchmark::DoNotOptimize(open.entries()); }));
    }
  }));
}

template <class Storage>
void enlist_keys(settings const& with, std::string const& durability, std::string const& policy) {
  auto const prefix = "scale/" + durability + "/" + policy + "/";
  race saves{prefix + "save", with}, loads{prefix + "load", with};
  for (int count = 10; count <= (with.is_quick ? 10'000 : 1'000'000); count *= 10) {
    auto const directory = with.directory / policy / std::to_string(count);
    fs::create_directories(directory);
    fs::permissions(directory, fs::owner_all);
    auto const store = std::make_shared<filled<Storage>>(directory, count);
    if constexpr (requires(Storage const& s) { s.entries(); }) enlist_whole(prefix, count, store);
    enter_keys(saves, loads, count, store);
  }
  race::enlist(std::move(saves));
  race::enlist(std::move(loads));
}

void enlist(settings const& with) {
  enlist_threads(with);
  enlist_keys<memory>(with, "memory", "memory");
  enlist_keys<locked_map>(with, "memory", "unordered_map");
  enlist_keys<journal>(with, "power_loss", "journal");
  enlist_keys<files>(with, "power_loss", "files");
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, enlist); }
