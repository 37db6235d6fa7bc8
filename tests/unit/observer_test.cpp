#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "support.hpp"

namespace observer_test {

using namespace std::string_literals;
using stash::event_kind;
using words = std::optional<std::string>;
namespace fs = boost::filesystem;

namespace {

/// Where standard error goes while it lives.
class standard_error {
 public:
  explicit standard_error(int to) : before_(::dup(STDERR_FILENO)) { ::dup2(to, STDERR_FILENO); }
  standard_error(standard_error const&) = delete;
  ~standard_error() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
  }

 private:
  int before_;
};

struct fixture : support::scratch {
  stash::file_stash store{dir()};

  /// What `f` writes to standard error.
  template <class F>
  std::string heard(F f) {
    auto const file = root / "heard";
    int const fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    {
      standard_error const into{fd};
      f();
    }
    ::close(fd);
    return support::read(file);
  }
  void fail_to_restore(stash::guard_options options = {}) {
    stash::delete_guard const guard{store, "orders", [] { return words("x"); },
                                    [](std::string const&) { throw std::runtime_error("no database"); },
                                    std::move(options)};
  }
  void save_in_vain(bool best_effort, stash::guard_options options = {}) {
    options.best_effort = best_effort;
    support::write(root / "file", "");
    stash::file_stash nowhere{root / "file" / "stash"};
    stash::delete_guard guard{nowhere, "orders", [] { return words("x"); }, [](std::string const&) {},
                              std::move(options)};
    guard.commit();
  }
  void meet_damage(stash::guard_options options = {}) {
    store.save("orders", "x");
    support::write(store.storage().path("orders"), "damaged");
    stash::delete_guard guard{store, "orders", [] { return words(); }, [](std::string const&) {}, std::move(options)};
    guard.commit();
  }
};

bool is_one_line(std::string const& text) { return !text.empty() && text.find('\n') == text.size() - 1; }

}  // namespace

BOOST_FIXTURE_TEST_SUITE(observer, fixture)

BOOST_AUTO_TEST_CASE(without_one_a_failed_restore_is_written_to_standard_error) {
  auto const text = heard([&] { fail_to_restore(); });
  BOOST_TEST(is_one_line(text), text);
  BOOST_TEST(text.starts_with("stash: restore_failed \"orders\", at "s + store.storage().where("orders")), text);
  BOOST_TEST(text.ends_with(": no database\n"), text);
}

BOOST_AUTO_TEST_CASE(without_one_a_corrupt_record_is_written_to_standard_error) {
  auto const text = heard([&] { meet_damage(); });
  BOOST_TEST((is_one_line(text) && text.starts_with("stash: corrupt \"orders\", at ")), text);
}

BOOST_AUTO_TEST_CASE(without_one_a_save_that_was_forgiven_is_written_to_standard_error) {
  auto const text = heard([&] { save_in_vain(true); });
  BOOST_TEST((is_one_line(text) && text.starts_with("stash: save_failed \"orders\"")), text);
}

BOOST_AUTO_TEST_CASE(without_one_a_record_that_cannot_be_removed_is_written_to_standard_error) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{support::spoiled_storage{dir(), {}, ops}};
  auto const text = heard([&] {
    stash::delete_guard const guard{spoiled,
                                    "orders",
                                    [] { return words("x"); },
                                    [&](std::string const&) {
                                      *ops.before = [](std::string_view call) {
                                        return call == "rename_noreplace" || call == "rename" ? EIO : 0;
                                      };
                                    },
                                    {.clear_after_restore = true}};
  });
  BOOST_TEST((is_one_line(text) && text.starts_with("stash: clear_failed \"orders\", at ")), text);
}

BOOST_AUTO_TEST_CASE(what_is_thrown_or_goes_well_is_not_written) {
  BOOST_TEST(heard([&] { BOOST_CHECK_THROW(save_in_vain(false), stash::error); }) == "");
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> full{support::spoiled_storage{dir(), {}, ops}};
  *ops.before = [](std::string_view call) { return call == "writev" ? ENOSPC : 0; };
  BOOST_TEST(
      heard([&] {
        BOOST_CHECK_THROW(
            (stash::delete_guard{full, "orders", [] { return words("x"); }, [](std::string const&) {}}.release()),
            stash::error);
      }) == "");
  BOOST_TEST(
      heard([&] {
        {
          stash::delete_guard const restored{store, "orders", [] { return words("x"); }, [](std::string const&) {}};
        }
        stash::delete_guard adopted{store, "orders", [] { return words(); }, [](std::string const&) {}};
        adopted.commit();
      }) == "");
}

BOOST_AUTO_TEST_CASE(without_one_recover_writes_them_too) {
  store.save("bad", "x");
  support::write(store.storage().path("bad"), "damaged");
  store.save("orders", "x");
  auto const restore = [](stash::key const&, std::string const&) { throw std::runtime_error("no database"); };
  auto const is_live = [](stash::key const&) { return false; };
  auto const text = heard([&] { stash::recover<std::string>(store, is_live, restore); });
  BOOST_TEST(text.starts_with("stash: corrupt \"bad\", at "), text);
  BOOST_TEST(text.find("\nstash: restore_failed \"orders\"") != text.npos, text);
  BOOST_TEST(heard([&] { stash::recover<std::string>(store, is_live, restore, {.observer = stash::silent}); }) == "");
}

BOOST_AUTO_TEST_CASE(one_that_is_silent_or_logs_by_itself_keeps_standard_error_clean) {
  int told = 0;
  for (auto const& options :
       {stash::guard_options{.observer = stash::silent},
        stash::guard_options{.observer = [&](stash::event const&) { ++told; }},
        stash::guard_options{.observer = [](stash::event const&) { throw std::runtime_error("disk full"); }}}) {
    BOOST_TEST(heard([&] { fail_to_restore(options); }) == "");
    BOOST_TEST(heard([&] { meet_damage(options); }) == "");
    BOOST_TEST(heard([&] { save_in_vain(true, options); }) == "");
  }
  BOOST_TEST(told > 3);
}

BOOST_AUTO_TEST_CASE(standard_error_that_nobody_reads_or_that_is_closed_does_not_end_the_job) {
  int ends[2];
  BOOST_REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  {
    standard_error const into{ends[1]};
    fail_to_restore();
    ::close(STDERR_FILENO);
    fail_to_restore();
  }
  ::close(ends[1]);
  sigset_t pending;
  ::sigpending(&pending);
  BOOST_TEST(::sigismember(&pending, SIGPIPE) == 0);
  BOOST_TEST(store.load<std::string>("orders").value() == "x");
}

BOOST_AUTO_TEST_CASE(standard_error_that_takes_nothing_does_not_hang_the_job) {
  int ends[2];
  BOOST_REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
  while (::write(ends[1], "full", 4) > 0) {
  }
  ::fcntl(ends[1], F_SETFL, 0);
  auto const start = std::chrono::steady_clock::now();
  {
    standard_error const into{ends[1]};
    fail_to_restore();
  }
  BOOST_TEST((std::chrono::steady_clock::now() - start < std::chrono::seconds(30)));
  ::close(ends[0]);
  ::close(ends[1]);
}

BOOST_AUTO_TEST_CASE(standard_error_that_may_not_grow_does_not_end_the_job) {
  BOOST_TEST(support::in_child([&] {
               rlimit const none{0, 0};
               ::setrlimit(RLIMIT_FSIZE, &none);
               stash::memory_stash in_memory;
               int const fd = ::open((root / "heard").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
               standard_error const into{fd};
               stash::delete_guard const guard{in_memory, "orders", [] { return words("x"); },
                                               [](std::string const&) { throw std::runtime_error("no database"); }};
               return 0;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(a_signal_of_a_broken_pipe_that_was_there_before_stays) {
  sigset_t pipe, before, pending;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::sigprocmask(SIG_BLOCK, &pipe, &before);
  ::raise(SIGPIPE);
  heard([&] { fail_to_restore(); });
  ::sigpending(&pending);
  BOOST_TEST(::sigismember(&pending, SIGPIPE) == 1);
  timespec const at_once{};
  ::sigtimedwait(&pipe, nullptr, &at_once);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace observer_test
