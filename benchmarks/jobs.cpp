// What a whole job pays: a table that is dropped and built anew, with what people do today beside it; guards of many
// keys; and the recovery of many orphans.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>
#include <optional>
#include <stash/place/sqlite_table.hpp>
#include <stash/stash.hpp>

#include "raw.hpp"
#include "stores.hpp"
#include "turns.hpp"
#include "work.hpp"

namespace {

using namespace bench;
namespace json = boost::json;
using stash::durability;

// A table of SQLite with 1,000 rows, and the words that people typed for it in a second one

struct catalog {
  explicit catalog(fs::path const& dir) : db((dir / "data.sqlite").native()) {
    run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE words(name TEXT PRIMARY KEY, info TEXT)");
    json::object columns;
    for (int i = 0; i < 16; ++i) columns["column_" + std::to_string(i)] = {{"label", "Column"}, {"notes", text(200)}};
    dictionary = std::move(columns);
    rebuild(dictionary);
  }
  void run(std::string const& sql) { db.execute(sql, "benchmark", {}); }
  std::optional<json::value> words() {
    stash::detail::sqlite_statement row{db, "SELECT info FROM words WHERE name = 'orders'", "benchmark", {}};
    return row.step() ? std::optional(json::parse(*row.text(0))) : std::nullopt;
  }
  void drop() { run("BEGIN; DROP TABLE orders; DELETE FROM words; COMMIT"); }
  /// As a load does it: the table, its rows, and at last the words that make it whole.
  void rebuild(json::value const& words_of_it) {
    run("CREATE TABLE IF NOT EXISTS orders(id INTEGER PRIMARY KEY, note TEXT);"
        "INSERT INTO orders SELECT value, 'row ' || value FROM generated");
    annotate(words_of_it);
  }
  void annotate(json::value const& words_of_it) {
    stash::detail::sqlite_statement{db, "INSERT OR REPLACE INTO words VALUES('orders', ?)", "benchmark", {}}
        .bind(json::serialize(words_of_it))
        .run();
  }

  stash::detail::sqlite_connection db;
  json::value dictionary;
};

struct prepared_catalog : catalog {
  explicit prepared_catalog(fs::path const& dir) : catalog(prepared(dir)) {}
  static fs::path const& prepared(fs::path const& dir) {
    stash::detail::sqlite_connection db((dir / "data.sqlite").native());
    db.execute(
        "CREATE TABLE generated(value INTEGER);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO generated SELECT i "
        "FROM n",
        "benchmark", {});
    return dir;
  }
};

/// A job on a catalog of its own: `job(catalog, directory)`.
template <class Job>
auto on_catalog(Job job) {
  return [job](fs::path const& dir) {
    auto tables = std::make_shared<prepared_catalog>(dir);
    return timed([](int) { return 0; }, [tables, dir, job](int) { job(*tables, dir); }, 1);
  };
}
template <class Storage>
auto guarded() {
  return [](fs::path const& dir) {
    auto tables = std::make_shared<prepared_catalog>(dir);
    auto store = std::make_shared<stash::basic_stash<Storage>>(Storage(dir / "stash", durability::power_loss));
    return timed([](int) { return 0; },
                 [tables, store](int) {
                   stash::delete_guard guard{*store, "orders", [&] { return tables->words(); },
                                             [&](json::value const& saved) { tables->annotate(saved); }};
                   tables->drop();
                   tables->rebuild(*guard.value());
                   guard.commit();
                 },
                 1);
  };
}

void enlist_job(settings const& with) {
  race r{"jobs/drop and rebuild", with, with.rounds / 2};
  r.enter("nothing is kept", on_catalog([](catalog& c, fs::path const&) {
            auto const words = c.words();
            c.drop();
            c.rebuild(*words);
          }));
  r.enter("words in a file, not synced (as in the original)", on_catalog([](catalog& c, fs::path const& dir) {
            auto const words = c.words();
            auto const file = (dir / "words.json").native(), temporary = file + ".tmp";
            std::ofstream(temporary) << json::serialize(*words);
            must(::rename(temporary.c_str(), file.c_str()), "rename");
            c.drop();
            c.rebuild(*words);
            must(::unlink(file.c_str()), "unlink");
          }));
  r.enter("words in a file, each step synced by hand", on_catalog([](catalog& c, fs::path const& dir) {
            auto const words = c.words();
            raw_rename{dir, durability::power_loss}.put("words", {json::serialize(*words), {}});
            c.drop();
            c.rebuild(*words);
            raw_unlink{dir, durability::power_loss}.erase("words");
          }));
  r.enter("a copy of the table before, dropped after", on_catalog([](catalog& c, fs::path const&) {
            auto const words = c.words();
            c.run("CREATE TABLE copy AS SELECT * FROM orders");
            c.drop();
            c.rebuild(*words);
            c.run("DROP TABLE copy");
          }));
  r.enter("stash: delete_guard, files", guarded<files>());
  r.enter("stash: delete_guard, journal", guarded<journal>());
  r.enter("stash: replace_guard of the table, files", [](fs::path const& dir) {
    auto tables = std::make_shared<prepared_catalog>(dir);
    auto store = std::make_shared<stash::file_stash>(dir / "stash");
    return timed(
        [](int) { return 0; },
        [=](int) {
          stash::replace_guard guard{*store, "orders", stash::sqlite_table{(dir / "data.sqlite").native(), "orders"}};
          tables->rebuild(tables->dictionary);
          guard.commit();
        },
        1);
  });
  race::enlist(std::move(r));
}

// Many keys

std::vector<stash::key> keys(int from, int count) {
  std::vector<stash::key> result;
  for (int i = 0; i < count; ++i) result.push_back(new_key(from + i));
  return result;
}
using restore_nothing = void (*)(stash::key const&, std::string const&);

/// The whole life of a guard of so many keys; the time is that of one key.
auto guard_of(int count) {
  return [count](fs::path const& dir) {
    auto store = std::make_shared<stash::file_stash>(dir / "stash");
    return timed([count](int i) { return keys(i * count, count); },
                 [store](std::vector<stash::key> const& all) {
                   std::string const live = text(100);
                   stash::delete_guards guard{*store, all, [&](stash::key const&) { return live; },
                                              restore_nothing([](stash::key const&, std::string const&) {})};
                   guard.commit();
                 },
                 1, count);
  };
}
/// As many files, written and removed with the same flushes.
auto files_by_hand(int count) {
  return [count](fs::path const& dir) {
    auto at = std::make_shared<descriptor>(::open(dir.c_str(), O_RDONLY | O_DIRECTORY));
    auto const sync = [at] { must(::fsync(at->get()), "fsync"); };
    return timed([count](int i) { return keys(i * count, count); },
                 [=](std::vector<stash::key> const& all) {
                   constexpr std::size_t most = 128;  // open at once
                   std::string const bytes = text(200);
                   for (std::size_t first = 0; first < all.size(); first += most) {
                     std::vector<std::unique_ptr<descriptor>> open;
                     for (std::size_t i = first; i < std::min(first + most, all.size()); ++i) {
                       open.push_back(std::make_unique<descriptor>(
                           ::openat(at->get(), ("." + all[i].string()).c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600)));
                       open.back()->write(bytes);
                       ::sync_file_range(open.back()->get(), 0, 0, SYNC_FILE_RANGE_WRITE);
                     }
                     for (auto const& one : open) must(::fsync(one->get()), "fsync");
                     for (std::size_t i = 0; i < open.size(); ++i) {
                       std::string const to = all[first + i].string();
                       must(::renameat(at->get(), ("." + to).c_str(), at->get(), to.c_str()), "rename");
                     }
                   }
                   sync();
                   for (auto const& k : all) {
                     must(::renameat(at->get(), k.string().c_str(), at->get(), ("." + k.string()).c_str()), "rename");
                   }
                   sync();
                   for (auto const& k : all) must(::unlinkat(at->get(), ("." + k.string()).c_str(), 0), "unlink");
                 },
                 1, count);
  };
}

void fill(fs::path const& dir, int count, int from) {
  files storage{dir, durability::process_crash};
  auto const r = bytes(100);
  for (int i = 0; i < count; ++i) storage.put(new_key(from + i), {json::serialize(json::value(r.payload)), {}});
  ::sync();
}

auto recovered(int count) {
  return [count](fs::path const& dir) {
    return timed([=](int i) { return fill(dir, count, i * count), 0; },
                 [=](int) {
                   stash::file_stash store{dir};
                   auto const report = stash::recover<std::string>(
                       store, [](stash::key const&) { return false; }, [](stash::key const&, std::string const&) {});
                   if (report.restored != static_cast<std::size_t>(count)) throw std::runtime_error("not all restored");
                 },
                 1, count);
  };
}
auto recovered_by_hand(int count) {
  return [count](fs::path const& dir) {
    return timed([=](int i) { return fill(dir, count, i * count), 0; },
                 [=](int) {
                   raw_read const reader{dir, durability::power_loss};
                   descriptor const at{::open(dir.c_str(), O_RDONLY | O_DIRECTORY)};
                   for (auto const& name : records_in(dir)) {
                     benchmark::DoNotOptimize(json::parse(reader.get(name).payload));
                     must(::unlinkat(at.get(), (name + ".stash").c_str(), 0), "unlink");
                   }
                   must(::fsync(at.get()), "fsync");
                 },
                 1, count);
  };
}

/// Each under a lock that is looked at before it is relied on, and removed so that a failed sync takes nothing.
auto recovered_under_locks(int count) {
  return [count](fs::path const& dir) {
    return timed([=](int i) { return fill(dir, count, i * count), 0; },
                 [=](int) {
                   raw_read_checked const reader{dir, durability::power_loss};
                   auto const lock_file = dir / ".lock";
                   descriptor const at{::open(dir.c_str(), O_RDONLY | O_DIRECTORY)},
                       locks{::open(lock_file.c_str(), O_RDWR | O_CREAT, 0600)};
                   auto const look = [&] {
                     struct stat ours, there;
                     must(::fstat(locks.get(), &ours), "fstat");
                     must(::lstat(lock_file.c_str(), &there), "lstat");
                     if (ours.st_ino != there.st_ino) throw std::runtime_error("another lock file");
                   };
                   auto const set = [&](short type, std::size_t start, off_t bytes) {
                     struct flock wanted = {};
                     wanted.l_type = type;
                     wanted.l_start = static_cast<off_t>(start);
                     wanted.l_len = bytes;
                     must(::fcntl(locks.get(), F_OFD_SETLK, &wanted), "lock");
                   };
                   auto const all = records_in(dir);
                   for (auto const& name : all) benchmark::DoNotOptimize(reader.get(name));  // to see what there is
                   constexpr std::size_t most = 256;                                         // locks at once
                   for (std::size_t first = 0; first < all.size(); first += most) {
                     auto const last = std::min(first + most, all.size());
                     for (std::size_t i = first; i < last; ++i) {
                       set(F_WRLCK, 2 * i, 1);  // apart, as those of keys are
                       look();
                       benchmark::DoNotOptimize(json::parse(reader.get(all[i]).payload));
                     }
                     for (std::size_t i = first; i < last; ++i) {
                       look();
                       must(::renameat(at.get(), (all[i] + ".stash").c_str(), at.get(), ("." + all[i]).c_str()),
                            "rename");
                     }
                     must(::fsync(at.get()), "fsync");
                     for (std::size_t i = first; i < last; ++i)
                       must(::unlinkat(at.get(), ("." + all[i]).c_str(), 0), "unlink");
                     set(F_UNLCK, 0, 0);
                   }
                 },
                 1, count);
  };
}

void enlist(settings const& with) {
  enlist_job(with);

  int const few = 100, many = with.is_quick ? 300 : 10'000;
  race guards{"jobs/guards", with, with.is_quick ? 2 : 5};
  guards.enter("stash: 100 keys", guard_of(few)).enter("stash: " + std::to_string(many) + " keys", guard_of(many));
  guards.enter("raw: 100 files", files_by_hand(few));
  guards.enter("raw: " + std::to_string(many) + " files", files_by_hand(many));
  race::enlist(std::move(guards));

  int const orphans = with.is_quick ? 300 : 100'000;
  race r{"jobs/recover", with, with.is_quick ? 2 : 3};
  r.enter("stash: recover", recovered(orphans)).enter("raw: open, read, parse, unlink", recovered_by_hand(orphans));
  r.enter("raw: the same, under locks", recovered_under_locks(orphans));
  race::enlist(std::move(r));
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, enlist); }
