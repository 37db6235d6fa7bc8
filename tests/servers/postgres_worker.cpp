// A job on one of several machines: test_postgres.py takes its server away and gives it another.
//
//     postgres_worker save CONNECTION NAME               saves counted words under NAME, again and again
//     postgres_worker guard CONNECTION NAME RESOURCES    deletes the resource NAME under a guard and makes it anew,
//     again
//                                                        and again; RESOURCES is a directory with a file a resource
//     postgres_worker recover CONNECTION RESOURCES       restores what guards left
//     postgres_worker list CONNECTION                    prints each record: key, tab, words
//
// The first two say what was acknowledged, one line each ("saved 7", "committed 7"), or what went wrong ("error ..."),
// and go on until standard input ends.

#include <poll.h>
#include <unistd.h>

#include <boost/filesystem/operations.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
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

}  // namespace

int main(int argc, char** argv) {
  std::string const what = argc > 2 ? argv[1] : "";
  std::string const first = argc > 3 ? argv[3] : "", second = argc > 4 ? argv[4] : "";
  try {
    store_type store{std::string(argc > 2 ? argv[2] : ""), stash::postgres_options{.timeout = 20s}};
    if (what == "save" && argc == 4) return save(store, first), 0;
    if (what == "guard" && argc == 5) return guard(store, first, {second}), 0;
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
