#pragma once

#include <stash/concepts.hpp>

struct good_lock {
  bool held() const noexcept;
};

template <class Lock>
struct storage_without_lock_type {
  void put(stash::key const&, stash::record const&);
  std::optional<stash::record> get(stash::key const&) const;
  bool erase(stash::key const&);
  std::vector<stash::entry> entries() const;
  std::string set_aside(stash::key const&, std::string_view reason);
  std::vector<stash::entry> set_aside_entries() const;
  std::size_t purge(std::chrono::microseconds older_than);
  std::optional<Lock> try_lock(stash::key const&);
};

/// A storage, of which each case takes or changes one part.
template <class Lock = good_lock>
struct good_storage : storage_without_lock_type<Lock> {
  using lock_type = Lock;
};
