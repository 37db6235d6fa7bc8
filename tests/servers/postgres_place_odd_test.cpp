// A place that is a PostgreSQL table, in what is seldom met: keys that cannot be made, tables with parents, notes that
// tell of nothing, rights that change while it settles, what cannot be dropped yet.
#include <future>

#include "faulty_libpq.hpp"
#include "postgres_place_fixture.hpp"

namespace postgres_place_test {

namespace {

stash::postgres_table_options const impatient{.lock_timeout = std::chrono::milliseconds{0}},
    leaving{.leave_behind = true};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_place, fixture)

BOOST_AUTO_TEST_CASE(rights_that_change_at_each_try_end_the_commit_with_the_old_one_parked) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  job();
  int asked = 0;
  bool grants = true;
  std::string why;
  {
    support::faulty_libpq const libpq{[&](std::string_view, std::string_view sql) {
      // It is asked for at the beginning, and at the end.
      if (sql.find("EXECUTE stash_rights") == sql.npos || ++asked % 2 == 1) return false;
      query(grants ? "GRANT SELECT (day) ON " + parked() + " TO " + reader.quoted
                   : "REVOKE SELECT (day) ON " + parked() + " FROM " + reader.quoted);
      grants = !grants;
      return false;
    }};
    why = message_of([&] { one.settle(v, nobody_keeps); });
  }
  BOOST_TEST(why.find("changes all the time") != std::string::npos, why << " after " << asked);
  BOOST_TEST(asked == 10);
  BOOST_TEST((is_there(parked()) && ids() == "c,d"));
  one.put_back(v);
  one.discard();
  BOOST_TEST(ids() == "a,b");
}

BOOST_AUTO_TEST_CASE(rights_that_change_at_each_try_end_the_commit_of_a_large_table_too) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  create();
  jobs("INSERT INTO " + table() + " (id, amount) SELECT n::text, n FROM generate_series(1, 20000) n");
  int asked = 0;
  {
    support::faulty_libpq const libpq{[&](std::string_view, std::string_view sql) {
      if (sql.find("EXECUTE stash_rights") == sql.npos || ++asked % 2 == 1) return false;
      query((asked % 4 == 2 ? "GRANT SELECT (day) ON " + parked() + " TO "
                            : "REVOKE SELECT (day) ON " + parked() + " FROM ") +
            reader.quoted);
      return false;
    }};
    BOOST_TEST(message_of([&] { one.settle(v, nobody_keeps); }).find("changes all the time") != std::string::npos);
  }
  BOOST_TEST(asked == 10);
  one.put_back(v);
  one.discard();
}

BOOST_AUTO_TEST_CASE(a_sequence_that_stays_with_its_rights_does_not_count_as_a_change) {
  make_plain();
  query("CREATE SEQUENCE " + table("numbers") + " OWNED BY " + table() + ".amount");
  query("GRANT USAGE ON SEQUENCE " + table("numbers") + " TO " + reader.quoted);
  replace();
  BOOST_TEST(ids() == "c,d");
  BOOST_TEST(query("SELECT has_sequence_privilege('" + reader.name + "', '" + table("numbers") + "', 'USAGE')::text") ==
             "true");
}

BOOST_AUTO_TEST_CASE(a_key_that_the_rows_of_a_large_table_do_not_have_is_told) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  jobs("CREATE TABLE " + table() + " (_id int, _full_text tsvector, id text NOT NULL, amount numeric, day date)");
  jobs("INSERT INTO " + table() + " (_id, id) SELECT 7, n::text FROM generate_series(1, 40000) n");
  auto const why = message_of([&] { one.settle(v, nobody_keeps); });
  BOOST_TEST(why.find("primary key orders_pkey") != std::string::npos, why);
  BOOST_TEST((is_there(parked()) && ids().starts_with("1,10,")));
  one.put_back(v);
  one.discard();
  BOOST_TEST(ids() == "a,b");
}

BOOST_AUTO_TEST_CASE(a_parent_is_told_and_stays_with_the_old_table) {
  query("CREATE TABLE " + table("base") + " (id text NOT NULL)");
  jobs("CREATE TABLE " + table() + " (n int) INHERITS (" + table("base") + ')');
  jobs("INSERT INTO " + table() + " VALUES ('a', 1)");
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  jobs("CREATE TABLE " + table() + " (id text NOT NULL, n int)");
  auto const why = message_of([&] { one.settle(v, nobody_keeps); });
  BOOST_TEST(why.find("parent " + quoted() + ".base") != std::string::npos, why);
  one.put_back(v);
  one.discard();
  BOOST_TEST(query("SELECT id FROM " + table("base")) == "a");
  // Unless the job says it, too; or it may be left behind.
  one.park(v);
  jobs("CREATE TABLE " + table() + " (n int) INHERITS (" + table("base") + ')');
  BOOST_TEST(one.settle(v, nobody_keeps).empty());
  auto other = place("orders", leaving);
  other.park(v);
  jobs("CREATE TABLE " + table() + " (id text NOT NULL, n int)");
  auto const left = other.settle(v, {});  // without a note
  BOOST_TEST_REQUIRE(left.size() == 1U);
  BOOST_TEST(left[0].what == "parent " + quoted() + ".base");
}

BOOST_AUTO_TEST_CASE(a_column_that_always_counts_does_so_in_a_table_that_is_made_of_its_note) {
  query("CREATE TABLE " + table() + " (id text, n int GENERATED ALWAYS AS IDENTITY (INCREMENT 5))");
  auto one = place();
  auto const v = *one.live();
  BOOST_TEST(v.at("columns").as_array()[1].at("identity").as_string() == "ALWAYS");
  one.park(v);
  query("DROP TABLE " + parked());
  one.put_back(v);
  BOOST_TEST(query("SELECT attidentity::text FROM pg_attribute WHERE attrelid = '" + table() +
                   "'::regclass AND attname = 'n'") == "a");
}

BOOST_AUTO_TEST_CASE(a_note_that_tells_of_no_table_makes_none) {
  auto one = place();
  for (note const& of_nothing : {note{}, note{{"create", "CREATE TABLE x (a int)"}}, note{{"create", {1, nullptr}}}}) {
    BOOST_TEST(code_of([&] { one.put_back(of_nothing); }) == support::os(ENOENT), json::serialize(of_nothing));
  }
  for (note const& of_nothing : {note{}, note{{"schema", "a"}}, note{{"schema", "a"}, {"name", 1}}}) {
    BOOST_TEST(code_of([&] { stash::postgres_table::name_in(of_nothing); }) == support::os(EINVAL),
               json::serialize(of_nothing));
  }
}

BOOST_AUTO_TEST_CASE(what_is_read_while_nothing_was_built_in_its_place_is_not_dropped) {
  make_plain();
  auto one = place("orders", impatient);
  auto const v = *one.live();
  one.park(v);
  reader_of dashboard{parked()};
  BOOST_TEST(code_of([&] { one.settle(v, nobody_keeps); }) == errc::busy);
  dashboard.let_go();
  one.put_back(v);
  BOOST_TEST(ids() == "a,b");
}

BOOST_AUTO_TEST_CASE(what_is_read_of_what_was_half_built_is_dropped_by_the_next) {
  make_plain();
  auto one = place("orders", impatient);
  auto const v = *one.live();
  for (int i = 0; i < 2; ++i) {
    one.park(v);
    create();
    one.put_back(v);
  }
  std::vector<std::unique_ptr<reader_of>> readers;
  std::string const doomed =
      "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname"
      " = '" +
      parked_schema() + "' AND relkind = 'r' ORDER BY c.oid";
  readers.push_back(std::make_unique<reader_of>(parked(query(doomed + " LIMIT 1"))));
  readers.push_back(std::make_unique<reader_of>(parked(query(doomed + " OFFSET 1"))));
  BOOST_TEST(code_of([&] { one.discard(); }) == errc::busy);
  BOOST_TEST(count_parked() == "2");
  for (auto const& each : readers) each->let_go();
  one.discard();
  BOOST_TEST(count_parked() == "0");
  BOOST_TEST(ids() == "a,b");
}

BOOST_AUTO_TEST_CASE(where_its_schema_gets_another_name_amid_a_commit_the_old_one_stays_parked) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  bool is_renamed = false;
  boost::system::error_code problem;
  {
    support::faulty_libpq const libpq{[&](std::string_view, std::string_view sql) {
      if (is_renamed || !sql.starts_with("SELECT c.oid::text FROM pg_class c JOIN pg_namespace")) return false;
      is_renamed = true;
      query("ALTER SCHEMA " + quoted() + " RENAME TO " + quoted(name + "_"));
      return false;
    }};
    problem = code_of([&] { one.settle(v, nobody_keeps); });
  }
  BOOST_TEST(is_renamed);
  BOOST_TEST(problem == errc::mismatch);
  query("ALTER SCHEMA " + quoted(name + "_") + " RENAME TO " + quoted());
  one.put_back(v);
  BOOST_TEST(ids() == "a,b");
}

BOOST_AUTO_TEST_CASE(a_commit_that_no_standby_has_is_tried_once_more_and_told) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  std::string const waiting = " FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'stash'";
  for (bool const is_told : {false, true}) {
    one.park(v);
    job();
    std::future<boost::system::error_code> settled;
    int cancelled = 0;
    {
      support::missing_standby const missing{query};
      settled = std::async(std::launch::async, [&] { return code_of([&] { one.settle(v, nobody_keeps); }); });
      std::string last;
      while (cancelled < 2 && settled.wait_for(std::chrono::milliseconds(5)) == std::future_status::timeout) {
        auto const now = query("SELECT max(query_start)::text" + waiting);
        if (now.empty() || now == std::exchange(last, now)) continue;
        if (++cancelled < 2 || is_told) query("SELECT count(pg_cancel_backend(pid))::text" + waiting);
      }
      if (is_told) BOOST_TEST(settled.get() == errc::indeterminate);
    }
    if (!is_told) BOOST_TEST(!settled.get().failed());
    BOOST_TEST(cancelled == 2);
    BOOST_TEST((ids() == "c,d" && !is_there(parked())));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_test
