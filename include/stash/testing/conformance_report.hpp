#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <ostream>
#include <stash/concepts.hpp>
#include <stash/detail/text/print.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// For the tests of a storage of your own, and of what uses one.
namespace stash::inline v1::testing {

/// Makes the storages that the suite tries. Below, `f` is an `F`; it is called by one thread at a time.
///
/// | expression  | effect and result                                                                             |
/// | ----------- | --------------------------------------------------------------------------------------------- |
/// | `f.fresh()` | a new, empty storage that shares nothing with earlier ones, which may still be in use         |
template <class F>
concept storage_factory = requires(F& f) {
  { f.fresh() } -> storage_policy;
};

/// The factory of a storage whose records more than one object or process can use has this too:
///
/// | expression  | effect and result                                                                             |
/// | ----------- | --------------------------------------------------------------------------------------------- |
/// | `f.again()` | another storage on the records of the last fresh one, as another process would have it; that  |
/// |             | one may be gone. Also called in forked children, which are other processes                    |
template <class F>
concept reopening_factory = storage_factory<F> && requires(F& f) {
  { f.again() } -> std::same_as<decltype(f.fresh())>;
};

/// A promise that a storage did not keep: where the promise stands, what was expected and what found.
class nonconformance : public std::runtime_error {
  using runtime_error::runtime_error;
};

/// How a check ended.
enum class outcome {
  passed,   ///< the promise was kept
  skipped,  ///< the factory or the storage does not have what the check is about
  failed    ///< it was not, or something was thrown
};

/// What became of one check.
struct conformance_result {
  std::string_view check;    ///< its name, in static storage
  testing::outcome outcome;  ///< how it ended
  std::string why{};         ///< empty where it passed
};

/// What became of each check.
struct conformance_report {
  std::vector<conformance_result> results{};  ///< in the order of the checks

  /// How many ended so.
  std::size_t count(outcome o) const {
    auto const n = std::count_if(results.begin(), results.end(), [o](auto const& r) { return r.outcome == o; });
    return static_cast<std::size_t>(n);
  }
  /// Whether some checks passed and none failed.
  bool conforms() const { return count(outcome::passed) > 0 && count(outcome::failed) == 0; }

  /// A line for each that did not pass, and one that counts.
  friend std::ostream& operator<<(std::ostream& out, conformance_report const& report) {
    std::string lines;
    for (auto const& r : report.results) {
      if (r.outcome == outcome::passed) continue;
      lines += (r.outcome == outcome::failed ? "failed: " : "skipped: ") + std::string(r.check) + ": " + r.why + '\n';
    }
    lines += std::to_string(report.count(outcome::passed)) + " passed, " +
             std::to_string(report.count(outcome::failed)) + " failed, " +
             std::to_string(report.count(outcome::skipped)) + " skipped\n";
    return stash::detail::print(out, lines);
  }
};

}  // namespace stash::inline v1::testing
