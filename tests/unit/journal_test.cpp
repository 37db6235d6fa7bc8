// What is special to the journal. That it keeps the promises of every storage is shown by the conformance suite, what a
// power cut may do to it by power_cut_test.cpp.
#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <stash/detail/journal/batch_wait.hpp>
#include <stash/storage/journal.hpp>
#include <thread>
#include <utility>

#include "journal_fixture.hpp"
#include "support.hpp"

namespace journal_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::journal_storage;
using stash::detail::frame_head;
using stash::detail::frame_kind;
using support::code_of;
using support::message_of;
using support::names;
using support::os;
namespace fs = boost::filesystem;

namespace {

struct on_read_only_file_system : stash::posix_file_ops {
  static bool is_refused(int flags) {
    errno = EROFS;
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0;
  }
  int open(int d, char const* n, int flags, mode_t m = 0) const {
    return is_refused(flags) ? -1 : posix_file_ops::open(d, n, flags, m);
  }
  int open_lock(int d, char const* n, int flags, mode_t m) const {
    return is_refused(flags) ? -1 : posix_file_ops::open_lock(d, n, flags, m);
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(journal, fixture)

BOOST_AUTO_TEST_CASE(constructing_reading_and_clearing_make_nothing) {
  auto s = open();
  BOOST_TEST(!s.exists());
  BOOST_TEST(got(s, "k") == "absent");
  BOOST_TEST(!s.erase("k"));
  BOOST_TEST(s.entries().empty());
  BOOST_TEST(s.set_aside_entries().empty());
  BOOST_TEST(s.purge(0s) == 0U);
  BOOST_TEST(!s.aside("k").has_value());
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(ENOENT));
  BOOST_TEST(!fs::exists(dir()));
  BOOST_TEST(s.where("k") == file);
  BOOST_TEST(code_of([] { journal_storage{""}; }) == os(EINVAL));
}

BOOST_AUTO_TEST_CASE(records_outlive_the_object_and_the_process) {
  std::string where;
  {
    auto s = open();
    s.put("a", first);
    s.put("b", first);
    s.put("gone", third);
    s.put("b", second);
    s.erase("gone");
    s.put("aside", third);
    where = s.set_aside("aside", "superseded");
    BOOST_TEST(s.exists());
  }
  BOOST_TEST((names(dir()) == std::vector{".lock"s, "stash.journal"s}));
  struct stat status {};
  BOOST_REQUIRE(::stat(file.c_str(), &status) == 0);
  BOOST_TEST((status.st_mode & 07777) == 0600U);
  crash_with([](auto& s) { s.put("c", third); });
  crash_with([](auto& s) { s.put("d", third); });
  auto s = open();
  BOOST_TEST(s.exists());
  BOOST_TEST((s.get("a") == first));
  BOOST_TEST((s.get("b") == second));
  BOOST_TEST((s.get("c") == third));
  BOOST_TEST((s.get("d") == third));
  BOOST_TEST(got(s, "gone") == "absent");
  BOOST_TEST(got(s, "aside") == "absent");
  BOOST_TEST(states(s) == "a intact b intact c intact d intact ");
  BOOST_TEST((s.aside(where) == third));
  BOOST_TEST(where.starts_with(file.native() + ": aside.superseded-"), where);
  BOOST_TEST(!s.aside("elsewhere").has_value());
  BOOST_TEST(s.set_aside_entries().at(0).where == where);
  BOOST_TEST(s.purge(1h) == 0U);
  BOOST_TEST(s.purge(0s) == 1U);
  BOOST_TEST(!s.aside(where).has_value());
}

BOOST_AUTO_TEST_CASE(the_umask_takes_nothing_away) {
  BOOST_TEST(support::in_child([&] {
               ::umask(0777);
               open().put("k", first);
               return got(open(), "k") == "first" ? 0 : 1;
             }) == 0);
  struct stat status {};
  BOOST_REQUIRE(::stat(file.c_str(), &status) == 0);
  BOOST_TEST((status.st_mode & 07777) == 0600U);
}

BOOST_AUTO_TEST_CASE(a_second_object_and_a_forked_child_are_busy) {
  auto s = open();
  s.put("k", first);
  auto other = open();
  BOOST_TEST(code_of([&] { other.get("k"); }) == errc::busy);
  BOOST_TEST(code_of([&] { other.put("k", second); }) == errc::busy);
  BOOST_TEST(other.exists());
  BOOST_TEST(support::in_child([&] {
               bool const inherited =
                   code_of([&] { s.get("k"); }) == errc::busy && code_of([&] { s.put("k", second); }) == errc::busy &&
                   code_of([&] { s.exists(); }) == errc::busy && code_of([&] { s.try_lock("k"); }) == errc::busy;
               { auto const ends_in_the_child = std::move(s); }
               return inherited && code_of([&] { open().get("k"); }) == errc::busy ? 0 : 1;
             }) == 0);
  auto lock = s.try_lock("k");
  {
    auto const moved = std::move(s);
    BOOST_TEST(got(moved, "k") == "first");
  }
  BOOST_TEST(lock->held());
  BOOST_TEST(code_of([&] { other.get("k"); }) == errc::busy);  // a lock keeps it open
  lock.reset();
  BOOST_TEST(got(other, "k") == "first");
}

BOOST_AUTO_TEST_CASE(a_payload_over_the_cap_is_refused_and_the_old_one_stands) {
  auto s = open({.max_bytes = 5});
  s.put("k", first);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::too_large);
  BOOST_TEST(code_of([&] { s.check("k", second); }) == errc::too_large);
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(it_may_grow_by_as_little_as_one_likes) {
  auto s = open({.chunk = 0});
  for (int i = 0; i < 50; ++i) s.put("k", some(std::to_string(i)));
  BOOST_TEST(got(s, "k") == "49");
}

BOOST_AUTO_TEST_CASE(under_process_crash_no_record_is_synced) {
  int syncs = 0;
  auto s = spoiled({.durability = stash::durability::process_crash});
  s.put("k", first);
  *ops.before = [&](std::string_view call) {
    syncs += call == "fdatasync" || call == "fsync";
    return 0;
  };
  s.put("k", second);
  s.erase("k");
  s.put("k", third);
  BOOST_TEST(syncs == 0);
}

BOOST_AUTO_TEST_CASE(a_record_larger_than_what_is_read_at_a_time_comes_back) {
  auto const large = some(std::string(3'000'000, 'x'));
  {
    auto s = open();
    s.put("a", large);
    s.put("b", first);
    s.put("c", large);
  }
  auto s = open();
  BOOST_TEST((s.get("a") == large));
  BOOST_TEST(got(s, "b") == "first");
  BOOST_TEST((s.get("c") == large));
}

BOOST_AUTO_TEST_CASE(who_reads_makes_writes_and_erases_nothing) {
  crash_with([](auto& s) {
    s.put("k", first);
    s.put("torn", some(std::string(200, 'x')));
  });
  overwrite(frame_of("torn").at + 128, std::string(200, '\0'));
  for (bool const has_lock_file : {true, false}) {
    if (!has_lock_file) fs::remove(dir() / ".lock");  // as where it was copied to
    auto const as_found = bytes();
    auto const files = names(dir());
    std::string written;
    *ops.before = [&](std::string_view call) {
      for (auto const* const one : {"pwritev", "fdatasync", "fsync", "unlink", "rename", "mkdir", "fchmod"}) {
        if (call == one) written += std::string(call) + ' ';
      }
      return 0;
    };
    {
      auto s = spoiled();
      BOOST_TEST(got(s, "k") == "first");
      BOOST_TEST(got(s, "torn") == "absent");
      BOOST_TEST(states(s) == "k intact ");
      BOOST_TEST(s.set_aside_entries().empty());
      BOOST_TEST(!s.aside(s.where("k") + ": k.x-20200101T000000Z-0123456789abcdef"));
      BOOST_TEST(s.exists());
    }
    BOOST_TEST(written == "");
    BOOST_TEST(bytes() == as_found);
    BOOST_TEST((names(dir()) == files));
    fail_nothing();
  }
  auto s = open();
  BOOST_TEST(got(s, "k") == "first");
  s.put("k", second);  // who has read may write
  BOOST_TEST(got(s, "k") == "second");
}

BOOST_AUTO_TEST_CASE(who_reads_without_a_lock_sees_what_another_wrote_meanwhile) {
  // What is read where another writes before the nth call of that name. nullopt: there are not so many.
  auto const read_where_another_writes = [&](std::string_view name, int nth) -> std::optional<std::string> {
    open().put("k", first);
    fs::remove(dir() / ".lock");
    auto s = spoiled();
    int calls = 0;
    *ops.before = [&](std::string_view call) {
      if (call == name && ++calls == nth) open().put("k", second);
      return 0;
    };
    auto read = got(s, "k");
    fail_nothing();
    return calls < nth ? std::nullopt : std::optional(std::move(read));
  };
  BOOST_TEST((read_where_another_writes("pread", 1) == "second"));
  int nth = 1;
  for (; auto const read = read_where_another_writes("lstat", nth); ++nth) BOOST_TEST(*read == "second", *read);
  BOOST_TEST(nth > 2);  // before and behind what is read
}

BOOST_AUTO_TEST_CASE(on_a_read_only_file_system_one_reads_without_a_lock) {
  open().put("k", first);
  stash::basic_journal_storage<on_read_only_file_system> s{dir()}, other{dir()};
  BOOST_TEST(got(s, "k") == "first");
  BOOST_TEST(got(other, "k") == "first");
  BOOST_TEST(states(s) == "k intact ");
  BOOST_TEST(code_of([&] { s.put("k", second); }) == os(EROFS));
  BOOST_TEST(code_of([&] { s.try_lock("k"); }) == os(EROFS));
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(root_may_look_at_anothers_and_changes_nothing, *boost::unit_test::precondition(support::as_root)) {
  open().put("k", first);
  for (auto const& one : {dir(), file, dir() / ".lock"}) BOOST_REQUIRE(::lchown(one.c_str(), 1, 1) == 0);
  for (bool const has_lock_file : {true, false}) {
    if (!has_lock_file) fs::remove(dir() / ".lock");
    auto const as_found = bytes();
    auto const files = names(dir());
    auto s = open(), other = open();
    BOOST_TEST(got(s, "k") == "first");
    BOOST_TEST(got(other, "k") == "first");  // the owner is not kept out either
    auto const said = message_of([&] { s.put("k", second); });
    BOOST_TEST(said.find("sudo -u") != std::string::npos, said);
    BOOST_TEST(code_of([&] { s.try_lock("k"); }) == errc::unsafe_directory);
    BOOST_TEST(code_of([&] { s.erase("k"); }) == errc::unsafe_directory);
    BOOST_TEST(bytes() == as_found);
    BOOST_TEST((names(dir()) == files));
  }
  BOOST_REQUIRE(::lchown(file.c_str(), 2, 2) == 0);
  BOOST_TEST(code_of([&] { open().get("k"); }) == os(EPERM));
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_the_program_used_again_is_not_read_written_or_closed) {
  auto const other = dir().parent_path() / "others";
  support::write(other, "the program's own");
  int fd = -1;
  {
    auto s = open();
    s.put("k", first);
    for (int one = 3; one < 64 && fd < 0; ++one) {
      struct stat s1 {
      }, s2{};
      if (::fstat(one, &s1) == 0 && ::stat(file.c_str(), &s2) == 0 && s1.st_ino == s2.st_ino) fd = one;
    }
    BOOST_REQUIRE(fd >= 0);
    int const opened = ::open(other.c_str(), O_RDWR | O_CLOEXEC);
    BOOST_REQUIRE(::dup2(opened, fd) == fd);
    ::close(opened);
    BOOST_TEST(code_of([&] { s.get("k"); }) == os(EBADF));
    BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
  }
  BOOST_TEST(::fcntl(fd, F_GETFD) != -1);  // it is open still
  ::close(fd);
  BOOST_TEST(support::read(other) == "the program's own");
  BOOST_TEST(got(open(), "k") == "first");
}

BOOST_AUTO_TEST_CASE(what_was_looked_at_and_is_gone_is_not_written_to) {
  open().put("k", first);
  auto s = open();
  BOOST_TEST(got(s, "k") == "first");
  fs::remove(file);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
  BOOST_TEST(!fs::exists(file));
  s.put("k", second);  // it has noticed
  BOOST_TEST(got(s, "k") == "second");
}

BOOST_AUTO_TEST_CASE(a_newer_version_is_a_mismatch_and_stays_as_it_is) {
  open().put("k", first);
  std::string head = "stash journal 2\n"s + std::string(8, 's');
  stash::detail::append_number(head, stash::detail::xxh64::hash(head));
  overwrite(0, head + head);
  auto const newer = bytes();
  auto s = open();
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::mismatch);
  BOOST_TEST(bytes() == newer);
}

BOOST_AUTO_TEST_CASE(a_frame_of_a_newer_version_is_a_mismatch) {
  {
    auto s = open();
    s.put("k", first);
  }
  auto all = bytes();
  auto const f = frame_of("k");
  auto const salt = stash::detail::journal_head::decode(std::string_view(all).substr(0, 64))->salt;
  auto head = *frame_head::decode(std::string_view(all).substr(f.at), f.at, salt);
  head.kind = static_cast<frame_kind>(77);
  overwrite(f.at, head.encode(salt));
  BOOST_TEST(code_of([&] { open().get("k"); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(what_is_no_journal_file_is_an_error) {
  open().put("k", first);
  fs::remove(file);
  BOOST_REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
  BOOST_TEST(code_of([&] { open().get("k"); }) == errc::corrupt);
  fs::remove(file);
  fs::create_symlink("elsewhere", file);
  BOOST_TEST(code_of([&] { open().get("k"); }) == os(ELOOP));
  BOOST_TEST(code_of([&] { open().put("k", first); }) == os(ELOOP));
  fs::remove(file);
  support::write(file, "something else");
  BOOST_TEST(code_of([&] { open().put("k", first); }) == errc::corrupt);
  BOOST_TEST(bytes() == "something else");
}

BOOST_AUTO_TEST_CASE(what_a_dead_process_left_half_made_is_replaced) {
  open().put("k", first);
  support::write(dir() / ".stash.journal.tmp", "half");
  fs::remove(file);
  auto s = open();
  BOOST_TEST(!s.exists());
  BOOST_TEST(got(s, "k") == "absent");
  s.put("k", second);
  BOOST_TEST((names(dir()) == std::vector{".lock"s, "stash.journal"s}));
}

BOOST_AUTO_TEST_CASE(somebody_elses_file_is_refused, *boost::unit_test::precondition(support::as_root)) {
  open().put("k", first);
  BOOST_REQUIRE(::chown(file.c_str(), 1, 1) == 0);
  BOOST_TEST(code_of([&] { open().get("k"); }) == os(EPERM));
}

BOOST_AUTO_TEST_CASE(threads_that_save_at_the_same_time_share_a_sync) {
  std::atomic<int> syncs{0};
  *ops.before = [&](std::string_view call) {
    if (call != "fdatasync") return 0;
    ++syncs;
    std::this_thread::sleep_for(1ms);  // while the others come
    return 0;
  };
  auto s = spoiled();
  s.put("k", first);
  int const before = syncs;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&s, t] {
      for (int i = 0; i < 20; ++i) s.put("k" + std::to_string(t), some(std::to_string(i)));
    });
  }
  for (auto& t : threads) t.join();
  BOOST_TEST(syncs - before < 80);
  for (int t = 0; t < 8; ++t) BOOST_TEST(got(s, "k" + std::to_string(t)) == "19");
  BOOST_TEST(s.entries().size() == 9U);
}

BOOST_AUTO_TEST_CASE(two_that_purge_at_once_count_each_record_once) {
  auto s = spoiled();
  s.put("k", first);
  s.set_aside("k", "x");
  std::atomic<bool> is_other{false};
  *ops.before = [&](std::string_view call) {
    if (call == "fdatasync" && !is_other.exchange(true)) std::this_thread::sleep_for(100ms);
    return 0;
  };
  std::size_t by_other = 0;
  std::thread other{[&] {
    while (!is_other) std::this_thread::sleep_for(1ms);
    by_other = s.purge(0s);
  }};
  auto const by_us = s.purge(0s);
  other.join();
  BOOST_TEST(by_us + by_other == 1U);
  fail_nothing();
}

// Which requests share a flush

/// How often it asks how many wait, of whom there are `there` at first and then `later`: once where it waits for
/// nobody.
int questions_of(stash::detail::batch_wait& others, std::size_t there, std::size_t later) {
  std::mutex mutex;
  std::unique_lock only{mutex};
  int asked = 0;
  others.wait(only, [&] { return ++asked == 1 ? there : later; });
  return only.owns_lock() ? asked : 0;
}

BOOST_AUTO_TEST_CASE(a_thread_that_is_alone_waits_for_nobody) {
  stash::detail::batch_wait others;
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST(questions_of(others, 1, 1) == 1);
    others.saw(1);
  }
}

BOOST_AUTO_TEST_CASE(a_batch_waits_for_those_who_wrote_lately_unless_they_are_there) {
  stash::detail::batch_wait others;
  others.saw(5);
  BOOST_TEST(questions_of(others, 5, 5) == 1);
  BOOST_TEST(questions_of(others, 3, 5) > 1);
  others.saw(1);
  BOOST_TEST(questions_of(others, 1, 1) == 1);  // the others are gone
}

BOOST_AUTO_TEST_CASE(after_one_that_waited_in_vain_some_batches_wait_for_nobody) {
  stash::detail::batch_wait others;
  others.saw(8);
  BOOST_TEST(questions_of(others, 4, 5) > 1);  // one of four came: worth it
  BOOST_TEST(questions_of(others, 4, 4) > 1);
  for (int i = 0; i < 4; ++i) BOOST_TEST(questions_of(others, 4, 8) == 1);
  BOOST_TEST(questions_of(others, 4, 8) > 1);
}

BOOST_AUTO_TEST_CASE(a_child_that_is_forked_amid_a_wait_can_destroy_its_copy) {
  auto others = std::make_unique<stash::detail::batch_wait>();
  others->saw(8);
  std::atomic<bool> is_done = false;
  std::thread waiting{[&] {
    while (!is_done) questions_of(*others, 4, 7);
  }};
  bool is_hung = false;
  for (int i = 0; i < 50 && !is_hung; ++i) {
    is_hung = support::in_child([&] {
                ::alarm(20);
                others.reset();
                return 0;
              }) != 0;
  }
  is_done = true;
  waiting.join();
  BOOST_TEST(!is_hung);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace journal_test
