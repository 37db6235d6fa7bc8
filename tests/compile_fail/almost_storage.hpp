#pragma once

#include <stash/concepts.hpp>

/// A storage but for `lock_type` and `put`.
template <class Lock>
struct almost_storage {
  std::optional<stash::record> get(stash::key const&) const;
  bool erase(stash::key const&);
  std::vector<stash::entry> entries() const;
  std::string set_aside(stash::key const&, std::string_view reason);
  std::vector<stash::entry> set_aside_entries() const;
  std::size_t purge(std::chrono::microseconds older_than);
  std::optional<Lock> try_lock(stash::key const&);
};

struct good_lock {
  bool held() const noexcept;
};
