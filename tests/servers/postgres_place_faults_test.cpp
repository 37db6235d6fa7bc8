// A place that is a PostgreSQL table, where each call of libpq fails in turn, and where the process is killed at each.
#include "faulty_libpq.hpp"
#include "figures.hpp"
#include "postgres_place_fixture.hpp"

namespace postgres_place_test {

namespace {

/// Does `step` with an old table and, if so, a new one; `spoil` is asked ahead of each call of libpq.
struct spoiled {
  fixture& f;
  std::string const structure;
  std::size_t tried = 0, bad = 0, failed = 0;

  /// Whether there was a call number `n`, which failed.
  template <class Spoiled, class Check>
  void every_call(Spoiled step, bool is_built, Check is_whole) {
    auto const stride = static_cast<std::size_t>(support::stride());
    for (bool has_failed = true; has_failed; tried += stride, n += stride) {
      auto one = f.place();
      auto const v = is_built ? start(one) : *f.place().live();
      has_failed = false;
      std::size_t calls = 0;
      boost::system::error_code problem;
      {
        support::faulty_libpq const libpq{[&](std::string_view call, std::string_view) {
          if (call == support::rest_to_flush) return false;
          bool const fails = calls++ == n;
          has_failed = has_failed || fails;
          return fails;
        }};
        problem = support::code_of_any([&] { step(one, v); });
      }
      failed += problem.failed();
      bool const is_good = is_whole(problem.failed());
      BOOST_TEST_INFO("call " << n << " fails: " << problem.message());
      BOOST_TEST(is_good);
      bad += !is_good;
      reset(v);
    }
    n = 0;
  }
  stash::postgres_table::value_type start(stash::postgres_table& one) {
    auto const v = *f.place().live();
    f.place().park(v);
    f.create();
    f.copy("('x', 9, '2026-11-24')");
    static_cast<void>(one);
    return v;
  }
  void reset(stash::postgres_table::value_type const& v) {
    auto one = f.place();
    one.put_back(v);
    one.discard();
    BOOST_TEST(f.count_parked() == "0");
    f.query("TRUNCATE " + f.table());
    f.query("INSERT INTO " + f.table() + " (id) VALUES ('a')");
    if (n % 20 == 0) BOOST_TEST(difference(structure, dump()) == "");
  }
  std::size_t n = 0;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_place, fixture)

BOOST_AUTO_TEST_CASE(whichever_call_of_libpq_fails_the_old_one_or_the_new_one_is_whole) {
  create();
  hang_some_on_it();
  query("INSERT INTO " + table() + " (id) VALUES ('a')");
  place().park(*place().live());
  query("ALTER TABLE " + parked() + " SET SCHEMA " + quoted());
  spoiled all{*this, dump()};
  auto const old_is = [&](std::string const& where) {
    return is_there(where) && query("SELECT string_agg(id, ',') FROM " + where) == "a" && ids("alias") == "a";
  };
  all.every_call([](auto& one, auto const& v) { one.park(v); }, false,
                 [&](bool failed) { return old_is(failed && is_there(table()) ? table() : parked()); });
  all.every_call(
      [](auto& one, auto const& v) { one.put_back(v); }, true,
      [&](bool failed) { return failed && is_there(parked()) ? old_is(parked()) && ids() == "x" : old_is(table()); });
  all.every_call([](auto& one, auto const& v) { one.settle(v, nobody_keeps); }, true,
                 [&](bool failed) {
                   return failed && is_there(parked()) ? old_is(parked()) && ids() == "x"
                                                       : !is_there(parked()) && ids() == "x" && ids("alias") == "x";
                 });
  BOOST_TEST(all.tried > 100U);
  support::figure("every call fails", "each call of libpq by the steps of a PostgreSQL place",
                  all.tried / static_cast<std::size_t>(support::stride()), all.bad);
}

BOOST_AUTO_TEST_CASE(killed_at_any_call_of_libpq_a_guard_leaves_the_old_one_to_be_put_back) {
  make_plain();
  hang_some_on_it();
  auto const before = content();
  auto const stride = static_cast<std::size_t>(support::is_long() ? 1 : 9);
  std::size_t tried = 0, bad = 0;
  for (bool was_killed = true; was_killed; tried += stride) {
    was_killed = support::in_child([&] {
                   std::size_t calls = 0;
                   support::faulty_libpq const libpq{[&](std::string_view, std::string_view) {
                     if (calls++ == tried) ::raise(SIGKILL);
                     return false;
                   }};
                   stash::postgres_table one = place();
                   stash::replace_guard guard{store, "orders", std::move(one), {.observer = stash::silent}};
                   client mine{server() + "?application_name=job"};
                   mine("CREATE TABLE " + table() + " (id text)");
                   guard.rollback();
                   return 0;
                 }) == 256 + SIGKILL;
    stash::recover_places(store, [&](stash::key const&, note const&) { return std::optional(place()); },
                          {.observer = stash::silent});
    auto const different = difference(before, content());
    BOOST_TEST(different == "");
    bad += !different.empty() || count_parked() != "0";
  }
  BOOST_TEST(tried > 100U);
  support::figure("every kill", "each call of libpq by a guard of a PostgreSQL place", tried / stride, bad);
}

BOOST_AUTO_TEST_CASE(killed_at_any_call_of_libpq_a_commit_leaves_the_old_one_or_the_new_one) {
  make_plain();
  hang_some_on_it();
  auto const before = dump();
  auto const stride = static_cast<std::size_t>(support::is_long() ? 1 : 9);
  std::size_t tried = 0, bad = 0;
  for (bool was_killed = true; was_killed; tried += stride) {
    auto const old = ids();
    auto const fresh = "n" + std::to_string(tried);
    was_killed = support::in_child([&] {
                   stash::replace_guard guard{store, "orders", place(), {.observer = stash::silent}};
                   client mine{server() + "?application_name=job"};
                   jobs_table(mine, fresh);
                   std::size_t calls = 0;
                   support::faulty_libpq const libpq{[&](std::string_view, std::string_view) {
                     if (calls++ == tried) ::raise(SIGKILL);
                     return false;
                   }};
                   guard.commit();
                   return 0;
                 }) == 256 + SIGKILL;
    stash::recover_places(store, [&](stash::key const&, note const&) { return std::optional(place()); },
                          {.observer = stash::silent});
    auto const now = ids();
    bool const is_whole = (now == old || now == fresh) && ids("alias") == now && count_parked() == "0" &&
                          (was_killed || now == fresh) && difference(before, dump()).empty();
    BOOST_TEST_INFO("killed at call " << tried << ": " << now << " after " << old);
    BOOST_TEST(is_whole);
    bad += !is_whole;
  }
  BOOST_TEST(tried > 100U);
  support::figure("every kill", "each call of libpq by a commit of a PostgreSQL place", tried / stride, bad);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_test
