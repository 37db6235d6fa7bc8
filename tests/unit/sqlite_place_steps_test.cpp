// The steps of a table of an SQLite file as a place, each of which may fail, be waited for, or be the last: kills,
// calls of SQLite that fail, others who lock, people who put it back by hand, records that were lost.
#include <atomic>
#include <csignal>
#include <thread>

#include "faulty_vfs.hpp"
#include "figures.hpp"
#include "read_only.hpp"
#include "sqlite_place_fixture.hpp"

namespace sqlite_place_test {

namespace {

char const* const steps[] = {"park", "park again", "put_back", "settle"};

/// A file for each try is a copy of one of these, made up to the step before.
struct made_files {
  support::scratch in;
  std::vector<std::string> schema;

  explicit made_files(std::string const& mode) {
    for (std::string const step : steps) {
      database const db{of(step)};
      db.execute("PRAGMA journal_mode = " + mode + ";" + make_x);
      schema = db.schema();
      sqlite_table place{db.file, "x"};
      if (step != "park") place.park({});
      if (step == "park again") db.execute("CREATE TABLE x (half)");
      if (step == "put_back" || step == "settle") db.execute(rebuild_x);
    }
  }
  std::string of(std::string const& step) const { return (in.root / step).native(); }
};

/// A step, and what it may leave, whatever happens to it.
struct a_step {
  std::string name;
  made_files const& made;

  void run(std::string const& file) const {
    sqlite_table place{file, "x"};
    if (name.starts_with("park")) return place.park({});
    if (name == "put_back") return place.put_back({});
    place.settle({}, {});
  }
  bool is_parked(database const& db) const {
    return !db.query("SELECT 1 FROM sqlite_schema WHERE name = '_stash_parked_x'").empty();
  }
  /// "" or what is wrong. `is_done`: it did not fail; `may_be_done`: it may have been.
  std::string judge(std::string const& file, bool is_done, bool may_be_done) const {
    database const db{file};
    if (db.text("PRAGMA integrity_check") != "ok") return "damaged";
    bool const parked = is_parked(db), stands = !db.query("SELECT 1 FROM sqlite_schema WHERE name = 'x'").empty();
    if (parked && db.text("SELECT id FROM _stash_parked_x ORDER BY id") != "1,2") return "parked rows are gone";
    if (parked && db.text("SELECT count(*) FROM _stash_parked") != "6") return "texts are gone";
    bool const is_new = name == "settle" ? !parked : name == "put_back" ? !parked : parked && !stands;
    if (is_done && !is_new) return "not done";
    if (!may_be_done && is_new) return "done, but it failed";
    std::string const wanted = name == "settle" && !parked ? "1,4,5" : "1,2";
    if (!parked) {
      auto const is = whole_as(db, made.schema);
      if (is != wanted) return is + " in place of " + wanted;
    }
    if (parked && (name == "settle" || name == "put_back") && db.ids() != "1,4,5") return "the new one is gone";
    // Whoever comes next puts it back whole, or leaves what was settled.
    sqlite_table place{file, "x"};
    place.put_back({});
    auto const is = whole_as(db, made.schema);
    return is == wanted ? "" : is + " at last in place of " + wanted;
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(sqlite_place, fixture)

BOOST_AUTO_TEST_CASE(whichever_call_of_sqlite_fails_the_table_is_the_old_one_or_the_new_one) {
  std::uint64_t tried = 0, failed = 0, bad = 0;
  for (std::string const mode : {"delete", "wal"}) {
    made_files const made{mode};
    for (std::string const name : steps) {
      a_step const step{name, made};
      for (int const code :
           {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, SQLITE_IOERR_DELETE, SQLITE_IOERR_DIR_FSYNC}) {
        for (bool const all_later : {false, true}) {
          bool has_failed = true;
          for (int fails_at = 0; has_failed; fails_at += support::stride()) {
            support::scratch place;
            std::string const there = (place.root / "one").native();
            boost::filesystem::copy_file(made.of(name), there);
            has_failed = false;
            boost::system::error_code problem;
            std::string at;
            {
              int calls = 0;
              support::faulty_vfs const faulty{[&](std::string_view call) {
                bool const fails = calls == fails_at || (all_later && calls > fails_at);
                if (calls++ == fails_at) at = call;
                has_failed = has_failed || fails;
                return fails ? code : SQLITE_OK;
              }};
              problem = code_of([&] { step.run(there); });
            }
            // A removed journal whose directory could not be synced: it was done, for now.
            bool const may_be_done = !problem || problem == errc::indeterminate || name != "settle";
            auto const wrong = step.judge(there, !problem, may_be_done);
            BOOST_TEST(wrong == "", name << ' ' << mode << ": call " << fails_at << " (" << at << ") fails with "
                                         << code << (all_later ? ", and all later" : "") << ": " << problem.message()
                                         << ": " << wrong);
            ++tried;
            failed += problem.failed();
            bad += !wrong.empty();
          }
        }
      }
    }
  }
  BOOST_TEST(failed > 200U / static_cast<unsigned>(support::stride()));
  support::figure("every call fails", "each call of SQLite by a step of sqlite_table, and all later ones", tried, bad);
}

BOOST_AUTO_TEST_CASE(whichever_call_of_sqlite_is_the_last_of_the_process) {
  std::uint64_t tried = 0, bad = 0;
  for (std::string const mode : {"delete", "wal"}) {
    made_files const made{mode};
    for (std::string const name : steps) {
      a_step const step{name, made};
      int result = 256 + SIGKILL;
      for (int last = 0; result == 256 + SIGKILL; last += support::stride()) {
        support::scratch place;
        std::string const there = (place.root / "one").native();
        boost::filesystem::copy_file(made.of(name), there);
        result = support::in_child([&] {
          int calls = 0;
          support::faulty_vfs const killing{[&](std::string_view) {
            if (calls++ == last) ::kill(::getpid(), SIGKILL);
            return SQLITE_OK;
          }};
          step.run(there);
          return 0;
        });
        BOOST_TEST((result == 0 || result == 256 + SIGKILL));
        auto const wrong = step.judge(there, result == 0, true);
        BOOST_TEST(wrong == "", name << ' ' << mode << ", killed at call " << last << ": " << wrong);
        ++tried;
        bad += !wrong.empty();
      }
    }
  }
  BOOST_TEST(tried > 60U / static_cast<unsigned>(support::stride()));
  support::figure("kills", "at each call of SQLite by a step of sqlite_table", tried, bad);
}

BOOST_AUTO_TEST_CASE(each_step_is_on_the_disk_when_it_returns) {
  for (std::string const mode : {"delete", "wal"}) {
    made_files const made{mode};
    for (std::string const name : steps) {
      std::vector<std::string> calls;
      bool writes_on = true;
      support::faulty_vfs const watched{[&](std::string_view call) {
        if (writes_on) calls.emplace_back(call);
        return SQLITE_OK;
      }};
      stash::detail::sqlite_connection const other{made.of(name)};  // so that no log is emptied at the end
      other.execute("SELECT count(*) FROM sqlite_schema", "test", {});
      calls.clear();
      a_step{name, made}.run(made.of(name));
      writes_on = false;
      BOOST_TEST_INFO(name << ' ' << mode);
      BOOST_TEST_REQUIRE(!calls.empty());
      BOOST_TEST(calls.back() == (mode == "wal" ? "sync" : "delete and sync"));
      // Again there is nothing to do, but for what a process that died may not have synced.
      calls.clear();
      writes_on = true;
      a_step{name, made}.run(made.of(name));
      BOOST_TEST_INFO(name << ' ' << mode << ", again");
      BOOST_TEST((std::count(calls.begin(), calls.end(), "sync") == (mode == "wal" ? 2 : 1)));
      BOOST_TEST((std::count(calls.begin(), calls.end(), "write") == 0));
    }
  }
}

BOOST_AUTO_TEST_CASE(what_the_job_wrote_without_a_sync_is_on_the_disk_before_the_old_one_goes) {
  execute("PRAGMA journal_mode = WAL; CREATE TABLE x (id); INSERT INTO x VALUES (1)");
  auto p = place();
  p.park({});
  std::vector<std::string> calls;
  support::faulty_vfs const watched{[&](std::string_view call) { return calls.emplace_back(call), SQLITE_OK; }};
  stash::detail::sqlite_connection const job{file};
  job.execute("PRAGMA synchronous = OFF; CREATE TABLE x (id); PRAGMA wal_checkpoint(TRUNCATE)", "test", {});
  BOOST_TEST((std::count(calls.begin(), calls.end(), "sync") == 0));
  calls.clear();
  p.settle({}, {});
  auto const written = std::find(calls.begin(), calls.end(), "write"),
             synced = std::find(calls.begin(), calls.end(), "sync");
  BOOST_TEST((synced < written));
}

BOOST_AUTO_TEST_CASE(a_file_that_others_lock_is_waited_for_and_nothing_is_changed) {
  execute(make_x);
  auto const before = schema();
  sqlite_table_options const hasty{.wait_for_file = 50ms};
  auto const is_locked = [](boost::system::error_code const& code) {
    return code.category() == stash::detail::sqlite_category() && (code.value() & 0xff) == SQLITE_BUSY;
  };
  for (char const* const lock : {"BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "BEGIN; SELECT * FROM x"}) {
    stash::detail::sqlite_connection const other{file};
    other.execute(lock, "test", {});
    auto const why = message_of([&] { place(hasty).park({}); });
    BOOST_TEST(why.find(file) != std::string::npos, why);
    BOOST_TEST(why.find("locked") != std::string::npos, why);
    BOOST_TEST(is_locked(code_of([&] {
      stash::replace_guard g{store, "x", place(hasty), {.observer = stash::silent}};
    })));
    other.execute("ROLLBACK", "test", {});
    BOOST_TEST(whole_as(*this, before) == "1,2");
    place().park({});
    execute(rebuild_x);
    other.execute(lock[5] == ';' ? "BEGIN; SELECT * FROM child" : lock, "test", {});
    BOOST_TEST(is_locked(code_of([&] { place(hasty).settle({}, {}); })));
    BOOST_TEST(is_locked(code_of([&] { place(hasty).put_back({}); })));
    other.execute("ROLLBACK", "test", {});
    BOOST_TEST(ids() == "1,4,5");
    place().put_back({});
    BOOST_TEST(whole_as(*this, before) == "1,2");
  }
  // One that ends in time is waited for.
  stash::detail::sqlite_connection const other{file};
  other.execute("BEGIN IMMEDIATE", "test", {});
  std::thread ending{[&] {
    std::this_thread::sleep_for(100ms);
    other.execute("ROLLBACK", "test", {});
  }};
  place().park({});
  ending.join();
  BOOST_TEST(!place().live());
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_written_is_left_alone,
                     *boost::unit_test::precondition(support::may_be_kept_from_writing)) {
  support::make_private(root / "data");
  database const db{(root / "data" / "one").native()};
  db.execute(make_x);
  support::set_mode(db.file, 0400);
  BOOST_TEST(support::where_nothing_can_be_written(root / "data", [&] {
               sqlite_table p{db.file, "x"};
               auto const problem = code_of([&] { stash::replace_guard g{store, "x", sqlite_table{db.file, "x"}}; });
               p.put_back({});
               p.discard();
               return p.live() && problem == boost::system::errc::read_only_file_system && store.entries().empty() ? 0
                                                                                                                   : 1;
             }) == 0);
  support::set_mode(db.file, 0600);
  BOOST_TEST(db.ids() == "1,2");
}

BOOST_AUTO_TEST_CASE(a_reader_sees_the_old_one_none_or_the_new_one) {
  for (std::string const mode : {"wal", "delete"}) {
    execute(
        "DROP TABLE IF EXISTS x; DROP TABLE IF EXISTS child; DROP TABLE IF EXISTS log; DROP VIEW IF EXISTS alias;"
        "DROP VIEW IF EXISTS over; DROP VIEW IF EXISTS broken; PRAGMA journal_mode = " +
        mode);
    execute(make_x);
    std::atomic<bool> stop = false;
    std::atomic<int> seen = 0;
    std::string odd;
    std::thread reader{[&] {
      stash::detail::sqlite_connection const db{file};
      ::sqlite3_busy_timeout(db.get(), 5000);
      while (!stop) {
        try {
          stash::detail::sqlite_statement row{
              db, "SELECT group_concat(id) FROM (SELECT id FROM alias ORDER BY id)", "read", {}};
          row.step();
          auto const is = row.text(0).value_or("none");
          if (is != "1,2" && is != "1,4,5") odd = is;
          ++seen;
        } catch (stash::error const& problem) {
          if (problem.detail().find("no such table: main.x") == std::string::npos) odd = problem.what();
        }
      }
    }};
    auto const problem = message_of([&] {
      for (int i = 0; i < 10; ++i) {
        stash::replace_guard guard{store, "x", place(), {.observer = stash::silent}};
        execute("BEGIN;"s + (rebuild_x + 25) + "COMMIT");
        if (i % 2 == 1) guard.commit();
      }
    });
    stop = true;
    reader.join();
    BOOST_TEST(problem == "", mode << ": " << problem);
    BOOST_TEST(odd == "");
    BOOST_TEST(seen > 0);
  }
}

BOOST_AUTO_TEST_CASE(a_reader_that_has_begun_goes_on_reading_the_old_rows) {
  execute("PRAGMA journal_mode = WAL;"s + make_x);
  stash::detail::sqlite_connection const reader{file};
  reader.execute("BEGIN; SELECT * FROM x", "test", {});
  replace([&] { execute(rebuild_x); });
  stash::detail::sqlite_statement row{reader, "SELECT sum(id) FROM x", "test", {}};
  row.step();
  BOOST_TEST(row.integer(0) == 3);
}

BOOST_AUTO_TEST_CASE(a_run_that_died_is_put_back_by_whoever_comes_next) {
  execute(make_x);
  auto const before = schema();
  auto const die = [&] {
    int const result = support::in_child([&]() -> int {
      stash::replace_guard guard{store, "x", place(), {.observer = stash::silent}};
      execute(rebuild_x);
      ::kill(::getpid(), SIGKILL);
      return 0;
    });
    BOOST_TEST(result == 256 + SIGKILL);
    BOOST_TEST(!place().live());
  };
  die();
  auto const place_of = [&](stash::key const&, json::object const& note) {
    return std::optional<sqlite_table>(
        sqlite_table{note.at("file").as_string().c_str(), note.at("table").as_string().c_str()});
  };
  auto report = stash::recover_places<json::object>(store, place_of, {.observer = stash::silent});
  BOOST_TEST(report.restored == 1U);
  BOOST_TEST(whole_as(*this, before) == "1,2");
  BOOST_TEST(store.entries().empty());
  die();
  {
    stash::replace_guard next{store, "x", place(), {.observer = stash::silent}};
    BOOST_TEST(next.origin() == stash::origin::adopted);
    BOOST_TEST(query("SELECT 1 FROM sqlite_schema WHERE name = 'x'").empty());
  }
  BOOST_TEST(whole_as(*this, before) == "1,2");
  die();
  // The record was lost.
  for (auto const& e : store.entries()) boost::filesystem::remove(e.where);
  {
    stash::replace_guard next{store, "x", place(), {.observer = stash::silent}};
    BOOST_TEST_REQUIRE(next.value() != nullptr);
    BOOST_TEST(next.value()->at("indexes").as_array().size() == 3U);
    execute(rebuild_x);
    next.commit();
  }
  BOOST_TEST(whole_as(*this, before) == "1,4,5");
}

BOOST_AUTO_TEST_CASE(a_released_guard_leaves_it_parked_for_the_next) {
  execute(make_x);
  auto const before = schema();
  {
    stash::replace_guard guard{store, "x", place(), {.observer = stash::silent}};
    execute("CREATE TABLE x (id)");
    guard.release();
  }
  BOOST_TEST(!place().live());
  BOOST_TEST(place().parked().has_value());
  stash::replace_guard next{store, "x", place(), {.observer = stash::silent}};
  BOOST_TEST(next.origin() == stash::origin::adopted);
  execute(rebuild_x);
  next.commit();
  BOOST_TEST(whole_as(*this, before) == "1,4,5");
  next.place().discard();
  BOOST_TEST(whole_as(*this, before) == "1,4,5");
}

BOOST_AUTO_TEST_CASE(a_person_puts_it_back_by_hand) {
  execute(make_x);
  auto const before = schema();
  auto const by_hand = [&] {
    place().park({});
    execute(rebuild_x);
    execute("PRAGMA foreign_keys = ON;"s + back_by_hand);
    BOOST_TEST(ids() == "1,2");
    BOOST_TEST(text("SELECT ref FROM child ORDER BY ref") == "1,99");  // ON DELETE CASCADE
    BOOST_TEST(place().live().has_value());
  };
  by_hand();
  execute("CREATE INDEX lower_day ON x (lower(day))");
  place().discard();
  BOOST_TEST(whole_as(*this, before) == "1,2");
  by_hand();
  place().put_back({});
  BOOST_TEST(whole_as(*this, before) == "1,2");
  by_hand();
  replace([&] { execute(rebuild_x); });
  BOOST_TEST(whole_as(*this, before) == "1,4,5");
}

BOOST_AUTO_TEST_CASE(where_the_parked_table_was_dropped_an_empty_one_is_made_of_its_texts) {
  execute(make_x);
  auto const before = schema();
  auto const note = place().live().value();
  place().park(note);
  execute("DROP TABLE _stash_parked_x");
  place().put_back(note);
  BOOST_TEST(whole_as(*this, before) == "");
  BOOST_TEST(text("SELECT count(*) FROM x") == "0");
  place().park(note);
  execute("DROP TABLE _stash_parked_x; DROP TABLE _stash_parked");
  BOOST_TEST(code_of([&] { place().put_back(note); }) == support::os(ENOENT));
}

BOOST_AUTO_TEST_CASE(an_index_whose_name_is_taken_does_not_keep_the_rows_away) {
  execute(make_x);
  BOOST_CHECK_THROW(replace([&] {
                      execute("CREATE TABLE beside (id); CREATE INDEX by_day ON beside (id)");
                      execute("CREATE INDEX lower_day ON beside (id)");
                      throw std::runtime_error("before its rename");
                    }),
                    std::runtime_error);
  BOOST_TEST(ids() == "1,2");
  BOOST_TEST(text("SELECT name || place FROM _stash_parked") == "by_dayx,lower_dayx");
  BOOST_TEST(message_of([&] { place().discard(); }).find("index by_day") != std::string::npos);
  BOOST_TEST(message_of([&] { place().discard(); }).find("; index lower_day") != std::string::npos);
  // Nor is another one of its name on the table itself taken for it.
  execute("DROP INDEX lower_day; CREATE INDEX lower_day ON x (upper(day))");
  BOOST_TEST(message_of([&] { place().discard(); }).find("index lower_day") != std::string::npos);
  execute("DROP INDEX lower_day");
  place().park({});
  BOOST_TEST(message_of([&] { place().put_back({}); }).find("index by_day") != std::string::npos);
  BOOST_TEST(ids() == "1,2");
  // It is not forgotten by a guard that commits.
  replace([&] {
    execute("DROP TABLE beside; CREATE TABLE x (id INTEGER PRIMARY KEY, day, n); INSERT INTO x VALUES (1, 1, 1)");
  });
  BOOST_TEST(text("SELECT tbl_name FROM sqlite_schema WHERE name = 'by_day'") == "x");
  BOOST_TEST(query("SELECT 1 FROM sqlite_schema WHERE name LIKE '\\_stash%' ESCAPE '\\'").empty());
}

BOOST_AUTO_TEST_CASE(a_forked_child_leaves_the_parents_guard_alone) {
  execute(make_x);
  auto const before = schema();
  std::optional<stash::replace_guard<stash::file_stash, sqlite_table>> guard;
  guard.emplace(store, "x", place());
  BOOST_TEST(support::in_child([&] {
               if (code_of([&] { guard->commit(); }) != errc::busy) return 1;
               guard.reset();
               return place().parked() ? 0 : 2;
             }) == 0);
  execute(rebuild_x);
  guard->commit();
  BOOST_TEST(whole_as(*this, before) == "1,4,5");
}

BOOST_AUTO_TEST_CASE(a_fork_waits_for_a_step_so_that_no_child_has_its_connection) {
  execute(make_x);
  stash::detail::sqlite_connection other{file};
  other.execute("BEGIN IMMEDIATE", "test", {});
  auto p = place({.wait_for_file = 500ms});
  std::atomic<bool> is_over = false;
  std::thread waiting{[&] {
    code_of([&] { p.park({}); });
    is_over = true;
  }};
  std::this_thread::sleep_for(150ms);
  BOOST_TEST(!is_over);
  support::in_child([] { return 0; });
  std::this_thread::sleep_for(20ms);
  BOOST_TEST(is_over);
  waiting.join();
}

BOOST_AUTO_TEST_CASE(two_tables_of_a_file_are_parked_at_once) {
  execute("CREATE TABLE x (id); CREATE TABLE y (id); CREATE INDEX i ON x (id); CREATE INDEX j ON y (id)");
  {
    stash::replace_guard one{store, "x", place()};
    stash::replace_guard other{store, "y", place({}, "y")};
    execute("CREATE TABLE x (id); CREATE TABLE y (id)");
    one.commit();
    BOOST_TEST(text("SELECT DISTINCT place FROM _stash_parked") == "y");
  }
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name LIKE '%stash%'").empty());
  BOOST_TEST(text("SELECT name FROM sqlite_schema ORDER BY name") == "i,j,x,y");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_place_test
