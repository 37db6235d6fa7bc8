#pragma once

#include <boost/system/system_error.hpp>
#include <concepts>
#include <functional>
#include <optional>
#include <stash/concepts.hpp>
#include <stash/detail/guard/place_calls.hpp>
#include <stash/json_serializer.hpp>
#include <stash/place/left_behind.hpp>
#include <stash/testing/checks/tools.hpp>
#include <stash/testing/conformance_report.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::testing {

/// Makes the places that the suite tries, and is the job that builds there. Below, `f` is an `F`, called by one thread
/// at a time.
///
/// | expression       | effect and result                                                                          |
/// | ---------------- | ------------------------------------------------------------------------------------------ |
/// | `f.fresh()`      | a new place where nothing stands, which shares nothing with earlier ones; what these leave |
/// |                  | is the factory's to remove                                                                 |
/// | `f.again()`      | another object of the last fresh place, as another process would have it; also called in   |
/// |                  | forked children: what they park must be there when they are gone                           |
/// | `f.build(words)` | builds something there, as a job does where the place is free, that can be told by these   |
/// |                  | (std::string const&)                                                                       |
/// | `f.found()`      | std::optional<std::string>: the words of what stands there, whole; nullopt: nothing does   |
template <class F>
concept place_factory = requires(F& f, std::string const& words) {
  f.fresh();
  { f.again() } -> std::same_as<decltype(f.fresh())>;
  f.build(words);
  { f.found() } -> std::same_as<std::optional<std::string>>;
};

}  // namespace stash::inline v1::testing

namespace stash::inline v1::detail {

template <testing::place_factory Factory>
struct place_checks_list : conformance_tools, place_checks<decltype(std::declval<Factory&>().fresh())> {
  using place = decltype(std::declval<Factory&>().fresh());
  using value = typename place::value_type;
  using text = std::optional<std::string>;

  static constexpr bool has_parked = requires(place const& p) { p.parked(); };
  static constexpr bool has_where = requires(place const& p) { std::string(p.where()); };

  static std::string shown(text const& words) { return words ? conformance_tools::shown(*words) : "nothing"; }
  static void stands(Factory& f, text const& expected) {
    text const found = f.found();
    if (found == expected) return;
    throw testing::nonconformance{"at the place: expected " + shown(expected) + ", found " + shown(found)};
  }
  static void is_live(place const& p, bool expected) { equal("live() has a value", p.live().has_value(), expected); }
  static void is_parked(place const& p, bool expected) {
    if constexpr (has_parked) equal("parked() has a value", p.parked().has_value(), expected);
  }
  template <class F>
  static void throws(std::string_view what, F f) {
    bool has_thrown = false;
    try {
      f();
    } catch (...) {
      has_thrown = true;
    }
    equal(what, has_thrown, true);
  }
  static std::string note_of(std::optional<value> const& v) {
    return v ? json_serializer{}.serialize(*v) : "(live() is nullopt)";
  }
  static void settle(place& p, value const& v) {
    auto const left = detail::settle(p, v, [](value const&) {});
    equal("what was left behind", detail::list_of(left) == "", true);
  }

  /// A place where something stands, and its note.
  struct built {
    explicit built(Factory& f, std::string const& words = "old") : at(f.fresh()), note(made(f, at, words)) {}
    place at;
    value note;

   private:
    static value made(Factory& f, place& at, std::string const& words) {
      f.build(words);
      auto found = at.live();
      if (!found) throw testing::nonconformance{"live() of what stands whole: found nullopt"};
      return std::move(*found);
    }
  };
  /// And is parked.
  struct parked : built {
    explicit parked(Factory& f) : built(f) { this->at.park(this->note); }
  };

  static void nothing_is_live_where_nothing_stands(Factory& f) {
    place const p = f.fresh();
    is_live(p, false);
    is_parked(p, false);
    stands(f, {});
  }
  static void what_stands_is_live_and_looking_changes_nothing(Factory& f) {
    built b{f};
    is_live(b.at, true);
    is_parked(b.at, false);
    is_live(b.at, true);
    stands(f, "old");
  }
  static void what_is_parked_is_out_of_the_way(Factory& f) {
    parked p{f};
    stands(f, {});
    is_live(p.at, false);
    is_parked(p.at, true);
    f.build("new");  // the place is free
    stands(f, "new");
    is_live(p.at, false);
  }
  static void to_park_nothing_does_nothing(Factory& f) {
    parked p{f};
    settle(p.at, p.note);
    p.at.discard();
    p.at.park(p.note);
    stands(f, {});
    is_parked(p.at, false);
  }
  static void to_park_again_keeps_what_is_parked(Factory& f) {
    parked p{f};
    f.build("half");
    p.at.park(p.note);
    stands(f, {});
    is_parked(p.at, true);
    p.at.put_back(p.note);
    stands(f, "old");
  }
  static void what_is_put_back_stands_whole(Factory& f) {
    parked p{f};
    p.at.put_back(p.note);
    stands(f, "old");
    is_live(p.at, true);
    is_parked(p.at, false);
  }
  static void what_is_half_built_goes(Factory& f) {
    parked p{f};
    f.build("half");
    p.at.put_back(p.note);
    stands(f, "old");
    p.at.discard();
    stands(f, "old");
  }
  static void to_put_back_twice_is_to_put_back(Factory& f) {
    parked p{f};
    p.at.put_back(p.note);
    p.at.put_back(p.note);
    stands(f, "old");
  }
  static void to_put_back_leaves_what_is_whole(Factory& f) {
    built b{f};
    b.at.put_back(b.note);
    stands(f, "old");
  }
  static void to_put_back_without_anything_left_is_no_success(Factory& f) {
    parked p{f};
    settle(p.at, p.note);
    p.at.discard();
    bool has_thrown = false;
    try {
      p.at.put_back(p.note);
    } catch (...) {
      has_thrown = true;
    }
    equal("put_back() has thrown, or made what the note tells of", has_thrown || f.found().has_value(), true);
  }
  static void what_is_settled_is_live(Factory& f) {
    parked p{f};
    f.build("new");
    settle(p.at, p.note);
    stands(f, "new");
    is_live(p.at, true);
    is_parked(p.at, false);
    p.at.discard();
    p.at.put_back(p.note);  // nothing of the old one is left to be
    stands(f, "new");
  }
  static void to_settle_nothing_leaves_nothing(Factory& f) {
    parked p{f};
    settle(p.at, p.note);
    stands(f, {});
    is_live(p.at, false);
    is_parked(p.at, false);
  }
  static void to_settle_where_nothing_is_parked_leaves_what_stands(Factory& f) {
    built b{f};
    settle(b.at, b.note);
    stands(f, "old");
    is_live(b.at, true);
  }
  static void to_discard_destroys_nothing_that_counts(Factory& f) {
    built b{f};
    b.at.discard();
    stands(f, "old");
    b.at.park(b.note);
    b.at.discard();
    is_parked(b.at, true);
    f.build("half");
    b.at.discard();
    stands(f, "half");
    b.at.put_back(b.note);
    b.at.discard();
    b.at.discard();
    stands(f, "old");
  }
  static void another_object_goes_on(Factory& f) {
    std::optional<value> note;
    {
      parked p{f};
      note.emplace(p.note);
      f.build("half");
    }
    place q = f.again();
    is_live(q, false);
    is_parked(q, true);
    q.put_back(*note);
    stands(f, "old");
  }
  static void what_a_dead_process_parked_is_found(Factory& f) {
    built b{f};
    equal("a child that parks and dies", returns_in_child([&] {
            place in_child = f.again();
            in_child.park(b.note);
          }),
          true);
    place q = f.again();
    is_live(q, false);
    q.put_back(b.note);
    stands(f, "old");
  }
  static void a_moved_place_is_the_same(Factory& f) {
    parked p{f};
    place moved{std::move(p.at)};
    moved.put_back(p.note);
    stands(f, "old");
  }
  static void a_thing_has_the_same_note_each_time(Factory& f) {
    built b{f};
    std::string const before = json_serializer{}.serialize(b.note);
    equal("the note of a thing", note_of(b.at.live()), before);
    b.at.park(b.note);
    b.at.put_back(b.note);
    equal("the note of what was put back", note_of(b.at.live()), before);
  }
  static void parked_tells_what_is_parked(Factory& f) {
    if constexpr (has_parked) {
      parked p{f};
      is_parked(p.at, true);
      p.at.put_back(*p.at.parked());
      stands(f, "old");
    }
  }
  static void where_names_what_is_parked(Factory& f) {
    if constexpr (has_where) {
      parked p{f};
      equal("where() is empty", p.at.where().empty(), false);
    }
  }
};

}  // namespace stash::inline v1::detail
