// What may be wrong with an SQLite file, its table or the place where it lies (see sqlite_storage_test.cpp).
#include <dlfcn.h>

#include <map>
#include <optional>
#include <stash/place/sqlite_table.hpp>
#include <stash/storage/sqlite.hpp>
#include <thread>
#include <utility>

#include "sqlite_file_fixture.hpp"
#include "support.hpp"

namespace sqlite_file_test {

using namespace std::chrono_literals;
using stash::errc;
using stash::record;
using stash::record_state;
using support::code_of;
using support::message_of;

namespace {

namespace is = boost::system::errc;

boost::system::error_code sqlite(int code) { return {code, stash::detail::sqlite_category()}; }

/// Asked before the next call of that name; what it returns but 0 is the errno that it fails with.
std::function<int()> before_rename, before_fsync;

std::string const table =
    "CREATE TABLE stash (key TEXT NOT NULL, set_aside TEXT NOT NULL DEFAULT '', set_aside_at TEXT,"
    " version INTEGER NOT NULL, saved_at TEXT NOT NULL, xxh64 TEXT NOT NULL, payload NOT NULL";

}  // namespace

extern "C" int renameat2(int from, char const* a, int to, char const* b, unsigned flags) noexcept {
  if (int const failed = before_rename ? std::exchange(before_rename, nullptr)() : 0; failed != 0) {
    errno = failed;
    return -1;
  }
  return reinterpret_cast<decltype(&::renameat2)>(::dlsym(RTLD_NEXT, "renameat2"))(from, a, to, b, flags);
}
extern "C" int fsync(int fd) {
  if (int const failed = before_fsync ? std::exchange(before_fsync, nullptr)() : 0; failed != 0) {
    errno = failed;
    return -1;
  }
  return reinterpret_cast<decltype(&::fsync)>(::dlsym(RTLD_NEXT, "fsync"))(fd);
}

BOOST_FIXTURE_TEST_SUITE(sqlite_file, fixture)

BOOST_AUTO_TEST_CASE(what_a_trigger_or_a_column_swallows_or_changes_is_an_error_and_the_old_stands) {
  auto const trigger = [](char const* when, char const* body) {
    return std::string("CREATE TRIGGER t ") + when + " ON stash BEGIN " + body + "; END";
  };
  for (std::string const& spoils :
       {trigger("BEFORE INSERT", "SELECT RAISE(IGNORE)"), trigger("BEFORE UPDATE", "SELECT RAISE(IGNORE)"),
        trigger("BEFORE DELETE", "SELECT RAISE(IGNORE)"),
        trigger("AFTER INSERT", "UPDATE stash SET payload = upper(payload) WHERE rowid = NEW.rowid"),
        trigger("AFTER INSERT", "UPDATE stash SET key = lower(key) WHERE rowid = NEW.rowid"),
        trigger("AFTER INSERT", "DELETE FROM stash WHERE rowid = NEW.rowid"),
        trigger("AFTER INSERT", "UPDATE stash SET set_aside = 'x' WHERE rowid = NEW.rowid"),
        trigger("AFTER INSERT", "UPDATE stash SET saved_at = '' WHERE rowid = NEW.rowid"),
        trigger("AFTER INSERT", "UPDATE stash SET version = 3 WHERE rowid = NEW.rowid"),
        trigger("AFTER INSERT", "UPDATE stash SET xxh64 = '' WHERE rowid = NEW.rowid"),
        trigger("AFTER UPDATE", "UPDATE stash SET payload = 'x' WHERE rowid = NEW.rowid"),
        trigger("AFTER DELETE",
                "INSERT OR IGNORE INTO stash SELECT OLD.key, OLD.set_aside, OLD.set_aside_at, OLD.version,"
                " OLD.saved_at, OLD.xxh64, OLD.payload")}) {
    BOOST_TEST_CONTEXT(spoils) {
      s.put("Old", some("words"));
      change(spoils);
      std::size_t refused = 0;
      auto const call = [&](auto f) {
        auto const code = code_of(f);
        refused += bool(code);
        if (code) BOOST_TEST(code == is::operation_not_supported);
        change("DROP TRIGGER t");
        if (code) {
          BOOST_TEST((s.get("Old") == some("words")));
          BOOST_TEST(s.entries().size() == 1U);
          BOOST_TEST(s.set_aside_entries().empty());
        }
        change("DELETE FROM stash");
        s.put("Old", some("words"));
        change(spoils);
      };
      call([&] { s.put("New", some("words")); });
      call([&] { s.put("Old", some("words")); });
      call([&] { s.erase("Old"); });
      call([&] { s.set_aside("Old", "superseded"); });
      std::vector<std::pair<stash::key, record>> const two{{"A", some("1")}, {"B", some("2")}};
      call([&] { s.put_all(two); });
      BOOST_TEST(refused > 0U);
      change("DROP TRIGGER t");
    }
  }
  change("CREATE TABLE log (key); CREATE TRIGGER t AFTER INSERT ON stash BEGIN INSERT INTO log VALUES (NEW.key); END");
  s.put("Old", some("new"));  // which leaves the record alone
  BOOST_TEST((s.get("Old") == some("new")));
  change("DROP TRIGGER t; CREATE TRIGGER t BEFORE INSERT ON stash BEGIN SELECT RAISE(IGNORE); END");
  auto const told = message_of([&] { s.put("n", some("x")); });
  BOOST_TEST(has(told, "put \"n\": " + file.native() + ": its table did not take the record as it was sent"), told);
}

BOOST_AUTO_TEST_CASE(what_is_no_table_or_one_in_which_a_key_could_stand_twice_is_refused) {
  std::string const columns = table + ')', unique = "; CREATE UNIQUE INDEX i ON stash ";
  for (auto const& [made, words] : std::vector<std::pair<std::string, std::string>>{
           {"CREATE TABLE t (a); CREATE VIEW stash AS SELECT * FROM t", "is no table"},
           {"CREATE VIRTUAL TABLE stash USING fts5(key, set_aside)", "is no table"},
           {"CREATE TABLE Stash (a)", "no unique index"},
           {columns, "no unique index"},
           {columns + unique + "(key)", "no unique index"},
           {columns + unique + "(key, set_aside, version)", "no unique index"},
           {columns + unique + "(key COLLATE NOCASE, set_aside)", "no unique index"},
           {columns + unique + "(key, set_aside) WHERE version = 1", "no unique index"},
           {columns + "; CREATE INDEX i ON stash (key, set_aside)", "no unique index"},
           {table + ", PRIMARY KEY (key, set_aside)) WITHOUT ROWID", "WITHOUT ROWID"}}) {
    for (auto const& name : support::names(dir())) support::fs::remove(dir() / name);
    change(made);
    support::fs::permissions(file, support::fs::owner_read | support::fs::owner_write);
    for (auto const& f : changes()) {
      BOOST_TEST_INFO(made);
      BOOST_TEST(code_of(f) == is::operation_not_supported);
      BOOST_TEST(has(message_of(f), words), message_of(f));
    }
    if (words == "is no table") BOOST_TEST(code_of([&] { s.get("k"); }) == is::operation_not_supported);
  }
  for (std::string const& good :
       {columns + unique + "(set_aside, key)", table + ", note TEXT, PRIMARY KEY (key, set_aside))",
        table + ", UNIQUE (key, set_aside))"}) {
    for (auto const& name : support::names(dir())) support::fs::remove(dir() / name);
    change(good);
    support::fs::permissions(file, support::fs::owner_read | support::fs::owner_write);
    s.put("k", some("old"));
    s.put("k", some("new"));
    BOOST_TEST((s.get("k") == some("new")));
    BOOST_TEST(s.entries().size() == 1U);
  }
  for (auto const& name : support::names(dir())) support::fs::remove(dir() / name);
  change(
      "CREATE TABLE stash (key TEXT, set_aside TEXT DEFAULT '', set_aside_at TEXT, version INTEGER, saved_at TEXT,"
      " xxh64 TEXT, payload INTEGER, UNIQUE (key, set_aside))");
  support::fs::permissions(file, support::fs::owner_read | support::fs::owner_write);
  BOOST_TEST(code_of([&] { s.put("k", some("0012")); }) == is::operation_not_supported);
  BOOST_TEST(s.entries().empty());
}

BOOST_AUTO_TEST_CASE(what_a_trigger_undoes_of_a_batch_is_not_acknowledged) {
  s.put("k", some("words"));
  change("CREATE TRIGGER keep_one AFTER INSERT ON stash BEGIN DELETE FROM stash WHERE rowid < new.rowid; END");
  std::vector<std::pair<stash::key, record>> all;
  for (char const* const k : {"a", "b", "c"}) all.emplace_back(k, some("words"));
  BOOST_TEST(code_of([&] { s.put_all(all); }) == boost::system::errc::operation_not_supported);
  BOOST_TEST((s.get("k") == some("words")));
  BOOST_TEST(s.entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(in_a_file_of_utf16_every_payload_comes_back_and_a_key_that_would_change_is_refused) {
  for (char const* const encoding : {"UTF-8", "UTF-16le", "UTF-16be"}) {
    for (auto const& name : support::names(dir())) support::fs::remove(dir() / name);
    change(std::string("PRAGMA encoding = '") + encoding + "'; CREATE TABLE theirs (a)");
    support::fs::permissions(file, support::fs::owner_read | support::fs::owner_write);
    std::size_t refused = 0;
    for (std::string const text : {"\ufffe", "\uffff", "a\uffffb", "\ufeff", "\ufeffa", "\ufffd", "\U0001f600",
                                   "\u00e9", "\ufdd0", "\U0001fffe", "\U0010ffff", "\ud7ff", "\ue000"}) {
      BOOST_TEST_CONTEXT(encoding << ' ' << text) {
        s.put("k", some(text));
        BOOST_TEST((s.get("k") == some(text)));
        s.erase("k");
        if (auto const code = code_of([&] { s.put(text, some("words")); })) {
          BOOST_TEST(code == errc::invalid_key);
          BOOST_TEST(code_of([&] { s.get(text); }) == errc::invalid_key);
          BOOST_TEST(code_of([&] { s.erase(text); }) == errc::invalid_key);
          BOOST_TEST(code_of([&] { s.set_aside(text, "x"); }) == errc::invalid_key);
          ++refused;
        } else {
          BOOST_TEST((s.get(text) == some("words")));
        }
      }
    }
    BOOST_TEST(refused == (std::string_view(encoding) == "UTF-8" ? 0U : 3U));
    for (auto const& e : s.entries()) BOOST_TEST((e.state == record_state::intact));
  }
}

BOOST_AUTO_TEST_CASE(a_row_set_aside_at_a_time_that_nobody_knows_is_listed_and_goes_only_when_all_go) {
  for (char const* const at : {"NULL", "''", "'yesterday'", "0", "x'30'", "'1970-01-01T00:00:00.000000'"}) {
    s.put("k", some("words"));
    s.set_aside("k", "superseded");
    change(std::string("UPDATE stash SET set_aside_at = ") + at);
    BOOST_TEST_INFO(at);
    BOOST_TEST(s.set_aside_entries().size() == 1U);
    BOOST_TEST(s.purge(1us) == 0U);
    BOOST_TEST(s.purge(0us) == 1U);
  }
  s.put("k", some("words"));
  s.set_aside("k", "superseded");
  change("INSERT INTO stash SELECT '', 'theirs', NULL, version, saved_at, xxh64, payload FROM stash");
  BOOST_TEST(!s.erase("none"));
  BOOST_TEST(query("SELECT count(*) FROM stash") == "2");
}

BOOST_AUTO_TEST_CASE(a_file_is_never_seen_without_its_table_and_one_that_is_empty_was_cut_off) {
  bool is_seen = true;
  before_rename = [&] { return is_seen = support::fs::exists(file), 0; };
  s.put("k", some("words"));
  BOOST_TEST(!is_seen);
  BOOST_TEST(!has(others(), "new"));
  stash::sqlite_storage another{file};
  for (auto const& size : {0U, 1U, 99U, 100U, 512U, 4095U, 4096U, 5000U, 8192U, 12287U}) {
    for (bool const with_log : {false, true}) {
      for (auto const& name : support::names(dir())) support::fs::remove(dir() / name);
      std::string log;
      {
        stash::sqlite_storage writing{file};
        writing.put("k", some("words"));
        writing.put("l", some("words"));
        if (with_log) log = support::read(dir() / "stash.sqlite-wal");
      }
      support::fs::resize_file(file, size);
      if (with_log) support::write(dir() / "stash.sqlite-wal", log);
      BOOST_TEST_CONTEXT(size << " bytes" << (with_log ? " and a log" : "")) {
        // Where the whole log is there, what was cut off may be in it.
        std::optional<record> found;
        std::vector<stash::entry> listed;
        auto const no_record = code_of([&] { found = stash::sqlite_storage{file}.get("k"); }),
                   no_list = code_of([&] { listed = stash::sqlite_storage{file}.entries(); });
        bool const may_be_whole = with_log && size > 1;
        BOOST_TEST((no_record || (may_be_whole && found == some("words"))));
        BOOST_TEST((no_list || (may_be_whole && listed.size() == 2)));
        if (size > 1) continue;
        BOOST_TEST(code_of([&] { another.get("k"); }) == sqlite(SQLITE_CORRUPT));
        BOOST_TEST(code_of([&] { another.exists(); }) == sqlite(SQLITE_CORRUPT));
        BOOST_TEST(code_of([&] { another.put("k", some("new")); }) == sqlite(SQLITE_CORRUPT));
        if (with_log) BOOST_TEST(support::read(dir() / "stash.sqlite-wal") == log);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_get_its_name_is_an_error_and_another_of_that_name_is_used) {
  before_rename = [&] { return ENOSYS; };  // then by a link
  s.put("k", some("words"));
  BOOST_TEST((s.get("k") == some("words")));
  BOOST_TEST(!has(others(), "new"));
  auto const remove_all = [&] {
    for (auto const& name : support::names(dir())) support::fs::remove(dir() / name);
  };
  for (int const failed : {0, ENOSYS}) {
    remove_all();
    before_rename = [&] { return stash::sqlite_storage{file}.put("theirs", some("words")), failed; };
    s.put("k", some("words"));
    BOOST_TEST(s.entries().size() == 2U);
    BOOST_TEST(!has(others(), "new"));
  }
  remove_all();
  before_rename = [&] {
    for (auto const& name : support::names(dir())) {
      if (has(name, ".new-")) support::fs::remove(dir() / name);
    }
    return ENOSYS;
  };
  BOOST_TEST(code_of([&] { s.put("k", some("words")); }) == support::os(ENOENT));
  BOOST_TEST(!s.exists());
  before_rename = [&] { return before_fsync = [] { return EIO; }, 0; };
  BOOST_TEST(code_of([&] { s.put("k", some("words")); }) == support::os(EIO));
  remove_all();
  stash::sqlite_storage careless{file, {.durability = stash::durability::process_crash}};
  before_rename = [&] { return before_fsync = [] { return EIO; }, 0; };
  careless.put("k", some("words"));  // which need not be synced
  before_fsync = nullptr;
}

/// A bit of each byte that is not zero, once, and all of SQLite's header and names: what is read then is right, or an
/// error.
BOOST_AUTO_TEST_CASE(whichever_bit_of_the_file_is_flipped_no_record_is_absent_or_read_wrongly) {
  std::map<std::string, std::string> const all{{"orders", "{\"id\":1}"}, {"customers", "words"}, {"weather", "c"}};
  for (auto const& [k, payload] : all) s.put(k, some(payload));
  s = stash::sqlite_storage{file};  // its log goes into the file
  std::string const whole = support::read(file);
  BOOST_TEST(others() == "");
  std::size_t tried = 0, bad = 0, failed = 0;
  auto const names = whole.find("tablestashstash");  // in SQLite's own table
  std::vector<std::pair<std::size_t, int>> flips;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    bool const is_vital = at < 128 || (at + 7 >= names && at < names + 15);  // with the lengths of the names
    for (int bit = 0; bit < 8; ++bit) {
      if (is_vital || (whole[at] != 0 && at % 8 == static_cast<std::size_t>(bit))) flips.emplace_back(at, bit);
    }
  }
  for (auto const& flip : flips) {
    std::string damaged = whole;
    damaged[flip.first] = static_cast<char>(damaged[flip.first] ^ (1 << flip.second));
    for (char const* const name : {"-wal", "-shm", "-journal"}) support::fs::remove(file.native() + name);
    support::write(file, damaged);
    auto const check = [&](bool is_right) {
      ++tried;
      bad += !is_right;
      BOOST_TEST_INFO("byte " << flip.first << ", bit " << flip.second);
      BOOST_TEST(is_right);
    };
    stash::sqlite_storage const one{file};
    for (auto const& [k, payload] : all) {
      std::optional<record> found;
      auto const code = code_of([&] { found = one.get(k); });
      failed += bool(code);
      check(code || found == some(payload));
    }
    std::vector<stash::entry> listed;
    auto const code = code_of([&] { listed = one.entries(); });
    check(code || listed.size() == all.size());
  }
  BOOST_TEST(failed > 300U);
  BOOST_TEST(bad == 0U);
}

BOOST_AUTO_TEST_CASE(in_a_damaged_file_nothing_is_written_and_what_is_found_whole_is_given) {
  s.put("orders", some("words"));
  s.put("other", some("words"));
  s = stash::sqlite_storage{file};
  std::string damaged = support::read(file);
  damaged[damaged.rfind("orders")] ^= 1;  // in the index, or in the table
  support::write(file, damaged);
  BOOST_TEST(code_of([&] { s.put("new", some("words")); }) == sqlite(SQLITE_CORRUPT));
  BOOST_TEST(code_of([&] { s.erase("orders"); }) == sqlite(SQLITE_CORRUPT));
  BOOST_TEST(code_of([&] { s.get("new"); }) == sqlite(SQLITE_CORRUPT));
  BOOST_TEST(code_of([&] { s.entries(); }) == sqlite(SQLITE_CORRUPT));
  BOOST_TEST((s.get("other") == some("words")));
  BOOST_TEST(has(message_of([&] { s.get("new"); }), "get \"new\": " + file.native() + ": row"));
  change("REINDEX");
  BOOST_TEST(s.entries().size() == 2U);
}

BOOST_AUTO_TEST_CASE(a_file_that_others_write_to_is_in_wal_mode_as_soon_as_they_let_it) {
  stash::detail::sqlite_connection const other{(root / "other").native()}, ours{(root / "other").native()};
  stash::detail::operation const op{"open", {}};
  ::sqlite3_busy_timeout(other.get(), 10'000);
  other.execute("CREATE TABLE t (i); BEGIN IMMEDIATE", "test", {});
  auto const problem = support::code_of([&] { stash::detail::turn_to_wal(ours, 0ms, op); });
  BOOST_TEST((problem.category() == stash::detail::sqlite_category() && (problem.value() & 0xff) == SQLITE_BUSY));
  std::thread ending{[&] {
    std::this_thread::sleep_for(50ms);
    other.execute("COMMIT", "test", {});
  }};
  BOOST_TEST(stash::detail::turn_to_wal(ours, 10s, op));
  ending.join();
}

BOOST_AUTO_TEST_CASE(where_an_earlier_step_of_a_table_cannot_be_synced_the_next_one_says_so) {
  std::string const shop = (root / "shop").native();
  stash::detail::sqlite_connection{shop}.execute("CREATE TABLE x (i)", "test", {});
  stash::sqlite_table x{shop, "x"};
  before_fsync = [] { return EIO; };
  BOOST_TEST(code_of([&] { x.put_back({}); }) == support::os(EIO));
  BOOST_TEST(!before_fsync);
  x.put_back({});
}

BOOST_AUTO_TEST_CASE(a_file_of_more_than_64_mib_is_not_looked_through) {
  s.put("k", some("words"));
  change("CREATE TABLE big (a); INSERT INTO big VALUES (zeroblob(70000000))");
  BOOST_TEST(!stash::sqlite_storage{file}.get("none"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_file_test
