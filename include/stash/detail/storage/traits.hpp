#pragma once

#include <concepts>
#include <span>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// What a storage may have beside what every storage has (the second table of `storage_policy`), and what stands in for
/// it where it has not.
template <class Storage>
struct storage_traits {
  using lock_type = typename Storage::lock_type;

  /// false: it was not made yet, so there is nothing to erase.
  static bool exists(Storage const& storage) {
    if constexpr (requires {
                    { storage.exists() } -> std::convertible_to<bool>;
                  }) {
      return storage.exists();
    } else {
      return true;
    }
  }

  /// Throws what the storage would refuse to put without trying.
  static void check(Storage const& storage, key const& k, record const& r) {
    if constexpr (requires { storage.check(k, r); }) storage.check(k, r);
  }

  /// Where a person finds the record of `k`; empty where the storage cannot say.
  static std::string where(Storage const& storage, key const& k) noexcept {
    if constexpr (requires { std::string(storage.where(k)); }) {
      try {
        return std::string(storage.where(k));
      } catch (...) {
      }
    }
    return {};
  }

  static void put_all(Storage& storage, std::span<std::pair<key, record> const> all) {
    if constexpr (requires { storage.put_all(all); }) {
      storage.put_all(all);
    } else {
      for (auto const& [k, r] : all) storage.put(k, r);
    }
  }

  static void erase_all(Storage& storage, std::span<key const> all) {
    if constexpr (requires { storage.erase_all(all); }) {
      storage.erase_all(all);
    } else {
      for (auto const& k : all) storage.erase(k);
    }
  }

  /// Takes the locks of `all` in their order, until another has one, and appends them to `locks`.
  static void try_lock_all(Storage& storage, std::span<key const> all, std::vector<lock_type>& locks) {
    if constexpr (requires { storage.try_lock_all(all, locks); }) {
      storage.try_lock_all(all, locks);
    } else {
      for (auto const& k : all) {
        auto lock = storage.try_lock(k);
        if (!lock) return;
        locks.push_back(std::move(*lock));
      }
    }
  }

  static void release_all(std::vector<lock_type>& locks) noexcept {
    if constexpr (requires { lock_type::release_all(locks); }) lock_type::release_all(locks);
    locks.clear();
  }

  /// Whether an interrupted save leaves something in it.
  static constexpr bool is_sweepable = requires(Storage & storage, key const& k) {
    storage.temporaries();
    storage.sweep(k);
  };

  static void sweep_all(Storage& storage, std::span<key const> all) {
    if constexpr (requires { storage.sweep_all(all); }) {
      storage.sweep_all(all);
    } else {
      for (auto const& k : all) storage.sweep(k);
    }
  }
};

}  // namespace stash::inline v1::detail
