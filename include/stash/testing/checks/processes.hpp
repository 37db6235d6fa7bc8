#pragma once

#include <unistd.h>
#include <chrono>
#include <optional>
#include <stash/key.hpp>
#include <stash/testing/checks/locks.hpp>
#include <stash/testing/checks/records.hpp>
#include <stash/testing/checks/tools.hpp>
#include <stash/testing/conformance_report.hpp>
#include <thread>
#include <utility>

namespace stash::inline v1::detail {

/// What a storage promises that more than one object or process can use.
template <testing::storage_factory Factory>
struct process_checks : conformance_base<Factory> {
  using base = conformance_base<Factory>;
  using us = typename base::us;

  static void records_outlive_their_object(Factory& f) {
    {
      auto s = f.fresh();
      base::put_aside(s, "gone", base::some("gone"));
      base::put(s, "k", base::some("kept"));
    }
    auto const s = base::another(f);
    base::holds(s, "k", base::some("kept"));
    base::lists(s, 1, 1);
  }

  static void another_object_sees_each_change(Factory& f) {
    auto s = f.fresh();
    auto other = base::another(f);
    base::holds(other, "k", std::nullopt);
    for (auto const* const payload : {"first", "second", "third"}) {
      base::put(s, "k", base::some(payload));
      base::holds(other, "k", base::some(payload));
      std::swap(s, other);
    }
    base::set_aside(s, "k", "superseded");
    base::holds(other, "k", std::nullopt);
    base::lists(other, 0, 1);
    base::equal("purge", other.purge(us{0}), 1);
    base::put(s, "k", base::some("erased"));
    base::equal("erase", base::erase(other, "k"), true);
    base::holds(s, "k", std::nullopt);
    base::lists(s, 0, 0);
  }

  static void other_readers_see_old_or_new(Factory& f) {
    auto s = f.fresh();
    auto const other = base::another(f);
    record_checks<Factory>::replace_while_reading(s, other);
  }

  static void a_lock_excludes_another_object(Factory& f) {
    auto s = f.fresh();
    auto other = base::another(f);
    lock_checks<Factory>::excludes(s, other);
    lock_checks<Factory>::excludes(other, s);
  }

  static void another_process_sees_each_change(Factory& f) {
    auto s = f.fresh();
    base::put(s, "k", base::some("parent's"));
    auto const replace = [&] {
      auto other = base::another(f);
      base::holds(other, "k", base::some("parent's"));
      base::put(other, "k", base::some("child's"));
    };
    base::equal("a child replaces what it sees", base::returns_in_child(replace), true);
    base::holds(s, "k", base::some("child's"));
  }

  static void a_lock_excludes_another_process(Factory& f) {
    auto s = f.fresh();
    [[maybe_unused]] auto const lock = base::locked(s, "k");
    auto const is_kept_out = [&] {
      auto other = base::another(f);
      base::is_locked(other, "k", true);
      base::is_locked(other, "other", false);
    };
    base::equal("a child is kept out of the key", base::returns_in_child(is_kept_out), true);
  }

  static void a_lock_ends_with_its_process(Factory& f) {
    auto s = f.fresh();
    auto const die_with_it = [&] {
      auto other = base::another(f);
      [[maybe_unused]] auto const lock = base::locked(other, "k");
      ::_exit(0);
    };
    base::equal("a child has the lock", base::returns_in_child(die_with_it), true);
    for (int i = 0; i < 1000 && !s.try_lock("k"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    base::is_locked(s, "k", false);
  }
};

}  // namespace stash::inline v1::detail
