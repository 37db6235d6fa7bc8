// The same bytes under the same keys, by the library's storages, by other stores and by the system calls alone.
#include "raw.hpp"
#include "stores.hpp"
#include "turns.hpp"
#include "work.hpp"

namespace {

using namespace bench;

struct put_and_get {
  stash::record value;
  template <class Store>
  turn operator()(std::shared_ptr<Store> store) const {
    return timed(old_key, [store, v = value](stash::key const& k) {
      store->put(k, v);
      benchmark::DoNotOptimize(store->get(k));
    });
  }
};

/// All of a race, as durable as its name says.
template <class... Stores, class Work>
void compare(settings const& with, std::string const& race_name, stash::durability d, Work work) {
  race r{race_name, with, rounds_of(work, with)};
  (enter<Stores>(r, work, d), ...);
  race::enlist(std::move(r));
}

/// Before all others, and without those that remove files beside their work (SQLite in DELETE mode its journal): some
/// file systems make new files slowly for a while then, and the difference that is to be seen drowns in that.
void enlist_files(settings const& with, stash::record const& value) {
  auto const d = stash::durability::power_loss;
  std::string const files_by = "files/power_loss/";
  compare<files, raw_rename, raw_record, raw_tmpfile>(with, files_by + "save new", d, save_new{value});
  compare<files, raw_rename, raw_record>(with, files_by + "overwrite", d, overwrite{value});
  compare<files, raw_unlink, raw_rename_unlink>(with, files_by + "clear", d, clear{value});
}

void enlist_stores(settings const& with, stash::durability d, stash::record const& value) {
  auto const all = [&]<class... Raw>(char const* what, auto work) {
    compare<journal, files, sqlite, postgres, leveldb_store, rocksdb_store, lmdb_store, sqlite_wal, sqlite_delete,
            libpq_store, Raw...>(with, std::string("neighbours/") + name_of(d) + "/" + what, d, work);
  };
  all.operator()<raw_preallocated, raw_append, raw_rename, raw_tmpfile, python_store>("save new", save_new{value});
  all.operator()<raw_rename, python_store>("overwrite", overwrite{value});
  all.operator()<raw_read, raw_read_checked, python_store>("load", load{value});
  all.operator()<raw_unlink, raw_rename_unlink>("clear", clear{value});
  all.operator()<raw_preallocated, raw_append, raw_rename>("batch of 100, a key", batch{value});
}

void enlist_memory(settings const& with, stash::record const& value) {
  auto const both = [&](char const* what, auto work) {
    compare<memory, locked_map>(with, std::string("neighbours/memory/") + what, {}, work);
  };
  both("put and get", put_and_get{value});
  both("save new", save_new{value});
  both("overwrite", overwrite{value});
  both("load", load{value});
  both("clear", clear{value});
  both("batch of 100, a key", batch{value});
}

void enlist(settings const& with) {
  auto const value = bytes(4096);
  enlist_files(with, value);
  enlist_stores(with, stash::durability::power_loss, value);
  enlist_stores(with, stash::durability::process_crash, value);
  enlist_memory(with, value);
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, enlist); }
