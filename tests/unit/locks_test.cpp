// Locks across processes, waiting for them, and their file.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <thread>

#include "locks_fixture.hpp"
#include "support.hpp"

namespace locks_test {

using namespace std::chrono_literals;
using stash::errc;
using support::code_of;
namespace fs = boost::filesystem;

BOOST_FIXTURE_TEST_SUITE(locks, fixture)

BOOST_AUTO_TEST_CASE(another_process_is_kept_out_until_the_holder_is_killed) {
  holder h{[&](auto ready) {
    auto const g = guard();
    ready();
  }};
  BOOST_TEST(!store.storage().try_lock("k").has_value());
  BOOST_TEST(store.storage().try_lock("other").has_value());
  BOOST_TEST(code_of([&] { auto const one = guard(); }) == errc::busy);
  BOOST_TEST(code_of([&] { store.save("k", 2); }) == errc::busy);
  BOOST_TEST(code_of([&] { store.clear("k"); }) == errc::busy);
  BOOST_TEST((store.load<int>("k") == 1));
  auto const report = stash::recover<int>(
      store, [](auto const&) { return false; }, [](auto const&, int) {});
  BOOST_TEST(report.busy == 1U);
  BOOST_TEST(report.restored == 0U);
  h.kill();
  BOOST_TEST(store.storage().try_lock("k").has_value());
  auto const g = guard({}, std::nullopt);
  BOOST_TEST((g.origin() == stash::origin::adopted));
}

BOOST_AUTO_TEST_CASE(a_guard_waits_as_long_as_it_is_told) {
  auto held = store.storage().try_lock("k");
  auto const start = std::chrono::steady_clock::now();
  BOOST_TEST(code_of([&] { auto const one = guard({.wait_for_lock = 100ms}); }) == errc::busy);
  BOOST_TEST((std::chrono::steady_clock::now() - start >= 100ms));
  std::jthread const release([&] {
    std::this_thread::sleep_for(50ms);
    held.reset();
  });
  { auto const one = guard({.wait_for_lock = std::chrono::milliseconds::max()}); }
}

BOOST_AUTO_TEST_CASE(a_signal_ends_no_pause) {
  struct sigaction quiet = {};
  quiet.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &quiet, nullptr);  // and stays: one may come late
  auto const waiting = ::pthread_self();
  std::jthread const signals([&](std::stop_token const& stop) {
    while (!stop.stop_requested()) {
      ::pthread_kill(waiting, SIGUSR1);
      std::this_thread::sleep_for(1ms);
    }
  });
  auto const start = std::chrono::steady_clock::now();
  stash::detail::sleep_for(30ms);
  BOOST_TEST((std::chrono::steady_clock::now() - start >= 30ms));
}

/// From here on, each call that sleeps fails so. false: that cannot be had here.
bool forbid_sleep(int error) {
  auto const load = [](std::size_t at) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(at));
  };
  auto const fail_if = [](long call) {
    return sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1);
  };
  auto const answer = [](unsigned a) { return sock_filter BPF_STMT(BPF_RET | BPF_K, a); };
  unsigned const failure = SECCOMP_RET_ERRNO | static_cast<unsigned>(error);
  std::array filter{load(offsetof(seccomp_data, nr)),
                    fail_if(SYS_clock_nanosleep),
                    answer(failure),
                    fail_if(SYS_nanosleep),
                    answer(failure),
                    answer(SECCOMP_RET_ALLOW)};
  sock_fprog const program{filter.size(), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
boost::test_tools::assertion_result may_forbid_sleep(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result can{support::in_child([] { return forbid_sleep(EPERM) ? 0 : 1; }) == 0};
  can.message() << "system calls may not be filtered here";
  return can;
}

BOOST_AUTO_TEST_CASE(a_wait_ends_by_the_clock_where_nothing_may_sleep,
                     *boost::unit_test::precondition(may_forbid_sleep)) {
  for (int const error : {EPERM, ENOSYS, EINTR, EINVAL}) {
    int const status = support::in_child([&] {
      ::alarm(60);
      if (!forbid_sleep(error)) return 1;
      auto const held = store.storage().try_lock("k");
      auto const start = std::chrono::steady_clock::now();
      if (code_of([&] { auto const one = guard({.wait_for_lock = 50ms}); }) != errc::busy) return 2;
      if (code_of([&] { store.save("k", 1); }) != errc::busy) return 3;
      return std::chrono::steady_clock::now() - start >= 1050ms ? 0 : 4;
    });
    BOOST_TEST(status == 0, "error " << error << ": " << status);
  }
}

BOOST_AUTO_TEST_CASE(a_call_that_is_always_interrupted_ends_by_the_clock) {
  auto const always = [] { return errno = EINTR, -1; };
  BOOST_TEST(stash::detail::retried(always) == -1);
  BOOST_TEST(errno == EINTR);
  int calls = 0;
  BOOST_TEST(stash::detail::retried([&] { return ++calls < 1000 ? always() : 7; }) == 7);
}

BOOST_AUTO_TEST_CASE(a_save_waits_for_another_short_operation) {
  auto held = store.storage().try_lock("k");
  std::jthread const release([&] {
    std::this_thread::sleep_for(50ms);
    held.reset();
  });
  store.save("k", 2);
  BOOST_TEST((store.load<int>("k") == 2));
}

BOOST_AUTO_TEST_CASE(closing_another_descriptor_of_the_lock_file_drops_nothing) {
  auto const lock = store.storage().try_lock("k");
  ::close(::open(lock_file.c_str(), O_RDWR | O_CLOEXEC));
  BOOST_TEST(support::in_child([&] { return store.storage().try_lock("k").has_value() ? 1 : 0; }) == 0);
}

BOOST_AUTO_TEST_CASE(a_lock_whose_file_was_deleted_or_replaced_is_not_held) {
  auto lock = store.storage().try_lock("k");
  BOOST_TEST(lock->held());
  fs::remove(lock_file);
  BOOST_TEST(!lock->held());
  support::write(lock_file, "");
  BOOST_TEST(!lock->held());
  lock = store.storage().try_lock("k");
  fs::rename(dir(), root / "moved");
  BOOST_TEST(!lock->held());
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_the_program_closed_and_used_again_is_left_alone) {
  store.save("other", 1);
  for (bool const is_used_again : {true, false}) {
    auto lock = store.storage().try_lock("k");
    int const number = descriptor_of(lock_file);
    if (is_used_again) {
      int const null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      BOOST_REQUIRE(::dup2(null, number) == number);
      ::close(null);
    } else {
      ::close(number);
    }
    BOOST_TEST(!lock->held());
    BOOST_TEST(support::in_child([&] { return is_used_again && ::fcntl(number, F_GETFD) == -1; }) == 0);
    lock.reset();
    BOOST_TEST(::close(number) == (is_used_again ? 0 : -1));
    BOOST_TEST(store.storage().try_lock("k").has_value());
  }
}

BOOST_AUTO_TEST_CASE(a_lock_file_deleted_while_it_is_being_locked_is_made_and_locked_anew) {
  support::spoiled_ops ops;
  support::spoiled_storage spoiled{dir(), {}, ops};
  bool deleted = false;
  *ops.before = [&](std::string_view call) {
    if (call == "lock_byte" && !deleted) deleted = fs::remove(lock_file);
    return 0;
  };
  auto const lock = spoiled.try_lock("k");
  BOOST_TEST(deleted);
  BOOST_REQUIRE(lock.has_value());
  BOOST_TEST(lock->held());
  BOOST_TEST(!store.storage().try_lock("k").has_value());
}

BOOST_AUTO_TEST_CASE(a_lock_file_that_is_deleted_again_and_again_is_an_error) {
  support::spoiled_ops ops;
  support::spoiled_storage spoiled{dir(), {}, ops};
  int deleted = 0;
  *ops.before = [&](std::string_view call) {
    if (call == "lock_byte") deleted += fs::remove(lock_file);
    return 0;
  };
  BOOST_TEST(code_of([&] { spoiled.try_lock("k"); }) == support::os(ESTALE));
  BOOST_TEST(deleted > 1);
}

BOOST_AUTO_TEST_CASE(a_link_or_a_fifo_at_the_lock_files_name_is_an_error_and_no_lock) {
  store.save("k", 1);
  support::write(root / "victim", "precious");
  BOOST_REQUIRE(::chmod((root / "victim").c_str(), 0644) == 0);
  for (auto const& goal : {root / "victim", root / "nowhere"}) {
    fs::remove(lock_file);
    fs::create_symlink(goal, lock_file);
    BOOST_TEST(code_of([&] { store.storage().try_lock("k"); }) == support::os(ELOOP));
  }
  BOOST_TEST(!fs::exists(root / "nowhere"));
  BOOST_TEST(fs::status(root / "victim").permissions() == fs::perms(0644));
  fs::remove(lock_file);
  BOOST_REQUIRE(::mkfifo(lock_file.c_str(), 0600) == 0);
  BOOST_TEST(code_of([&] { store.storage().try_lock("k"); }) == errc::unsafe_directory);
}

BOOST_AUTO_TEST_CASE(a_lock_file_that_others_may_open_is_closed_to_them) {
  store.save("k", 1);
  BOOST_REQUIRE(::chmod(lock_file.c_str(), 0666) == 0);
  BOOST_TEST(store.storage().try_lock("k").has_value());
  BOOST_TEST(fs::status(lock_file).permissions() == fs::perms(0600));
}

BOOST_AUTO_TEST_CASE(a_lock_that_cannot_be_taken_again_is_not_held) {
  support::spoiled_ops ops;
  support::spoiled_storage spoiled{dir(), {}, ops};
  auto const lock = spoiled.try_lock("k");
  *ops.before = [](std::string_view call) { return call == "lock_byte" ? EAGAIN : 0; };
  BOOST_TEST(!lock->held());
}

BOOST_AUTO_TEST_CASE(a_lock_that_cannot_be_taken_is_an_error_unless_another_has_it) {
  support::spoiled_ops ops;
  support::spoiled_storage spoiled{dir(), {}, ops};
  for (int const error : {ENOLCK, EIO, EAGAIN, EACCES}) {
    *ops.before = [&](std::string_view call) { return call == "lock_byte" ? error : 0; };
    auto const code = code_of([&] { BOOST_TEST(!spoiled.try_lock("k").has_value()); });
    BOOST_TEST(code == (error == ENOLCK || error == EIO ? support::os(error) : boost::system::error_code{}));
  }
}

BOOST_AUTO_TEST_CASE(a_lock_file_that_cannot_be_closed_to_others_is_an_error) {
  support::spoiled_ops ops;
  support::spoiled_storage spoiled{dir(), {}, ops};
  spoiled.put("k", {"x", {}});  // else nothing would be left of the first lock
  support::set_mode(lock_file, 0644);
  *ops.before = [](std::string_view call) { return call == "fchmod" ? EPERM : 0; };
  BOOST_TEST(code_of([&] { static_cast<void>(spoiled.try_lock("k")); }) == support::os(EPERM));
}

BOOST_AUTO_TEST_CASE(a_lock_file_of_another_file_system_is_not_the_one_that_is_locked) {
  struct remounting : stash::posix_file_ops {
    int lstat(int d, char const* n, struct stat* s) const {
      int const result = posix_file_ops::lstat(d, n, s);
      s->st_dev += *mounts;
      return result;
    }
    std::shared_ptr<dev_t> mounts = std::make_shared<dev_t>(0);
  };
  remounting const ops;
  stash::basic_atomic_file_storage<remounting> remounted{dir(), {}, ops};
  auto const lock = remounted.try_lock("k");
  BOOST_TEST(lock->held());
  *ops.mounts = 1;
  BOOST_TEST(!lock->held());
}

BOOST_AUTO_TEST_CASE(a_lock_that_is_released_is_free_though_a_copy_of_its_descriptor_is_open) {
  auto lock = store.storage().try_lock("k");
  int const copy = ::dup(descriptor_of(lock_file));
  BOOST_REQUIRE(copy >= 0);
  lock.reset();
  BOOST_TEST(store.storage().try_lock("k").has_value());
  ::close(copy);
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_was_used_again_is_left_alone_where_another_has_the_lock) {
  support::spoiled_ops ops;
  support::spoiled_storage spoiled{dir(), {}, ops};
  int number = -1;
  *ops.before = [&](std::string_view call) {
    if (call != "lock_byte") return 0;
    if (number >= 0) return EAGAIN;
    number = descriptor_of(lock_file);
    int const null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    BOOST_REQUIRE(::dup2(null, number) == number);
    ::close(null);
    return EAGAIN;
  };
  BOOST_TEST(!spoiled.try_lock("k").has_value());
  BOOST_TEST(::close(number) == 0);
}

BOOST_AUTO_TEST_CASE(a_lock_file_that_is_deleted_again_and_again_stops_who_only_reads_too) {
  store.save("k", 1);
  support::spoiled_ops ops;
  stash::detail::operation const op{"get", "k"};
  auto const path = dir();
  auto const there = stash::detail::directory<support::spoiled_ops>::open(ops, path, op);
  *ops.before = [&](std::string_view call) {
    if (call == "lock_byte") fs::remove(lock_file);
    if (call == "open_lock") support::write(lock_file, "");
    return 0;
  };
  int failed = 0;
  BOOST_TEST(code_of([&] {
               stash::detail::file_lock<support::spoiled_ops>::try_take_existing(ops, *there, "x", failed, op);
             }) == support::os(ESTALE));
}

BOOST_AUTO_TEST_CASE(what_got_the_number_of_a_descriptor_that_locks_share_keeps_its_own_locks) {
  stash::posix_file_ops const ops;
  std::vector<stash::key> const all{"a", "b"};
  std::vector<stash::atomic_file_storage::lock_type> locks;
  store.storage().try_lock_all(all, locks);
  BOOST_REQUIRE(locks.size() == 2U);
  int const number = descriptor_of(lock_file);
  auto const open_theirs = [&] {
    return ops.open_lock(AT_FDCWD, (root / "theirs").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  };
  int const theirs = open_theirs();
  BOOST_REQUIRE(ops.lock_bytes(theirs, 0, 0) == 0);
  BOOST_REQUIRE(::dup2(theirs, number) == number);
  ::close(theirs);
  locks.pop_back();
  int const other = open_theirs();
  off_t start = 0, count = 0;
  BOOST_TEST((ops.find_lock(other, start, count) && start == 0 && count == 0));  // all of it still
  locks.clear();
  BOOST_TEST(::close(number) == 0);
  ::close(other);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace locks_test
