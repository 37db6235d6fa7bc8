#include <boost/describe/class.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/optional/optional.hpp>
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <map>
#include <memory>
#include <memory_resource>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::event_kind;
using stash::origin;
using stash::time_point;
using support::code_of;
using support::names;
namespace fs = boost::filesystem;
namespace json = boost::json;

namespace {

using text = std::optional<std::string>;
using file_stash = stash::basic_stash<support::spoiled_storage, stash::json_serializer, stash::manual_clock>;

/// A resource that holds a value, a stash whose system calls can be spoiled, and what was told and restored.
struct fixture : support::scratch {
  support::spoiled_ops ops = [] {
    support::spoiled_ops o;
    o.has_unnamed_files = false;  // so that each of its calls can fail a save
    return o;
  }();
  stash::manual_clock clock{time_point{1000s}};
  file_stash store{support::spoiled_storage{dir(), {}, ops}, {}, clock};
  support::event_log log;
  text live;
  std::vector<std::string> restored;
  std::function<void()> in_restore = [] {};

  stash::guard_options options(stash::guard_options o = {}) {
    o.observer = log.observer();
    return o;
  }
  auto guard(stash::guard_options o = {}) {
    return stash::delete_guard{store, "orders", [this] { return live; },
                               [this](std::string const& saved) {
                                 in_restore();
                                 restored.push_back(saved);
                                 live = saved;
                               },
                               options(std::move(o))};
  }
  fs::path file() const { return store.storage().path("orders"); }
  text stashed() { return store.load<std::string>("orders"); }
  void spoil(std::string name, int error) {
    *ops.before = [name, error](std::string_view call) { return call == name ? error : 0; };
  }
  void heal() {
    *ops.before = [](std::string_view) { return 0; };
  }
  std::size_t aside() { return store.set_aside_entries().size(); }
};

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

// When saving fails

BOOST_AUTO_TEST_CASE(a_failed_save_throws_so_that_the_delete_never_starts) {
  live = "words";
  for (char const* const call : {"open", "writev", "fsync", "close", "rename", "lock_byte"}) {
    log = {};
    bool deleted = false;
    spoil(call, ENOSPC);
    auto const job = [&] {
      auto g = guard();
      deleted = true;
    };
    BOOST_TEST(bool(code_of(job)), call);
    heal();
    BOOST_TEST(!deleted);
    BOOST_TEST(restored.empty());
    BOOST_TEST((log.kinds == "" || log.kinds == "save_failed"));
    BOOST_TEST(store.storage().try_lock("orders").has_value());
  }
}

BOOST_AUTO_TEST_CASE(an_indeterminate_save_throws_too) {
  live = "words";
  store.save("orders", "words"s);
  int syncs = 0;
  *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 2 ? EIO : 0; };
  BOOST_TEST(code_of([&] { auto const one = guard(); }) == errc::indeterminate);
}

BOOST_AUTO_TEST_CASE(a_live_value_that_is_too_large_moves_no_record_out_of_its_way) {
  store.save("orders", "old"s);
  auto const before = support::read(file());
  file_stash small{support::spoiled_storage{dir(), {.max_bytes = 10}, ops}, {}, clock};
  auto const guarded = [&] {
    stash::delete_guard g{small, "orders", [] { return std::string(20, 'x'); }, [](auto const&) {}};
  };
  BOOST_TEST(code_of(guarded) == errc::too_large);
  BOOST_TEST(support::read(file()) == before);
}

BOOST_AUTO_TEST_CASE(if_setting_aside_fails_the_constructor_throws) {
  for (bool const corrupt : {false, true}) {
    store.save("orders", "old"s);
    if (corrupt) support::write(file(), "damaged");
    auto const before = support::read(file());
    live = "words";
    spoil("rename_noreplace", EIO);
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == support::os(EIO));
    heal();
    BOOST_TEST(support::read(file()) == before);
  }
}

BOOST_AUTO_TEST_CASE(a_full_disk_while_adopting_throws_and_keeps_the_record) {
  store.save("orders", "words"s);
  for (bool const best_effort : {false, true}) {
    spoil("writev", ENOSPC);
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = best_effort}); }) == support::os(ENOSPC));
    heal();
    BOOST_TEST((stashed() == "words"));
  }
}

BOOST_AUTO_TEST_CASE(best_effort_tells_of_a_failed_save_and_restores_on_an_exception_all_the_same) {
  live = "words";
  for (char const* const call : {"writev", "rename", "mkdir"}) {
    log = {};
    restored.clear();
    fs::remove_all(dir());
    spoil(call, ENOSPC);
    {
      auto g = guard({.best_effort = true});
      BOOST_TEST((g.origin() == origin::live && *g.value() == "words"));
    }
    heal();
    BOOST_TEST(log.kinds == "save_failed restored", call);
    BOOST_TEST((restored == std::vector{"words"s}));
    BOOST_TEST(log.lines.front().find("No space left") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(best_effort_goes_on_in_an_unsafe_directory_and_where_nothing_can_be_written) {
  live = "words";
  fs::create_directory(dir());
  support::set_mode(dir(), 0777);
  {
    auto g = guard({.best_effort = true});
    g.commit();
  }
  BOOST_TEST(log.kinds == "save_failed committed");
  BOOST_TEST(names(dir()).empty());
  support::set_mode(dir(), 0700);
  for (int const error : {EROFS, EACCES, ENOSPC, EDQUOT}) {
    spoil("open_lock", error);
    auto g = guard({.best_effort = true});
    g.release();
    heal();
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == boost::system::error_code());
  }
}

BOOST_AUTO_TEST_CASE(best_effort_never_forgives_a_busy_key_or_a_lock_that_cannot_be_judged) {
  live = "words";
  {
    auto const other = store.storage().try_lock("orders");
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == errc::busy);
  }
  for (int const error : {EMFILE, ENFILE, ENOLCK, EIO}) {
    spoil("open_lock", error);
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(error));
    spoil("lock_byte", error);
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(error));
    heal();
  }
  BOOST_TEST(restored.empty());
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

BOOST_AUTO_TEST_CASE(best_effort_never_forgives_a_storage_that_says_busy_though_its_lock_is_held) {
  struct busy_storage : stash::memory_storage {
    void put(stash::key const& k, stash::record const&) { throw stash::error{errc::busy, "put", k.string()}; }
  };
  stash::basic_stash<busy_storage> busy;
  BOOST_TEST(code_of([&] {
               stash::delete_guard const g{
                   busy, "orders", [] { return text("words"); }, [](std::string const&) {}, {.best_effort = true}};
             }) == errc::busy);
}

BOOST_AUTO_TEST_CASE(best_effort_does_not_forgive_an_unreadable_record_without_a_live_value) {
  store.save("orders", "words"s);
  spoil("read", EIO);
  BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(EIO));
  spoil("open_lock", EROFS);  // no lock can be made, and a record is there
  BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(EROFS));
  heal();
  BOOST_TEST((stashed() == "words"));
}

BOOST_AUTO_TEST_CASE(best_effort_leaves_a_record_that_it_could_not_read_or_keep_where_it_is) {
  live = "words";
  for (char const* const call : {"read", "rename_noreplace"}) {
    store.save("orders", "other words"s);
    spoil(call, EIO);
    {
      auto g = guard({.best_effort = true});
      g.commit();
    }
    heal();
    BOOST_TEST((stashed() == "other words"), call);
    spoil(call, EIO);
    { auto g = guard({.best_effort = true, .clear_after_restore = true}); }
    heal();
    BOOST_TEST((stashed() == "other words"), call);
  }
}

BOOST_AUTO_TEST_CASE(without_best_effort_live_is_not_asked_where_no_lock_can_be_made) {
  fs::create_directory(dir());
  support::set_mode(dir(), 0777);
  bool asked = false;
  auto const live_that_notes = [&] { return asked = true; };
  auto const construct = [&] { stash::delete_guard g{store, "orders", live_that_notes, [](bool) {}, options()}; };
  BOOST_TEST(code_of(construct) == errc::unsafe_directory);
  BOOST_TEST(!asked);
  BOOST_TEST(log.kinds == "");
}

BOOST_AUTO_TEST_CASE(best_effort_without_a_lock_goes_on_only_with_a_live_value) {
  // Another job may be between its drop and its load: without a lock "not live" and "no record" prove nothing.
  for (int const error : {EACCES, EROFS}) {
    spoil("mkdir", error);
    BOOST_TEST(code_of([&] { auto const one = guard({.best_effort = true}); }) == support::os(error));
  }
}

BOOST_AUTO_TEST_CASE(after_a_failed_save_of_what_stood_there_already_a_commit_still_removes_it) {
  store.save("orders", "words"s);
  live = "words";
  spoil("writev", ENOSPC);
  {
    auto g = guard({.best_effort = true});
    g.commit();
  }
  heal();
  BOOST_TEST(!stashed());
}

// Leaving the scope

BOOST_AUTO_TEST_CASE(without_commit_restore_is_called_once_on_normal_exit_and_while_unwinding) {
  live = "words";
  { auto g = guard(); }
  BOOST_TEST((restored == std::vector{"words"s}));
  BOOST_TEST(log.kinds == "saved restored");
  try {
    auto g = guard();
    live.reset();
    throw std::runtime_error("the job");
  } catch (std::runtime_error const& e) {
    BOOST_TEST(e.what() == "the job"s);
  }
  BOOST_TEST(restored.size() == 2U);
  BOOST_TEST((live == "words"));
}

BOOST_AUTO_TEST_CASE(after_a_restore_the_record_stays_unless_it_is_asked_to_go) {
  live = "words";
  { auto g = guard(); }
  BOOST_TEST((stashed() == "words"));
  { auto g = guard({.clear_after_restore = true}); }
  BOOST_TEST(!stashed());
}

BOOST_AUTO_TEST_CASE(if_the_clear_after_a_restore_fails_that_is_told_and_nothing_is_thrown) {
  live = "words";
  {
    auto g = guard({.clear_after_restore = true});
    spoil("unlink", EIO);
    g.rollback();
  }
  heal();
  BOOST_TEST(log.kinds == "saved restored clear_failed");
  BOOST_TEST((stashed() == "words"));
}

BOOST_AUTO_TEST_CASE(a_restore_that_throws_busy_though_the_lock_is_held_keeps_the_record_too) {
  live = "words";
  in_restore = [] { throw stash::error{errc::busy, "catalog"}; };
  { auto g = guard({.clear_after_restore = true}); }
  BOOST_TEST(log.kinds == "saved restore_failed");
  BOOST_TEST(log.lines.back().find(file().native()) != std::string::npos);
  BOOST_TEST((stashed() == "words"));
  BOOST_TEST(aside() == 0U);
}

BOOST_AUTO_TEST_CASE(a_restore_that_throws_ends_nothing_keeps_the_record_and_is_told) {
  live = "words";
  for (bool const unwinding : {false, true}) {
    for (int const what : {0, 1}) {
      log = {};
      in_restore = [what] {
        if (what == 0) throw std::runtime_error("catalog down");
        throw 42;  // not a std::exception
      };
      try {
        auto g = guard({.clear_after_restore = true});
        if (unwinding) throw std::logic_error("the job");
      } catch (std::logic_error const&) {
      }
      BOOST_TEST(log.kinds == "saved restore_failed");
      BOOST_TEST(log.lines.back().find(what == 0 ? "catalog down" : "not a std::exception") != std::string::npos);
      BOOST_TEST(log.lines.back().find(file().native()) != std::string::npos);
      BOOST_TEST((stashed() == "words"));
    }
  }
  BOOST_TEST(restored.empty());
}

BOOST_AUTO_TEST_CASE(an_explicit_rollback_that_throws_keeps_the_record_and_is_not_tried_again) {
  live = "words";
  int calls = 0;
  in_restore = [&] {
    ++calls;
    throw std::runtime_error("catalog down");
  };
  {
    auto g = guard();
    BOOST_CHECK_THROW(g.rollback(), std::runtime_error);
    g.rollback();
    g.commit();  // it is over: this destroys nothing
  }
  BOOST_TEST(calls == 1);
  BOOST_TEST((stashed() == "words"));
}

BOOST_AUTO_TEST_CASE(a_commit_removes_the_record_and_restores_nothing_and_the_value_stays_valid) {
  live = "words";
  {
    auto g = guard();
    g.commit();
    BOOST_TEST(*g.value() == "words");
    g.commit();
    g.rollback();
    g.release();
  }
  BOOST_TEST(!stashed());
  BOOST_TEST(restored.empty());
  BOOST_TEST(log.kinds == "saved committed");
}

BOOST_AUTO_TEST_CASE(a_commit_that_cannot_clear_throws_and_still_restores_nothing) {
  live = "words";
  {
    auto g = guard();
    spoil("unlink", EIO);
    BOOST_TEST(code_of([&] { g.commit(); }) == support::os(EIO));
    heal();
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST(log.kinds == "saved clear_failed");
  BOOST_TEST((stashed() == "words"));
}

BOOST_AUTO_TEST_CASE(a_commit_syncs_the_directory_even_where_there_was_no_record) {
  int syncs = 0;  // first, for the end of the guard makes calls, too
  auto g = guard();
  *ops.before = [&](std::string_view call) { return syncs += call == "fsync", 0; };
  g.commit();
  BOOST_TEST(syncs == 1);
}

BOOST_AUTO_TEST_CASE(a_release_leaves_the_record_for_a_later_run) {
  live = "words";
  {
    auto g = guard();
    g.release();
    g.commit();
  }
  BOOST_TEST(restored.empty());
  BOOST_TEST((stashed() == "words"));
  BOOST_TEST(log.kinds == "saved released");
}

BOOST_AUTO_TEST_CASE(a_release_after_a_failed_save_tells_again_that_there_is_none) {
  live = "words";
  spoil("writev", ENOSPC);
  auto g = guard({.best_effort = true});
  g.release();
  BOOST_TEST(log.kinds == "save_failed save_failed");
}

BOOST_AUTO_TEST_CASE(what_the_observer_throws_is_dropped) {
  live = "words";
  int told = 0;
  {
    stash::delete_guard g{store,
                          "orders",
                          [&] { return live; },
                          [&](std::string const& s) { restored.push_back(s); },
                          {.observer = [&](stash::event const&) {
                            ++told;
                            throw 1;
                          }}};
  }
  BOOST_TEST(told == 2);
  BOOST_TEST((restored == std::vector{"words"s}));
}

BOOST_AUTO_TEST_CASE(a_guard_holds_its_key_for_its_whole_life_and_others_go_on) {
  live = "words";
  {
    auto outer = guard();
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == errc::busy);
    outer.commit();
    BOOST_TEST(code_of([&] { auto const one = guard(); }) == errc::busy);
  }
  std::string order;
  {
    stash::delete_guard a{store, "a", [] { return "a"s; }, [&](std::string const& s) { order += s; }};
    stash::delete_guard b{store, "b", [] { return "b"s; }, [&](std::string const& s) { order += s; }};
  }
  BOOST_TEST(order == "ba");
}

BOOST_AUTO_TEST_CASE(a_guard_works_inside_anothers_restore_and_restore_may_read_the_stash) {
  live = "words";
  bool inner_done = false;
  in_restore = [&] {
    BOOST_TEST((store.load<std::string>("orders") == "words"));
    BOOST_TEST(store.age("orders").has_value());
    BOOST_TEST(store.entries().size() == 1U);
    stash::delete_guard inner{store, "inner", [] { return "x"s; }, [&](std::string const&) { inner_done = true; }};
  };
  { auto g = guard(); }
  BOOST_TEST(inner_done);
  BOOST_TEST((restored == std::vector{"words"s}));
}

BOOST_AUTO_TEST_CASE(half_a_restore_can_be_run_again_by_the_next_guard) {
  live = "words";
  in_restore = [&] {
    live.reset();
    throw std::runtime_error("half way");
  };
  { auto g = guard(); }
  in_restore = [] {};
  { auto g = guard(); }
  BOOST_TEST((restored == std::vector{"words"s}));
  BOOST_TEST((live == "words"));
}

BOOST_AUTO_TEST_CASE(a_process_that_ends_without_its_destructors_leaves_an_orphan_that_is_adopted) {
  for (int const how : {0, 1, 2, 3}) {
    fs::remove_all(dir());
    int const status = support::in_child([&] {
      live = "words";
      static std::jmp_buf out;
      if (how == 3 && setjmp(out) != 0) return 0;
      alignas(8) auto* const g = new auto(guard());  // never deleted, as where the scope is jumped out of
      static_cast<void>(g);
      if (how == 0) ::_exit(0);
      if (how == 1) std::signal(SIGABRT, SIG_DFL), ::abort();
      if (how == 2) ::raise(SIGKILL);
      std::longjmp(out, 1);
    });
    BOOST_TEST((how == 1 ? status == 256 + SIGABRT : how == 2 ? status == 256 + SIGKILL : status == 0), status);
    live.reset();
    log = {};
    auto g = guard();
    BOOST_TEST((g.origin() == origin::adopted && *g.value() == "words"));
    g.release();
  }
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
