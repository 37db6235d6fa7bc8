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

template <class... Stores, class Work>
void compare(settings const& with, stash::durability d, char const* what, Work work) {
  race r{std::string("neighbours/") + name_of(d) + "/" + what, with, rounds_of(work, with)};
  (enter<Stores>(r, work, d), ...);
  race::enlist(std::move(r));
}
template <class... Raw, class Work>
void compare_all(settings const& with, stash::durability d, char const* what, Work work) {
  compare<journal, files, leveldb_store, rocksdb_store, lmdb_store, sqlite_wal, sqlite_delete, Raw...>(with, d, what,
                                                                                                       work);
}

/// Before all others, and without those that remove files beside their work (SQLite in DELETE mode its journal): some
/// file systems make new files slowly for a while then, and the difference that is to be seen drowns in that.
void enlist_files(settings const& with, stash::record const& value) {
  auto const d = stash::durability::power_loss;
  auto const compare = [&]<class... Stores>(char const* what, auto work) {
    race r{std::string("files/power_loss/") + what, with};
    (enter<Stores>(r, work, d), ...);
    race::enlist(std::move(r));
  };
  compare.operator()<files, raw_rename, raw_tmpfile, raw_tmpfile_record>("save new", save_new{value});
  compare.operator()<files, raw_rename>("overwrite", overwrite{value});
  compare.operator()<files, raw_unlink, raw_rename_unlink>("clear", clear{value});
}

void enlist(settings const& with) {
  auto const value = bytes(4096);
  enlist_files(with, value);
  for (auto const d : {stash::durability::power_loss, stash::durability::process_crash}) {
    compare_all<raw_preallocated, raw_append, raw_rename, raw_tmpfile, python_store>(with, d, "save new",
                                                                                     save_new{value});
    compare_all<raw_rename, python_store>(with, d, "overwrite", overwrite{value});
    compare_all<raw_read, python_store>(with, d, "load", load{value});
    compare_all<raw_unlink, raw_rename_unlink>(with, d, "clear", clear{value});
    compare_all<raw_preallocated, raw_append, raw_rename>(with, d, "batch of 100, a key", batch{value});
  }
  race r{"neighbours/memory/put and get", with};
  enter<memory>(r, put_and_get{value}, {});
  enter<locked_map>(r, put_and_get{value}, {});
  race::enlist(std::move(r));
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, enlist); }
