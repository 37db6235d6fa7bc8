// Calls that fail, are interrupted or write only a part, and files that go away.
#include <atomic>
#include <new>
#include <stash/storage/journal.hpp>
#include <thread>

#include "journal_fixture.hpp"
#include "support.hpp"

namespace journal_faults_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using support::code_of;
using support::message_of;
using support::names;
using support::os;
namespace fs = boost::filesystem;

namespace {

using journal_test::first;
using journal_test::fixture;
using journal_test::got;
using journal_test::record;
using journal_test::second;
using journal_test::some;
using journal_test::third;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(journal, fixture)

BOOST_AUTO_TEST_CASE(a_failed_sync_or_write_poisons_until_it_is_opened_again) {
  for (auto const* const call : {"fdatasync", "pwritev"}) {
    {
      auto s = spoiled();
      s.put("k", first);
      fail(call, EIO);
      auto const said = message_of([&] { s.put("k", second); });
      BOOST_TEST(said.starts_with("put \"k\": "), said);
      BOOST_TEST(said.find("indeterminate") != std::string::npos, said);
      BOOST_TEST(said.find(file.native()) != std::string::npos, said);
      BOOST_TEST(code_of([&] { s.put("k", third); }) == errc::indeterminate);
      BOOST_TEST(code_of([&] { s.erase("k"); }) == errc::indeterminate);
      BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == errc::indeterminate);
      BOOST_TEST(code_of([&] { s.purge(0s); }) == errc::indeterminate);
      BOOST_TEST(got(s, "k") == "first");
    }
    fail_nothing();
    auto s = open();
    auto const now = got(s, "k");
    BOOST_TEST((now == "first" || now == "second"));
    s.put("k", first);
  }
}

BOOST_AUTO_TEST_CASE(a_sync_that_failed_is_not_believed_where_there_was_no_memory_to_say_so) {
  auto s = spoiled();
  s.put("k", first);
  *ops.before = [](std::string_view call) {
    if (call == "fdatasync") throw std::bad_alloc{};
    return 0;
  };
  BOOST_CHECK_THROW(s.put("k", second), std::bad_alloc);
  fail_nothing();
  BOOST_TEST(code_of([&] { s.put("k", third); }) == errc::indeterminate);
}

BOOST_AUTO_TEST_CASE(a_signal_or_a_short_write_is_no_failure) {
  auto s = spoiled();
  s.put("k", first);
  for (auto const* const call : {"fdatasync", "pwritev"}) {
    fail(call, EINTR);
    s.put("k", second);
  }
  BOOST_TEST(got(s, "k") == "second");
}

BOOST_AUTO_TEST_CASE(where_it_cannot_grow_the_old_record_stands_and_it_goes_on_when_it_can) {
  auto s = spoiled({.chunk = 4096});
  s.put("k", first);
  auto const large = some(std::string(20'000, 'x'));
  fail("pwritev", ENOSPC);
  BOOST_TEST(code_of([&] { s.put("k", large); }) == os(ENOSPC));
  BOOST_TEST(got(s, "k") == "first");
  s.put("k", large);
  BOOST_TEST((s.get("k") == large));
  fail("fdatasync", EIO);  // of the zeros that it grows by
  BOOST_TEST(code_of([&] { s.put("k", some(std::string(50'000, 'y'))); }) == os(EIO));
  BOOST_TEST(code_of([&] { s.put("k", first); }) == errc::indeterminate);
  BOOST_TEST((s.get("k") == large));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_made_is_told_and_leaves_nothing) {
  for (std::string const call :
       {"open", "fstat", "fchmod", "random", "pwritev", "fdatasync", "rename", "fsync", "unlink"}) {
    each_failing(call, EIO, [&](int n) {
      fs::remove_all(dir());
      auto s = spoiled();
      auto const failed = code_of([&] { s.put("k", first); });
      bool const told = failed == os(EIO) || failed == errc::indeterminate || failed == errc::busy || !failed;
      BOOST_TEST(told, call << ' ' << n << ": " << failed.message());
      for (auto const& name : names(dir())) {
        BOOST_TEST((name == ".lock" || name == "stash.journal"), call << ' ' << n << ' ' << name);
      }
      BOOST_TEST((!failed || got(s, "k") == "absent"), call << ' ' << n);
    });
    fail_nothing();
    BOOST_TEST(code_of([&] { spoiled().put("k", first); }) == boost::system::error_code{});
  }
}

BOOST_AUTO_TEST_CASE(what_cannot_be_opened_is_told_and_stays) {
  spoiled().put("k", first);
  for (std::string const call : {"open", "fstat", "lstat", "pread", "pwritev", "fdatasync", "fsync"}) {
    each_failing(call, EIO, [&](int n) {
      auto const failed = code_of([&] { spoiled().get("k"); });
      BOOST_TEST((failed == os(EIO) || failed == errc::busy || !failed), call << ' ' << n << ": " << failed.message());
    });
    fail_nothing();
    BOOST_TEST(got(spoiled(), "k") == "first");
  }
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_is_an_error_and_not_absent) {
  spoiled().put("k", first);
  for (auto const* const call : {"open", "lstat", "fstat", "pread", "lock_byte"}) {
    fail_always(call, EIO);
    BOOST_TEST(code_of([&] { spoiled().get("k"); }) == os(EIO), call);
  }
  for (auto const* const call : {"open", "lstat", "fstat", "pread", "fdatasync", "fsync", "lock_byte"}) {
    fail_always(call, EIO);
    BOOST_TEST(code_of([&] { spoiled().try_lock("k"); }) == os(EIO), call);
  }
  fail_nothing();
  auto s = spoiled();
  BOOST_TEST(got(s, "k") == "first");
  fail_always("pread", EIO);
  BOOST_TEST(code_of([&] { s.get("k"); }) == os(EIO));
  fail_always("random", EIO);
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(EIO));
  fail_always("lstat", EIO);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
  fail_nothing();
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(who_cannot_open_it_keeps_no_other_out) {
  spoiled().put("k", first);
  auto s = spoiled();
  fail_always("pread", EIO);
  BOOST_TEST(code_of([&] { s.get("k"); }) == os(EIO));
  fail_nothing();
  BOOST_TEST(got(open(), "k") == "first");
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(when_the_lock_file_or_the_journal_is_removed_nothing_is_acknowledged) {
  for (auto const* const name : {".lock", "stash.journal"}) {
    auto s = open();
    s.put("k", first);
    auto const lock = s.try_lock("k");
    fs::remove(dir() / name);
    BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
    BOOST_TEST(got(s, "k") == "first");
    BOOST_TEST(lock->held() == (name != ".lock"s));
  }
}

BOOST_AUTO_TEST_CASE(when_another_file_stands_in_its_place_nothing_is_acknowledged) {
  auto s = open();
  s.put("k", first);
  auto const copy = bytes();
  support::write(dir() / "copy", copy);
  fs::rename(dir() / "copy", file);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
  BOOST_TEST(bytes() == copy);
}

BOOST_AUTO_TEST_CASE(a_file_system_that_cannot_sync_directories_will_do_under_process_crash_only) {
  fail_always("fsync", EINVAL);
  BOOST_TEST(code_of([&] { spoiled().put("k", first); }) == os(EINVAL));
  spoiled({.durability = stash::durability::process_crash}).put("k", first);
  fs::remove(file);
  fail_always("fsync", EIO);  // of the name of the file alone: the directory stands
  BOOST_TEST(code_of([&] { spoiled({.durability = stash::durability::process_crash}).put("k", first); }) == os(EIO));
  fail_always("fsync", EINVAL);
  spoiled({.durability = stash::durability::process_crash}).put("k", first);
  BOOST_TEST(got(spoiled({.durability = stash::durability::process_crash}), "k") == "first");
  fail_nothing();
  BOOST_TEST(got(open(), "k") == "first");
}

BOOST_AUTO_TEST_CASE(where_a_shared_sync_fails_each_thread_is_told_of_its_own_key) {
  auto s = spoiled();
  s.put("k", first);
  fail_always("fdatasync", EIO);
  std::vector<std::string> said(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < said.size(); ++t) {
    threads.emplace_back([&, t] { said[t] = message_of([&] { s.put("key" + std::to_string(t), second); }); });
  }
  for (auto& t : threads) t.join();
  for (std::size_t t = 0; t < said.size(); ++t) {
    BOOST_TEST(said[t].starts_with("put \"key" + std::to_string(t) + "\": "), said[t]);
  }
}

BOOST_AUTO_TEST_CASE(who_waits_while_anothers_sync_fails_is_not_written_any_more) {
  auto s = spoiled();
  s.put("k", first);
  std::atomic<int> syncs{0};
  *ops.before = [&](std::string_view call) {
    if (call != "fdatasync") return 0;
    if (++syncs > 1) return 0;
    std::this_thread::sleep_for(100ms);  // while the other comes
    return EIO;
  };
  boost::system::error_code other_failed;
  std::thread other{[&] {
    while (syncs == 0) std::this_thread::sleep_for(1ms);
    other_failed = code_of([&] { s.put("other", second); });
  }};
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::indeterminate);
  other.join();
  BOOST_TEST(other_failed == errc::indeterminate);
  BOOST_TEST(syncs == 1);
  fail_nothing();
}

/// Writes a byte at a time, or nothing at all.
struct slow_ops : stash::posix_file_ops {
  std::shared_ptr<bool> writes = std::make_shared<bool>(true);
  ssize_t pwritev(int fd, iovec const* parts, int, off_t at) const {
    iovec const one{parts->iov_base, *writes ? 1U : 0U};
    return ::pwritev(fd, &one, 1, at);
  }
};

BOOST_AUTO_TEST_CASE(short_writes_are_gone_on_with_and_a_write_of_nothing_is_an_error) {
  slow_ops slow;
  {
    stash::basic_journal_storage<slow_ops> s{dir(), {.chunk = 512}, slow};
    s.put("k", first);
    *slow.writes = false;
    BOOST_TEST(message_of([&] { s.put("k", second); }).find("Input/output error") != std::string::npos);
  }
  BOOST_TEST(got(open(), "k") == "first");
}

BOOST_AUTO_TEST_CASE(after_a_change_that_could_not_be_made_what_is_there_is_seen) {
  open().put("k", first);
  for (char const* const call : {"open", "fdatasync", "pwritev", "fsync", "lstat"}) {
    auto s = spoiled();
    BOOST_TEST(got(s, "k") == "first");
    fail_always(call, EMFILE);
    static_cast<void>(code_of([&] { s.try_lock("k"); }));
    static_cast<void>(code_of([&] { s.put("k", second); }));
    static_cast<void>(code_of([&] { s.erase("k"); }));
    fail_nothing();
    auto const now = got(s, "k");
    BOOST_TEST((now == "first" || now.find("busy") != now.npos), call << ' ' << now);
    s.put("k", first);
  }
  flip(3);  // what cannot be read stays an error
  flip(35);
  auto s = open();
  for (int i = 0; i < 2; ++i) {
    BOOST_TEST(code_of([&] { s.try_lock("k"); }) == errc::corrupt);
    BOOST_TEST(code_of([&] { s.entries(); }) == errc::corrupt);
  }
}

namespace {

/// As where others put a new journal in the place of the old one all the time: it is gone whenever it is opened.
struct replaced_journal : stash::posix_file_ops {
  static inline int times = 0;
  int open(int d, char const* n, int flags, mode_t m = 0) const {
    if (std::string_view(n) != "stash.journal" || times-- <= 0) return stash::posix_file_ops::open(d, n, flags, m);
    errno = ENOENT;
    return -1;
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_file_that_is_replaced_again_and_again_while_it_is_read_is_busy) {
  open().put("k", first);
  for (int const times : {3, 100}) {
    replaced_journal::times = times;
    stash::basic_journal_storage<replaced_journal> const s{dir()};
    std::optional<record> found;
    auto const code = code_of([&] { found = s.get("k"); });
    BOOST_TEST((times == 3 ? !code && found == first : code == errc::busy));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace journal_faults_test
