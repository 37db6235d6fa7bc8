// Many threads, and many keys.
#include <malloc.h>
#include <unistd.h>

#include <barrier>
#include <optional>
#include <thread>
#include <unordered_map>

#include "raw.hpp"
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
    race r{"scale/power_loss/threads/" + std::to_string(threads), with, with.is_quick ? 2 : with.rounds / 4};
    save_from_threads const work{threads, 64 * threads};
    auto const d = stash::durability::power_loss;
    enter<journal>(r, work, d);
    enter<files>(r, work, d);
    enter<leveldb_store>(r, work, d);
    enter<rocksdb_store>(r, work, d);
    enter<raw_shared>(r, work, d);
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
    b->Iterations(1)->Repetitions(count < 100'000 ? 3 : 2)->Unit(benchmark::kMillisecond)->UseManualTime();
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

// A listing of so many records of 100 bytes, and the same by hand

int listed(settings const& with) { return with.is_quick ? 10'000 : 1'000'000; }
race listing(std::string const& policy, settings const& with) {
  return {"scale/listing/" + policy, with, with.is_quick ? 2 : 5};
}
/// `make()` returns what lists `count` of them, and how many it found.
template <class Make>
void enter_listing(race& r, std::string const& who, int count, Make make) {
  r.enter(who + "/" + std::to_string(count), [=](fs::path const&) -> turn {
    return [list = make(), count]() mutable {
      std::size_t found = 0;
      double const seconds = seconds_of([&] { found = list(); });
      if (found < static_cast<std::size_t>(count)) throw std::runtime_error("listed " + std::to_string(found));
      return seconds;
    };
  });
}

/// What an entry holds, of a map that is in memory already.
std::size_t entries_by_hand(std::unordered_map<stash::key, stash::record> const& map, std::string const& where) {
  std::vector<stash::entry> found;
  for (auto const& [k, r] : map) {
    found.push_back({k, stash::record_state::intact, r.saved_at, r.payload.size(), where});
  }
  std::sort(found.begin(), found.end(), [](auto const& a, auto const& b) { return a.key < b.key; });
  return found.size();
}
std::unordered_map<stash::key, stash::record> filled_map(int count) {
  std::unordered_map<stash::key, stash::record> map;
  for (int i = 0; i < count; ++i) map[new_key(-1 - i)] = bytes(100);
  return map;
}
/// Each file opened, read and taken apart, in the order of their names.
std::size_t files_by_hand(fs::path const& directory) {
  raw_read const reader{directory, stash::durability::power_loss};
  auto names = records_in(directory);
  std::sort(names.begin(), names.end());
  std::vector<std::pair<stash::time_point, std::size_t>> found;
  for (auto const& name : names) {
    auto const r = reader.get(name);
    found.emplace_back(r.saved_at, r.payload.size());
  }
  return found.size();
}

/// Of a row of such columns what an entry keeps, looked at as the library does: nullopt where it is not whole.
std::optional<stash::entry> checked(std::string_view k, std::string_view version, std::string_view saved_at,
                                    std::string_view xxh64, std::string_view payload, std::string const& where) {
  auto const time = stash::detail::to_time(saved_at);
  if (version != "1" || !time || stash::detail::row_checksum(stash::key(k), saved_at, payload) != xxh64) {
    return std::nullopt;
  }
  return stash::entry{stash::key(k), stash::record_state::intact, time, payload.size(),
                      where + std::string(": ").append(k)};
}

constexpr char sqlite_rows[] = "SELECT key, version, saved_at, xxh64, payload FROM stash ORDER BY key";
/// The plain query: each row's columns, as text.
std::size_t rows_of(stash::detail::sqlite_connection& db) {
  stash::detail::sqlite_statement row{db, sqlite_rows, "benchmark", {}};
  std::size_t found = 0;
  while (row.step()) {
    for (int column = 0; column < 5; ++column) benchmark::DoNotOptimize(row.text(column));
    ++found;
  }
  return found;
}
/// The same, each row checked and its entry kept.
std::size_t checked_rows_of(stash::detail::sqlite_connection& db) {
  stash::detail::sqlite_statement row{db, sqlite_rows, "benchmark", {}};
  std::vector<stash::entry> found;
  while (row.step()) {
    auto const of = [&](int column) { return row.view(column).value_or(""); };
    if (auto one = checked(of(0), of(1), of(2), of(3), of(4), db.file())) found.push_back(std::move(*one));
  }
  return found.size();
}
void enlist_sqlite_listing(settings const& with) {
  int const count = listed(with);
  auto const dir = with.directory / "sqlite";
  fs::create_directories(dir);
  fs::permissions(dir, fs::owner_all);
  auto const store = std::make_shared<sqlite>(dir, stash::durability::process_crash);
  auto const opened = [=] {
    return std::make_shared<stash::detail::sqlite_connection>((dir / "stash.sqlite").native());
  };
  race r = listing("sqlite", with);
  enter_listing(r, "entries", count, [=] {
    for (int i = 0; i < count; i += 1000) {
      std::vector<std::pair<stash::key, stash::record>> some;
      for (int j = i; j < std::min(i + 1000, count); ++j) some.emplace_back(new_key(-1 - j), bytes(100));
      store->put_all(some);
    }
    return [=] { return store->entries().size(); };
  });
  enter_listing(r, "plain", count, [=] { return [db = opened()] { return rows_of(*db); }; });
  enter_listing(r, "checked", count, [=] { return [db = opened()] { return checked_rows_of(*db); }; });
  race::enlist(std::move(r));
}

#ifdef STASH_HAS_POSTGRES
/// A table with so many records, written as a dump is.
class postgres_rows {
 public:
  explicit postgres_rows(int count) : db_(::PQconnectdb(server({}).c_str()), ::PQfinish) {
    storage_.put(new_key(-1), bytes(100));
    send("COPY " + table_ + " (key, set_aside, version, saved_at, xxh64, payload) FROM STDIN");
    auto const r = bytes(100);
    for (int i = 1; i < count; ++i) {
      auto const k = new_key(-1 - i);
      std::string const row = k.string() + "\t\t1\t" + stash::detail::to_text(r.saved_at) + '\t' +
                              stash::detail::row_checksum(k, stash::detail::to_text(r.saved_at), r.payload) + '\t' +
                              r.payload + '\n';
      ::PQputCopyData(db_.get(), row.data(), static_cast<int>(row.size()));
    }
    ::PQputCopyEnd(db_.get(), nullptr);
    while (auto* const one = ::PQgetResult(db_.get())) ::PQclear(one);
    send("VACUUM ANALYZE " + table_);  // or the first reader would note in each row that it is committed
  }
  std::size_t entries() const { return storage_.entries().size(); }
  std::size_t rows() {
    auto const all = selected();
    int const found = ::PQntuples(all.get());
    for (int i = 0; i < found; ++i) {
      for (int column = 0; column < 5; ++column) {
        benchmark::DoNotOptimize(std::string(::PQgetvalue(all.get(), i, column)));
      }
    }
    return static_cast<std::size_t>(found);
  }
  /// The same, each row checked and its entry kept.
  std::size_t checked_rows() {
    auto const all = selected();
    std::vector<stash::entry> found;
    for (int i = 0; i < ::PQntuples(all.get()); ++i) {
      auto const of = [&](int column) { return std::string_view(::PQgetvalue(all.get(), i, column)); };
      if (auto one = checked(of(0), of(1), of(2), of(3), of(4), table_)) found.push_back(std::move(*one));
    }
    return found.size();
  }

 private:
  std::unique_ptr<PGresult, decltype(&::PQclear)> selected() {
    std::string const sql = "SELECT key, version, saved_at, xxh64, payload FROM " + table_ + " ORDER BY key";
    return {::PQexec(db_.get(), sql.c_str()), ::PQclear};
  }
  void send(std::string const& sql) { ::PQclear(::PQexec(db_.get(), sql.c_str())); }

  std::string name_ = new_table(), table_ = "stash." + name_;
  stash::postgres_storage storage_{server({}), {.table = name_}};
  std::unique_ptr<PGconn, decltype(&::PQfinish)> db_;
};
void enlist_postgres_listing(settings const& with) {
  int const count = listed(with);
  auto const rows = std::make_shared<std::optional<postgres_rows>>();
  race r = listing("postgres", with);
  enter_listing(r, "entries", count, [=] {
    rows->emplace(count);
    return [rows] { return (*rows)->entries(); };
  });
  enter_listing(r, "plain", count, [=] { return [rows] { return (*rows)->rows(); }; });
  enter_listing(r, "checked", count, [=] { return [rows] { return (*rows)->checked_rows(); }; });
  race::enlist(std::move(r));
}
#else
void enlist_postgres_listing(settings const&) {}
#endif

/// Beside it, the same by hand: of a map, with as long a text in each entry, or of the same files.
template <class Storage>
void enlist_listing(settings const& with, std::string const& policy, fs::path const& directory,
                    std::shared_ptr<filled<Storage>> store) {
  int const count = listed(with);
  race r = listing(policy, with);
  enter_listing(r, "entries", count, [=] {
    store->open();
    return [store] { return store->open().entries().size(); };
  });
  enter_listing(r, "by hand", count, [=] {
    if constexpr (std::is_same_v<Storage, files>) {
      return [=] { return files_by_hand(directory); };
    } else {
      auto const where = std::is_same_v<Storage, journal> ? (directory / "stash.journal").native() : policy;
      return [=, map = filled_map(count)] { return entries_by_hand(map, where); };
    }
  });
  race::enlist(std::move(r));
}

template <class Storage>
void enlist_keys(settings const& with, std::string const& durability, std::string const& policy) {
  auto const prefix = "scale/" + durability + "/" + policy + "/";
  race saves{prefix + "save", with}, loads{prefix + "load", with};
  std::vector<std::function<void()>> listings;  // last: they leave a heap in which a save has to ask for new pages
  for (int count = 10; count <= listed(with); count *= 10) {
    auto const directory = with.directory / policy / std::to_string(count);
    fs::create_directories(directory);
    fs::permissions(directory, fs::owner_all);
    auto const store = std::make_shared<filled<Storage>>(directory, count);
    if constexpr (requires(Storage const& s) { s.entries(); }) {
      listings.push_back([=] {
        enlist_whole(prefix, count, store);
        if (count == listed(with)) enlist_listing(with, policy, directory, store);
      });
    }
    enter_keys(saves, loads, count, store);
  }
  race::enlist(std::move(saves));
  race::enlist(std::move(loads));
  for (auto const& one : listings) one();
}

void enlist(settings const& with) {
  enlist_threads(with);
  enlist_keys<memory>(with, "memory", "memory");
  enlist_keys<locked_map>(with, "memory", "unordered_map");
  enlist_keys<journal>(with, "power_loss", "journal");
  enlist_keys<files>(with, "power_loss", "files");
  enlist_sqlite_listing(with);
  enlist_postgres_listing(with);
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, enlist); }
