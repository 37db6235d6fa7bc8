#pragma once

#include <map>
#include <optional>
#include <stash/delete_guard.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/recover.hpp>
#include <stash/testing/checks/tools.hpp>
#include <stash/testing/conformance_report.hpp>
#include <string>

namespace stash::inline v1::detail {

/// What a stash, a guard and recover do with a storage.
template <testing::storage_factory Factory>
struct stash_checks : conformance_base<Factory> {
  using base = conformance_base<Factory>;
  using storage = typename base::storage;
  using stash_type = typename base::stash_type;
  using text = typename base::text;

  static void a_stash_saves_loads_and_clears(Factory& f) {
    stash_type store{f.fresh()};
    base::equal("load", base::loaded(store), "(nothing)");
    for (text const words : {"old", "new"}) {
      store.template save<text>("k", words);
      base::equal("load", base::loaded(store), words);
    }
    base::equal("clear", store.clear("k"), true);
    base::equal("clear again", store.clear("k"), false);
    base::equal("load", base::loaded(store), "(nothing)");
    base::lists(store.storage(), 0, 0);
  }

  static void a_committed_guard_leaves_no_record(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    {
      auto guard = base::guarded(store, "words", restored);
      base::equal("load under the guard", base::loaded(store), "words");
      guard.commit();
    }
    base::equal("restored", restored, "");
    base::lists(store.storage(), 0, 0);
  }

  static void a_guard_that_is_left_restores_once(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    { auto const guard = base::guarded(store, "a", restored); }
    base::equal("restored", restored, "a");
    base::equal("load", base::loaded(store), "a");
    { auto const guard = base::guarded(store, "b", restored, {.clear_after_restore = true}); }
    base::equal("restored", restored, "ab");
    base::lists(store.storage(), 0, 1);
  }

  static void a_guard_adopts_what_was_left(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    store.template save<text>("k", "words");
    auto const left = store.storage().get("k");
    {
      auto guard = base::guarded(store, std::nullopt, restored);
      base::equal("the guard adopted", guard.origin() == origin::adopted, true);
      base::equal("its value", guard.value() ? *guard.value() : "(nothing)", "words");
      base::holds(store.storage(), "k", left);
      guard.release();
    }
    base::holds(store.storage(), "k", left);
    { auto const guard = base::guarded(store, std::nullopt, restored); }
    base::equal("restored", restored, "words");
  }

  static void a_guard_sets_aside_what_is_superseded(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    store.template save<text>("k", "old");
    auto guard = base::guarded(store, "new", restored);
    base::lists(store.storage(), 1, 1);
    base::equal("load", base::loaded(store), "new");
    guard.commit();
    base::lists(store.storage(), 0, 1);
  }

  static void a_second_guard_is_busy(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    auto const second = [&] { return base::code_of([&] { base::guarded(store, "b", restored).release(); }); };
    {
      auto const guard = base::guarded(store, "a", restored);
      base::equal("a second guard", second(), errc::busy);
    }
    base::equal("the next guard", second(), {});
    base::equal("restored", restored, "a");
  }

  static void recover_restores_orphans_only(Factory& f) {
    stash_type store{f.fresh()};
    for (auto const* const k : {"a", "b", "live"}) store.template save<text>(k, k);
    std::map<key, text> restored;
    auto const report = stash::recover<text>(
        store, [](key const& k) { return k == "live"; },
        [&](key const& k, text const& saved) { restored.emplace(k, saved); });
    base::equal("restored", report.restored, 2);
    base::equal("live", report.live, 1);
    base::equal("failed", report.failed.size(), 0);
    base::equal("what was restored", restored == std::map<key, text>{{"a", "a"}, {"b", "b"}}, true);
    base::lists(store.storage(), 1, 0);
  }
};

}  // namespace stash::inline v1::detail
