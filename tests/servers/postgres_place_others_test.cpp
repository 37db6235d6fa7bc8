// A table of PostgreSQL as a place, among others: what a job leaves out, what somebody else puts where tables are
// parked, what depends on the table, who has built it, and who has locks.
#include "faulty_libpq.hpp"
#include "postgres_place_fixture.hpp"

namespace postgres_place_test {

namespace {

/// Runs `step` while somebody reads `of`, who lets go when `step` waits for that lock and `change(client)` was done.
template <class Step, class Change>
void while_a_lock_is_waited_for(std::string const& of, Step step, Change change) {
  reader_of somebody{of};
  std::jthread const others{[&] {
    client c;
    auto const waiting =
        "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE"
        " '%LOCK TABLE%'";
    while (c(waiting) == "0") std::this_thread::sleep_for(1ms);
    change(c);
    somebody.let_go();
  }};
  step();
}

}  // namespace

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

BOOST_AUTO_TEST_CASE(what_has_many_rows_of_the_table_as_one_value_depends_on_it_too) {
  make_plain();
  query("CREATE FUNCTION " + table("f") + "(x " + table() + "[]) RETURNS int LANGUAGE sql AS 'SELECT 1'");
  auto one = place();
  auto const v = *one.live();
  auto const why = message_of([&] { one.park(v); });
  BOOST_TEST((why.find("function") != why.npos && why.find("leave_behind was not said") != why.npos), why);
  BOOST_TEST((is_there(table()) && count_parked() == "0"));
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
  // Nor is it told of its owner where something else is in the way.
  query("GRANT TRUNCATE ON " + table() + " TO " + reader.quoted);
  stash::postgres_table hasty{
      support::info("user='" + reader.name + '\''), {name, "orders"}, {.lock_timeout = std::chrono::milliseconds{0}}};
  reader_of dashboard{table()};
  BOOST_TEST(code_of([&] { hasty.settle(v, nobody_keeps); }) == errc::busy);
  dashboard.let_go();
  query("GRANT " + owner.quoted + " TO " + reader.quoted);
  one.put_back(v);
  BOOST_TEST(ids() == "a,b");
  one.discard();
}

BOOST_AUTO_TEST_CASE(a_table_that_another_replaces_just_then_is_not_taken_for_the_one_that_was_looked_at) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  auto const replaced_while = [&](std::string const& what, auto step) {
    bool is_first = true;
    support::faulty_libpq const libpq{[&](std::string_view, std::string_view sql) {
      if (sql.starts_with("LOCK TABLE") && std::exchange(is_first, false)) {
        query("ALTER TABLE " + what + " RENAME TO moved");
        query("CREATE TABLE " + what + " (id text)");
      }
      return false;
    }};
    return code_of(step);
  };
  BOOST_TEST(replaced_while(table(), [&] { one.park(v); }) == errc::mismatch);
  BOOST_TEST((is_there(table()) && is_there(table("moved")) && count_parked() == "0"));
  query("DROP TABLE " + table());
  query("ALTER TABLE " + table("moved") + " RENAME TO orders");
  one.park(v);
  BOOST_TEST(replaced_while(parked(), [&] { one.put_back(v); }) == errc::mismatch);
  BOOST_TEST((!is_there(table()) && is_there(parked()) && is_there(parked("moved"))));
}

BOOST_AUTO_TEST_CASE(a_schema_that_somebody_tidied_up_is_made_anew) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  job();
  auto const built = query(
      "SELECT quote_ident(n.nspname) FROM pg_namespace n JOIN pg_description d ON d.objoid = n.oid WHERE description"
      " LIKE '%take the place of others in schema " +
      name + ";%'");
  query("DROP SCHEMA " + built);
  BOOST_TEST(one.settle(v, nobody_keeps).empty());
  BOOST_TEST(ids() == "c,d");
}

BOOST_AUTO_TEST_CASE(a_schema_that_somebody_makes_anew_while_a_lock_is_waited_for_is_not_believed) {
  make_plain();
  role mallory{"mallory", "LOGIN"};
  query("GRANT CREATE ON DATABASE postgres TO " + mallory.quoted);
  replace();  // now the schemas are there
  auto one = place("orders", {.lock_timeout = std::chrono::minutes{2}});
  auto const v = *one.live();
  std::string const why = message_of([&] {
    while_a_lock_is_waited_for(
        table(), [&] { one.park(v); },
        [&](client& c) {
          c("DROP SCHEMA " + quoted(parked_schema()));
          c("CREATE SCHEMA " + quoted(parked_schema()) + " AUTHORIZATION " + mallory.quoted);
        });
  });
  BOOST_TEST(why.find("is role " + mallory.name) != std::string::npos, why);
  BOOST_TEST((!is_there(parked()) && is_there(table())));
  query("DROP SCHEMA " + quoted(parked_schema()));
}

BOOST_AUTO_TEST_CASE(a_schema_that_somebody_tidied_up_while_a_lock_was_waited_for_is_made_anew) {
  make_plain();
  auto one = place("orders", {.lock_timeout = std::chrono::minutes{2}});
  auto const v = *one.live();
  one.park(v);
  job();
  while_a_lock_is_waited_for(
      parked(), [&] { one.settle(v, nobody_keeps); },
      [](client& c) {
        c("DO $$ DECLARE x text; BEGIN FOR x IN SELECT nspname FROM pg_namespace n WHERE nspname LIKE 'stash_parked_%'"
          " AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid) LOOP EXECUTE format('DROP SCHEMA %I', x);"
          " END LOOP; END $$");
      });
  BOOST_TEST(ids() == "c,d");
}

BOOST_AUTO_TEST_CASE(whose_schema_it_may_be_where_tables_are_parked) {
  std::string const database = query("SELECT quote_ident(current_database())"), db_owner = query("SELECT current_user");
  role third{"third", "LOGIN"}, above{"above"};
  query("GRANT CREATE ON DATABASE " + database + " TO " + third.quoted);
  query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + third.quoted);
  query("ALTER ROLE " + third.quoted + " LOGIN");
  query("GRANT " + above.quoted + " TO " + third.quoted);
  query("ALTER SCHEMA " + quoted() + " OWNER TO " + owner.quoted);
  create();
  query("ALTER TABLE " + table() + " OWNER TO " + third.quoted);
  stash::postgres_table one{support::info("user='" + third.name + '\''), {name, "orders"}};
  auto const v = *one.live();
  one.park(v);
  one.put_back(v);
  auto const works_for = [&](std::string const& whose) {
    query("ALTER SCHEMA " + quoted(parked_schema()) + " OWNER TO " + whose);
    query("GRANT USAGE, CREATE ON SCHEMA " + quoted(parked_schema()) + " TO " + third.quoted);
    return message_of([&] {
      one.park(v);
      one.put_back(v);
    });
  };
  BOOST_TEST(works_for("postgres") == "");
  BOOST_TEST(works_for(owner.quoted) == "");
  BOOST_TEST(works_for(above.quoted) == "");
  BOOST_TEST(works_for(reader.quoted).find("is role " + reader.name) != std::string::npos);
  query("ALTER DATABASE " + database + " OWNER TO " + reader.quoted);
  BOOST_TEST(works_for(reader.quoted) == "");
  query("ALTER DATABASE " + database + " OWNER TO " + quoted(db_owner));
  query("ALTER SCHEMA " + quoted() + " OWNER TO " + quoted(db_owner));
}

BOOST_AUTO_TEST_CASE(each_owner_of_a_parked_table_may_look_into_the_schema) {
  create();
  place().park(*place().live());
  place().put_back({});
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  query("GRANT USAGE ON SCHEMA " + quoted() + " TO " + owner.quoted);
  copy("('a', 1, '2026-11-22')");
  query("CREATE TABLE " + table("child") + " (ref int REFERENCES " + table() + ")");
  place().park(*place().live());
  query("INSERT INTO " + table("child") + " VALUES (1)");  // which is looked for with the owner's rights
  place().put_back({});
  BOOST_TEST(ids() == "a");
}

BOOST_AUTO_TEST_CASE(two_may_make_the_schemas_at_one_time) {
  for (int round = 0; round < 5; ++round) {
    std::vector<std::thread> all;
    std::atomic<int> ready{0}, parked_ones{0};
    for (int i = 0; i < 6; ++i) query("CREATE TABLE " + table(std::to_string(i)) + " (id text)");
    for (int i = 0; i < 6; ++i) {
      all.emplace_back([&, i] {
        auto one = place(std::to_string(i));
        auto const v = *one.live();
        for (++ready; ready < 6;) std::this_thread::yield();
        if (message_of([&] { one.park(v); }).empty()) ++parked_ones;
      });
    }
    for (auto& each : all) each.join();
    BOOST_TEST(parked_ones == 6);
    query("DROP SCHEMA " + quoted(parked_schema()) + " CASCADE");
    query("DROP SCHEMA " +
          query("SELECT quote_ident(n.nspname) FROM pg_namespace n JOIN pg_description d ON d.objoid = n.oid WHERE"
                " description LIKE '%take the place of others in schema " +
                name + ";%'"));
  }
}

BOOST_AUTO_TEST_CASE(while_it_waits_others_go_first) {
  make_plain();
  auto one = place("orders", {.lock_timeout = 20s});
  auto const v = *one.live();
  reader_of dashboard{table()};
  std::atomic<bool> is_over{false};
  std::chrono::steady_clock::duration longest{};
  std::thread reading{[&] {
    client another{server() + "?application_name=reader"};
    while (!is_over) {
      auto const start = std::chrono::steady_clock::now();
      message_of([&] { another("SELECT id FROM " + table() + " LIMIT 1"); });  // it is parked in the end
      longest = std::max(longest, std::chrono::steady_clock::now() - start);
    }
  }};
  std::thread going{[&] {
    std::this_thread::sleep_for(2s);
    dashboard.let_go();
  }};
  one.park(v);
  is_over = true;
  reading.join();
  going.join();
  BOOST_TEST((longest < 1500ms));
  one.put_back(v);
}

BOOST_AUTO_TEST_CASE(at_last_it_waits_in_the_queue_of_readers_that_take_turns) {
  make_plain();
  auto one = place("orders", {.lock_timeout = 3s});
  auto const v = *one.live();
  std::atomic<bool> is_over{false};
  std::atomic<int> holding{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&, i] {
      client db{server() + "?application_name=dashboard"};
      std::this_thread::sleep_for(i * 200ms);
      while (!is_over) {
        db("BEGIN");
        db("SELECT count(*)::text FROM pg_class WHERE oid = to_regclass('" + table() + "')");
        if (message_of([&] { db("LOCK TABLE " + table() + " IN ACCESS SHARE MODE"); }).empty()) ++holding;
        std::this_thread::sleep_for(400ms);  // at each time one of them has it
        db("ROLLBACK");
      }
    });
  }
  while (holding < 2) std::this_thread::sleep_for(5ms);
  BOOST_TEST(message_of([&] { one.park(v); }) == "");
  is_over = true;
  for (auto& each : readers) each.join();
  one.put_back(v);
}

BOOST_AUTO_TEST_CASE(a_lock_timeout_of_nothing_is_one_try) {
  make_plain();
  auto one = place("orders", {.lock_timeout = 0ms});
  auto const v = *one.live();
  {
    reader_of dashboard{table()};
    BOOST_TEST(code_of([&] { one.park(v); }) == errc::busy);
    dashboard.let_go();
  }
  one.park(v);
  one.put_back(v);
}

BOOST_AUTO_TEST_CASE(a_step_waits_for_the_end_of_another_of_its_place) {
  make_plain();
  auto one = place("orders", {.lock_timeout = 200ms});
  auto const v = *one.live();
  std::string lock;
  {
    support::faulty_libpq const libpq{[&](std::string_view, std::string_view sql) {
      auto const at = sql.find("pg_advisory_xact_lock(");
      if (at != sql.npos && lock.empty())
        lock = sql.substr(sql.find('(', at), sql.find(')', at) + 1 - sql.find('(', at));
      return false;
    }};
    one.park(v);
  }
  one.put_back(v);
  // Not even beside one that would let others in.
  query("SELECT pg_advisory_lock_shared" + lock);
  BOOST_TEST(code_of([&] { one.park(v); }) == errc::busy);
  query("SELECT pg_advisory_unlock_shared" + lock);
  one.park(v);
  one.put_back(v);
}

BOOST_AUTO_TEST_CASE(its_commits_wait_for_the_disk_whatever_the_settings_say) {
  make_plain();
  query("ALTER SYSTEM SET wal_writer_delay = '10s'");
  query("SELECT pg_reload_conf()::text");
  stash::postgres_table one{server() + "?options=-csynchronous_commit%3Doff", {name, "orders"}};
  auto const v = *one.live();
  auto const is_flushed = [&](auto step) {
    std::string end;
    {
      support::faulty_libpq const libpq{[&](std::string_view, std::string_view sql) {
        if (sql == "COMMIT") end = query("SELECT pg_current_wal_insert_lsn()::text");
        return false;
      }};
      step();
    }
    return query("SELECT (pg_current_wal_flush_lsn() >= '" + end + "')::text") == "true";
  };
  BOOST_TEST(is_flushed([&] { one.park(v); }));
  job();
  BOOST_TEST(is_flushed([&] { one.put_back(v); }));
  one.park(v);
  job();
  BOOST_TEST(is_flushed([&] { one.settle(v, nobody_keeps); }));
  query("ALTER SYSTEM RESET wal_writer_delay");
  query("SELECT pg_reload_conf()::text");
}

BOOST_AUTO_TEST_CASE(a_connection_that_breaks_each_time_is_an_error) {
  make_plain();
  auto one = place();
  auto const v = *one.live();
  int tries = 0;
  boost::system::error_code problem;
  {
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
      if (call != "PQsendQuery" || sql.find("LOCK TABLE") == sql.npos) return false;
      query(
          "SELECT count(pg_terminate_backend(pid, 5000))::text FROM pg_stat_activity WHERE application_name ="
          " 'stash'");
      ++tries;
      return false;
    }};
    problem = code_of([&] { one.park(v); });
  }
  BOOST_TEST((tries == 2 && problem.failed()), tries << ": " << problem.message());
  BOOST_TEST(is_there(table()));
  one.park(v);
  one.put_back(v);
}

BOOST_AUTO_TEST_CASE(a_note_knows_columns_comments_and_what_kind_of_table_it_is) {
  query("CREATE UNLOGGED TABLE " + table() + " (id text COLLATE \"C\" NOT NULL, n int DEFAULT 7)");
  query("COMMENT ON COLUMN " + table() + ".n IS 'how many'");
  auto one = place();
  auto const v = *one.live();
  BOOST_TEST(json::serialize(v.at("columns")) ==
             R"([{"name":"id","type":"text","collation":"pg_catalog.\"C\"","not_null":true},)"
             R"({"name":"n","type":"integer","default":"7","comment":"how many"}])");
  one.park(v);
  query("DROP TABLE " + parked());
  one.put_back(v);
  BOOST_TEST(query("SELECT relpersistence::text FROM pg_class WHERE oid = '" + table() + "'::regclass") == "u");
  BOOST_TEST(json::serialize(one.live()->at("columns")) == json::serialize(v.at("columns")));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_test
