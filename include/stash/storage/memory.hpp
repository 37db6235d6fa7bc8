#pragma once

#include <algorithm>
#include <boost/system/errc.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stash/concepts.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/storage/key_locks.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// What `memory_storage` is: a template, so that only who uses it pays for compiling it.
template <class Mutex>
class basic_memory_storage {
 public:
  using lock_type = typename key_locks<Mutex>::lock;  ///< a key's lock, see `try_lock`

  /// Empty.
  basic_memory_storage() : state_(std::make_shared<state>()) {}
  /// Takes over records and locks; the other may only be assigned to or destroyed.
  basic_memory_storage(basic_memory_storage&&) noexcept = default;
  /// Likewise; what this one had is gone, but for locks that are held.
  basic_memory_storage& operator=(basic_memory_storage&&) noexcept = default;
  ~basic_memory_storage() = default;

  /// Stores `r` in place of what is there, whose room in memory it keeps where it is shorter. Throws `std::bad_alloc`:
  /// then what was there stands.
  void put(key const& k, record const& r) {
    std::lock_guard const only{state_->mutex};
    state_->records.insert_or_assign(k, r);  // a string that cannot be assigned keeps what it has
  }

  /// A copy of the record of `k`; nullopt: there is none.
  std::optional<record> get(key const& k) const {
    std::lock_guard const only{state_->mutex};
    auto const found = state_->records.find(k);
    return found == state_->records.end() ? std::nullopt : std::optional(found->second);
  }

  /// Removes the record of `k`; false: there was none.
  bool erase(key const& k) {
    std::lock_guard const only{state_->mutex};
    return state_->records.erase(k) > 0;
  }

  /// All records, by key; always intact. `where` is "memory".
  std::vector<entry> entries() const {
    std::vector<entry> result;
    {
      std::lock_guard const only{state_->mutex};
      for (auto const& [k, r] : state_->records) result.push_back(as_entry(k, r, "memory"));
    }
    std::sort(result.begin(), result.end(), [](entry const& a, entry const& b) { return a.key < b.key; });
    return result;
  }

  /// Moves the record to those set aside and returns its name there. Throws ENOENT where there is none,
  /// and `std::bad_alloc`: then the record stands.
  std::string set_aside(key const& k, std::string_view reason) {
    auto const now = detail::system_now();
    std::lock_guard const only{state_->mutex};
    auto const found = state_->records.find(k);
    if (found == state_->records.end()) {
      throw error{boost::system::errc::make_error_code(boost::system::errc::no_such_file_or_directory), "set_aside",
                  k.string()};
    }
    std::string where = "memory: " + detail::kept_name(k, reason, now, state_->aside_count);
    state_->aside.push_back({now, as_entry(k, found->second, where), found->second});
    ++state_->aside_count;
    state_->records.erase(found);
    return where;
  }

  /// All that was set aside and not purged, oldest first.
  std::vector<entry> set_aside_entries() const {
    std::vector<entry> result;
    std::lock_guard const only{state_->mutex};
    for (auto const& one : state_->aside) result.push_back(one.listed);
    return result;
  }

  /// Destroys what was set aside `older_than` ago or earlier, zero or less: all of it. Returns how many.
  std::size_t purge(std::chrono::microseconds older_than) {
    auto const now = detail::system_now();
    std::lock_guard const only{state_->mutex};
    return std::erase_if(state_->aside, [&](auto const& one) {
      return older_than.count() <= 0 || detail::age_between(one.when, now) >= older_than;
    });
  }

  /// The lock of `k`, exclusive among the threads of this process; nullopt: another has it.
  std::optional<lock_type> try_lock(key const& k) { return locks::try_take(locks_, k); }

 private:
  using locks = key_locks<Mutex>;
  struct aside_record {
    time_point when;
    entry listed;
    record bytes;
  };
  struct state {
    Mutex mutex;
    std::unordered_map<key, record> records;
    std::vector<aside_record> aside;
    std::uint64_t aside_count = 0;
  };

  static entry as_entry(key const& k, record const& r, std::string where) {
    return {k, record_state::intact, r.saved_at, r.payload.size(), std::move(where)};
  }

  std::shared_ptr<state> state_;
  std::shared_ptr<locks> locks_ = std::make_shared<locks>();
};

/// Records in this process's memory, for tests and for jobs that need undo but not after their death.
///
/// What is put survives exceptions, and nothing else; a forked child has a copy of its own, without the
/// locks. Every member may be called from many threads at once. Moving it keeps locks and records; a
/// moved-from one can only be assigned to or destroyed. Fork while no other thread is inside it.
///
///     stash::basic_stash<stash::memory_storage> store;
class memory_storage : public basic_memory_storage<std::mutex> {};

}  // namespace stash::inline v1
