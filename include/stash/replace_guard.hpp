#pragma once

#include <chrono>
#include <exception>
#include <optional>
#include <stash/concepts.hpp>
#include <stash/detail/guard/guard_end.hpp>
#include <stash/detail/guard/guarded_key.hpp>
#include <stash/detail/guard/observer.hpp>
#include <stash/detail/guard/place_calls.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/error.hpp>
#include <stash/event.hpp>
#include <stash/guard_options.hpp>
#include <stash/key.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// A scope guard around the replacement of a thing: a directory, a table. It moves the old one out of the way in one
/// durable step, which costs the same for a byte and for a terabyte, and destroys it when the new one stands.
///
///     stash::replace_guard guard{store, "export", stash::tree{"/srv/export"}};
///     build("/srv/export");  // which is free; as it is built, nothing is lost
///     guard.commit();        // what was there before is destroyed now, not earlier
///
/// Every other way out of the scope puts the old one back: what was half-built goes. Where the process dies, the next
/// guard of the key or `recover_places` does it; so can a person, for what is parked stands beside its place. The
/// record is a note, and not what is put back: without it (lost, or a `best_effort` guard could not save it) the next
/// guard finds what is parked by its place alone.
///
/// It is to a `delete_guard` what the thing is to its value, and means the same by its lock (held for its whole life),
/// adoption, options, forks, lost locks and cancelled threads. One thread at a time may use it. The stash must outlive
/// it. Two guards at once for one place need one key.
///
/// Where nothing stood at the place, nothing is parked, and neither a rollback nor the next guard can tell that what a
/// first job has built is not whole: it stays. Ask `value()`, and remove it where the first job fails.
template <class Stash, class Place>
class [[nodiscard("a guard without a name ends, and puts back, at once")]] replace_guard : detail::place_checks<Place> {
 public:
  /// What is kept of the thing in words.
  using value_type = typename Place::value_type;

  /// Locks `k`, and calls `place.live()` once: then saves what it says, or adopts, as the table of `delete_guard` has
  /// it. Then `place.park()`: on return the place is free, and what stood there is out of the way for good.
  ///
  /// Throws what a `delete_guard` throws, and what `park` throws: the system's error where a thing cannot be moved
  /// (EXDEV, EBUSY, EPERM). Then what stood at the place stands there again, and no record is left of a thing that was
  /// never touched. It never copies, and never deletes instead.
  [[nodiscard]] replace_guard(Stash & stash, key k, Place place, guard_options options = {})
      : place_(std::move(place)), options_(std::move(options)), key_(stash, std::move(k), options_, "replace_guard") {
    detail::no_cancel const whole;
    key_.lock(options_.wait_for_lock);
    key_.inspect(place_.live());
    if (key_.value() == nullptr) {
      if (auto found = detail::parked_at(place_)) key_.inspect(std::move(found));  // the record of it was lost
    }
    key_.make_way();
    key_.put();
    park();
  }

  replace_guard(replace_guard const&) = delete;
  replace_guard& operator=(replace_guard const&) = delete;

  /// Puts back, unless committed, rolled back or released. Where that throws, the observer is told (`restore_failed`),
  /// the old one stays parked, and the program goes on.
  ~replace_guard() {
    end_.reach_quietly([&] { roll_back(options_.observer); });
  }

  /// The note of what is parked; null: nothing stood at the place. Valid until destruction.
  value_type const* value() const noexcept { return key_.value(); }
  /// Where that came from: `live`, from the place; `adopted`, an earlier run had parked it.
  stash::origin origin() const noexcept { return key_.origin(); }
  /// How old an adopted record was when it was adopted; else nullopt.
  std::optional<std::chrono::microseconds> age() const noexcept { return key_.age(); }
  /// The place, for what it tells.
  Place& place() noexcept { return place_; }

  /// What was built is the resource: `place.settle()`, then the record goes, then what was replaced is destroyed. That
  /// nothing was built is the caller's word, too: then the old one is gone. After a commit, rollback or release it does
  /// nothing.
  ///
  /// Throws what `settle` throws, and `errc::busy` where the lock was lost: then nothing was destroyed, `commit()` may
  /// be called again (when who was in the way has gone), and else the destructor puts back. Where only the record
  /// cannot be cleared it throws that, and nothing will be put back: the new one stands, and what was replaced is
  /// removed by a later run. What cannot be removed is told (`left_behind`).
  void commit() {
    end_.unless_reached("commit", key_.key(), [&] {
      key_.require_lock();
      auto const left = settle();
      end_.reached();
      if (!left.empty()) tell_left(left);
      key_.commit(left.empty() ? nullptr : "left_behind");
      detail::discard(place_, key_.key(), options_.observer);
    });
  }

  /// Puts back now. After a commit, rollback or release it does nothing.
  ///
  /// Throws what `put_back` throws, and `errc::busy` where the lock was lost to another (then nothing was touched). The
  /// record stays then, and the destructor does not try again.
  void rollback() {
    end_.reach("rollback", key_.key(), [&] { roll_back(options_.observer); });
  }

  /// Leaves all as it is for a later run: what is parked stays parked. Where the save had failed there is no record,
  /// and the observer is told so again.
  void release() noexcept {
    end_.reach_quietly([&] { key_.release(); });
  }

 private:
  void park() {
    if (key_.value() == nullptr) return;
    try {
      place_.park(*key_.value());
    } catch (...) {
      withdraw();
      throw;
    }
    detail::tell(options_.observer, event_kind::parked, key_.key(), {.where = detail::where_parked(place_)});
  }
  /// Nothing was to be built yet: where all is as it was, nobody needs the record.
  void withdraw() noexcept {
    options_.clear_after_restore = true;
    end_.reach_quietly([&] { roll_back(silent); });  // it may never have been parked
  }

  void roll_back(detail::observer const& observer) {
    key_.roll_back([&](value_type const& v) { detail::put_back(place_, key_.key(), v, observer); });
  }

  std::vector<left_behind> settle() {
    // A copy, for a note takes its place. Where there was nothing, what was built is to be durable all the same.
    auto const v = key_.value() != nullptr ? std::optional<value_type>(*key_.value()) : place_.live();
    if (!v) return {};
    auto left = detail::settle(place_, *v, [&](value_type const& note) { key_.put_again(note, false); });
    detail::tell(options_.observer, event_kind::settled, key_.key(), {});
    return left;
  }
  void tell_left(std::vector<left_behind> const& left) {
    auto const problem = std::make_exception_ptr(
        error{errc::mismatch, "commit", key_.key().string(), "left behind: " + detail::list_of(left)});
    detail::tell(options_.observer, event_kind::left_behind, key_.key(), {.error = problem});
  }

  Place place_;
  guard_options options_;
  detail::guarded_key<Stash, value_type> key_;
  detail::guard_end end_;
};

}  // namespace stash::inline v1
