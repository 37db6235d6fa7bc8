// What a guard does when its lock may have been lost.
#include "locks_fixture.hpp"
#include "support.hpp"

namespace locks_lost_test {

using stash::errc;
using support::code_of;
namespace fs = boost::filesystem;

namespace {

using locks_test::fixture;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(locks, fixture)

BOOST_AUTO_TEST_CASE(it_goes_on_when_the_record_is_still_its_own) {
  {
    auto const g = guard();
    fs::remove(lock_file);
  }
  BOOST_TEST((restored == std::vector<int>{1}));
  BOOST_TEST((store.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(a_commit_keeps_the_record_for_another_may_have_adopted_it_and_dropped_what_was_built) {
  auto g = guard();
  fs::remove(lock_file);
  {
    stash::delete_guard another{store, "k", [] { return std::optional<int>{}; }, [](int) {}};
    BOOST_TEST((another.origin() == stash::origin::adopted));
    another.release();  // it drops the resource, and is killed
  }
  BOOST_TEST(code_of([&] { g.commit(); }) == errc::busy);
  BOOST_TEST((store.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(what_is_restored_keeps_its_record_where_the_lock_is_lost_meanwhile) {
  {
    stash::delete_guard g{store, "k", [] { return 1; }, [&](int) { fs::remove(lock_file); },
                          stash::guard_options{.clear_after_restore = true}};
  }
  BOOST_TEST((store.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(it_leaves_everything_when_another_holds_the_lock_now) {
  std::optional<stash::atomic_file_storage::lock_type> others;
  support::event_log log;
  {
    auto const g = guard({.observer = log.observer()});
    fs::remove(lock_file);
    others = store.storage().try_lock("k");
    BOOST_REQUIRE(others.has_value());
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST(log.kinds == "saved restore_failed");
  BOOST_TEST(log.lines.back().find("busy") != std::string::npos);
  BOOST_TEST((store.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(it_leaves_everything_when_another_changed_the_record) {
  for (bool const commits : {false, true}) {
    store.clear("k");
    auto g = guard();
    fs::remove(lock_file);
    store.save("k", 2);
    BOOST_TEST(code_of([&] { commits ? g.commit() : g.rollback(); }) == errc::busy);
    BOOST_TEST(restored.empty());
    BOOST_TEST((store.load<int>("k") == 2));
  }
}

BOOST_AUTO_TEST_CASE(it_leaves_everything_when_another_damaged_the_record) {
  auto g = guard();
  fs::remove(lock_file);
  support::write(store.storage().path("k"), "damaged");
  BOOST_TEST(code_of([&] { g.rollback(); }) == errc::busy);
  BOOST_TEST(restored.empty());
  BOOST_TEST(support::read(store.storage().path("k")) == "damaged");
}

BOOST_AUTO_TEST_CASE(it_leaves_everything_when_the_record_cannot_be_read_again) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  stash::delete_guard g{spoiled, "k", [] { return 1; }, [&](int v) { restored.push_back(v); }};
  fs::remove(lock_file);
  *ops.before = [](std::string_view call) { return call == "read" ? EIO : 0; };
  BOOST_TEST(code_of([&] { g.rollback(); }) == support::os(EIO));
  *ops.before = [](std::string_view) { return 0; };
  BOOST_TEST(restored.empty());
  BOOST_TEST((spoiled.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(it_writes_nothing_when_the_record_is_gone_and_another_holds_the_lock_now) {
  auto g = guard();
  fs::remove(lock_file);
  store.clear("k");
  auto const others = store.storage().try_lock("k");
  BOOST_TEST(code_of([&] { g.rollback(); }) == errc::busy);
  BOOST_TEST(restored.empty());
  BOOST_TEST((store.entries().empty() && store.set_aside_entries().empty()));
}

BOOST_AUTO_TEST_CASE(it_tells_the_first_error_when_its_value_cannot_be_kept_either) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  stash::delete_guard g{spoiled, "k", [] { return 1; }, [](int) {}};
  fs::remove(lock_file);
  spoiled.clear("k");
  *ops.before = [](std::string_view call) { return call == "writev" ? ENOSPC : 0; };
  BOOST_TEST(code_of([&] { g.rollback(); }) == errc::busy);
}

BOOST_AUTO_TEST_CASE(it_restores_nothing_when_the_record_is_gone_and_keeps_its_value_for_a_person) {
  support::event_log log;
  {
    auto g = guard({.observer = log.observer()});
    fs::remove(lock_file);
    store.clear("k");  // another ended the job; or a cleaner removed both
    BOOST_TEST(code_of([&] { g.rollback(); }) == errc::busy);
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST(!store.load<int>("k"));  // nothing that a later run would adopt
  auto const kept = store.set_aside_entries();
  BOOST_REQUIRE(kept.size() == 1U);
  BOOST_TEST(support::read(kept[0].where).ends_with("\n1\n"));
  BOOST_TEST(log.lines.back().find(kept[0].where) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_lock_lost_while_live_runs_ends_the_constructor_for_its_answer_may_be_stale) {
  support::event_log log;
  for (std::optional<int> const& answer : {std::optional<int>(), std::optional<int>(1)}) {
    store.save("k", 7);
    auto const stale = [&] {
      fs::remove(lock_file);
      store.clear("k");  // meanwhile another adopted 7, built the resource and committed
      return answer;
    };
    auto const construct = [&] {
      stash::delete_guard g{store, "k", stale, [](int) {}, {.best_effort = true, .observer = log.observer()}};
    };
    BOOST_TEST(code_of(construct) == errc::busy);
    BOOST_TEST(!store.load<int>("k"));
  }
}

BOOST_AUTO_TEST_CASE(it_does_not_set_aside_or_save_over_what_another_put_there_meanwhile) {
  store.save("k", 7);
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  bool was_read = false, armed = true;
  *ops.before = [&](std::string_view call) {
    was_read = was_read || call == "read";
    if (call == "close" && was_read && armed) {
      armed = false;
      return support::in_child([&] {
        fs::remove(lock_file);
        stash::file_stash{dir()}.save("k", 9);
        return 0;
      });
    }
    return 0;
  };
  auto const second = [&] { stash::delete_guard g{spoiled, "k", [] { return 2; }, [](int) {}}; };
  BOOST_TEST(code_of(second) == errc::busy);
  BOOST_TEST((store.load<int>("k") == 9));
}

BOOST_AUTO_TEST_CASE(where_the_lock_is_lost_during_the_save_no_delete_starts) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  support::event_log log;
  stash::guard_options const options{.best_effort = true, .observer = log.observer()};
  auto const lose = [&](std::string_view call) {
    if (call == "rename") fs::remove(lock_file);
    return 0;
  };
  *ops.before = lose;
  BOOST_TEST(code_of([&] {
               stash::delete_guard{spoiled, "k", [] { return 2; }, [](int) {}, options}.release();
             }) == errc::busy);
  BOOST_TEST((store.load<int>("k") == 2));
  BOOST_TEST(log.kinds == "saved");
  std::vector<stash::key> const keys{"a", "b"};
  auto const many = [&] {
    stash::delete_guards{spoiled, keys, [](auto const&) { return 3; }, [](auto const&, int) {}, options}.release();
  };
  BOOST_TEST(code_of(many) == errc::busy);
  BOOST_TEST((store.load<int>("b") == 3));
  BOOST_TEST(log.kinds == "saved saved saved");

  log = {};
  *ops.before = [&](std::string_view call) {  // what is forgiven of the save does not forgive the lock
    if (call != "writev") return 0;
    fs::remove(lock_file);
    return ENOSPC;
  };
  BOOST_TEST(code_of([&] {
               stash::delete_guard{spoiled, "fresh", [] { return 4; }, [](int) {}, options}.release();
             }) == errc::busy);
  BOOST_TEST(code_of(many) == errc::busy);
  BOOST_TEST(log.kinds == "save_failed save_failed save_failed");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace locks_lost_test
