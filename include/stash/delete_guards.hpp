#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stash/detail/guard/call.hpp>
#include <stash/detail/guard/guard_end.hpp>
#include <stash/detail/guard/guarded_key.hpp>
#include <stash/detail/guard/live_value.hpp>
#include <stash/detail/storage/locking.hpp>
#include <stash/detail/storage/traits.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/detail/values/parts.hpp>
#include <stash/error.hpp>
#include <stash/guard_options.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// What `delete_guards::rollback` did.
struct rollback_report {
  std::size_t restored = 0;                                ///< `restore` returned
  std::vector<std::pair<key, std::exception_ptr>> failed;  ///< what `restore` threw; their records stay
};

/// A `delete_guard` for many resources at once, such as all tables of a schema: one save before the first delete, one
/// commit, one rollback that restores each.
///
/// The constructor returns only when all records are as safe as those of a `delete_guard`, in one batch where the
/// storage can (a journal has one flush for all; files, one pass). Each key walks the guard's table by itself. It holds
/// the locks of all its keys for its whole life (in files with one descriptor, as a rule); all of them wait for
/// `guard_options::wait_for_lock` together. Else all that is said of `delete_guard` holds.
///
///     stash::delete_guards guard{store, names, [&](stash::key const& k) { return catalog.dictionary(k); },
///                                [&](stash::key const& k, auto const& saved) { catalog.ensure(k, saved); }};
///     catalog.drop_schema();
///     for (auto const& name : names) load(name + ".csv", guard.value(name));
///     guard.commit();
///
/// The keys must not come from what is deleted: after a kill it lists none, and the retry would adopt nothing.
///
/// `live` and `restore` are called key by key, in the order in which the keys were given. One that takes no key is
/// called alike for each, and cannot tell them apart.
template <class Stash, class T, class Restore>
class [[nodiscard("a guard without a name ends, and restores, at once")]] delete_guards
    : detail::callback_checks<T, Restore, detail::key_if_possible> {
 public:
  /// Locks all keys, in the order of their bytes; asks `live(key)` for each; then saves or adopts each, as the table of
  /// `delete_guard` says.
  ///
  /// Throws as `delete_guard`, and EINVAL where a key is given twice. Then all locks are free again, nothing was
  /// restored, no record was destroyed, and no delete must start. What `live` throws, `errc::busy`, and a record that
  /// cannot be read are found before anything is changed; what is thrown later leaves some keys saved already.
  template <detail::range Keys, detail::callable<detail::key_if_possible> Live>
  [[nodiscard]] delete_guards(Stash & stash, Keys && keys, Live && live, Restore restore, guard_options options = {})
      : stash_(stash), restore_(std::move(restore)), options_(std::move(options)) {
    detail::no_cancel const whole;
    for (auto&& k : keys) names_.emplace_back(std::forward<decltype(k)>(k));
    order_ = detail::order_of(names_, "delete_guards");
    for (auto const& k : names_) guarded_.push_back(std::make_unique<guarded>(stash_, k, options_, "delete_guards"));
    lock_all();
    for (auto const& one : guarded_)
      one->inspect(detail::live_value<T>(detail::call<detail::key_if_possible>(live, one->key())));
    for (auto const& one : guarded_) one->make_way();
    put_all();
  }

  delete_guards(delete_guards const&) = delete;
  delete_guards& operator=(delete_guards const&) = delete;

  /// Rolls back, unless committed, rolled back or released. What fails is told to the observer (`restore_failed`), the
  /// records stay, and the program goes on.
  ~delete_guards() {
    end_.reach_quietly([&] {
      for (auto const& one : guarded_) {
        try {
          restore_one(*one);
        } catch (...) {  // told, and stops no other
        }
      }
    });
  }

  /// As they were given.
  std::vector<key> const& keys() const noexcept { return names_; }

  // The next four are logarithmic in the number of keys.

  /// As `delete_guard::value` of `k`. Throws EINVAL where `k` is none of the keys.
  T const* value(key const& k) const { return at(k, "value").value(); }
  /// As `delete_guard::value_or` of `k`. Throws as `value`.
  T value_or(key const& k, T fallback) const {
    if (auto const* const found = value(k)) return *found;
    return fallback;
  }
  /// As `delete_guard::origin` of `k`. Throws as `value`.
  stash::origin origin(key const& k) const { return at(k, "origin").origin(); }
  /// As `delete_guard::age` of `k`. Throws as `value`.
  std::optional<std::chrono::microseconds> age(key const& k) const { return at(k, "age").age(); }

  /// Destroys all records: what was built stands. From here on nothing will be restored, even if this throws. After a
  /// commit, rollback or release it does nothing. Of a key of which nothing was found, as `delete_guard::commit`.
  ///
  /// Throws the first error of what `delete_guard::commit` throws; the records of the other keys are destroyed all the
  /// same, unless they could only be destroyed together: then some or all may stand. The observer is told of each
  /// (`clear_failed`), and later guards find those that stand.
  void commit() {
    end_.reach("commit", {}, [&] { clear_all(); });
  }

  /// Restores each now. A restore that fails, or whose lock was lost to another (`errc::busy`), is in the report and
  /// stops no other; its record stays, and the destructor does not try again. After a commit, rollback or release it
  /// does nothing.
  [[nodiscard]] rollback_report rollback() {
    rollback_report report;
    end_.unless_reached("rollback", {}, [&] {
      report.failed.reserve(guarded_.size());
      auto names = names_;  // from here on, nothing of our own can fail between two restores
      end_.reached();
      for (std::size_t i = 0; i < guarded_.size(); ++i) {
        try {
          report.restored += restore_one(*guarded_[i]);
        } catch (...) {
          report.failed.emplace_back(std::move(names[i]), std::current_exception());
        }
      }
    });
    return report;
  }

  /// Leaves the records for a later run, as `delete_guard::release`.
  void release() noexcept {
    end_.reach_quietly([&] {
      for (auto const& one : guarded_) one->release();
    });
  }

 private:
  using guarded = detail::guarded_key<Stash, T>;
  using traits = detail::storage_traits<typename Stash::storage_type>;

  void lock_all() {
    std::vector<key> sorted;
    for (auto const i : order_) sorted.push_back(names_[i]);
    std::exception_ptr problem;
    try {
      locks_.take(stash_.storage(), sorted, options_.wait_for_lock, "delete_guards");
    } catch (boost::system::system_error const&) {
      problem = std::current_exception();
    }
    for (std::size_t i = 0; i < order_.size(); ++i) {
      auto& one = *guarded_[order_[i]];
      i < locks_.size() ? one.borrow(locks_[i]) : one.lock_failed(problem);
    }
  }

  /// No delete starts before all are safe. What `best_effort` forgives, it forgives key by key.
  void put_all() {
    std::vector<std::pair<key, record>> records;
    std::vector<guarded*> waiting;
    std::exception_ptr first;
    auto const failed = [&](guarded& one, std::exception_ptr const& problem, std::optional<record> r = {}) {
      try {
        one.put_failed(problem, std::move(r));
      } catch (...) {
        if (!first) first = std::current_exception();
      }
    };
    for (auto const& one : guarded_) {
      try {
        auto r = one->to_put();
        if (!r) continue;
        records.emplace_back(one->key(), std::move(*r));
        waiting.push_back(one.get());
      } catch (...) {
        failed(*one, std::current_exception());
      }
    }
    if (first) std::rethrow_exception(first);
    try {
      traits::put_all(stash_.storage(), records);
    } catch (...) {
      for (std::size_t i = 0; i < waiting.size(); ++i) {
        failed(*waiting[i], std::current_exception(), std::move(records[i].second));
      }
      waiting.clear();
    }
    if (first) std::rethrow_exception(first);
    for (std::size_t i = 0; i < waiting.size(); ++i) waiting[i]->was_put(std::move(records[i].second));
    for (auto const& one : guarded_) one->require_lock();
  }

  void clear_all() {
    std::exception_ptr first;
    std::vector<key> doomed;
    std::vector<guarded*> cleared;
    for (auto const& one : guarded_) {
      try {
        if (one->may_erase()) doomed.push_back(one->key());
        cleared.push_back(one.get());
      } catch (...) {
        if (!first) first = std::current_exception();
        one->clear_failed(std::current_exception());
      }
    }
    try {
      traits::erase_all(stash_.storage(), doomed);
    } catch (...) {
      if (!first) first = std::current_exception();
      for (auto* const one : cleared) one->clear_failed(std::current_exception());
      cleared.clear();
    }
    for (auto* const one : cleared) one->committed();
    if (first) std::rethrow_exception(first);
  }

  /// Whether there was anything to restore.
  bool restore_one(guarded & one) {
    try {
      one.roll_back([&](T const& value) { detail::call<detail::key_if_possible>(restore_, one.key(), value); });
    } catch (...) {
      one.drop_own_lock();
      throw;
    }
    one.drop_own_lock();
    return one.value() != nullptr;
  }

  guarded const& at(key const& k, char const* operation) const {
    auto const found = std::ranges::lower_bound(order_, k, {}, [&](std::size_t i) -> key const& { return names_[i]; });
    if (found != order_.end() && names_[*found] == k) return *guarded_[*found];
    throw error{{EINVAL, boost::system::system_category()}, operation, k.string(), "it is none of the guard's keys"};
  }

  Stash& stash_;
  Restore restore_;
  guard_options options_;
  std::vector<key> names_;
  std::vector<std::size_t> order_;                        // of the names' bytes
  detail::lock_set<typename Stash::storage_type> locks_;  // in that order
  std::vector<std::unique_ptr<guarded>> guarded_;
  detail::guard_end end_;
};

/// `T` is what `live` returns, or what the optional holds that it returns (std::optional, boost::optional, any with a
/// `has_value()`).
template <class Stash, class Keys, detail::callable<detail::key_if_possible> Live, class Restore>
delete_guards(Stash&, Keys&&, Live&&, Restore, guard_options = {})
    -> delete_guards<Stash, detail::live_value_t<detail::key_if_possible, Live>, Restore>;
/// For a `live` that cannot be called: the class says so in words.
template <class Stash, class Keys, class Live, class Restore>
requires(!detail::callable<Live, detail::key_if_possible>)
    delete_guards(Stash&, Keys&&, Live&&, Restore, guard_options = {})
->delete_guards<Stash, detail::live_is_not_callable, Restore>;

}  // namespace stash::inline v1
