// What is synced, in which order, and what is left where a sync or an unlink fails.
#include <sys/stat.h>

#include <set>

#include "atomic_file_fixture.hpp"
#include "support.hpp"

namespace atomic_file_durability_test {

using stash::atomic_file_storage;
using stash::errc;
using stash::record_state;
using support::code_of;
using support::os;
namespace fs = boost::filesystem;

namespace {

using atomic_file_test::first;
using atomic_file_test::fixture;
using atomic_file_test::second;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(atomic_file, fixture)

BOOST_AUTO_TEST_CASE(a_file_system_that_cannot_sync_directories_will_do_only_under_process_crash) {
  support::spoiled_ops ops;
  *ops.before = [](std::string_view call) { return call == "fsync" ? EINVAL : 0; };
  support::spoiled_storage durable{dir(), {}, ops};
  BOOST_TEST(code_of([&] { durable.put("k", first); }) == os(EINVAL));
  BOOST_TEST(code_of([&] { static_cast<void>(durable.try_lock("k")); }) == os(EINVAL));  // makes it, and no file
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  fast.put("k", first);
  BOOST_TEST((fast.get("k") == first));
}

BOOST_AUTO_TEST_CASE(under_process_crash_a_file_system_that_cannot_sync_directories_will_do) {
  support::spoiled_ops ops;
  *ops.before = [](std::string_view call) { return call == "fsync" || call == "syncfs" ? EINVAL : 0; };
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  fast.put("k", first);
  BOOST_TEST((fast.get("k") == first));
  fs::remove_all(dir());
  support::spoiled_storage durable{dir(), {}, ops};
  BOOST_TEST(code_of([&] { durable.put("k", first); }) == os(EINVAL));
}

BOOST_AUTO_TEST_CASE(a_failed_sync_is_not_tried_again) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  int syncs = 0;
  *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 1 ? EIO : 0; };
  BOOST_TEST(code_of([&] { s.put("k", second); }) == os(EIO));
  BOOST_TEST(syncs == 1);
  BOOST_TEST((s.get("k") == first));
}

BOOST_AUTO_TEST_CASE(a_directory_that_cannot_be_synced_makes_the_outcome_indeterminate) {
  for (int const error : {EINVAL, EIO}) {
    support::spoiled_ops ops;
    support::spoiled_storage s{dir(), {}, ops};
    s.put("k", first);
    int syncs = 0;
    *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 2 ? error : 0; };
    BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::indeterminate);
    syncs = 1;
    BOOST_TEST(code_of([&] { s.erase("k"); }) == errc::indeterminate);
    *ops.before = [](std::string_view) { return 0; };
    s.put("k", first);
    *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 4 ? error : 0; };
    BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == errc::indeterminate);
  }
}

BOOST_AUTO_TEST_CASE(what_is_durable_is_synced_before_and_after_the_rename_and_an_absent_ones_removal_too) {
  support::spoiled_ops ops;
  std::string calls;
  auto const record_calls = [&] {
    calls.clear();
    *ops.before = [&](std::string_view call) {
      for (std::string_view const one : {"writev", "fsync", "close", "rename", "rename_noreplace", "unlink"}) {
        if (call == one) calls += std::string(call) + " ";
      }
      return 0;
    };
  };
  support::spoiled_storage durable{dir(), {}, ops};
  durable.put("other", first);
  record_calls();
  durable.put("k", first);
  BOOST_TEST(calls == "writev fsync close rename fsync close ");
  record_calls();
  durable.put("k", second);
  BOOST_TEST(calls == "writev fsync close rename fsync close ");
  record_calls();
  durable.erase("k");
  BOOST_TEST(calls == "rename_noreplace fsync unlink close ");
  record_calls();
  durable.erase("k");
  BOOST_TEST(calls == "rename_noreplace fsync close ");
  durable.put("k", first);
  record_calls();
  durable.set_aside("k", "x");
  // A copy first, and then a removal.
  BOOST_TEST(calls == "close writev fsync close rename_noreplace fsync rename_noreplace fsync unlink close ");
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  record_calls();
  fast.put("k", first);
  fast.erase("k");
  BOOST_TEST(calls == "writev close rename close rename_noreplace unlink close ");
  fast.put("k", first);
  record_calls();
  fast.set_aside("k", "x");
  BOOST_TEST(calls == "rename_noreplace close ");
}

BOOST_AUTO_TEST_CASE(what_is_not_synced_and_not_closed_well_takes_no_place) {
  support::spoiled_ops ops;
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  fast.put("k", first);
  bool is_written = false;
  *ops.before = [&](std::string_view call) {
    is_written |= call == "writev";
    return call == "close" && is_written ? ENOSPC : 0;
  };
  BOOST_TEST(code_of([&] { fast.put("k", second); }) == os(ENOSPC));
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
}

BOOST_AUTO_TEST_CASE(a_sync_that_failed_is_not_believed_by_the_next_try) {
  support::spoiled_ops ops;
  std::string calls, failing;
  int syncs_left = 0;
  *ops.before = [&](std::string_view call) {
    calls += std::string(call) + " ";
    return call == "fsync" && failing == "fsync" && syncs_left-- == 0 ? EIO : 0;
  };
  auto const fail_sync = [&](int nth) { failing = "fsync", syncs_left = nth, calls.clear(); };
  support::spoiled_storage s{dir(), {}, ops};

  for (int const nth : {0, 1, 2}) {  // of the directory into its parent, or of that one into the next: it is made again
    fail_sync(nth);
    BOOST_TEST(code_of([&] { s.put("k", first); }) == os(EIO));
    BOOST_TEST(!s.exists());
  }
  fail_sync(0);
  support::spoiled_storage deep{root / "deep" / "stash", {}, ops};
  BOOST_TEST(code_of([&] { deep.put("k", first); }) == os(EIO));
  BOOST_TEST(!fs::exists(root / "deep"));
  s.put("k", first);

  fail_sync(0);  // of the removal: the record stands, and is removed again
  BOOST_TEST(code_of([&] { s.erase("k"); }) == errc::indeterminate);
  BOOST_TEST((s.get("k") == first));
  BOOST_TEST(only_record_and_lock());
  BOOST_TEST(s.erase("k"));

  atomic_file_storage{dir(), {.durability = stash::durability::process_crash}}.put("k", first);
  fail_sync(0);  // of the bytes that somebody did not sync: they are written once more
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(EIO));
  BOOST_TEST(only_record_and_lock());
  calls.clear();
  s.set_aside("k", "x");
  BOOST_TEST(calls.find("writev fsync") != calls.npos);
  BOOST_TEST((s.set_aside_entries().at(0).state == record_state::intact));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_unlinked_is_moved_back_durably_and_the_first_error_is_told) {
  support::spoiled_ops ops;
  std::string calls;
  std::set<int> failing;
  int n = 0;
  *ops.before = [&](std::string_view call) {
    if (call != "rename_noreplace" && call != "fsync" && call != "unlink") return 0;
    calls += std::string(call) + " ";
    return failing.contains(++n) ? EIO : 0;
  };
  auto const erase = [&](support::spoiled_storage& s, std::set<int> const& nth) {
    failing.clear();
    s.put("k", first);
    n = 0, calls.clear(), failing = nth;
    return code_of([&] { s.erase("k"); });
  };
  support::spoiled_storage durable{dir(), {}, ops};
  BOOST_TEST(erase(durable, {3}) == os(EIO));
  BOOST_TEST(calls == "rename_noreplace fsync unlink rename_noreplace fsync ");
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
  BOOST_TEST(erase(durable, {3, 5}) == errc::indeterminate);
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(erase(durable, {3, 4}) == errc::indeterminate);  // the way back is barred
  BOOST_TEST((files.get("k") == std::nullopt));
  BOOST_TEST(erase(durable, {2, 3}) == errc::indeterminate);  // the sync fails, and the way back too
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  BOOST_TEST(erase(fast, {2}) == os(EIO));
  BOOST_TEST(calls == "rename_noreplace unlink rename_noreplace ");
  BOOST_TEST((files.get("k") == first));
}

/// What is above it, as far as its file system goes.
std::vector<fs::path> above(fs::path p) {
  auto const device = [](fs::path const& of) {
    struct stat s {};
    ::stat(of.c_str(), &s);
    return s.st_dev;
  };
  std::vector<fs::path> result;
  auto const own = device(p);
  for (p = p.parent_path(); !p.empty() && device(p) == own; p = p.parent_path()) result.push_back(p);
  return result;
}

BOOST_AUTO_TEST_CASE(each_level_of_a_new_directory_is_synced_into_its_parent_and_again_where_its_maker_died) {
  support::spoiled_ops ops;
  int made = 0, syncs = 0;
  *ops.before = [&](std::string_view call) {
    made += call == "mkdir";
    syncs += call == "fsync";
    return 0;
  };
  support::spoiled_storage s{root / "a" / "b", {}, ops};
  s.put("k", first);
  BOOST_TEST(made >= 2);
  int const for_new = syncs;
  BOOST_TEST(for_new >= 2 + 2);
  syncs = 0;
  s.put("k", first);
  BOOST_TEST(syncs == 2);
  auto const made_in = root / "a" / "b";
  fs::remove(made_in / ".lock");  // as if the maker had died before it had synced the directory
  syncs = 0;
  s.put("k", first);
  BOOST_TEST(syncs == 2 + static_cast<int>(above(made_in).size()));
}

BOOST_AUTO_TEST_CASE(what_stands_already_is_synced_too_for_its_maker_may_have_died_but_not_where_it_is_mounted) {
  struct noting_syncs : stash::posix_file_ops {
    int fstat(int fd, struct stat* s) const {
      int const result = posix_file_ops::fstat(fd, s);
      if (fs::read_symlink("/proc/self/fd/" + std::to_string(fd)) == *mounted_in) ++s->st_dev;
      return result;
    }
    int fsync(int fd) const {
      synced->push_back(fs::read_symlink("/proc/self/fd/" + std::to_string(fd)));
      return posix_file_ops::fsync(fd);
    }
    std::shared_ptr<std::vector<fs::path>> synced = std::make_shared<std::vector<fs::path>>();
    std::shared_ptr<fs::path> mounted_in = std::make_shared<fs::path>();
  };
  auto const is_synced = [](noting_syncs const& ops, fs::path const& p) {
    return std::find(ops.synced->begin(), ops.synced->end(), fs::canonical(p)) != ops.synced->end();
  };
  fs::create_directories(root / "a" / "b");
  noting_syncs const ops;
  stash::basic_atomic_file_storage<noting_syncs>{root / "a" / "b", {}, ops}.put("k", first);
  for (auto const& p : above(root / "a" / "b")) BOOST_TEST(is_synced(ops, p), p);
  noting_syncs const mounted;
  *mounted.mounted_in = fs::canonical(root);
  fs::create_directory(root / "a" / "c");
  stash::basic_atomic_file_storage<noting_syncs>{root / "a" / "c", {}, mounted}.put("k", first);
  BOOST_TEST(is_synced(mounted, root / "a"));
  BOOST_TEST(!is_synced(mounted, root));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace atomic_file_durability_test
