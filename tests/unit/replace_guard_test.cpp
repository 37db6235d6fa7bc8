// What a replace_guard does around any place: the place here is in memory, and says what was asked of it.
#include <csignal>

#include "support.hpp"

namespace replace_guard_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::origin;
using support::code_of;

namespace {

using text = std::optional<std::string>;

/// What a place is to the world: it outlives the objects that name it.
struct site {
  text stands, parked, doomed;
  std::string calls;  // one letter each: p(ark) b(ack) s(ettle) d(iscard)
  std::function<void(char)> before = [](char) {};
  std::vector<stash::left_behind> left;
  void call(char c) {
    calls += c;
    before(c);
  }
};

/// It has nothing but what a place must have.
struct plain_place {
  using value_type = std::string;
  site* at;
  text live() const { return at->parked ? std::nullopt : at->stands; }
  void park(std::string const&) {
    at->call('p');
    if (at->parked) return at->stands.reset();
    at->parked = std::exchange(at->stands, {});
  }
  void put_back(std::string const&) {
    at->call('b');
    if (at->parked) at->stands = std::exchange(at->parked, {});
    if (!at->stands) throw std::runtime_error("nothing to put back");
  }
  void settle(std::string const&) {
    at->call('s');
    at->doomed = std::exchange(at->parked, {});
  }
  void discard() {
    at->call('d');
    at->doomed.reset();
  }
};
/// And this has all that it may have.
struct memory_place : plain_place {
  text parked() const { return at->parked; }
  std::string where() const { return "under the bed"; }
  std::vector<stash::left_behind> settle(std::string const& v, std::function<void(std::string const&)> const& keep) {
    if (!at->left.empty()) keep(v + ", without " + at->left[0].what);
    plain_place::settle(v);
    return at->left;
  }
};

struct fixture : support::scratch {
  support::spoiled_ops ops;
  using store_type = stash::basic_stash<support::spoiled_storage, stash::json_serializer, stash::manual_clock>;
  stash::manual_clock clock{stash::time_point{1000s}};
  store_type store{support::spoiled_storage{dir(), {}, ops}, {}, clock};
  support::event_log log;
  site at;

  fixture() { at.stands = "old"; }

  template <class Place = memory_place>
  auto guard(stash::guard_options o = {}) {
    o.observer = log.observer();
    if constexpr (std::is_same_v<Place, plain_place>) {
      return stash::replace_guard<store_type, Place>{store, "orders", Place{&at}, o};
    } else {
      return stash::replace_guard<store_type, Place>{store, "orders", Place{{&at}}, o};
    }
  }
  text stashed() { return store.load<std::string>("orders"); }
  void spoil(std::string name, int error) {
    *ops.before = [name, error](std::string_view call) { return call == name ? error : 0; };
  }
  void heal() {
    *ops.before = [](std::string_view) { return 0; };
  }
  auto recover() {
    return stash::recover_places<std::string>(
        store, [this](stash::key const&, std::string const&) { return std::optional(memory_place{{&at}}); },
        {.observer = log.observer()});
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(replace_guard, fixture)

BOOST_AUTO_TEST_CASE(the_place_is_free_when_the_constructor_returns_and_the_note_is_saved_first) {
  at.before = [&](char) { BOOST_TEST((stashed() == "old")); };
  auto g = guard();
  BOOST_TEST(!at.stands);
  BOOST_TEST((at.parked == "old"));
  BOOST_TEST(*g.value() == "old");
  BOOST_TEST(g.origin() == origin::live);
  BOOST_TEST(!g.age());
  BOOST_TEST(log.kinds == "saved parked");
  BOOST_TEST(log.lines[1] == "stash: parked \"orders\", at under the bed");
}

BOOST_AUTO_TEST_CASE(a_commit_settles_before_it_clears_the_record_and_destroys_last) {
  {
    auto g = guard();
    at.stands = "new";
    at.before = [&](char c) { BOOST_TEST(stashed().has_value() == (c == 's'), c); };
    g.commit();
    g.commit();    // nothing more
    g.rollback();  // nothing more
  }
  BOOST_TEST(at.calls == "psd");
  BOOST_TEST((at.stands == "new"));
  BOOST_TEST(!at.parked);
  BOOST_TEST(!at.doomed);
  BOOST_TEST(log.kinds == "saved parked settled committed");
}

BOOST_AUTO_TEST_CASE(every_other_way_out_puts_back) {
  { auto g = guard(); }
  BOOST_TEST(at.calls == "pbd");
  BOOST_TEST((at.stands == "old"));
  BOOST_TEST(log.kinds == "saved parked put_back restored");
  at.calls.clear();
  BOOST_CHECK_THROW(
      {
        auto g = guard();
        at.stands = "half";
        throw std::runtime_error("the job");
      },
      std::runtime_error);
  BOOST_TEST(at.calls == "pbd");
  BOOST_TEST((at.stands == "old"));
  at.calls.clear();
  auto g = guard();
  at.stands = "half";
  g.rollback();
  g.commit();  // nothing more
  BOOST_TEST(at.calls == "pbd");
  BOOST_TEST((at.stands == "old"));
  BOOST_TEST((stashed() == "old"));  // for the next run, as with a delete_guard
}

BOOST_AUTO_TEST_CASE(after_it_was_put_back_the_record_goes_where_that_is_asked_for) {
  { auto g = guard({.clear_after_restore = true}); }
  BOOST_TEST(!stashed());
}

BOOST_AUTO_TEST_CASE(a_commit_whose_settle_throws_destroys_nothing_and_the_destructor_puts_back) {
  {
    auto g = guard();
    at.stands = "new";
    at.before = [](char c) {
      if (c == 's') throw std::runtime_error("the views");
    };
    BOOST_CHECK_THROW(g.commit(), std::runtime_error);
    BOOST_TEST((at.parked == "old"));
    BOOST_TEST((stashed() == "old"));
  }
  BOOST_TEST(at.calls == "psbd");
  BOOST_TEST((at.stands == "old"));
  BOOST_TEST(log.kinds == "saved parked put_back restored");
}

BOOST_AUTO_TEST_CASE(a_commit_may_be_tried_again_after_a_settle_that_threw) {
  auto g = guard();
  at.stands = "new";
  at.before = [](char c) {
    if (c == 's') throw std::runtime_error("a reader has a lock");
  };
  BOOST_CHECK_THROW(g.commit(), std::runtime_error);
  at.before = [](char) {};
  g.commit();
  BOOST_TEST((at.stands == "new"));
  BOOST_TEST(!stashed());
}

BOOST_AUTO_TEST_CASE(a_commit_that_cannot_clear_the_record_throws_and_destroys_nothing_and_puts_nothing_back) {
  {
    auto g = guard();
    at.stands = "new";
    spoil("unlink", EIO);
    BOOST_CHECK(code_of([&] { g.commit(); }) != boost::system::error_code());
    heal();
  }
  BOOST_TEST((at.stands == "new"));
  BOOST_TEST((at.doomed == "old"));  // a later run removes it
  BOOST_TEST(log.kinds == "saved parked settled clear_failed");
  { auto g = guard(); }
  BOOST_TEST(!at.doomed);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_removed_is_told_and_the_commit_stands) {
  auto g = guard();
  at.stands = "new";
  at.before = [](char c) {
    if (c == 'd') throw std::runtime_error("it is immutable");
  };
  g.commit();
  BOOST_TEST(log.kinds == "saved parked settled committed left_behind");
  BOOST_TEST(log.lines.back() == "stash: left_behind \"orders\": it is immutable");
}

BOOST_AUTO_TEST_CASE(a_thing_that_cannot_be_parked_stands_where_it_stood_and_has_no_record) {
  at.before = [](char c) {
    if (c == 'p') throw std::runtime_error("a mount point");
  };
  BOOST_TEST(support::message_of([&] { auto const g = guard(); }) == "a mount point");
  BOOST_TEST((at.stands == "old"));
  BOOST_TEST(!stashed());
}

BOOST_AUTO_TEST_CASE(a_thing_that_was_parked_by_a_park_that_threw_is_put_back) {
  struct half_parked : memory_place {
    void park(std::string const& v) {
      memory_place::park(v);
      throw std::runtime_error("the sync");
    }
  };
  BOOST_TEST(support::message_of([&] { auto const g = guard<half_parked>(); }) == "the sync");
  BOOST_TEST((at.stands == "old"));
  BOOST_TEST(!stashed());
  BOOST_TEST(log.kinds == "saved restored");
}

BOOST_AUTO_TEST_CASE(a_dead_jobs_thing_is_adopted_its_half_built_one_goes_and_it_is_put_back) {
  guard().release();
  at.stands = "half";
  clock.advance(5s);
  {
    auto g = guard();
    BOOST_TEST(g.origin() == origin::adopted);
    BOOST_TEST((g.age() == 5s));
    BOOST_TEST(*g.value() == "old");
    BOOST_TEST(!at.stands);
    at.stands = "half again";
  }
  BOOST_TEST((at.stands == "old"));
  BOOST_TEST(log.kinds == "saved parked released adopted parked put_back restored");
}

BOOST_AUTO_TEST_CASE(what_is_parked_is_found_where_its_record_was_lost) {
  guard().release();
  at.stands = "half";
  store.clear("orders");
  {
    auto g = guard();
    BOOST_TEST(*g.value() == "old");
    BOOST_TEST(!at.stands);
    BOOST_TEST((stashed() == "old"));
  }
  BOOST_TEST((at.stands == "old"));
}

BOOST_AUTO_TEST_CASE(what_is_parked_is_found_where_its_record_is_corrupt) {
  guard().release();
  support::write(store.storage().path("orders"), "no record");
  auto g = guard();
  BOOST_TEST(*g.value() == "old");
  BOOST_TEST(store.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_place_without_what_is_optional_works_too) {
  {
    auto g = guard<plain_place>();
    at.stands = "new";
    g.commit();
  }
  BOOST_TEST((at.stands == "new"));
  { auto g = guard<plain_place>(); }
  BOOST_TEST((at.stands == "new"));
  BOOST_TEST(log.lines[1] == "stash: parked \"orders\"");
}

BOOST_AUTO_TEST_CASE(where_nothing_stands_nothing_is_parked_and_what_is_built_is_settled_all_the_same) {
  at.stands.reset();
  {
    auto g = guard();
    BOOST_TEST(g.value() == nullptr);
    BOOST_TEST(g.origin() == origin::none);
    at.stands = "first";
    g.commit();
  }
  BOOST_TEST(at.calls == "sd");
  BOOST_TEST((at.stands == "first"));
  BOOST_TEST(log.kinds == "settled committed");
  at.stands.reset();
  guard().commit();  // nor is anything built
  BOOST_TEST(!at.stands);
}

BOOST_AUTO_TEST_CASE(where_nothing_stood_a_rollback_leaves_what_the_job_has_built) {
  at.stands.reset();
  {
    auto g = guard();
    at.stands = "half";
  }
  BOOST_TEST((at.stands == "half"));
  BOOST_TEST(log.kinds == "");
}

BOOST_AUTO_TEST_CASE(a_commit_where_nothing_was_built_destroys_the_old_one) {
  guard().commit();
  BOOST_TEST(!at.stands);
  BOOST_TEST(!at.parked);
  BOOST_TEST(!stashed());
}

BOOST_AUTO_TEST_CASE(what_could_not_be_carried_over_is_told_and_set_aside_with_the_record) {
  at.left = {{"view sales", "a column is gone", "CREATE VIEW sales ..."}};
  auto g = guard();
  at.stands = "new";
  g.commit();
  BOOST_TEST(log.kinds == "saved parked saved settled left_behind committed");
  BOOST_TEST(log.lines[4].find("view sales (a column is gone)") != std::string::npos, log.lines[4]);
  auto const aside = store.set_aside_entries();
  BOOST_REQUIRE(aside.size() == 1U);
  BOOST_TEST(aside[0].where.find("orders.left_behind-") != std::string::npos);
  BOOST_TEST(support::read(aside[0].where).find("old, without view sales") != std::string::npos);
  BOOST_TEST(!stashed());
}

BOOST_AUTO_TEST_CASE(what_a_settle_keeps_goes_over_no_record_brought_back_by_hand_or_that_could_not_be_set_aside) {
  at.left = {{"view sales", "a column is gone", "CREATE VIEW sales ..."}};
  for (bool const was_there : {false, true}) {
    log = {}, at.stands = was_there ? text("old") : std::nullopt;
    if (was_there) store.save("orders", "another"s);
    spoil("rename_noreplace", EIO);
    auto g = guard({.best_effort = true});
    heal();
    BOOST_TEST((g.origin() == origin::none) == !was_there);
    if (!was_there) store.storage().put("orders", {"\"from a backup\"", {}});
    at.stands = "new";
    g.commit();
    BOOST_TEST(log.kinds ==
               (was_there ? "save_failed parked "s : ""s) + "superseded saved settled left_behind committed");
    BOOST_TEST(store.set_aside_entries().size() == (was_there ? 4U : 2U));
  }
}

BOOST_AUTO_TEST_CASE(a_record_that_could_not_be_set_aside_is_not_destroyed_either) {
  at.parked = std::exchange(at.stands, {});
  store.save("orders", "note"s);
  support::write(store.storage().path("orders"), "damaged");
  spoil("rename_noreplace", EIO);
  auto g = guard({.best_effort = true});
  heal();
  g.commit();
  BOOST_TEST(support::read(store.storage().path("orders")) == "damaged");
}

BOOST_AUTO_TEST_CASE(a_second_guard_is_busy_and_touches_nothing) {
  auto g = guard();
  BOOST_CHECK(code_of([&] { auto const second = guard(); }) == errc::busy);
  BOOST_TEST(at.calls == "p");
  BOOST_TEST(recover().busy == 1U);
  BOOST_TEST(at.calls == "p");
}

BOOST_AUTO_TEST_CASE(a_commit_without_the_lock_destroys_nothing_and_leaves_it_to_whoever_has_it) {
  {
    auto g = guard();
    at.stands = "new";
    BOOST_REQUIRE(support::fs::remove(dir() / ".lock"));
    auto const taken = store.storage().try_lock("orders");
    BOOST_REQUIRE(taken);
    BOOST_CHECK(code_of([&] { g.commit(); }) == errc::busy);
    BOOST_TEST(at.calls == "p");
    BOOST_CHECK(code_of([&] { g.rollback(); }) == errc::busy);
    BOOST_TEST(at.calls == "p");
  }
  BOOST_TEST((at.parked == "old"));
  BOOST_TEST((stashed() == "old"));
}

BOOST_AUTO_TEST_CASE(a_failed_save_parks_nothing_unless_best_effort_was_said) {
  spoil("writev", ENOSPC);
  BOOST_CHECK(code_of([&] { auto const g = guard(); }) != boost::system::error_code());
  BOOST_TEST(at.calls == "");
  {
    auto g = guard({.best_effort = true});
    BOOST_TEST((at.parked == "old"));
    at.stands = "half";
    heal();
  }
  BOOST_TEST((at.stands == "old"));
}

BOOST_AUTO_TEST_CASE(in_a_forked_child_a_guard_does_nothing) {
  auto g = guard();
  BOOST_TEST(support::in_child([&] {
               g.~replace_guard();
               return at.calls == "p" ? 0 : 1;
             }) == 0);
  BOOST_TEST(support::in_child([&] { return code_of([&] { g.commit(); }) == errc::busy ? 0 : 1; }) == 0);
  BOOST_TEST(support::in_child([&] { return code_of([&] { g.rollback(); }) == errc::busy ? 0 : 1; }) == 0);
  BOOST_TEST((at.parked == "old"));
  g.commit();
}

BOOST_AUTO_TEST_CASE(recover_places_puts_back_what_is_parked_and_leaves_what_stands) {
  guard().release();
  at.stands = "half";
  auto const report = recover();
  BOOST_TEST(report.restored == 1U);
  BOOST_TEST((at.stands == "old"));
  BOOST_TEST(!stashed());
  BOOST_TEST(log.kinds == "saved parked released put_back restored");

  { auto g = guard(); }  // its record stays
  at.doomed = "of an earlier run";
  at.calls.clear();
  BOOST_TEST(recover().live == 1U);
  BOOST_TEST(at.calls == "d");
  BOOST_TEST((stashed() == "old"));
}

BOOST_AUTO_TEST_CASE(recover_places_has_nothing_to_do_where_another_ends_it_at_any_call) {
  int n = 1;
  for (bool is_there = true; is_there; ++n) {
    at.stands = "old";
    guard().release();
    int calls = 0;
    *ops.before = [&](std::string_view) {
      if (++calls == n) boost::filesystem::remove(dir() / "orders.stash");
      return 0;
    };
    at.calls.clear();
    auto const report = recover();
    BOOST_TEST(report.failed.empty(), "at call " << n);
    BOOST_TEST((at.parked ? at.calls.empty() : at.stands == "old"), "at call " << n << ": " << at.calls);
    is_there = calls >= n;
    heal();
    store.clear("orders");
    at = {};
  }
  BOOST_TEST(n > 10);
}

BOOST_AUTO_TEST_CASE(recover_places_leaves_the_record_of_what_it_is_told_no_place_of) {
  guard().release();
  auto const report =
      stash::recover_places<std::string>(store, [](auto const&, auto const&) { return std::optional<memory_place>(); });
  BOOST_TEST(report.live == 1U);
  BOOST_TEST((at.parked == "old"));
  BOOST_TEST(stashed().has_value());
}

BOOST_AUTO_TEST_CASE(recover_places_reports_what_cannot_be_put_back_and_keeps_its_record) {
  guard().release();
  at.parked.reset();
  auto const report = recover();
  BOOST_TEST(report.failed.size() == 1U);
  BOOST_TEST(stashed().has_value());
  BOOST_TEST(log.kinds == "saved parked released restore_failed");
}

BOOST_AUTO_TEST_CASE(of_the_new_events_left_behind_is_heard_without_an_observer) {
  for (auto const kind : {stash::event_kind::parked, stash::event_kind::put_back, stash::event_kind::settled}) {
    BOOST_TEST(!stash::detail::is_heard_by_default(kind));
  }
  BOOST_TEST(stash::detail::is_heard_by_default(stash::event_kind::left_behind));
}

BOOST_AUTO_TEST_CASE(where_nothing_stands_a_place_that_cannot_tell_what_is_parked_has_nothing_to_put_back) {
  at.stands.reset();
  {
    auto g = guard<plain_place>();
    BOOST_TEST(g.value() == nullptr);
    at.stands = "half-built";
  }
  BOOST_TEST((at.stands == "half-built"));
  BOOST_TEST(at.calls == "");
}

BOOST_AUTO_TEST_CASE(a_place_that_cannot_say_where_loses_no_more_than_the_words) {
  struct silent_place : memory_place {
    std::string where() const { throw std::runtime_error("no memory"); }
  };
  silent_place place;
  place.at = &at;
  { stash::replace_guard g{store, "orders", place, {.observer = log.observer()}}; }
  BOOST_TEST((at.stands == "old"));
  BOOST_TEST(log.kinds == "saved parked put_back restored");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace replace_guard_test
