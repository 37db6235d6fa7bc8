// The whole public API, as far as a compiler can hold it: names, signatures, properties. Returns 0 if the
// defaults that only a running program can see are as designed.

#include <stash/fwd.hpp>

// What a header of a user may do with fwd.hpp alone.
namespace user {
void configure(stash::guard_options const&, stash::recover_options const&, stash::file_options const&);
void observe(stash::event const&, stash::event_kind, stash::origin, stash::durability);
void report(stash::recovery_report const&);
template <class Serializer, class Clock>
void use(stash::basic_stash<stash::memory_storage, Serializer, Clock>&);
template <class Stash, class T, class Restore>
void keep(stash::delete_guard<Stash, T, Restore>&);
template <class Stash, class T, class Restore>
void keep(stash::delete_guards<Stash, T, Restore>&);
void report(stash::rollback_report const&);
template <class Stash, class Place>
void keep(stash::replace_guard<Stash, Place>&);
void keep(stash::basic_tree<stash::posix_file_ops>&, stash::tree_options const&);
void keep(stash::sqlite_table&, stash::postgres_table&);
template <class T>
void found(stash::lookup_result<T> const&);
void keep_time(stash::manual_clock&, stash::json_serializer const&);
void keep_files(stash::basic_atomic_file_storage<stash::posix_file_ops>&);
void keep_journal(stash::basic_journal_storage<stash::posix_file_ops>&);
}  // namespace user

#include <stash/stash.hpp>

#include <boost/describe.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/parse_dictionary.hpp>
#include <stash/ckan/reload.hpp>
#include <stash/ckan/sqlite_datastore.hpp>
#include <stash/place/sqlite_table.hpp>
#include <stash/storage/journal.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>
#if __has_include(<stash/ckan/postgres_datastore.hpp>)
#include <stash/ckan/postgres_datastore.hpp>
#endif

namespace user {

using boost::json::value;
using stash::key;
using std::convertible_to, std::constructible_from, std::default_initializable, std::derived_from, std::same_as;
using micros = std::chrono::microseconds;
template <class T>
using maybe = std::optional<T>;

/// T t = {from...}, which explicit constructors refuse.
template <class T, class... From>
concept implicitly_braced = requires(void (&f)(T), From&&... from) {
  f({std::forward<From>(from)...});
};

static_assert(same_as<key, stash::v1::key>, "the inline version namespace");
static_assert(STASH_VERSION >= 100 && sizeof(STASH_VERSION_STRING) > 5);

// ---- key ----

struct has_a_view {
  operator std::string_view() const;
};
template <class T>
concept becomes_a_key = convertible_to<T, key> && constructible_from<key, T>;
static_assert(becomes_a_key<char const*> && becomes_a_key<char*> && becomes_a_key<char const (&)[7]>);
static_assert(becomes_a_key<std::string> && becomes_a_key<std::string const&> && becomes_a_key<std::string&>);
static_assert(becomes_a_key<std::string_view> && becomes_a_key<has_a_view> && becomes_a_key<boost::json::string>);
template <class T>
concept is_no_key = !convertible_to<T, key> && !constructible_from<key, T>;
static_assert(is_no_key<std::nullptr_t> && is_no_key<int> && is_no_key<char> && is_no_key<std::vector<char>>);
static_assert(is_no_key<maybe<std::string>> && is_no_key<boost::json::value>);
static_assert(!default_initializable<key> && std::copyable<key> && std::is_nothrow_move_constructible_v<key>);
static_assert(std::totally_ordered<key> && std::three_way_comparable<key, std::strong_ordering>);
static_assert(std::is_nothrow_convertible_v<key const&, std::string_view>);
template <class K>
concept key_members = requires(K const& k, std::ostream& out, std::string_view view, std::string const& text) {
  { k.str() }
  noexcept->same_as<std::string_view>;
  { std::hash<K>{}(k) } -> same_as<std::size_t>;
  { out << k } -> same_as<std::ostream&>;
  { k == "orders" } -> same_as<bool>;
  { "orders" == k } -> same_as<bool>;
  { k != view } -> same_as<bool>;
  { k == text } -> same_as<bool>;
};
static_assert(key_members<key>);
[[maybe_unused]] std::unordered_map<key, std::map<key, int>> const keys_are_map_keys;

// ---- record, error ----

static_assert(same_as<stash::time_point, std::chrono::sys_time<micros>>);
namespace states {
using enum stash::record_state;
static_assert(absent != intact && intact != corrupt && corrupt != absent);
}  // namespace states

[[maybe_unused]] stash::record const a_record{.payload = "1", .saved_at = stash::time_point{}};
[[maybe_unused]] stash::entry const an_entry{
    .key = "k", .state = stash::record_state::intact, .saved_at = stash::time_point{}, .bytes = 1, .where = "here"};
static_assert(same_as<decltype(stash::record::payload), std::string> &&
              same_as<decltype(stash::record::saved_at), stash::time_point>);
static_assert(same_as<decltype(stash::entry::key), key> &&
              same_as<decltype(stash::entry::state), stash::record_state> &&
              same_as<decltype(stash::entry::saved_at), maybe<stash::time_point>> &&
              same_as<decltype(stash::entry::bytes), std::uint64_t> &&
              same_as<decltype(stash::entry::where), std::string>);

namespace codes {
using enum stash::errc;
constexpr stash::errc in_order[] = {invalid_key,    unsafe_directory, corrupt, mismatch,
                                    unserializable, too_large,        busy,    indeterminate};
constexpr bool count_from_one() {
  int n = 0;
  for (auto const code : in_order) {
    if (static_cast<int>(code) != ++n) return false;
  }
  return n == 8;
}
static_assert(count_from_one());
}  // namespace codes

using boost::system::error_code;
static_assert(boost::system::is_error_code_enum<stash::errc>::value &&
              !boost::system::is_error_condition_enum<stash::errc>::value);
static_assert(convertible_to<stash::errc, error_code>);
static_assert(derived_from<stash::error, boost::system::system_error> &&
              derived_from<stash::error, std::runtime_error>);
static_assert(constructible_from<stash::error, error_code, std::string> &&
              constructible_from<stash::error, stash::errc, char const*, char const*> &&
              constructible_from<stash::error, error_code, std::string, std::string, std::string>);
static_assert(!default_initializable<stash::error> && !constructible_from<stash::error, error_code>);
static_assert(std::is_nothrow_destructible_v<stash::error> && std::copy_constructible<stash::error>);
template <class E>
concept error_members = requires(E const& e) {
  { e.operation() }
  noexcept->same_as<std::string const&>;
  { e.subject() }
  noexcept->same_as<std::string const&>;
  { e.code() == stash::errc::busy } -> same_as<bool>;
  { e.what() }
  noexcept->same_as<char const*>;
};
static_assert(error_members<stash::error>);

// ---- the three policies ----

static_assert(stash::storage_policy<stash::memory_storage> && stash::storage_policy<stash::atomic_file_storage>);
static_assert(!stash::storage_policy<int> && !stash::storage_policy<stash::json_serializer>);

struct described {
  int id;
  std::string label;
};
BOOST_DESCRIBE_STRUCT(described, (), (id, label))
struct unknown {};
template <class T>
concept as_json = stash::serializer_policy<stash::json_serializer, T>;
static_assert(as_json<value> && as_json<boost::json::object> && as_json<boost::json::array> &&
              as_json<boost::json::string>);
static_assert(as_json<bool> && as_json<int> && as_json<double> && as_json<std::string> && as_json<std::vector<int>> &&
              as_json<std::map<std::string, int>> && as_json<described> && as_json<std::vector<described>>);
static_assert(!as_json<unknown> && !as_json<int*> && !as_json<value const*> && !as_json<std::unique_ptr<int>>);
static_assert(same_as<stash::json_serializer::value_type, value> && default_initializable<stash::json_serializer>);

struct text_serializer {
  using value_type = std::string;
  std::string serialize(std::string const& v) const { return v; }
  template <same_as<std::string> T>
  T deserialize(std::string_view bytes) const {
    return T(bytes);
  }
};
static_assert(stash::serializer_policy<text_serializer, std::string> &&
              !stash::serializer_policy<text_serializer, int>);

template <class TimePoint>
struct clock_of {
  TimePoint now() const;
};
template <class TimePoint>
concept tells_time = stash::clock_policy<clock_of<TimePoint>>;
static_assert(stash::clock_policy<std::chrono::system_clock> && stash::clock_policy<stash::manual_clock>);
static_assert(tells_time<std::chrono::sys_seconds> && tells_time<std::chrono::sys_time<std::chrono::nanoseconds>>);
static_assert(!stash::clock_policy<std::chrono::steady_clock> && !tells_time<std::chrono::local_seconds> &&
              !tells_time<micros>);

static_assert(default_initializable<stash::manual_clock> && std::copyable<stash::manual_clock>);
template <class C>
concept manual_clock_members = requires(C& c, C const& cc, stash::time_point t) {
  { cc.now() } -> same_as<stash::time_point>;
  { c.set(t) } -> same_as<void>;
  { c.set(std::chrono::sys_days{}) } -> same_as<void>;
  { c.advance(micros{1}) } -> same_as<void>;
  { c.advance(std::chrono::hours{1}) } -> same_as<void>;
};
static_assert(manual_clock_members<stash::manual_clock>);

// ---- storages ----

namespace fs = boost::filesystem;
static_assert(stash::durability::power_loss != stash::durability::process_crash);
static_assert(stash::file_options{}.durability == stash::durability::power_loss);
static_assert(stash::file_options{}.max_bytes == std::uint64_t{64} << 20);
static_assert(stash::file_options{.durability = stash::durability::process_crash}.max_bytes == 64U << 20);
static_assert(stash::file_options{.max_bytes = 1}.durability == stash::durability::power_loss);
static_assert(stash::file_options{.durability = stash::durability::process_crash, .max_bytes = 1}.max_bytes == 1);
static_assert(same_as<decltype(stash::file_options::max_bytes), std::uint64_t>);
static_assert(same_as<decltype(stash::default_directory()), fs::path>);

using files = stash::atomic_file_storage;
static_assert(same_as<files, stash::basic_atomic_file_storage<>> &&
              same_as<files, stash::basic_atomic_file_storage<stash::posix_file_ops>>);
static_assert(default_initializable<files> && constructible_from<files, char const*> &&
              constructible_from<files, std::string>);
static_assert(constructible_from<files, fs::path, stash::file_options> &&
              constructible_from<files, fs::path, stash::file_options, stash::posix_file_ops>);
static_assert(!convertible_to<fs::path, files> && !convertible_to<char const*, files> &&
              !implicitly_braced<files, fs::path>);
template <class S>
concept has_path = requires(S const& s, key const& k) {
  { s.path(k) } -> same_as<fs::path>;
  { s.path("orders") } -> same_as<fs::path>;
};
template <class S>
concept has_where = requires(S const& s, key const& k) {
  { s.where(k) } -> same_as<std::string>;
};
static_assert(has_path<files> && has_where<files>);
static_assert(default_initializable<stash::memory_storage> && std::movable<stash::memory_storage>);

using journal = stash::journal_storage;
static_assert(stash::storage_policy<journal> && same_as<journal, stash::basic_journal_storage<stash::posix_file_ops>>);
static_assert(stash::journal_options{}.durability == stash::durability::power_loss);
static_assert(stash::journal_options{}.max_bytes == std::uint64_t{64} << 20);
static_assert(default_initializable<journal> && constructible_from<journal, char const*> &&
              constructible_from<journal, fs::path, stash::journal_options> && has_where<journal>);
static_assert(constructible_from<stash::basic_stash<journal>, char const*, stash::journal_options>);

struct other_file_ops : stash::posix_file_ops {};
static_assert(stash::storage_policy<stash::basic_atomic_file_storage<other_file_ops>>);

/// Has no default, as a storage that needs a connection.
struct connected_storage : stash::memory_storage {
  connected_storage(std::string const& host, int port);
};

// ---- basic_stash ----

using memory = stash::memory_stash;
using stash::basic_stash, stash::file_stash, stash::json_serializer, stash::manual_clock, stash::memory_storage;
static_assert(same_as<memory, basic_stash<memory_storage>> && same_as<file_stash, basic_stash<files>>);
static_assert(same_as<memory, basic_stash<memory_storage, json_serializer, std::chrono::system_clock>>);

static_assert(default_initializable<memory> && default_initializable<file_stash> && implicitly_braced<memory>);
using connected = basic_stash<connected_storage, json_serializer, manual_clock>;
static_assert(!default_initializable<connected> && !constructible_from<connected>);
static_assert(constructible_from<connected, connected_storage> &&
              constructible_from<connected, connected_storage, json_serializer> &&
              constructible_from<connected, connected_storage, json_serializer, manual_clock>);
static_assert(constructible_from<connected, char const*, int> && constructible_from<connected, std::string&, short>);
static_assert(!constructible_from<connected, char const*> && !constructible_from<connected, int> &&
              !constructible_from<memory, int>);
static_assert(constructible_from<file_stash, char const*> && constructible_from<file_stash, fs::path&> &&
              constructible_from<file_stash, std::string, stash::file_options>);
static_assert(!convertible_to<connected_storage, connected> && !implicitly_braced<connected, connected_storage> &&
              !implicitly_braced<connected, connected_storage, json_serializer> &&
              !implicitly_braced<connected, std::string, int>);
static_assert(!convertible_to<memory_storage, memory> && !convertible_to<char const*, file_stash> &&
              !implicitly_braced<file_stash, fs::path>);
static_assert(!std::copy_constructible<memory> && !constructible_from<memory, memory&> &&
              !constructible_from<memory, memory const&>);
static_assert(std::movable<memory> && std::movable<file_stash>);

static_assert(same_as<decltype(basic_stash{memory_storage{}}), memory>);
static_assert(same_as<decltype(basic_stash{files{"d"}, json_serializer{}}), file_stash>);
static_assert(same_as<decltype(basic_stash{memory_storage{}, {}, manual_clock{}}),
                      basic_stash<memory_storage, json_serializer, manual_clock>>);

template <class S, class Storage, class Clock>
concept stash_members = requires(S& s, S const& cs, key const& k, value const& v, described const& d) {
  { s.save(k, v) } -> same_as<void>;
  { s.save("orders", v) } -> same_as<void>;
  { s.save(k, {{"label", 1}}) } -> same_as<void>;  // braces make the serializer's own type
  { s.save(k, d) } -> same_as<void>;
  { s.template save<double>(k, 1) } -> same_as<void>;
  { cs.load(k) } -> same_as<maybe<value>>;
  { cs.template load<described>(k) } -> same_as<maybe<described>>;
  { cs.look_up(k) } -> same_as<stash::lookup_result<value>>;
  { cs.template look_up<described>(k) } -> same_as<stash::lookup_result<described>>;
  { s.clear(k) } -> same_as<bool>;
  { cs.age(k) } -> same_as<maybe<micros>>;
  { cs.entries() } -> same_as<std::vector<stash::entry>>;
  { cs.set_aside_entries() } -> same_as<std::vector<stash::entry>>;
  { s.purge(micros{1}) } -> same_as<std::size_t>;
  { s.purge(std::chrono::days{30}) } -> same_as<std::size_t>;
  { s.storage() }
  noexcept->same_as<Storage&>;
  { cs.storage() }
  noexcept->same_as<Storage const&>;
  { cs.clock() }
  noexcept->same_as<Clock const&>;
};
static_assert(stash_members<memory, memory_storage, std::chrono::system_clock>);
static_assert(stash_members<file_stash, files, std::chrono::system_clock>);
static_assert(stash_members<connected, connected_storage, manual_clock>);
template <class S>
concept saves_through_const = requires(S const& s, key const& k, value const& v) {
  s.save(k, v);
};
template <class S>
concept clears_through_const = requires(S const& s, key const& k) {
  s.clear(k);
};
template <class S>
concept purges_through_const = requires(S const& s) {
  s.purge(micros{1});
};
static_assert(!saves_through_const<memory> && !clears_through_const<memory> && !purges_through_const<memory>);

using looked_up = stash::lookup_result<described>;
static_assert(same_as<decltype(looked_up::state), stash::record_state> &&
              same_as<decltype(looked_up::value), maybe<described>> &&
              same_as<decltype(looked_up::saved_at), maybe<stash::time_point>> &&
              same_as<decltype(looked_up::age), maybe<micros>>);
[[maybe_unused]] stash::lookup_result<int> const a_lookup{
    .state = stash::record_state::intact, .value = 1, .saved_at = stash::time_point{}, .age = micros{1}};

// ---- events, options ----

namespace origins {
using enum stash::origin;
static_assert(live != adopted && adopted != none && none != live);
}  // namespace origins
constexpr bool all_differ(std::initializer_list<stash::event_kind> kinds) {
  for (auto a = kinds.begin(); a != kinds.end(); ++a) {
    for (auto b = kinds.begin(); b != a; ++b) {
      if (*a == *b) return false;
    }
  }
  return true;
}
namespace kinds {
using enum stash::event_kind;
static_assert(all_differ({saved, save_failed, adopted, superseded, corrupt, restored, restore_failed, committed,
                          clear_failed, released}));
}  // namespace kinds

[[maybe_unused]] stash::event const an_event{.kind = stash::event_kind::adopted,
                                             .key = "orders",
                                             .age = std::chrono::seconds{93},
                                             .where = "here",
                                             .error = nullptr};
static_assert(same_as<decltype(stash::event::kind), stash::event_kind> &&
              same_as<decltype(stash::event::key), std::string_view> &&
              same_as<decltype(stash::event::age), maybe<micros>> &&
              same_as<decltype(stash::event::where), std::string_view> &&
              same_as<decltype(stash::event::error), std::exception_ptr>);
static_assert(same_as<decltype(std::declval<std::ostream&>() << an_event), std::ostream&>);

using observer = std::function<void(stash::event const&)>;
static_assert(same_as<decltype(stash::guard_options::observer), observer> &&
              same_as<decltype(stash::recover_options::observer), observer>);
static_assert(same_as<decltype(stash::guard_options::wait_for_lock), std::chrono::milliseconds>);
[[maybe_unused]] stash::guard_options const all_guard_options{.best_effort = true,
                                                              .clear_after_restore = true,
                                                              .observer = [](stash::event const&) {},
                                                              .wait_for_lock = std::chrono::seconds{1}};
// One at a time: -Wextra must not ask for the others.
[[maybe_unused]] stash::guard_options const some_guard_options[] = {{.best_effort = true},
                                                                    {.clear_after_restore = true},
                                                                    {.observer = [](auto const&) {}},
                                                                    {.wait_for_lock = std::chrono::seconds{1}}};
[[maybe_unused]] stash::recover_options const some_recover_options[] = {
    {.clear_after_restore = false, .observer = [](auto const&) {}},
    {.clear_after_restore = false},
    {.observer = [](auto const&) {}}};

// ---- delete_guard ----

value live_value();
maybe<described> const& live_reference();
void restore_value(value const&);
void restore_described(described const&);
constexpr auto restoring = [](value const&) {};
template <class Live, class Restore>
using guard_of = decltype(stash::delete_guard{std::declval<memory&>(), "orders", std::declval<Live>(),
                                              std::declval<Restore>()});

using guard = guard_of<value (&)(), decltype(restoring)&>;
static_assert(same_as<guard, stash::delete_guard<memory, value, std::remove_const_t<decltype(restoring)>>>);
static_assert(same_as<guard_of<maybe<value> (*)(), void (&)(value const&)>,
                      stash::delete_guard<memory, value, void (*)(value const&)>>);
static_assert(
    same_as<guard_of<value const (*)(), void (*)(value)>, stash::delete_guard<memory, value, void (*)(value)>>);
static_assert(same_as<guard_of<decltype(live_reference)&, decltype(restore_described)&>,
                      stash::delete_guard<memory, described, void (*)(described const&)>>);
static_assert(same_as<guard_of<std::function<maybe<int>()>, std::function<void(int)>>,
                      stash::delete_guard<memory, int, std::function<void(int)>>>);
static_assert(!std::copy_constructible<guard> && !std::move_constructible<guard> && !std::is_copy_assignable_v<guard> &&
              !std::is_move_assignable_v<guard> && !default_initializable<guard> &&
              std::is_nothrow_destructible_v<guard>);
static_assert(constructible_from<guard, memory&, char const*, value (*)(), decltype(restoring), stash::guard_options>);
static_assert(
    !constructible_from<guard, memory&, char const*, value, decltype(restoring)> &&  // live is called, not taken
    !constructible_from<guard, memory, char const*, value (*)(), decltype(restoring)>);
template <class G, class T>
concept guard_members = requires(G& g, G const& cg) {
  { cg.value() }
  noexcept->same_as<T const*>;
  { cg.origin() }
  noexcept->same_as<stash::origin>;
  { cg.age() }
  noexcept->same_as<maybe<micros>>;
  { g.commit() } -> same_as<void>;
  { g.rollback() } -> same_as<void>;
  { g.release() }
  noexcept->same_as<void>;
};
static_assert(guard_members<guard, value>);
static_assert(guard_members<stash::delete_guard<memory, described, void (*)(described const&)>, described>);

// ---- delete_guards ----

using guards = stash::delete_guards<memory, value, void (*)(key const&, value const&)>;
static_assert(same_as<decltype(stash::delete_guards{std::declval<memory&>(), std::declval<std::vector<std::string>>(),
                                                    std::declval<maybe<value> (*)(key const&)>(),
                                                    std::declval<void (*)(key const&, value const&)>()}),
                      guards>);
static_assert(!std::copy_constructible<guards> && !std::move_constructible<guards> &&
              std::is_nothrow_destructible_v<guards>);
static_assert(requires(guards & g, guards const& cg, key const& k) {
  { cg.keys() }
  noexcept->same_as<std::vector<key> const&>;
  { cg.value(k) } -> same_as<value const*>;
  { cg.origin(k) } -> same_as<stash::origin>;
  { cg.age(k) } -> same_as<maybe<micros>>;
  { g.commit() } -> same_as<void>;
  { g.rollback() } -> same_as<stash::rollback_report>;
  { g.release() }
  noexcept->same_as<void>;
});
static_assert(requires(memory & m, std::map<std::string, value> const& all) {
  { m.save_all(all) } -> same_as<void>;
});

// ---- replace_guard, places ----

using replacing = stash::replace_guard<memory, stash::tree>;
static_assert(same_as<decltype(stash::replace_guard{std::declval<memory&>(), "k", stash::tree{"/a/b"}}), replacing> &&
              same_as<decltype(stash::replace_guard{std::declval<memory&>(), key{"k"}, stash::tree{"/a/b"},
                                                    stash::guard_options{}}),
                      replacing>);
static_assert(!std::is_copy_constructible_v<replacing> && !std::is_move_constructible_v<replacing> &&
              !std::is_copy_assignable_v<replacing> && !std::is_move_assignable_v<replacing> &&
              std::is_nothrow_destructible_v<replacing>);
template <class G>
concept replaces = requires(G& g, G const& cg) {
  { cg.value() }
  noexcept->same_as<typename G::value_type const*>;
  { cg.origin() }
  noexcept->same_as<stash::origin>;
  { cg.age() }
  noexcept->same_as<maybe<std::chrono::microseconds>>;
  { g.place() }
  noexcept->same_as<stash::tree&>;
  { g.commit() } -> same_as<void>;
  { g.rollback() } -> same_as<void>;
  { g.release() }
  noexcept->same_as<void>;
};
static_assert(replaces<replacing>);
static_assert(same_as<replacing::value_type, stash::tree::value_type> &&
              same_as<stash::tree::value_type, boost::json::object>);
static_assert(stash::place_policy<stash::tree> && stash::place_policy<stash::sqlite_table>);
static_assert(same_as<stash::tree, stash::basic_tree<stash::posix_file_ops>>);
static_assert(!std::is_convertible_v<boost::filesystem::path, stash::tree>);
static_assert(same_as<decltype(std::declval<stash::tree const&>().path()), boost::filesystem::path const&> &&
              same_as<decltype(std::declval<stash::tree const&>().parked_path()), boost::filesystem::path>);
[[maybe_unused]] stash::tree_options const some_tree_options{.sync_new = false};
[[maybe_unused]] void recovers_places(memory& store) {
  auto const place_of = [](key const&, boost::json::object const&) { return maybe<stash::tree>(); };
  static_assert(same_as<decltype(stash::recover_places(store, place_of)), stash::recovery_report>);
  static_assert(
      same_as<decltype(stash::recover_places(store, place_of, stash::recover_options{})), stash::recovery_report>);
}
static_assert(stash::event_kind::parked != stash::event_kind::put_back &&
              stash::event_kind::settled != stash::event_kind::left_behind);

// ---- recover ----

using stash::recovery_report;
static_assert(same_as<decltype(recovery_report::restored), std::size_t> &&
              same_as<decltype(recovery_report::live), std::size_t> &&
              same_as<decltype(recovery_report::busy), std::size_t> &&
              same_as<decltype(recovery_report::corrupt), std::size_t> &&
              same_as<decltype(recovery_report::failed), std::vector<std::pair<key, std::exception_ptr>>>);
[[maybe_unused]] recovery_report const a_report{.restored = 1, .live = 2, .busy = 3, .corrupt = 4, .failed = {}};

template <class Expected>
constexpr auto restoring_only =
    [](key const&, auto const& v) { static_assert(same_as<decltype(v), Expected const&>, "recover's T"); };
[[maybe_unused]] void recovers(memory& store, basic_stash<memory_storage, text_serializer>& texts) {
  auto const is_live = [](key const&) { return true; };
  auto with_options = stash::recover(store, is_live, restoring_only<value>, {.clear_after_restore = false});
  static_assert(same_as<decltype(with_options), recovery_report>);
  stash::recover(store, is_live, restoring_only<value>);
  stash::recover<described>(store, is_live, restoring_only<described>);
  stash::recover(texts, is_live, restoring_only<std::string>);
}

// ---- ckan ----

namespace ckan = stash::ckan;
static_assert(same_as<ckan::fields, std::vector<ckan::field>> && same_as<ckan::data_dictionary, boost::json::object> &&
              same_as<ckan::type_mapping, std::map<std::string, std::string, std::less<>>>);
static_assert(same_as<decltype(ckan::field::id), std::string> && same_as<decltype(ckan::field::type), std::string> &&
              same_as<decltype(ckan::field::info), maybe<boost::json::object>> &&
              same_as<decltype(ckan::field::beside), boost::json::object> &&
              same_as<decltype(ckan::field::comment), maybe<std::string>>);
[[maybe_unused]] ckan::field const some_fields[] = {
    {.id = "a", .type = "text", .info = std::nullopt},
    {.id = "a", .type = "text", .info = boost::json::object{}, .beside = {}},
    {"a", "text", {}}};

template <class Dictionary>
concept dictionary_functions = requires(ckan::fields& headers, ckan::fields const& all, Dictionary const& saved,
                                        ckan::type_mapping const& types) {
  { ckan::dictionary_of(all) } -> same_as<Dictionary>;
  { ckan::annotate(headers, saved) } -> same_as<void>;
  { ckan::annotate(headers, saved, types) } -> same_as<void>;
  { ckan::restored_fields(saved) } -> same_as<ckan::fields>;
  { ckan::restored_fields(saved, types) } -> same_as<ckan::fields>;
};
static_assert(dictionary_functions<ckan::data_dictionary>);
static_assert(same_as<decltype(ckan::parse_dictionary(std::string_view())), ckan::data_dictionary> &&
              same_as<decltype(ckan::info_text(std::declval<ckan::field const&>())), std::string> &&
              std::string_view(ckan::table_key).starts_with('_'));

[[maybe_unused]] ckan::reload_options const some_reload_options[] = {
    {.types = {{"int", "integer"}}}, {.guard = {.best_effort = true}}, {.types = {}, .guard = {}}};
[[maybe_unused]] ckan::reload_report const a_reload_report{
    .origin = stash::origin::none, .age = micros{1}, .unplaced = {"notes"}};
static_assert(same_as<decltype(ckan::reload_options::types), ckan::type_mapping> &&
              same_as<decltype(ckan::reload_options::guard), stash::guard_options>);
static_assert(same_as<decltype(ckan::reload_report::origin), stash::origin> &&
              same_as<decltype(ckan::reload_report::age), maybe<micros>> &&
              same_as<decltype(ckan::reload_report::unplaced), std::vector<std::string>>);

struct datastore {  // takes its arguments in its own way, and returns what nobody reads
  maybe<ckan::fields> describe(std::string_view) const { return std::nullopt; }
  int create(std::string_view, ckan::fields) { return 0; }
  bool finish(key const&) { return true; }
  void drop(std::string_view const&) {}
};

template <class D>
void reloads(D& d, memory& store) {
  auto report = ckan::reload(d, store, "orders", {{"id", "text", {}}}, [](ckan::fields const&) {});
  static_assert(same_as<decltype(report), ckan::reload_report>);
  ckan::reload(d, store, "orders", ckan::fields{}, [](auto const&) {}, {.types = {{"int", "integer"}}});
}
template void reloads(datastore&, memory&);
template void reloads(ckan::sqlite_datastore&, memory&);
#if __has_include(<stash/ckan/postgres_datastore.hpp>)
template void reloads(ckan::postgres_datastore&, memory&);
#endif

// ---- what is declared must also compile ----

[[maybe_unused]] void uses(memory& store, basic_stash<files, json_serializer, manual_clock>& aged) {
  store.save("orders", {{"label", 1}});
  store.save("orders", described{1, "a"});
  store.save<double>("orders", 1);
  static_cast<void>(aged.load<std::vector<int>>("orders"));
  static_cast<void>(aged.look_up("orders"));
  stash::delete_guard g{
      aged, std::string("orders"), live_value, restore_value, {.wait_for_lock = std::chrono::seconds{1}}};
  g.rollback();
  g.release();
  g.commit();
  // Neither live nor restore need be copyable or const.
  stash::delete_guard h{store, "k", [n = std::make_unique<int>(0)]() mutable { return ++*n; },
                        [n = std::make_unique<int>(0)](int const& saved) mutable { *n = saved; }};
}
value live_value() { return nullptr; }
maybe<described> const& live_reference() {
  static maybe<described> const none;
  return none;
}
void restore_value(value const&) {}
void restore_described(described const&) {}

bool defaults_hold() {
  stash::guard_options const g;
  stash::recover_options const r;
  stash::ckan::reload_options const c;
  recovery_report const report;
  return stash::tree_options{}.sync_new && !g.best_effort && !g.clear_after_restore && !g.observer &&
         g.wait_for_lock.count() == 0 &&                                             //
         r.clear_after_restore && !r.observer &&                                     //
         c.types.empty() && !c.guard.best_effort && !c.guard.clear_after_restore &&  //
         report.restored + report.live + report.busy + report.corrupt == 0 && report.failed.empty();
}

}  // namespace user

// Every member that is no template, called or not.
template class stash::basic_stash<stash::memory_storage>;
template class stash::basic_stash<stash::atomic_file_storage, stash::json_serializer, stash::manual_clock>;
template class stash::basic_atomic_file_storage<user::other_file_ops>;
template class stash::delete_guard<stash::memory_stash, boost::json::value,
                                   std::function<void(boost::json::value const&)>>;
template struct stash::lookup_result<boost::json::value>;

int main() { return user::defaults_hold() ? 0 : 1; }
