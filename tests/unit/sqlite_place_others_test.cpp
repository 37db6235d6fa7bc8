// A table of an SQLite file as a place, and what others have in that file: things under the name of a parked table,
// tables that refer to it, people who put it back by hand while foreign keys are checked.
#include <csignal>
#include <thread>

#include "sqlite_place_fixture.hpp"

namespace sqlite_place_test {

BOOST_FIXTURE_TEST_SUITE(sqlite_place, fixture)

BOOST_AUTO_TEST_CASE(what_is_called_as_a_parked_table_and_was_not_parked_is_left_alone) {
  for (std::string const other :
       {"CREATE VIEW _stash_parked_x AS SELECT 1", "CREATE VIEW _STASH_PARKED_X AS SELECT id FROM x",
        "CREATE INDEX _stash_parked_x ON log (text)", "CREATE VIRTUAL TABLE _stash_parked_x USING fts5 (a)",
        "CREATE TRIGGER _stash_parked_x AFTER INSERT ON log BEGIN SELECT 1; END", "CREATE TABLE _stash_parked_x (id)",
        // Somebody's texts of another table, and one that could not be made again.
        "CREATE TABLE _stash_parked_x (id); CREATE TABLE _stash_parked (place, type, name, sql);"
        "INSERT INTO _stash_parked VALUES ('y', 'table', 'y', ''), ('x', 'index', 'i', '')",
        // Those of one that was put back by hand.
        "CREATE VIEW _stash_parked_x AS SELECT 1; CREATE TABLE _stash_parked (place, type, name, sql);"
        "INSERT INTO _stash_parked VALUES ('x', 'table', 'x', 'CREATE TABLE x (id)')"}) {
    boost::filesystem::remove(file);
    execute(make_x);
    execute(other);
    auto const before = schema();
    auto const refused = [&](std::string const& rows) {
      BOOST_TEST_CONTEXT(other) {
        json::object const note{{"table", "x"}, {"create", "CREATE TABLE x (id)"}};
        BOOST_TEST(code_of([&] { place().live(); }) == errc::mismatch);
        BOOST_TEST(code_of([&] { place().parked(); }) == errc::mismatch);
        BOOST_TEST(code_of([&] { place().park({}); }) == errc::mismatch);
        BOOST_TEST(code_of([&] { place().put_back(note); }) == errc::mismatch);
        BOOST_TEST(code_of([&] { place().settle({}, {}); }) == errc::mismatch);
        BOOST_TEST(code_of([&] { stash::replace_guard g{store, "x", place()}; }) == errc::mismatch);
        place().discard();
        BOOST_TEST(store.entries().empty());
        BOOST_TEST(rows == (rows.empty() ? rows : ids()));
      }
    };
    refused("1,2");
    BOOST_TEST(schema() == before, boost::test_tools::per_element());
    // Nor is it taken for the table where that is not there.
    execute("PRAGMA foreign_keys = OFF; DROP TABLE x");
    auto const without = schema();
    refused("");
    BOOST_TEST(schema() == without, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_parked_table_without_its_texts_is_for_a_person_to_put_back) {
  execute(make_x);
  auto const note = place().live().value();
  place().park(note);
  execute("DROP TABLE _stash_parked");
  execute(rebuild_x);
  auto const before = schema();
  auto const why = message_of([&] { place().put_back(note); });
  BOOST_TEST(why.find("rename it by hand") != std::string::npos, why);
  BOOST_TEST(schema() == before, boost::test_tools::per_element());
  BOOST_TEST(text("SELECT id FROM _stash_parked_x") == "1,2");
  BOOST_TEST(ids() == "1,4,5");
}

BOOST_AUTO_TEST_CASE(rows_of_a_child_without_rowids_are_counted_where_they_do_not_hold) {
  for (std::string const kind : {"", " WITHOUT ROWID"}) {
    execute(
        "DROP TABLE IF EXISTS x; DROP TABLE IF EXISTS child; CREATE TABLE x (id INTEGER PRIMARY KEY);"
        "INSERT INTO x VALUES (1), (2), (3);"
        "CREATE TABLE child (a PRIMARY KEY, ref REFERENCES x (id), b REFERENCES x (id))" +
        kind + "; INSERT INTO child VALUES ('a', 1, 1), ('b', 2, NULL), ('c', 3, 1), ('d', 99, 1)");
    for (std::string const rows : {"(1)", "(1), (3)", "(2), (3), (99)"}) {
      auto const why = message_of(
          [&] { replace([&] { execute("CREATE TABLE x (id PRIMARY KEY); INSERT INTO x VALUES " + rows); }); });
      BOOST_TEST(why.find("foreign keys of table child") != std::string::npos, rows << kind << ": " << why);
      BOOST_TEST(ids() == "1,2,3");
    }
    replace([&] { execute("CREATE TABLE x (id PRIMARY KEY); INSERT INTO x VALUES (1), (2), (3), (4)"); });
    BOOST_TEST(ids() == "1,2,3,4");
  }
}

BOOST_AUTO_TEST_CASE(what_a_commit_has_settled_is_not_made_again) {
  execute("CREATE TABLE x (id); CREATE INDEX i ON x (id); INSERT INTO x VALUES (1); ANALYZE");
  BOOST_TEST(support::in_child([&]() -> int {
               stash::replace_guard guard{store, "x", place(), {.observer = stash::silent}};
               guard.place().settle(*guard.value(), {});  // that nothing was built is what the job wanted
               ::kill(::getpid(), SIGKILL);
               return 0;
             }) == 256 + SIGKILL);
  auto const place_of = [&](stash::key const&, json::object const&) { return std::optional(place()); };
  for (int i = 0; i < 2; ++i) {
    auto const report = stash::recover_places<json::object>(store, place_of, {.observer = stash::silent});
    BOOST_TEST(report.restored == 0U);
    BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'").empty());
  }
  // The next one of the key goes on.
  {
    stash::replace_guard next{store, "x", place(), {.observer = stash::silent}};
    execute("CREATE TABLE x (id); INSERT INTO x VALUES (2)");
    next.commit();
  }
  BOOST_TEST(ids() == "2");
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(a_new_table_may_refer_to_itself_and_is_not_parked_by_the_next) {
  execute("CREATE TABLE x (id INTEGER PRIMARY KEY); INSERT INTO x VALUES (1)");
  auto const job = [&] {
    execute(
        "PRAGMA foreign_keys = ON; CREATE TABLE x (id INTEGER PRIMARY KEY, up REFERENCES x (id));"
        "INSERT INTO x VALUES (1, NULL), (2, 1)");
  };
  replace([&] {
    job();
    execute("PRAGMA foreign_keys = ON; DELETE FROM x WHERE id = 2; DROP TABLE x");
    job();
  });
  BOOST_TEST(ids() == "1,2");
  auto const before = schema();
  auto const why = message_of([&] { replace([] {}); });
  BOOST_TEST(why.find("foreign key to itself") != std::string::npos, why);
  BOOST_TEST(whole_as(*this, before) == "1,2");
}

BOOST_AUTO_TEST_CASE(where_another_finishes_it_while_a_step_waits_for_the_file_there_is_nothing_left_to_do) {
  for (bool const discards : {true, false}) {
    execute("DROP TABLE IF EXISTS x; CREATE TABLE x (id); CREATE INDEX i ON x (id)");
    place().park({});
    execute(back_by_hand);
    stash::detail::sqlite_connection const other{file};
    ::sqlite3_busy_timeout(other.get(), 10'000);
    other.execute("BEGIN IMMEDIATE; CREATE INDEX i ON x (id); DROP TABLE _stash_parked", "test", {});
    std::thread ending{[&] {
      std::this_thread::sleep_for(100ms);
      other.execute("COMMIT", "test", {});
    }};
    discards ? place().discard() : place().put_back({});
    ending.join();
    BOOST_TEST(text("SELECT group_concat(name) FROM sqlite_schema") == "x,i");
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_place_test
