// A job on one of several machines: test_postgres.py takes its server away and gives it another.
//
//     postgres_worker save CONNECTION NAME               saves counted words under NAME, again and again
//     postgres_worker guard CONNECTION NAME RESOURCES    deletes the resource NAME under a guard and makes it anew,
//     again
//                                                        and again; RESOURCES is a directory with a file a resource
//     postgres_worker recover CONNECTION RESOURCES       restores what guards left
//     postgres_worker list CONNECTION                    prints each record: key, tab, words
//     postgres_worker history CONNECTION KEYS NUMBER     saves, loads and clears words under k0, k1, ..., in two
//     threads,
//                                                        and prints what linearizable.py reads; NUMBER is this worker's
//
// The first two say what was acknowledged, one line each ("saved 7", "committed 7"), or what went wrong ("error ..."),
// and go on until standard input ends, as `history` does.

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <boost/filesystem/operations.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <mutex>
#include <optional>
#include <random>
#include <stash/stash.hpp>
#include <stash/storage/postgres.hpp>
#include <string>
#include <thread>

namespace {

namespace fs = boost::filesystem;
using namespace std::chrono_literals;
using store_type = stash::basic_stash<stash::postgres_storage>;

bool is_told_to_end() {
  pollfd in{STDIN_FILENO, POLLIN, 0};
  char byte = 0;
  return ::poll(&in, 1, 0) > 0 && ::read(STDIN_FILENO, &byte, 1) <= 0;
}

/// Resources that survive everything: what becomes of them is not in question here.
struct catalog {
  fs::path dir;
  std::optional<std::string> live(std::string const& name) const {
    std::ifstream file((dir / name).native());
    if (!file) return std::nullopt;
    return std::string{std::istreambuf_iterator<char>(file), {}};
  }
  void make(std::string const& name, std::string const& words) const {
    fs::path const whole = dir / name, half = dir / ("." + name);
    std::ofstream(half.native()) << words << std::flush;
    fs::rename(half, whole);
  }
  void drop(std::string const& name) const { fs::remove(dir / name); }
};

template <class F>
void again_and_again(F f) {
  for (long n = 1; !is_told_to_end(); ++n) {
    try {
      f(n);
    } catch (std::exception const& problem) {
      std::cout << "error " << problem.what() << std::endl;
      std::this_thread::sleep_for(20ms);
    }
  }
}

void save(store_type& store, std::string const& name) {
  again_and_again([&](long n) {
    store.save(name, std::to_string(n));
    std::cout << "saved " << n << std::endl;
  });
}

/// The words of a resource never change: every round must end with them, here or in a later process.
void guard(store_type& store, std::string const& name, catalog const& resources) {
  again_and_again([&](long n) {
    stash::delete_guard guard{store,
                              name,
                              [&] { return resources.live(name); },
                              [&](std::string const& words) { resources.make(name, words); },
                              {.wait_for_lock = 2s}};
    if (guard.value() == nullptr) throw std::runtime_error("the words are lost");
    resources.drop(name);
    std::this_thread::sleep_for(5ms);
    if (n % 3 == 0) throw std::runtime_error("the load failed, as it was told to");
    resources.make(name, *guard.value());
    guard.commit();
    std::cout << "committed " << n << std::endl;
  });
}

int recover(store_type& store, catalog const& resources) {
  auto const report = stash::recover<std::string>(
      store, [&](stash::key const& k) { return resources.live(std::string(k.str())).has_value(); },
      [&](stash::key const& k, std::string const& words) { resources.make(std::string(k.str()), words); });
  std::cout << report.restored << " restored, " << report.live << " live, " << report.busy << " busy, "
            << report.failed.size() << " failed\n";
  return report.failed.empty() && report.busy == 0 ? 0 : 1;
}

/// Prints a line for each begin and end of an operation: the time (CLOCK_MONOTONIC, in ns), the process, `invoke`,
/// `ok`, `fail` or `info`, the operation, its key, the value (or `-`), and what was thrown, with tabs between.
class operation_log {
 public:
  operation_log(long process, std::string operation, std::string key, std::string value)
      : rest_(operation + '\t' + key + '\t'), process_(process) {
    tell("invoke", value);
  }
  void tell(char const* what, std::string const& value, std::string const& why = {}) const {
    static std::mutex alone;
    std::lock_guard<std::mutex> const one_line{alone};
    auto const now = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
    std::cout << now << '\t' << process_ << '\t' << what << '\t' << rest_ << value << '\t' << why << std::endl;
  }

 private:
  std::string rest_;
  long process_;
};

/// Random operations, until `ends`. The words are numbers that no other operation saves. Where nobody knows what became
/// of one, its process has ended as far as the history goes, and another goes on.
void operate(store_type& store, unsigned keys, long process, std::atomic<bool> const& ends) {
  constexpr long next_process = 1000, values_of_a_thread = 1'000'000;
  std::mt19937 random{static_cast<unsigned>(process)};
  for (long value = process * values_of_a_thread; !ends; std::this_thread::sleep_for(random() % 16 * 1ms)) {
    std::string const key = "k" + std::to_string(random() % keys);
    auto const what = random() % 5;
    std::string const words = what < 2 ? std::to_string(++value) : "-";
    operation_log const log{process, what < 2 ? "save" : what < 4 ? "load" : "clear", key, words};
    try {
      if (what < 2) {
        store.save(key, words);
        log.tell("ok", words);
      } else if (what < 4) {
        log.tell("ok", store.load<std::string>(key).value_or("-"));
      } else {
        log.tell("ok", store.clear(key) ? "true" : "false");
      }
    } catch (stash::error const& problem) {
      bool const is_unknown = problem.code() == stash::errc::indeterminate;
      // What put says of it: another's record stands now; whether this one stood before that, nobody knows.
      bool const is_passed =
          problem.code() == stash::errc::busy && problem.detail().ends_with("changed the record since");
      log.tell(is_unknown ? "info" : is_passed ? "passed" : "fail", words, problem.what());
      if (is_unknown) process += next_process;
    }
  }
}

void history(std::string const& connection, unsigned keys, long number) {
  // One session for both threads, which gives up soon: a cut of the network is longer than this, or shorter.
  store_type store{connection, stash::postgres_options{.timeout = 2s}};
  std::atomic<bool> ends = false;
  std::thread other{[&] { operate(store, keys, 2 * number + 1, ends); }};
  std::thread main{[&] { operate(store, keys, 2 * number, ends); }};
  while (!is_told_to_end()) std::this_thread::sleep_for(20ms);
  ends = true;
  other.join();
  main.join();
}

}  // namespace

int main(int argc, char** argv) {
  std::string const what = argc > 2 ? argv[1] : "";
  std::string const first = argc > 3 ? argv[3] : "", second = argc > 4 ? argv[4] : "";
  try {
    store_type store{std::string(argc > 2 ? argv[2] : ""), stash::postgres_options{.timeout = 20s}};
    if (what == "save" && argc == 4) return save(store, first), 0;
    if (what == "guard" && argc == 5) return guard(store, first, {second}), 0;
    if (what == "history" && argc == 5) {
      return history(argv[2], static_cast<unsigned>(std::stoul(first)), std::stol(second)), 0;
    }
    if (what == "recover" && argc == 4) return recover(store, {first});
    if (what == "list" && argc == 3) {
      for (auto const& e : store.entries()) std::cout << e.key << '\t' << *store.load<std::string>(e.key) << '\n';
      return 0;
    }
  } catch (std::exception const& problem) {
    std::cerr << problem.what() << '\n';
    return 1;
  }
  std::cerr << "usage: see the top of the source\n";
  return 2;
}
