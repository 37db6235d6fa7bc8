#include "delete_guard_fixture.hpp"
#include "support.hpp"

namespace delete_guard_save_failures_test {

using namespace std::string_literals;
using stash::errc;
using stash::origin;
using support::code_of;
using support::names;
namespace fs = boost::filesystem;

namespace {

using delete_guard_test::file_stash;
using delete_guard_test::fixture;
using delete_guard_test::text;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(delete_guard, fixture)

BOOST_AUTO_TEST_CASE(a_failed_save_throws_so_that_the_delete_never_starts) {
  live = "words";
  for (char const* const call : {"open", "writev", "fsync", "close", "rename", "lock_byte"}) {
    log = {};
    bool deleted = false;
    spoil(call, ENOSPC);
    auto const job = [&] {
      auto g = guard();
      deleted = true;
    };
    BOOST_TEST(bool(code_of(job)), call);
    heal();
    BOOST_TEST(!deleted);
    BOOST_TEST(restored.empty());
    BOOST_TEST((log.kinds == "" || log.kinds == "save_failed"));
    BOOST_TEST(store.storage().try_lock("orders").has_value());
  }
}

BOOST_AUTO_TEST_CASE(an_indeterminate_save_throws_too) {
  live = "words";
  store.save("orders", "words"s);
  int syncs = 0;
  *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 2 ? EIO : 0; };
  BOOST_TEST(code_of([&] { auto const one = guard(); }) == errc::indeterminate);
}

BOOST_AUTO_TEST_CASE(a_live_value_that_is_too_large_moves_no_record_out_of_its_way) {
  store.save("orders", "old"s);
  auto const before = support::read(file());
  file_stash small{support::spoiled_storage{dir(), {.max_bytes = 10}, ops}, {}, clock};
  auto const guarded = [&] {
    stash::delete_guard g{small, "orders", [] { return std::string(20, 'x'); }, [](auto const&) {}};
  };
  BOOST_TEST(code_of(guarded) == errc::too_large);
  BOOST_TEST(support::read(file()) == before);
}

BOOST_AUTO_TEST_CASE(if_setting_aside_fails_the_constructor_throws) {
  for (bool const corrupt : {false, true}) {
    store.save("orders", "old"s);
    if (corrupt) support::write(file(), "damaged");
    auto const before = support::read(file());
    live = "words";
    spoil("rename_noreplace", EIO);
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == support::os(EIO));
    heal();
    BOOST_TEST(support::read(file()) == before);
  }
}

BOOST_AUTO_TEST_CASE(a_full_disk_while_adopting_throws_and_keeps_the_record) {
  store.save("orders", "words"s);
  for (bool const best_effort : {false, true}) {
    spoil("writev", ENOSPC);
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = best_effort}); }) == support::os(ENOSPC));
    heal();
    BOOST_TEST((stashed() == "words"));
  }
}

BOOST_AUTO_TEST_CASE(best_effort_tells_of_a_failed_save_and_restores_on_an_exception_all_the_same) {
  live = "words";
  for (char const* const call : {"writev", "rename", "mkdir"}) {
    log = {};
    restored.clear();
    fs::remove_all(dir());
    spoil(call, ENOSPC);
    {
      auto g = guard({.best_effort = true});
      BOOST_TEST((g.origin() == origin::live && *g.value() == "words"));
    }
    heal();
    BOOST_TEST(log.kinds == "save_failed restored", call);
    BOOST_TEST((restored == std::vector{"words"s}));
    BOOST_TEST(log.lines.front().find("No space left") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(best_effort_goes_on_in_an_unsafe_directory_and_where_nothing_can_be_written) {
  live = "words";
  fs::create_directory(dir());
  support::set_mode(dir(), 0777);
  {
    auto g = guard({.best_effort = true});
    g.commit();
  }
  BOOST_TEST(log.kinds == "save_failed committed");
  BOOST_TEST(names(dir()).empty());
  support::set_mode(dir(), 0700);
  for (int const error : {EROFS, EACCES, ENOSPC, EDQUOT}) {
    spoil("open_lock", error);
    auto g = guard({.best_effort = true});
    g.release();
    heal();
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == boost::system::error_code());
  }
}

BOOST_AUTO_TEST_CASE(best_effort_never_forgives_a_busy_key_or_a_lock_that_cannot_be_judged) {
  live = "words";
  {
    auto const other = store.storage().try_lock("orders");
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == errc::busy);
  }
  for (int const error : {EMFILE, ENFILE, ENOLCK, EIO}) {
    spoil("open_lock", error);
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(error));
    spoil("lock_byte", error);
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(error));
    heal();
  }
  BOOST_TEST(restored.empty());
}

BOOST_AUTO_TEST_CASE(best_effort_never_forgives_a_storage_that_says_busy_though_its_lock_is_held) {
  struct busy_storage : stash::memory_storage {
    void put(stash::key const& k, stash::record const&) { throw stash::error{errc::busy, "put", k.string()}; }
  };
  stash::basic_stash<busy_storage> busy;
  BOOST_TEST(code_of([&] {
               stash::delete_guard const g{
                   busy, "orders", [] { return text("words"); }, [](std::string const&) {}, {.best_effort = true}};
             }) == errc::busy);
}

BOOST_AUTO_TEST_CASE(best_effort_does_not_forgive_an_unreadable_record_without_a_live_value) {
  store.save("orders", "words"s);
  spoil("read", EIO);
  BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(EIO));
  spoil("open_lock", EROFS);  // no lock can be made, and a record is there
  BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(EROFS));
  heal();
  BOOST_TEST((stashed() == "words"));
}

BOOST_AUTO_TEST_CASE(best_effort_leaves_a_record_that_it_could_not_read_or_keep_where_it_is) {
  live = "words";
  for (char const* const call : {"read", "rename_noreplace"}) {
    store.save("orders", "other words"s);
    spoil(call, EIO);
    {
      auto g = guard({.best_effort = true});
      g.commit();
    }
    heal();
    BOOST_TEST((stashed() == "other words"), call);
    spoil(call, EIO);
    { auto g = guard({.best_effort = true, .clear_after_restore = true}); }
    heal();
    BOOST_TEST((stashed() == "other words"), call);
  }
}

BOOST_AUTO_TEST_CASE(without_best_effort_live_is_not_asked_where_no_lock_can_be_made) {
  fs::create_directory(dir());
  support::set_mode(dir(), 0777);
  bool asked = false;
  auto const live_that_notes = [&] { return asked = true; };
  auto const construct = [&] { stash::delete_guard g{store, "orders", live_that_notes, [](bool) {}, options()}; };
  BOOST_TEST(code_of(construct) == errc::unsafe_directory);
  BOOST_TEST(!asked);
  BOOST_TEST(log.kinds == "");
}

BOOST_AUTO_TEST_CASE(best_effort_without_a_lock_goes_on_only_with_a_live_value) {
  // Another job may be between its drop and its load: without a lock "not live" and "no record" prove nothing.
  for (int const error : {EACCES, EROFS}) {
    spoil("mkdir", error);
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(error));
  }
}

BOOST_AUTO_TEST_CASE(where_nothing_could_be_saved_the_end_sets_aside_what_was_brought_back_by_hand_since) {
  for (bool const commits : {true, false}) {
    log = {};
    live = "words";
    auto const before = aside();
    spoil("writev", ENOSPC);
    auto g = guard({.best_effort = true, .clear_after_restore = true});
    heal();
    store.storage().put("orders", {"\"from a backup\"", {}});
    commits ? g.commit() : g.rollback();
    BOOST_TEST(log.kinds == (commits ? "save_failed superseded committed" : "save_failed restored superseded"));
    BOOST_TEST(!stashed());
    BOOST_TEST(aside() == before + 1);
  }
}

BOOST_AUTO_TEST_CASE(a_commit_removes_a_record_that_stands_though_its_save_had_failed) {
  live = "words";
  store.save("other", 1);
  int syncs = 0;
  *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 2 ? EIO : 0; };
  auto g = guard({.best_effort = true});
  heal();
  BOOST_TEST((stashed() == "words"));
  g.commit();
  BOOST_TEST(log.kinds == "save_failed committed");
  BOOST_TEST(!stashed());
  BOOST_TEST(aside() == 0U);
}

BOOST_AUTO_TEST_CASE(after_a_failed_save_of_what_stood_there_already_a_commit_still_removes_it) {
  store.save("orders", "words"s);
  live = "words";
  spoil("writev", ENOSPC);
  {
    auto g = guard({.best_effort = true});
    g.commit();
  }
  heal();
  BOOST_TEST(!stashed());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace delete_guard_save_failures_test
