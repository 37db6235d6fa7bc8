// Several processes that replace one tree, some of which are killed, and one that looks: whenever nobody is at work, a
// whole tree is there, and it is one that was built to its end.
#include <sys/wait.h>

#include <csignal>
#include <random>
#include <thread>

#include "figures.hpp"
#include "tree_fixture.hpp"

namespace tree_jobs_test {

using support::names;
using support::read;
using support::write;
namespace fs = boost::filesystem;
using namespace std::chrono_literals;

namespace {

struct jobs : support::scratch {
  fs::path const place = root / "export", parked = root / ".export.stash-parked";

  void build(std::string const& words) const {
    fs::create_directory(place);
    write(place / "f", words);
    fs::create_directory(place / "sub");
    std::this_thread::yield();
    write(place / "sub/f", words);
  }
  std::string words() const {
    fs::path const at = fs::exists(parked) ? parked : place;
    if (!fs::exists(at)) return "none";
    bool const is_whole = names(at) == std::vector<std::string>{"f", "sub"} && !read(at / "f").empty() &&
                          read(at / "f") == read(at / "sub/f");
    return is_whole ? read(at / "f") : "a mixture";
  }

  /// Does some jobs, of which one may be killed amid some call.
  int work(unsigned seed) const {
    std::mt19937 random(seed);
    support::spoiled_ops ops;
    int left = random() % 2 == 0 ? 1 + static_cast<int>(random() % 400) : 0;
    *ops.before = [&](std::string_view) {
      if (left > 0 && --left == 0) ::raise(SIGKILL);
      return 0;
    };
    stash::basic_stash<support::spoiled_storage> store{support::spoiled_storage{dir(), {}, ops}};
    for (int i = 0; i < 4; ++i) {
      stash::replace_guard guard{store,
                                 "export",
                                 stash::basic_tree<support::spoiled_ops>{place, {}, ops},
                                 {.observer = stash::silent, .wait_for_lock = 60s}};
      if (fs::exists(place)) return 1;
      build(std::to_string(seed) + " " + std::to_string(i));
      if (random() % 3 != 0) guard.commit();
    }
    return 0;
  }
  /// Until it is killed.
  int look() const {
    stash::file_stash mine{dir()};
    for (;;) {
      auto const lock = mine.storage().try_lock("export");
      if (lock && (words() == "none" || words() == "a mixture")) return 1;
      std::this_thread::yield();
    }
  }
};

template <class F>
pid_t started(F f) {
  pid_t const child = ::fork();
  if (child != 0) return child;
  int result = 99;
  try {
    result = f();
  } catch (std::exception const& e) {
    ::dprintf(2, "in a child: %s\n", e.what());
  }
  ::_exit(result);
}
int status_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tree_jobs)

BOOST_AUTO_TEST_CASE(whoever_is_killed_whenever_nobody_is_at_work_a_whole_tree_is_there) {
  int const rounds = support::is_long() ? 500 : 20;
  int killed = 0;
  unsigned failed = 0;
  for (int round = 0; round < rounds; ++round) {
    jobs all;
    all.build("at first");
    pid_t const looking = started([&] { return all.look(); });
    std::vector<pid_t> working;
    for (int i = 0; i < 3; ++i) {
      working.push_back(started([&] { return all.work(static_cast<unsigned>(10 * round + i)); }));
    }
    for (pid_t const one : working) {
      int const status = status_of(one);
      bool const was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
      killed += was_killed;
      failed += !was_killed && status != 0;
      BOOST_TEST((was_killed || status == 0), "round " << round << ": status " << status);
    }
    ::kill(looking, SIGKILL);
    bool const saw_whole_ones = WIFSIGNALED(status_of(looking));
    BOOST_TEST(saw_whole_ones, "round " << round << ": who looked saw a tree that was not whole");
    std::string const last = all.words();
    bool const is_whole = last != "none" && last != "a mixture";
    BOOST_TEST(is_whole, "round " << round << ": " << last);
    stash::file_stash store{all.dir()};
    { stash::replace_guard guard{store, "export", stash::tree{all.place}, {.observer = stash::silent}}; }
    bool const is_put_back = all.words() == last && names(all.root) == std::vector<std::string>{"export", "stash"};
    BOOST_TEST(is_put_back, "round " << round << ": " << all.words());
    failed += !saw_whole_ones || !is_whole || !is_put_back;
  }
  BOOST_TEST(killed > rounds / 4);
  support::figure("concurrency", "jobs that replace one tree, some of which are killed",
                  3U * static_cast<unsigned>(rounds), failed);
}

BOOST_AUTO_TEST_CASE(several_that_remove_one_tree_at_one_time_tell_of_no_failure) {
  support::scratch in;
  fs::path const doomed = in.root / ".export.stash-doomed-0123456789abcdef";
  std::function<void(fs::path const&, int)> const grow = [&](fs::path const& at, int depth) {
    fs::create_directories(at);
    support::write(at / "f", "x");
    for (int i = 0; i < 3 && depth > 0; ++i) grow(at / std::to_string(i), depth - 1);
  };
  for (int round = 0; round < (support::is_long() ? 200 : 20); ++round) {
    grow(doomed, 4);
    std::vector<std::string> problems(3);
    std::vector<std::thread> all;
    for (auto& problem : problems) {
      all.emplace_back([&] { problem = support::message_of([&] { stash::tree{in.root / "export"}.discard(); }); });
    }
    for (auto& one : all) one.join();
    for (auto const& problem : problems) BOOST_TEST(problem == "");
    BOOST_TEST(!fs::exists(doomed));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace tree_jobs_test
