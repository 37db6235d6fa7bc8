// A table of an SQLite file that a job drops and builds anew by itself, between a guard's constructor and its commit:
// what hung on the old one hangs on the new one, and where the job fails the old one is back, rows and all.
#include <cstring>

#include "sqlite_place_fixture.hpp"

#include <stash/storage/sqlite.hpp>

namespace sqlite_place_test {

static_assert(stash::place_policy<sqlite_table>);

BOOST_FIXTURE_TEST_SUITE(sqlite_place, fixture)

BOOST_AUTO_TEST_CASE(after_ten_guards_all_that_hangs_on_the_table_is_as_it_was) {
  execute(make_x);
  auto const before = schema();
  for (int i = 0; i < 10; ++i) {
    replace([&] { execute(rebuild_x); });
    BOOST_TEST(schema() == before, boost::test_tools::per_element());
  }
  BOOST_TEST(ids() == "1,4,5");
  BOOST_TEST(text("SELECT n FROM over") == "3");
  BOOST_TEST(text("SELECT DISTINCT tbl FROM sqlite_stat1 WHERE tbl = 'x' AND idx = 'lower_day'") == "x");
  BOOST_TEST(text("SELECT ref FROM child ORDER BY ref") == "1,99");
  execute("UPDATE x SET day = 'new' WHERE id = 4");
  BOOST_TEST(text("SELECT text FROM log") == "new");
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(where_the_job_fails_the_old_one_is_back) {
  execute(make_x);
  auto const before = schema();
  auto const statistics = query("SELECT tbl || idx || stat FROM sqlite_stat1 ORDER BY 1");
  for (std::string const job :
       {"", "CREATE TABLE x (half)", rebuild_x, "CREATE VIEW x AS SELECT 1", "CREATE VIRTUAL TABLE x USING fts5 (a)"}) {
    BOOST_CHECK_THROW(replace([&] {
                        execute(job);
                        throw std::runtime_error("half-way");
                      }),
                      std::runtime_error);
    BOOST_TEST(schema() == before, boost::test_tools::per_element());
    BOOST_TEST(ids() == "1,2");
    BOOST_TEST(query("SELECT tbl || idx || stat FROM sqlite_stat1 ORDER BY 1") == statistics);
    BOOST_TEST(text("SELECT n FROM over") == "2");
    BOOST_TEST(text("SELECT ref FROM child ORDER BY ref") == "1,99");
  }
  execute("UPDATE x SET day = 'new' WHERE id = 1");
  BOOST_TEST(text("SELECT text FROM log") == "new");
}

BOOST_AUTO_TEST_CASE(while_it_is_parked_its_name_and_those_of_its_indexes_are_free) {
  execute(make_x);
  stash::replace_guard guard{store, "x", place()};
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name = 'x' OR type = 'index' AND tbl_name LIKE '%x'").empty());
  BOOST_TEST(text("SELECT id FROM _stash_parked_x") == "1,2");
  BOOST_TEST(text("SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'x'") == "0");
  BOOST_TEST(text("SELECT count(*) FROM _stash_parked WHERE place = 'X' AND type = 'index'") == "3");
  BOOST_TEST(text("SELECT sql FROM sqlite_schema WHERE name = 'alias'") ==
             "CREATE VIEW alias AS SELECT id, day FROM x");
  BOOST_TEST(text("SELECT sql FROM sqlite_schema WHERE name = 'child'").find("REFERENCES x (id)") != std::string::npos);
  BOOST_TEST(guard.place().where() == file + ": table \"_stash_parked_x\"");
  execute("CREATE TABLE x (id, day); INSERT INTO x VALUES (7, 'z')");
  BOOST_TEST(text("SELECT id FROM alias") == "7");
}

BOOST_AUTO_TEST_CASE(the_note_tells_of_all_that_hangs_on_it) {
  execute(make_x);
  auto const note = place().live().value();
  BOOST_TEST(note.at("file").as_string() == file);
  BOOST_TEST(note.at("table").as_string() == "x");
  BOOST_TEST(note.at("parked").as_string() == "_stash_parked_x");
  BOOST_TEST(note.at("create").as_string().starts_with("CREATE TABLE \"x\" (id"));
  BOOST_TEST((note.at("columns").as_array()[2] == json::object{{"name", "n"}, {"type", "REAL"}}));
  BOOST_TEST(note.at("indexes").as_array().size() == 3U);
  BOOST_TEST(note.at("triggers").as_array().size() == 1U);
  BOOST_TEST(note.at("views").as_array().size() == 3U);  // and that of a view
  place().park(note);
  BOOST_TEST(!place().live());
  auto parked = place().parked().value();
  BOOST_TEST((parked == note));
  place().put_back(parked);
  BOOST_TEST(!place().parked());
}

BOOST_AUTO_TEST_CASE(reads_make_no_file) {
  BOOST_TEST((!place().live() && !place().parked()));
  place().discard();
  sqlite_table const nowhere{root / "no" / "such.sqlite", "x"};
  BOOST_TEST((!nowhere.live() && !nowhere.parked()));
  BOOST_TEST(support::names(root).empty());
  BOOST_TEST(code_of([&] { place().put_back({{"create", "CREATE TABLE x (a)"}}); }) == support::os(ENOENT));
  { stash::replace_guard guard{store, "x", place()}; }
  BOOST_TEST(!boost::filesystem::exists(file));
}

BOOST_AUTO_TEST_CASE(a_path_that_leads_through_a_file_has_none_and_one_that_cannot_be_followed_is_an_error) {
  execute("CREATE TABLE x (id)");
  BOOST_TEST(!sqlite_table(file + "/beneath", "x").live());
  boost::filesystem::create_symlink("loop", root / "loop");
  BOOST_TEST(code_of([&] { sqlite_table(root / "loop", "x").live(); }) == support::os(ELOOP));
}

BOOST_AUTO_TEST_CASE(in_a_directory_that_may_not_be_read_nothing_is_parked_or_settled,
                     *boost::unit_test::precondition(support::without_root)) {
  execute(make_x);
  auto const before = schema();
  auto const hidden = [&](auto step) {
    support::set_mode(root, 0300);
    auto const problem = code_of(step);
    support::set_mode(root, 0700);
    return problem == support::os(EACCES);
  };
  BOOST_TEST(hidden([&] { replace([] {}); }));
  BOOST_TEST(whole_as(*this, before) == "1,2");
  BOOST_TEST(store.entries().empty());
  // Since it was parked: nothing is committed, and what is put back is told not to be on the disk yet.
  place().park({});
  execute(rebuild_x);
  BOOST_TEST(hidden([&] { place().settle({}, {}); }));
  BOOST_TEST(place().parked().has_value());
  BOOST_TEST(hidden([&] { place().put_back({}); }));
  BOOST_TEST(whole_as(*this, before) == "1,2");
}

BOOST_AUTO_TEST_CASE(a_first_load_has_nothing_to_park) {
  execute("CREATE TABLE other (a)");
  replace([&] { execute("CREATE TABLE x (id); INSERT INTO x VALUES (1)"); });
  BOOST_TEST(ids() == "1");
  BOOST_TEST(place().settle(place().live().value(), {}).empty());
  place().park({});
  place().put_back({});
  BOOST_TEST(ids() == "1");
}

BOOST_AUTO_TEST_CASE(what_cannot_be_carried_over_stops_the_commit) {
  execute(make_x);
  execute(
      "CREATE INDEX on_n ON x (n); CREATE VIEW of_n AS SELECT n FROM x;"
      "CREATE TRIGGER by_n AFTER UPDATE OF n ON x BEGIN SELECT new.n; END;"
      "CREATE TRIGGER to_n AFTER DELETE ON log BEGIN UPDATE x SET n = 1; END;");
  auto const before = schema();
  auto const job = [&] { execute("CREATE TABLE x (id INTEGER PRIMARY KEY, day); INSERT INTO x VALUES (1, 'new')"); };
  auto const why = message_of([&] { replace(job); });
  for (char const* const what : {"index on_n", "trigger by_n", "trigger to_n", "trigger of_log", "view of_n"}) {
    BOOST_TEST(why.find(what) != std::string::npos, what << " in " << why);
  }
  BOOST_TEST(code_of([&] { replace(job); }) == errc::mismatch);
  BOOST_TEST(schema() == before, boost::test_tools::per_element());
  BOOST_TEST(ids() == "1,2");
}

BOOST_AUTO_TEST_CASE(what_is_left_behind_is_set_aside_first) {
  execute(make_x);
  execute("CREATE INDEX on_n ON x (n); CREATE VIEW of_n AS SELECT n FROM x; DROP TRIGGER of_log");
  support::event_log log;
  replace([&] { execute("CREATE TABLE x (id INTEGER PRIMARY KEY, day); INSERT INTO x VALUES (1, 'new')"); }, leaving(),
          {.observer = log.observer()});
  BOOST_TEST(log.kinds == "saved parked saved settled left_behind committed");
  auto const aside = store.set_aside_entries();
  BOOST_TEST_REQUIRE(aside.size() == 1U);
  std::ifstream record{aside[0].where};
  std::string header, payload;
  std::getline(record, header);
  std::getline(record, payload);
  auto const note = json::parse(payload).as_object();
  auto const left = note.at("left_behind").as_array();
  BOOST_TEST_REQUIRE(left.size() == 2U);
  BOOST_TEST(left[0].at("what").as_string() == "index on_n");
  BOOST_TEST(left[0].at("ddl").as_string() == "CREATE INDEX on_n ON x (n)");
  BOOST_TEST(left[1].at("ddl").as_string() == "CREATE VIEW of_n AS SELECT n FROM x");
  BOOST_TEST(note.at("table").as_string() == "x");
  BOOST_TEST(query("SELECT 1 FROM sqlite_schema WHERE name IN ('on_n', 'of_n')").empty());
  BOOST_TEST(ids() == "1");
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(where_the_note_of_what_is_left_behind_cannot_be_kept_nothing_is) {
  execute(make_x);
  auto const before = schema();
  auto p = place(leaving());
  auto const note = p.live().value();
  p.park(note);
  execute("CREATE TABLE x (id INTEGER PRIMARY KEY)");
  int calls = 0;
  auto const failing = [&](json::object const& kept) {
    ++calls;
    BOOST_TEST(kept.contains("left_behind"));
    BOOST_TEST(text("SELECT count(*) FROM _stash_parked_x") == "2");
    throw std::runtime_error("the stash is full");
  };
  BOOST_CHECK_THROW(p.settle(note, failing), std::runtime_error);
  BOOST_TEST(calls == 1);
  // One that never tells of all, for another is made each time.
  auto const changing = [&](json::object const&) {
    execute("CREATE VIEW again" + std::to_string(++calls) + " AS SELECT day FROM x");
  };
  auto const why = message_of([&] { p.settle(note, changing); });
  BOOST_TEST(why.find("change all the time") != std::string::npos, why);
  p.put_back(note);
  while (calls > 1) execute("DROP VIEW again" + std::to_string(calls--));
  BOOST_TEST(whole_as(*this, before) == "1,2");
}

BOOST_AUTO_TEST_CASE(who_settles_without_a_guard_may_do_without_a_note_of_what_is_left_behind) {
  execute(make_x);
  auto p = place(leaving());
  p.park({});
  execute("CREATE TABLE x (id INTEGER PRIMARY KEY); DELETE FROM child");
  BOOST_TEST(!p.settle({}, {}).empty());
  BOOST_TEST(!p.parked());
}

BOOST_AUTO_TEST_CASE(the_stash_may_be_in_the_same_file) {
  execute(make_x);
  stash::basic_stash<stash::sqlite_storage> within{file, stash::sqlite_options{.wait_for_file = 50ms}};
  stash::replace_guard guard{within, "x", place(leaving()), {.observer = stash::silent}};
  execute("CREATE TABLE x (id INTEGER PRIMARY KEY, day TEXT)");
  execute("DELETE FROM child");
  guard.commit();
  BOOST_TEST(text("SELECT count(*) FROM stash WHERE set_aside <> ''") == "1");
  // Nor is the table of records parked.
  BOOST_TEST(code_of([&] { place({}, "STASH").live(); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(what_the_job_made_wins_and_an_equal_one_is_not_made_twice) {
  execute(
      "CREATE TABLE x (id INTEGER PRIMARY KEY, day); CREATE INDEX \"a\" ON x(day) -- comment\n;"
      "CREATE INDEX b ON x (id /* and */, [day]); CREATE INDEX c ON x (day) WHERE day <> 'It''s';"
      "CREATE INDEX d ON x (id) WHERE \"true\" = day");
  auto const job = [&](std::string const& more) {
    return [this, more] { execute("CREATE TABLE x (id INTEGER PRIMARY KEY, day);" + more); };
  };
  replace(job(
      "CREATE INDEX A ON \"X\" (`DAY`); create index other on x(id,day); CREATE INDEX c ON x (day) WHERE day<>'It''s';"
      "CREATE INDEX d2 ON x (id) WHERE true = day"));
  BOOST_TEST(text("SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY name") == "A,c,d,d2,other");
  BOOST_TEST(message_of([&] {
               replace(job("CREATE INDEX c ON x (day) WHERE day <> 'it''s'"));
             }).find("index c (the new table has another one of this name)") != std::string::npos);
  replace(job("CREATE INDEX c ON x (day) WHERE day <> 'it''s'"), leaving());
  BOOST_TEST(text("SELECT sql FROM sqlite_schema WHERE name = 'c'").find("'it''s'") != std::string::npos);
  BOOST_TEST(text("SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY name") == "A,c,d,d2,other");
  // One on another table is in the way, and is not touched.
  replace(job("CREATE TABLE y (a); CREATE INDEX other ON y (a)"), leaving());
  BOOST_TEST(text("SELECT tbl_name FROM sqlite_schema WHERE name = 'other'") == "y");
}

BOOST_AUTO_TEST_CASE(foreign_keys_of_others_must_hold_as_they_did) {
  execute(
      "CREATE TABLE x (id INTEGER PRIMARY KEY, code); CREATE UNIQUE INDEX by_code ON x (code);"
      "INSERT INTO x VALUES (1, 'a'), (2, 'b');"
      "CREATE TABLE child (ref REFERENCES x (code)); INSERT INTO child VALUES ('a'), ('never')");
  auto const job = [&](std::string const& rows) {
    return
        [this, rows] { execute("CREATE TABLE x (id INTEGER PRIMARY KEY, code); INSERT INTO x (code) VALUES " + rows); };
  };
  for (auto const& options : {sqlite_table_options{}, leaving()}) {
    BOOST_TEST(message_of([&] { replace(job("('never')"), options); }).find("foreign keys of table child") !=
               std::string::npos);
    BOOST_TEST(text("SELECT code FROM x ORDER BY id") == "a,b");
  }
  replace(job("('a'), ('c')"));
  BOOST_TEST(text("SELECT code FROM x ORDER BY id") == "a,c");
  // Without the unique index they are none.
  auto const twice = job("('a'), ('a')");
  BOOST_TEST(message_of([&] { replace(twice); }).find("index by_code") != std::string::npos);
  BOOST_TEST(message_of([&] { replace(twice, leaving()); }).find("foreign keys") != std::string::npos);
  BOOST_TEST(text("SELECT code FROM x ORDER BY id") == "a,c");
}

BOOST_AUTO_TEST_CASE(a_key_that_held_by_an_index_must_hold_by_one) {
  execute(
      "CREATE TABLE x (id, day); CREATE TRIGGER first AFTER INSERT ON x BEGIN SELECT 1; END; CREATE INDEX i ON x (id);"
      "CREATE UNIQUE INDEX u ON x (day); CREATE TABLE child (ref REFERENCES x (day));"
      "INSERT INTO x VALUES (1, 'a'); INSERT INTO child VALUES ('a')");
  auto const job = [&](std::string const& rows) {
    return [this, rows] { execute("CREATE TABLE x (id, day); INSERT INTO x VALUES " + rows); };
  };
  auto const why = message_of([&] { replace(job("(1, 'b')")); });
  BOOST_TEST(why.find("foreign keys of table child") != std::string::npos, why);
  BOOST_TEST(ids() == "1");
  replace(job("(2, 'a')"));
  BOOST_TEST(ids() == "2");
}

BOOST_AUTO_TEST_CASE(where_nothing_was_built_the_old_one_goes_unless_somebody_needs_it) {
  execute(
      "CREATE TABLE x (id); CREATE INDEX i ON x (id); INSERT INTO x VALUES (1); ANALYZE; CREATE VIEW v AS SELECT id "
      "FROM x");
  auto const none = [] {};
  auto const why = message_of([&] { replace(none); });
  BOOST_TEST(why.find("view v") != std::string::npos);
  BOOST_TEST(why.find("index i") == std::string::npos);
  BOOST_TEST(ids() == "1");
  replace(none, leaving());
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'").empty());
}

BOOST_AUTO_TEST_CASE(a_view_may_take_the_tables_place) {
  execute("CREATE TABLE x (id); INSERT INTO x VALUES (1); ANALYZE; CREATE VIEW v AS SELECT id FROM x");
  replace([&] {
    BOOST_TEST(text("SELECT count(*) FROM sqlite_stat1") == "0");  // they would be taken for the new one's
    execute("CREATE VIEW x AS SELECT 5 AS id");
  });
  BOOST_TEST(text("SELECT id FROM v") == "5");
  BOOST_TEST(message_of([&] { place().live(); }).find("is a view") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(tables_of_every_kind_are_parked) {
  for (std::string const columns :
       {"(id INTEGER PRIMARY KEY AUTOINCREMENT, day TEXT)", "(id INTEGER PRIMARY KEY, day TEXT) STRICT",
        "(id INTEGER PRIMARY KEY, day TEXT UNIQUE) WITHOUT ROWID",
        "(id INTEGER PRIMARY KEY, day TEXT, twice AS (id * 2) STORED, thrice AS (id * 3))"}) {
    execute("DROP TABLE IF EXISTS x; CREATE TABLE x " + columns +
            "; INSERT INTO x (id, day) VALUES (1, NULL), (7, NULL)");
    execute("CREATE INDEX i ON x (day)");
    auto const before = schema();
    BOOST_CHECK_THROW(replace([&] {
                        execute("CREATE TABLE x " + columns + "; INSERT INTO x (id) VALUES (3)");
                        throw std::runtime_error("no");
                      }),
                      std::runtime_error);
    BOOST_TEST(schema() == before, boost::test_tools::per_element());
    BOOST_TEST(ids() == "1,7");
    if (columns.find("AUTO") != columns.npos) {
      BOOST_TEST(text("SELECT name || seq FROM sqlite_sequence") == "x7");
    }
    replace([&] { execute("CREATE TABLE x " + columns + "; INSERT INTO x (id) VALUES (3)"); });
    BOOST_TEST(schema() == before, boost::test_tools::per_element());
    BOOST_TEST(ids() == "3");
    if (columns.find("AUTO") != columns.npos) {
      BOOST_TEST(text("SELECT name || seq FROM sqlite_sequence") == "x3");
    }
  }
}

BOOST_AUTO_TEST_CASE(temporary_triggers_of_others_go_by_the_name) {
  execute("CREATE TABLE x (id); CREATE TABLE log (id)");
  stash::detail::sqlite_connection const other{file};
  auto const insert = [&](char const* id) { other.execute("INSERT INTO x VALUES ("s + id + ")", "test", {}); };
  other.execute("CREATE TEMP TRIGGER t AFTER INSERT ON main.x BEGIN INSERT INTO log VALUES (new.id); END", "test", {});
  for (bool const commits : {false, true}) {
    stash::replace_guard guard{store, "x", place(), {.observer = stash::silent}};
    execute("INSERT INTO _stash_parked_x VALUES (0)");
    execute("CREATE TABLE x (id)");
    insert("1");
    if (commits) guard.commit();
  }
  insert("2");
  BOOST_TEST(text("SELECT id FROM log") == "1,1,2");
}

BOOST_AUTO_TEST_CASE(the_job_may_have_attached_the_file) {
  execute(make_x);
  auto const before = schema();
  stash::detail::sqlite_connection const job{(root / "jobs.sqlite").native()};
  job.execute("ATTACH '" + file + "' AS shop", "test", {});
  replace([&] {
    job.execute(
        "DROP TABLE IF EXISTS shop.x;"
        "CREATE TABLE shop.x (id INTEGER PRIMARY KEY, day TEXT, n REAL DEFAULT 1 CHECK (n >= 0));"
        "INSERT INTO shop.x (id, day) VALUES (1, 'c'); CREATE INDEX shop.by_day ON x (day DESC) WHERE id > 0",
        "test", {});
  });
  BOOST_TEST(whole_as(*this, before) == "1");
}

BOOST_AUTO_TEST_CASE(what_cannot_be_parked_is_refused_before_anything_moved) {
  execute(
      "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE VIEW a_view AS SELECT id FROM t;"
      "CREATE VIRTUAL TABLE fts USING fts5 (body);"
      "CREATE TABLE cascades (id INTEGER PRIMARY KEY, up REFERENCES CASCADES (id) ON DELETE CASCADE);"
      "CREATE TABLE itself (id INTEGER PRIMARY KEY, up REFERENCES itself);"
      "CREATE TABLE checked (a CHECK (checked.a > 0))");
  auto const before = schema();
  for (char const* const name : {"a_view", "fts", "fts_data", "cascades", "itself", "A_VIEW"}) {
    BOOST_TEST_INFO(name);
    BOOST_TEST(code_of([&] { place({}, name).live(); }) == errc::mismatch);
    BOOST_TEST(code_of([&] { place({}, name).park({}); }) == errc::mismatch);
    BOOST_TEST(code_of([&] { stash::replace_guard g{store, "x", place({}, name)}; }) == errc::mismatch);
  }
  BOOST_TEST(message_of([&] { place({}, "checked").park({}); }).find("checked.a") != std::string::npos);
  BOOST_TEST(schema() == before, boost::test_tools::per_element());
  BOOST_TEST(store.entries().empty());
  for (std::string const& name :
       {""s, "a\0b"s, "sqlite_x"s, "SQLITE_sequence"s, "_stash_parked"s, "_Stash_x"s, "\xff"s}) {
    BOOST_TEST(code_of([&] { place({}, name); }) == support::os(EINVAL));
  }
  BOOST_TEST(code_of([&] { sqlite_table("postgres://a:b@c/d", "x"); }) == support::os(EINVAL));
}

BOOST_AUTO_TEST_CASE(an_index_that_only_the_application_can_make_is_refused) {
  stash::detail::sqlite_connection application{file};
  ::sqlite3_create_function(
      application.get(), "mine", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr,
      [](sqlite3_context* c, int, sqlite3_value** v) { ::sqlite3_result_value(c, v[0]); }, nullptr, nullptr);
  application.execute("CREATE TABLE x (id); INSERT INTO x VALUES (1); CREATE INDEX i ON x (mine(id))", "test", {});
  auto const before = schema();
  BOOST_TEST(message_of([&] { replace([] {}); }).find("index i (") != std::string::npos);
  BOOST_TEST(schema() == before, boost::test_tools::per_element());
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(a_table_that_only_the_application_can_make_is_refused) {
  stash::detail::sqlite_connection application{file};
  ::sqlite3_create_collation(application.get(), "mine", SQLITE_UTF8, nullptr,
                             [](void*, int n, void const* a, int m, void const* b) {
                               return n == m ? std::memcmp(a, b, static_cast<std::size_t>(n)) : n - m;
                             });
  application.execute("CREATE TABLE x (id, day TEXT COLLATE mine UNIQUE); INSERT INTO x VALUES (1, 'a')", "test", {});
  auto const before = schema();
  auto const why = message_of([&] { replace([] {}); });
  BOOST_TEST(why.find("no such collation sequence: mine") != std::string::npos, why);
  BOOST_TEST(schema() == before, boost::test_tools::per_element());
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(any_name_that_sqlite_takes_is_one) {
  for (std::string const name :
       {"a b", "with \"quotes\"", "dots.in.it", "Größe", "CAPITALS", "it's", "[x]", "select", "order", "%_", "🙂"}) {
    auto const quoted = stash::detail::sql_name(name);
    execute("CREATE TABLE " + quoted + " (id); INSERT INTO " + quoted + " VALUES (1); CREATE INDEX i ON " + quoted +
            " (id); CREATE VIEW v AS SELECT id FROM " + quoted);
    auto other_case = name;
    for (char& c : other_case) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    for (auto const& called : {name, other_case}) {
      for (bool const commits : {false, true}) {
        stash::replace_guard guard{store, "x", place({}, called)};
        BOOST_TEST_REQUIRE(guard.value() != nullptr);
        BOOST_TEST(guard.value()->at("views").as_array().size() == 1U);
        execute("CREATE TABLE " + quoted + " (id)");
        if (commits) {
          guard.commit();
        } else {
          guard.rollback();
          BOOST_TEST(text("SELECT name FROM sqlite_schema WHERE type = 'table'") == name);
        }
      }
    }
    BOOST_TEST(text("SELECT name FROM sqlite_schema ORDER BY type") == "i," + name + ",v");
    BOOST_TEST(text("SELECT count(*) FROM v") == "0");
    execute("DROP TABLE " + quoted + "; DROP VIEW v");
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_place_test
