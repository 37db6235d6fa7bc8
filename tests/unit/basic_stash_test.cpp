#include <boost/describe.hpp>
#include <map>
#include <utility>

#include "basic_stash_fixture.hpp"
#include "support.hpp"

namespace basic_stash_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::record_state;
using stash::time_point;
using support::code_of;
using support::names;
namespace fs = boost::filesystem;
namespace json = boost::json;

namespace user {
struct note {
  std::string text;
  int priority = 0;
  friend bool operator==(note const&, note const&) = default;
};
BOOST_DESCRIBE_STRUCT(note, (), (text, priority))

/// Its conversion knows better what is wrong.
struct picky {};
inline void tag_invoke(json::value_from_tag, json::value&, picky const&) {
  throw stash::error{errc::unserializable, "convert", "its own subject", "its own words"};
}
inline picky tag_invoke(json::value_to_tag<picky>, json::value const&) { return {}; }

/// Its begin and its end are no iterators.
struct interval {
  int from = 0, to = 0;
  int begin() const { return from; }
  int end() const { return to; }
  friend bool operator==(interval const&, interval const&) = default;
};
inline void tag_invoke(json::value_from_tag, json::value& v, interval const& i) { v = {i.from, i.to}; }
inline interval tag_invoke(json::value_to_tag<interval>, json::value const& v) {
  return {json::value_to<int>(v.at(0)), json::value_to<int>(v.at(1))};
}

/// Its begin and its end are not its members.
struct renamed {
  std::map<std::string, int> values;
  friend auto begin(renamed const& r) { return r.values.begin(); }
  friend auto end(renamed const& r) { return r.values.end(); }
};
}  // namespace user

BOOST_FIXTURE_TEST_SUITE(basic_stash, fixture)

// The original's tests, by their names

BOOST_AUTO_TEST_CASE(round_trip) {
  store.save("resource", dictionary);
  BOOST_TEST((store.load("resource") == dictionary));
}

BOOST_AUTO_TEST_CASE(a_value_with_a_begin_and_an_end_that_is_no_range) {
  store.save("k", user::interval{1, 2});
  BOOST_TEST((store.load<user::interval>("k") == user::interval{1, 2}));
}

BOOST_AUTO_TEST_CASE(missing_stash) {
  BOOST_TEST(!store.load("resource"));
  BOOST_TEST((store.look_up("resource").state == record_state::absent));
}

BOOST_AUTO_TEST_CASE(clear_is_idempotent) {
  store.save("resource", dictionary);
  BOOST_TEST(store.clear("resource"));
  BOOST_TEST(!store.clear("resource"));
  BOOST_TEST(!store.load("resource"));
}

BOOST_AUTO_TEST_CASE(corrupt_json_counts_as_absent) {
  store.save("resource", dictionary);
  for (auto const& bytes : {"{not json"s, ""s, "{}"s}) {
    support::write(store.storage().path("resource"), bytes);
    BOOST_TEST(!store.load("resource"));
    BOOST_TEST(!store.age("resource"));
    auto const looked = store.look_up("resource");
    BOOST_TEST((looked.state == record_state::corrupt && !looked.value && !looked.saved_at && !looked.age));
    BOOST_TEST(support::read(store.storage().path("resource")) == bytes);  // a reader changes nothing
  }
  BOOST_TEST(store.clear("resource"));
}

BOOST_AUTO_TEST_CASE(save_is_an_atomic_replace) {
  store.save("resource", 1);
  struct stat before, after;
  auto const file = store.storage().path("resource");
  ::stat(file.c_str(), &before);
  fs::create_hard_link(file, root / "old");
  store.save("resource", 2);
  ::stat(file.c_str(), &after);
  BOOST_TEST(before.st_ino != after.st_ino);
  BOOST_TEST(support::read(root / "old").ends_with("\n1\n"));
  BOOST_TEST((store.load<int>("resource") == 2));
}

BOOST_AUTO_TEST_CASE(a_failed_replace_leaves_the_old_stash_and_no_temporary) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  spoiled.save("resource", 1);
  *ops.before = [](std::string_view call) { return call == "rename" ? EIO : 0; };
  BOOST_TEST(code_of([&] { spoiled.save("resource", 2); }) == support::os(EIO));
  BOOST_TEST((spoiled.load<int>("resource") == 1));
  BOOST_TEST((names(dir()) == std::vector{".lock"s, "resource.stash"s}));
}

BOOST_AUTO_TEST_CASE(traversal_in_the_key_is_refused) {
  for (char const* const bad : {"../resource", "..", "/etc/passwd", "a/../../b"}) {
    BOOST_TEST(code_of([&] { store.save(bad, dictionary); }) == errc::invalid_key);
    BOOST_TEST(code_of([&] { store.load(bad); }) == errc::invalid_key);
    BOOST_TEST(code_of([&] { store.clear(bad); }) == errc::invalid_key);
  }
  BOOST_TEST(names(root).empty());
}

BOOST_AUTO_TEST_CASE(the_directory_is_made_on_save_only) {
  BOOST_TEST(!fs::exists(dir()));
  store.save("resource", dictionary);
  BOOST_TEST(fs::exists(dir()));
}

BOOST_AUTO_TEST_CASE(load_and_clear_never_make_it) {
  store.load("resource");
  store.clear("resource");
  store.age("resource");
  store.entries();
  BOOST_TEST(names(root).empty());
}

// Values

BOOST_AUTO_TEST_CASE(an_error_that_names_its_subject_already_comes_through_as_it_is) {
  BOOST_TEST(support::message_of([&] {
               store.save("k", user::picky{});
             }).starts_with("convert \"its own subject\": its own words"));
}

BOOST_AUTO_TEST_CASE(numbers_that_nobody_has_given_out_have_a_text_too) {
  BOOST_TEST(stash::make_error_code(static_cast<errc>(99)).message() == "unknown stash error");
  BOOST_TEST(to_string(static_cast<stash::event_kind>(99)) == "unknown");
}

BOOST_AUTO_TEST_CASE(any_type_the_serializer_knows_is_saved_and_null_is_a_value) {
  store.save("n", user::note{"remember", 3});
  BOOST_TEST((store.load<user::note>("n") == user::note{"remember", 3}));
  store.save("z", json::value(nullptr));
  BOOST_TEST((store.look_up("z").value == json::value(nullptr)));
  store.save("i", {{"label", "braces"}});
  BOOST_TEST((store.load("i")->at("label") == "braces"));
}

BOOST_AUTO_TEST_CASE(a_record_of_another_type_is_a_mismatch_that_names_the_key) {
  store.save("k", "text"s);
  BOOST_TEST(code_of([&] { store.load<user::note>("k"); }) == errc::mismatch);
  BOOST_TEST(support::message_of([&] { store.load<json::object>("k"); }) ==
             "load \"k\": not an object, at " + store.storage().path("k").native() +
                 ": mismatch: something is not as it must be [stash:4]");
  BOOST_TEST((store.load<std::string>("k") == "text"));
  BOOST_TEST(store.age("k").has_value());
}

BOOST_AUTO_TEST_CASE(what_cannot_be_serialized_or_is_too_large_is_refused_before_anything_is_written) {
  BOOST_TEST(code_of([&] { store.save("k", json::value(1e308 * 10)); }) == errc::unserializable);
  BOOST_TEST(names(root).empty());
  stash::file_stash small{dir(), stash::file_options{.max_bytes = 5}};
  small.save("k", "abc"s);
  BOOST_TEST(code_of([&] { small.save("k", "abcd"s); }) == errc::too_large);
  BOOST_TEST((small.load<std::string>("k") == "abc"));
}

struct half_serializer {
  using value_type = int;
  std::string serialize(int const& i) const {
    if (i < 0) throw std::logic_error("midway");
    return std::to_string(i);
  }
  template <class T>
  T deserialize(std::string_view s) const {
    return std::stoi(std::string(s));
  }
};

BOOST_AUTO_TEST_CASE(a_serializer_that_throws_midway_leaves_the_old_record) {
  stash::basic_stash<stash::atomic_file_storage, half_serializer> s{stash::atomic_file_storage{dir()}};
  s.save("k", 1);
  BOOST_CHECK_THROW(s.save("k", -1), std::logic_error);
  BOOST_TEST((s.load("k") == 1));
  BOOST_TEST(names(dir()).size() == 2U);
}

// Age

BOOST_AUTO_TEST_CASE(in_memory_whatever_key_can_be_saved_can_be_set_aside) {
  stash::memory_stash s;
  std::string const capitals(200, 'A');  // as a file's name they would be three times as long
  s.save(capitals, json::value(1));
  s.storage().set_aside(capitals, "superseded");
  BOOST_TEST(s.set_aside_entries().at(0).key == capitals);
}

BOOST_AUTO_TEST_CASE(age_is_the_time_since_the_save_by_the_stashs_own_clock) {
  store.save("k", 1);
  BOOST_TEST((store.age("k") == 0us));
  clock.advance(93s);
  BOOST_TEST((store.age("k") == 93s));
  auto const looked = store.look_up<int>("k");
  BOOST_TEST((looked.saved_at == time_point{1000s} && looked.age == 93s && looked.value == 1));
  fs::last_write_time(store.storage().path("k"), 0);  // the file's own time means nothing
  BOOST_TEST((store.age("k") == 93s));
}

BOOST_AUTO_TEST_CASE(text_that_somebody_else_owns_is_saved_as_a_string) {
  auto const saved = [&] { return store.load<std::string>("k").value(); };
  std::string_view const view = "a view";
  char const* const pointer = "a pointer";
  store.save("k", "a literal");
  BOOST_TEST(saved() == "a literal");
  store.save("k", view);
  BOOST_TEST(saved() == "a view");
  store.save("k", pointer);
  BOOST_TEST(saved() == "a pointer");
  store.save("k", json::string_view("a view of Boost's"));
  BOOST_TEST(saved() == "a view of Boost's");
  struct {
    char code[4];
    char next[8];
  } const row{{'A', 'B', 'C', 'D'}, "members"};
  store.save("k", row.code);  // which has no NUL
  BOOST_TEST(saved() == "ABCD");
  char buffer[16] = "in a buffer";
  store.save("k", buffer);
  BOOST_TEST(saved() == "in a buffer");
  BOOST_TEST(code_of([&] { store.save("k", "a\0b"); }) == errc::unserializable);
  store.save_all(std::map<std::string, std::string_view>{{"k", "of a map"}});
  BOOST_TEST(saved() == "of a map");
  BOOST_TEST(code_of([&] { store.save("k", static_cast<char const*>(nullptr)); }) == errc::unserializable);
  BOOST_TEST(saved() == "of a map");
  store.save<json::value>("k", "a value");  // as before: the T that is named
  BOOST_TEST(store.load("k").value() == json::value("a value"));
}

BOOST_AUTO_TEST_CASE(entries_states_origins_and_kinds_of_events_are_printed_the_same_on_any_stream) {
  using stash::origin, stash::record_state;
  stash::entry const e{"orders", record_state::intact, time_point{1s}, 42, "/srv/orders.stash"};
  BOOST_TEST(support::printed_on_a_bent_stream(e) ==
             "\"orders\": intact, 42 bytes, saved 1970-01-01T00:00:01.000000Z, at /srv/orders.stash");
  BOOST_TEST(support::printed_on_a_bent_stream(stash::entry{"a\"b", record_state::corrupt, {}, 1000, {}}) ==
             "\"a\\\"b\": corrupt, 1000 bytes");
  std::string all;
  for (auto const s : {record_state::absent, record_state::intact, record_state::corrupt, record_state(9)}) {
    all += support::printed_on_a_bent_stream(s) + ' ';
  }
  for (auto const o : {origin::live, origin::adopted, origin::none, origin(9)}) {
    all += support::printed_on_a_bent_stream(o) + ' ';
  }
  for (auto const kind : {stash::event_kind::saved, stash::event_kind::released, stash::event_kind(99)}) {
    all += support::printed_on_a_bent_stream(kind) + ' ';
  }
  BOOST_TEST(all == "absent intact corrupt unknown live adopted none unknown saved released unknown ");
}

BOOST_AUTO_TEST_CASE(a_clock_that_jumps_makes_no_age_negative_and_destroys_nothing) {
  for (auto const saved : {time_point{0s}, time_point{-1s}, time_point::min(), time_point::max(), time_point{1000s}}) {
    clock.set(saved);
    store.save("k", 1);
    BOOST_TEST((store.look_up<int>("k").saved_at == saved));
    for (auto const now : {time_point{0s}, time_point::min(), time_point::max(), time_point{999s}}) {
      clock.set(now);
      BOOST_TEST(store.age("k")->count() >= 0);
      BOOST_TEST((store.load<int>("k") == 1));
    }
  }
  clock.set(time_point::min());
  store.save("k", 1);
  clock.set(time_point::max());
  BOOST_TEST((store.age("k") == std::chrono::microseconds::max()));
}

struct broken_clock {
  stash::time_point now() const { throw std::runtime_error("no time"); }
};

BOOST_AUTO_TEST_CASE(a_clock_that_throws_keeps_a_save_from_happening_and_nothing_else) {
  stash::basic_stash<stash::atomic_file_storage, stash::json_serializer, broken_clock> s{
      stash::atomic_file_storage{dir()}};
  store.save("k", 1);
  BOOST_CHECK_THROW(s.save("k", 2), std::runtime_error);
  BOOST_TEST((store.load<int>("k") == 1));
  BOOST_TEST(s.storage().try_lock("k").has_value());
}

struct seconds_clock {
  std::chrono::sys_seconds now() const { return std::chrono::sys_seconds{5s}; }
};

BOOST_AUTO_TEST_CASE(a_clock_of_any_resolution_will_do) {
  stash::basic_stash<stash::memory_storage, stash::json_serializer, seconds_clock> s;
  s.save("k", 1);
  BOOST_TEST((s.look_up<int>("k").saved_at == time_point{5s}));
}

// Many at once

BOOST_AUTO_TEST_CASE(many_are_saved_at_once_in_place_of_what_was_there) {
  store.save("a", json::value("old"));
  store.save_all(std::map<std::string, json::value>{{"a", "of a"}, {"b", nullptr}});
  store.save_all(std::vector<std::pair<stash::key, user::note>>{{"c", {"a note", 3}}});
  store.save_all(std::map<std::string, json::value>{});
  BOOST_TEST((store.load("a") == json::value("of a") && store.load("b") == json::value(nullptr)));
  BOOST_TEST((store.load<user::note>("c") == user::note{"a note", 3}));
  BOOST_TEST((store.age("a") == store.age("b") && store.age("a") == 0us));
  BOOST_TEST(store.entries().size() == 3U);
  store.save_all(user::renamed{{{"d", 4}}});
  BOOST_TEST((store.load<int>("d") == 4));
}

BOOST_AUTO_TEST_CASE(where_the_storage_puts_one_by_one_many_are_saved_too) {
  stash::memory_stash s;
  s.save_all(std::map<std::string, json::value>{{"a", 1}, {"b", 2}});
  BOOST_TEST((s.load<int>("a") == 1 && s.load<int>("b") == 2));
}

BOOST_AUTO_TEST_CASE(more_than_may_be_open_at_once_are_saved_too) {
  std::map<std::string, json::value> all;
  for (int i = 0; i < 300; ++i) all.emplace("key " + std::to_string(i), i);
  store.save_all(all);
  BOOST_TEST(store.entries().size() == all.size());
  for (auto const& [k, value] : all) BOOST_TEST((store.load(k) == value));
}

BOOST_AUTO_TEST_CASE(of_many_none_is_written_where_one_cannot_be) {
  using pairs = std::vector<std::pair<std::string, json::value>>;
  store.save("a", json::value("old"));
  auto const refused = [&](pairs const& all) { return code_of([&] { store.save_all(all); }); };
  BOOST_TEST(refused({{"a", 1}, {"b", 2}, {"a", 3}}) == support::os(EINVAL));
  BOOST_TEST(refused({{"a", 1}, {"..", 2}}) == errc::invalid_key);
  json::value deep = 1;
  for (int i = 0; i < 600; ++i) deep = json::array{deep};
  BOOST_TEST(refused({{"a", 1}, {"b", deep}}) == errc::unserializable);
  {
    auto const taken = store.storage().try_lock("b");
    BOOST_TEST(refused({{"a", 1}, {"b", 2}}) == errc::busy);
  }
  stash::file_stash small{dir(), stash::file_options{.max_bytes = 10}};
  BOOST_TEST(code_of([&] { small.save_all(pairs{{"a", 1}, {"b", "twelve bytes or more"}}); }) == errc::too_large);
  struct one_by_one : stash::atomic_file_storage {
    using stash::atomic_file_storage::atomic_file_storage;
    void put_all() = delete;  // hides that of the files, which looks at all before it writes
  };
  stash::basic_stash<one_by_one> slow{dir(), stash::file_options{.max_bytes = 10}};
  BOOST_TEST(code_of([&] { slow.save_all(pairs{{"a", 1}, {"b", "twelve bytes or more"}}); }) == errc::too_large);
  BOOST_TEST((store.load("a") == json::value("old") && !store.load("b")));
  BOOST_TEST((store.storage().try_lock("a") && store.storage().try_lock("b")));
}

BOOST_AUTO_TEST_CASE(where_a_save_of_many_breaks_off_each_key_has_its_old_or_its_new_value) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> spoiled{dir(), stash::file_options{}, ops};
  std::map<std::string, json::value> const old{{"a", "old a"}, {"b", "old b"}}, fresh{{"a", "new a"}, {"b", "new b"}};
  for (int n = 1;; ++n) {
    spoiled.save_all(old);
    int left = n;
    *ops.before = [&](std::string_view) { return --left == 0 ? EIO : 0; };
    auto const result = code_of([&] { spoiled.save_all(fresh); });
    *ops.before = [](std::string_view) { return 0; };
    for (auto const& [k, value] : fresh) {
      BOOST_TEST((store.load(k) == value || (result && store.load(k) == old.at(k))), k << ", call " << n);
    }
    BOOST_TEST(spoiled.storage().temporaries().empty());
    if (left > 0) break;
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace basic_stash_test
