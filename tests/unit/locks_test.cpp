// Locks across processes, after forks and deaths, and when they are lost.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <thread>

#include "support.hpp"

using namespace std::chrono_literals;
using stash::errc;
using support::code_of;
namespace fs = boost::filesystem;
namespace json = boost::json;

namespace {

/// A process that takes the key's lock and then sleeps until it is killed; constructed when it has the lock.
class holder {
 public:
  template <class F>
  explicit holder(F hold) {
    int pipe_ends[2];
    BOOST_REQUIRE(::pipe(pipe_ends) == 0);
    child_ = ::fork();
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      hold([&] {
        [[maybe_unused]] auto const n = ::write(pipe_ends[1], "x", 1);
        for (;;) ::pause();
      });
      ::_exit(1);
    }
    ::close(pipe_ends[1]);
    char c = 0;
    BOOST_REQUIRE(::read(pipe_ends[0], &c, 1) == 1);
    ::close(pipe_ends[0]);
  }
  ~holder() { kill(); }
  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }

 private:
  pid_t child_;
};

/// This process's descriptor of a file; -1: it has none.
int descriptor_of(fs::path const& file) {
  for (auto const& name : support::names("/proc/self/fd")) {
    boost::system::error_code gone;
    if (fs::read_symlink(fs::path("/proc/self/fd") / name, gone) == fs::canonical(file)) return std::stoi(name);
  }
  return -1;
}

struct fixture : support::scratch {
  stash::file_stash store{dir()};
  fs::path lock_file = dir() / ".lock";
  std::vector<int> restored;

  auto guard(stash::guard_options options = {}, std::optional<int> live = 1) {
    return stash::delete_guard{store, "k", [live] { return live; }, [this](int v) { restored.push_back(v); },
                               std::move(options)};
  }
};

}  // namespace

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

BOOST_AUTO_TEST_CASE(a_forked_childs_copy_of_a_guard_does_nothing) {
  {
    std::optional<decltype(guard())> inherited;
    struct make {
      fixture& f;
      support::event_log& l;
      operator decltype(std::declval<fixture&>().guard())() { return f.guard({.observer = l.observer()}); }
    };
    support::event_log log;
    inherited.emplace(make{*this, log});
    int const in_child = support::in_child([&] {
      bool const refused =
          code_of([&] { inherited->commit(); }) == errc::busy && code_of([&] { inherited->rollback(); }) == errc::busy;
      inherited->release();
      inherited.reset();
      return refused && restored.empty() && log.kinds == "saved" ? 0 : 1;
    });
    BOOST_TEST(in_child == 0);
    BOOST_TEST((store.load<int>("k") == 1));
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == errc::busy);
    inherited->commit();
  }
  BOOST_TEST(!store.load<int>("k"));
  BOOST_TEST(restored.empty());
}

BOOST_AUTO_TEST_CASE(a_killed_parents_lock_does_not_live_on_in_its_child) {
  int pids[2];
  BOOST_REQUIRE(::pipe(pids) == 0);
  holder parent{[&](auto ready) {
    auto const lock = store.storage().try_lock("k");
    if (::fork() == 0) {
      pid_t const self = ::getpid();  // told by itself: it has closed its copy then
      [[maybe_unused]] auto const n = ::write(pids[1], &self, sizeof self);
      for (;;) ::pause();
    }
    ready();
  }};
  pid_t grandchild = 0;
  BOOST_REQUIRE(::read(pids[0], &grandchild, sizeof grandchild) == sizeof grandchild);
  BOOST_TEST(!store.storage().try_lock("k").has_value());
  parent.kill();
  BOOST_TEST(store.storage().try_lock("k").has_value());
  ::kill(grandchild, SIGKILL);
  ::close(pids[0]);
  ::close(pids[1]);
}

BOOST_AUTO_TEST_CASE(a_pool_forked_after_the_parent_used_the_stash_works_in_every_worker) {
  store.save("k", 1);
  auto const kept = store.storage().try_lock("parents");
  for (int worker = 0; worker < 4; ++worker) {
    int const status = support::in_child([&] {
      store.save("k", worker);
      auto const g = guard({}, worker);
      return store.storage().try_lock("k").has_value() ? 1 : 0;
    });
    BOOST_TEST(status == 0);
  }
  BOOST_TEST((store.load<int>("k") == 3));
  BOOST_TEST(kept->held());
}

BOOST_AUTO_TEST_CASE(no_descriptor_is_passed_on_by_exec) {
  auto const lock = store.storage().try_lock("k");
  int found = 0;
  for (auto const& name : support::names("/proc/self/fd")) {
    boost::system::error_code gone;
    if (fs::read_symlink(fs::path("/proc/self/fd") / name, gone) != fs::canonical(lock_file)) continue;
    ++found;
    BOOST_TEST((::fcntl(std::stoi(name), F_GETFD) & FD_CLOEXEC) != 0);
  }
  BOOST_TEST(found == 1);
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

BOOST_AUTO_TEST_CASE(a_child_neither_holds_nor_closes_what_got_the_number_of_the_parents_descriptor) {
  int const status = support::in_child([&] {
    int released[2];
    if (::pipe(released) != 0) return 1;
    store.save("other", 1);  // so that the lock file stays
    auto lock = store.storage().try_lock("k");
    int const number = descriptor_of(lock_file);
    pid_t const child = ::fork();
    if (child == 0) {
      char c = 0;
      bool ok = ::read(released[0], &c, 1) == 1;  // from here on, anybody may have the lock
      int const again = ::open(lock_file.c_str(), O_RDWR | O_CLOEXEC);
      ok = ok && ::dup2(again, number) == number && !lock->held();
      auto const is_open = [&] { return ::fcntl(number, F_GETFD) != -1; };
      ok = ok && support::in_child([&] { return is_open() ? 0 : 1; }) == 0;
      lock.reset();
      ok = ok && is_open() && support::in_child([&] { return is_open() ? 0 : 1; }) == 0;
      ::_exit(ok ? 0 : 2);
    }
    lock.reset();
    if (::write(released[1], "x", 1) != 1) return 3;
    int s = 0;
    ::waitpid(child, &s, 0);
    return WEXITSTATUS(s);
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(a_child_that_no_handler_was_told_of_neither_has_nor_releases_the_lock) {
  std::optional lock{store.storage().try_lock("k").value()};
  std::vector<stash::atomic_file_storage::lock_type> many;
  std::vector<stash::key> const keys{"a", "b"};
  store.storage().try_lock_all(keys, many);
  auto const child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (child == 0) {
    bool const held = lock->held() || many[0].held();
    lock.reset();
    many.clear();
    ::_exit(held ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  BOOST_TEST(status == 0);
  for (char const* const k : {"k", "a", "b"}) BOOST_TEST(!store.storage().try_lock(k).has_value());
}

BOOST_AUTO_TEST_CASE(a_child_has_the_memory_without_its_parents_locks_and_keeps_its_own) {
  stash::memory_storage memory;
  std::optional inherited{memory.try_lock("k").value()};
  int const status = support::in_child([&] {
    auto const own = memory.try_lock("k");
    bool const free = own && own->held();
    inherited.reset();
    return free && !memory.try_lock("k") ? 0 : 1;
  });
  BOOST_TEST(status == 0);
  BOOST_TEST(!memory.try_lock("k").has_value());
}

boost::test_tools::assertion_result may_make_pid_namespaces(boost::unit_test::test_unit_id) {
  return support::in_child([] { return ::unshare(CLONE_NEWPID) == 0 ? 0 : 1; }) == 0;
}

BOOST_AUTO_TEST_CASE(a_child_with_the_process_id_of_its_parent_does_not_have_its_lock,
                     *boost::unit_test::precondition(may_make_pid_namespaces)) {
  auto const as_process_1 = [](auto f) {
    if (::unshare(CLONE_NEWPID) != 0) return 10;
    return support::in_child([&] { return ::getpid() == 1 ? f() : 11; });
  };
  int const status = support::in_child([&] {
    return as_process_1([&] {
      stash::memory_storage memory;
      auto const lock = memory.try_lock("k");
      auto g = guard();
      int const child = as_process_1([&] { return lock->held() || !code_of([&] { g.commit(); }) ? 1 : 0; });
      g.commit();
      return lock->held() ? child : 2;
    });
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(where_the_kernel_clears_no_memory_in_a_child_a_fork_is_noticed_all_the_same) {
  int const status = support::in_child([&] {
    auto const here = stash::detail::owned_by_process{};
    void* page = nullptr;
    std::memcpy(&page, &here, sizeof page);  // the word that it looks at
    if (::madvise(page, 8, MADV_KEEPONFORK) != 0) return 1;
    stash::memory_storage memory;
    auto const lock = memory.try_lock("k");
    int const child = support::in_child([&] { return here.is_current() || lock->held() ? 2 : 0; });
    return here.is_current() && lock->held() ? child : 3;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(no_process_is_taken_for_any_of_its_ancestors) {
  using stash::detail::owned_by_process;
  auto const first = owned_by_process{};
  int const status = support::in_child([&] {
    if (first.is_current()) return 1;  // before it has a number of its own
    auto const second = owned_by_process{};
    if (first.is_current() || !second.is_current()) return 2;
    return support::in_child([&] {
      auto const third = owned_by_process{};
      return first.is_current() || second.is_current() || !third.is_current() ? 3 : 0;
    });
  });
  BOOST_TEST(status == 0);
  BOOST_TEST(first.is_current());
}

// What a guard does when its lock may have been lost

BOOST_AUTO_TEST_CASE(it_goes_on_when_the_record_is_still_its_own) {
  {
    auto const g = guard();
    fs::remove(lock_file);
  }
  BOOST_TEST((restored == std::vector<int>{1}));
  BOOST_TEST((store.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(a_commit_keeps_the_record_for_another_may_have_adopted_it_and_dropped_what_was_built) {
  auto g = guard();
  fs::remove(lock_file);
  {
    stash::delete_guard another{store, "k", [] { return std::optional<int>{}; }, [](int) {}};
    BOOST_TEST((another.origin() == stash::origin::adopted));
    another.release();  // it drops the resource, and is killed
  }
  BOOST_TEST(code_of([&] { g.commit(); }) == errc::busy);
  BOOST_TEST((store.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(what_is_restored_keeps_its_record_where_the_lock_is_lost_meanwhile) {
  {
    stash::delete_guard g{store, "k", [] { return 1; }, [&](int) { fs::remove(lock_file); },
                          stash::guard_options{.clear_after_restore = true}};
  }
  BOOST_TEST((store.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(it_leaves_everything_when_another_holds_the_lock_now) {
  std::optional<stash::atomic_file_storage::lock_type> others;
  support::event_log log;
  {
    auto const g = guard({.observer = log.observer()});
    fs::remove(lock_file);
    others = store.storage().try_lock("k");
    BOOST_REQUIRE(others.has_value());
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST(log.kinds == "saved restore_failed");
  BOOST_TEST(log.lines.back().find("busy") != std::string::npos);
  BOOST_TEST((store.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(it_leaves_everything_when_another_changed_the_record) {
  for (bool const commits : {false, true}) {
    store.clear("k");
    auto g = guard();
    fs::remove(lock_file);
    store.save("k", 2);
    BOOST_TEST(code_of([&] { commits ? g.commit() : g.rollback(); }) == errc::busy);
    BOOST_TEST(restored.empty());
    BOOST_TEST((store.load<int>("k") == 2));
  }
}

BOOST_AUTO_TEST_CASE(it_leaves_everything_when_another_damaged_the_record) {
  auto g = guard();
  fs::remove(lock_file);
  support::write(store.storage().path("k"), "damaged");
  BOOST_TEST(code_of([&] { g.rollback(); }) == errc::busy);
  BOOST_TEST(restored.empty());
  BOOST_TEST(support::read(store.storage().path("k")) == "damaged");
}

BOOST_AUTO_TEST_CASE(it_leaves_everything_when_the_record_cannot_be_read_again) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  stash::delete_guard g{spoiled, "k", [] { return 1; }, [&](int v) { restored.push_back(v); }};
  fs::remove(lock_file);
  *ops.before = [](std::string_view call) { return call == "read" ? EIO : 0; };
  BOOST_TEST(code_of([&] { g.rollback(); }) == support::os(EIO));
  *ops.before = [](std::string_view) { return 0; };
  BOOST_TEST(restored.empty());
  BOOST_TEST((spoiled.load<int>("k") == 1));
}

BOOST_AUTO_TEST_CASE(it_writes_nothing_when_the_record_is_gone_and_another_holds_the_lock_now) {
  auto g = guard();
  fs::remove(lock_file);
  store.clear("k");
  auto const others = store.storage().try_lock("k");
  BOOST_TEST(code_of([&] { g.rollback(); }) == errc::busy);
  BOOST_TEST(restored.empty());
  BOOST_TEST((store.entries().empty() && store.set_aside_entries().empty()));
}

BOOST_AUTO_TEST_CASE(it_tells_the_first_error_when_its_value_cannot_be_kept_either) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  stash::delete_guard g{spoiled, "k", [] { return 1; }, [](int) {}};
  fs::remove(lock_file);
  spoiled.clear("k");
  *ops.before = [](std::string_view call) { return call == "writev" ? ENOSPC : 0; };
  BOOST_TEST(code_of([&] { g.rollback(); }) == errc::busy);
}

BOOST_AUTO_TEST_CASE(it_restores_nothing_when_the_record_is_gone_and_keeps_its_value_for_a_person) {
  support::event_log log;
  {
    auto g = guard({.observer = log.observer()});
    fs::remove(lock_file);
    store.clear("k");  // another ended the job; or a cleaner removed both
    BOOST_TEST(code_of([&] { g.rollback(); }) == errc::busy);
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST(!store.load<int>("k"));  // nothing that a later run would adopt
  auto const kept = store.set_aside_entries();
  BOOST_REQUIRE(kept.size() == 1U);
  BOOST_TEST(support::read(kept[0].where).ends_with("\n1\n"));
  BOOST_TEST(log.lines.back().find(kept[0].where) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_lock_lost_while_live_runs_ends_the_constructor_for_its_answer_may_be_stale) {
  support::event_log log;
  for (std::optional<int> const& answer : {std::optional<int>(), std::optional<int>(1)}) {
    store.save("k", 7);
    auto const stale = [&] {
      fs::remove(lock_file);
      store.clear("k");  // meanwhile another adopted 7, built the resource and committed
      return answer;
    };
    auto const construct = [&] {
      stash::delete_guard g{store, "k", stale, [](int) {}, {.best_effort = true, .observer = log.observer()}};
    };
    BOOST_TEST(code_of(construct) == errc::busy);
    BOOST_TEST(!store.load<int>("k"));
  }
}

BOOST_AUTO_TEST_CASE(it_does_not_set_aside_or_save_over_what_another_put_there_meanwhile) {
  store.save("k", 7);
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  bool was_read = false, armed = true;
  *ops.before = [&](std::string_view call) {
    was_read = was_read || call == "read";
    if (call == "close" && was_read && armed) {
      armed = false;
      return support::in_child([&] {
        fs::remove(lock_file);
        stash::file_stash{dir()}.save("k", 9);
        return 0;
      });
    }
    return 0;
  };
  auto const second = [&] { stash::delete_guard g{spoiled, "k", [] { return 2; }, [](int) {}}; };
  BOOST_TEST(code_of(second) == errc::busy);
  BOOST_TEST((store.load<int>("k") == 9));
}

BOOST_AUTO_TEST_CASE(where_the_lock_is_lost_during_the_save_no_delete_starts) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  support::event_log log;
  stash::guard_options const options{.best_effort = true, .observer = log.observer()};
  auto const lose = [&](std::string_view call) {
    if (call == "link_unnamed") fs::remove(lock_file);
    return 0;
  };
  *ops.before = lose;
  BOOST_TEST(code_of([&] {
               stash::delete_guard{spoiled, "k", [] { return 2; }, [](int) {}, options}.release();
             }) == errc::busy);
  BOOST_TEST((store.load<int>("k") == 2));
  BOOST_TEST(log.kinds == "saved");
  std::vector<stash::key> const keys{"a", "b"};
  auto const many = [&] {
    stash::delete_guards{spoiled, keys, [](auto const&) { return 3; }, [](auto const&, int) {}, options}.release();
  };
  BOOST_TEST(code_of(many) == errc::busy);
  BOOST_TEST((store.load<int>("b") == 3));
  BOOST_TEST(log.kinds == "saved saved saved");

  log = {};
  *ops.before = [&](std::string_view call) {  // what is forgiven of the save does not forgive the lock
    if (call != "writev") return 0;
    fs::remove(lock_file);
    return ENOSPC;
  };
  BOOST_TEST(code_of([&] {
               stash::delete_guard{spoiled, "fresh", [] { return 4; }, [](int) {}, options}.release();
             }) == errc::busy);
  BOOST_TEST(code_of(many) == errc::busy);
  BOOST_TEST(log.kinds == "save_failed save_failed save_failed");
}

BOOST_AUTO_TEST_SUITE_END()
