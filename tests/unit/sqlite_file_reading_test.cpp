// Reading an SQLite file where nothing can be written, where it changes meanwhile, and where it is another user's.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <memory>
#include <optional>
#include <stash/storage/sqlite.hpp>

#include "read_only.hpp"
#include "sqlite_file_fixture.hpp"
#include "support.hpp"

namespace sqlite_file_reading_test {

using stash::errc;
using stash::record;
using support::code_of;
using support::message_of;

namespace {

using sqlite_file_test::fixture;
using sqlite_file_test::has;
using sqlite_file_test::some;

/// Called whenever one looks for a rollback journal.
std::function<void()> before_journal;
/// Called whenever one looks for the file.
std::function<void()> before_file;

}  // namespace

}  // namespace sqlite_file_reading_test

extern "C" int fstatat(int at, char const* name, struct stat* found, int flags) noexcept {  // here: g++ 14 sees another
  using namespace sqlite_file_reading_test;                                                 // function in a namespace
  if (before_journal && std::string_view(name).ends_with("-journal")) before_journal();
  if (before_file && std::string_view(name) == "stash.sqlite") before_file();
  char const* const own_name = sizeof(long) < sizeof(off_t) ? "fstatat64" : "fstatat";  // which <sys/stat.h> renames
  return reinterpret_cast<decltype(&::fstatat)>(::dlsym(RTLD_NEXT, own_name))(at, name, found, flags);
}

namespace sqlite_file_reading_test {

BOOST_FIXTURE_TEST_SUITE(sqlite_file, fixture)

BOOST_AUTO_TEST_CASE(what_only_reads_works_where_nothing_can_be_written,
                     *boost::unit_test::precondition(support::may_be_kept_from_writing)) {
  for (char const* const name : {"stash.sqlite", "odd % ?name#.sqlite"}) {
    support::fs::path const there = dir() / name;
    for (bool const was_killed : {false, true}) {
      stash::sqlite_storage{there}.put("k", some("words"));
      BOOST_TEST(support::in_child([&] {
                   stash::sqlite_storage last{there};
                   last.put("k", some("newest"));
                   last.put("gone", some("x"));
                   last.set_aside("gone", "superseded");
                   if (was_killed) ::_exit(0);
                   return 0;
                 }) == 0);
      BOOST_TEST(support::fs::exists(there.native() + "-wal") == was_killed);
      auto const before = support::names(dir());
      auto const look = [&] {
        stash::sqlite_storage const one{there};
        stash::sqlite_storage two{there};
        bool const is_read = one.get("k") == some("newest") && !one.get("none") && one.entries().size() == 1 &&
                             !one.set_aside_entries().empty() && one.get("k") == some("newest") && one.exists();
        auto const code = code_of([&] { two.put("k", some("x")); });
        bool const is_refused = code == support::os(EROFS) || code == support::os(EACCES);
        return (is_read ? 0 : 1) + (is_refused ? 0 : 2);
      };
      int const result = support::where_nothing_can_be_written(dir(), look);
      BOOST_TEST_INFO(name << (was_killed ? " of one that was killed" : ""));
      BOOST_TEST(result == 0);
      BOOST_TEST(support::names(dir()) == before, boost::test_tools::per_element());
      if (!was_killed) continue;
      // A log that nothing can read without writing.
      support::fs::remove(there.native() + "-shm");
      BOOST_TEST(support::where_nothing_can_be_written(dir(), [&] {
                   stash::sqlite_storage const one{there};
                   bool const is_error = code_of([&] { one.get("k"); }) == support::os(EROFS) &&
                                         code_of([&] { one.entries(); }) == support::os(EROFS);
                   return is_error && has(message_of([&] { one.get("k"); }), "-wal") ? 0 : 1;
                 }) == 0);
      stash::sqlite_storage{there}.put("k", some("the log goes into the file"));
    }
  }
}

BOOST_AUTO_TEST_CASE(what_changes_while_it_is_read_without_a_lock_is_read_again) {
  s.put("k", some("words"));
  s = stash::sqlite_storage{file};  // its log goes into the file
  // A mount would not let the time be changed; another user's directory does, for root.
  if (support::is_root()) {
    for (auto const& path : {dir(), file}) BOOST_REQUIRE(::chown(path.c_str(), 65534, 65534) == 0);
  } else {
    support::fs::permissions(dir(), support::fs::owner_read | support::fs::owner_exe);
  }
  for (int const changes : {0, 1, 3, 100}) {
    int looks = 0, left = changes;
    before_journal = [&] {
      if (++looks; left-- <= 0) return;  // before it is read
      timespec const times[2]{{looks + 100 * changes, 0}, {looks + 100 * changes, 0}};
      ::utimensat(AT_FDCWD, file.c_str(), times, 0);
    };
    std::optional<record> found;
    auto const code = code_of([&] { found = s.get("k"); });
    before_journal = nullptr;
    BOOST_TEST_INFO(changes << " changes");
    BOOST_TEST((changes == 100 ? code == errc::busy : found == some("words")));
    BOOST_TEST(looks == (changes == 100 ? 11 : changes + 2));
  }
}

namespace {

/// Runs `f` as another user in a child, which then waits, with what it has open, while `meanwhile` runs here.
template <class F, class G>
void beside_another_user(bool is_killed, F f, G meanwhile) {
  int there[2], back[2];
  BOOST_REQUIRE(::pipe(there) == 0);
  BOOST_REQUIRE(::pipe(back) == 0);
  ::fflush(nullptr);
  pid_t const child = ::fork();
  if (child == 0) {
    char byte = 0;
    ::close(back[1]);
    bool const is_another = ::setgid(65534) == 0 && ::setuid(65534) == 0;
    auto const kept = f();
    bool const is_told = is_another && ::write(there[1], "x", 1) == 1;
    if (!is_killed && ::read(back[0], &byte, 1) != 0) ::_exit(2);
    ::_exit(is_told ? 0 : 1);
  }
  ::close(there[1]);
  char byte = 0;
  int status = -1;
  BOOST_TEST(::read(there[0], &byte, 1) == 1);
  if (is_killed) BOOST_TEST(::waitpid(child, &status, 0) == child);
  meanwhile();
  ::close(back[1]);
  if (!is_killed) BOOST_TEST(::waitpid(child, &status, 0) == child);
  BOOST_TEST(status == 0);
  for (int const fd : {there[0], back[0]}) ::close(fd);
}

}  // namespace

BOOST_AUTO_TEST_CASE(root_reads_what_is_another_users_and_leaves_nothing_of_its_own_there,
                     *boost::unit_test::precondition(support::as_root)) {
  support::fs::permissions(root, support::fs::owner_all | support::fs::others_exe | support::fs::group_exe);
  for (bool const is_killed : {true, false}) {
    for (bool const is_in_log : {true, false}) {
      support::fs::remove_all(dir());
      support::fs::create_directory(dir());
      support::fs::permissions(dir(), support::fs::owner_all);
      BOOST_REQUIRE(::chown(dir().c_str(), 65534, 65534) == 0);
      auto const theirs = [&] {
        auto one = std::make_unique<stash::sqlite_storage>(file);
        one->put("k", some("words"));
        if (!is_in_log) one = std::make_unique<stash::sqlite_storage>(file);
        return one;
      };
      auto const look = [&] {
        BOOST_TEST_INFO((is_killed ? "killed" : "alive") << (is_in_log ? ", in its log" : ""));
        auto const before = support::names(dir());
        BOOST_TEST((s.get("k") == some("words")));
        BOOST_TEST(!s.get("none"));
        BOOST_TEST(s.entries().size() == 1U);
        BOOST_TEST(s.set_aside_entries().empty());
        BOOST_TEST(s.exists());
        for (auto const& f : changes()) {
          BOOST_TEST(code_of(f) == errc::unsafe_directory);
          BOOST_TEST(has(message_of(f), "sudo -u "), message_of(f));
        }
        BOOST_TEST(support::names(dir()) == before, boost::test_tools::per_element());
        for (auto const& name : before) {
          struct stat found;
          BOOST_TEST(::lstat((dir() / name).c_str(), &found) == 0);
          BOOST_TEST(found.st_uid == 65534U);
        }
      };
      beside_another_user(is_killed, theirs, look);
    }
  }
}

BOOST_AUTO_TEST_CASE(what_is_removed_or_gets_a_journal_while_it_is_read_without_a_lock_is_read_again) {
  s.put("k", some("words"));
  s = stash::sqlite_storage{file};  // its log goes into the file
  if (support::is_root()) {
    for (auto const& path : {dir(), file}) BOOST_REQUIRE(::chown(path.c_str(), 65534, 65534) == 0);
  } else {
    support::fs::permissions(dir(), support::fs::owner_read | support::fs::owner_exe);
  }
  auto const change = [&](auto f) {
    support::fs::permissions(dir(), support::fs::owner_all);
    f();
    if (!support::is_root()) support::fs::permissions(dir(), support::fs::owner_read | support::fs::owner_exe);
  };
  support::fs::path const journal = file.native() + "-journal";
  int looks = 0;
  before_journal = [&] {
    ++looks;
    if (looks == 2) change([&] { support::write(journal, "half"); });
    if (looks == 3) change([&] { support::fs::remove(journal); });
  };
  auto found = s.get("k");
  before_journal = nullptr;
  BOOST_TEST((found == some("words")));
  BOOST_TEST(looks == 4);
  looks = 0;
  before_file = [&] {
    if (++looks == 2) change([&] { support::fs::remove(file); });
  };
  found = s.get("k");
  before_file = nullptr;
  BOOST_TEST(!found);
  BOOST_TEST(looks == 3);
  support::fs::permissions(dir(), support::fs::owner_all);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_removed_as_soon_as_it_was_made_is_an_error) {
  int looks = 0;
  before_file = [&] {
    if (++looks == 2) support::fs::remove(file);
  };
  BOOST_TEST(code_of([&] { s.put("k", some("words")); }) == support::os(ENOENT));
  before_file = nullptr;
}

BOOST_AUTO_TEST_CASE(beside_a_journal_a_file_is_not_read_as_if_it_were_alone) {
  s.put("k", some("words"));
  s = stash::sqlite_storage{file};
  stash::detail::operation const op{"get", "k"};
  auto const alone = stash::detail::sqlite_view_of(file, op);
  BOOST_TEST((alone.is_alone && alone.uri.ends_with("?immutable=1")));
  support::write(file.native() + "-journal", "half");
  auto const beside = stash::detail::sqlite_view_of(file, op);
  BOOST_TEST((!beside.is_alone && beside.uri.ends_with("?readonly_shm=1")));
  auto const long_name = dir() / std::string(253, 'x');
  BOOST_TEST(code_of([&] { stash::detail::sqlite_view_of(long_name, op); }) == support::os(ENAMETOOLONG));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_file_reading_test
