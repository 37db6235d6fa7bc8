#include <memory>
#include <stash/delete_guards.hpp>
#include <stash/storage/journal.hpp>
#include <type_traits>

#include "delete_guards_fixture.hpp"
#include "support.hpp"

namespace delete_guards_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::origin;
using support::code_of;
using support::os;

BOOST_FIXTURE_TEST_SUITE(delete_guards, fixture)

BOOST_AUTO_TEST_CASE(all_are_saved_before_the_first_delete_and_cleared_by_one_commit) {
  auto g = guard();
  BOOST_TEST((asked == keys), boost::test_tools::per_element());
  BOOST_TEST(all_stashed() == "of a of b of c ");
  BOOST_TEST((g.keys() == std::vector<stash::key>{"b", "a", "c"}));
  BOOST_TEST((g.origin("a") == origin::live && *g.value("a") == "of a" && !g.age("a")));
  BOOST_TEST(log.kinds == "saved saved saved");
  g.commit();
  BOOST_TEST(all_stashed() == "- - - ");
  BOOST_TEST(log.kinds == "saved saved saved committed committed committed");
  g.commit();
  BOOST_TEST(g.rollback().restored == 0U);
  BOOST_TEST(restored.empty());
}

BOOST_AUTO_TEST_CASE(each_key_walks_the_guards_table_alone) {
  store.save("a", "another"s);
  store.save("b", "orphan"s);
  clock.advance(5s);
  live["b"] = live["c"] = std::nullopt;
  auto g = guard();
  BOOST_TEST((g.origin("a") == origin::live && g.origin("b") == origin::adopted && g.origin("c") == origin::none));
  BOOST_TEST((*g.value("b") == "orphan" && *g.age("b") == 5s && g.value("c") == nullptr));
  BOOST_TEST(all_stashed() == "of a orphan - ");
  BOOST_TEST(log.kinds == "superseded adopted saved");
  BOOST_TEST(store.set_aside_entries().size() == 1U);
  g.commit();
  BOOST_TEST(all_stashed() == "- - - ");
}

BOOST_AUTO_TEST_CASE(a_commit_sets_aside_what_was_brought_back_by_hand_of_a_key_of_which_nothing_was_found) {
  live["b"] = std::nullopt;
  auto g = guard();
  store.storage().put("b", {"\"from a backup\"", {}});
  g.commit();
  BOOST_TEST(all_stashed() == "- - - ");
  BOOST_TEST(log.kinds == "saved saved superseded committed committed committed");
  BOOST_TEST(store.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_corrupt_record_of_one_is_set_aside) {
  store.save("a", "another"s);
  support::write(store.storage().path("a"), "rot");
  auto g = guard();
  BOOST_TEST(log.kinds == "corrupt saved saved saved");
  g.release();
}

BOOST_AUTO_TEST_CASE(a_scope_that_is_left_restores_each_and_keeps_the_records) {
  { auto g = guard(); }
  BOOST_TEST((restored == std::vector{"b=of b"s, "a=of a"s, "c=of c"s}), boost::test_tools::per_element());
  BOOST_TEST(all_stashed() == "of a of b of c ");
  BOOST_TEST(all_free());
}

BOOST_AUTO_TEST_CASE(a_restored_record_is_cleared_where_that_was_asked_for) {
  { auto g = guard({.clear_after_restore = true}); }
  BOOST_TEST(all_stashed() == "- - - ");
}

BOOST_AUTO_TEST_CASE(a_failed_restore_stops_no_other_and_is_reported_with_its_key) {
  cannot_restore = {"b", "c"};
  auto g = guard({.clear_after_restore = true});
  auto const report = g.rollback();
  BOOST_TEST((restored == std::vector{"a=of a"s}), boost::test_tools::per_element());
  BOOST_TEST(report.restored == 1U);
  BOOST_TEST_REQUIRE(report.failed.size() == 2U);
  BOOST_TEST((report.failed[0].first == "b" && report.failed[1].first == "c"));
  BOOST_CHECK_THROW(std::rethrow_exception(report.failed[1].second), std::runtime_error);
  BOOST_TEST(all_stashed() == "- of b of c ");
  BOOST_TEST(log.kinds == "saved saved saved restore_failed restored restore_failed");
}
BOOST_AUTO_TEST_CASE(a_failed_restore_in_the_destructor_stops_no_other) {
  cannot_restore = {"b"};
  { auto g = guard(); }
  BOOST_TEST((restored == std::vector{"a=of a"s, "c=of c"s}), boost::test_tools::per_element());
}
BOOST_AUTO_TEST_CASE(what_there_is_nothing_of_is_not_restored) {
  live["a"] = std::nullopt;
  auto g = guard();
  BOOST_TEST(g.rollback().restored == 2U);
  BOOST_TEST((restored == std::vector{"b=of b"s, "c=of c"s}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_released_guard_leaves_all_records) {
  {
    auto g = guard();
    g.release();
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST(all_stashed() == "of a of b of c ");
  BOOST_TEST(log.kinds == "saved saved saved released released released");
}

// What fails

BOOST_AUTO_TEST_CASE(what_live_throws_changes_nothing) {
  store.save("b", "another"s);
  live.erase("c");  // at() throws, after b and a were asked
  BOOST_CHECK_THROW((void)guard(), std::out_of_range);
  BOOST_TEST(all_stashed() == "- another - ");
  BOOST_TEST(store.set_aside_entries().empty());
  BOOST_TEST(all_free());
}
BOOST_AUTO_TEST_CASE(a_record_that_cannot_be_read_changes_nothing_of_the_others) {
  store.save("b", "another"s);
  store.save("c", boost::json::value{1});  // no text
  BOOST_TEST(code_of([&] { auto const g = guard(); }) == errc::mismatch);
  BOOST_TEST((stashed("b") == "another" && !stashed("a")));
  BOOST_TEST(store.set_aside_entries().empty());
}
BOOST_AUTO_TEST_CASE(a_save_that_fails_throws_so_that_no_delete_starts) {
  store.save("a", "words"s);  // so that the directory is there
  store.clear("a");
  for (char const* const call : {"writev", "fsync"}) {
    for (int nth = 1; nth <= 3; ++nth) {
      spoil(call, ENOSPC, nth);
      BOOST_TEST(code_of([&] { auto const g = guard(); }) == os(ENOSPC));
      heal();
      BOOST_TEST(restored.empty());
      BOOST_TEST(log.kinds == "save_failed save_failed save_failed");
      BOOST_TEST(all_free());
      log = {};
    }
  }
  BOOST_TEST(store.storage().temporaries().empty());
}
BOOST_AUTO_TEST_CASE(a_commit_removes_records_that_stand_though_their_save_had_failed) {
  store.save("other", 1);
  int syncs = 0;
  *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 4 ? EIO : 0; };  // the directory's
  auto g = guard({.best_effort = true});
  heal();
  BOOST_TEST(all_stashed() == "of a of b of c ");
  g.commit();
  BOOST_TEST(all_stashed() == "- - - ");
  BOOST_TEST(store.set_aside_entries().empty());
}

BOOST_AUTO_TEST_CASE(best_effort_goes_on_with_what_is_in_memory) {
  live["a"] = std::nullopt;
  spoil("writev", ENOSPC);
  {
    auto g = guard({.best_effort = true});
    heal();
    BOOST_TEST(log.kinds == "save_failed save_failed");
  }
  BOOST_TEST((restored == std::vector{"b=of b"s, "c=of c"s}), boost::test_tools::per_element());
}
BOOST_AUTO_TEST_CASE(best_effort_does_not_forgive_a_record_that_was_to_be_adopted) {
  store.save("a", "orphan"s);
  live["a"] = std::nullopt;
  spoil("writev", ENOSPC);
  BOOST_TEST(code_of([&] { auto const g = guard({.best_effort = true}); }) == os(ENOSPC));
  heal();
  BOOST_TEST((stashed("a") == "orphan"));
}
BOOST_AUTO_TEST_CASE(after_a_commit_that_fails_nothing_is_restored_and_the_records_stand) {
  {
    auto g = guard();
    log = {};
    spoil("fsync", EIO);
    BOOST_TEST(code_of([&] { g.commit(); }) == errc::indeterminate);
    heal();
    BOOST_TEST(log.kinds == "clear_failed clear_failed clear_failed");
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST(all_stashed() == "of a of b of c ");
}
BOOST_AUTO_TEST_CASE(a_commit_without_its_lock_file_destroys_nothing) {
  auto g = guard();
  support::fs::remove(dir() / ".lock");
  BOOST_TEST(code_of([&] { g.commit(); }) == errc::busy);
  BOOST_TEST(all_stashed() == "of a of b of c ");
}
BOOST_AUTO_TEST_CASE(a_commit_that_has_no_lock_and_cannot_clear_the_rest_tells_of_the_lock) {
  auto g = guard();
  log = {};
  int locks = 0;
  *ops.before = [&](std::string_view call) {
    if (call == "lock_byte") return ++locks == 1 ? EIO : 0;  // of the first key, when it is asked whether it is held
    return call == "fsync" ? EIO : 0;
  };
  BOOST_TEST(code_of([&] { g.commit(); }) == errc::busy);
  heal();
  BOOST_TEST(log.kinds == "clear_failed clear_failed clear_failed");
  BOOST_TEST(all_stashed() == "of a of b of c ");
}
BOOST_AUTO_TEST_CASE(where_the_lock_is_lost_before_the_save_no_delete_starts) {
  for (bool const best_effort : {false, true}) {
    auto const lost = [&](stash::key const& k) {
      if (k == "c") support::fs::remove(dir() / ".lock");  // asked last: none is saved yet
      return live.at(std::string(k.str()));
    };
    BOOST_TEST(code_of([&] {
                 stash::delete_guards g{store, keys, lost, [](auto const&, std::string const&) {},
                                        stash::guard_options{.best_effort = best_effort, .observer = log.observer()}};
               }) == errc::busy);
    BOOST_TEST(all_stashed() == "- - - ");
  }
}
BOOST_AUTO_TEST_CASE(a_commit_of_what_could_not_be_saved_is_no_error) {
  spoil("writev", ENOSPC);
  auto g = guard({.best_effort = true});
  heal();
  g.commit();
  g.release();  // does nothing any more
  BOOST_TEST(log.kinds == "save_failed save_failed save_failed committed committed committed");
  BOOST_TEST(all_stashed() == "- - - ");
}
BOOST_AUTO_TEST_CASE(a_commit_leaves_a_record_whose_place_the_guard_never_took) {
  store.save("a", "old"s);
  live["a"] = "not UTF-8: \xff";
  auto g = guard({.best_effort = true});
  g.commit();
  BOOST_TEST(log.kinds == "save_failed saved saved committed committed committed");
  BOOST_TEST(all_stashed() == "old - - ");
}
BOOST_AUTO_TEST_CASE(in_a_forked_child_it_is_inert) {
  auto const owned = [](auto* p) { return std::unique_ptr<std::remove_pointer_t<decltype(p)>>(p); };
  auto g = owned(new auto(guard()));
  BOOST_TEST(support::in_child([&] {
               if (code_of([&] { g->commit(); }) != errc::busy) return 1;
               if (code_of([&] { static_cast<void>(g->rollback()); }) != errc::busy) return 2;
               auto const told = log.kinds;
               g->release();
               g.reset();
               return log.kinds == told && restored.empty() ? 0 : 3;
             }) == 0);
  BOOST_TEST(all_stashed() == "of a of b of c ");
  g->commit();
}

// What it costs

BOOST_AUTO_TEST_CASE(a_journal_pays_one_sync_for_all_saves_and_one_for_all_clears) {
  int syncs = 0;
  *ops.before = [&](std::string_view call) { return syncs += call == "fdatasync", 0; };
  stash::basic_stash<stash::basic_journal_storage<support::spoiled_ops>> journal{dir(), stash::journal_options{}, ops};
  journal.save("other", 1);
  syncs = 0;
  stash::delete_guards g{journal, std::vector<std::string>{"b", "a", "c"}, [](auto const&) { return "words"s; },
                         [](auto const&, auto const&) {}};
  BOOST_TEST(syncs == 1);
  g.commit();
  BOOST_TEST(syncs == 2);
  BOOST_TEST(journal.entries().size() == 1U);
}
BOOST_AUTO_TEST_CASE(files_are_all_written_before_the_first_is_synced_and_cleared_with_one_sync) {
  store.save("other", 1);
  std::string calls;
  *ops.before = [&](std::string_view call) {
    if (call == "writev" || call == "fsync" || call == "rename") calls += std::string(call) + " ";
    return 0;
  };
  auto g = guard();
  BOOST_TEST(calls == "writev writev writev fsync fsync fsync rename rename rename fsync ");
  calls.clear();
  g.commit();
  BOOST_TEST(calls == "fsync ");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace delete_guards_test
