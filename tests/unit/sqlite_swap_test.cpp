// A table that is built beside the live one and takes its place, in an SQLite file: what hangs on the old one is on the
// new one, and until then the old one is as it was, rows and all.
#include <sqlite3.h>

#include <array>
#include <csignal>
#include <fstream>
#include <optional>
#include <stash/ckan/recover.hpp>
#include <stash/ckan/reload.hpp>
#include <thread>

#include "faulty_vfs.hpp"
#include "figures.hpp"
#include "sqlite_datastore_fixture.hpp"

namespace sqlite_swap_test {

using namespace std::chrono_literals;
using namespace std::string_literals;
using stash::errc;
using support::code_of;
using support::message_of;
namespace ckan = stash::ckan;
namespace json = boost::json;

namespace {

using row = std::array<std::optional<std::string_view>, 2>;

struct fixture : sqlite_datastore_test::fixture {
  stash::file_stash store{dir()};
  ckan::fields const headers{{"id", "numeric", std::nullopt}, {"day", "date", std::nullopt}};

  void execute(std::string const& sql) const {
    stash::detail::sqlite_connection db{file};
    db.execute(sql, "test", {});
  }
  static auto loading(ckan::sqlite_datastore& d, std::vector<row> rows) {
    return [&d, rows = std::move(rows)](ckan::fields const& created) {
      ckan::sqlite_datastore::loader loader{d, "orders", created};
      for (auto const& one : rows) loader.add(one);
      loader.finish();
    };
  }
  ckan::reload_report reload(std::vector<row> rows, ckan::reload_options const& options = {}) {
    return ckan::reload(d, store, "orders", headers, loading(d, std::move(rows)), options);
  }
  void make() {
    reload({row{"1", "a"}, row{"2", "b"}});
    d.annotate("orders", {{"day", json::object{{"label", "Day"}}}});
  }
  /// All that stands in the file but for rows, then the rows.
  std::vector<std::string> content(bool with_rows = true) const {
    auto all = query(
        "SELECT type || '|' || name || '|' || tbl_name || '|' || coalesce(sql, '') FROM sqlite_schema"
        " WHERE name NOT LIKE '\\_stash%' ESCAPE '\\' AND name NOT LIKE 'sqlite_stat%' ORDER BY type, name");
    for (auto const& sql :
         {"SELECT id || '|' || finished FROM _stash_resource ORDER BY id"s,
          "SELECT resource_id || '|' || position || '|' || id || '|' || coalesce(info, '') FROM _stash_field"
          " ORDER BY resource_id, position"s,
          "SELECT "s + (with_rows ? "_id || '|' || id || '|' || day" : "1") + " FROM orders"}) {
      for (auto& line : query(sql)) all.push_back(std::move(line));
    }
    return all;
  }
};

std::string payload_of(stash::entry const& e) {
  std::ifstream file{e.where};
  std::string header, payload;
  std::getline(file, header);
  std::getline(file, payload);
  return payload;
}

std::vector<row> const other_rows{row{"3", "c"}, row{"4", "d"}};

}  // namespace

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

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_in_wal_mode_is_reloaded_all_the_same) {
  support::faulty_vfs const plain{[](std::string_view) { return SQLITE_OK; }, false};
  std::string const there = (root / "plain.sqlite").native();
  ckan::sqlite_datastore one{there};
  for (int i = 0; i < 2; ++i) ckan::reload(one, store, "orders", headers, loading(one, other_rows));
  BOOST_TEST(one.rows("orders") == 2U);
}

/// The table has the old rows or the new ones, and the words, and what hung on it.
BOOST_AUTO_TEST_CASE(whichever_call_of_sqlite_fails_the_table_is_the_old_one_or_the_new_one) {
  std::size_t tried = 0, failed = 0, bad = 0;
  for (int const code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
    for (bool const all_later : {false, true}) {
      bool has_failed = true;
      for (int fails_at = 0; has_failed; ++fails_at) {
        support::scratch place;
        std::string const there = (place.root / "one.sqlite").native();
        stash::file_stash words{place.dir()};
        std::vector<row> const old_rows{row{"1", "a"}, row{"2", "b"}};
        {
          ckan::sqlite_datastore one{there};
          ckan::reload(one, words, "orders", headers, loading(one, old_rows));
          one.annotate("orders", {{"day", json::object{{"label", "Day"}}}});
          ::sqlite3_exec(one.native_handle(), "CREATE INDEX by_day ON orders (day)", nullptr, nullptr, nullptr);
        }
        has_failed = false;
        boost::system::error_code problem;
        {
          int calls = 0;
          support::faulty_vfs const faulty{[&](std::string_view) {
            bool const fails = calls == fails_at || (all_later && calls > fails_at);
            ++calls;
            has_failed = has_failed || fails;
            return fails ? code : SQLITE_OK;
          }};
          problem = code_of([&] {
            ckan::sqlite_datastore one{there};
            ckan::reload(one, words, "orders", headers, loading(one, other_rows),
                         {.guard = {.observer = stash::silent}});
          });
          calls = -1'000'000;  // the disk is well again, before what was opened is closed
        }
        ckan::sqlite_datastore one{there};
        stash::detail::sqlite_connection const connection{there};
        auto const text = [&](char const* sql) {
          stash::detail::sqlite_statement found{connection, sql, "test", {}};
          return found.step() ? found.text(0).value_or("") : "";
        };
        auto const days = text("SELECT group_concat(day, ',') FROM (SELECT day FROM orders ORDER BY _id)");
        auto const live = one.describe("orders");
        bool const is_whole = (days == "a,b" || (days == "c,d")) && (problem || days == "c,d") && live &&
                              live->at(1).info == json::object{{"label", "Day"}} &&
                              text("SELECT tbl_name FROM sqlite_schema WHERE name = 'by_day'") == "orders";
        BOOST_TEST_INFO("call " << fails_at << " fails with " << code << ": " << problem.message() << ", " << days);
        BOOST_TEST(is_whole);
        ckan::reload(one, words, "orders", headers, loading(one, other_rows), {.guard = {.observer = stash::silent}});
        bool const is_clean = one.leftovers().empty() && words.entries().empty() && one.rows("orders") == 2U;
        BOOST_TEST(is_clean);
        ++tried;
        failed += bool(problem);
        bad += !is_whole || !is_clean;
      }
    }
  }
  BOOST_TEST(tried > 100U);
  BOOST_TEST(failed > 80U);
  support::figure("every call fails", "each call of SQLite by a swap, and all later ones", tried, bad);
}

BOOST_AUTO_TEST_CASE(what_is_typed_meanwhile_is_on_the_new_table) {
  make();
  auto const report = ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
    ckan::sqlite_datastore person{file};
    person.annotate("orders", {{"id", json::object{{"label", "typed meanwhile"}}}});
    execute("UPDATE _stash_field SET info = NULL WHERE id = 'day' AND resource_id = 'orders'");
    loading(d, other_rows)(created);
  });
  BOOST_TEST(report.unplaced.empty());
  auto const live = d.describe("orders");
  BOOST_TEST((live->at(0).info == json::object{{"label", "typed meanwhile"}}));
  BOOST_TEST(!live->at(1).info);
  ckan::reload(d, store, "orders", {{"day", "text", std::nullopt}}, [&](ckan::fields const&) {
    ckan::sqlite_datastore{file}.annotate("orders", {{"id", json::object{{"label", "at the last moment"}}}});
  });
  auto const aside = store.set_aside_entries();
  BOOST_TEST_REQUIRE(aside.size() == 1U);
  BOOST_TEST(payload_of(aside[0]).find("at the last moment") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(readers_see_the_old_rows_until_the_new_ones_are_there) {
  make();
  std::vector<row> many(30'000, row{"5", "e"});
  stash::detail::sqlite_connection reader{file};
  ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
    loading(d, many)(created);
    stash::detail::sqlite_statement count{reader, "SELECT count(*) FROM orders", "test", {}};
    BOOST_TEST((count.step() && count.integer(0) == 2));
  });
  BOOST_TEST(d.rows("orders") == many.size());
}

BOOST_AUTO_TEST_CASE(a_writer_in_the_way_is_waited_for_as_long_as_patience_says) {
  make();
  auto const before = content();
  ::sqlite3_busy_timeout(d.native_handle(), 50);
  std::optional<stash::detail::sqlite_connection> other;
  std::optional<stash::detail::sqlite_transaction> writing;
  int waited = 0;
  auto const load = [&](ckan::fields const& created) {
    loading(d, other_rows)(created);
    other.emplace(file);
    writing.emplace(*other, "test", "other");
  };
  auto const waiting = [&](std::string const&) { ++waited; };
  BOOST_TEST(code_of([&] {
               ckan::reload(d, store, "orders", headers, load, {.patience = 300ms, .waiting = waiting});
             }) == errc::busy);
  BOOST_TEST(waited == 1);
  writing.reset();
  BOOST_TEST(d.rows("orders") == 2U);
  ckan::sqlite_datastore another{file};
  BOOST_TEST(code_of([&] { ckan::finish_reload(another, store, "orders"); }) == errc::mismatch);  // nobody could say
  auto const report = ckan::finish_reload(d, store, "orders");
  BOOST_TEST(report.origin == stash::origin::live);
  BOOST_TEST((query("SELECT day FROM orders ORDER BY _id") == std::vector{"c"s, "d"s}));
  BOOST_TEST((another.describe("orders")->at(1).info == json::object{{"label", "Day"}}));
  BOOST_TEST(code_of([&] { ckan::finish_reload(another, store, "orders"); }) == errc::mismatch);
  BOOST_TEST(store.entries().empty());
  reload({row{"1", "a"}, row{"2", "b"}});
  BOOST_TEST(content() == before, boost::test_tools::per_element());
  auto const let_go = [&](std::string const&) { writing.reset(); };
  ckan::reload(d, store, "orders", headers, load, {.waiting = let_go});
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(another_reload_takes_what_is_built_and_the_first_ends_with_all_as_it_is) {
  make();
  stash::memory_stash another;
  ckan::sqlite_datastore second{file};
  BOOST_TEST(code_of([&] {
               ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
                 loading(d, {row{"9", "x"}})(created);
                 ckan::reload(second, another, "orders", headers, loading(second, other_rows));
               });
             }) == errc::mismatch);
  BOOST_TEST((query("SELECT day FROM orders ORDER BY _id") == std::vector{"c"s, "d"s}));
  second.build("orders", headers);
  BOOST_TEST(code_of([&] { d.swap_in("orders"); }) == errc::mismatch);  // not its own
}

BOOST_AUTO_TEST_CASE(a_process_killed_anywhere_leaves_the_old_table_or_the_new_one) {
  make();
  execute("CREATE INDEX by_day ON orders (day); CREATE VIEW alias AS SELECT id FROM orders;");
  auto const structure = content(false).size();
  for (int at = 0; at < 60; ++at) {
    int const status = support::in_child([&] {
      ckan::sqlite_datastore one{file};
      int left = at;
      ::sqlite3_progress_handler(
          one.native_handle(), 20,
          [](void* n) {
            if (--*static_cast<int*>(n) < 0) ::raise(SIGKILL);
            return 0;
          },
          &left);
      stash::memory_stash own;
      ckan::reload(one, own, "orders", headers,
                   loading(one, at % 2 == 0 ? other_rows : std::vector{row{"1", "a"}, row{"2", "b"}}));
      return 0;
    });
    BOOST_TEST((status == 0 || status == 256 + SIGKILL));
    auto const days = query("SELECT day FROM orders ORDER BY _id");
    BOOST_TEST((days == std::vector{"c"s, "d"s} || days == std::vector{"a"s, "b"s}), "killed at " << at);
    BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name IN ('by_day', 'alias')").size() == 2U);
    BOOST_TEST((ckan::sqlite_datastore{file}.describe("orders")->at(1).info == json::object{{"label", "Day"}}));
  }
  reload(other_rows);
  BOOST_TEST(content(false).size() == structure);
  d.build("orders", headers);
  ckan::sqlite_datastore{file}.discard("orders");
  BOOST_TEST(content(false).size() == structure);
}

BOOST_AUTO_TEST_CASE(recover_removes_what_was_built_and_brings_no_deleted_resource_back) {
  make();
  auto const dies = [&](ckan::keep keep) {
    return support::in_child([&] {
      ckan::sqlite_datastore one{file};
      ckan::reload(one, store, "orders", headers, [&](auto const&) { ::raise(SIGKILL); }, {.keep = keep});
      return 0;
    });
  };
  auto const recover = [&] { return ckan::recover(d, store, {.observer = stash::silent}); };
  BOOST_TEST(dies(ckan::keep::everything) == 256 + SIGKILL);
  BOOST_TEST(store.entries().size() == 1U);
  BOOST_TEST(recover().live == 1U);
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name LIKE '%beside%'").empty());
  BOOST_TEST(store.entries().size() == 1U);
  d.drop("orders");  // on purpose
  BOOST_TEST(code_of([&] { ckan::recreate(d, "orders", *store.load<json::object>("orders")); }) == errc::mismatch);
  auto const report = recover();
  BOOST_TEST(report.restored == 0U);
  BOOST_TEST_REQUIRE(report.failed.size() == 1U);
  auto const why = message_of([&] { std::rethrow_exception(report.failed[0].second); });
  BOOST_TEST(why.find("deleted on purpose") != std::string::npos);
  BOOST_TEST(!d.describe("orders"));
  BOOST_TEST(store.entries().empty());
  auto const aside = store.set_aside_entries();
  BOOST_TEST_REQUIRE(aside.size() == 1U);
  BOOST_TEST(payload_of(aside[0]).find("\"Day\"") != std::string::npos);
  BOOST_TEST(recover().failed.empty());
  // What a reload has dropped comes back.
  make();
  BOOST_TEST(dies(ckan::keep::words) == 256 + SIGKILL);
  BOOST_TEST(recover().restored == 1U);
  BOOST_TEST((d.describe("orders")->at(0).info == json::object{{"label", "Day"}}));
  // And the same words, left by one way, are not set aside by the other.
  BOOST_TEST(dies(ckan::keep::everything) == 256 + SIGKILL);
  reload(other_rows, {.keep = ckan::keep::words});
  BOOST_TEST(dies(ckan::keep::words) == 256 + SIGKILL);
  reload(other_rows);
  BOOST_TEST(store.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(what_people_typed_into_a_table_that_a_dead_reload_left_is_newer_than_the_record) {
  make();
  for (auto const keep : {ckan::keep::words, ckan::keep::everything}) {
    auto const before = store.set_aside_entries().size();
    BOOST_TEST(support::in_child([&] {
                 ckan::sqlite_datastore one{file};
                 ckan::reload(one, store, "orders", headers, [](auto const&) { ::raise(SIGKILL); },
                              {.keep = ckan::keep::words});
                 return 0;
               }) == 256 + SIGKILL);
    execute("UPDATE _stash_field SET info = '{\"label\":\"typed since\"}' WHERE id = 'id'");
    reload(other_rows, {.guard = {.observer = stash::silent}, .keep = keep});
    BOOST_TEST((d.describe("orders")->at(0).info == json::object{{"label", "typed since"}}));
    BOOST_TEST((d.describe("orders")->at(1).info == json::object{{"label", "Day"}}));
    BOOST_TEST(store.set_aside_entries().size() == before + 1);
    execute("UPDATE _stash_field SET info = NULL WHERE id = 'id'");
  }
}

BOOST_AUTO_TEST_CASE(a_swap_survives_the_power_cut_when_it_returns) {
  make();
  auto const synchronous = [&] {
    sqlite3_stmt* found = nullptr;
    ::sqlite3_prepare_v2(d.native_handle(), "PRAGMA synchronous", -1, &found, nullptr);
    ::sqlite3_step(found);
    int const level = ::sqlite3_column_int(found, 0);
    ::sqlite3_finalize(found);
    return level;
  };
  int amid = 0;
  ckan::reload(d, store, "orders", headers, [&](ckan::fields const&) { amid = synchronous(); });
  BOOST_TEST(amid == 1);           // NORMAL
  BOOST_TEST(synchronous() == 2);  // FULL
  BOOST_CHECK_THROW(ckan::reload(d, store, "orders", headers, [](auto const&) { throw std::runtime_error("x"); }),
                    std::runtime_error);
  BOOST_TEST(synchronous() == 2);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_swap_test
