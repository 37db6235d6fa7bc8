// A table that is built beside the live one and takes its place, in an SQLite file: what hangs on the old one is on the
// new one, and until then the old one is as it was, rows and all.
#include <sqlite3.h>

#include "sqlite_swap_fixture.hpp"

namespace sqlite_swap_test {

BOOST_FIXTURE_TEST_SUITE(sqlite_swap, fixture)

BOOST_AUTO_TEST_CASE(after_ten_reloads_all_that_hangs_on_the_table_is_as_it_was) {
  make();
  execute(
      "CREATE INDEX by_day ON orders (day DESC) WHERE id > 0;"
      "CREATE UNIQUE INDEX \"the key\" ON orders (id, day COLLATE NOCASE);"
      "CREATE INDEX lower_day ON orders (lower(day));"
      "CREATE TABLE log (text);"
      "CREATE TRIGGER noting AFTER UPDATE OF day ON orders WHEN new.day <> old.day BEGIN INSERT INTO log VALUES "
      "(new.day); END;"
      "CREATE TRIGGER of_log AFTER INSERT ON log BEGIN UPDATE orders SET day = day WHERE id = 1; END;"
      "CREATE VIEW alias AS SELECT id, day FROM orders;"
      "CREATE VIEW over AS SELECT count(*) AS n FROM alias;"
      "CREATE VIEW broken AS SELECT no_such FROM orders;"
      "CREATE TRIGGER on_alias INSTEAD OF INSERT ON alias BEGIN INSERT INTO orders (id) VALUES (new.id); END;"
      "CREATE TABLE child (ref INTEGER REFERENCES orders (_id) ON DELETE CASCADE);"
      "INSERT INTO child VALUES (1), (99);"
      "CREATE TRIGGER broken_one AFTER DELETE ON child BEGIN SELECT no_such FROM alias; END;"
      "ANALYZE");
  auto const before = content(false);
  for (int i = 0; i < 10; ++i) BOOST_TEST(reload(other_rows).left_behind.empty());
  BOOST_TEST(content(false) == before, boost::test_tools::per_element());
  BOOST_TEST((query("SELECT day FROM alias ORDER BY id") == std::vector{"c"s, "d"s}));
  BOOST_TEST((query("SELECT n FROM over") == std::vector{"2"s}));
  BOOST_TEST((query("SELECT DISTINCT tbl FROM sqlite_stat1 WHERE tbl = 'orders'") == std::vector{"orders"s}));
  BOOST_TEST((query("SELECT ref FROM child ORDER BY ref") == std::vector{"1"s, "99"s}));
  execute("UPDATE orders SET day = 'new' WHERE id = 3");
  BOOST_TEST((query("SELECT text FROM log") == std::vector{"new"s}));
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name LIKE '%beside%'").empty());
}

BOOST_AUTO_TEST_CASE(a_failure_before_the_swap_leaves_all_untouched) {
  make();
  execute("CREATE UNIQUE INDEX by_day ON orders (day); CREATE VIEW alias AS SELECT id FROM orders;");
  auto const before = content();
  auto const is_refused = [&](ckan::fields const& fields, auto load) {
    auto const problem = code_of([&] { ckan::reload(d, store, "orders", fields, load); });
    BOOST_TEST(content() == before, boost::test_tools::per_element());
    BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name LIKE '%beside%'").empty());
    return problem;
  };
  ckan::fields many(2001, {"", "text", std::nullopt});
  for (std::size_t i = 0; i < many.size(); ++i) many[i].id = "c" + std::to_string(i);
  BOOST_TEST(is_refused(many, [](auto const&) {}) == errc::mismatch);
  BOOST_TEST(is_refused({{"_id", "text", std::nullopt}}, [](auto const&) {}) == errc::mismatch);
  BOOST_TEST(is_refused(headers, loading(d, {row{"1", "x"}, row{"2", "x"}})) == errc::mismatch);  // not unique
  auto const amid = [&](ckan::fields const& created) {
    ckan::sqlite_datastore::loader loader{d, "orders", created};
    for (int i = 0; i < 25'000; ++i) loader.add(row{"1", "x"});
    throw stash::error{errc::corrupt, "amid"};
  };
  BOOST_TEST(is_refused(headers, amid) == errc::corrupt);
  auto const unfinished = [&](ckan::fields const& created) {
    ckan::sqlite_datastore::loader loader{d, "orders", created};
    for (int i = 0; i < 25'000; ++i) loader.add(row{"1", std::to_string(i)});
  };
  BOOST_TEST(is_refused(headers, unfinished) == errc::mismatch);
  reload(other_rows);
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_carried_over_stops_the_swap_or_is_left_behind_and_set_aside) {
  make();
  execute(
      "ALTER TABLE orders ADD COLUMN extra DEFAULT 7 CHECK (extra > 0);"
      "CREATE INDEX on_extra ON orders (extra);"
      "CREATE TRIGGER by_extra AFTER UPDATE OF extra ON orders BEGIN SELECT new.extra; END;"
      "CREATE VIEW of_extra AS SELECT extra FROM orders;"
      "CREATE TABLE log (text); CREATE TRIGGER of_log AFTER INSERT ON log BEGIN UPDATE orders SET extra = 1; END;");
  auto const before = content();
  auto const why = message_of([&] { reload(other_rows); });
  for (char const* const what : {"index on_extra", "trigger by_extra", "trigger of_log", "view of_extra",
                                 "definition of the table", "no such column"}) {
    BOOST_TEST(why.find(what) != std::string::npos, what << " in " << why);
  }
  BOOST_TEST(content() == before, boost::test_tools::per_element());
  std::vector<std::string> told;
  auto const hear = [&](stash::event const& e) {
    if (e.kind == stash::event_kind::committed) told.push_back(stash::detail::line_of(e));
  };
  auto const report = reload(other_rows, {.guard = {.observer = hear}, .leave_behind = true});
  BOOST_TEST(report.left_behind.size() == 5U);
  BOOST_TEST_REQUIRE(told.size() == 1U);
  for (auto const& one : report.left_behind) BOOST_TEST(told[0].find(one.what) != std::string::npos, told[0]);
  auto const aside = store.set_aside_entries();
  BOOST_TEST_REQUIRE(aside.size() == 1U);
  BOOST_TEST(aside[0].where.find("left_behind") != std::string::npos);
  auto const kept = json::parse(payload_of(aside[0])).as_object();
  BOOST_TEST(kept.at("_left_behind").as_array().size() == 5U);
  BOOST_TEST(kept.at("_left_behind").as_array()[1].at("ddl").as_string() == "CREATE INDEX on_extra ON orders (extra)");
  BOOST_TEST(kept.contains("day"));
  BOOST_TEST((query("SELECT name FROM sqlite_schema WHERE type IN ('view', 'trigger')").empty()));
  reload(other_rows);
  BOOST_TEST(store.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(what_somebody_made_of_a_column_stops_the_swap) {
  make();
  execute("ALTER TABLE orders ADD COLUMN note");
  BOOST_TEST(message_of([&] { reload(other_rows); }).find("column note") != std::string::npos);
  reload(other_rows, {.leave_behind = true});
  execute(
      "ALTER TABLE orders RENAME TO o; CREATE TABLE orders (_id INTEGER PRIMARY KEY, \"id\" INTEGER, day TEXT); DROP "
      "TABLE o");
  BOOST_TEST(message_of([&] { reload(other_rows); }).find("column id") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_trigger_with_a_tables_name_is_set_aside_as_what_it_is) {
  make();
  execute(
      "ALTER TABLE orders ADD COLUMN extra; CREATE TRIGGER orders AFTER UPDATE ON orders BEGIN SELECT new.extra; END");
  auto const report = reload(other_rows, {.leave_behind = true});
  BOOST_TEST(report.left_behind.back().ddl.starts_with("CREATE TRIGGER"));
}

BOOST_AUTO_TEST_CASE(rows_go_where_the_job_that_loads_them_means) {
  make();
  // Into the live table, through another object: the new table would not have them.
  BOOST_TEST(message_of([&] {
               ckan::sqlite_datastore other{file};
               ckan::reload(d, store, "orders", headers, loading(other, other_rows));
             }).find("2 rows (added since the new table was begun") != std::string::npos);
  BOOST_TEST(d.rows("orders") == 4U);
  // What was built and could not be put in its place takes no rows of another job's.
  d.build("orders", headers);
  ckan::reload(d, store, "orders", headers, loading(d, other_rows), {.keep = ckan::keep::words});
  BOOST_TEST(d.rows("orders") == 2U);
  // Nor does what another builds, and its table is not another's to remove.
  ckan::sqlite_datastore second{file};
  d.build("orders", headers);
  ckan::sqlite_datastore::loader mine{d, "orders", headers};
  second.build("orders", headers);
  BOOST_TEST(code_of([&] { mine.add(other_rows[0]); }) == errc::mismatch);
  d.discard("orders");
  BOOST_TEST((second.leftovers() == std::vector{"orders"s}));
  loading(second, {row{"7", "x"}})(headers);
  second.swap_in("orders");
  BOOST_TEST((query("SELECT day FROM orders") == std::vector{"x"s}));
}

BOOST_AUTO_TEST_CASE(rows_that_others_add_meanwhile_stop_the_swap_or_are_told) {
  make();
  auto const reload_while = [&](char const* others, ckan::reload_options const& options = {}) {
    return ckan::reload(
        d, store, "orders", headers,
        [&](ckan::fields const& created) {
          loading(d, other_rows)(created);
          execute(others);
        },
        options);
  };
  constexpr auto add = "INSERT INTO orders (id) VALUES ('late')";
  BOOST_TEST(message_of([&] { reload_while(add); }).find("1 row (added since") != std::string::npos);
  BOOST_TEST(d.rows("orders") == 3U);
  auto const report = reload_while(add, {.leave_behind = true});
  BOOST_TEST_REQUIRE(report.left_behind.size() == 1U);
  BOOST_TEST(report.left_behind[0].what == "1 row");
  // Who takes rows away adds none.
  reload_while("DELETE FROM orders");
  BOOST_TEST(d.rows("orders") == 2U);
  // Another object that ends the reload sees them, too.
  d.build("orders", headers);
  loading(d, other_rows)(headers);
  ckan::swap_options stopping;
  stopping.words = [](auto const&, auto const&) -> ckan::table_words { throw std::runtime_error("stop"); };
  BOOST_CHECK_THROW(d.swap_in("orders", stopping), std::runtime_error);
  execute(add);
  ckan::sqlite_datastore later{file};
  BOOST_TEST(message_of([&] { later.swap_in("orders"); }).find("1 row") != std::string::npos);
  BOOST_TEST(d.rows("orders") == 3U);
  BOOST_TEST(later.swap_in("orders", {.leave_behind = true}).size() == 1U);
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(a_table_that_was_made_anew_meanwhile_is_not_replaced_unasked) {
  make();
  BOOST_TEST(message_of([&] {
               ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
                 loading(d, other_rows)(created);
                 ckan::sqlite_datastore other{file};
                 other.drop("orders");
                 other.create("orders", headers);
                 loading(other, {row{"1", "new"}})(headers);
                 other.finish("orders");
               });
             }).find("1 row (added since") != std::string::npos);
  BOOST_TEST((query("SELECT day FROM orders") == std::vector{"new"s}));
}

BOOST_AUTO_TEST_CASE(a_full_disk_is_no_reason_to_leave_something_behind) {
  make();
  execute("CREATE INDEX by_day ON orders (day)");
  std::vector<row> const many(20'000, row{"5", "a long text, so that an index of it takes some pages"});
  auto const full = [&](ckan::fields const& created) {
    loading(d, many)(created);
    ::sqlite3_exec(d.native_handle(), "PRAGMA max_page_count = 1", nullptr, nullptr,
                   nullptr);  // no more than there are
  };
  auto const problem = code_of([&] { ckan::reload(d, store, "orders", headers, full, {.leave_behind = true}); });
  BOOST_TEST((problem.category() == stash::detail::sqlite_category() && problem.value() == SQLITE_FULL));
  BOOST_TEST((query("SELECT tbl_name FROM sqlite_schema WHERE name = 'by_day'") == std::vector{"orders"s}));
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(foreign_keys_that_would_not_hold_any_more_stop_the_swap) {
  make();
  execute(
      "CREATE TABLE child (ref INTEGER REFERENCES orders (_id)); INSERT INTO child VALUES (2);"
      "CREATE UNIQUE INDEX by_id ON orders (id); CREATE TABLE other (ref REFERENCES orders (id));"
      "INSERT INTO other VALUES (1), (9)");
  BOOST_TEST(message_of([&] {
               reload({row{"9", "x"}, row{"2", "y"}});
             }).find("other") != std::string::npos);  // one for one
  auto const before = content();
  BOOST_TEST(message_of([&] { reload({row{"1", "x"}}); }).find("child") != std::string::npos);
  BOOST_TEST(message_of([&] { reload({row{"1", "x"}}, {.leave_behind = true}); }).find("child") != std::string::npos);
  BOOST_TEST(content() == before, boost::test_tools::per_element());
  reload({row{"1", "x"}, row{"3", "y"}});
}

BOOST_AUTO_TEST_CASE(a_foreign_key_that_never_held_is_in_nobodys_way) {
  make();
  d.build("orders", headers);
  execute("CREATE TABLE child (ref REFERENCES orders (day)); INSERT INTO child VALUES ('z')");  // of no unique index
  ::sqlite3_exec(d.native_handle(), "PRAGMA foreign_keys = ON", nullptr, nullptr, nullptr);
  loading(d, other_rows)(headers);
  BOOST_TEST(d.swap_in("orders").empty());
  BOOST_TEST(d.rows("orders") == 2U);
  int is_on = 0;  // as it was
  ::sqlite3_exec(
      d.native_handle(), "PRAGMA foreign_keys",
      [](void* to, int, char** value, char**) { return *static_cast<int*>(to) = **value == '1', 0; }, &is_on, nullptr);
  BOOST_TEST(is_on == 1);
}

BOOST_AUTO_TEST_CASE(foreign_keys_that_cannot_be_looked_at_stop_the_swap) {
  make();
  execute("CREATE TABLE child (ref INTEGER REFERENCES orders (_id))");
  auto const forbidding = [](void*, int action, char const* what, char const*, char const*, char const*) {
    return action == SQLITE_PRAGMA && what == "foreign_key_check"s ? SQLITE_DENY : SQLITE_OK;
  };
  ::sqlite3_set_authorizer(d.native_handle(), forbidding, nullptr);
  auto const problem = code_of([&] { reload(other_rows); });
  ::sqlite3_set_authorizer(d.native_handle(), nullptr, nullptr);
  BOOST_TEST((problem.category() == stash::detail::sqlite_category() && problem.value() == SQLITE_AUTH));
  BOOST_TEST((query("SELECT day FROM orders ORDER BY _id") == std::vector{"a"s, "b"s}));
}

BOOST_AUTO_TEST_CASE(the_definition_of_a_table_is_read_as_sqlite_reads_it) {
  ckan::fields const odd{{"CHECK (1)", "text", std::nullopt}, {"~}|é", "numeric", std::nullopt}};
  auto const load = [&](ckan::fields const& created) {
    ckan::sqlite_datastore::loader loader{d, "orders", created};
    loader.add(row{"1", "2"});
    loader.finish();
  };
  ckan::reload(d, store, "orders", odd, load);
  BOOST_TEST(ckan::reload(d, store, "orders", odd, load).left_behind.empty());
  auto const made_as = [&](std::string const& columns) {
    execute("DROP TABLE orders; CREATE TABLE orders (_id INTEGER PRIMARY KEY, " + columns + ")");
    return message_of([&] { ckan::reload(d, store, "orders", odd, load); });
  };
  // Names in each of the quotes that SQLite knows are no words.
  BOOST_TEST(made_as("[CHECK (1)] TEXT, `~}|é` NUMERIC") == "");  // what an older version made: it was NUMERIC
  BOOST_TEST(made_as("'CHECK (1)' TEXT, \"~}|é\"") == "");
  BOOST_TEST(made_as("[CHECK (1)] TEXT, \"~}|é\" CHECK (1)").find("it says CHECK") != std::string::npos);
  BOOST_TEST(made_as("[CHECK (1)] TEXT UNIQUE, \"~}|é\"").find("it says UNIQUE") != std::string::npos);
  BOOST_TEST(made_as("[CHECK (1)] TEXT DEFAULT ('a' || 'b'), \"~}|é\"").find("it says DEFAULT") != std::string::npos);
  BOOST_TEST(made_as("[CHECK (1)] INT, \"~}|é\"").find("column CHECK (1)") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_was_built_is_put_in_place_by_whoever_knows_that_it_is_whole) {
  ckan::sqlite_datastore fresh{(root / "fresh.sqlite").native()};
  BOOST_TEST(fresh.leftovers().empty());
  BOOST_TEST(message_of([&] { fresh.swap_in("orders"); }).find("nothing was built") != std::string::npos);
  make();
  ckan::sqlite_datastore second{file};
  d.build("orders", headers);
  loading(d, other_rows)(headers);
  BOOST_TEST(message_of([&] { second.swap_in("orders"); }).find("not complete") != std::string::npos);
  second.build("orders", headers);
  BOOST_TEST(message_of([&] { d.swap_in("orders"); }).find("another's") != std::string::npos);
  d.discard("orders");
  loading(second, other_rows)(headers);
  // Nobody asks to be told of a lock that is in the way.
  ::sqlite3_busy_timeout(second.native_handle(), 10);
  stash::detail::sqlite_connection other{file};
  {
    stash::detail::sqlite_transaction const writing{other, "test", "other"};
    BOOST_TEST(code_of([&] { second.swap_in("orders", {.patience = 0ms}); }) == errc::busy);
  }
  execute("ALTER TABLE _stash_field RENAME TO hidden");
  auto const problem = code_of([&] { second.swap_in("orders"); });
  BOOST_TEST((problem.category() == stash::detail::sqlite_category() && problem.value() == SQLITE_ERROR));
  execute("ALTER TABLE hidden RENAME TO _stash_field");
  BOOST_TEST(second.swap_in("orders").empty());
  // What goes away while rows are added to it.
  d.build("orders", headers);
  ckan::sqlite_datastore::loader mine{d, "orders", headers};
  second.discard("orders");
  second.drop("_stash_beside_orders");
  BOOST_TEST(code_of([&] { mine.add(other_rows[0]); }) == errc::mismatch);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_swap_test
