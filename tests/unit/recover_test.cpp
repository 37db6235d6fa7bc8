#include <unistd.h>

#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "support.hpp"

namespace recover_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using support::code_of;
using support::names;
namespace fs = boost::filesystem;
namespace json = boost::json;

namespace {

struct fixture : support::scratch {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> store{dir(), stash::file_options{}, ops};
  support::event_log log;
  std::set<std::string> live;
  std::map<std::string, std::string> restored;

  stash::recovery_report run(stash::recover_options o = {}) {
    o.observer = log.observer();
    return stash::recover<std::string>(
        store,
        [this](stash::key const& k) {
          if (k == "unknowable") throw std::runtime_error("catalog down");
          return live.contains(std::string(k.str()));
        },
        [this](stash::key const& k, std::string const& saved) {
          if (k == "stubborn") throw 42;
          restored.emplace(k.str(), saved);
        },
        o);
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(recover, fixture)

BOOST_AUTO_TEST_CASE(every_orphan_is_restored_once_and_its_record_removed) {
  for (char const* const k : {"a", "b", "c"}) store.save(k, "of "s + k);
  auto const report = run();
  BOOST_TEST((report.restored == 3U && report.live == 0U && report.busy == 0U && report.corrupt == 0U &&
              report.failed.empty()));
  BOOST_TEST(restored.size() == 3U);
  BOOST_TEST(restored["b"] == "of b");
  BOOST_TEST(store.entries().empty());
  BOOST_TEST(log.kinds == "restored restored restored");
  BOOST_TEST(run().restored == 0U);
}

BOOST_AUTO_TEST_CASE(a_live_resource_is_left_untouched_with_its_record) {
  store.save("a", "x"s);
  live = {"a"};
  auto const report = run();
  BOOST_TEST((report.live == 1U && report.restored == 0U));
  BOOST_TEST(restored.empty());
  BOOST_TEST((store.load<std::string>("a") == "x"));
}

BOOST_AUTO_TEST_CASE(a_record_that_a_guard_holds_is_busy) {
  stash::delete_guard g{store, "a", [] { return "x"s; }, [](auto const&) {}};
  auto const report = run();
  BOOST_TEST((report.busy == 1U && report.restored == 0U && report.failed.empty()));
  g.release();
}

BOOST_AUTO_TEST_CASE(a_lock_that_cannot_be_taken_is_a_failure_and_not_busy) {
  store.save("a", "x"s);
  *ops.before = [](std::string_view call) { return call == "lock_byte" ? ENOLCK : 0; };
  auto const report = run();
  BOOST_TEST((report.busy == 0U && report.failed.size() == 1U));
  BOOST_TEST(restored.empty());
}

BOOST_AUTO_TEST_CASE(what_stands_there_under_the_lock_is_restored_and_not_what_stood_there_before) {
  store.save("a", "old"s);
  stash::file_stash another{dir()};
  bool was_first = false;
  *ops.before = [&](std::string_view call) {
    if (call == "open_lock" && !was_first) {
      was_first = true;
      another.save("a", "new"s);
    }
    return 0;
  };
  BOOST_TEST(run().restored == 1U);
  BOOST_TEST(restored["a"] == "new");
}

BOOST_AUTO_TEST_CASE(nothing_is_restored_when_another_ended_the_job_while_is_live_was_asked) {
  store.save("a", "x"s);
  auto const stale = [&](stash::key const& k) {
    fs::remove(dir() / ".lock");
    store.clear(k);
    return false;
  };
  auto const report =
      stash::recover<std::string>(store, stale, [&](auto const& k, auto const& v) { restored.emplace(k.str(), v); });
  BOOST_TEST((report.restored == 0U && report.failed.size() == 1U));
  BOOST_TEST(restored.empty());
}

BOOST_AUTO_TEST_CASE(a_corrupt_record_is_counted_told_and_left_where_it_is) {
  store.save("a", "x"s);
  support::write(store.storage().path("a"), "damaged");
  auto const report = run();
  BOOST_TEST((report.corrupt == 1U && report.restored == 0U && report.failed.empty()));
  BOOST_TEST(support::read(store.storage().path("a")) == "damaged");
  BOOST_TEST(log.kinds == "corrupt");
  BOOST_TEST(store.set_aside_entries().empty());
}

BOOST_AUTO_TEST_CASE(one_keys_failure_stops_no_other_and_keeps_its_record) {
  for (char const* const k : {"good", "stubborn", "unknowable", "wrong"}) store.save(k, "x"s);
  store.save("wrong", 5);
  auto const report = run();
  BOOST_TEST(report.restored == 1U);
  BOOST_REQUIRE(report.failed.size() == 3U);
  BOOST_TEST((report.failed[0].first == "stubborn" && report.failed[1].first == "unknowable" &&
              report.failed[2].first == "wrong"));
  BOOST_CHECK_THROW(std::rethrow_exception(report.failed[0].second), int);
  BOOST_CHECK_THROW(std::rethrow_exception(report.failed[1].second), std::runtime_error);
  BOOST_TEST(code_of([&] { std::rethrow_exception(report.failed[2].second); }) == errc::mismatch);
  BOOST_TEST(store.entries().size() == 3U);
  BOOST_TEST(log.kinds == "restored restore_failed restore_failed restore_failed");
}

BOOST_AUTO_TEST_CASE(an_unreadable_record_fails_alone, *boost::unit_test::precondition(support::without_root)) {
  store.save("a", "x"s);
  store.save("b", "x"s);
  support::set_mode(store.storage().path("a"), 0);
  auto const report = run();
  BOOST_TEST((report.restored == 1U && report.corrupt == 0U));
  BOOST_REQUIRE(report.failed.size() == 1U);
  BOOST_TEST(code_of([&] { std::rethrow_exception(report.failed[0].second); }) == support::os(EACCES));
}

BOOST_AUTO_TEST_CASE(the_record_stays_if_it_is_asked_to) {
  store.save("a", "x"s);
  BOOST_TEST(run({.clear_after_restore = false}).restored == 1U);
  BOOST_TEST((store.load<std::string>("a") == "x"));
}

BOOST_AUTO_TEST_CASE(if_the_record_cannot_be_removed_after_the_restore_that_is_told_and_reported) {
  store.save("a", "x"s);
  *ops.before = [](std::string_view call) { return call == "unlink" ? EIO : 0; };
  auto const report = run();
  BOOST_TEST((report.restored == 1U && report.failed.size() == 1U));
  BOOST_TEST(log.kinds == "restored clear_failed");
}

BOOST_AUTO_TEST_CASE(is_live_and_restore_are_called_with_the_lock_held) {
  store.save("a", 1);
  auto const is_free = [&] { return store.storage().try_lock("a").has_value(); };
  auto const report = stash::recover(
      store, [&](auto const&) { return is_free(); }, [&](auto const&, json::value const&) { BOOST_TEST(!is_free()); });
  BOOST_TEST(report.restored == 1U);
}

BOOST_AUTO_TEST_CASE(a_record_that_is_gone_when_its_turn_comes_is_passed_over) {
  store.save("a", "x"s);
  store.save("b", "x"s);
  auto const report = stash::recover<std::string>(
      store, [&](auto const& k) { return k == "a" && (store.clear("b"), false); }, [](auto const&, auto const&) {});
  BOOST_TEST((report.restored == 1U && report.failed.empty()));
}

BOOST_AUTO_TEST_CASE(two_recoveries_at_once_restore_each_record_once) {
  for (int i = 0; i < 20; ++i) store.save(std::to_string(i), i);
  std::atomic<int> restores{0};
  auto const run_one = [&] {
    stash::recover<int>(
        store, [](auto const&) { return false; }, [&](auto const&, int) { ++restores; });
  };
  std::thread other(run_one);
  run_one();
  other.join();
  BOOST_TEST(restores == 20);
}

BOOST_AUTO_TEST_CASE(a_lock_lost_while_restoring_keeps_the_record_of_another) {
  store.save("a", "x"s);
  auto const report = stash::recover<std::string>(
      store, [](auto const&) { return false; },
      [&](auto const&, auto const&) {
        fs::remove(dir() / ".lock");
        store.save("a", "another's"s);
      });
  BOOST_TEST((report.restored == 1U && report.failed.size() == 1U));
  BOOST_TEST((store.load<std::string>("a") == "another's"));
}

BOOST_AUTO_TEST_CASE(temporaries_of_the_dead_are_removed_but_not_those_of_a_save_under_way) {
  store.save("a", "x"s);
  live = {"a"};
  for (char const* const k : {"a", "never-saved", "held"}) {
    support::write(dir() / ("."s + k + ".0123456789abcdef.tmp"), "half");
  }
  auto const held = store.storage().try_lock("held");
  BOOST_TEST(run().failed.empty());
  BOOST_TEST((names(dir()) == std::vector{".held.0123456789abcdef.tmp"s, ".lock"s, "a.stash"s}));
}

BOOST_AUTO_TEST_CASE(many_records_cost_one_sync_and_many_temporaries_one_more_and_one_listing) {
  std::map<std::string, int> calls;
  for (int i = 0; i < 100; ++i) {
    store.save(std::to_string(i), "x"s);
    support::write(dir() / ("." + std::to_string(i) + ".0123456789abcdef.tmp"), "half");
  }
  *ops.before = [&](std::string_view call) { return ++calls[std::string(call)], 0; };
  auto const report = run();
  BOOST_TEST((report.restored == 100U && report.failed.empty()));
  BOOST_TEST((names(dir()) == std::vector{".lock"s}));
  BOOST_TEST(calls["fsync"] == 2);
  BOOST_TEST(calls["list"] == 3);  // the records, the temporaries, and these again under their locks
}

BOOST_AUTO_TEST_CASE(no_record_is_removed_before_its_restore_has_returned_and_its_lock_is_held_until_it_is) {
  for (char const* const k : {"a", "b"}) store.save(k, "x"s);
  std::string order;
  *ops.before = [&](std::string_view call) {
    if (call == "rename_noreplace") {
      order += "removed ";
      stash::file_stash other{dir()};
      BOOST_TEST((!other.storage().try_lock("a") && !other.storage().try_lock("b")));
    }
    return 0;
  };
  auto const restore = [&](stash::key const& k, std::string const&) {
    order += k.str();
    order += " ";
    if (k == "b") BOOST_TEST((!store.storage().try_lock("a") && store.load<std::string>("a")));
  };
  static_cast<void>(stash::recover<std::string>(
      store, [](auto const&) { return false; }, restore));
  BOOST_TEST(order == "a b removed removed ");
}

BOOST_AUTO_TEST_CASE(a_live_resources_lock_is_released_before_the_next_is_restored) {
  for (char const* const k : {"a", "b", "c"}) store.save(k, "x"s);
  auto const restore = [&](stash::key const& k, std::string const&) {
    if (k == "c") BOOST_TEST((!store.storage().try_lock("a") && store.storage().try_lock("b")));
  };
  static_cast<void>(stash::recover<std::string>(
      store, [](auto const& k) { return k == "b"; }, restore));
  BOOST_TEST(store.entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_restore_that_takes_long_keeps_no_key_locked_for_those_that_follow) {
  for (char const* const k : {"a", "b", "c"}) store.save(k, "x"s);
  auto const restore = [&](stash::key const& k, std::string const&) {
    if (k == "b") std::this_thread::sleep_for(550ms);
    if (k == "c") BOOST_TEST((store.storage().try_lock("a") && store.storage().try_lock("b")));
  };
  static_cast<void>(stash::recover<std::string>(
      store, [](auto const&) { return false; }, restore));
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(one_record_that_cannot_be_removed_stops_no_other) {
  for (char const* const k : {"a", "b", "c"}) store.save(k, "x"s);
  std::vector<std::string> unlinked;
  int n = 0;
  *ops.before = [&](std::string_view call) { return call == "unlink" && (++n == 2 || n == 4) ? EIO : 0; };  // twice "b"
  auto const report = run();
  BOOST_TEST((report.restored == 3U && report.failed.size() == 1U));
  BOOST_TEST(store.entries().size() == 1U);
  BOOST_TEST(log.kinds == "restored restored restored clear_failed");
}

BOOST_AUTO_TEST_CASE(a_process_that_dies_before_the_records_are_removed_leaves_them_to_the_next) {
  for (char const* const k : {"a", "b", "c"}) store.save(k, "x"s);
  BOOST_TEST(support::in_child([&] {
               stash::recover<std::string>(
                   store, [](auto const&) { return false; },
                   [](stash::key const& k, std::string const&) {
                     if (k == "c") ::_exit(7);
                   });
               return 0;
             }) == 7);
  BOOST_TEST(run().restored == 3U);
}

BOOST_AUTO_TEST_CASE(all_busy_keys_are_waited_for_together_after_the_others) {
  std::vector<support::spoiled_storage::lock_type> held;
  for (char const* const k : {"a", "b", "c", "d", "e", "f"}) {
    store.save(k, "x"s);
    if (k != "f"s) held.push_back(store.storage().try_lock(k).value());
  }
  auto const start = std::chrono::steady_clock::now();
  auto const report = run();
  BOOST_TEST((report.busy == 5U && report.restored == 1U));
  BOOST_TEST((std::chrono::steady_clock::now() - start < 4s));  // a second each would be five
  std::jthread release;
  bool first = true;
  *ops.before = [&](std::string_view call) {
    if (call == "open_lock" && std::exchange(first, false)) {
      release = std::jthread([&] {
        std::this_thread::sleep_for(50ms);
        held.clear();
      });
    }
    return 0;
  };
  BOOST_TEST((run().restored == 5U && store.entries().empty()));
}

BOOST_AUTO_TEST_CASE(while_a_busy_key_is_waited_for_no_other_is_kept_locked) {
  for (char const* const k : {"a", "b"}) store.save(k, "x"s);
  auto const held = store.storage().try_lock("b");
  std::chrono::steady_clock::time_point a_was_removed{};
  *ops.before = [&](std::string_view call) {
    if (call == "unlink") a_was_removed = std::chrono::steady_clock::now();
    return 0;
  };
  auto const start = std::chrono::steady_clock::now();
  auto const report = run();
  BOOST_TEST((report.busy == 1U && report.restored == 1U));
  BOOST_TEST((a_was_removed - start < 450ms));  // and not half a second after it was restored
}

BOOST_AUTO_TEST_CASE(of_many_records_few_are_locked_at_once) {
  for (int i = 0; i < 300; ++i) store.save(std::to_string(i), "x"s);
  int locked = 0, most = 0;
  *ops.before = [&](std::string_view call) {
    if (call == "unlink") locked = 0;
    if (call == "lock_byte") most = std::max(most, ++locked);
    return 0;
  };
  BOOST_TEST(run().restored == 300U);
  BOOST_TEST(most < 300);  // 256, and a few that are asked for twice
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(temporaries_that_cannot_be_removed_are_in_the_report_and_stop_no_other) {
  for (char const* const k : {"a", "b", "c"}) {
    store.save(k, "x"s);
    support::write(dir() / ("."s + k + ".0123456789abcdef.tmp"), "half");
  }
  live = {"a", "b", "c"};
  int n = 0;
  *ops.before = [&](std::string_view call) { return call == "unlink" && ++n == 1 ? EIO : 0; };
  auto report = run();
  BOOST_TEST(report.failed.size() == 1U);
  auto const left = store.storage().temporaries();
  BOOST_REQUIRE(left.size() == 1U);
  BOOST_TEST(report.failed[0].first == left[0]);
  *ops.before = [&](std::string_view call) { return call == "fsync" ? EIO : 0; };  // gone, but not for good
  report = run();
  BOOST_TEST(report.failed.size() == 1U);
  BOOST_TEST(code_of([&] { std::rethrow_exception(report.failed.at(0).second); }) == errc::indeterminate);
  support::write(dir() / ".b.0123456789abcdef.tmp", "half");
  int lists = 0;
  *ops.before = [&](std::string_view call) { return call == "unlink" || (call == "list" && ++lists > 2) ? EIO : 0; };
  BOOST_TEST(run().failed.size() == 1U);
  lists = 0;
  *ops.before = [&](std::string_view call) {  // another job begins to save meanwhile: that is no failure of ours
    if (call == "list" && ++lists == 3) support::write(dir() / ".z.0123456789abcdef.tmp", "half");
    return call == "unlink" ? EIO : 0;
  };
  report = run();
  BOOST_REQUIRE(report.failed.size() == 1U);
  BOOST_TEST(report.failed[0].first == "b");
  fs::remove(dir() / ".z.0123456789abcdef.tmp");
  *ops.before = [](std::string_view call) { return call == "open_lock" ? EACCES : 0; };
  BOOST_TEST(run().failed.size() == 4U);  // three records, and the temporary
}

BOOST_AUTO_TEST_CASE(where_there_is_no_stash_nothing_is_made) {
  BOOST_TEST(run().restored == 0U);
  BOOST_TEST(names(root).empty());
}

BOOST_AUTO_TEST_CASE(if_they_cannot_be_listed_that_is_thrown_before_anything_is_restored) {
  store.save("a", "x"s);
  for (int const which : {1, 2}) {  // the records; the temporaries
    int calls = 0;
    *ops.before = [&](std::string_view call) { return call == "list" && ++calls == which ? EIO : 0; };
    BOOST_TEST(code_of([&] { run(); }) == support::os(EIO));
    BOOST_TEST(restored.empty());
  }
}

BOOST_AUTO_TEST_CASE(a_lock_that_was_lost_and_taken_again_is_held_until_the_record_is_removed) {
  for (char const* const k : {"a", "b", "c"}) store.save(k, "x"s);
  auto const is_live = [&](stash::key const& k) {
    if (k == "b") fs::remove(dir() / ".lock");  // and with it the lock of "a", which is restored already
    return false;
  };
  auto const restore = [&](stash::key const& k, std::string const&) {
    if (k == "c") BOOST_TEST((!store.storage().try_lock("b") && !store.storage().try_lock("c")));
  };
  auto const report = stash::recover<std::string>(store, is_live, restore);
  BOOST_TEST(report.restored == 3U);
  BOOST_REQUIRE(report.failed.size() == 1U);
  BOOST_TEST(report.failed[0].first == "a");
  BOOST_TEST(code_of([&] { std::rethrow_exception(report.failed[0].second); }) == errc::busy);
  BOOST_TEST(store.entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_storage_that_sweeps_one_key_at_a_time_is_swept_so) {
  struct littered : stash::memory_storage {
    std::vector<stash::key> temporaries() const { return left; }
    void sweep(stash::key const& k) { std::erase(left, k); }
    std::vector<stash::key> left{"a", "b"};
  };
  stash::basic_stash<littered> memory;
  static_cast<void>(stash::recover<int>(
      memory, [](auto const&) { return false; }, [](auto const&, int) {}));
  BOOST_TEST(memory.storage().left.empty());
}

BOOST_AUTO_TEST_CASE(memory_storage_can_be_recovered_too) {
  stash::memory_stash memory;
  memory.save("a", 1);
  int sum = 0;
  BOOST_TEST(stash::recover<int>(
                 memory, [](auto const&) { return false; }, [&](auto const&, int v) { sum += v; })
                 .restored == 1U);
  BOOST_TEST(sum == 1);
  BOOST_TEST(memory.entries().empty());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace recover_test
