#pragma once

#include <exception>
#include <span>
#include <stash/testing/conformance_report.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace stash::inline v1::testing {

/// A promise, and how to see whether it is kept.
template <class Factory>
struct conformance_check {
  std::string_view name;        ///< a behaviour, as an identifier
  std::string_view promise;     ///< the row of a table in concepts.hpp, or the class whose comment makes it
  void (*body)(Factory&);       ///< for `run`
  bool applies = true;          ///< to this factory and what it makes
  std::string_view needs = {};  ///< what is missing where it does not apply

  /// Returns if the promise was kept. Throws `nonconformance`, or what is thrown where it must not be;
  /// `std::logic_error` where the check does not apply.
  void run(Factory& f) const {
    if (!applies) throw std::logic_error("needs " + std::string(needs));
    try {
      body(f);
    } catch (nonconformance const& e) {
      throw nonconformance{std::string(promise) + ": " + e.what()};
    }
  }
};

}  // namespace stash::inline v1::testing

namespace stash::inline v1::detail {

/// Runs those that apply. Throws only for lack of memory.
template <class Factory>
testing::conformance_report run_checks(std::span<testing::conformance_check<Factory> const> checks, Factory& factory) {
  using testing::outcome;
  testing::conformance_report report;
  for (auto const& check : checks) {
    auto& result = report.results.emplace_back(testing::conformance_result{check.name, outcome::passed});
    try {
      if (check.applies) {
        check.run(factory);
      } else {
        result = {check.name, outcome::skipped, "there is no " + std::string(check.needs)};
      }
    } catch (std::exception const& problem) {
      result = {check.name, outcome::failed, problem.what()};
    } catch (...) {
      result = {check.name, outcome::failed, "something that is not a std::exception was thrown"};
    }
  }
  return report;
}

}  // namespace stash::inline v1::detail
