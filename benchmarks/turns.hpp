#pragma once

#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/filesystem/operations.hpp>
#include <boost/filesystem/path.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

// Contestants that take turns. Google Benchmark repeats one benchmark before it begins the next, or draws the order of
// all repetitions at random; both leave seconds between two that are to be compared, and the disk drifts in less. Here
// every contestant of a race runs once a round, and Google Benchmark reports round i as repetition i of each: so the
// repetitions of two contestants are pairs.
namespace bench {

namespace fs = boost::filesystem;

struct settings {
  fs::path directory{};
  int rounds = 200;
  bool is_quick = false;
};

/// One turn: seconds that an operation took.
using turn = std::function<double()>;

template <class F>
double seconds_of(F f) {
  auto const start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A turn of `run(input)` for inputs that `make(i)` made before; i is new each time, and `make` is not timed. A turn is
/// one operation, or as many of the short ones as take a tenth of a millisecond. A `run` that returns seconds has timed
/// itself. `items`: by which one operation counts.
template <class Make, class Run>
turn timed(Make make, Run run, int most = 1000, int items = 1) {
  using input = std::invoke_result_t<Make&, int>;
  return [=, next = 0, count = 0]() mutable {
    auto const once = [&](int n) {
      std::vector<input> inputs;
      for (int i = 0; i < n; ++i) inputs.push_back(make(next++));
      double seconds = 0;
      if constexpr (std::is_same_v<std::invoke_result_t<Run&, input&>, double>) {
        for (auto& in : inputs) seconds += run(in);
      } else {
        seconds = seconds_of([&] {
          for (auto& in : inputs) run(in);
        });
      }
      return seconds / (n * items);
    };
    if (count == 0) {
      double warm = once(1) * items;
      for (int i = 1; i < (most > 1 ? 5 : 1); ++i) warm = std::min(warm, once(1) * items);
      count = static_cast<int>(std::clamp(1e-4 / warm, 1.0, static_cast<double>(most)));
    }
    return once(count);
  };
}

/// What its contestants have measured. Each has a directory of its own, which stays: for a minute after many files were
/// removed, ext4 without a journal takes up to a millisecond to make one.
class race {
 public:
  race(std::string name, settings const& with) : race(std::move(name), with, with.rounds) {}
  race(std::string name, settings const& with, int rounds)
      : name_(std::move(name)), directory_(with.directory / name_), rounds_(rounds) {}

  /// `make(directory)` returns a turn; it is called when the race begins.
  template <class Make>
  race& enter(std::string who, Make make) {
    contestants_.push_back({std::move(who), make, {}, {}, {}});
    return *this;
  }

  /// Hands the contestants to Google Benchmark. The first that it calls has all of them run.
  static void enlist(race r) {
    auto const shared = std::make_shared<race>(std::move(r));
    for (auto& one : shared->contestants_) {
      benchmark::RegisterBenchmark((shared->name_ + "/" + one.name).c_str(),
                                   [shared, &one, round = std::size_t{0}](benchmark::State& state) mutable {
                                     shared->run();
                                     if (!one.failure.empty()) return state.SkipWithError(one.failure.c_str());
                                     for (auto _ : state) state.SetIterationTime(one.seconds.at(round));
                                     state.SetItemsProcessed(1);
                                     ++round;
                                   })
          ->Iterations(1)
          ->Repetitions(shared->rounds_)
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }

 private:
  struct contestant {
    std::string name;
    std::function<turn(fs::path const&)> make;
    turn take_turn;
    std::vector<double> seconds;
    std::string failure;
  };

  /// What goes wrong with one stops no other.
  template <class F>
  static void attempt(contestant& one, F f) {
    if (!one.failure.empty()) return;
    try {
      f();
    } catch (std::exception const& problem) {
      one.failure = problem.what();
    }
  }

  void run() {
    if (std::exchange(has_run_, true)) return;
    std::cerr << name_ << '\n';
    std::vector<contestant*> order;
    for (auto& one : contestants_) {
      auto const own = directory_ / std::to_string(order.size());
      attempt(one, [&] {
        fs::create_directories(own);
        fs::permissions(own, fs::owner_all);
        one.take_turn = one.make(own);
      });
      order.push_back(&one);
    }
    std::mt19937 random;
    for (int round = 0; round < rounds_; ++round) {
      std::shuffle(order.begin(), order.end(), random);  // nobody always comes after the same neighbour
      for (auto* const one : order) attempt(*one, [&] { one->seconds.push_back(one->take_turn()); });
    }
    for (auto& one : contestants_) one.make = nullptr, one.take_turn = nullptr;
  }

  std::string name_;
  fs::path directory_;
  int rounds_;
  bool has_run_ = false;
  std::vector<contestant> contestants_;
};

/// The main function of a benchmark: Google Benchmark's flags, and our own.
inline int run(int argc, char** argv, void (*enlist)(settings const&)) {
  benchmark::Initialize(&argc, argv);
  settings with;
  CLI::App app{"Options beside Google Benchmark's:"};
  app.add_option("--directory", with.directory, "An empty directory on the disk to measure")->required();
  app.add_flag("--quick", with.is_quick, "A twentieth of the rounds, and fewer keys");
  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& problem) {
    return app.exit(problem) == 0 ? 0 : 2;
  }
  if (with.is_quick) with.rounds /= 20;
  enlist(with);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::ClearRegisteredBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace bench
