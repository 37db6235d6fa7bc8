#pragma once

#include <cstddef>
#include <optional>
#include <stash/basic_stash.hpp>
#include <stash/event.hpp>
#include <stash/guard_options.hpp>
#include <stash/key.hpp>
#include <stash/recover_places.hpp>
#include <stash/replace_guard.hpp>
#include <stash/storage/memory.hpp>
#include <stash/testing/checks/places.hpp>
#include <string>

namespace stash::inline v1::detail {

/// What a guard does with a place.
template <testing::place_factory Factory>
struct guarded_place_checks : place_checks_list<Factory> {
  using base = place_checks_list<Factory>;
  using typename base::built;
  using typename base::place;
  using typename base::value;
  using stash_type = basic_stash<memory_storage>;
  using base::equal;
  using base::stands;

  static auto guarded(Factory& f, stash_type& store, std::string* told = nullptr) {
    return replace_guard<stash_type, place>{store, "k", f.again(), {.observer = [told](event const& e) {
                                              if (told != nullptr) *told += std::string(stash::to_string(e.kind)) + ' ';
                                            }}};
  }
  static void a_committed_guard_leaves_the_new_one(Factory& f) {
    built b{f};
    stash_type store;
    for (int i = 0; i < 3; ++i) {
      auto guard = guarded(f, store);
      f.build("new");
      guard.commit();
      stands(f, "new");
      equal("a record after a commit", store.entries().size(), std::size_t{0});
    }
  }
  static void a_guard_that_is_left_puts_back(Factory& f) {
    built b{f};
    stash_type store;
    std::string told;
    for (int i = 0; i < 3; ++i) {
      auto guard = guarded(f, store, &told);
      f.build("half");
    }
    stands(f, "old");
    equal("another note was found on the way", told.find("superseded") != told.npos, false);
  }
  static void a_guard_adopts_what_was_left(Factory& f) {
    built b{f};
    stash_type store;
    guarded(f, store).release();
    f.build("half");
    {
      auto guard = guarded(f, store);
      equal("the origin is adopted", guard.origin() == origin::adopted, true);
      stands(f, {});
    }
    stands(f, "old");
  }
  static void a_guard_needs_no_record_to_find_it(Factory& f) {
    built b{f};
    stash_type store;
    guarded(f, store).release();
    f.build("half");
    store.clear("k");
    { auto guard = guarded(f, store); }
    stands(f, "old");
  }
  static void recover_puts_back(Factory& f) {
    built b{f};
    stash_type store;
    guarded(f, store).release();
    f.build("half");
    auto const report =
        stash::recover_places<value>(store, [&](key const&, value const&) { return std::optional<place>(f.again()); },
                                     {.observer = [](event const&) {}});
    equal("restored", report.restored, std::size_t{1});
    stands(f, "old");
  }
};

}  // namespace stash::inline v1::detail
