#include <dlfcn.h>
#include <sys/stat.h>

#include <atomic>
#include <list>
#include <optional>
#include <stash/storage/sqlite.hpp>
#include <thread>

#include "conforming.hpp"
#include "faulty_vfs.hpp"
#include "figures.hpp"
#include "support.hpp"

namespace sqlite_storage_test {

using namespace std::chrono_literals;
using stash::errc;
using stash::record;
using stash::record_state;
using support::code_of;
using support::message_of;

namespace {

struct sqlite_files {
  stash::sqlite_storage fresh() {
    places.emplace_back();
    return again();
  }
  stash::sqlite_storage again() { return stash::sqlite_storage{places.back().dir() / "stash.sqlite"}; }
  std::list<support::scratch> places;
};

record some(std::string payload) { return {std::move(payload), stash::time_point{1s}}; }

/// Asked before each mknod; what it returns but 0 is the errno that it fails with.
std::function<int()> before_mknod;

/// While it lives, `before` is asked ahead of each allocation of SQLite's: true makes it fail. No connection may be
/// open at its start or its end.
struct faulty_allocations {
  explicit faulty_allocations(std::function<bool()> before) {
    before_ = std::move(before);
    configure(SQLITE_CONFIG_GETMALLOC, &real_);
    auto spoiled = real_;
    spoiled.xMalloc = [](int size) { return before_() ? nullptr : real_.xMalloc(size); };
    spoiled.xRealloc = [](void* at, int size) { return before_() ? nullptr : real_.xRealloc(at, size); };
    configure(SQLITE_CONFIG_MALLOC, &spoiled);
  }
  ~faulty_allocations() {
    before_ = [] { return false; };
    configure(SQLITE_CONFIG_MALLOC, &real_);
  }
  static void configure(int what, sqlite3_mem_methods* methods) {
    BOOST_REQUIRE(::sqlite3_shutdown() == SQLITE_OK);
    BOOST_REQUIRE(::sqlite3_config(what, methods) == SQLITE_OK);
  }
  static inline std::function<bool()> before_;
  static inline sqlite3_mem_methods real_{};
};

boost::system::error_code sqlite(int code) { return {code, stash::detail::sqlite_category()}; }

struct fixture : support::scratch {
  support::fs::path file = dir() / "stash.sqlite";
  stash::sqlite_storage s{file};

  /// As a person with the sqlite3 shell would.
  std::vector<std::string> query(std::string const& sql) const {
    stash::detail::sqlite_connection db{file.native()};
    stash::detail::sqlite_statement row{db, sql, "query", {}};
    std::vector<std::string> result;
    while (row.step()) result.push_back(row.text(0).value_or("NULL"));
    return result;
  }
  void change(std::string const& sql) const {
    stash::detail::sqlite_connection{file.native()}.execute(sql, "test", {});
  }
};

}  // namespace

extern "C" int mknod(char const* path, mode_t mode, dev_t device) noexcept {
  if (int const failed = before_mknod ? std::exchange(before_mknod, nullptr)() : 0; failed != 0) {
    errno = failed;
    return -1;
  }
  return reinterpret_cast<decltype(&::mknod)>(::dlsym(RTLD_NEXT, "mknod"))(path, mode, device);
}

BOOST_FIXTURE_TEST_SUITE(sqlite_storage, fixture)

bool const registered = [] {
  boost::unit_test::framework::current_auto_test_suite().add(support::conforming<sqlite_files>("conformance"));
  return true;
}();

BOOST_AUTO_TEST_CASE(constructing_and_reading_make_nothing_and_a_put_makes_a_file_of_our_own) {
  BOOST_TEST(!s.exists());
  BOOST_TEST(!s.get("k"));
  BOOST_TEST(!s.erase("k"));
  BOOST_TEST(s.purge(0us) == 0U);
  BOOST_TEST(!support::fs::exists(dir()));
  auto const umask_before = ::umask(0);
  s.put("k", some("words"));
  ::umask(umask_before);
  for (char const* const name : {"stash.sqlite", "stash.sqlite-wal", "stash.sqlite-shm"}) {
    BOOST_TEST(support::fs::status(dir() / name).permissions() == (support::fs::owner_read | support::fs::owner_write));
  }
  BOOST_TEST(support::fs::status(dir()).permissions() == support::fs::owner_all);
  BOOST_TEST(s.where("k") == file);
}

BOOST_AUTO_TEST_CASE(a_person_reads_key_time_and_payload_with_sql) {
  s.put("orders", some("{\"id\":{\"label\":\"N\u00b0\"}}"));
  s.put("bytes", some(std::string("\0\xff", 2)));
  BOOST_TEST(query("SELECT key || ' ' || saved_at || ' ' || payload FROM stash WHERE key = 'orders'").at(0) ==
             "orders 1970-01-01T00:00:01.000000Z {\"id\":{\"label\":\"N\u00b0\"}}");
  BOOST_TEST(query("SELECT typeof(payload) FROM stash ORDER BY key") == (std::vector<std::string>{"blob", "text"}),
             boost::test_tools::per_element());
  auto const where = s.set_aside("orders", "superseded");
  BOOST_TEST(where == file.native() + ": " + query("SELECT set_aside FROM stash WHERE key = 'orders'").at(0));
  BOOST_TEST(s.entries().at(0).where == file.native() + ": bytes");
}

BOOST_AUTO_TEST_CASE(a_row_that_was_changed_by_hand_is_corrupt_and_one_of_a_later_version_a_mismatch) {
  for (char const* const damage : {"payload = 'other'", "payload = ''", "payload = x''", "saved_at = 'yesterday'",
                                   "xxh64 = ''", "saved_at = '1970-01-01T00:00:02.000000Z'", "key = 'other'"}) {
    s.erase("other");
    s.put("k", some("words"));
    change(std::string("UPDATE stash SET ") + damage);
    auto const listed = s.entries();
    BOOST_TEST_INFO(damage);
    BOOST_TEST(listed.size() == 1U);
    BOOST_TEST(listed.at(0).state == record_state::corrupt);
    BOOST_TEST(!listed.at(0).saved_at);
    BOOST_TEST(code_of([&] { s.get(listed.at(0).key); }) == errc::corrupt);
  }
  s.erase("other");
  s.put("k", some("words"));
  change("UPDATE stash SET version = 2");
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::mismatch);
  BOOST_TEST(s.entries().at(0).state == record_state::intact);
  change("UPDATE stash SET key = 'a/b'");  // nobody's
  BOOST_TEST(s.entries().empty());
}

BOOST_AUTO_TEST_CASE(what_is_no_text_comes_back_as_it_was) {
  for (auto const& payload : {std::string("\0", 1), std::string("\xff"), std::string(), std::string(1 << 20, '\xfe')}) {
    s.put("k", some(payload));
    BOOST_TEST((s.get("k") == some(payload)));
  }
}

BOOST_AUTO_TEST_CASE(sqlites_codes_are_the_conditions_that_people_ask_for) {
  namespace is = boost::system::errc;
  BOOST_TEST((sqlite(SQLITE_FULL) == is::no_space_on_device));
  BOOST_TEST((sqlite(SQLITE_READONLY_DBMOVED) == is::read_only_file_system));
  BOOST_TEST((sqlite(SQLITE_PERM) == is::permission_denied));
  BOOST_TEST((sqlite(SQLITE_IOERR_FSYNC) == is::io_error));
  BOOST_TEST((sqlite(SQLITE_BUSY) != is::io_error));
}

BOOST_AUTO_TEST_CASE(what_sqlite_cannot_bind_is_an_error) {
  stash::detail::sqlite_connection db{":memory:"};
  ::sqlite3_limit(db.get(), SQLITE_LIMIT_LENGTH, 100);
  stash::detail::sqlite_statement row{db, "SELECT ?", "put", "k"};
  std::string const payload(200, '\xff');
  BOOST_TEST(code_of([&] { row.bind_bytes(payload); }) == sqlite(SQLITE_TOOBIG));
}

BOOST_AUTO_TEST_CASE(a_payload_over_the_cap_is_too_large_to_put_and_to_get) {
  s.put("k", some("12345"));
  stash::sqlite_storage small{file, {.max_bytes = 4}};
  small.put("k2", some("1234"));
  BOOST_TEST(code_of([&] { small.put("k", some("67890")); }) == errc::too_large);
  BOOST_TEST(code_of([&] { small.get("k"); }) == errc::too_large);
  BOOST_TEST((s.get("k") == some("12345")));
}

BOOST_AUTO_TEST_CASE(what_is_no_database_is_an_error_and_not_an_absence) {
  support::fs::create_directories(dir());
  support::fs::permissions(dir(), support::fs::owner_all);
  support::write(file, std::string(5000, 'x'));
  for (auto const& f : std::vector<std::function<void()>>{[&] { s.get("k"); }, [&] { s.entries(); },
                                                          [&] { s.put("k", some("x")); }, [&] { s.erase("k"); }}) {
    BOOST_TEST(code_of(f) == sqlite(SQLITE_NOTADB));
  }
  BOOST_TEST(message_of([&] { s.get("k"); }).starts_with("get \"k\": " + file.native()));
  BOOST_TEST(support::read(file) == std::string(5000, 'x'));
}

BOOST_AUTO_TEST_CASE(a_link_or_an_unsafe_directory_is_refused) {
  s.put("k", some("words"));
  support::fs::create_symlink("stash.sqlite", dir() / "link.sqlite");
  BOOST_TEST(code_of([&] { stash::sqlite_storage{dir() / "link.sqlite"}.get("k"); }) == errc::unsafe_directory);
  support::fs::permissions(dir(), support::fs::owner_all | support::fs::others_write);
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::unsafe_directory);
  BOOST_TEST(code_of([&] { s.put("k", some("x")); }) == errc::unsafe_directory);
  BOOST_TEST(code_of([&] { s.try_lock("k"); }) == errc::unsafe_directory);
  BOOST_TEST(code_of([&] { s.exists(); }) == errc::unsafe_directory);
}

BOOST_AUTO_TEST_CASE(a_file_of_somebody_else_is_refused, *boost::unit_test::precondition(support::as_root)) {
  s.put("k", some("words"));
  BOOST_TEST(::chown(file.c_str(), 12345, 12345) == 0);
  BOOST_TEST(code_of([&] { s.get("k"); }) == support::os(EPERM));
  BOOST_TEST(code_of([&] { s.put("k", some("x")); }) == support::os(EPERM));
}

BOOST_AUTO_TEST_CASE(after_the_file_was_deleted_or_replaced_what_is_put_is_in_the_new_one) {
  s.put("k", some("old"));
  auto const remove = [&] {
    for (auto const& name : support::names(dir())) support::fs::remove(dir() / name);
  };
  remove();
  BOOST_TEST(!s.get("k"));
  s.put("k", some("new"));
  BOOST_TEST((stash::sqlite_storage{file}.get("k") == some("new")));
  remove();
  stash::sqlite_storage{file}.put("k", some("another's"));
  BOOST_TEST((s.get("k") == some("another's")));
}

BOOST_AUTO_TEST_CASE(while_another_writes_a_put_waits_and_then_fails_and_the_old_stands) {
  stash::sqlite_storage hasty{file, {.wait_for_file = 20ms}};
  hasty.put("k", some("old"));
  stash::detail::sqlite_connection other{file.native()};
  other.execute("BEGIN IMMEDIATE", "test", {});
  auto const start = std::chrono::steady_clock::now();
  BOOST_TEST(code_of([&] { hasty.put("k", some("new")); }) == sqlite(SQLITE_BUSY));
  BOOST_TEST((std::chrono::steady_clock::now() - start >= 20ms));
  BOOST_TEST((hasty.get("k") == some("old")));
  BOOST_TEST(hasty.try_lock("k").has_value());  // the keys' locks are not in the file
  other.execute("ROLLBACK", "test", {});
  hasty.put("k", some("new"));
  BOOST_TEST((hasty.get("k") == some("new")));
}

BOOST_AUTO_TEST_CASE(in_a_file_of_somebody_elses_tables_there_is_nothing_until_a_put) {
  s.put("k", some("words"));
  change("DROP TABLE stash; CREATE TABLE theirs (key TEXT)");
  BOOST_TEST(!s.get("k"));
  BOOST_TEST(s.entries().empty());
  BOOST_TEST(!s.erase("k"));
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE type = 'table'") == std::vector<std::string>{"theirs"});
  s.put("k", some("words"));
  BOOST_TEST((s.get("k") == some("words")));
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_looked_at_is_an_error_and_not_an_absence) {
  stash::sqlite_storage long_name{dir() / std::string(300, 'x')};
  support::make_private(dir());
  BOOST_TEST(code_of([&] { long_name.get("k"); }) == support::os(ENAMETOOLONG));
}

BOOST_AUTO_TEST_CASE(a_file_that_another_makes_at_the_same_time_is_shared) {
  stash::sqlite_storage another{file};
  before_mknod = [&] { return another.put("theirs", some("words")), 0; };
  s.put("ours", some("words"));
  BOOST_TEST(s.entries().size() == 2U);
  BOOST_TEST(another.entries().size() == 2U);
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_made_is_an_error) {
  before_mknod = [] { return EIO; };
  BOOST_TEST(code_of([&] { s.put("k", some("words")); }) == support::os(EIO));
  s.put("k", some("words"));
  BOOST_TEST((s.get("k") == some("words")));
}

BOOST_AUTO_TEST_CASE(where_no_wal_can_be_had_a_change_is_as_durable) {
  std::vector<std::string> calls;
  support::faulty_vfs const plain{[&](std::string_view call) { return calls.emplace_back(call), SQLITE_OK; }, false};
  stash::sqlite_storage one{file};
  one.put("k", some("words"));
  calls.clear();
  one.put("k", some("new"));
  BOOST_TEST((one.get("k") == some("new")));
  BOOST_TEST(calls.back() == "delete and sync");  // of the rollback journal: only then it is committed
  BOOST_TEST(std::count(calls.begin(), calls.end(), "sync") >= 2);
  BOOST_TEST(query("PRAGMA journal_mode").at(0) == "delete");
}

/// What SQLite has no memory for is an error, and what stands then is the old record or the new.
BOOST_AUTO_TEST_CASE(whichever_allocation_of_sqlite_fails_no_record_is_lost_or_read_wrongly) {
  std::size_t tried = 0, failed = 0, bad = 0;
  for (char const* const encoding : {"UTF-8", "UTF-16"}) {
    support::fs::remove_all(dir());
    support::make_private(dir());
    support::write(file, "");
    support::fs::permissions(file, support::fs::owner_read | support::fs::owner_write);
    change(std::string("PRAGMA encoding = '") + encoding + "'; CREATE TABLE theirs (key TEXT)");
    stash::sqlite_storage{file}.put("k", some("old"));
    for (int fails_at = 0;; ++fails_at) {
      int calls = -1'000'000;
      bool has_failed = false;
      boost::system::error_code problem;
      std::optional<record> found;
      {
        faulty_allocations const spoiled{[&] {
          bool const fails = calls++ == fails_at;
          has_failed = has_failed || fails;
          return fails;
        }};
        {
          stash::sqlite_storage{file}.put("k", some("old"));
          stash::sqlite_storage one{file};
          calls = 0;
          problem = code_of([&] { found = one.get("k"); });
          if (!problem) BOOST_TEST((found == some("old")));
          if (!problem) problem = code_of([&] { one.put("k", some("new")); });
          calls = -1'000'000;
          found = stash::sqlite_storage{file}.get("k");
        }
      }
      BOOST_TEST_INFO("allocation " << fails_at << " in " << encoding << ": " << problem.message());
      BOOST_TEST((!problem || problem == sqlite(SQLITE_NOMEM) || problem == errc::indeterminate));
      bool const is_whole =
          found == some(problem ? "old" : "new") || (problem == errc::indeterminate && found == some("new"));
      BOOST_TEST(is_whole);
      ++tried;
      bad += !is_whole;
      failed += bool(problem);
      if (!has_failed) break;
    }
  }
  BOOST_TEST(failed > 100U);
  support::figure("every call fails", "each allocation of SQLite", tried, bad);
}

BOOST_AUTO_TEST_CASE(another_table_of_that_name_is_not_touched) {
  s.put("k", some("words"));
  change("DROP TABLE stash; CREATE TABLE stash (key TEXT)");
  BOOST_TEST(code_of([&] { s.get("k"); }) == sqlite(SQLITE_ERROR));
  BOOST_TEST(code_of([&] { s.put("k", some("x")); }) == boost::system::errc::operation_not_supported);
  BOOST_TEST(query("SELECT count(*) FROM stash").at(0) == "0");
}

BOOST_AUTO_TEST_CASE(a_forked_child_and_its_parent_lose_nothing_of_each_other) {
  s.put("before", some("before"));
  auto const lock = s.try_lock("before");
  int const status = support::in_child([&] {
    s.put("child", some("child"));
    stash::sqlite_storage{file}.put("child, too", some("child"));
    return s.get("before") == some("before") && !s.try_lock("before") ? 0 : 1;
  });
  BOOST_TEST(status == 0);
  s.put("after", some("after"));
  int const seen = support::in_child([&] { return static_cast<int>(stash::sqlite_storage{file}.entries().size()); });
  BOOST_TEST(seen == 4);
  BOOST_TEST(s.entries().size() == 4U);
  BOOST_TEST(query("PRAGMA integrity_check").at(0) == "ok");
}

/// With the parent's connection it would believe that it has the parent's locks on the file, and when the parent, alone
/// as far as it can see, ends the write-ahead log, it would go on writing to that.
BOOST_AUTO_TEST_CASE(what_a_forked_child_puts_after_its_parent_has_closed_is_there) {
  std::optional<stash::sqlite_storage> parents{file};
  parents->put("parent", some("words"));
  int ends[2];
  BOOST_REQUIRE(::pipe(ends) == 0);
  pid_t const child = ::fork();
  if (child == 0) {
    char go = 0;
    bool const is_closed = ::read(ends[0], &go, 1) == 1;
    ::_exit(is_closed && !code_of([&] { parents->put("child", some("words")); }) ? 0 : 1);
  }
  parents.reset();
  BOOST_TEST(::write(ends[1], "x", 1) == 1);
  int status = -1;
  BOOST_TEST(::waitpid(child, &status, 0) == child);
  BOOST_TEST(status == 0);
  ::close(ends[0]);
  ::close(ends[1]);
  BOOST_TEST((s.get("child") == some("words")));
}

BOOST_AUTO_TEST_CASE(a_child_that_is_forked_while_another_thread_is_inside_can_use_the_storage) {
  std::atomic<bool> done{false};
  std::thread inside{[&] {
    while (!done) {
      s.put("parent", some("words"));
      std::this_thread::sleep_for(3ms);  // neither a mutex nor SQLite is fair: fork and child wait for a gap
    }
  }};
  int status = 0;
  for (int i = 0; i < 30 && status == 0; ++i) {
    status = support::in_child([&] {
      ::alarm(10);  // instead of waiting for ever for a lock that nobody here has
      s.put("child", some("words"));
      return 0;
    });
  }
  BOOST_TEST(status == 0);
  done = true;
  inside.join();
  BOOST_TEST(s.entries().size() == 2U);
}

BOOST_AUTO_TEST_CASE(a_change_is_synced_before_it_is_acknowledged) {
  int syncs = 0;
  support::faulty_vfs counting{[&](std::string_view call) { return syncs += call == "sync", SQLITE_OK; }};
  for (auto const durability : {stash::durability::power_loss, stash::durability::process_crash}) {
    stash::sqlite_storage one{dir() / (durability == stash::durability::power_loss ? "a" : "b"), {durability}};
    one.put("first", some("makes the table"));
    auto const syncs_of = [&](auto f) {
      syncs = 0;
      f();
      return syncs;
    };
    int const expected = durability == stash::durability::power_loss ? 1 : 0;
    BOOST_TEST(syncs_of([&] { one.put("k", some("words")); }) == expected);
    BOOST_TEST(syncs_of([&] { one.put("k", some("words")); }) == expected);
    BOOST_TEST(syncs_of([&] { one.set_aside("k", "x"); }) == expected);
    BOOST_TEST(syncs_of([&] { one.purge(0us); }) == expected);
    BOOST_TEST(syncs_of([&] { one.erase("first"); }) == expected);
    BOOST_TEST(syncs_of([&] { one.erase("none"); }) == expected);  // an earlier removal may not be durable yet
    std::vector<std::pair<stash::key, record>> const all{{"a", some("1")}, {"b", some("2")}};
    BOOST_TEST(syncs_of([&] { one.put_all(all); }) == expected);
  }
}

/// Each call that changes something fails once, with each code; what is there then is the old record or the new.
BOOST_AUTO_TEST_CASE(whichever_call_of_sqlite_fails_the_old_or_the_new_record_stands_and_no_error_is_an_absence) {
  std::size_t tried = 0, failed = 0, indeterminate = 0, bad = 0;
  for (int const code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, SQLITE_CANTOPEN, SQLITE_READONLY}) {
    for (bool const all_later : {false, true}) {
      for (int fails_at = 0;; ++fails_at) {
        support::scratch place;
        auto const there = place.dir() / "stash.sqlite";
        int calls = 0;
        bool has_failed = false;
        support::faulty_vfs faulty{[&](std::string_view) {
          bool const fails = calls == fails_at || (all_later && calls > fails_at);
          ++calls;
          has_failed = has_failed || fails;
          return fails ? code : SQLITE_OK;
        }};
        std::optional<record> expected, other;
        boost::system::error_code problem;
        {
          stash::sqlite_storage one{there};
          auto const step = [&](std::optional<record> next, auto f) {
            if (problem) return;
            problem = code_of(f);
            if (!problem) {
              expected = other = next;
            } else if (problem == errc::indeterminate) {
              other = next;
            }
          };
          step(some("first"), [&] { one.put("k", some("first")); });
          step(some(std::string(9000, 'x')), [&] { one.put("k", some(std::string(9000, 'x'))); });
          step(std::nullopt, [&] { one.set_aside("k", "superseded"); });
          step(some("again"), [&] { one.put("k", some("again")); });
          step(std::nullopt, [&] { one.erase("k"); });
          calls = -1'000'000;  // the disk is well again
        }
        auto const found = stash::sqlite_storage{there}.get("k");
        BOOST_TEST_INFO("call " << fails_at << " fails with " << code << ": " << problem.message());
        bool const is_whole = found == expected || found == other;
        BOOST_TEST(is_whole);
        ++tried;
        bad += !is_whole;
        failed += bool(problem);
        indeterminate += problem == errc::indeterminate;
        if (!has_failed) break;
      }
    }
  }
  BOOST_TEST(failed > 100U);
  BOOST_TEST(indeterminate > 20U);
  support::figure("every call fails", "each of SQLite's calls that change a file x 5 codes, and all later ones", tried,
                  bad);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_storage_test
