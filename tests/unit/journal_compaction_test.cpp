// When the file is written anew, and what may come amid that.
#include <sys/stat.h>

#include <atomic>
#include <set>
#include <stash/storage/journal.hpp>
#include <thread>

#include "journal_fixture.hpp"
#include "support.hpp"

namespace journal_compaction_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::detail::frame_kind;
using support::code_of;
using support::names;
using support::os;
namespace fs = boost::filesystem;

namespace {

using journal_test::first;
using journal_test::fixture;
using journal_test::got;
using journal_test::second;
using journal_test::some;
using journal_test::third;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(journal, fixture)

BOOST_AUTO_TEST_CASE(when_the_lock_file_is_removed_while_it_is_written_anew_the_old_file_stays) {
  {
    auto s = spoiled({.chunk = 4096});
    s.put("k", first);
    *ops.before = [this, chmods = 0](std::string_view call) mutable {
      if (call == "fchmod" && ++chmods == 1) fs::remove(dir() / ".lock");  // of the new file
      return 0;
    };
    boost::system::error_code failed;
    for (int i = 0; i < 100 && !failed; ++i) {
      failed = code_of([&] { s.put("busy", some(std::string(1000, 'b'), i)); });
    }
    BOOST_TEST(failed == errc::busy);
    fail_nothing();
  }
  BOOST_TEST((names(dir()) == std::vector{"stash.journal"s}));
  BOOST_TEST(got(open(), "k") == "first");
}

BOOST_AUTO_TEST_CASE(a_file_that_is_mostly_dead_is_written_anew_with_all_that_counts) {
  stash::journal_options const small{.chunk = 4096};
  std::string where;
  {
    auto s = open();
    for (auto const* const k : {"old", "x", "y", "damaged", "new"}) s.put(k, some("the words of "s + k));
    s.put("aside", third);
    where = s.set_aside("aside", "superseded");
    s.put("last", first);
  }
  flip(frame_of("damaged").body_at);
  zero_x_and_y();
  auto const check = [&](auto& s) {
    BOOST_TEST(got(s, "old") == "corrupt");
    BOOST_TEST(got(s, "x") == "corrupt");
    BOOST_TEST(got(s, "erased") == "absent");
    BOOST_TEST(got(s, "damaged") == "corrupt");
    BOOST_TEST(got(s, "new") == "the words of new");
    BOOST_TEST((s.aside(where) == third));
    BOOST_TEST(s.set_aside_entries().size() == 2U);
  };
  ino_t before = 0;
  {
    auto s = open(small);
    s.erase("erased");
    s.put("lost", second);
    s.set_aside("y", "corrupt");
    check(s);
    struct stat status {};
    ::stat(file.c_str(), &status);
    before = status.st_ino;
    std::ifstream const keeps_its_number{file.native()};
    for (int i = 0; i < 200; ++i) s.put("busy", some(std::string(1000, 'b'), i));
    check(s);
    BOOST_TEST((s.get("busy") == some(std::string(1000, 'b'), 199)));
    ::stat(file.c_str(), &status);
    BOOST_TEST(status.st_ino != before);
    BOOST_TEST(fs::file_size(file) < 64'000U);
  }
  {
    auto s = open(small);
    check(s);
    BOOST_TEST((s.get("busy") == some(std::string(1000, 'b'), 199)));
    for (int i = 0; i < 200; ++i) s.put("busy", some(std::string(1000, 'c'), i));
    check(s);
  }
  auto s = open(small);
  check(s);
  BOOST_TEST((names(dir()) == std::vector{".lock"s, "stash.journal"s}));
}

BOOST_AUTO_TEST_CASE(what_was_written_anew_can_be_damaged_too) {
  stash::journal_options const small{.chunk = 4096};
  {
    auto s = open();
    for (auto const* const k : {"x", "y", "aside", "bad", "k"}) s.put(k, some("the words of "s + k));
    s.set_aside("aside", "superseded");
    s.put("last", first);
  }
  flip(frame_of("bad").body_at);
  zero_x_and_y();
  {
    auto s = open(small);
    s.put("k", first);
    s.set_aside("bad", "corrupt");
    for (int i = 0; i < 100; ++i) s.put("busy", some(std::string(1000, 'b'), i));
  }
  auto const whole = bytes();
  std::set<frame_kind> kinds;
  for (auto const& f : frames()) {
    if (f.at + f.size == frames().back().at + frames().back().size) break;  // the last: a torn end
    for (auto const at : {f.at, f.body_at}) {
      if (at == f.body_at && f.kind != frame_kind::damage && f.kind != frame_kind::kept &&
          f.kind != frame_kind::corrupt_kept) {
        continue;
      }
      kinds.insert(f.kind);
      support::write(file, whole);
      flip(at);
      auto s = open(small);
      BOOST_TEST(got(s, "x") == "corrupt");
      BOOST_TEST((got(s, "k") == "first" || f.key == "k"));
      std::size_t const damaged_head = f.at == at && !f.key.empty() ? 1 : 0;
      BOOST_TEST(s.set_aside_entries().size() + damaged_head >= 2U);
    }
  }
  BOOST_TEST(kinds.contains(frame_kind::damage));
  BOOST_TEST(kinds.contains(frame_kind::kept));
  BOOST_TEST(kinds.contains(frame_kind::corrupt_kept));
}

BOOST_AUTO_TEST_CASE(many_and_large_records_are_written_anew) {
  auto s = open({.chunk = 4096});
  for (int i = 0; i < 600; ++i) s.put("k" + std::to_string(i), some("value " + std::to_string(i)));
  auto const large = std::string(700'000, 'x');
  s.put("large", some(large));
  for (int i = 0; i < 6; ++i) s.put("busy", some(large, i));
  BOOST_TEST(fs::file_size(file) < 6U * 700'000U);
  BOOST_TEST(s.entries().size() == 602U);
  BOOST_TEST(got(s, "k599") == "value 599");
  BOOST_TEST(got(s, "large") == large);
}

BOOST_AUTO_TEST_CASE(where_it_cannot_be_written_anew_the_old_file_goes_on) {
  auto const large = std::string(1000, 'b');
  for (auto const* const call : {"open", "unlink", "rename", "fchmod", "random"}) {
    {
      auto s = spoiled({.chunk = 4096});
      s.put("k", first);
      fail_always(call, EIO);
      for (int i = 0; i < 100; ++i) s.put("busy", some(large, i));
      fail_nothing();
      BOOST_TEST(got(s, "k") == "first");
      for (int i = 0; i < 100; ++i) s.put("busy", some(large, i));
    }
    BOOST_TEST(got(open(), "k") == "first");
    BOOST_TEST((names(dir()) == std::vector{".lock"s, "stash.journal"s}), call);
    fs::remove_all(dir());
  }
}

BOOST_AUTO_TEST_CASE(where_the_new_files_name_cannot_be_synced_it_is_written_once_more) {
  auto const large = std::string(1000, 'b');
  auto s = spoiled({.chunk = 4096});
  s.put("k", first);
  fail("fsync", EIO);
  for (int i = 0; i < 100; ++i) s.put("busy", some(large, i));
  fail_always("fsync", EIO);
  boost::system::error_code failed;
  for (int i = 0; i < 100 && !failed; ++i) failed = code_of([&] { s.put("busy", some(large, i)); });
  BOOST_TEST(failed == errc::indeterminate);
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(a_new_file_whose_name_may_not_be_certain_is_made_once_more) {
  auto const inode = [&] {
    struct stat status {};
    BOOST_REQUIRE(::stat(file.c_str(), &status) == 0);
    return status.st_ino;
  };
  open().put("k", first);
  fs::remove(file);
  fail("fsync", EIO);  // of the file's name: the directory stands
  {
    auto s = spoiled();
    BOOST_TEST(code_of([&] { s.put("k", first); }) == os(EIO));
    auto const uncertain = inode();
    s.put("k", first);
    BOOST_TEST(inode() != uncertain);
  }
  auto const certain = inode();
  BOOST_TEST(got(open(), "k") == "first");
  BOOST_TEST(inode() == certain);

  // One that was written anew, and neither rename could be synced.
  {
    auto s = spoiled({.chunk = 4096});
    s.put("k", second);
    fail_always("fsync", EIO);
    boost::system::error_code failed;
    for (int i = 0; i < 100 && !failed; ++i) failed = code_of([&] { s.put("busy", some(std::string(1000, 'b'), i)); });
    BOOST_TEST(failed == errc::indeterminate);
  }
  fail_nothing();
  auto const uncertain = inode();
  BOOST_TEST(got(open(), "k") == "second");
  BOOST_TEST(inode() == uncertain);  // who reads makes nothing
  open().erase("busy");
  BOOST_TEST(got(open(), "k") == "second");
  BOOST_TEST(inode() != uncertain);
}

BOOST_AUTO_TEST_CASE(a_new_file_to_which_nothing_is_written_is_not_made_again_and_again) {
  {
    auto s = open();
    s.put("k", first);
    s.erase("k");
  }
  auto const whole = bytes();
  BOOST_TEST(got(open(), "k") == "absent");
  BOOST_TEST(bytes() == whole);
}

BOOST_AUTO_TEST_CASE(threads_go_on_while_the_file_is_written_anew) {
  std::atomic<bool> is_new{false};
  *ops.before = [&](std::string_view call) {
    if (call == "unlink") is_new = true;
    if (call != "fdatasync") return 0;
    std::this_thread::sleep_for(is_new.exchange(false) ? 50ms : 1ms);
    return 0;
  };
  auto s = spoiled({.chunk = 4096});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&s, t] {
      for (int i = 0; i < 40; ++i) {
        s.put("busy" + std::to_string(t), some(std::string(1000, 'b'), i));
        s.put("k" + std::to_string(t) + "-" + std::to_string(i), some(std::to_string(i)));
      }
    });
  }
  threads.emplace_back([&s] {
    for (int i = 0; i < 40; ++i) {
      s.put("aside", first);
      s.set_aside("aside", "x");
      s.purge(0s);
    }
  });
  threads.emplace_back([&s] {
    for (int i = 0; i < 60; ++i) s.purge(0s);
  });
  for (auto& t : threads) t.join();
  BOOST_TEST(s.entries().size() == 4U + 160U);
  for (int t = 0; t < 4; ++t) BOOST_TEST(got(s, "k" + std::to_string(t) + "-39") == "39");
  s.purge(0s);
  BOOST_TEST(s.set_aside_entries().empty());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace journal_compaction_test
