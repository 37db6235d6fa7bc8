#pragma once

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <stash/basic_stash.hpp>
#include <stash/detail/guard/call.hpp>
#include <stash/detail/guard/liveness.hpp>
#include <stash/detail/guard/locked_record.hpp>
#include <stash/detail/guard/observer.hpp>
#include <stash/detail/guard/sweep.hpp>
#include <stash/detail/storage/locking.hpp>
#include <stash/detail/storage/traits.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/error.hpp>
#include <stash/event.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/recover_options.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// One run of `recover`.
template <class T, class Stash, class IsLive, class Restore>
class recovery {
 public:
  recovery(Stash& stash, IsLive& is_live, Restore& restore, recover_options const& options)
      : stash_(stash), is_live_(is_live), restore_(restore), options_(options) {}

  recovery_report run() {
    auto records = stash_.entries();
    // Both mean one resource, and cannot say which.
    if constexpr (!takes_key<Restore&, T const&> || (is_guards_live<IsLive> && !takes_key<IsLive&>)) {
      if (records.size() > 1) throw whose_are_they(records);
    }
    sweep<storage> leftovers{stash_.storage()};
    report_.failed.reserve(records.size() + leftovers.size());
    restored_.reserve(std::min(records.size(), most));
    doomed_.reserve(std::min(records.size(), most));
    std::vector<key*> busy;
    busy.reserve(records.size());
    // All is listed and there is memory to tell of each: from here on nothing is thrown.
    for (auto& e : records) {
      if (!is_done(e.key)) busy.push_back(&e.key);
    }
    // A second altogether: else many guards that work would keep a service from its start.
    detail::wait_for(short_wait, [&] {
      std::erase_if(busy, [&](key* k) { return is_done(*k); });
      if (busy.empty()) return true;
      clear();  // another recovery may have these, and wait for ours
      return false;
    });
    report_.busy = busy.size();
    clear();
    leftovers.run([this](key&& k, std::exception_ptr const& problem) { failed(std::move(k), problem); });
    return std::move(report_);
  }

 private:
  using storage = typename Stash::storage_type;
  using traits = storage_traits<storage>;
  static constexpr std::size_t most = 256;  // at once: for each lock the kernel looks at all that it has of a file

  static error whose_are_they(std::vector<entry> const& records) {
    return {{EINVAL, boost::system::system_category()},
            "recover",
            {},
            "live or restore takes no key, and the stash has records of " + std::to_string(records.size()) +
                " resources, \"" + records[0].key.string() + "\" and \"" + records[1].key.string() +
                "\" among them: let both take the key"};
  }

  bool is_live(key const& k) {
    if constexpr (is_guards_live<IsLive>) {
      return detail::call<key_if_possible>(is_live_, k).has_value();
    } else {
      return detail::call<key_if_possible>(is_live_, k);
    }
  }

  /// false: it is busy. What goes wrong with one key stops no other.
  bool is_done(key& k) noexcept {
    if (!restored_.empty() && (restored_.size() == most || detail::since(first_) >= std::chrono::milliseconds(500))) {
      clear();
    }
    try {
      return recover_one(k);
    } catch (...) {
      failed(std::move(k), std::current_exception());
      return true;
    }
  }
  void failed(key&& k, std::exception_ptr const& problem) noexcept {
    report_.failed.emplace_back(std::move(k), problem);
  }

  bool recover_one(key const& k) {
    std::size_t const others = locks_.size();
    locks_.try_take(stash_.storage(), {&k, 1});
    if (locks_.size() == others) return false;
    bool is_to_be_cleared = false;
    try {
      is_to_be_cleared = is_restored(k);
    } catch (...) {
      locks_.pop_back();
      throw;
    }
    if (!is_to_be_cleared) locks_.pop_back();
    return true;
  }

  /// Whether it is, and its record is to be removed. The lock is the last that was taken.
  bool is_restored(key const& k) {
    locked_record<storage> held{stash_.storage(), k};
    held.borrow(locks_[locks_.size() - 1]);
    std::optional<record> found;
    try {
      found = held.look();  // what the listing said may be out of date
    } catch (boost::system::system_error const& problem) {
      if (problem.code() != errc::corrupt) throw;
      ++report_.corrupt;
      detail::tell(options_.observer, event_kind::corrupt, k, {.where = place(k), .error = std::current_exception()});
      return false;
    }
    if (!found || !restore(k, *found, held)) return false;
    if (auto again = held.take_own()) locks_[locks_.size() - 1] = std::move(*again);
    return options_.clear_after_restore;
  }

  /// false: the resource is live.
  bool restore(key const& k, record const& r, locked_record<storage>& held) {
    auto const now = std::chrono::floor<std::chrono::microseconds>(stash_.clock().now());
    auto const age = detail::age_between(r.saved_at, now);
    try {
      if (is_live(k)) {
        ++report_.live;
        return false;
      }
      T const value = detail::value_of<T>(stash_, k, r, "recover");
      key copy = k;  // now: there is no memory to run out of once it is restored
      held.ensure_held("recover");
      detail::call<key_if_possible>(restore_, k, value);
      if (restored_.empty()) first_ = std::chrono::steady_clock::now();
      if (options_.clear_after_restore) restored_.push_back(std::move(copy));
    } catch (...) {
      detail::tell(options_.observer, event_kind::restore_failed, k,
                   {.age = age, .where = place(k), .error = std::current_exception()});
      throw;
    }
    ++report_.restored;
    detail::tell(options_.observer, event_kind::restored, k, {.age = age});
    return true;
  }

  /// Removes the records of what was restored, and releases their locks. Together, for a storage has one sync for all
  /// then; but soon, for guards of these keys are kept out so long.
  void clear() noexcept {
    for (std::size_t i = 0; i < restored_.size(); ++i) {
      try {
        if (!locks_[i].held()) throw detail::busy(stash_.storage(), "recover", restored_[i], "its lock was lost");
        doomed_.push_back(std::move(restored_[i]));
      } catch (...) {
        clear_failed(std::move(restored_[i]), std::current_exception());
      }
    }
    if (!are_erased_together()) {
      for (auto& k : doomed_) clear_alone(k);
    }
    doomed_.clear();
    restored_.clear();
    locks_.release();
  }
  /// Whether one call removed them all. false: they are to be removed one by one, so that each error is told of its key
  /// and stops no other. So it is for a single one, too.
  bool are_erased_together() noexcept {
    if (doomed_.size() < 2) return false;
    try {
      traits::erase_all(stash_.storage(), doomed_);
      return true;
    } catch (...) {  // told of each that it concerns
      return false;
    }
  }
  void clear_alone(key& k) noexcept {
    try {
      stash_.storage().erase(k);
    } catch (...) {
      clear_failed(std::move(k), std::current_exception());
    }
  }
  void clear_failed(key&& k, std::exception_ptr const& problem) noexcept {
    detail::tell(options_.observer, event_kind::clear_failed, k, {.where = place(k), .error = problem});
    failed(std::move(k), problem);
  }

  std::string place(key const& k) const noexcept { return traits::where(stash_.storage(), k); }

  Stash& stash_;
  IsLive& is_live_;
  Restore& restore_;
  recover_options const& options_;
  recovery_report report_;
  std::vector<key> restored_;                      // their records are to be removed
  std::vector<key> doomed_;                        // of these, those whose locks were held to the last
  lock_set<storage> locks_;                        // of all that were restored, and of the one that it is at
  std::chrono::steady_clock::time_point first_{};  // when the first of them was restored
};

}  // namespace stash::inline v1::detail
