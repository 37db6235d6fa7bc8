#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <string>
#include <unordered_map>

namespace stash::inline v1::detail {

/// The keys that a storage has locked, each with the session in which it was. Not thread safe.
class session_locks {
 public:
  using generation = std::uint64_t;  ///< of a session; 0: none

  /// false: it is locked already.
  bool add(key const& k) { return rows_.try_emplace(k, 0).second; }
  void was_taken(key const& k, generation taken) { rows_.find(k)->second = taken; }
  void remove(key const& k) noexcept { rows_.erase(k); }
  void clear() noexcept { rows_.clear(); }
  /// nullopt: it is not locked.
  std::optional<generation> find(key const& k) const {
    auto const row = rows_.find(k);
    return row == rows_.end() ? std::nullopt : std::optional(row->second);
  }

  /// All sessions of a server have one table for their locks: when it is full, no database of that server can lock
  /// anything. Throws `errc::too_large` where ours would be more than an eighth of it.
  void require_room(postgres_connection& db, std::string const& shown, operation const& op, deadline until) {
    constexpr std::size_t few = 100;
    if (rows_.size() <= few) return;
    if (most_locks_ == 0) {
      auto const room = db.run(
          "SELECT (current_setting('max_locks_per_transaction')::bigint *"
          " (current_setting('max_connections')::bigint"
          " + current_setting('max_prepared_transactions')::bigint) / 8)::text",
          {}, op, until);
      most_locks_ = std::max<std::size_t>(few, std::strtoul(room.text(0, 0).c_str(), nullptr, 10));
    }
    if (rows_.size() <= most_locks_) return;
    op.fail(errc::too_large, shown,
            "more than " + std::to_string(most_locks_) +
                " keys would be locked at once, more than an eighth of the"
                " locks that the server has for all (max_locks_per_transaction, max_connections); take them in parts");
  }

 private:
  std::unordered_map<key, generation> rows_;
  std::size_t most_locks_ = 0;  // not asked yet
};

}  // namespace stash::inline v1::detail
