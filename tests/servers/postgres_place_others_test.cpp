// A table of PostgreSQL as a place, among others: what a job leaves out, what somebody else puts where tables are
// parked, what depends on the table, and who has built it.
#include "postgres_place_fixture.hpp"

namespace postgres_place_test {

BOOST_FIXTURE_TEST_SUITE(postgres_place, fixture)

BOOST_AUTO_TEST_CASE(a_job_may_leave_out_the_primary_key_which_the_new_table_gets) {
  std::string const t = table();
  for (std::string const rows : {"generate_series(1, 3)", "generate_series(1, 60000)"}) {  // below and above 1 MB
    for (int i = 0; i < 4; ++i) {
      query("CREATE TABLE " + t + " (id int CONSTRAINT \"the key\" PRIMARY KEY)");
      query("CREATE TABLE " + table("child") + " (ref int REFERENCES " + t + ")");
      stash::postgres_table one = place("orders", {.leave_behind = i < 2});
      auto const v = *one.live();
      one.park(v);
      if (i % 2 == 0) {
        jobs("CREATE TABLE " + t + " (id int)");
        jobs("INSERT INTO " + t + " SELECT " + rows);
      } else {
        jobs("CREATE TABLE " + t + " AS SELECT " + rows + " AS id");
      }
      BOOST_TEST(one.settle(v, nobody_keeps).empty());
      BOOST_TEST(query("SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), '; ') FROM pg_constraint WHERE"
                       " conrelid = '" +
                       t + "'::regclass AND contype = 'p'") == "the key PRIMARY KEY (id)");
      BOOST_TEST(query("SELECT count(*)::text FROM pg_constraint WHERE confrelid = '" + t + "'::regclass") == "1");
      query("DROP TABLE " + t + ", " + table("child"));
    }
  }
}

BOOST_AUTO_TEST_CASE(what_another_puts_where_tables_are_parked_is_not_taken_for_the_parked_one) {
  make_plain();
  hang_some_on_it();
  role evil{"evil", "LOGIN"};
  query("GRANT CREATE ON DATABASE " + query("SELECT quote_ident(current_database())") + " TO " + evil.quoted + ", " +
        owner.quoted);
  query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + owner.quoted);
  query("ALTER ROLE " + owner.quoted + " LOGIN");
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  query("ALTER VIEW " + table("alias") + " OWNER TO " + owner.quoted);
  client evils{support::info("user='" + evil.name + '\'')};
  auto const before = content();
  auto const v = *place().live();
  auto const all_refuse = [&](std::string const& whose) {
    for (auto const& info : {server(), support::info("user='" + owner.name + '\'')}) {
      stash::postgres_table one{info, {name, "orders"}};
      std::vector<std::function<void()>> const steps{
          [&] { one.live(); },
          [&] { one.parked(); },
          [&] { one.park(v); },
          [&] { one.put_back(v); },
          [&] { one.settle(v, nobody_keeps); },
          [&] { one.discard(); },
          [&] {
            stash::replace_guard const guard{
                store, "orders", stash::postgres_table{info, {name, "orders"}}, {.observer = stash::silent}};
          }};
      for (std::size_t i = 0; i < steps.size(); ++i) {
        BOOST_TEST(code_of(steps[i]) == sqlstate("42501"), i);
        auto const why = message_of(steps[i]);
        BOOST_TEST((why.find(quoted(parked_schema())) != why.npos && why.find(whose) != why.npos), i << ": " << why);
      }
    }
    BOOST_TEST(difference(before, content()) == "");
    BOOST_TEST(store.entries().empty());
  };
  evils("CREATE SCHEMA " + quoted(parked_schema()));
  evils("CREATE TABLE " + parked() + " (id text)");
  evils("GRANT ALL ON SCHEMA " + quoted(parked_schema()) + " TO PUBLIC");
  evils("GRANT ALL ON " + parked() + " TO PUBLIC");
  all_refuse(evil.name);
  // In one that is ours.
  query("ALTER SCHEMA " + quoted(parked_schema()) + " OWNER TO postgres");
  all_refuse("PUBLIC");
  query("REVOKE ALL ON SCHEMA " + quoted(parked_schema()) + " FROM PUBLIC");
  query("GRANT CREATE ON SCHEMA " + quoted(parked_schema()) + " TO " + evil.quoted);
  all_refuse(evil.name);
  query("DROP SCHEMA " + quoted(parked_schema()) + " CASCADE");
  replace();
  BOOST_TEST(ids() == "c,d");
}

BOOST_AUTO_TEST_CASE(only_a_table_counts_as_parked) {
  query("CREATE TABLE " + table("a") + " (id serial)");
  auto a = place("a");
  auto const of_a = *a.live();
  a.park(of_a);  // with its sequence
  query("CREATE TABLE " + table("a_id_seq") + " (id text)");
  query("INSERT INTO " + table("a_id_seq") + " VALUES ('real')");
  auto one = place("a_id_seq");
  note const v{{"schema", name}, {"name", "a_id_seq"}};
  BOOST_TEST(code_of([&] { one.live(); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { one.parked(); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { one.park(v); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { one.put_back(v); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { one.settle(v, nobody_keeps); }) == errc::mismatch);
  BOOST_TEST(message_of([&] { one.live(); }).find("a sequence of schema " + parked_schema()) != std::string::npos);
  one.discard();
  BOOST_TEST((ids("a_id_seq") == "real" && is_there(parked("a")) && is_there(parked("a_id_seq"))));
  query("DROP TABLE " + table("a_id_seq"));
  a.put_back(of_a);
  BOOST_TEST((is_there(table("a")) && is_there(table("a_id_seq"))));
}

BOOST_AUTO_TEST_CASE(what_no_settle_could_carry_over_is_told_before_the_load) {
  make_plain();
  query("CREATE FUNCTION " + table("f") + "() RETURNS SETOF " + table() + " LANGUAGE sql AS 'SELECT * FROM " + table() +
        "'");
  auto const before = content();
  auto one = place();
  auto const v = *one.live();
  BOOST_TEST(code_of([&] { one.park(v); }) == errc::mismatch);
  auto const why = message_of([&] { one.park(v); });
  BOOST_TEST((why.find("function") != why.npos && why.find("leave_behind was not said") != why.npos), why);
  BOOST_TEST((difference(before, content()) == "" && count_parked() == "0"));
  auto may_leave = place("orders", {.leave_behind = true});
  may_leave.park(v);
  job();
  BOOST_TEST(may_leave.settle(v, nobody_keeps).size() == 1U);
  BOOST_TEST(ids() == "c,d");
}

BOOST_AUTO_TEST_CASE(what_a_commit_has_dropped_nobody_makes_anew) {
  make_plain();
  auto const recover = [&] {
    stash::recover_places(store, [&](stash::key const&, note const&) { return std::optional(place()); },
                          {.observer = stash::silent});
  };
  // As a commit that is killed before its record goes.
  {
    auto guard = guarded();
    drop();
    auto const v = *guard.value();
    place().settle(v, nobody_keeps);
    guard.release();
  }
  BOOST_TEST(!store.entries().empty());
  place().put_back(store.load("orders")->as_object());
  BOOST_TEST(!is_there(table()));
  place().discard();  // and it before the record goes, by who recovers
  recover();
  BOOST_TEST((!is_there(table()) && store.entries().empty()));
  // It says nothing of a table that was made since.
  make_plain();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  BOOST_TEST(count_parked() == "1");
  query("DROP TABLE " + parked());
  one.put_back(v);
  BOOST_TEST(is_there(table()));
  // Who commits leaves nothing.
  {
    auto guard = guarded();
    drop();
    guard.commit();
  }
  BOOST_TEST((!is_there(table()) && count_parked() == "0"));
}

BOOST_AUTO_TEST_CASE(who_has_built_as_another_role_is_told) {
  make_plain();
  std::string const database = query("SELECT quote_ident(current_database())");
  query("GRANT CREATE ON DATABASE " + database + " TO " + reader.quoted);
  query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + reader.quoted + ", " + owner.quoted);
  query("ALTER TABLE " + table() + " OWNER TO " + reader.quoted);
  stash::postgres_table one{support::info("user='" + reader.name + '\''), {name, "orders"}};
  auto const v = *one.live();
  one.park(v);
  create();
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  std::vector<std::function<void()>> const steps{[&] { one.put_back(v); }, [&] { one.park(v); },
                                                 [&] { one.settle(v, nobody_keeps); }};
  for (auto const& step : steps) {
    BOOST_TEST(code_of(step) == sqlstate("42501"));
    auto const why = message_of(step);
    BOOST_TEST(why.find("role " + owner.name + "'s, of which role " + reader.name) != why.npos, why);
  }
  query("GRANT " + owner.quoted + " TO " + reader.quoted);
  one.put_back(v);
  BOOST_TEST(ids() == "a,b");
  one.discard();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_test
