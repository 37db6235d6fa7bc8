// A table of PostgreSQL as a place: what hangs on the old one is on the new one that somebody's job has made, and where
// that fails the old one is back, rows and all.
#include "faulty_libpq.hpp"
#include "postgres_place_fixture.hpp"

namespace postgres_place_test {

BOOST_FIXTURE_TEST_SUITE(postgres_place, fixture)

BOOST_AUTO_TEST_CASE(after_ten_guards_all_that_hangs_on_the_table_is_as_it_was) {
  make();
  hang_all_on_it();
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  auto const before = dump();
  for (int i = 0; i < 10; ++i) {
    replace();
    BOOST_TEST(difference(before, dump()) == "");
  }
  std::string const s = quoted() + '.';
  BOOST_TEST(query("SELECT string_agg(id || double_amount, ',' ORDER BY id) FROM " + s + "alias") == "c6,d8");
  BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + s + "over") == "c,d");
  BOOST_TEST(query("SELECT sum(n)::text FROM " + s + "counted") == "2");
  BOOST_TEST(query("SELECT " + s + "how_many()::text") == "2");
  BOOST_TEST(count_parked() == "0");
  BOOST_TEST(query("SELECT count(*)::text FROM pg_namespace WHERE nspname LIKE 'stash_built_%'") == "0");
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(a_job_that_fails_gives_all_back_that_stood_there) {
  make();
  hang_all_on_it();
  auto const before = content();
  for (int step = 0; step < 4; ++step) {
    try {
      auto guard = guarded();
      if (step > 0) drop();
      if (step > 1) create();
      if (step > 2) copy();
      BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + table("alias")) == "a,b");
      throw std::runtime_error("as it was told to");
    } catch (std::runtime_error const&) {
    }
    BOOST_TEST(difference(before, content()) == "");
    BOOST_TEST(count_parked() == "0");
  }
}

BOOST_AUTO_TEST_CASE(what_the_jobs_create_says_is_as_it_says) {
  make_plain();
  query("ALTER TABLE " + table() +
        " ALTER id SET DEFAULT 'none', ADD CONSTRAINT positive CHECK (amount > 0), ADD gone int");
  query("ALTER TABLE " + table() + " ADD UNIQUE (id)");
  query("COMMENT ON COLUMN " + table() + ".id IS 'typed'");
  query("COMMENT ON COLUMN " + table() + ".day IS 'typed'");
  query("COMMENT ON TABLE " + table() + " IS 'typed'");
  {
    auto guard = guarded();
    drop();
    jobs("CREATE TABLE " + table() +
         " (_id bigint GENERATED ALWAYS AS IDENTITY, id varchar(9) COLLATE \"C\" PRIMARY KEY, amount int DEFAULT 7 "
         "CONSTRAINT"
         " positive CHECK (amount >= 0), day timestamp NOT NULL DEFAULT now()) WITH (fillfactor = 50)");
    jobs("INSERT INTO " + table() + " (id, amount) VALUES ('zero', 0)");
    jobs("COMMENT ON COLUMN " + table() + ".day IS 'the job''s'");
    guard.commit();
  }
  BOOST_TEST(
      query("SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attidentity,"
            " pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)), '; ' ORDER BY attnum) FROM"
            " pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0 AND"
            " attrelid = '" +
            table() + "'::regclass") ==
      "_id bigint t a; id character varying(9) t  typed; amount integer f  7; day timestamp without time zone t "
      " now() the job's");
  BOOST_TEST(query("SELECT obj_description('" + table() + "'::regclass, 'pg_class')") == "typed");
  BOOST_TEST(query("SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), '; ' ORDER BY conname) FROM"
                   " pg_constraint WHERE conrelid = '" +
                   table() + "'::regclass") ==
             "orders_id_key UNIQUE (id); orders_pkey PRIMARY KEY (id); positive CHECK ((amount >= 0))");
  BOOST_TEST(query("SELECT string_agg(o, ',') FROM pg_class, unnest(reloptions) o WHERE oid = '" + table() +
                   "'::regclass") == "fillfactor=50");
}

BOOST_AUTO_TEST_CASE(rights_are_the_old_ones_and_no_more) {
  make_plain();
  role third{"third"};
  query("REVOKE ALL ON " + table() + " FROM PUBLIC");
  query("GRANT SELECT ON " + table() + " TO " + reader.quoted);
  query("GRANT UPDATE (day) ON " + table() + " TO " + owner.quoted);
  query("REVOKE DELETE ON " + table() + " FROM postgres");
  query("GRANT USAGE ON SEQUENCE " + table("orders__id_seq") + " TO " + reader.quoted);
  auto const rights = [&] {
    return query(
        "SELECT string_agg(concat_ws(' ', relname, relacl, (SELECT string_agg(attname || attacl::text, ' ') FROM"
        " pg_attribute WHERE attrelid = c.oid)), '; ' ORDER BY relname) FROM pg_class c WHERE relname LIKE"
        " 'orders%' AND relnamespace = '" +
        quoted() + "'::regnamespace");
  };
  auto const before = rights();
  query("ALTER DEFAULT PRIVILEGES IN SCHEMA " + quoted() + " GRANT SELECT, INSERT ON TABLES TO PUBLIC");
  query("ALTER DEFAULT PRIVILEGES IN SCHEMA " + quoted() + " GRANT ALL ON SEQUENCES TO " + third.quoted);
  {
    auto guard = guarded();
    job();
    jobs("GRANT SELECT ON " + table() + " TO " + third.quoted);
    BOOST_TEST(rights() != before);
    guard.commit();
  }
  BOOST_TEST(rights() == before);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_carried_over_stops_it_or_is_left_behind_and_noted) {
  make_plain();
  std::string const s = quoted() + '.', t = table();
  query("ALTER TABLE " + t + " ADD extra int");
  query("COMMENT ON COLUMN " + t + ".extra IS 'typed'");
  query("CREATE INDEX on_extra ON " + t + " (extra)");
  query("CREATE VIEW " + s + "of_extra AS SELECT extra FROM " + t);
  query("CREATE MATERIALIZED VIEW " + s + "counted AS SELECT extra FROM " + t);
  query("GRANT SELECT (extra) ON " + t + " TO " + reader.quoted);
  query("CREATE TABLE " + s + "child (ref int REFERENCES " + t + ")");
  query("INSERT INTO " + s + "child VALUES (2)");
  query("CREATE POLICY p ON " + t + " USING (extra > 0)");
  auto const make_function = [&](std::string const& of) {
    query("CREATE FUNCTION " + s + "rows() RETURNS SETOF " + of + " LANGUAGE plpgsql AS 'BEGIN END'");
  };
  query("CREATE VIEW " + s + "alias AS SELECT id FROM " + t);
  auto const before = content();
  auto const fill = [&](auto& guard) {
    job();
    jobs("DELETE FROM " + t + " WHERE _id = 2");
    guard.commit();
  };
  std::string why;
  {
    auto guard = guarded();
    make_function(parked());
    why = message_of([&] { fill(guard); });
    query("DROP FUNCTION " + s + "rows");
    BOOST_TEST((ids() == "c" && count_parked() == "1"));
    BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + s + "alias") == "a,b");
  }
  std::vector<std::string> const all{"comment COLUMN", "index on_extra", "view",     "of_extra", "materialized view",
                                     "grant",          "foreign key",    "policy p", "function"};
  for (auto const& what : all) BOOST_TEST(why.find(what) != std::string::npos, what << " in " << why);
  BOOST_TEST(difference(before, content()) == "");
  make_function(t);
  BOOST_TEST(message_of([&] { place().park(*place().live()); }).find("leave_behind was not said") != std::string::npos);
  BOOST_TEST((is_there(t) && count_parked() == "0"));
  std::vector<std::string> told;
  {
    stash::replace_guard guard{
        store, "orders", place("orders", {.leave_behind = true}), {.observer = [&](stash::event const& e) {
          if (e.kind == stash::event_kind::left_behind) told.push_back(stash::detail::line_of(e));
        }}};
    fill(guard);
  }
  BOOST_TEST((ids() == "c" && ids("alias") == "c"));
  BOOST_TEST(!is_there(s + "of_extra"));
  BOOST_TEST_REQUIRE(told.size() == 1U);
  for (auto const& what : all) BOOST_TEST(told[0].find(what) != std::string::npos, what << " in " << told[0]);
  auto aside = store.set_aside_entries();
  std::erase_if(aside, [](auto const& e) { return payload_of(e).find("left_behind") == std::string::npos; });
  BOOST_TEST_REQUIRE(aside.size() == 1U);  // beside the first guard's, whose note knows of no function
  auto const kept = json::parse(payload_of(aside[0])).at("left_behind").as_array();
  BOOST_TEST(kept.size() == all.size() - 1);
  for (auto const& one : kept) BOOST_TEST((!one.at("why").as_string().empty() && !one.at("ddl").as_string().empty()));
}

BOOST_AUTO_TEST_CASE(where_nothing_was_built_the_old_one_goes_unless_something_depends_on_it) {
  make_plain();
  hang_some_on_it();
  query("CREATE TABLE " + table("child") + " (ref int REFERENCES " + table() + ")");
  auto const before = content();
  BOOST_TEST(message_of([&] {
               auto guard = guarded();
               drop();
               guard.commit();
             }).find("alias") != std::string::npos);
  BOOST_TEST(difference(before, content()) == "");
  {
    auto guard = guarded({.leave_behind = true});
    drop();
    guard.commit();
  }
  BOOST_TEST((!is_there(table()) && !is_there(table("alias")) && count_parked() == "0"));
  BOOST_TEST(query("SELECT count(*)::text FROM pg_constraint WHERE conrelid = '" + table("child") + "'::regclass") ==
             "0");
  make_plain();
  {
    auto guard = guarded();
    guard.commit();
  }
  BOOST_TEST((!is_there(table()) && count_parked() == "0"));
}

BOOST_AUTO_TEST_CASE(row_security_is_carried_over_and_never_taken_away) {
  make_plain();
  {
    auto guard = guarded();
    job();
    jobs("ALTER TABLE " + table() + " ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, REPLICA IDENTITY FULL");
    guard.commit();
  }
  auto const flags = [&] {
    return query("SELECT concat(relrowsecurity, relforcerowsecurity, relreplident) FROM pg_class WHERE oid = '" +
                 table() + "'::regclass");
  };
  BOOST_TEST(flags() == "ttf");
  replace();
  BOOST_TEST(flags() == "ttf");
}

BOOST_AUTO_TEST_CASE(statistics_keep_their_names_out_of_the_jobs_way) {
  make_plain();
  query("CREATE SCHEMA " + quoted("other " + name));
  std::string const elsewhere = quoted("other " + name) + ".s";
  query("CREATE STATISTICS " + table("both") + " ON id, amount FROM " + table());
  query("CREATE STATISTICS " + elsewhere + " ON id, day FROM " + table());
  auto const before = dump();
  {
    auto guard = guarded();
    job();
    jobs("CREATE STATISTICS " + table("both") + " ON id, amount FROM " + table());  // its name is free
  }
  BOOST_TEST(difference(before, dump()) == "");
  for (bool const itself : {true, false}) {
    auto guard = guarded();
    job();
    if (itself) jobs("CREATE STATISTICS " + table("both") + " ON id, amount FROM " + table());
    guard.commit();
    BOOST_TEST(difference(before, dump()) == "");
  }
  query("DROP SCHEMA " + quoted("other " + name) + " CASCADE");
}

BOOST_AUTO_TEST_CASE(a_sequence_that_others_use_is_the_new_tables) {
  make_plain();
  query("CREATE TABLE " + table("other") + " (id int DEFAULT nextval('" + table("orders__id_seq") + "'))");
  query("CREATE SEQUENCE " + table("mine") + " OWNED BY " + table() + ".amount");
  auto const before = dump();
  replace();
  BOOST_TEST(difference(before, dump()) == "");
  query("INSERT INTO " + table("other") + " DEFAULT VALUES");
  BOOST_TEST(query("SELECT id::text FROM " + table("other")) == "3");
}

BOOST_AUTO_TEST_CASE(a_large_table_gets_its_indexes_before_anybody_is_locked_out) {
  make_plain();
  hang_some_on_it();
  query("ALTER TABLE " + table() + " ADD CHECK (amount >= 0)");
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + owner.quoted);
  auto const before = dump();
  stash::postgres_table one = place();
  auto const v = *one.live();
  one.park(v);
  create();
  jobs("INSERT INTO " + table() + " (id, amount) SELECT n::text, n FROM generate_series(1, 20000) n");
  bool is_indexed = false;
  {
    support::faulty_libpq const libpq{[&](std::string_view, std::string_view sql) {
      if (sql.find("pg_advisory_xact_lock") != sql.npos) is_indexed = is_there(table("by_day"));
      return false;
    }};
    one.settle(v, nobody_keeps);
  }
  BOOST_TEST(is_indexed);
  BOOST_TEST(difference(before, dump()) == "");
  BOOST_TEST(query("SELECT count(*)::text FROM " + table("alias")) == "20000");
}

BOOST_AUTO_TEST_CASE(all_that_was_committed_without_a_flush_is_on_disk_when_it_has_settled) {
  make_plain();
  jobs("SET synchronous_commit = off");
  for (bool const is_first : {false, true}) {
    if (is_first) query("DROP TABLE " + table());
    auto guard = guarded();
    drop();
    create();
    copy();
    auto const end = query("SELECT pg_current_wal_insert_lsn()::text");
    guard.commit();
    BOOST_TEST(query("SELECT (pg_current_wal_flush_lsn() >= '" + end + "')::text") == "true");
  }
  // Also where a person, or a step whose answer was lost, has done it all.
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  auto const is_flushed = [&](std::string const& sql, auto step) {
    jobs(sql);
    auto const end = query("SELECT pg_current_wal_insert_lsn()::text");
    step();
    BOOST_TEST(query("SELECT (pg_current_wal_flush_lsn() >= '" + end + "')::text") == "true", sql);
  };
  std::string const back = "ALTER TABLE " + parked() + " SET SCHEMA " + quoted();
  is_flushed(back, [&] { one.put_back(v); });
  is_flushed("ALTER TABLE " + table() + " SET SCHEMA " + quoted(parked_schema()), [&] { one.park(v); });
  is_flushed(back, [&] { one.settle(v, nobody_keeps); });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_test
