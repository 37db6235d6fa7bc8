#pragma once

#include <boost/system/errc.hpp>
#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/testing/checks/tools.hpp>
#include <stash/testing/conformance_report.hpp>
#include <string>
#include <thread>
#include <vector>

namespace stash::inline v1::detail {

/// What a storage promises of what is set aside.
template <testing::storage_factory Factory>
struct set_aside_checks : conformance_base<Factory> {
  using base = conformance_base<Factory>;
  using text = typename base::text;
  using us = typename base::us;

  static void what_is_set_aside_is_no_record(Factory& f) {
    auto s = f.fresh();
    base::put(s, "other", base::some("other"));
    base::put_aside(s, "k", base::some("aside"));
    base::holds(s, "k", std::nullopt);
    base::equal("erase of what was set aside", base::erase(s, "k"), false);
    base::lists(s, 1, 1);
    base::describes(s.entries().front(), "other", base::some("other"));
  }

  static void setting_aside_replaces_nothing(Factory& f) {
    auto s = f.fresh();
    std::map<text, record> kept;  // by place
    for (std::size_t i = 0; i < 20; ++i) {
      record const r = base::some(text(i % 7, 'x'), static_cast<int>(i));
      auto const where = base::put_aside(s, "k", r);
      base::equal("the place " + base::shown(where) + " is new", kept.emplace(where, r).second, true);
    }
    base::lists(s, 0, kept.size());
    for (auto const& e : s.set_aside_entries()) {
      base::equal("set_aside returned the place " + base::shown(e.where), kept.contains(e.where), true);
      base::describes(e, "k", kept.extract(e.where).mapped());
    }
  }

  static void setting_aside_nothing_is_enoent(Factory& f) {
    auto s = f.fresh();
    for (std::size_t aside = 0; aside < 2; ++aside) {
      auto const code = base::code_of([&] { base::set_aside(s, "k", "superseded"); });
      base::equal("set_aside of nothing: " + base::shown(code), code == boost::system::errc::no_such_file_or_directory,
                  true);
      base::lists(s, 0, aside);
      base::put_aside(s, "k", base::some("aside"));
    }
  }

  static void any_key_and_reason_is_set_aside(Factory& f) {
    auto s = f.fresh();
    std::vector<text> const reasons{"", "../../x", "a-b.c", "\n", "\xff", "'); --", text(300, 'x'), text(1, '\0')};
    std::map<key, record> expected;
    for (auto const& k : base::odd_keys()) {
      expected.emplace(k, base::of(k));
      base::put_aside(s, k, base::of(k), reasons[expected.size() % reasons.size()]);
    }
    base::lists(s, 0, expected.size());
    for (auto const& e : s.set_aside_entries()) {
      base::equal("the key " + base::shown(e.key.str()) + " was set aside", expected.contains(e.key), true);
      base::describes(e, e.key, expected.extract(e.key).mapped());
    }
  }

  static void purge_destroys_all_and_no_record(Factory& f) {
    auto s = f.fresh();
    base::put(s, "kept", base::some("kept"));
    for (auto const age : {us{0}, us{-1}, us::min()}) {
      for (auto const* const k : {"a", "b", "b"}) base::put_aside(s, k, base::some(k));
      base::put(s, "b", base::some("kept"));
      base::equal("purge", s.purge(age), 3);
      base::equal("purge again", s.purge(age), 0);
      base::lists(s, 2, 0);
      base::holds(s, "kept", base::some("kept"));
    }
  }

  static void purge_leaves_what_is_too_young(Factory& f) {
    auto s = f.fresh();
    for (auto const saved_at : {time_point::min(), time_point{}, time_point::max()}) {  // which is not what counts
      base::put_aside(s, "k", {"young", saved_at});
    }
    base::equal("purge(1 hour)", s.purge(std::chrono::hours{1}), 0);
    base::equal("purge(max)", s.purge(us::max()), 0);
    base::lists(s, 0, 3);
  }

  static void purge_destroys_what_is_old_enough(Factory& f) {
    auto s = f.fresh();
    base::put_aside(s, "k", {"old", time_point::max()});
    std::this_thread::sleep_for(std::chrono::milliseconds{3});
    base::equal("purge(1 ms) after 3 ms", s.purge(std::chrono::milliseconds{1}), 1);
    base::lists(s, 0, 0);
  }
};

}  // namespace stash::inline v1::detail
