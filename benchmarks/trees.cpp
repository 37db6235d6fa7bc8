// What it costs to replace a tree under a guard: against the bare system calls, by how much is in the old tree, and
// beside the copies that people make today.
#include <fstream>
#include <stash/stash.hpp>

#include "raw.hpp"
#include "turns.hpp"
#include "work.hpp"

namespace {

using namespace bench;

/// `count` files of 4 KiB, a thousand in each directory.
void fill(fs::path const& place, int count) {
  static std::string const bytes = text(4096);
  fs::create_directories(place);
  for (int i = 0; i < count; ++i) {
    auto const directory = place / std::to_string(i / 1000);
    if (i % 1000 == 0) fs::create_directory(directory);
    std::ofstream((directory / std::to_string(i)).native(), std::ios::binary) << bytes;
  }
}
void shell(std::string const& command) {
  if (std::system(command.c_str()) != 0) throw std::runtime_error(command);
}

/// A guard's whole life around a job that builds an empty directory.
turn guarded(fs::path const& dir) {
  auto store = std::make_shared<stash::file_stash>(dir / "stash");
  fs::create_directories(dir / "export");
  return timed([](int) { return 0; },
               [=](int) {
                 stash::replace_guard guard{*store, "export", stash::tree{dir / "export"}};
                 must(::mkdir((dir / "export").c_str(), 0755), "mkdir");
                 guard.commit();
               });
}

/// As one would write it out by hand, with the same flushes and the same bytes in the record.
turn by_hand(fs::path const& dir) {
  fs::create_directories(dir / "export");
  fs::create_directories(dir / "stash");
  auto records = std::make_shared<raw_record>(dir / "stash", stash::durability::power_loss);
  auto cleared = std::make_shared<raw_rename_unlink>(dir / "stash", stash::durability::power_loss);
  auto above = std::make_shared<descriptor>(::open(dir.c_str(), O_RDONLY | O_DIRECTORY));
  stash::record const note{boost::json::serialize(*stash::tree{dir / "export"}.live()), stash::time_point{}};
  return timed([](int) { return 0; },
               [=](int) {
                 auto const sync = [&] { must(::fsync(above->get()), "fsync"); };
                 auto const move = [&](char const* from, char const* to) {
                   must(::renameat2(above->get(), from, above->get(), to, RENAME_NOREPLACE), "rename");
                 };
                 records->put("export", note);
                 sync();
                 move("export", ".parked");
                 sync();
                 must(::mkdirat(above->get(), "export", 0755), "mkdir");
                 must(::fsync(descriptor(::openat(above->get(), "export", O_RDONLY | O_DIRECTORY)).get()), "fsync");
                 sync();
                 move(".parked", ".doomed");
                 sync();
                 cleared->erase("export");
                 must(::unlinkat(above->get(), ".doomed", AT_REMOVEDIR), "rmdir");
               });
}

/// Until the constructor returns.
auto parked(int files) {
  return [files](fs::path const& dir) {
    auto store = std::make_shared<stash::file_stash>(dir / "stash");
    fill(dir / "export", files);
    return timed([](int) { return 0; },
                 [=](int) {
                   std::optional<stash::replace_guard<stash::file_stash, stash::tree>> guard;
                   double const seconds =
                       seconds_of([&] { guard.emplace(*store, "export", stash::tree{dir / "export"}); });
                   guard->rollback();
                   guard.reset();
                   store->clear("export");
                   return seconds;
                 },
                 1);
  };
}

/// What a job adds to its own work, for a tree of so many files that it builds anew.
auto replaced(int files, bool syncs) {
  return [=](fs::path const& dir) {
    auto store = std::make_shared<stash::file_stash>(dir / "stash");
    fill(dir / "export", files);
    return timed([](int) { return 0; },
                 [=](int) {
                   std::optional<stash::replace_guard<stash::file_stash, stash::tree>> guard;
                   double const before = seconds_of([&] {
                     guard.emplace(*store, "export", stash::tree{dir / "export", {.sync_new = syncs}});
                   });
                   fill(dir / "export", files);
                   return before + seconds_of([&] { guard->commit(); });
                 },
                 1);
  };
}
/// The copy that is made before a job deletes, and removed after it.
auto copied(int files, std::string const& command) {
  return [=](fs::path const& dir) {
    fill(dir / "export", files);
    return timed([](int) { return 0; },
                 [=](int) {
                   auto const from = (dir / "export").native(), to = (dir / "backup").native();
                   double const before = seconds_of([&] { shell(command + " '" + from + "/' '" + to + "'"); });
                   fs::remove_all(from);
                   fill(from, files);
                   return before + seconds_of([&] { fs::remove_all(to); });
                 },
                 1);
  };
}

void enlist(settings const& with) {
  race whole{"trees/replace, an empty one", with};
  whole.enter("stash: replace_guard of a tree", guarded).enter("raw: the same flushes", by_hand);
  race::enlist(std::move(whole));

  int const many = with.is_quick ? 10'000 : 100'000;
  race park{"trees/park", with};
  park.enter("1 file", parked(1)).enter(std::to_string(many) + " files", parked(many));
  race::enlist(std::move(park));

  int const some = with.is_quick ? 1000 : 10'000;
  race replace{"trees/replace, " + std::to_string(some) + " files", with, std::max(3, with.rounds / 20)};
  replace.enter("stash: guard and commit", replaced(some, true));
  replace.enter("stash: guard and commit, sync_new = false", replaced(some, false));
  replace.enter("cp -a before, rm -r after", copied(some, "cp -a"));
  replace.enter("rsync -a before, rm -r after", copied(some, "rsync -a"));
  race::enlist(std::move(replace));
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, enlist); }
