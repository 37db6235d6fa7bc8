// Locks and guards in the children of the process that has them.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <csignal>
#include <cstring>
#include <utility>

#include "locks_fixture.hpp"
#include "support.hpp"

namespace locks_forks_test {

using stash::errc;
using support::code_of;
namespace fs = boost::filesystem;

namespace {

using locks_test::descriptor_of;
using locks_test::fixture;
using locks_test::holder;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(locks, fixture)

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

BOOST_AUTO_TEST_SUITE_END()

}  // namespace locks_forks_test
