#pragma once

#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <stash/stash.hpp>
#include <stash/storage/key_locks.hpp>

/// Records in a map under a mutex: they survive exceptions. A forked child has a copy of its own, without the locks.
/// Fork while no other thread is inside.
class map_storage {
 public:
  using locks = stash::key_locks<>;  // of threads; a forked child starts without any
  using lock_type = locks::lock;

  void put(stash::key const& k, stash::record r) {  // by value: what can throw comes before any change
    std::lock_guard const only{state_->mutex};
    state_->records.insert_or_assign(k, std::move(r));
  }
  std::optional<stash::record> get(stash::key const& k) const {
    std::lock_guard const only{state_->mutex};
    auto const found = state_->records.find(k);
    return found == state_->records.end() ? std::nullopt : std::optional(found->second);
  }
  bool erase(stash::key const& k) {
    std::lock_guard const only{state_->mutex};
    return state_->records.erase(k) > 0;
  }
  std::vector<stash::entry> entries() const {
    std::lock_guard const only{state_->mutex};
    std::vector<stash::entry> all;  // in the order of the map, which is that of the keys' bytes
    for (auto const& [k, r] : state_->records) all.push_back(listed(k, r, "map"));
    return all;
  }

  std::string set_aside(stash::key const& k, std::string_view reason) {
    std::lock_guard const only{state_->mutex};
    auto const found = state_->records.find(k);
    if (found == state_->records.end()) {
      throw stash::error{{ENOENT, boost::system::system_category()}, "set_aside", k.string()};
    }
    auto where = std::to_string(++state_->places) + ": " + std::string(reason);  // nothing went there before
    state_->aside.push_back({now(), listed(k, found->second, where), found->second});
    state_->records.erase(found);  // last, for it cannot fail
    return where;
  }
  std::vector<stash::entry> set_aside_entries() const {
    std::lock_guard const only{state_->mutex};
    std::vector<stash::entry> all;
    for (auto const& one : state_->aside) all.push_back(one.entry);
    return all;
  }
  std::size_t purge(std::chrono::microseconds older_than) {
    std::lock_guard const only{state_->mutex};
    auto const is_old = [&](auto const& one) { return older_than.count() <= 0 || now() - one.when >= older_than; };
    return std::erase_if(state_->aside, is_old);
  }

  std::optional<lock_type> try_lock(stash::key const& k) { return locks::try_take(locks_, k); }

 private:
  struct kept {
    stash::time_point when;
    stash::entry entry;
    stash::record record;
  };
  struct state {
    std::mutex mutex;
    std::map<stash::key, stash::record> records;
    std::vector<kept> aside;
    std::uint64_t places = 0;
  };
  static stash::time_point now() {
    return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
  }
  static stash::entry listed(stash::key const& k, stash::record const& r, std::string where) {
    return {k, stash::record_state::intact, r.saved_at, r.payload.size(), std::move(where)};
  }

  // They stay where they are when the storage is moved, and a lock may outlive it.
  std::shared_ptr<state> state_ = std::make_shared<state>();
  std::shared_ptr<locks> locks_ = std::make_shared<locks>();
};
