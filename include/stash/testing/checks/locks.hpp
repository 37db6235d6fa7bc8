#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <stash/key.hpp>
#include <stash/testing/checks/tools.hpp>
#include <stash/testing/conformance_report.hpp>
#include <thread>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// What a storage promises of locks, in one process.
template <testing::storage_factory Factory>
struct lock_checks : conformance_base<Factory> {
  using base = conformance_base<Factory>;
  using storage = typename base::storage;
  using lock_type = typename base::lock_type;

  /// Under a lock of `s`, whether `other` is kept out of its key, and of no other.
  static void excludes(storage& s, storage& other) {
    [[maybe_unused]] auto const lock = base::locked(s, "k");
    base::is_locked(other, "k", true);
    base::is_locked(other, "other", false);
  }
  static void a_lock_excludes_all_others_of_its_key(Factory& f) {
    auto s = f.fresh();
    excludes(s, s);
    auto const lock = base::locked(s, "k");
    base::in_threads(1, [&](int) { base::is_locked(s, "k", true); });
    base::is_held(lock, true);
  }

  static void locks_of_different_keys_do_not_meet(Factory& f) {
    auto s = f.fresh();
    std::vector<lock_type> held;
    for (auto const& k : base::odd_keys()) held.push_back(base::locked(s, k));
    for (auto const& lock : held) base::is_held(lock, true);
  }

  static void a_lock_ends_with_its_object(Factory& f) {
    auto s = f.fresh();
    for (int i = 0; i < 100; ++i) {
      [[maybe_unused]] auto const lock = base::locked(s, "k");
      base::is_held(lock, true);
    }
    base::in_threads(1, [&](int) { base::is_locked(s, "k", false); });
  }

  static void a_moved_lock_is_held_once(Factory& f) {
    auto s = f.fresh();
    {
      std::optional<lock_type> source{base::locked(s, "k")};
      auto const lock = std::move(*source);
      base::is_held(*source, false);
      source.reset();
      base::is_held(lock, true);
      base::is_locked(s, "k", true);
    }
    base::is_locked(s, "k", false);
  }

  static void an_assigned_lock_is_held_once(Factory& f) {
    auto s = f.fresh();
    {
      auto lock = base::locked(s, "a");
      {
        auto source = base::locked(s, "b");
        lock = std::move(source);
      }
      base::is_locked(s, "a", false);  // at the latest now: assignment may swap
      base::is_locked(s, "b", true);
      auto target = std::move(lock);
      lock = std::move(target);      // back into one that was moved from
      base::is_held(target, false);  // NOLINT(bugprone-use-after-move): that is the question
      base::is_held(lock, true);
    }
    base::is_locked(s, "b", false);
  }

  static void a_lock_outlives_a_move_of_its_storage(Factory& f) {
    auto s = f.fresh();
    {
      [[maybe_unused]] auto const lock = base::locked(s, "k");
      storage moved{std::move(s)};
      base::is_locked(moved, "k", true);
      s = std::move(moved);
      base::is_locked(s, "k", true);
      base::is_held(lock, true);
    }
    base::is_locked(s, "k", false);
  }

  static void of_many_threads_one_has_the_lock(Factory& f) {
    struct at_end {
      std::atomic<int>& count;
      ~at_end() { ++count; }
    };
    auto s = f.fresh();
    // All of a round try at once, and none lets go before all have tried: so a race needs no luck to be seen.
    for (int round = 0; round < 50; ++round) {
      constexpr int threads = 4;
      std::atomic<int> ready{0}, tried{0}, taken{0};
      auto const await_all = [](std::atomic<int> const& count) {
        while (count < threads) std::this_thread::yield();
      };
      base::in_threads(threads, [&](int) {
        ++ready;
        await_all(ready);
        std::optional<lock_type> lock;
        {
          at_end const tell{tried};
          lock = s.try_lock("k");
        }
        taken += lock.has_value();
        await_all(tried);
      });
      base::equal("threads that have the lock", static_cast<std::size_t>(taken), 1);
    }
    base::is_locked(s, "k", false);
  }

  static void a_forked_child_neither_has_nor_takes_a_lock(Factory& f) {
    auto s = f.fresh();
    std::optional<lock_type> lock{base::locked(s, "k")};
    auto const is_inert = [&] { base::is_held(*lock, false); };
    auto const is_inert_in_child = [&] { return base::returns_in_child(is_inert); };
    base::equal("a forked child has no lock", is_inert_in_child(), true);
    base::equal("a child's child has no lock",
                base::returns_in_child([&] { base::equal("in it", is_inert_in_child(), true); }), true);
    base::equal("a child drops its copy", base::returns_in_child([&] { lock.reset(); }), true);
    base::is_held(*lock, true);
    base::is_locked(s, "k", true);
  }
};

}  // namespace stash::inline v1::detail
