// Threads at the same time, signals, and threads that are cancelled.
#include <pthread.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <map>
#include <stash/storage/journal.hpp>
#include <thread>

#include "basic_stash_fixture.hpp"
#include "figures.hpp"
#include "support.hpp"

namespace basic_stash_threads_test {

using support::names;

namespace {

using basic_stash_test::fixture;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(basic_stash, fixture)

BOOST_AUTO_TEST_CASE(many_threads_on_one_key_and_on_many_leave_whole_records) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        store.save("shared", t);
        store.save("own" + std::to_string(t), i);
        static_cast<void>(store.load<int>("shared"));
      }
    });
  }
  for (auto& t : threads) t.join();
  auto const shared = store.load<int>("shared");
  BOOST_TEST((shared && *shared >= 0 && *shared < 4));
  for (int t = 0; t < 4; ++t) BOOST_TEST((store.load<int>("own" + std::to_string(t)) == 29));
  BOOST_TEST(names(dir()).size() == 6U);
}

BOOST_AUTO_TEST_CASE(a_storm_of_signals_disturbs_nothing) {
  std::signal(SIGALRM, [](int) {});
  struct sigaction without_restart = {};
  without_restart.sa_handler = [](int) {};
  ::sigaction(SIGALRM, &without_restart, nullptr);
  itimerval const fast{{0, 200}, {0, 200}}, off{};
  ::setitimer(ITIMER_REAL, &fast, nullptr);
  for (int i = 0; i < 200; ++i) store.save("k", i);
  auto const found = store.load<int>("k");
  ::setitimer(ITIMER_REAL, &off, nullptr);
  std::signal(SIGALRM, SIG_DFL);
  BOOST_TEST((found == 199));
}

BOOST_AUTO_TEST_SUITE_END()

namespace {

/// Runs `f(store)` in a thread that is cancelled in the n-th call of the system that it makes, in a child: cancellation
/// that comes amid our functions ends a program. 0: the thread ended by it, after `f` had returned; 1: `f` makes no
/// so many calls.
template <class F>
int cancelled_at(int n, boost::filesystem::path const& dir, F f) {
  return support::in_child([&] {
    ::alarm(60);
    support::spoiled_ops ops;
    int calls = 0;
    *ops.before = [&](std::string_view) { return ++calls == n ? (::pthread_cancel(::pthread_self()), 0) : 0; };
    struct work {
      std::function<void()> f;
      bool has_returned = false;
      static void* run(void* p) {
        auto& self = *static_cast<work*>(p);
        self.f();
        self.has_returned = true;
        ::pthread_testcancel();
        return nullptr;
      }
    } all{[&] { f(dir, ops); }};
    pthread_t thread{};
    if (::pthread_create(&thread, nullptr, work::run, &all) != 0) return 2;
    void* result = nullptr;
    if (::pthread_join(thread, &result) != 0 || !all.has_returned) return 3;
    if (calls < n) return 1;
    return result == PTHREAD_CANCELED ? 0 : 4;
  });
}

template <class F>
void never_cancel_amid(char const* what, F f) {
  int n = 1;
  for (int status = 0; status == 0; n += support::stride()) {
    support::scratch place;
    status = cancelled_at(n, place.dir(), f);
    BOOST_TEST(status <= 1, what << ", call " << n << ": " << status);
  }
  BOOST_TEST(n > 2, what << " makes calls");
}

using spoiled_stash = stash::basic_stash<support::spoiled_storage>;
stash::file_options const without_syncs{.durability = stash::durability::process_crash};  // they take their time
using spoiled_journal = stash::basic_stash<stash::basic_journal_storage<support::spoiled_ops>>;

}  // namespace

BOOST_AUTO_TEST_SUITE(cancellation)

BOOST_AUTO_TEST_CASE(waits_for_the_end_of_each_call_of_a_stash) {
  never_cancel_amid("all", [](auto const& dir, auto const& ops) {
    spoiled_stash store{support::spoiled_storage{dir, without_syncs, ops}};
    store.save("k", 1);
    store.save_all(std::map<std::string, int>{{"a", 1}, {"b", 2}});
    static_cast<void>(store.load<int>("k"));
    static_cast<void>(store.age("k"));
    static_cast<void>(store.entries());
    static_cast<void>(store.set_aside_entries());
    store.purge(std::chrono::microseconds{0});
    store.clear("k");
    stash::recover<int>(
        store, [](auto const&) { return false; }, [](auto const&, int) {});
  });
}

BOOST_AUTO_TEST_CASE(waits_for_the_end_of_each_call_of_a_guard_and_of_its_destructor) {
  for (int const end : {0, 1, 2, 3}) {
    never_cancel_amid("guard", [end](auto const& dir, auto const& ops) {
      spoiled_stash store{support::spoiled_storage{dir, without_syncs, ops}};
      stash::delete_guard g{store, "k", [] { return 1; }, [](int) { ::usleep(1); },
                            stash::guard_options{.clear_after_restore = true}};
      if (end == 1) g.commit();
      if (end == 2) g.rollback();
      if (end == 3) g.release();
    });
    never_cancel_amid("guards", [end](auto const& dir, auto const& ops) {
      spoiled_stash store{support::spoiled_storage{dir, without_syncs, ops}};
      stash::delete_guards g{store, std::vector<std::string>{"a", "b"}, [](auto const&) { return 1; },
                             [](auto const&, int) { ::usleep(1); }, stash::guard_options{.clear_after_restore = true}};
      if (end == 1) g.commit();
      if (end == 2) static_cast<void>(g.rollback());
      if (end == 3) g.release();
    });
  }
}

BOOST_AUTO_TEST_CASE(waits_for_a_journal_to_be_closed) {
  never_cancel_amid("journal", [](auto const& dir, auto const& ops) {
    spoiled_journal store{dir, stash::journal_options{}, ops};
    store.save("k", 1);
    store.clear("k");
  });
}

BOOST_AUTO_TEST_CASE(amid_what_a_guard_stands_around_restores) {
  support::scratch place;
  int const status = support::in_child([&] {
    ::alarm(60);
    struct work {
      stash::file_stash store;
      int restored = 0;
      static void* run(void* p) {
        auto& self = *static_cast<work*>(p);
        stash::delete_guard const g{self.store, "k", [] { return 1; }, [&](int) { self.restored += 1; }};
        ::pthread_cancel(::pthread_self());
        for (;;) ::pause();
      }
    } job{stash::file_stash{place.dir()}};
    pthread_t thread{};
    if (::pthread_create(&thread, nullptr, work::run, &job) != 0) return 2;
    ::pthread_join(thread, nullptr);
    return job.restored == 1 && job.store.storage().try_lock("k") ? 0 : 3;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace basic_stash_threads_test
