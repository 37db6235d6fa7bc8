// A table that is built beside the live one and takes its place: what hangs on the old one is on the new one, and until
// then the old one is as it was, rows and all.
#include <atomic>
#include <random>
#include <stash/ckan/recover.hpp>
#include <thread>

#include "faulty_libpq.hpp"
#include "figures.hpp"
#include "postgres_swap_fixture.hpp"

namespace postgres_swap_test {

BOOST_FIXTURE_TEST_SUITE(postgres_swap, fixture)

BOOST_AUTO_TEST_CASE(a_first_upload_is_the_table_that_create_would_make_here) {
  query("ALTER DEFAULT PRIVILEGES IN SCHEMA " + quoted() + " GRANT SELECT ON TABLES TO " + reader.quoted);
  d.create("plain", headers);
  d.finish("plain");
  reload("");
  auto const of = [&](std::string const& one) {
    std::string text = query("SELECT relacl::text FROM pg_class WHERE oid = '" + table(one) + "'::regclass");
    return text + query(
                      "SELECT string_agg(a::text, ',') FROM (SELECT attname, attnum, format_type(atttypid, atttypmod),"
                      " attnotnull FROM pg_attribute WHERE attnum > 0 AND attrelid = '" +
                      table(one) +
                      "'::regclass ORDER BY"
                      " attnum) a");
  };
  BOOST_TEST(of("orders") == of("plain"));
  BOOST_TEST(of("orders").find("reader") != std::string::npos);
  BOOST_TEST(query("SELECT pg_get_serial_sequence('" + table() + "', '_id')") == quoted() + ".orders__id_seq");
  auto const keys = [&](std::string const& one) {
    return query("SELECT string_agg(replace(indexdef, '" + one + "', 'it'), ';') FROM pg_indexes WHERE tablename = '" +
                 one + "' AND schemaname = '" + name + "'");
  };
  BOOST_TEST((keys("orders") == keys("plain") && keys("plain").find("it_pkey") != std::string::npos), keys("orders"));
}

BOOST_AUTO_TEST_CASE(after_ten_reloads_all_that_hangs_on_the_table_is_as_it_was) {
  make();
  hang_all_on_it();
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  auto const before = dump();
  for (int i = 0; i < 10; ++i) BOOST_TEST(reload(other_rows).left_behind.empty());
  BOOST_TEST(difference(before, dump()) == "");
  std::string const s = quoted() + '.';
  BOOST_TEST(query("SELECT string_agg(id || double_amount, ',' ORDER BY id) FROM " + s + "alias") == "c6,d8");
  BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + s + "over") == "c,d");
  BOOST_TEST(query("SELECT sum(n)::text FROM " + s + "counted") == "2");
  BOOST_TEST(query("SELECT " + s + "how_many()::text") == "2");
  BOOST_TEST(query("SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE"
                   " relname LIKE 'stash: replaced%' OR nspname LIKE 'stash_beside_%'") == "0");
  BOOST_TEST(query("SELECT (reltuples = 2)::text FROM pg_class WHERE oid = '" + table() + "'::regclass") == "true");
}

BOOST_AUTO_TEST_CASE(a_failure_before_the_swap_leaves_all_untouched) {
  make();
  hang_all_on_it();
  auto const before = content();
  auto const is_refused = [&](ckan::fields const& fields, std::string const& csv) {
    auto const problem = support::code_of_any([&] { ckan::reload(d, store, "orders", fields, loading(d, csv)); });
    BOOST_TEST(difference(before, content()) == "");
    BOOST_TEST(query("SELECT count(*)::text FROM pg_tables WHERE schemaname LIKE 'stash_beside_%'") == "0");
    return problem;
  };
  BOOST_TEST(is_refused({{"xmin", "text", std::nullopt}}, "") == sqlstate("42701"));
  BOOST_TEST(is_refused({{"a", "no type", std::nullopt}}, "") == sqlstate("42601"));
  ckan::fields many;
  for (int i = 0; i < 1598; ++i) many.push_back({"c" + std::to_string(i), "numeric(1000)", std::nullopt});
  many.push_back({"one more", "text", std::nullopt});
  BOOST_TEST(is_refused(many, "") == errc::mismatch);
  std::string csv;
  for (int i = 0; i < 10000; ++i) csv += "x,1,2026-11-22\n";
  BOOST_TEST(is_refused(headers, csv + "y,no number,2026-11-22\n") == sqlstate("22P02"));
  BOOST_TEST(is_refused(headers, "z,1,2026-11-22,too many\n") == sqlstate("22P04"));
  BOOST_TEST(is_refused(headers, "a,-1,2026-11-22\n") == errc::mismatch);  // the check constraint would not hold
  query("CREATE FUNCTION " + quoted() +
        ".no() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not here''; END'");
  query("CREATE EVENT TRIGGER stash_test ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION " +
        quoted() + ".no()");
  auto const problem = support::code_of_any([&] { reload(other_rows); });
  query("DROP EVENT TRIGGER stash_test");
  query("DROP FUNCTION " + quoted() + ".no()");
  BOOST_TEST(problem == sqlstate("P0001"));
  BOOST_TEST(difference(before, content()) == "");
  reload(other_rows);
  BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + table()) == "c,d");
}

BOOST_AUTO_TEST_CASE(a_role_that_may_not_is_told_before_anything_happens) {
  make();
  auto const before = content();
  bool is_loaded = false;
  auto const problem = [&] {
    ckan::postgres_datastore other{support::info("user='" + reader.name + '\''), {.schema = name}};
    return message_of([&] { ckan::reload(other, store, "orders", headers, [&](auto const&) { is_loaded = true; }); });
  };
  auto const is_told = [&](char const* what) {
    auto const said = problem();
    BOOST_TEST(said.find(what) != std::string::npos, said);
  };
  query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + reader.quoted);
  is_told("CREATE SCHEMA");
  query("CREATE SCHEMA " + beside(reader.name) + " AUTHORIZATION " + reader.quoted);
  is_told("may not replace it");
  query("ALTER TABLE " + table() + " OWNER TO " + reader.quoted);
  query("REVOKE CREATE ON SCHEMA " + quoted() + " FROM " + reader.quoted);
  is_told("may not make tables in schema");
  query("ALTER TABLE " + table() + " OWNER TO postgres");
  BOOST_TEST(!is_loaded);
  query("REVOKE ALL ON SCHEMA " + quoted() + " FROM " + reader.quoted);
  BOOST_TEST(difference(before, content()) == "");
}

BOOST_AUTO_TEST_CASE(a_first_table_that_ckans_roles_could_not_use_is_refused) {
  query("CREATE VIEW " + table("_table_metadata") + " AS SELECT 1 AS x");
  query("ALTER VIEW " + table("_table_metadata") + " OWNER TO " + owner.quoted);
  query("GRANT SELECT ON " + table("_table_metadata") + " TO " + reader.quoted);
  BOOST_TEST(message_of([&] { reload(other_rows); }).find("could not change one of role postgres") !=
             std::string::npos);
  query("ALTER VIEW " + table("_table_metadata") + " OWNER TO postgres");
  BOOST_TEST(message_of([&] { reload(other_rows); }).find("role " + reader.name + " reads CKAN's tables") !=
             std::string::npos);
  BOOST_TEST(query("SELECT to_regclass('" + table() + "')::text") == "");
  query("ALTER DEFAULT PRIVILEGES IN SCHEMA " + quoted() + " GRANT SELECT ON TABLES TO " + reader.quoted);
  reload(other_rows);
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_carried_over_stops_the_swap_or_is_left_behind_and_set_aside) {
  make();
  std::string const s = quoted() + '.', t = table();
  query("ALTER TABLE " + t + " ADD extra int");
  query("CREATE INDEX on_extra ON " + t + " (extra)");
  query("CREATE VIEW " + s + "of_extra AS SELECT extra FROM " + t);
  query("CREATE MATERIALIZED VIEW " + s + "counted AS SELECT extra FROM " + t);
  query("GRANT SELECT (extra) ON " + t + " TO " + reader.quoted);
  query("CREATE TABLE " + s + "child (ref int REFERENCES " + t + ")");
  query("INSERT INTO " + s + "child SELECT _id FROM " + t);
  query("CREATE POLICY p ON " + t + " USING (extra > 0)");
  query("CREATE FUNCTION " + s + "rows() RETURNS SETOF " + t + " LANGUAGE plpgsql AS 'BEGIN END'");
  auto const before = content();
  auto const why = message_of([&] { reload(""); });
  for (char const* const what : {"index on_extra", "view", "of_extra", "materialized view", "grant", "foreign key",
                                 "policy p", "function", "column \"extra\""}) {
    BOOST_TEST(why.find(what) != std::string::npos, what << " in " << why);
  }
  BOOST_TEST(difference(before, content()) == "");
  std::vector<std::string> told;
  auto const hear = [&](stash::event const& e) {
    if (e.kind == stash::event_kind::committed) told.push_back(stash::detail::line_of(e));
  };
  auto const report = reload("", {.guard = {.observer = hear}, .leave_behind = true});
  BOOST_TEST(report.left_behind.size() == 7U);
  BOOST_TEST_REQUIRE(told.size() == 1U);
  for (auto const& one : report.left_behind) BOOST_TEST(told[0].find(one.what) != std::string::npos, told[0]);
  BOOST_TEST(d.rows("orders") == 0U);
  BOOST_TEST(query("SELECT to_regclass('" + s + "of_extra')::text") == "");
  auto const aside = store.set_aside_entries();
  BOOST_TEST_REQUIRE(aside.size() == 1U);
  auto const kept = json::parse(payload_of(aside[0])).at("_left_behind").as_array();
  BOOST_TEST(kept.size() == report.left_behind.size());
  for (std::size_t i = 0; i < kept.size(); ++i) BOOST_TEST(kept[i].at("ddl").as_string() == report.left_behind[i].ddl);
  BOOST_TEST(report.left_behind[0].ddl.find(' ') != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_no_table_could_replace_is_refused_before_the_load) {
  make();
  query("CREATE TABLE " + quoted() + ".holder (one " + table() + ")");
  bool is_loaded = false;
  BOOST_TEST(code_of([&] { ckan::reload(d, store, "orders", headers, [&](auto const&) { is_loaded = true; }); }) ==
             errc::mismatch);
  BOOST_TEST(!is_loaded);
}

BOOST_AUTO_TEST_CASE(what_is_typed_meanwhile_is_on_the_new_table) {
  make();
  auto const comment_of = [&](std::string const& column) {
    return query("SELECT coalesce(col_description(attrelid, attnum), '-') FROM pg_attribute WHERE attrelid = '" +
                 table() + "'::regclass AND attname = '" + column + "'");
  };
  auto fields = headers;
  fields[0].info = json::object{{"label", "the job's own"}};
  auto const report = ckan::reload(d, store, "orders", fields, [&](ckan::fields const& created) {
    query("COMMENT ON COLUMN " + table() + ".amount IS 'typed meanwhile'");
    query("COMMENT ON COLUMN " + table() + ".day IS NULL");
    query("COMMENT ON COLUMN " + table() + "._id IS 'numbers'");
    query("COMMENT ON TABLE " + table() + " IS 'newer'");
    loading(d, other_rows)(created);
  });
  BOOST_TEST(report.unplaced.empty());
  BOOST_TEST(comment_of("id") == " {\"_info\":{\"label\":\"the job's own\"}}");
  BOOST_TEST(comment_of("amount") == "typed meanwhile");
  BOOST_TEST(comment_of("day") == "-");
  BOOST_TEST(comment_of("_id") == "numbers");
  BOOST_TEST(query("SELECT obj_description('" + table() + "'::regclass, 'pg_class')") == "newer");
  // What has no column any more is set aside as it was typed last.
  ckan::reload(d, store, "orders", {{"id", "text", std::nullopt}}, [&](ckan::fields const&) {
    query("COMMENT ON COLUMN " + table() + ".amount IS 'typed at the last moment'");
  });
  auto const aside = store.set_aside_entries();
  BOOST_TEST_REQUIRE(aside.size() == 1U);
  BOOST_TEST(payload_of(aside[0]).find("typed at the last moment") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(no_word_that_was_acknowledged_is_lost_however_it_falls) {
  make();
  int const reloads = support::is_long() ? 1000 : 25;
  std::atomic<bool> is_over{false};
  std::atomic<int> lost{0}, typed{0};
  std::thread person{[&] {
    client other{server() + "?application_name=person"};
    std::mt19937 random{7};
    while (!is_over) {
      std::string const text = "word " + std::to_string(++typed);
      bool const is_slow = random() % 5 == 0;
      try {
        if (is_slow) other("BEGIN");
        other("COMMENT ON COLUMN " + table() + ".amount IS '" + text + '\'');
        if (is_slow) std::this_thread::sleep_for(std::chrono::milliseconds(random() % (typed % 50 == 0 ? 3000 : 100)));
        if (is_slow) other("COMMIT");
      } catch (stash::error const&) {  // the table went while we waited for it: not acknowledged
        if (is_slow) other("ROLLBACK");
        continue;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));
      // Twice: the server may look a table's number up just before a swap, and what has that number just after it.
      auto const is_there = [&] {
        return other(
                   "SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attname = 'amount' AND attrelid"
                   " = '" +
                   table() + "'::regclass") == text;
      };
      lost += !is_there() && !is_there();
    }
  }};
  for (int i = 0; i < reloads; ++i) reload(other_rows);
  is_over = true;
  person.join();
  BOOST_TEST(lost == 0);
  BOOST_TEST(typed > reloads / 2);
  support::figure("postgresql", "words typed while " + std::to_string(reloads) + " reloads ran",
                  static_cast<std::uint64_t>(typed), static_cast<std::uint64_t>(lost));
}

BOOST_AUTO_TEST_CASE(a_lock_of_anothers_is_waited_for_without_keeping_readers_waiting) {
  make();
  int const rows = support::is_long() ? 1'000'000 : 1000;
  auto const how_long = support::is_long() ? 75s : 2s;
  client other{server() + "?application_name=dashboard"};
  std::vector<std::string> told;
  std::chrono::steady_clock::time_point start;
  std::thread letting_go;
  auto const load = [&](ckan::fields const& created) {
    ckan::postgres_datastore::loader loader{d, "orders", created};
    for (int i = 0; i < rows; ++i) loader.add_csv("a name of some length," + std::to_string(i) + ",2026-11-24\n");
    loader.finish();
    other("BEGIN");
    other("LOCK TABLE " + table() + " IN ACCESS SHARE MODE");
    start = std::chrono::steady_clock::now();
    letting_go = std::thread{[&] {
      std::this_thread::sleep_for(how_long);
      other("COMMIT");
    }};
  };
  std::atomic<bool> is_over{false};
  std::atomic<std::int64_t> longest{0};
  std::thread reading{[&] {
    client query_of_another{server() + "?application_name=reader"};
    while (!is_over) {
      auto const began = std::chrono::steady_clock::now();
      query_of_another("SELECT id FROM " + table() + " LIMIT 1");
      auto const took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
      longest = std::max<std::int64_t>(longest, took.count());
      std::this_thread::sleep_for(20ms);
    }
  }};
  ckan::reload(d, store, "orders", headers, load, {.waiting = [&](std::string const& who) { told.push_back(who); }});
  is_over = true;
  letting_go.join();
  reading.join();
  BOOST_TEST((std::chrono::steady_clock::now() - start >= how_long));
  BOOST_TEST(d.rows("orders") == static_cast<std::uint64_t>(rows));
  BOOST_TEST_REQUIRE(told.size() >= 1U);
  BOOST_TEST(told[0].find("dashboard") != std::string::npos);
  BOOST_TEST(longest < 1000);
  BOOST_TEST_MESSAGE("a reader waited " << longest << " ms at most");
}

BOOST_AUTO_TEST_CASE(a_lock_that_is_never_let_go_ends_the_reload_with_all_as_it_was) {
  make();
  auto const before = content();
  client other{server() + "?application_name=dashboard"};
  other("BEGIN");
  other("LOCK TABLE " + table() + " IN ACCESS SHARE MODE");
  auto const why = message_of([&] { reload(other_rows, {.guard = {.observer = stash::silent}, .patience = 300ms}); });
  BOOST_TEST(why.find("dashboard") != std::string::npos);
  other("COMMIT");
  BOOST_TEST(difference(before, content()) == "");
  query("COMMENT ON COLUMN " + table() + ".id IS 'typed while it waited'");
  ckan::postgres_datastore later{server(), {.schema = name}};
  BOOST_TEST(ckan::finish_reload(later, store, "orders").left_behind.empty());
  BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + table()) == "c,d");
  BOOST_TEST(later.describe("orders")->at(0).comment.value_or("") == "typed while it waited");
  BOOST_TEST(code_of([&] { ckan::finish_reload(later, store, "orders"); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(rows_that_others_add_meanwhile_stop_the_swap_or_are_told) {
  make();
  auto const reload_while = [&](std::string const& others, ckan::reload_options const& options = {}) {
    return ckan::reload(
        d, store, "orders", headers,
        [&](ckan::fields const& created) {
          loading(d, other_rows)(created);
          query(others);
        },
        options);
  };
  std::string const add = "INSERT INTO " + table() + " (id, day) VALUES ('late', '2026-11-01')";
  BOOST_TEST(message_of([&] { reload_while(add); }).find("1 row (added since") != std::string::npos);
  BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY _id) FROM " + table()) == "a,b,late");
  std::string told;
  ckan::reload_options letting_go{.leave_behind = true};
  letting_go.guard.observer = [&](stash::event const& e) {
    if (e.kind == stash::event_kind::committed) told = message_of([&] { std::rethrow_exception(e.error); });
  };
  auto const report = reload_while(add, letting_go);
  BOOST_TEST_REQUIRE(report.left_behind.size() == 1U);
  BOOST_TEST(report.left_behind[0].what == "1 row");
  BOOST_TEST(told.find("1 row (added since") != std::string::npos);
  // Who takes rows away adds none.
  reload_while("DELETE FROM " + table());
  BOOST_TEST(d.rows("orders") == 2U);
  // Another object that ends the reload sees them, too.
  client locking{server() + "?application_name=dashboard"};
  locking("BEGIN");
  locking("LOCK TABLE " + table() + " IN ACCESS SHARE MODE");
  BOOST_TEST(code_of([&] { reload(other_rows, {.patience = 100ms, .waiting = [](auto const&) {}}); }) == errc::busy);
  locking("COMMIT");
  query(add);
  ckan::postgres_datastore later{server(), {.schema = name}};
  BOOST_TEST(message_of([&] { ckan::finish_reload(later, store, "orders"); }).find("1 row") != std::string::npos);
  BOOST_TEST(d.rows("orders") == 3U);
  BOOST_TEST(ckan::finish_reload(later, store, "orders", {.leave_behind = true}).left_behind.size() == 1U);
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(a_second_reload_by_another_stash_is_told_and_harms_nothing) {
  make();
  stash::memory_stash another;
  ckan::postgres_datastore second{server(), {.schema = name}};
  reload(other_rows);
  ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
    BOOST_TEST(code_of([&] { ckan::reload(second, another, "orders", headers, [](auto const&) {}); }) == errc::busy);
    loading(d, other_rows)(created);
    second.discard("orders");  // it is not its own
  });
  BOOST_TEST(d.rows("orders") == 2U);
  ckan::reload(second, another, "orders", headers, loading(second, "x,1,2026-11-22\n"));
  BOOST_TEST(d.rows("orders") == 1U);
}

BOOST_AUTO_TEST_CASE(what_a_killed_reload_built_is_removed_by_the_next) {
  make();
  auto const before = content();
  in_a_process_that_is_killed([&](ckan::postgres_datastore& one) {
    one.build("orders", headers);
    loading(one, other_rows)(headers);
  });
  BOOST_TEST(difference(before, content()) == "");
  BOOST_TEST(query("SELECT count(*)::text FROM pg_tables WHERE schemaname LIKE 'stash_beside_%'") == "1");
  reload("x,1,2026-11-22\n");
  BOOST_TEST(d.rows("orders") == 1U);
  BOOST_TEST(query("SELECT count(*)::text FROM pg_tables WHERE schemaname LIKE 'stash_beside_%'") == "0");
}

BOOST_AUTO_TEST_CASE(a_load_that_was_not_finished_is_not_swapped) {
  make();
  auto const before = content();
  BOOST_TEST(code_of([&] {
               ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
                 ckan::postgres_datastore::loader rows{d, "orders", created};
                 rows.add(row{"c", "3", std::nullopt});
               });
             }) == errc::mismatch);
  BOOST_TEST(difference(before, content()) == "");
  BOOST_TEST(code_of([&] { d.swap_in("orders"); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(rows_go_where_the_job_that_loads_them_means) {
  make();
  ckan::postgres_datastore other{server(), {.schema = name}};
  BOOST_TEST(message_of([&] {
               ckan::reload(d, store, "orders", headers, loading(other, other_rows));
             }).find("2 rows (added since the new table was begun") != std::string::npos);
  BOOST_TEST(d.rows("orders") == 4U);
  // A reload that gave up at its swap takes no rows of another.
  client locking{server() + "?application_name=dashboard"};
  locking("BEGIN");
  locking("LOCK TABLE " + table() + " IN ACCESS SHARE MODE");
  auto const hurried = [&] { reload(other_rows, {.patience = 100ms, .waiting = [](auto const&) {}}); };
  BOOST_TEST(code_of(hurried) == errc::busy);
  locking("COMMIT");
  reload("x,1,2026-11-22\n", {.keep = ckan::keep::words});
  BOOST_TEST(d.rows("orders") == 1U);
  // Nor does a loader go on in what another has built since.
  d.build("orders", headers);
  ckan::postgres_datastore::loader mine{d, "orders", headers};
  query("SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE application_name = 'stash'");
  ckan::postgres_datastore second{server(), {.schema = name}};
  second.build("orders", headers);
  BOOST_TEST(code_of([&] { mine.add_csv(other_rows); }));
  BOOST_TEST(code_of([&] { ckan::postgres_datastore::loader{d, "orders", headers}; }) == errc::mismatch);
  loading(second, "y,1,2026-11-22\n")(headers);
  second.swap_in("orders");
  BOOST_TEST(query("SELECT string_agg(id, ',') FROM " + table()) == "y");
  BOOST_TEST(d.leftovers().empty());
}

BOOST_AUTO_TEST_CASE(nobody_sees_through_what_is_built_what_row_security_hides) {
  make();
  query("ALTER TABLE " + table() + " ENABLE ROW LEVEL SECURITY");
  query("ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO PUBLIC");
  query("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC");
  query("DROP SCHEMA " + beside());
  bool is_hidden = false;
  ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
    loading(d, other_rows)(created);
    client other{support::info("user='" + reader.name + '\'')};
    is_hidden = code_of([&] { other("SELECT count(*)::text FROM " + beside() + ".orders"); }) == sqlstate("42501");
  });
  query("ALTER DEFAULT PRIVILEGES REVOKE USAGE ON SCHEMAS FROM PUBLIC");
  query("ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC");
  BOOST_TEST(is_hidden);
}

BOOST_AUTO_TEST_CASE(a_schema_of_anothers_is_not_built_in) {
  make();
  query("DROP SCHEMA " + beside());
  query("CREATE SCHEMA " + beside() + " AUTHORIZATION " + reader.quoted);
  BOOST_TEST(message_of([&] { reload(other_rows); }).find("is role " + reader.name + "'s") != std::string::npos);
  query("DROP SCHEMA " + beside());
}

BOOST_AUTO_TEST_CASE(what_an_owner_wrote_runs_as_the_owner) {
  make();
  query("CREATE TABLE " + quoted() + ".ran_as (who text)");
  query("GRANT INSERT, SELECT ON " + quoted() + ".ran_as TO PUBLIC");
  query("GRANT USAGE ON SCHEMA " + quoted() + " TO PUBLIC");
  query("CREATE FUNCTION " + quoted() + ".tell() RETURNS void LANGUAGE sql AS $$ INSERT INTO " + quoted() +
        ".ran_as VALUES (current_user) $$");
  query("CREATE FUNCTION " + quoted() + ".lie(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM " +
        quoted() + ".tell(); RETURN $1; END $$");
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  query("CREATE INDEX by_lie ON " + table() + " (" + quoted() + ".lie(id))");
  query("CREATE MATERIALIZED VIEW " + quoted() + ".m AS SELECT " + quoted() + ".lie(id) FROM " + table());
  query("ALTER MATERIALIZED VIEW " + quoted() + ".m OWNER TO " + owner.quoted);
  query("ALTER TABLE " + table() + " ADD CONSTRAINT lying CHECK (" + quoted() + ".lie(id) <> '')");
  query("ALTER TABLE " + table() + " ADD lied text GENERATED ALWAYS AS (" + quoted() + ".lie(id)) STORED");
  query("TRUNCATE " + quoted() + ".ran_as");
  reload(other_rows);
  BOOST_TEST(query("SELECT string_agg(DISTINCT who, ',') FROM " + quoted() + ".ran_as") == owner.name);
}

BOOST_AUTO_TEST_CASE(what_is_granted_or_revoked_amid_the_swap_counts) {
  make();
  query("GRANT SELECT (day) ON " + table() + " TO " + reader.quoted);
  query("CREATE MATERIALIZED VIEW " + quoted() + ".slow AS SELECT count(*), pg_sleep(0.3)::text FROM " + table());
  std::thread person{[&] {
    client other{server() + "?application_name=person"};
    while (other("SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE '%REFRESH%' AND application_name ="
                 " 'stash'") == "0") {
      std::this_thread::sleep_for(1ms);
    }
    other("REVOKE SELECT (day) ON " + table() + " FROM " + reader.quoted);
  }};
  reload(other_rows);
  person.join();
  BOOST_TEST(query("SELECT has_column_privilege('" + reader.name + "', '" + table() + "', 'day', 'SELECT')::text") ==
             "false");
}

BOOST_AUTO_TEST_CASE(a_cancelled_statement_is_no_reason_to_leave_something_behind) {
  make();
  query("CREATE FUNCTION " + quoted() +
        ".slow(text) RETURNS text IMMUTABLE LANGUAGE sql AS"
        " $$ SELECT CASE WHEN pg_sleep(0.4) IS NULL THEN $1 ELSE $1 END $$");
  query("CREATE INDEX keep_me ON " + table() + " (" + quoted() + ".slow(id))");
  std::thread person{[&] {
    client other{server() + "?application_name=person"};
    while (other("SELECT count(pg_cancel_backend(pid))::text FROM pg_stat_activity WHERE query LIKE '%CREATE INDEX%'"
                 " AND application_name = 'stash'") == "0") {
      std::this_thread::sleep_for(1ms);
    }
  }};
  BOOST_TEST(code_of([&] { reload(other_rows, {.leave_behind = true}); }) == sqlstate("57014"));
  person.join();
  BOOST_TEST(query("SELECT to_regclass('" + quoted() + ".keep_me')::text") != "");
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(words_that_were_typed_meanwhile_are_newer_than_those_of_a_reload_that_failed) {
  make();
  query("CREATE FUNCTION " + quoted() + ".f(" + table() + ") RETURNS int LANGUAGE sql AS 'SELECT 1'");
  std::vector<stash::event_kind> told;
  auto const hear = [&](stash::event const& e) { told.push_back(e.kind); };
  BOOST_TEST(code_of([&] {
               ckan::reload(d, store, "orders", headers,
                            [&](ckan::fields const&) {
                              query("COMMENT ON COLUMN " + table() + ".day IS ' {\"_info\":{\"label\":\"newer\"}}'");
                            },
                            {.guard = {.observer = hear}});
             }) == errc::mismatch);
  BOOST_TEST((told == std::vector{stash::event_kind::saved, stash::event_kind::restored}));
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(recover_removes_what_was_built_for_a_table_without_words) {
  reload(other_rows);
  in_a_process_that_is_killed([&](ckan::postgres_datastore& one) { one.build("orders", headers); });
  BOOST_TEST((d.leftovers() == std::vector<std::string>{"orders"}));
  ckan::recover(d, store);
  BOOST_TEST(d.leftovers().empty());
}

BOOST_AUTO_TEST_CASE(what_cannot_be_made_as_it_was_is_refused_before_the_load) {
  make();
  bool is_loaded = false;
  auto const is_refused = [&](std::vector<std::string> const& with, std::vector<std::string> const& without) {
    for (auto const& sql : with) query(sql);
    auto const why = message_of([&] {
      ckan::reload(d, store, "orders", headers, [&](auto const&) { is_loaded = true; },
                   {.guard = {.observer = stash::silent}, .leave_behind = true});
    });
    for (auto const& sql : without) query(sql);
    return why.find("cannot be made anew") != std::string::npos;
  };
  std::string const t = table(), s = quoted() + '.';
  BOOST_TEST(is_refused({"CREATE TABLE " + s + "kid () INHERITS (" + t + ")"}, {"DROP TABLE " + s + "kid"}));
  BOOST_TEST(is_refused({"CREATE TABLE " + s + "mum ()", "ALTER TABLE " + t + " INHERIT " + s + "mum"},
                        {"ALTER TABLE " + t + " NO INHERIT " + s + "mum"}));
  BOOST_TEST(is_refused({"ALTER TABLE " + t + " ADD n int GENERATED ALWAYS AS IDENTITY (INCREMENT 5)"},
                        {"ALTER TABLE " + t + " DROP n"}));
  BOOST_TEST(
      is_refused({"CREATE SEQUENCE " + s + "own", "ALTER TABLE " + t + " ALTER _id SET DEFAULT nextval('" + s + "own')",
                  "DROP SEQUENCE " + s + "orders__id_seq"},
                 {}));
  BOOST_TEST(!is_loaded);
}

BOOST_AUTO_TEST_CASE(the_key_keeps_its_type) {
  make();
  query("ALTER TABLE " + table() + " ALTER _id TYPE bigint");
  auto const before = dump();
  reload(other_rows);
  BOOST_TEST(difference(before, dump()) == "");
}

/// What datastore_create makes for `primary_key`, `indexes`, `aliases` and a search, and what datastore_upsert and
/// datastore_search make of it (CKAN 2.11, ckanext/datastore/backend/postgres.py).
BOOST_AUTO_TEST_CASE(what_ckan_does_with_a_table_works_after_a_reload) {
  query("CREATE FUNCTION " + quoted() +
        ".populate_full_text_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW._full_text IS NULL THEN"
        " NEW._full_text := to_tsvector('simple', concat_ws(' ', NEW.id, NEW.amount, NEW.day)); END IF; RETURN NEW;"
        " END $$");
  std::string many;
  for (int i = 0; i < 20'000; ++i) many += "station" + std::to_string(i) + ',' + std::to_string(i) + ",2026-11-22\n";
  reload(many);
  query("CREATE INDEX \"0001\" ON " + table() + " USING gist (_full_text)");
  query("CREATE UNIQUE INDEX \"0002\" ON " + table() + " (id, day)");
  query("CREATE INDEX \"0003\" ON " + table() + " (amount)");
  query("CREATE VIEW " + table("alias") + " AS SELECT * FROM " + table());
  for (int i = 0; i < 2; ++i) reload(many);
  std::string const search = " WHERE _full_text @@ plainto_tsquery('simple', 'station777')";
  std::string plan;
  {
    stash::detail::operation const op{"explain", "orders"};
    stash::detail::postgres_connection db{server(), op, stash::detail::deadline_in(30s)};
    auto const found = db.run("EXPLAIN SELECT * FROM " + table() + search, {}, op, stash::detail::deadline_in(30s));
    for (int i = 0; i < found.rows(); ++i) plan += found.text(i, 0) + '\n';
  }
  BOOST_TEST((plan.find("0001") != std::string::npos && plan.find("Seq Scan") == std::string::npos), plan);
  BOOST_TEST(query("SELECT string_agg(id, ',') FROM " + table("alias") + search) == "station777");
  std::string const unique = query(
      "SELECT string_agg(a.attname, ',' ORDER BY a.attnum) FROM pg_index i JOIN pg_attribute a ON a.attrelid ="
      " i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indisunique AND NOT i.indisprimary AND i.indrelid = '" +
      table() + "'::regclass");
  BOOST_TEST(unique == "id,day");
  auto const upsert = [&](std::string const& id, std::string const& amount) {
    std::string const key = " WHERE (id, day) = ('" + id + "', '2026-11-22')";
    query("UPDATE " + table() + " SET (id, amount, day, _full_text) = ('" + id + "', " + amount +
          ", '2026-11-22', NULL)" + key);
    query("INSERT INTO " + table() + " (id, amount, day) SELECT '" + id + "', " + amount +
          ", '2026-11-22' WHERE NOT EXISTS (SELECT 1 FROM " + table() + key + ')');
  };
  upsert("station777", "-1");
  upsert("another", "-2");
  BOOST_TEST(query("SELECT string_agg(id || amount, ',' ORDER BY amount) FROM " + table("alias") +
                   " WHERE amount < 0") == "another-2,station777-1");
  BOOST_TEST(query("SELECT max(_id)::text FROM " + table()) == "20001");
  BOOST_TEST(code_of([&] { query("INSERT INTO " + table() + " (id, day) VALUES ('another', '2026-11-22')"); }) ==
             sqlstate("23505"));
}

BOOST_AUTO_TEST_CASE(ckans_count_of_rows_is_forgotten) {
  make();
  query("CREATE TABLE " + table("_table_stats") + " (resource_id text, count bigint)");
  query("INSERT INTO " + table("_table_stats") + " VALUES ('orders', 2), ('others', 7)");
  reload(other_rows);
  BOOST_TEST(query("SELECT string_agg(resource_id, ',') FROM " + table("_table_stats")) == "others");
  query("INSERT INTO " + table("_table_stats") + " VALUES ('orders', 2)");
  reload(other_rows, {.keep = ckan::keep::words});
  BOOST_TEST(query("SELECT string_agg(resource_id, ',') FROM " + table("_table_stats")) == "others");
}

/// The table has the old rows or the new ones, and the words, and what hung on it.
BOOST_AUTO_TEST_CASE(whichever_call_of_libpq_fails_the_table_is_the_old_one_or_the_new_one) {
  make();
  query("CREATE INDEX by_day ON " + table() + " (day)");
  query("CREATE VIEW " + quoted() + ".alias AS SELECT * FROM " + table());
  query("GRANT SELECT ON " + table() + " TO " + reader.quoted);
  auto const structure = dump();
  auto const stride = static_cast<std::size_t>(support::stride());
  std::size_t tried = 0, bad = 0, failed = 0;
  for (bool has_failed = true; has_failed; tried += stride) {
    stash::memory_stash own;
    ckan::reload(d, own, "orders", headers, loading(d, "a,1,2026-11-22\n"));
    std::optional<ckan::postgres_datastore> one;
    one.emplace(server(), ckan::postgres_datastore_options{.schema = name});
    has_failed = false;
    std::size_t calls = 0;
    boost::system::error_code problem;
    {
      support::faulty_libpq const libpq{[&](std::string_view call, std::string_view) {
        if (call == support::rest_to_flush) return false;
        bool const fails = calls++ == tried;
        has_failed = has_failed || fails;
        return fails;
      }};
      problem = support::code_of_any([&] {
        ckan::reload(*one, own, "orders", headers, loading(*one, other_rows), {.guard = {.observer = stash::silent}});
      });
    }
    one.reset();
    auto const rows = query("SELECT string_agg(id, ',' ORDER BY id) FROM " + table());
    auto const words = ckan::detail::words_of(d, "orders");
    bool const is_whole =
        (rows == "a" || rows == "c,d") && (problem || rows == "c,d") && words && words->contains("day");
    BOOST_TEST_INFO("call " << tried << " fails: " << problem.message() << ", rows " << rows);
    BOOST_TEST(is_whole);
    bad += !is_whole;
    failed += problem.failed();
    if (tried % 20 == 0) BOOST_TEST(dump() == structure);
  }
  BOOST_TEST(failed * stride > 100U);
  support::figure("every call fails", "each call of libpq by a swap", tried / stride, bad);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_swap_test
