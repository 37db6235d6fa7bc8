#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/testing/checks/tools.hpp>
#include <stash/testing/conformance_report.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// What the members promise that a storage may have.
template <testing::storage_factory Factory>
struct optional_member_checks : conformance_base<Factory> {
  using base = conformance_base<Factory>;
  using storage = typename base::storage;
  using lock_type = typename base::lock_type;
  using stash_type = typename base::stash_type;
  using text = typename base::text;
  using us = typename base::us;

  static void reads_create_nothing(Factory& f) {
    stash_type store{f.fresh()};
    auto const& s = store.storage();
    bool const before = base::exists(s);
    base::holds(s, "k", std::nullopt);
    base::lists(s, 0, 0);
    store.purge(us{0});
    base::equal("load", base::loaded(store), "(nothing)");
    base::equal("clear", store.clear("k"), false);
    base::equal("base::exists() after reads", base::exists(s), before);
    base::put(store.storage(), "k", base::some("there"));
    base::equal("base::exists() with a record", base::exists(s), true);
  }

  static void sweep_removes_no_record(Factory& f) {
    auto s = f.fresh();
    if constexpr (base::has_sweep) {
      base::put_aside(s, "aside", base::some("aside"));
      for (auto const* const k : {"k", "other"}) base::put(s, k, base::some(k));
      for (auto const* const k : {"k", "aside", "none"}) {
        [[maybe_unused]] auto const lock = base::locked(s, k);
        s.sweep(k);
      }
      base::lists(s, 2, 1);
      for (auto const* const k : {"k", "other"}) base::holds(s, k, base::some(k));
      base::equal("temporaries().size()", s.temporaries().size(), 0);
    }
  }

  static void check_agrees_with_put(Factory& f) {
    auto s = f.fresh();
    if constexpr (base::has_check) {
      std::as_const(s).check("k", base::some(text(500'000, 'x')));
      for (key const& k : {key(text(1, 'k')), key(text(key::max_size, 'k')), key(text(key::max_size, 'A'))}) {
        auto const refused = base::code_of([&] { std::as_const(s).check(k, base::of(k)); });
        base::equal("check of " + base::shown(k.str()), refused, base::code_of([&] { base::put(s, k, base::of(k)); }));
      }
    }
  }

  static void where_names_a_place(Factory& f) {
    auto s = f.fresh();
    if constexpr (base::has_where) {
      text const before(std::as_const(s).where("k"));
      base::put(s, "k", base::some("there"));
      base::equal("where(k) is empty", before.empty(), false);
      base::equal("where(k) is what it was before the put", text(s.where("k")) == before, true);
    }
  }

  static std::vector<std::pair<key, record>> many(text const& words) {
    std::vector<std::pair<key, record>> result;
    for (int i = 0; i < 150; ++i) {
      auto const name = "key " + std::to_string(100 + i);
      result.emplace_back(name, base::some(text(words).append(" of ").append(name)));
    }
    return result;
  }
  static void all_put_together(Factory& f) {
    auto s = f.fresh();
    if constexpr (base::has_put_all) {
      base::put(s, "other", base::some("other"));
      s.put_all({});
      for (auto const* const words : {"first", "second"}) {
        auto const all = many(words);
        std::vector<lock_type> locks;
        for (auto const& one : all) locks.push_back(base::locked(s, one.first));
        s.put_all(all);
        for (auto const& [k, r] : all) base::holds(s, k, r);
      }
      base::holds(s, "other", base::some("other"));
      base::lists(s, 151, 0);
    }
  }
  static void all_erased(Factory& f) {
    auto s = f.fresh();
    if constexpr (base::has_erase_all) {
      s.erase_all({});
      std::vector<key> keys;
      for (auto const& [k, r] : many("words")) {
        base::put(s, k, r);
        keys.push_back(k);
      }
      base::put(s, "other", base::some("other"));
      keys.emplace_back("none");
      std::vector<lock_type> locks;
      for (auto const& k : keys) locks.push_back(base::locked(s, k));
      s.erase_all(keys);
      base::lists(s, 1, 0);
      base::holds(s, "other", base::some("other"));
      s.erase_all(keys);
    }
  }

  static void all_locked(Factory& f) {
    auto s = f.fresh();
    if constexpr (base::has_try_lock_all) {
      std::vector<key> keys;
      for (auto const& [k, r] : many("words")) keys.push_back(k);
      std::optional<lock_type> taken = base::locked(s, keys[100]);
      std::vector<lock_type> locks;
      s.try_lock_all({}, locks);
      s.try_lock_all(keys, locks);
      base::equal("locked before the one that is busy", locks.size(), 100);
      base::equal("behind it", s.try_lock(keys[101]).has_value(), true);
      taken.reset();
      s.try_lock_all(std::span(keys).subspan(locks.size()), locks);
      base::equal("locked", locks.size(), keys.size());
      for (auto const& one : locks) base::equal("held", one.held(), true);
      for (auto const& k : keys) base::equal("try_lock", s.try_lock(k).has_value(), false);
      base::equal("another", s.try_lock("another").has_value(), true);
      locks.erase(locks.begin());
      base::equal("released", s.try_lock(keys[0]).has_value(), true);
      base::equal("try_lock", s.try_lock(keys[1]).has_value(), false);
      locks.clear();
      for (auto const& k : keys) base::equal("released", s.try_lock(k).has_value(), true);
    }
  }
};

}  // namespace stash::inline v1::detail
