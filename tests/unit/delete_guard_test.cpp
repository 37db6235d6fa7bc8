#include <boost/describe/class.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/optional/optional.hpp>
#include <cmath>
#include <cstring>
#include <map>
#include <memory_resource>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "delete_guard_fixture.hpp"
#include "support.hpp"

namespace delete_guard_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::event_kind;
using stash::origin;
using stash::time_point;
using support::code_of;
using support::names;
namespace json = boost::json;

namespace {

/// The resource's memory: what was in it is overwritten when the resource goes.
struct arena {
  unsigned char bytes[4096] = {};
  json::monotonic_resource resource{bytes, sizeof bytes};
  std::pmr::monotonic_buffer_resource pmr{4096};
  json::storage_ptr storage() { return &resource; }
  void go() { std::memset(bytes, 0x5a, sizeof bytes); }
};

/// What a guard of `live` restores after the resource's memory is gone, as JSON.
template <class Store, class Live>
std::string restored_after_it_went(Store& store, arena& memory, Live live, stash::guard_options options = {}) {
  std::string result;
  store.clear("orders");
  {
    stash::delete_guard g{store, "orders", live,
                          [&](auto const& saved) { result = json::serialize(json::value_from(saved)); },
                          std::move(options)};
    memory.go();
  }
  return result;
}

struct column {
  std::string name;
  json::value words;
};
BOOST_DESCRIBE_STRUCT(column, (), (name, words))

/// An optional of a library that we do not know.
struct maybe {
  std::string text;
  bool is_there;
  bool has_value() const { return is_there; }
  explicit operator bool() const { return is_there; }
  std::string operator*() const { return text; }
};

/// Looks at the id only.
struct row {
  int id;
  int amount;
  friend bool operator==(row const& a, row const& b) { return a.id == b.id; }
};
BOOST_DESCRIBE_STRUCT(row, (), (id, amount))
struct hash_of_row {
  std::size_t operator()(row const& r) const { return static_cast<std::size_t>(r.id); }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(delete_guard, fixture)

// The guard's table, row by row

BOOST_AUTO_TEST_CASE(live_and_no_record_saves) {
  live = "words";
  auto g = guard();
  BOOST_TEST((g.origin() == origin::live && *g.value() == "words" && !g.age()));
  BOOST_TEST((stashed() == "words"));
  BOOST_TEST(log.kinds == "saved");
  g.release();
}

BOOST_AUTO_TEST_CASE(live_and_the_same_payload_saves_again) {
  store.save("orders", "words"s);
  clock.advance(5s);
  live = "words";
  auto g = guard();
  BOOST_TEST((g.origin() == origin::live));
  BOOST_TEST(log.kinds == "saved");
  BOOST_TEST((store.look_up<std::string>("orders").saved_at == time_point{1005s}));
  BOOST_TEST(aside() == 0U);
  g.release();
}

BOOST_AUTO_TEST_CASE(live_wins_over_another_value_which_is_set_aside) {
  store.save("orders", "old words"s);
  clock.advance(93s);
  live = "new words";
  auto g = guard();
  BOOST_TEST((g.origin() == origin::live && *g.value() == "new words"));
  BOOST_TEST((stashed() == "new words"));
  BOOST_TEST(log.kinds == "superseded saved");
  auto const kept = store.set_aside_entries();
  BOOST_REQUIRE(kept.size() == 1U);
  BOOST_TEST(log.lines.front() == "stash: superseded \"orders\", age 93 s, at " + kept[0].where);
  BOOST_TEST(support::read(kept[0].where).ends_with("\n\"old words\"\n"));
  g.commit();
  BOOST_TEST(aside() == 1U);
}

BOOST_AUTO_TEST_CASE(no_live_value_adopts_the_record_and_tells_its_age) {
  store.save("orders", "words"s);
  clock.advance(93s);
  {
    auto g = guard();
    BOOST_TEST((g.origin() == origin::adopted && *g.value() == "words" && g.age() == 93s));
    BOOST_TEST(log.lines.front() == "stash: adopted \"orders\", age 93 s, at " + file().native());
    BOOST_TEST((store.look_up<std::string>("orders").saved_at == time_point{1000s}));
  }
  BOOST_TEST((restored == std::vector{"words"s}));
}

BOOST_AUTO_TEST_CASE(an_adopted_record_is_put_again_so_that_it_is_durable) {
  store.save("orders", "words"s);
  struct stat before, after;
  ::stat(file().c_str(), &before);
  int syncs = 0;
  *ops.before = [&](std::string_view call) { return syncs += call == "fsync", 0; };
  auto g = guard();
  ::stat(file().c_str(), &after);
  BOOST_TEST(before.st_ino != after.st_ino);
  BOOST_TEST(syncs == 2);
  g.release();
}

BOOST_AUTO_TEST_CASE(a_corrupt_record_is_set_aside_and_counts_as_none_with_and_without_a_live_value) {
  for (text const& resource : {text("words"), text()}) {
    log = {};
    store.save("orders", "x"s);
    support::write(file(), "damaged");
    live = resource;
    auto const kept = aside();
    auto g = guard();
    BOOST_TEST((g.origin() == (resource ? origin::live : origin::none)));
    BOOST_TEST(log.kinds == (resource ? "corrupt saved" : "corrupt"));
    BOOST_TEST(aside() == kept + 1);
    BOOST_TEST((stashed() == resource));
    g.commit();
  }
}

BOOST_AUTO_TEST_CASE(no_live_value_and_no_record_has_nothing_to_restore) {
  {
    auto g = guard();
    BOOST_TEST((g.origin() == origin::none && g.value() == nullptr && !g.age()));
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST(log.kinds == "");
}

BOOST_AUTO_TEST_CASE(a_record_that_is_unreadable_mismatched_or_too_large_throws_and_changes_nothing) {
  for (text const& resource : {text("words"), text()}) {
    live = resource;
    store.save("orders", "x"s);
    auto const bytes = support::read(file());
    spoil("read", EIO);
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == support::os(EIO));
    heal();
    file_stash small{support::spoiled_storage{dir(), {.max_bytes = 2}, ops}, {}, clock};
    auto const guarded = [&] { stash::delete_guard g{small, "orders", [&] { return text(); }, [](auto const&) {}}; };
    BOOST_TEST(code_of(guarded) == errc::too_large);
    store.save("orders", 5);
    auto const other_type = support::read(file());
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == errc::mismatch);
    BOOST_TEST(support::read(file()) == other_type);
    store.save("orders", "x"s);
    BOOST_TEST(names(dir()).size() == 2U);
    BOOST_TEST(support::read(file()) == bytes);
  }
  BOOST_TEST(restored.empty());
}

BOOST_AUTO_TEST_CASE(live_that_throws_is_rethrown_and_nothing_was_changed) {
  for (auto const& bytes : {"damaged"s, ""s}) {
    store.save("orders", "x"s);
    if (!bytes.empty()) support::write(file(), bytes);
    auto const before = support::read(file());
    auto const construct = [&] {
      stash::delete_guard g{store, "orders", []() -> std::string { throw std::out_of_range("no catalog"); },
                            [](auto const&) {}, options()};
    };
    BOOST_CHECK_THROW(construct(), std::out_of_range);
    BOOST_TEST(support::read(file()) == before);
    BOOST_TEST(names(dir()).size() == 2U);
  }
  BOOST_TEST(log.kinds == "");
}

BOOST_AUTO_TEST_CASE(live_is_called_once_with_the_lock_held) {
  int calls = 0;
  auto const looking = [&] {
    ++calls;
    BOOST_TEST(!store.storage().try_lock("orders").has_value());
    return text();
  };
  stash::delete_guard g{store, "orders", looking, [](auto const&) {}};
  BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE(json_null_is_a_value_and_not_absence) {
  int calls = 0;
  {
    stash::delete_guard g{store, "orders", [] { return json::value(nullptr); },
                          [&](json::value const& v) { calls += v.is_null(); }};
    BOOST_TEST((g.origin() == origin::live && g.value() != nullptr));
  }
  BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE(a_live_value_and_an_optional_one_have_the_same_guard) {
  auto const restore = [](std::string const&) {};
  stash::delete_guard plain{store, "a", [] { return "x"s; }, restore};
  stash::delete_guard optional{store, "b", [] { return text("x"); }, restore};
  static_assert(std::is_same_v<decltype(plain), decltype(optional)>);
  static_assert(std::is_nothrow_destructible_v<decltype(plain)>);
  static_assert(!std::is_copy_constructible_v<decltype(plain)> && !std::is_move_constructible_v<decltype(plain)>);
  static_assert(!std::is_copy_assignable_v<decltype(plain)> && !std::is_move_assignable_v<decltype(plain)>);
}

BOOST_AUTO_TEST_CASE(a_wrapper_that_says_of_anything_that_it_can_be_called_is_called_without_the_key) {
  auto const wrapped = [](auto f) { return [f](auto&&... a) { return f(std::forward<decltype(a)>(a)...); }; };
  std::string got;
  {
    stash::delete_guard const g{store, "orders", wrapped([] { return text("words"); }),
                                wrapped([&](std::string const& saved) { got = saved; })};
  }
  BOOST_TEST(got == "words");
}

BOOST_AUTO_TEST_CASE(any_optional_that_is_empty_is_no_live_value) {
  store.save("orders", "words"s);
  auto const adopted = [&](auto const& live_value) {
    stash::delete_guard g{store, "orders", [&] { return live_value; }, [](std::string const&) {}};
    g.release();
    return g.origin() == origin::adopted;
  };
  BOOST_TEST(adopted(boost::optional<std::string>()));
  BOOST_TEST(adopted(maybe{"", false}));
  BOOST_TEST(!adopted(boost::optional<std::string>("words")));
  BOOST_TEST(!adopted(maybe{"words", true}));
  store.save("orders", json::value("words"));
  stash::delete_guard g{store, "orders", [] { return boost::optional<json::value>(); }, [](json::value const&) {}};
  BOOST_TEST((g.origin() == origin::adopted && *g.value() == "words"));
}

BOOST_AUTO_TEST_CASE(the_value_is_in_memory_of_its_own) {
  // Longer than what a string keeps in itself.
  std::string const words = "words, words, words, words, words, words";
  arena memory;
  auto const object = [&] {
    json::object o(memory.storage());
    o["words"] = words;
    return o;
  };
  std::string const expected = json::serialize(object());
  BOOST_TEST(restored_after_it_went(store, memory, object) == expected);
  arena of_value, of_array, of_string, of_map, of_column, of_pmr;
  BOOST_TEST(restored_after_it_went(store, of_value, [&] { return json::value(object(), of_value.storage()); }) ==
             expected);
  BOOST_TEST(restored_after_it_went(store, of_array, [&] { return json::array({words}, of_array.storage()); }) ==
             "[\"" + words + "\"]");
  BOOST_TEST(restored_after_it_went(store, of_string, [&] { return json::string(words, of_string.storage()); }) ==
             "\"" + words + "\"");
  BOOST_TEST(restored_after_it_went(store, of_map, [&] {
               return std::map<std::string, json::value>{{"a", json::value(words, of_map.storage())}};
             }) == "{\"a\":\"" + words + "\"}");
  BOOST_TEST(restored_after_it_went(store, of_column, [&] {
               return std::optional(column{"a", json::value(words, of_column.storage())});
             }) == R"({"name":"a","words":")" + words + "\"}");

  stash::delete_guard g{store, "pmr", [&] { return std::pmr::vector<std::pmr::string>({words.c_str()}, &of_pmr.pmr); },
                        [](auto const&) {}};
  BOOST_TEST((g.value()->get_allocator().resource() == std::pmr::get_default_resource()));
  BOOST_TEST((g.value()->front() == words.c_str()));
}

BOOST_AUTO_TEST_CASE(best_effort_forgives_a_value_that_cannot_be_saved_unless_it_may_be_in_anothers_memory) {
  auto const as_we_can = [&] { return options({.best_effort = true}); };
  auto const nan = std::nan("");
  arena memory;
  auto const array = [&] { return json::array({nan, "words, words, words, words, words"}, memory.storage()); };
  BOOST_TEST(restored_after_it_went(store, memory, array, as_we_can()).find("words, words") != std::string::npos);
  BOOST_TEST(log.kinds == "save_failed restored");
  BOOST_TEST(restored_after_it_went(
                 store, memory, [&] { return std::vector{nan}; }, as_we_can()) != "");
  auto const map = [&] { return std::map<std::string, json::value>{{"a", nan}}; };
  BOOST_TEST(code_of([&] { restored_after_it_went(store, memory, map, as_we_can()); }) == errc::unserializable);
  BOOST_TEST(names(dir()).size() <= 1U);  // the lock file
}

BOOST_AUTO_TEST_CASE(an_unordered_value_is_the_same_in_another_order_and_another_one_is_not) {
  using set = std::unordered_set<std::string>;
  std::vector<std::string> texts;
  for (int i = 0; i < 50; ++i) texts.push_back(std::to_string(i));
  auto const guarded = [&](auto const& value, std::size_t kept) {
    stash::delete_guard g{store, "orders", [&] { return value; }, [](auto const&) {}};
    g.release();
    BOOST_TEST(aside() == kept);
  };
  set one(texts.begin(), texts.end()), other(texts.rbegin(), texts.rend(), 1000);
  BOOST_REQUIRE(json::serialize(json::value_from(one)) != json::serialize(json::value_from(other)));
  guarded(one, 0);
  guarded(other, 0);
  BOOST_TEST(json::serialize(*store.load("orders")) == json::serialize(json::value_from(other)));
  other.insert("another");
  guarded(other, 1);
  guarded(std::vector(texts.begin(), texts.end()), 2);
  guarded(std::vector(texts.rbegin(), texts.rend()), 3);  // here the order counts
  store.clear("orders");
  using rows = std::unordered_set<row, hash_of_row>;
  guarded(rows{{1, 10}, {2, 20}}, 3);
  guarded(rows{{1, 10}, {2, 21}}, 4);  // equal, as far as its == looks
  store.clear("orders");
  using amounts = std::unordered_map<std::string, int>;
  guarded(amounts{{"a", 12}, {"b", 21}}, 4);
  guarded(amounts{{"a", 21}, {"b", 12}}, 5);  // the same bytes, but not equal
}

// The original's

BOOST_AUTO_TEST_CASE(retry_adopts_the_stash_when_the_resource_is_not_live_and_does_nothing_without_a_stash) {
  {
    auto g = guard();
    BOOST_TEST((g.origin() == origin::none));
    g.commit();
  }
  store.save("orders", "words"s);
  auto g = guard();
  BOOST_TEST((g.origin() == origin::adopted));
  g.commit();
  BOOST_TEST(!stashed());
}

BOOST_AUTO_TEST_CASE(a_live_dictionary_wins_over_a_stale_stash) {
  store.save("orders", "stale"s);
  live = "fresh";
  { auto g = guard(); }
  BOOST_TEST((restored == std::vector{"fresh"s}));
}

// Events

BOOST_AUTO_TEST_CASE(an_event_is_one_line_whatever_is_in_it) {
  auto const line = [](stash::event const& e) {
    std::ostringstream out;
    out << e;
    return out.str();
  };
  BOOST_TEST(line({event_kind::adopted, "orders", 93'900'000us, {}, nullptr}) == "stash: adopted \"orders\", age 93 s");
  auto const failure = std::make_exception_ptr(std::runtime_error("two\nlines"));
  BOOST_TEST(line({event_kind::restore_failed, "or\"ders", std::nullopt, "/x\n", failure}) ==
             "stash: restore_failed \"or\\\"ders\", at /x\\x0a: two\\x0alines");
  stash::event const old{event_kind::adopted, "orders", 1'234'567s, "/x", failure};
  BOOST_TEST(line(old) == "stash: adopted \"orders\", age 1234567 s, at /x: two\\x0alines");
  BOOST_TEST(support::printed_on_a_bent_stream(old) == line(old));
}

BOOST_AUTO_TEST_CASE(memory_storage_guards_within_the_process) {
  stash::memory_stash memory;
  {
    stash::delete_guard g{memory, "orders", [] { return "words"s; },
                          [&](std::string const& s) { restored.push_back(s); }};
  }
  BOOST_TEST((restored == std::vector{"words"s}));
  BOOST_TEST((memory.load<std::string>("orders") == "words"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace delete_guard_test
