// What a stash costs, by storage: dictionaries of three sizes, saved, loaded, cleared and guarded.
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <stash/stash.hpp>

#include "raw.hpp"
#include "stores.hpp"
#include "turns.hpp"
#include "work.hpp"

namespace {

using namespace bench;
namespace json = boost::json;

/// Labels and notes of as many columns as make `size` bytes.
json::value dictionary(std::size_t size) {
  json::object columns;
  for (std::size_t used = 0; used < size;) {
    json::object info{{"label", "Column " + std::to_string(columns.size())}, {"notes", text(200)}};
    used += json::serialize(info).size() + 16;
    columns.emplace("column_" + std::to_string(columns.size()), std::move(info));
  }
  return columns;
}

/// A stash with the names that the work knows.
template <class Storage>
struct stash_on : stash::basic_stash<Storage> {
  static constexpr auto& name = Storage::name;
  stash_on(fs::path const& dir, stash::durability d) : stash::basic_stash<Storage>(Storage(dir, d)) {}
  void put(stash::key const& k, json::value const& v) { this->save(k, v); }
  auto get(stash::key const& k) const { return this->load(k); }
  bool erase(stash::key const& k) { return this->clear(k); }
  template <class Pairs>
  void put_all(Pairs const& all) {
    this->save_all(all);
  }
};

/// What a stash's save consists of, without the stash.
template <class Storage>
class parts_of {
 public:
  static constexpr char name[] = "serialize and put alone";
  parts_of(fs::path const& dir, stash::durability d) : storage_(dir, d) {}
  void put(stash::key const& k, json::value const& v) {
    storage_.put(k, {serializer_.serialize(v), stash::time_point{}});
  }

 private:
  Storage storage_;
  stash::json_serializer serializer_;
};

/// A guard's whole life: the live value is copied and saved, and committed.
struct guard_life {
  json::value value;
  template <class Stash>
  turn operator()(std::shared_ptr<Stash> store) const {
    return timed(new_key, [store, v = value](stash::key const& k) {
      stash::basic_stash<typename Stash::storage_type>& base = *store;
      stash::delete_guard guard{base, k, [&] { return v; }, [](json::value const&) {}};
      guard.commit();
    });
  }
};

/// Text is its own bytes: what is left is all but serialization.
struct text_as_it_is {
  using value_type = std::string;
  std::string serialize(std::string const& text) const { return text; }
  template <class T>
  T deserialize(std::string_view bytes) const {
    return T(bytes);
  }
};
void enlist_bare_guard(settings const& with) {
  race r{"guard/memory", with};
  r.enter("life of a guard", [](fs::path const&) {
    auto store = std::make_shared<stash::basic_stash<stash::memory_storage, text_as_it_is>>();
    return timed(new_key, [store, live = text(1000)](stash::key const& k) {
      stash::delete_guard guard{*store, k, [&] { return live; }, [](std::string const&) {}};
      guard.commit();
    });
  });
  race::enlist(std::move(r));
}

/// Where a floor can be told, it runs along: the same bytes, written and flushed once.
struct group {
  std::string name;
  stash::durability durability;
  settings const& with;

  template <class... Storages, class Work>
  race with_stashes(std::string const& what, Work work) const {
    race r{name + "/" + what, with, rounds_of(work, with)};
    (enter<stash_on<Storages>>(r, work, durability), ...);
    return r;
  }
  template <class... Storages, class Work>
  void compare(std::string const& what, Work work) const {
    race::enlist(with_stashes<Storages...>(what, work));
  }
  template <class... Storages, class Work, class Raw>
  void compare_to_floor(std::string const& what, Work work, Raw raw) const {
    race r = with_stashes<Storages...>(what, work);
    if ((!std::is_same_v<Storages, memory> && ...)) enter<raw_preallocated>(r, raw, durability);
    race::enlist(std::move(r));
  }
  template <class... Storages>
  void all(json::value const& value) const {
    stash::record const r{json::serialize(value), stash::time_point{}};
    compare_to_floor<Storages...>("save new", save_new{value}, save_new{r});
    compare<Storages...>("overwrite", overwrite{value});
    compare<Storages...>("load", load{value});
    compare<Storages...>("clear", clear{value});
    compare<Storages...>("guard and commit", guard_life{value});
    compare_to_floor<Storages...>("batch of 100, a key", batch{value}, batch{r});
  }
};

template <class Storage>
void compare_to_parts(settings const& with, stash::durability d) {
  auto const value = dictionary(4096);
  race r{std::string("parts/") + Storage::name, with};
  enter<stash_on<Storage>>(r, save_new{value}, d);
  enter<parts_of<Storage>>(r, save_new{value}, d);
  race::enlist(std::move(r));
}

void enlist(settings const& with) {
  for (int const kilobytes : {1, 15, 150}) {
    auto const value = dictionary(static_cast<std::size_t>(kilobytes) * 1000);
    auto const size = "/" + std::to_string(kilobytes) + " KB";
    for (auto const d : {stash::durability::power_loss, stash::durability::process_crash}) {
      group{std::string("policies/") + name_of(d) + size, d, with}.all<journal, files, sqlite, postgres>(value);
    }
    group{"policies/memory" + size, {}, with}.all<memory>(value);
  }
  compare_to_parts<journal>(with, stash::durability::power_loss);
  compare_to_parts<files>(with, stash::durability::power_loss);
  compare_to_parts<memory>(with, {});
  enlist_bare_guard(with);
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, enlist); }
