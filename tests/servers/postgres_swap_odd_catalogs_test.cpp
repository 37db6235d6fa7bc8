// Swaps in PostgreSQL where something uncommon stands in the catalog, or changes amid the reload.
#include <mutex>
#include <stash/ckan/recover.hpp>
#include <thread>

#include "faulty_libpq.hpp"
#include "hooked_datastore.hpp"
#include "postgres_swap_fixture.hpp"

namespace postgres_swap_test {

namespace {

/// In the way of whoever wants to change `what`, until it is let go.
struct reader_of {
  client db{server() + "?application_name=dashboard"};
  explicit reader_of(std::string const& what) {
    db("BEGIN");
    db("LOCK TABLE " + what + " IN ACCESS SHARE MODE");
  }
  void let_go() { db("COMMIT"); }
};

/// Called for what is in the way of `reload`, once.
ckan::reload_options waiting_once(std::function<void()> f) {
  ckan::reload_options options;
  options.patience = 20s;
  options.waiting = [f = std::move(f), was_called = false](std::string const&) mutable {
    if (!std::exchange(was_called, true)) f();
  };
  return options;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_swap, fixture)

BOOST_AUTO_TEST_CASE(another_table_may_have_the_name_of_the_array_type) {
  make();
  query("CREATE TABLE " + table("_orders") + " (n int)");
  reload(other_rows);
  reload(other_rows);
  BOOST_TEST(query("SELECT count(*)::text FROM " + table("_orders")) == "0");
  d.create("_orders_", headers);
  d.finish("_orders_");
  BOOST_TEST(query("SELECT array_agg(o)::text FROM " + table() + " o").find("c,3") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_was_built_keeps_no_row_elsewhere_from_being_deleted_while_it_waits) {
  make();
  query("CREATE TABLE " + table("days") + " (day date PRIMARY KEY)");
  query("INSERT INTO " + table("days") +
        " SELECT d::date FROM generate_series('2026-11-01'::date, '2026-12-01', '1 day') d");
  query("ALTER TABLE " + table() + " ADD CONSTRAINT of_days FOREIGN KEY (day) REFERENCES " + table("days"));
  reader_of dashboard{table()};
  BOOST_TEST(code_of([&] { reload(other_rows, {.patience = 100ms, .waiting = [](auto const&) {}}); }) == errc::busy);
  dashboard.let_go();
  query("DELETE FROM " + table("days") + " WHERE day = '2026-11-24'");
  BOOST_TEST(message_of([&] { ckan::finish_reload(d, store, "orders"); }).find("constraint of_days") !=
             std::string::npos);
  query("INSERT INTO " + table("days") + " VALUES ('2026-11-24')");
  ckan::finish_reload(d, store, "orders");
  BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + table()) == "c,d");
  BOOST_TEST(code_of([&] { query("DELETE FROM " + table("days")); }) == sqlstate("23503"));
}

BOOST_AUTO_TEST_CASE(rows_that_people_load_into_a_half_built_table_are_not_dropped_unasked) {
  make();
  std::string const add = "INSERT INTO " + table() + " (id) VALUES ('by hand')";
  auto const failing = [&](bool has_help) {
    return [this, add, has_help](ckan::fields const& created) {
      loading(d, other_rows)(created);
      loading(d, "e,5,2026-11-26\n")(created);
      if (has_help) query(add);
      throw std::runtime_error("after the load");
    };
  };
  bool is_kept = false;
  ckan::reload_options words{.keep = ckan::keep::words};
  words.guard.observer = [&](stash::event const& e) {
    is_kept = is_kept || e.kind == stash::event_kind::restore_failed;
  };
  // What the job has loaded itself is no reason not to make the table anew.
  BOOST_CHECK_THROW(ckan::reload(d, store, "orders", headers, failing(false), words), std::runtime_error);
  BOOST_TEST((!is_kept && d.describe("orders") && d.rows("orders") == 0U));
  BOOST_CHECK_THROW(ckan::reload(d, store, "orders", headers, failing(true), words), std::runtime_error);
  BOOST_TEST((is_kept && !d.describe("orders") && d.rows("orders") == 4U));
  auto report = ckan::recover(d, store, {.observer = stash::silent});
  BOOST_TEST_REQUIRE(report.failed.size() == 1U);
  BOOST_TEST(message_of([&] { std::rethrow_exception(report.failed[0].second); }).find("1 row that no reload") !=
             std::string::npos);
  BOOST_TEST(d.rows("orders") == 4U);
  query("DELETE FROM " + table() + " WHERE id = 'by hand'");
  report = ckan::recover(d, store, {.observer = stash::silent});
  BOOST_TEST((report.restored == 1U && d.rows("orders") == 0U));
  BOOST_TEST((d.describe("orders")->at(0).info == json::object{{"label", "Day"}}));
  // A whole table has no note of it, and rows in it are nobody's question.
  reload(other_rows, {.keep = ckan::keep::words});
  query("COMMENT ON COLUMN " + table() + "._id IS 'by hand'");
  query(add);
  d.drop_half_built("orders");
  d.drop_half_built("none");
  reload(other_rows, {.keep = ckan::keep::words});
  query("COMMENT ON COLUMN " + table() + "._id IS 'by hand'");
  loading(d, other_rows)(headers);
  auto const key = [&] {
    return query("SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = '" + table() +
                 "'::regclass AND attname = '_id'");
  };
  BOOST_TEST(key() == "by hand");
  // Nor is anything of a person's lost to it.
  d.drop("orders");
  d.create("orders", headers, {{"columns", json::object{{"_id", "the key"}}}});
  loading(d, other_rows)(headers);
  BOOST_TEST(key() != "the key");
  query(add);
  BOOST_TEST(code_of([&] { d.drop_half_built("orders"); }) == errc::mismatch);
  d.finish("orders");
  BOOST_TEST(key() == "the key");
}

BOOST_AUTO_TEST_CASE(rows_that_others_add_are_found_however_they_are_numbered) {
  std::string const t = table();
  auto const found_after = [&](std::string const& before, std::string const& meanwhile, std::string const& end = "") {
    query("DROP TABLE IF EXISTS " + t + " CASCADE");
    make();
    client writer;
    if (!end.empty()) writer("BEGIN");
    if (!before.empty()) writer(before);
    std::string why;
    try {
      ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
        loading(d, other_rows)(created);
        if (!meanwhile.empty()) query(meanwhile);
        if (!end.empty()) writer(end);
      });
    } catch (stash::error const& problem) {
      why = problem.what();
    }
    auto const at = why.find(" row");
    return at == why.npos ? why : why.substr(at - 1, 1);
  };
  std::string const add = "INSERT INTO " + t + " (id) VALUES ('late')", add_9 = "INSERT INTO " + t + " VALUES (9)";
  BOOST_TEST(found_after("", "") == "");
  BOOST_TEST(found_after("", add) == "1");
  BOOST_TEST(found_after(add_9, "") == "");    // what is there before is there to be replaced
  BOOST_TEST(found_after(add_9, add) == "1");  // but numbers tell nothing then
  BOOST_TEST(found_after("", add_9) == "1");
  BOOST_TEST(found_after(add, "SELECT 1", "COMMIT") == "1");  // in flight when the reload began
  BOOST_TEST(found_after(add, add, "COMMIT") == "2");
  BOOST_TEST(found_after(add, "SELECT 1", "ROLLBACK") == "");
  BOOST_TEST(found_after("", "DELETE FROM " + t) == "");
  // Another table, or the same anew.
  BOOST_TEST(found_after("", "TRUNCATE " + t + " RESTART IDENTITY") == "");
  BOOST_TEST(found_after("TRUNCATE " + t + " RESTART IDENTITY", add) == "1");
  BOOST_TEST(found_after("", "WITH gone AS (DELETE FROM " + t + ") " + add) == "1");
  BOOST_TEST(found_after("ALTER SEQUENCE " + quoted() + ".orders__id_seq INCREMENT BY -1 MINVALUE -9 RESTART WITH -1",
                         add) == "1");
  BOOST_TEST(found_after("ALTER TABLE " + t + " DROP CONSTRAINT orders_pkey, ALTER _id DROP NOT NULL",
                         "INSERT INTO " + t + " VALUES (NULL)") == "1");
  auto const twice = [&](std::string const& first, std::string const& second) {
    std::string why;
    query("DROP TABLE IF EXISTS " + t + " CASCADE");
    make();
    try {
      ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
        loading(d, other_rows)(created);
        query(first);
        query(second);
      });
    } catch (stash::error const& problem) {
      why = problem.what();
    }
    return why.find("1 row (added since") != why.npos ? "1" : why;
  };
  BOOST_TEST(twice("TRUNCATE " + t + " RESTART IDENTITY", add) == "1");
  BOOST_TEST(twice("CLUSTER " + t + " USING orders_pkey", "SELECT 1") == "");
  BOOST_TEST(twice("CLUSTER " + t + " USING orders_pkey", add) == "1");
  // Numbers that a session has in store.
  query("DROP TABLE " + t);
  make();
  query("ALTER SEQUENCE " + quoted() + ".orders__id_seq CACHE 5");
  client writer;
  writer("SELECT nextval('" + quoted() + ".orders__id_seq')::text");
  BOOST_TEST(message_of([&] {
               ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
                 loading(d, other_rows)(created);
                 writer(add);
               });
             }).find("1 row (added since") != std::string::npos);
  query("DROP TABLE " + t);
  make();
  BOOST_TEST(message_of([&] {
               ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
                 loading(d, other_rows)(created);
                 ckan::postgres_datastore other{server(), {.schema = name}};
                 other.drop("orders");
                 other.create("orders", headers);
                 loading(other, "new,1,2026-11-22\n")(headers);
                 other.finish("orders");
               });
             }).find("1 row (added since") != std::string::npos);
  BOOST_TEST(query("SELECT string_agg(id, ',') FROM " + t) == "new");
}

BOOST_AUTO_TEST_CASE(what_an_owner_wrote_takes_no_rights_of_who_reloads) {
  make();
  query("GRANT USAGE ON SCHEMA " + quoted() + " TO " + owner.quoted);
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  std::string const evil = quoted() + ".evil";
  query("CREATE FUNCTION " + evil +
        "(numeric) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'RESET ROLE';"
        " EXECUTE 'ALTER ROLE " +
        owner.quoted +
        " SUPERUSER'; RETURN true; EXCEPTION WHEN insufficient_privilege OR"
        " invalid_parameter_value THEN RETURN true; END $$");
  query("ALTER FUNCTION " + evil + " OWNER TO " + owner.quoted);
  query("ALTER TABLE " + table() + " ADD CHECK (" + evil + "(amount)) NOT VALID");
  query("ALTER TABLE " + table() +
        " DROP CONSTRAINT orders_amount_check, ADD CONSTRAINT odd CHECK (amount IS NULL OR " + evil + "(amount))");
  query("ALTER ROLE " + owner.quoted + " NOSUPERUSER");
  try {
    reload(other_rows);
  } catch (stash::error const&) {  // it may be refused
  }
  BOOST_TEST(query("SELECT rolsuper::text FROM pg_roles WHERE rolname = '" + owner.name + "'") == "false");
}

BOOST_AUTO_TEST_CASE(reloads_of_several_resources_at_once_do_not_meet) {
  query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + owner.quoted);
  std::vector<std::thread> all;
  std::mutex for_failures;
  std::string failures;
  for (int i = 0; i < 4; ++i) {
    all.emplace_back([&, i] {
      try {
        std::string const id = "r" + std::to_string(i);
        ckan::postgres_datastore one{server(), {.schema = name}};
        stash::memory_stash words;
        auto const again = [&] {
          ckan::reload(one, words, id, headers, [&](ckan::fields const& created) {
            ckan::postgres_datastore::loader rows{one, id, created};
            rows.add_csv(other_rows);
            rows.finish();
          });
        };
        again();
        client{}("ALTER TABLE " + table(id) + " OWNER TO " + owner.quoted);
        client{}("ALTER TABLE " + table(id) +
                 " ADD CHECK (amount > 0), ADD twice numeric GENERATED ALWAYS AS (amount * 2) STORED");
        for (int n = 0; n < 5; ++n) again();
      } catch (stash::error const& problem) {
        std::lock_guard const lock{for_failures};
        failures += problem.what() + std::string("; ");
      }
    });
  }
  for (auto& one : all) one.join();
  BOOST_TEST(failures == "");
}

BOOST_AUTO_TEST_CASE(a_table_without_its_key_takes_no_ones_place) {
  make();
  query("ALTER TABLE " + table() + " ADD UNIQUE (id)");
  auto const before = content();
  auto const twins = [&](ckan::fields const& created) {
    loading(d, other_rows)(created);
    query("UPDATE " + beside() + ".orders SET _id = 1");
  };
  BOOST_TEST(code_of([&] { ckan::reload(d, store, "orders", headers, twins, {.leave_behind = true}); }) ==
             sqlstate("23505"));
  BOOST_TEST(difference(before, content()) == "");
}

BOOST_AUTO_TEST_CASE(a_name_that_a_first_table_needs_is_looked_for_before_the_load) {
  query("CREATE TABLE " + table("days") + " (day date)");
  query("CREATE INDEX orders_pkey ON " + table("days") + " (day)");
  bool is_loaded = false;
  auto const why = [&] {
    return message_of([&] { ckan::reload(d, store, "orders", headers, [&](auto const&) { is_loaded = true; }); });
  };
  BOOST_TEST((why().find("\"orders_pkey\"") != std::string::npos && !is_loaded));
  query("DROP TABLE " + table("days"));
  query("CREATE SEQUENCE " + quoted() + ".orders__id_seq");
  BOOST_TEST((why().find("\"orders__id_seq\"") != std::string::npos && !is_loaded));
}

BOOST_AUTO_TEST_CASE(a_swap_that_fails_keeps_nobody_else_out) {
  make();
  reader_of dashboard{table()};
  BOOST_TEST(code_of([&] { reload(other_rows, {.patience = 100ms, .waiting = [](auto const&) {}}); }) == errc::busy);
  dashboard.let_go();
  query("INSERT INTO " + table() + " (id) VALUES ('late')");
  BOOST_TEST(code_of([&] { ckan::finish_reload(d, store, "orders"); }) == errc::mismatch);
  ckan::postgres_datastore other{server(), {.schema = name}};
  stash::memory_stash words;
  ckan::reload(other, words, "orders", headers, loading(other, other_rows));
  BOOST_TEST(other.rows("orders") == 2U);
  // What cannot be discarded, for a view is on it, is locked no longer.
  d.build("orders", headers);
  query("CREATE VIEW " + beside() + ".looking AS SELECT id FROM " + beside() + ".orders");
  BOOST_TEST(code_of([&] { d.discard("orders"); }) == sqlstate("2BP01"));
  query("DROP VIEW " + beside() + ".looking");
  other.build("orders", headers);
  other.discard("orders");
}

BOOST_AUTO_TEST_CASE(a_remark_that_looks_like_a_mark_is_a_remark) {
  make();
  auto const remarks = [&] {
    return query(
        "SELECT string_agg(coalesce(attname, '') || '=' || description, '|' ORDER BY attname) FROM pg_description"
        " LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid WHERE objoid = '" +
        table() + "'::regclass AND attname IS DISTINCT FROM 'day'");
  };
  query("COMMENT ON TABLE " + table() + " IS 'stash: complete 1 2 3 4\nby hand'");
  query("COMMENT ON COLUMN " + table() + "._id IS 'stash: rows of finished loads: none\nby hand'");
  auto const before = remarks();
  for (auto const keep : {ckan::keep::everything, ckan::keep::words}) {
    reload(other_rows, {.keep = keep});
    BOOST_TEST(remarks() == before);
  }
  query("COMMENT ON TABLE " + table() + " IS E'stash: unfinished\\n'");
  for (std::string const key :
       {"stash: rows of finished loads: 12", "stash: rows of finished loads: 12 or so\nby hand"}) {
    query("COMMENT ON COLUMN " + table() + "._id IS '" + key + '\'');
    BOOST_TEST((d.unfinished("orders")->remarks == json::object{{"columns", json::object{{"_id", key}}}}));
  }
  query("COMMENT ON TABLE " + table() + " IS NULL");
  // What was only begun is not taken for whole.
  {
    ckan::postgres_datastore gone{server(), {.schema = name}};
    gone.build("orders", headers, d.remarks("orders"));
  }
  BOOST_TEST(code_of([&] { d.swap_in("orders"); }) == errc::mismatch);
  d.discard("orders");
}

BOOST_AUTO_TEST_CASE(a_resource_that_ckan_has_deleted_does_not_come_back) {
  make();
  query("CREATE TABLE " + table("resource") + " (id text, package_id text, state text)");
  query("INSERT INTO " + table("resource") + " VALUES ('orders', 'p', 'active')");
  auto const words = *d.describe("orders");
  auto const recovered_after = [&](std::string const& sql) {
    store.save("orders", ckan::dictionary_of(words));
    d.drop("orders");
    query(sql);
    return ckan::recover(d, store, {.observer = stash::silent}).restored;
  };
  BOOST_TEST(recovered_after("SELECT 1") == 1U);
  BOOST_TEST(recovered_after("UPDATE " + table("resource") + " SET state = 'deleted'") == 0U);
  BOOST_TEST(!d.describe("orders"));
  BOOST_TEST(recovered_after("DELETE FROM " + table("resource")) == 0U);
  BOOST_TEST(store.set_aside_entries().size() == 2U);
  BOOST_TEST(d.is_deleted("orders"));
  // Nor one that no reload has dropped, as its record says.
  query("INSERT INTO " + table("resource") + " VALUES ('orders', 'p', 'active')");
  auto marked = ckan::dictionary_of(words);
  marked["_not_dropped"] = true;
  store.save("orders", marked);
  BOOST_TEST(ckan::recover(d, store, {.observer = stash::silent}).failed.size() == 1U);
  BOOST_TEST(store.set_aside_entries().size() == 3U);
  query("DELETE FROM " + table("resource"));
  // One that we may not read tells nothing.
  query("GRANT USAGE ON SCHEMA " + quoted() + " TO " + reader.quoted);
  BOOST_TEST(
      !(ckan::postgres_datastore{support::info("user='" + reader.name + '\''), {.schema = name}}.is_deleted("orders")));
}

BOOST_AUTO_TEST_CASE(who_lacks_a_right_that_the_swap_needs_is_told_before_the_load) {
  make();
  BOOST_TEST(!d.unfinished("orders"));
  bool is_loaded = false;
  auto const why = [&](ckan::postgres_datastore& by) {
    return message_of([&] { ckan::reload(by, store, "orders", headers, [&](auto const&) { is_loaded = true; }); });
  };
  std::string const publication = "\"all " + std::to_string(::getpid()) + '"';
  query("CREATE PUBLICATION " + publication + " FOR ALL TABLES");
  BOOST_TEST(why(d).find("is for all tables") != std::string::npos);
  query("DROP PUBLICATION " + publication);
  query("ALTER TABLE " + table() + " OWNER TO " + reader.quoted);
  query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + reader.quoted);
  query("CREATE TABLE " + table("_table_stats") + " (resource_id text, count bigint)");
  query("CREATE SCHEMA " + beside(reader.name) + " AUTHORIZATION " + reader.quoted);
  ckan::postgres_datastore loader{support::info("user='" + reader.name + '\''), {.schema = name}};
  BOOST_TEST(why(loader).find("where CKAN keeps its count") != std::string::npos);
  BOOST_TEST(!is_loaded);
  query("GRANT SELECT, DELETE ON " + table("_table_stats") + " TO " + reader.quoted);
  ckan::reload(loader, store, "orders", headers, loading(loader, other_rows));
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(a_schema_that_cannot_be_made_is_told_with_the_servers_words) {
  make();
  query("DROP SCHEMA " + beside());
  query("CREATE FUNCTION " + quoted() +
        ".refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not here'; END $$");
  query("CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION " + quoted() +
        ".refuse()");
  auto const why = message_of([&] { reload(other_rows); });
  query("DROP EVENT TRIGGER refuse");
  BOOST_TEST(why.find("not here") != std::string::npos);
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(a_schema_of_a_long_name_has_room_for_what_is_built) {
  std::string const longest(63, 'x');
  query("CREATE SCHEMA " + longest);
  {
    ckan::postgres_datastore one{server(), {.schema = longest}};
    for (int i = 0; i < 2; ++i) ckan::reload(one, store, "orders", headers, loading(one, other_rows));
    BOOST_TEST(one.rows("orders") == 2U);
  }
  query("DROP SCHEMA " + longest + " CASCADE");
}

BOOST_AUTO_TEST_CASE(what_is_put_on_the_table_while_the_swap_waits_is_on_the_new_one) {
  make();
  reader_of dashboard{table()};
  reload(other_rows, waiting_once([&] {
           dashboard.let_go();
           query("CREATE INDEX by_day ON " + table() + " (day)");
         }));
  BOOST_TEST(query("SELECT tablename FROM pg_indexes WHERE indexname = 'by_day'") == "orders");
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(a_grant_on_the_sequence_since_it_was_looked_at_counts) {
  make();
  std::string const sequence = "(SELECT pg_get_serial_sequence('" + table() + "', '_id'))";
  bool is_granted = false;
  {
    support::faulty_libpq const libpq{[&](std::string_view, std::string_view sql) {
      if (!is_granted && sql.starts_with("ALTER ") && sql.find("stash: replaced") != sql.npos) {
        is_granted = true;
        query("GRANT USAGE ON SEQUENCE " + query("SELECT " + sequence) + " TO " + reader.quoted);
      }
      return false;
    }};
    reload(other_rows);
  }
  BOOST_TEST(is_granted);
  BOOST_TEST(query("SELECT has_sequence_privilege('" + reader.name + "', " + sequence + ", 'USAGE')::text") == "true");
}

BOOST_AUTO_TEST_CASE(a_sequence_that_stays_with_its_rights_does_not_count_as_a_change) {
  make();
  query("CREATE SEQUENCE " + table("numbers") + " OWNED BY " + table() + ".id");
  query("GRANT USAGE ON SEQUENCE " + table("numbers") + " TO " + reader.quoted);
  reload(other_rows);
  BOOST_TEST(query("SELECT has_sequence_privilege('" + reader.name + "', '" + table("numbers") + "', 'USAGE')::text") ==
             "true");
}

BOOST_AUTO_TEST_CASE(rights_that_change_at_each_try_end_the_reload_with_all_as_it_was) {
  make();
  query("CREATE MATERIALIZED VIEW " + table("slow") + " AS SELECT count(*), pg_sleep(0.3)::text FROM " + table());
  std::atomic<bool> has_ended{false};
  std::thread person{[&] {
    client other{server() + "?application_name=person"};
    std::string seen, change = "GRANT SELECT (day) ON " + table() + " TO " + reader.quoted;
    std::string next = "REVOKE SELECT (day) ON " + table() + " FROM " + reader.quoted;
    while (!has_ended) {
      auto const now = other(
          "SELECT max(xact_start)::text FROM pg_stat_activity WHERE query LIKE '%REFRESH%' AND"
          " application_name = 'stash'");
      if (now.empty() || now == std::exchange(seen, now)) continue;
      other(change);
      std::swap(change, next);
    }
  }};
  auto const why = message_of([&] { reload(other_rows); });
  has_ended = true;
  person.join();
  BOOST_TEST(why.find("changes all the time") != std::string::npos, why);
  BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + table()) == "a,b");
}

BOOST_AUTO_TEST_CASE(locks_on_whatever_the_swap_has_to_change_are_waited_for) {
  make();
  query("CREATE TABLE " + table("child") + " (ref int REFERENCES " + table() + ')');
  // A column that is made before the swap waits for a reader of what is built, too.
  query("ALTER TABLE " + table() + " ADD twice numeric GENERATED ALWAYS AS (amount * 2) STORED");
  for (std::string const& what : {table("child"), beside() + ".orders"}) {
    std::optional<reader_of> dashboard;
    int waited = 0;
    auto options = waiting_once([&] {
      ++waited;
      dashboard->let_go();
    });
    ckan::reload(
        d, store, "orders", headers,
        [&](ckan::fields const& created) {
          loading(d, other_rows)(created);
          dashboard.emplace(what);
        },
        options);
    BOOST_TEST(waited == 1);
    BOOST_TEST(d.rows("orders") == 2U);
  }
  BOOST_TEST(query("SELECT sum(twice)::text FROM " + table()) == "14");
}

BOOST_AUTO_TEST_CASE(what_can_neither_be_carried_over_nor_be_left_behind_stops_the_swap) {
  make();
  query("ALTER TABLE " + table() + " ADD extra int");
  query("CREATE TABLE " + table("other") + " (n int)");
  query("CREATE POLICY via ON " + table("other") + " USING (n IN (SELECT o.extra FROM " + table() + " o))");
  query("CREATE VIEW " + table("kept") + " AS SELECT id FROM " + table());
  auto const leaving = [&] { return message_of([&] { reload(other_rows, {.leave_behind = true}); }); };
  auto const before = content();
  BOOST_TEST(leaving().find("neither be carried over nor be left behind") != std::string::npos);
  BOOST_TEST(difference(before, content()) == "");
  query("DROP POLICY via ON " + table("other"));
  // A materialized view on which another depends cannot be made anew, and holds on to the old table.
  query("CREATE MATERIALIZED VIEW " + table("counted") + " AS SELECT count(*) AS n FROM " + table());
  query("CREATE VIEW " + table("over") + " AS SELECT n FROM " + table("counted"));
  BOOST_TEST(message_of([&] { reload(other_rows); }).find("counted") != std::string::npos);
  BOOST_TEST(leaving().find("could not be carried over") != std::string::npos);
  query("DROP VIEW " + table("over"));
  auto const report = reload(other_rows, {.leave_behind = true});
  BOOST_TEST(report.left_behind.empty());
  BOOST_TEST(query("SELECT n::text FROM " + table("counted")) == "2");
  // What is there that no statement could make, when the swap comes.
  BOOST_TEST(message_of([&] {
               ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
                 loading(d, "e,5,2026-11-26\n")(created);
                 query("ALTER TABLE " + table() + " ADD made int GENERATED ALWAYS AS IDENTITY");
               });
             }).find("identity column made (there is no statement") != std::string::npos);
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(a_foreign_key_whose_triggers_are_disabled_is_not_made_anew_unasked) {
  make();
  query("CREATE TABLE " + table("child") + " (ref int CONSTRAINT to_orders REFERENCES " + table() + ')');
  query("CREATE TABLE " + table("days") + " (day date PRIMARY KEY)");
  query("ALTER TABLE " + table() + " ADD CONSTRAINT of_days FOREIGN KEY (day) REFERENCES " + table("days") +
        " NOT VALID");
  auto const why = [&] { return message_of([&] { reload(other_rows); }); };
  auto const before = content();
  query("ALTER TABLE " + table("child") + " DISABLE TRIGGER ALL");
  BOOST_TEST(why().find("child.to_orders (there is no statement") != std::string::npos);
  query("ALTER TABLE " + table("child") + " ENABLE TRIGGER ALL");
  query("ALTER TABLE " + table() + " DISABLE TRIGGER ALL");
  BOOST_TEST(why().find("constraint of_days") != std::string::npos);
  query("ALTER TABLE " + table() + " ENABLE TRIGGER ALL");
  query("ALTER TABLE " + table("days") + " DISABLE TRIGGER ALL");
  BOOST_TEST(why().find("constraint of_days") != std::string::npos);
  query("ALTER TABLE " + table("days") + " ENABLE TRIGGER ALL");
  query("CREATE MATERIALIZED VIEW " + table("counted") + " AS SELECT count(*) FROM " + table());
  query("ALTER MATERIALIZED VIEW " + table("counted") + " DEPENDS ON EXTENSION plpgsql");
  BOOST_TEST(why().find("counted (there is no statement") != std::string::npos);
  query("DROP MATERIALIZED VIEW " + table("counted"));
  BOOST_TEST(difference(before, content()) == "");
}

BOOST_AUTO_TEST_CASE(a_statement_that_is_cancelled_amid_the_swap_is_no_reason_to_leave_something_behind) {
  make();
  query("CREATE MATERIALIZED VIEW " + table("slow") + " AS SELECT count(*), pg_sleep(0.5)::text FROM " + table());
  std::thread canceller{[&] {
    client other{server() + "?application_name=person"};
    while (other("SELECT bool_or(pg_cancel_backend(pid))::text FROM pg_stat_activity WHERE query LIKE '%REFRESH%' AND"
                 " application_name = 'stash'") != "true") {
      std::this_thread::sleep_for(5ms);
    }
  }};
  BOOST_TEST(code_of([&] { reload(other_rows, {.leave_behind = true}); }) == sqlstate("57014"));
  canceller.join();
  BOOST_TEST(query("SELECT count::text FROM " + table("slow")) == "2");
  BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + table()) == "a,b");
}

BOOST_AUTO_TEST_CASE(what_an_event_trigger_undoes_stops_the_swap) {
  make();
  query("GRANT SELECT ON " + table() + " TO " + reader.quoted);
  query("CREATE FUNCTION " + quoted() +
        ".undo() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM"
        " pg_class WHERE relname LIKE 'stash: replaced%') THEN REVOKE SELECT ON " +
        table() + " FROM " + reader.quoted + "; END IF; END $$");
  query("CREATE EVENT TRIGGER undo ON ddl_command_end WHEN TAG IN ('GRANT') EXECUTE FUNCTION " + quoted() + ".undo()");
  auto const before = content();
  auto const why = message_of([&] { reload(other_rows); });
  BOOST_TEST(difference(before, content()) == "");
  query("DROP EVENT TRIGGER undo");
  BOOST_TEST(why.find("is not on the new table as it was on the old one") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_first_table_that_somebody_looks_at_is_put_in_place_by_another_object) {
  std::optional<reader_of> looking;
  auto const load = [&](ckan::fields const& created) {
    loading(d, other_rows)(created);
    looking.emplace(beside() + ".orders");
  };
  ckan::reload_options hurried{.patience = 0ms, .waiting = [&](auto const&) { looking.reset(); }};
  BOOST_TEST(code_of([&] { ckan::reload(d, store, "orders", headers, load, hurried); }) == errc::busy);
  ckan::postgres_datastore other{server(), {.schema = name}};
  ckan::finish_reload(other, store, "orders");
  BOOST_TEST(d.rows("orders") == 2U);
  BOOST_TEST(query("SELECT count(*)::text FROM pg_constraint WHERE contype = 'p' AND conrelid = '" + table() +
                   "'::regclass") == "1");
}

BOOST_AUTO_TEST_CASE(a_first_table_takes_no_place_that_was_taken_meanwhile) {
  BOOST_TEST(message_of([&] {
               ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
                 loading(d, other_rows)(created);
                 ckan::postgres_datastore other{server(), {.schema = name}};
                 other.create("orders", headers);
                 loading(other, "new,1,2026-11-22\n")(headers);
                 other.finish("orders");
               });
             }).find("1 row (added since") != std::string::npos);
  BOOST_TEST(query("SELECT string_agg(id, ',') FROM " + table()) == "new");
  // One that was stopped amid its swap has its key already.
  d.drop("orders");
  d.build("orders", headers);
  loading(d, other_rows)(headers);
  ckan::swap_options stopping;
  stopping.words = [](auto const&, auto const&) -> ckan::table_words { throw std::runtime_error("stop"); };
  BOOST_CHECK_THROW(d.swap_in("orders", stopping), std::runtime_error);
  BOOST_TEST(d.swap_in("orders").empty());
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(a_first_table_has_no_more_rights_than_one_that_is_made_here) {
  query("CREATE FUNCTION " + quoted() +
        ".populate_full_text_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RETURN new; END $$");
  reload("");
  d.drop("orders");  // the schema for what is built is there now
  query("ALTER DEFAULT PRIVILEGES IN SCHEMA " + beside() + " GRANT SELECT ON TABLES TO " + reader.quoted);
  reload("");
  BOOST_TEST(query("SELECT relacl::text FROM pg_class WHERE oid = '" + table() + "'::regclass").find("reader") ==
             std::string::npos);
  BOOST_TEST(query("SELECT tgname FROM pg_trigger WHERE tgrelid = '" + table() + "'::regclass") == "zfulltext");
}

BOOST_AUTO_TEST_CASE(what_was_built_is_put_in_place_by_whoever_knows_that_it_is_whole) {
  make();
  auto const of_d = [&](char const* what) {
    query("SELECT " + std::string(what) + "(pid)::text FROM pg_stat_activity WHERE application_name = 'stash'");
  };
  BOOST_TEST(message_of([&] { d.swap_in("orders"); }).find("nothing was built") != std::string::npos);
  {
    ckan::postgres_datastore gone{server(), {.schema = name}};
    gone.build("orders", headers);
    loading(gone, other_rows)(headers);
  }
  BOOST_TEST(message_of([&] { d.swap_in("orders"); }).find("not complete") != std::string::npos);
  d.build("orders", headers);
  of_d("pg_terminate_backend");
  {
    ckan::postgres_datastore second{server(), {.schema = name}};
    second.build("orders", headers);
  }
  BOOST_TEST(code_of([&] { d.swap_in("orders"); }));  // that the session is gone
  BOOST_TEST(message_of([&] { d.swap_in("orders"); }).find("another's") != std::string::npos);
  // Nobody asks to be told of a lock that is in the way, or of what is left behind.
  d.build("orders", headers);
  loading(d, other_rows)(headers);
  reader_of dashboard{table()};
  BOOST_TEST(code_of([&] { d.swap_in("orders", {.patience = 0ms}); }) == errc::busy);
  dashboard.let_go();
  query("ALTER TABLE " + table() + " ADD extra int");
  query("CREATE VIEW " + table("of_extra") + " AS SELECT extra FROM " + table());
  BOOST_TEST(d.swap_in("orders", {.leave_behind = true}).size() == 1U);
  BOOST_TEST(d.rows("orders") == 2U);
  // Somebody drops what was built while it waits.
  d.build("orders", headers);
  reader_of again{table()};
  ckan::swap_options dropping;
  dropping.waiting = [&](std::string const&) {
    query("DROP TABLE " + beside() + ".orders");
    again.let_go();
  };
  BOOST_TEST(message_of([&] { d.swap_in("orders", dropping); }).find("is gone") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_a_type_refuses_is_told_whatever_type_it_is) {
  query("CREATE DOMAIN " + quoted() + ".some AS int NOT NULL CHECK (value > 0)");
  std::vector<std::optional<std::string>> const values{"1", std::nullopt, "-1", "x"};
  auto const in_domain = d.refused("orders", {"a", quoted() + ".some", std::nullopt, {}}, values);
  BOOST_TEST((in_domain.size() == 2U && in_domain.contains(2) && in_domain.contains(3)));
  auto const names = d.refused("orders", {"a", "regclass", std::nullopt, {}}, values);
  BOOST_TEST(names.contains(3));
  BOOST_TEST(d.refused("orders", {"a", "text", std::nullopt, {}}, values).empty());
  BOOST_TEST(code_of([&] { d.refused("orders", {"a", "no_such_type", std::nullopt, {}}, values); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_swap_of_nothing_is_refused) {
  stash::detail::operation const op{"swap", "none"};
  stash::detail::postgres_connection db{server(), {"connect", "test"}, stash::detail::deadline_in(30s)};
  constexpr auto by = stash::detail::postgres_built_by::us;
  stash::detail::postgres_belongings_reader const listing{db, by, op, stash::detail::deadline_in(30s)};
  auto const until = [] { return stash::detail::deadline_in(30s); };
  stash::detail::postgres_table_swap swap{db, listing, by, name, "pg_temp", "none", op, until};
  BOOST_TEST(swap.hopeless().empty());
  make();
  BOOST_TEST(
      (stash::detail::postgres_table_swap{db, listing, by, name, "pg_temp", "orders", op, until}.hopeless().empty()));
  BOOST_TEST(code_of([&] { swap.prepare(); }) == errc::mismatch);
  db.begin(op, stash::detail::deadline_in(30s));
  BOOST_TEST(code_of([&] {
               swap.run(
                   false, {}, [](auto const&) {}, [] {});
             }) == errc::mismatch);
  db.end("ROLLBACK", op, stash::detail::deadline_in(30s));
}

BOOST_AUTO_TEST_CASE(what_only_passes_is_told_from_what_is_wrong) {
  using stash::detail::is_about_the_statement;
  using stash::detail::may_be_tried_again;
  BOOST_TEST(may_be_tried_again({sqlstate("55P03"), "test"}));
  BOOST_TEST(may_be_tried_again({sqlstate("40P01"), "test"}));
  BOOST_TEST(!may_be_tried_again({sqlstate("42P01"), "test"}));
  BOOST_TEST(is_about_the_statement({sqlstate("42P01"), "test"}));
  BOOST_TEST(!is_about_the_statement({sqlstate("53100"), "test"}));
  BOOST_TEST(!is_about_the_statement({errc::mismatch, "test"}));
}

/// A second reload begins at each step of the first, with the same stash or another.
BOOST_AUTO_TEST_CASE(a_second_reload_at_any_step_leaves_a_whole_table_of_one_of_them) {
  make();
  query("CREATE INDEX by_day ON " + table() + " (day)");
  stash::file_stash elsewhere{root / "elsewhere"};
  auto const words = d.describe("orders")->at(2).info;
  for (auto const keep : {ckan::keep::everything, ckan::keep::words}) {
    for (bool const has_same_stash : {true, false}) {
      std::size_t steps = 1;
      for (std::size_t second_at = 0; second_at < steps; ++second_at) {
        ckan::postgres_datastore other{server(), {.schema = name, .timeout = 2s}};
        std::size_t step = 0;
        std::optional<boost::system::error_code> second;
        std::string where;
        support::hooked_datastore<ckan::postgres_datastore> hooked{
            d, [&](std::string_view at) {
              if (step++ != second_at) return;
              where = at;
              second = code_of([&] {
                ckan::reload(other, has_same_stash ? store : elsewhere, "orders", headers,
                             loading(other, "e,5,2026-11-26\n"), {.guard = {.observer = stash::silent}, .keep = keep});
              });
            }};
        auto const first = code_of([&] {
          ckan::reload(hooked, store, "orders", headers, loading(d, other_rows),
                       {.guard = {.observer = stash::silent}, .keep = keep});
        });
        steps = std::max(steps, step);
        auto const context = "at " + where + (has_same_stash ? ", the same stash: " : ", another: ") + first.message() +
                             "; " + second.value_or(first).message() + (keep == ckan::keep::words ? "; words" : "");
        BOOST_TEST_INFO(context);
        BOOST_TEST_REQUIRE(second.has_value());
        if (has_same_stash) BOOST_TEST((*second == errc::busy || where == "describe" || where == "after the swap"));
        auto const ids = query("SELECT string_agg(id, ',' ORDER BY id) FROM " + table());
        BOOST_TEST_INFO(context << ": " << ids);
        BOOST_TEST((ids == "c,d" || ids == "e" || keep == ckan::keep::words));
        // With another stash nothing keeps two from dropping at once: then the words may be in the record alone.
        if (!d.describe("orders")) ckan::recover(d, store, {.observer = stash::silent});
        BOOST_TEST_INFO(context);
        BOOST_TEST((d.describe("orders")->at(2).info == words || !store.entries().empty()));
        if (keep == ckan::keep::everything) {
          BOOST_TEST(query("SELECT count(*)::text FROM pg_indexes WHERE indexname = 'by_day'") == "1");
        }
        reload(other_rows);
        BOOST_TEST_INFO(context);
        BOOST_TEST((d.describe("orders")->at(2).info == words));
        BOOST_TEST((d.leftovers().empty() && store.entries().empty()));
        for (auto const& e : elsewhere.entries()) elsewhere.storage().erase(stash::key(e.key));
      }
      BOOST_TEST(steps > 5U);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_swap_test
