// The steps of a place that is a PostgreSQL table, one by one, and what may go wrong in each.
#include "postgres_place_fixture.hpp"

namespace postgres_place_test {

BOOST_FIXTURE_TEST_SUITE(postgres_place, fixture)

BOOST_AUTO_TEST_CASE(parked_it_stands_where_a_person_finds_it) {
  make_plain();
  hang_some_on_it();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  BOOST_TEST((!one.live() && one.parked()));
  BOOST_TEST(one.where() == parked());
  BOOST_TEST(!is_there(table()));
  BOOST_TEST(query("SELECT count(*)::text FROM " + one.where()) == "2");
  query("ALTER TABLE " + one.where() + " SET SCHEMA " + quoted());
  BOOST_TEST((one.live() && !one.parked()));
  BOOST_TEST(ids() == "a,b");
}

BOOST_AUTO_TEST_CASE(each_step_may_be_done_again) {
  make_plain();
  hang_some_on_it();
  auto const before = content();
  auto one = place();
  auto const v = *one.live();
  one.put_back(v);  // nothing is parked
  BOOST_TEST(difference(before, content()) == "");
  for (int i = 0; i < 2; ++i) one.park(v);
  for (int i = 0; i < 2; ++i) {
    job();
    one.park(v);  // what was half-built goes
    BOOST_TEST((!is_there(table()) && one.parked()));
  }
  BOOST_TEST(count_parked() == "3");
  job();
  for (int i = 0; i < 2; ++i) one.put_back(v);
  BOOST_TEST(difference(before, content()) == "");
  for (int i = 0; i < 2; ++i) one.discard();
  BOOST_TEST(count_parked() == "0");
  one.park(v);
  job();
  for (int i = 0; i < 2; ++i) BOOST_TEST(one.settle(v, nobody_keeps).empty());
  one.put_back(v);
  BOOST_TEST((ids() == "c,d" && ids("alias") == "c,d"));
  query("DROP TABLE " + table() + " CASCADE");
  one.park(v);
  BOOST_TEST((!one.live() && !one.parked()));
}

BOOST_AUTO_TEST_CASE(names_are_what_they_are) {
  std::string const longest(63, 'x');
  std::vector<std::string> const all{"Orders, net",          "a\"b",  "a.b",   "select",
                                     "\xc3\xbc\xe2\x82\xac", longest, "'; --", "$1"};
  for (auto const& of : all) {
    query("CREATE TABLE " + table(of) + " (id serial PRIMARY KEY)");
    query("CREATE VIEW " + table("v") + " AS SELECT * FROM " + table(of));
    auto one = place(of);
    auto const v = *one.live();
    one.park(v);
    BOOST_TEST((stash::postgres_table::name_in(v).name == of));
    BOOST_TEST(query("SELECT count(*)::text FROM " + one.where()) == "0");
    query("CREATE TABLE " + table(of) + " (id serial PRIMARY KEY)");
    one.park(v);
    query("CREATE TABLE " + table(of) + " (id serial PRIMARY KEY)");
    one.settle(v, nobody_keeps);
    one.discard();
    BOOST_TEST(count_parked() == "0");
    query("DROP TABLE " + table(of) + " CASCADE");
  }
  std::string const another = "s" + std::string(62, 'y');
  query("CREATE SCHEMA " + another);
  query("CREATE TABLE " + another + ".t (id int)");
  stash::postgres_table one{server(), {another, "t"}};
  one.park(*one.live());
  BOOST_TEST(query("SELECT count(*)::text FROM " + one.where()) == "0");
  auto const hashed = one.where().substr(0, one.where().find('.'));
  BOOST_TEST(hashed.size() < 63U);
  query("DROP SCHEMA " + another + " CASCADE");
  query("DROP SCHEMA " + hashed + " CASCADE");
  for (auto const& bad : {std::string(), std::string(64, 'x'), std::string("a\0b", 3), std::string("\xff")}) {
    BOOST_TEST(code_of([&] { stash::postgres_table{server(), {"public", bad}}; }) == support::os(EINVAL));
    BOOST_TEST(code_of([&] { stash::postgres_table{server(), {bad, "t"}}; }) == support::os(EINVAL));
  }
  BOOST_TEST(code_of([] { stash::postgres_table::name_in({}); }) == support::os(EINVAL));
}

BOOST_AUTO_TEST_CASE(what_is_no_ordinary_table_is_refused_before_anything_moves) {
  std::string const t = table();
  auto const is_refused = [&](std::string const& sql, std::string const& undo) {
    query(sql);
    auto const why = message_of([&] { auto const second = guarded(); });
    BOOST_TEST(is_there(t));
    query(undo);
    return why;
  };
  BOOST_TEST(is_refused("CREATE VIEW " + t + " AS SELECT 1 AS x", "DROP VIEW " + t).find("a view") !=
             std::string::npos);
  BOOST_TEST(is_refused("CREATE MATERIALIZED VIEW " + t + " AS SELECT 1 AS x", "DROP MATERIALIZED VIEW " + t)
                 .find("a materialized view") != std::string::npos);
  BOOST_TEST(is_refused("CREATE TABLE " + t + " (id int) PARTITION BY LIST (id)", "DROP TABLE " + t)
                 .find("a partitioned table") != std::string::npos);
  BOOST_TEST(is_refused("CREATE SEQUENCE " + t, "DROP SEQUENCE " + t).find("a sequence") != std::string::npos);
  query("CREATE TABLE " + table("whole") + " (id int) PARTITION BY LIST (id)");
  BOOST_TEST(
      is_refused("CREATE TABLE " + t + " PARTITION OF " + table("whole") + " DEFAULT", "DROP TABLE " + table("whole"))
          .find("a partition of") != std::string::npos);
  create();
  query("CREATE TABLE " + table("holder") + " (one " + t + ")");
  BOOST_TEST(message_of([&] { auto const second = guarded(); }).find("cannot be made anew") != std::string::npos);
  BOOST_TEST((is_there(t) && store.entries().empty()));
}

BOOST_AUTO_TEST_CASE(what_is_half_built_may_be_anything_and_what_depends_on_it_is_told) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  jobs("CREATE VIEW " + table() + " AS SELECT 1 AS x");
  one.park(v);
  jobs("CREATE MATERIALIZED VIEW " + table() + " AS SELECT 1 AS x");
  one.park(v);
  jobs("CREATE TABLE " + table() + " (id int) PARTITION BY LIST (id)");
  jobs("CREATE TABLE " + table("part") + " PARTITION OF " + table() + " DEFAULT");
  BOOST_TEST(code_of([&] { one.settle(v, nobody_keeps); }) == errc::mismatch);
  one.park(v);
  BOOST_TEST(!is_there(table("part")));
  create();
  query("CREATE VIEW " + table("somebodys") + " AS SELECT id FROM " + table());
  one.put_back(v);
  BOOST_TEST(ids() == "a,b");
  one.park(v);
  create();
  one.put_back(v);  // another one, which is doomed later
  BOOST_TEST(message_of([&] { one.discard(); }).find("somebodys") != std::string::npos);
  BOOST_TEST((is_there(table("somebodys")) && count_parked() == "1"));  // the others are gone
  query("DROP VIEW " + table("somebodys"));
  one.discard();
  BOOST_TEST(count_parked() == "0");
  one.park(v);
  jobs("CREATE SEQUENCE " + table());
  BOOST_TEST(code_of([&] { one.put_back(v); }) == errc::mismatch);
  jobs("DROP SEQUENCE " + table());
  one.put_back(v);
  // Another's is left alone.
  auto other = place("other");
  query("CREATE TABLE " + table("other") + " (id text)");
  auto const w = *other.live();
  other.park(w);
  query("CREATE TABLE " + table("other") + " (id text)");
  other.put_back(w);
  one.discard();
  BOOST_TEST(count_parked() == "1");
  other.discard();
  BOOST_TEST(count_parked() == "0");
}

BOOST_AUTO_TEST_CASE(another_table_may_have_got_the_name_of_the_array_type) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  query("CREATE TABLE " + table("_orders") + " (n int)");
  one.put_back(v);
  BOOST_TEST(ids() == "a,b");
  one.park(v);
  job();
  one.settle(v, nobody_keeps);
  BOOST_TEST(ids() == "c,d");
}

BOOST_AUTO_TEST_CASE(a_tables_name_may_be_that_of_the_array_type_of_a_parked_one) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  one.park(v);  // with its array type, "_orders"
  query("CREATE TABLE " + table("_orders") + " (id text)");
  query("INSERT INTO " + table("_orders") + " VALUES ('other')");
  auto other = place("_orders");
  auto const w = *other.live();
  other.park(w);
  BOOST_TEST((is_there(parked()) && is_there(parked("_orders")) && !is_there(table("_orders"))));
  one.put_back(v);
  other.put_back(w);
  BOOST_TEST((ids() == "a,b" && ids("_orders") == "other"));
}

BOOST_AUTO_TEST_CASE(where_somebody_dropped_what_was_parked_an_empty_table_has_all_that_hung_on_it) {
  make();
  hang_all_on_it();
  query("ALTER TABLE " + table() + " ADD n int GENERATED BY DEFAULT AS IDENTITY (INCREMENT 5)");
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  query("REFRESH MATERIALIZED VIEW " + table("counted"));
  // These follow the policies and rules of others, which a DROP ... CASCADE takes along and no statement of ours makes.
  query("DROP POLICY via ON " + table("other"));
  query("DROP RULE looking ON " + table("other"));
  query("DROP VIEW " + table("over"));
  query("ALTER TABLE " + table("other") + " ALTER id DROP DEFAULT");
  query("ALTER DEFAULT PRIVILEGES IN SCHEMA " + quoted() + " GRANT TRUNCATE ON TABLES TO " + owner.quoted + ", " +
        reader.quoted);
  auto const before = dump();
  {
    auto guard = guarded();
    query("DROP SCHEMA " + quoted(parked_schema()) + " CASCADE");
    guard.rollback();
  }
  BOOST_TEST(difference(before, dump()) == "");
  auto one = place("none");
  BOOST_TEST(code_of([&] { one.put_back({}); }) == support::os(ENOENT));
}

BOOST_AUTO_TEST_CASE(without_its_record_it_is_found_by_its_place) {
  make_plain();
  hang_some_on_it();
  auto const before = content();
  auto const start = [&](auto& with) {
    stash::replace_guard guard{with, "orders", place(), {.observer = stash::silent}};
    job();
    guard.release();
  };
  stash::memory_stash lost;
  start(lost);
  BOOST_TEST(count_parked() == "1");
  {
    auto guard = guarded();
    BOOST_TEST_REQUIRE(guard.value() != nullptr);
    BOOST_TEST(!is_there(table()));
  }
  BOOST_TEST(difference(before, content()) == "");
  // Its note is as good as one of before: no statement in it names the schema where it was parked.
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  auto const found = *one.parked();
  BOOST_TEST(json::serialize(found.at("ddl")) == json::serialize(v.at("ddl")));
  BOOST_TEST(json::serialize(found.at("create")) == json::serialize(v.at("create")));
  one.put_back(v);
  // With it the next adopts, or somebody recovers.
  start(store);
  {
    auto guard = guarded();
    BOOST_TEST((guard.origin() == stash::origin::adopted));
    job();
    guard.release();
  }
  auto const report =
      stash::recover_places(store,
                            [&](stash::key const&, note const& n) {
                              return std::optional(stash::postgres_table{server(), stash::postgres_table::name_in(n)});
                            },
                            {.observer = stash::silent});
  BOOST_TEST((report.restored == 1U && report.failed.empty()));
  BOOST_TEST(difference(before, content()) == "");
  BOOST_TEST(count_parked() == "0");
}

BOOST_AUTO_TEST_CASE(two_guards_of_one_place_are_one_at_a_time) {
  make_plain();
  auto guard = guarded();
  BOOST_TEST(code_of([&] { auto const second = guarded(); }) == errc::busy);
  job();
  guard.commit();
  BOOST_TEST(ids() == "c,d");
  // Steps of two that have no stash in common take turns, too.
  auto one = place();
  auto const v = *one.live();
  std::vector<std::thread> all;
  for (int i = 0; i < 2; ++i) {
    all.emplace_back([&, i] {
      auto mine = place();
      for (int n = 0; n < 5; ++n) i == 0 ? mine.park(v) : mine.put_back(v);
    });
  }
  for (auto& each : all) each.join();
  one.put_back(v);
  BOOST_TEST(ids() == "c,d");
}

BOOST_AUTO_TEST_CASE(who_is_in_the_way_is_told_and_nobody_queues_for_long) {
  make_plain();
  hang_some_on_it();
  auto const before = content();
  stash::postgres_table_options const options{.lock_timeout = 600ms};
  auto one = place("orders", options);
  auto const v = *one.live();
  auto const is_told = [&](auto step) {
    auto const began = std::chrono::steady_clock::now();
    BOOST_TEST(code_of(step) == errc::busy);
    auto const took = std::chrono::steady_clock::now() - began;
    BOOST_TEST((took >= 500ms && took < 5s));
    return message_of(step).find("dashboard") != std::string::npos;
  };
  {
    reader_of dashboard{table()};
    std::atomic<bool> is_over{false};
    std::atomic<std::int64_t> longest{0};
    std::thread reading{[&] {
      client another{server() + "?application_name=reader"};
      while (!is_over) {
        auto const start = std::chrono::steady_clock::now();
        another("SELECT id FROM " + table() + " LIMIT 1");
        longest = std::max<std::int64_t>(
            longest, std::chrono::floor<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count());
      }
    }};
    BOOST_TEST(is_told([&] { one.park(v); }));
    is_over = true;
    reading.join();
    BOOST_TEST(longest < 1200);
    BOOST_TEST_MESSAGE("a reader waited " << longest << " ms at most");
    dashboard.let_go();
  }
  BOOST_TEST(difference(before, content()) == "");
  one.park(v);
  job();
  for (std::string const& where : {parked(), table()}) {
    reader_of dashboard{where};
    BOOST_TEST(is_told([&] { one.put_back(v); }));
    BOOST_TEST(is_told([&] { one.settle(v, nobody_keeps); }));
    BOOST_TEST((ids() == "c,d" && one.parked()));
    dashboard.let_go();
  }
  one.put_back(v);
  BOOST_TEST(difference(before, content()) == "");
  // One that goes in time keeps nobody.
  reader_of dashboard{table()};
  std::thread going{[&] {
    std::this_thread::sleep_for(300ms);
    dashboard.let_go();
  }};
  place().park(v);
  going.join();
  one.put_back(v);
}

BOOST_AUTO_TEST_CASE(who_may_not_is_told_before_anything_moves) {
  make_plain();
  hang_some_on_it();
  query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + reader.quoted);
  auto const before = content();
  std::string const database = query("SELECT quote_ident(current_database())");
  auto const as_reader = [&] {
    return stash::postgres_table{support::info("user='" + reader.name + '\''), {name, "orders"}};
  };
  auto const is_told = [&](char const* what) {
    auto const step = [&] {
      auto one = as_reader();
      one.park(*one.live());
    };
    BOOST_TEST(code_of(step) == sqlstate("42501"));
    auto const why = message_of(step);
    BOOST_TEST(why.find(what) != std::string::npos, why);
    BOOST_TEST(is_there(table()));
  };
  is_told("database");
  query("GRANT CREATE ON DATABASE " + database + " TO " + reader.quoted);
  is_told("denied for table orders");
  BOOST_TEST(difference(before, content()) == "");
  query("ALTER TABLE " + table() + " OWNER TO " + reader.quoted);
  is_told("must be owner of view");
  query("ALTER TABLE " + table() + " OWNER TO postgres");
  // A schema of somebody else's, who could drop what is in it.
  query("CREATE SCHEMA " + quoted(parked_schema()) + " AUTHORIZATION " + owner.quoted);
  query("GRANT ALL ON SCHEMA " + quoted(parked_schema()) + " TO " + reader.quoted);
  query("ALTER VIEW " + table("alias") + " OWNER TO " + reader.quoted);
  query("ALTER TABLE " + table() + " OWNER TO " + reader.quoted);
  is_told("is role owner");
  query("DROP SCHEMA " + quoted(parked_schema()));
  // With all of them it works, for a role that is no superuser.
  auto one = as_reader();
  auto const v = *one.live();
  one.park(v);
  {
    client job{support::info("user='" + reader.name + '\'')};
    job("CREATE TABLE " + table() + " (_id serial PRIMARY KEY, id text, amount numeric, day date)");
  }
  BOOST_TEST(one.settle(v, nobody_keeps).empty());
  BOOST_TEST(
      query("SELECT count(*)::text FROM pg_indexes WHERE indexname = 'by_day' AND schemaname = '" + name + "'") == "1");
  query("REVOKE CREATE ON DATABASE " + database + " FROM " + reader.quoted);
}

BOOST_AUTO_TEST_CASE(what_is_parked_only_its_owner_sees_and_keys_are_checked_all_the_same) {
  make_plain();
  query("ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO PUBLIC");
  query("GRANT SELECT ON " + table() + " TO PUBLIC");
  query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + owner.quoted);
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  query("CREATE TABLE " + table("child") + " (ref int REFERENCES " + table() + " ON DELETE CASCADE)");
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  query("ALTER DEFAULT PRIVILEGES REVOKE USAGE ON SCHEMAS FROM PUBLIC");
  client other{support::info("user='" + reader.name + '\'')};
  BOOST_TEST(code_of([&] { other("SELECT count(*)::text FROM " + parked()); }) == sqlstate("42501"));
  query("INSERT INTO " + table("child") + " VALUES (1)");
  BOOST_TEST(code_of([&] { query("INSERT INTO " + table("child") + " VALUES (99)"); }) == sqlstate("23503"));
  one.put_back(v);
}

BOOST_AUTO_TEST_CASE(a_child_that_was_forked_leaves_the_connection_alone) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  BOOST_TEST(support::in_child([&] { return one.live() ? 0 : 1; }) == 0);  // by a connection of its own
  one.park(v);
  auto moved = std::move(one);
  moved.put_back(v);
  BOOST_TEST(ids() == "a,b");
}

BOOST_AUTO_TEST_CASE(a_connection_that_broke_is_made_anew) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  auto const lose = [&] {
    query("SELECT count(pg_terminate_backend(pid, 5000))::text FROM pg_stat_activity WHERE application_name = 'stash'");
  };
  lose();
  one.park(v);
  lose();
  job();
  BOOST_TEST(one.settle(v, nobody_keeps).empty());
  BOOST_TEST(ids() == "c,d");
  std::string const secret = "geheim";
  stash::postgres_table none{"host=127.0.0.1 port=1 user=x password=" + secret, {name, "orders"}};
  auto const why = message_of([&] { none.live(); });
  BOOST_TEST((!why.empty() && why.find(secret) == why.npos), why);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_test
