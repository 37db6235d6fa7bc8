#pragma once

#include <stash/detail/fork.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <string_view>

namespace stash::inline v1::detail {

inline constexpr char parents_guard[] = "the guard belongs to the parent process";

/// The end of a guard: a commit, a rollback or a release. There is one, in the process that made the guard, and a
/// thread that is cancelled carries it out. One thread at a time.
class guard_end {
 public:
  /// Calls `step()`, unless the guard has ended; it ends with `reached()`. Throws `errc::busy` in a forked child, and
  /// what `step` throws.
  template <class Step>
  void unless_reached(std::string_view operation, std::string_view subject, Step step) {
    owner_.require_current(operation, subject, parents_guard);
    if (is_reached_) return;
    no_cancel const whole;
    step();
  }
  /// The same, and the guard has ended before `step()`, whatever that throws.
  template <class Step>
  void reach(std::string_view operation, std::string_view subject, Step step) {
    unless_reached(operation, subject, [&] {
      reached();
      step();
    });
  }
  /// The same where nothing may be thrown: in a forked child it does nothing, and what `step` throws is dropped. `step`
  /// has told the observer of it.
  template <class Step>
  void reach_quietly(Step step) noexcept {
    if (is_reached_ || !owner_.is_current()) return;
    no_cancel const whole;
    reached();
    try {
      step();
    } catch (...) {  // an exception from a destructor would end the program
    }
  }
  void reached() noexcept { is_reached_ = true; }

 private:
  bool is_reached_ = false;
  owned_by_process owner_;
};

}  // namespace stash::inline v1::detail
