// While a guard's scope lasts, and how it is left: commit, rollback, release, an exception, the process's end.
#include <csetjmp>
#include <csignal>

#include "delete_guard_fixture.hpp"
#include "support.hpp"

namespace delete_guard_scope_test {

using namespace std::string_literals;
using stash::errc;
using stash::origin;
using support::code_of;
namespace fs = boost::filesystem;

namespace {

using delete_guard_test::fixture;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(delete_guard, fixture)

BOOST_AUTO_TEST_CASE(without_commit_restore_is_called_once_on_normal_exit_and_while_unwinding) {
  live = "words";
  { auto g = guard(); }
  BOOST_TEST((restored == std::vector{"words"s}));
  BOOST_TEST(log.kinds == "saved restored");
  try {
    auto g = guard();
    live.reset();
    throw std::runtime_error("the job");
  } catch (std::runtime_error const& e) {
    BOOST_TEST(e.what() == "the job"s);
  }
  BOOST_TEST(restored.size() == 2U);
  BOOST_TEST((live == "words"));
}

BOOST_AUTO_TEST_CASE(after_a_restore_the_record_stays_unless_it_is_asked_to_go) {
  live = "words";
  { auto g = guard(); }
  BOOST_TEST((stashed() == "words"));
  { auto g = guard({.clear_after_restore = true}); }
  BOOST_TEST(!stashed());
}

BOOST_AUTO_TEST_CASE(if_the_clear_after_a_restore_fails_that_is_told_and_nothing_is_thrown) {
  live = "words";
  {
    auto g = guard({.clear_after_restore = true});
    spoil("unlink", EIO);
    g.rollback();
  }
  heal();
  BOOST_TEST(log.kinds == "saved restored clear_failed");
  BOOST_TEST((stashed() == "words"));
}

BOOST_AUTO_TEST_CASE(a_restore_that_throws_busy_though_the_lock_is_held_keeps_the_record_too) {
  live = "words";
  in_restore = [] { throw stash::error{errc::busy, "catalog"}; };
  { auto g = guard({.clear_after_restore = true}); }
  BOOST_TEST(log.kinds == "saved restore_failed");
  BOOST_TEST(log.lines.back().find(file().native()) != std::string::npos);
  BOOST_TEST((stashed() == "words"));
  BOOST_TEST(aside() == 0U);
}

BOOST_AUTO_TEST_CASE(a_restore_that_throws_ends_nothing_keeps_the_record_and_is_told) {
  live = "words";
  for (bool const unwinding : {false, true}) {
    for (int const what : {0, 1}) {
      log = {};
      in_restore = [what] {
        if (what == 0) throw std::runtime_error("catalog down");
        throw 42;  // not a std::exception
      };
      try {
        auto g = guard({.clear_after_restore = true});
        if (unwinding) throw std::logic_error("the job");
      } catch (std::logic_error const&) {
      }
      BOOST_TEST(log.kinds == "saved restore_failed");
      BOOST_TEST(log.lines.back().find(what == 0 ? "catalog down" : "not a std::exception") != std::string::npos);
      BOOST_TEST(log.lines.back().find(file().native()) != std::string::npos);
      BOOST_TEST((stashed() == "words"));
    }
  }
  BOOST_TEST(restored.empty());
}

BOOST_AUTO_TEST_CASE(an_explicit_rollback_that_throws_keeps_the_record_and_is_not_tried_again) {
  live = "words";
  int calls = 0;
  in_restore = [&] {
    ++calls;
    throw std::runtime_error("catalog down");
  };
  {
    auto g = guard();
    BOOST_CHECK_THROW(g.rollback(), std::runtime_error);
    g.rollback();
    g.commit();  // it is over: this destroys nothing
  }
  BOOST_TEST(calls == 1);
  BOOST_TEST((stashed() == "words"));
}

BOOST_AUTO_TEST_CASE(a_commit_removes_the_record_and_restores_nothing_and_the_value_stays_valid) {
  live = "words";
  {
    auto g = guard();
    g.commit();
    BOOST_TEST(*g.value() == "words");
    g.commit();
    g.rollback();
    g.release();
  }
  BOOST_TEST(!stashed());
  BOOST_TEST(restored.empty());
  BOOST_TEST(log.kinds == "saved committed");
}

BOOST_AUTO_TEST_CASE(a_commit_that_cannot_clear_throws_and_still_restores_nothing) {
  live = "words";
  {
    auto g = guard();
    spoil("unlink", EIO);
    BOOST_TEST(code_of([&] { g.commit(); }) == support::os(EIO));
    heal();
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST(log.kinds == "saved clear_failed");
  BOOST_TEST((stashed() == "words"));
}

BOOST_AUTO_TEST_CASE(a_commit_syncs_the_directory_even_where_there_was_no_record) {
  int syncs = 0;  // first, for the end of the guard makes calls, too
  auto g = guard();
  *ops.before = [&](std::string_view call) { return syncs += call == "fsync", 0; };
  g.commit();
  BOOST_TEST(syncs == 1);
}

BOOST_AUTO_TEST_CASE(a_commit_of_a_guard_that_found_nothing_sets_aside_what_was_brought_back_by_hand_since) {
  {
    auto g = guard();
    store.storage().put("orders", {"\"from a backup\"", {}});
    g.commit();
  }
  BOOST_TEST(log.kinds == "superseded committed");
  BOOST_TEST(!stashed());
  BOOST_REQUIRE(aside() == 1U);
  auto const where = store.set_aside_entries()[0].where;
  BOOST_TEST(log.lines[0].find(where) != std::string::npos);
  BOOST_TEST(support::read(where).find("\"from a backup\"") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_commit_of_a_guard_that_found_nothing_sets_aside_what_was_brought_back_damaged) {
  auto g = guard();
  support::write(file(), "damaged");
  g.commit();
  BOOST_TEST(log.kinds == "corrupt committed");
  BOOST_TEST(aside() == 1U);
}

BOOST_AUTO_TEST_CASE(a_commit_after_a_damaged_record_was_set_aside_sets_nothing_aside_again) {
  store.save("orders", "words");
  support::write(file(), "damaged");
  guard().commit();
  BOOST_TEST(log.kinds == "corrupt committed");
  BOOST_TEST(aside() == 1U);
}

BOOST_AUTO_TEST_CASE(a_release_leaves_the_record_for_a_later_run) {
  live = "words";
  {
    auto g = guard();
    g.release();
    g.commit();
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST((stashed() == "words"));
  BOOST_TEST(log.kinds == "saved released");
}

BOOST_AUTO_TEST_CASE(a_release_after_a_failed_save_tells_again_that_there_is_none) {
  live = "words";
  spoil("writev", ENOSPC);
  auto g = guard({.best_effort = true});
  g.release();
  BOOST_TEST(log.kinds == "save_failed save_failed");
}

BOOST_AUTO_TEST_CASE(what_the_observer_throws_is_dropped) {
  live = "words";
  int told = 0;
  {
    stash::delete_guard g{store,
                          "orders",
                          [&] { return live; },
                          [&](std::string const& s) { restored.push_back(s); },
                          {.observer = [&](stash::event const&) {
                            ++told;
                            throw 1;
                          }}};
  }
  BOOST_TEST(told == 2);
  BOOST_TEST((restored == std::vector{"words"s}));
}

BOOST_AUTO_TEST_CASE(a_guard_holds_its_key_for_its_whole_life_and_others_go_on) {
  live = "words";
  {
    auto outer = guard();
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == errc::busy);
    outer.commit();
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == errc::busy);
  }
  std::string order;
  {
    stash::delete_guard a{store, "a", [] { return "a"s; }, [&](std::string const& s) { order += s; }};
    stash::delete_guard b{store, "b", [] { return "b"s; }, [&](std::string const& s) { order += s; }};
  }
  BOOST_TEST(order == "ba");
}

BOOST_AUTO_TEST_CASE(a_guard_works_inside_anothers_restore_and_restore_may_read_the_stash) {
  live = "words";
  bool inner_done = false;
  in_restore = [&] {
    BOOST_TEST((store.load<std::string>("orders") == "words"));
    BOOST_TEST(store.age("orders").has_value());
    BOOST_TEST(store.entries().size() == 1U);
    stash::delete_guard inner{store, "inner", [] { return "x"s; }, [&](std::string const&) { inner_done = true; }};
  };
  { auto g = guard(); }
  BOOST_TEST(inner_done);
  BOOST_TEST((restored == std::vector{"words"s}));
}

BOOST_AUTO_TEST_CASE(half_a_restore_can_be_run_again_by_the_next_guard) {
  live = "words";
  in_restore = [&] {
    live.reset();
    throw std::runtime_error("half way");
  };
  { auto g = guard(); }
  in_restore = [] {};
  { auto g = guard(); }
  BOOST_TEST((restored == std::vector{"words"s}));
  BOOST_TEST((live == "words"));
}

BOOST_AUTO_TEST_CASE(a_process_that_ends_without_its_destructors_leaves_an_orphan_that_is_adopted) {
  for (int const how : {0, 1, 2, 3}) {
    fs::remove_all(dir());
    int const status = support::in_child([&] {
      live = "words";
      static std::jmp_buf out;
      if (how == 3 && setjmp(out) != 0) return 0;
      alignas(8) auto* const g = new auto(guard());  // never deleted, as where the scope is jumped out of
      static_cast<void>(g);
      if (how == 0) ::_exit(0);
      if (how == 1) std::signal(SIGABRT, SIG_DFL), ::abort();
      if (how == 2) ::raise(SIGKILL);
      std::longjmp(out, 1);
    });
    BOOST_TEST((how == 1 ? status == 256 + SIGABRT : how == 2 ? status == 256 + SIGKILL : status == 0), status);
    live.reset();
    log = {};
    auto g = guard();
    BOOST_TEST((g.origin() == origin::adopted && *g.value() == "words"));
    g.release();
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace delete_guard_scope_test
