#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/filesystem/path.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <chrono>
#include <concepts>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <limits>
#include <map>
#include <optional>
#include <ostream>
#include <span>
#include <sstream>
#include <stash/basic_stash.hpp>
#include <stash/concepts.hpp>
#include <stash/delete_guard.hpp>
#include <stash/detail/storage/traits.hpp>
#include <stash/detail/text/print.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/recover.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

/// For the tests of a storage of your own, and of what uses one.
namespace stash::inline v1::testing {

/// Makes the storages that the suite tries. Below, `f` is an `F`; it is called by one thread at a time.
///
/// | expression  | effect and result                                                                             |
/// | ----------- | --------------------------------------------------------------------------------------------- |
/// | `f.fresh()` | a new, empty storage that shares nothing with earlier ones, which may still be in use         |
template <class F>
concept storage_factory = requires(F& f) {
  { f.fresh() } -> storage_policy;
};

/// The factory of a storage whose records more than one object or process can use has this too:
///
/// | expression  | effect and result                                                                             |
/// | ----------- | --------------------------------------------------------------------------------------------- |
/// | `f.again()` | another storage on the records of the last fresh one, as another process would have it; that  |
/// |             | one may be gone. Also called in forked children, which are other processes                    |
template <class F>
concept reopening_factory = storage_factory<F> && requires(F& f) {
  { f.again() } -> std::same_as<decltype(f.fresh())>;
};

/// A promise that a storage did not keep: where the promise stands, what was expected and what found.
class nonconformance : public std::runtime_error {
  using runtime_error::runtime_error;
};

/// Of a check.
enum class outcome {
  passed,   ///< the promise was kept
  skipped,  ///< the factory or the storage does not have what the check is about
  failed    ///< it was not, or something was thrown
};

/// What became of one check.
struct conformance_result {
  std::string_view check;    ///< its name, in static storage
  testing::outcome outcome;  ///< how it ended
  std::string why{};         ///< empty where it passed
};

/// What became of each check.
struct conformance_report {
  std::vector<conformance_result> results{};  ///< in the order of the checks

  /// How many ended so.
  std::size_t count(outcome o) const {
    auto const n = std::count_if(results.begin(), results.end(), [o](auto const& r) { return r.outcome == o; });
    return static_cast<std::size_t>(n);
  }
  /// Whether some checks passed and none failed.
  bool conforms() const { return count(outcome::passed) > 0 && count(outcome::failed) == 0; }

  /// A line for each that did not pass, and one that counts.
  friend std::ostream& operator<<(std::ostream& out, conformance_report const& report) {
    std::string lines;
    for (auto const& r : report.results) {
      if (r.outcome == outcome::passed) continue;
      lines += (r.outcome == outcome::failed ? "failed: " : "skipped: ") + std::string(r.check) + ": " + r.why + '\n';
    }
    lines += std::to_string(report.count(outcome::passed)) + " passed, " +
             std::to_string(report.count(outcome::failed)) + " failed, " +
             std::to_string(report.count(outcome::skipped)) + " skipped\n";
    return stash::detail::print(out, lines);
  }
};

}  // namespace stash::inline v1::testing

namespace stash::inline v1::detail {

/// What the checks are written with.
struct conformance_tools {
  static std::string shown(bool b) { return b ? "true" : "false"; }
  template <std::unsigned_integral N>
  static std::string shown(N n) {
    return std::to_string(n);
  }
  static std::string shown(std::string_view text) { return detail::quoted(detail::printable(text)); }
  static std::string shown(boost::system::error_code const& code) { return code ? code.message() : "no error"; }
  static std::string shown(std::optional<record> const& r) {
    if (!r) return "none";
    return shown(std::string_view(r->payload).substr(0, 40)) + " of " + std::to_string(r->payload.size()) +
           " bytes, saved at " + std::to_string(r->saved_at.time_since_epoch().count());
  }

  template <class T>
  static void equal(std::string_view what, T const& found, std::type_identity_t<T> const& expected) {
    if (found == expected) return;
    throw testing::nonconformance{std::string(what) + ": expected " + shown(expected) + ", found " + shown(found)};
  }

  template <class F>
  static boost::system::error_code code_of(F f) {
    try {
      f();
    } catch (boost::system::system_error const& problem) {
      return problem.code();
    }
    return {};
  }

  /// Whether `f` returned in a forked child; false where it threw, crashed, or took over 10 seconds.
  template <class F>
  static bool returns_in_child(F f) {
    pid_t const child = ::fork();
    if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child == 0) ::_exit(returns(f) ? 0 : 1);
    int status = 0;
    for (int waited = 0; waited < 10'000; ++waited) {
      if (pid_t const ended = ::waitpid(child, &status, WNOHANG); ended != 0) return ended == child && status == 0;
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return false;
  }

  /// Calls `f(0)`, `f(1)`, ... each in a thread of its own; when all have ended, throws what one of them threw.
  template <class F>
  static void in_threads(int count, F f) {
    std::vector<std::future<void>> running;
    for (int i = 0; i < count; ++i) running.push_back(std::async(std::launch::async, [&f, i] { f(i); }));
    for (auto& one : running) one.wait();
    for (auto& one : running) one.get();
  }

 private:
  template <class F>
  static bool returns(F& f) noexcept {
    try {
      f();
      return true;
    } catch (...) {
      return false;
    }
  }
};

}  // namespace stash::inline v1::detail

namespace stash::inline v1::testing {

/// What every storage promises (`storage_policy` in concepts.hpp), as a list of checks that a storage of your own
/// can be put through, with any test framework or none.
///
///     struct my_files {
///       my_storage fresh() { return my_storage{directory = make_empty_directory()}; }
///       my_storage again() { return my_storage{directory}; }  // where another process can use the records too
///       std::string directory;
///     };
///     my_files factory;
///     auto const report = stash::testing::check_storage(factory);
///     std::cout << report;  // a line for each check that did not pass
///     return report.conforms() ? 0 : 1;
///
/// The checks call the storage as the library does, with the key's lock where it is due. The storage must take
/// payloads of 500 KB, every time_point, and a reason of any bytes. No check loops without a bound; where each put
/// waits for a disk, they take some ten seconds. Some fork: run them where no other thread is at work and SIGCHLD is
/// not ignored.
///
/// They cannot see, and the storage's own tests must show: that a record survives what the storage says; that
/// damage is `errc::corrupt`, a newer version `errc::mismatch`, a payload over the cap `errc::too_large`; that a
/// `put` that fails leaves what stood there; that a `sweep` finds leftovers.
template <storage_factory Factory>
class storage_conformance : detail::conformance_tools {
  using storage = decltype(std::declval<Factory&>().fresh());
  using lock_type = typename storage::lock_type;
  using stash_type = basic_stash<storage>;
  using text = std::string;
  using us = std::chrono::microseconds;

  static constexpr bool has_again = reopening_factory<Factory>;
  static constexpr bool has_exists = requires(storage const& s) {
    { s.exists() } -> std::convertible_to<bool>;
  };
  static constexpr bool has_sweep = detail::storage_traits<storage>::is_sweepable;
  static constexpr bool has_check = requires(storage const& s, key const& k, record const& r) { s.check(k, r); };
  static constexpr bool has_put_all = requires(storage & s, std::span<std::pair<key, record> const> all) {
    s.put_all(all);
  };
  static constexpr bool has_erase_all = requires(storage & s, std::span<key const> all) { s.erase_all(all); };
  static constexpr bool has_try_lock_all =
      requires(storage & s, std::span<key const> all, std::vector<typename storage::lock_type>& locks) {
    s.try_lock_all(all, locks);
  };
  static constexpr bool has_path = requires(storage const& s, key const& k) { s.path(k).native(); };

 public:
  /// A promise, and how to see whether it is kept.
  struct check {
    std::string_view name;        ///< a behaviour, as an identifier
    std::string_view promise;     ///< the row of a table in concepts.hpp, or the class whose comment makes it
    void (*body)(Factory&);       ///< for `run`
    bool applies = true;          ///< to this factory and its storage
    std::string_view needs = {};  ///< what is missing where it does not apply

    /// Returns if the promise was kept. Throws `nonconformance`, or what the storage throws where it must not;
    /// `std::logic_error` where the check does not apply.
    void run(Factory& f) const {
      if (!applies) throw std::logic_error("needs " + text(needs));
      try {
        body(f);
      } catch (nonconformance const& e) {
        throw nonconformance{text(promise) + ": " + e.what()};
      }
    }
  };

  /// All of them; each can be run alone, in any order. In static storage.
  static std::span<check const> checks() {
    static constexpr std::string_view again = "again()";
    static constexpr check all[] = {
        {"a_fresh_storage_is_empty", "fresh", a_fresh_storage_is_empty},
        {"what_is_put_is_got_until_replaced", "put, get", what_is_put_is_got_until_replaced},
        {"any_payload_comes_back", "get: the record", any_payload_comes_back},
        {"any_time_comes_back", "get: the record", any_time_comes_back},
        {"every_key_has_a_record_of_its_own", "put, get", every_key_has_a_record_of_its_own},
        {"a_long_key_is_served_or_invalid", "put: throws errc::invalid_key", a_long_key_is_served_or_invalid},
        {"erase_tells_and_is_idempotent", "erase: was there one? Idempotent", erase_tells_and_is_idempotent},
        {"entries_tell_all_by_key", "entries: all that stands under keys", entries_tell_all_by_key},
        {"puts_from_many_threads_all_arrive", "called from many threads", puts_from_many_threads_all_arrive},
        {"readers_see_old_or_new", "called from many threads", readers_see_old_or_new},
        {"a_moved_storage_keeps_its_records", "movable", a_moved_storage_keeps_its_records},
        {"what_is_set_aside_is_no_record", "set_aside: out of the way", what_is_set_aside_is_no_record},
        {"setting_aside_replaces_nothing", "set_aside: never onto anything", setting_aside_replaces_nothing},
        {"setting_aside_nothing_is_enoent", "set_aside: throws ENOENT", setting_aside_nothing_is_enoent},
        {"any_key_and_reason_is_set_aside", "set_aside, set_aside_entries", any_key_and_reason_is_set_aside},
        {"purge_destroys_all_and_no_record", "purge: what was set aside; how many", purge_destroys_all_and_no_record},
        {"purge_leaves_what_is_too_young", "purge: at least so long ago", purge_leaves_what_is_too_young},
        {"purge_destroys_what_is_old_enough", "purge: at least so long ago", purge_destroys_what_is_old_enough},
        {"a_lock_excludes_all_others_of_its_key", "try_lock: exclusive", a_lock_excludes_all_others_of_its_key},
        {"locks_of_different_keys_do_not_meet", "try_lock: the key's lock", locks_of_different_keys_do_not_meet},
        {"a_lock_ends_with_its_object", "lock: its destructor releases", a_lock_ends_with_its_object},
        {"a_moved_lock_is_held_once", "lock: movable", a_moved_lock_is_held_once},
        {"an_assigned_lock_is_held_once", "lock: movable", an_assigned_lock_is_held_once},
        {"a_lock_outlives_a_move_of_its_storage", "movable", a_lock_outlives_a_move_of_its_storage},
        {"of_many_threads_one_has_the_lock", "try_lock: exclusive among threads", of_many_threads_one_has_the_lock},
        {"a_forked_child_neither_has_nor_takes_a_lock", "held", a_forked_child_neither_has_nor_takes_a_lock},
        {"records_outlive_their_object", "again: the records", records_outlive_their_object, has_again, again},
        {"another_object_sees_each_change", "again: the records", another_object_sees_each_change, has_again, again},
        {"another_objects_readers_see_old_or_new", "put, get", other_readers_see_old_or_new, has_again, again},
        {"a_lock_excludes_another_object", "try_lock: exclusive", a_lock_excludes_another_object, has_again, again},
        {"another_process_sees_each_change", "again: the records", another_process_sees_each_change, has_again, again},
        {"a_lock_excludes_another_process", "try_lock: processes", a_lock_excludes_another_process, has_again, again},
        {"a_lock_ends_with_its_process", "try_lock: processes", a_lock_ends_with_its_process, has_again, again},
        {"reads_create_nothing", "get, entries: creates nothing", reads_create_nothing, has_exists, "exists()"},
        {"sweep_removes_no_record", "sweep: removes such leftovers", sweep_removes_no_record, has_sweep, "sweep()"},
        {"check_agrees_with_put", "check: where put would refuse", check_agrees_with_put, has_check, "check()"},
        {"path_names_a_place", "path: where a person finds it", path_names_a_place, has_path, "path()"},
        {"all_that_are_put_together_are_got", "put_all: put for each", all_put_together, has_put_all, "put_all()"},
        {"all_that_are_erased_together_are_gone", "erase_all: erase for each", all_erased, has_erase_all,
         "erase_all()"},
        {"all_that_are_locked_together_exclude_others", "try_lock_all: try_lock for each", all_locked, has_try_lock_all,
         "try_lock_all()"},
        {"a_stash_saves_loads_and_clears", "basic_stash", a_stash_saves_loads_and_clears},
        {"a_committed_guard_leaves_no_record", "delete_guard", a_committed_guard_leaves_no_record},
        {"a_guard_that_is_left_restores_once", "delete_guard", a_guard_that_is_left_restores_once},
        {"a_guard_adopts_what_was_left", "delete_guard", a_guard_adopts_what_was_left},
        {"a_guard_sets_aside_what_is_superseded", "delete_guard", a_guard_sets_aside_what_is_superseded},
        {"a_second_guard_is_busy", "delete_guard", a_second_guard_is_busy},
        {"recover_restores_orphans_only", "recover", recover_restores_orphans_only},
    };
    return all;
  }

 private:
  // put, erase and set_aside as the library calls them: with the key's lock.
  static lock_type locked(storage& s, key const& k) {
    auto lock = s.try_lock(k);
    if (!lock) throw nonconformance{"try_lock(" + shown(k.str()) + "), which nobody holds: found nullopt"};
    return std::move(*lock);
  }
  static void put(storage& s, key const& k, record const& r) {
    [[maybe_unused]] auto const lock = locked(s, k);
    s.put(k, r);
  }
  static text put_aside(storage& s, key const& k, record const& r, std::string_view reason = "superseded") {
    put(s, k, r);
    return set_aside(s, k, reason);
  }
  static bool erase(storage& s, key const& k) {
    [[maybe_unused]] auto const lock = locked(s, k);
    return s.erase(k);
  }
  static text set_aside(storage& s, key const& k, std::string_view reason) {
    [[maybe_unused]] auto const lock = locked(s, k);
    return s.set_aside(k, reason);
  }

  static storage another(Factory& f) {
    if constexpr (has_again) return f.again();
    throw std::logic_error("needs again()");
  }
  static bool exists(storage const& s) {
    if constexpr (has_exists) return s.exists();
    throw std::logic_error("needs exists()");
  }
  static auto guarded(stash_type& store, std::optional<text> const& live, text& restored, guard_options options = {}) {
    return delete_guard{store, "k", [live] { return live; }, [&restored](text const& saved) { restored += saved; },
                        std::move(options)};
  }
  static text loaded(stash_type const& store) { return store.template load<text>("k").value_or("(nothing)"); }

  static record some(text payload, time_point::rep time = 1) { return {std::move(payload), time_point{us{time}}}; }
  static record of(key const& k) { return some("of " + text(k.str())); }

  static void holds(storage const& s, key const& k, std::optional<record> const& expected) {
    equal("get(" + shown(k.str()) + ")", s.get(k), expected);
  }
  static void lists(storage const& s, std::size_t records, std::size_t aside) {
    equal("entries().size()", s.entries().size(), records);
    equal("set_aside_entries().size()", s.set_aside_entries().size(), aside);
  }
  static void describes(entry const& e, key const& k, record const& r) {
    equal("the key of an entry", text(e.key.str()), text(k.str()));
    equal("the entry is intact", e.state == record_state::intact, true);
    equal("the entry has the record's saved_at", e.saved_at == r.saved_at, true);
    equal("bytes of the entry", e.bytes, std::uint64_t{r.payload.size()});
  }
  static void is_locked(storage& s, key const& k, bool expected) {
    equal("the lock of " + shown(k.str()) + " is held", !s.try_lock(k), expected);
  }
  static void is_held(lock_type const& lock, bool expected) { equal("held()", lock.held(), expected); }

  /// Keys that folding, trimming, normalising, decoding, patterns, quotes or numbers would take for one another,
  /// and keys that look like our files.
  static std::vector<key> odd_keys() {
    std::istringstream lines{
        "A\na\nab\na*\na?\na%\na_\na.\na \n a\n%\n_\n*\n%41\n%2F\n-rf\n~\nCON\ncon\n"
        "\xc3\xa9\ne\xcc\x81\n\xc3\x89\n\xc3\x9f\nss\n\xf0\x9f\x97\x84\n"
        "1\n01\n1.0\n1e0\nNULL\nnull\n$1\n?1\n:k\n\"\n'\n''\n'; DROP TABLE stash; --\n"
        ".lock\n.stash\nk\nk.stash\nk.corrupt\n.k.0123456789abcdef.tmp\n"
        "k.corrupt-20261122T144421.123456Z-9f3c0a5b7d1e2c48"};
    std::vector<key> keys{text(key::max_size, 'k'), text(key::max_size - 1, 'k') + 'j'};
    for (text line; std::getline(lines, line);) keys.emplace_back(line);
    return keys;
  }

  static void a_fresh_storage_is_empty(Factory& f) {
    auto earlier = f.fresh();
    put_aside(earlier, "k", some("aside"));
    put(earlier, "k", some("earlier"));
    [[maybe_unused]] auto const lock = locked(earlier, "k");
    auto s = f.fresh();
    for (int round = 0; round < 2; ++round) {  // the first must have made nothing
      holds(s, "k", std::nullopt);
      lists(s, 0, 0);
      equal("purge", s.purge(us{0}), 0);
    }
    put(s, "k", some("later"));
    holds(earlier, "k", some("earlier"));
  }

  static void come_back(storage s, std::vector<record> const& records) {
    for (auto const& r : records) {
      put(s, "k", r);
      holds(s, "k", r);
      holds(s, "other", std::nullopt);
      lists(s, 1, 0);
    }
  }
  static void what_is_put_is_got_until_replaced(Factory& f) {
    come_back(f.fresh(), {some("first", 1), some("second", 2), some("2nd", 2), some("2nd", 1)});
  }
  static void any_payload_comes_back(Factory& f) {
    std::vector<record> records;
    for (char const* const payload : {"\n", "a\n", "\r\n", " ", "1.0", "NULL", "'", "\\x41", "{\"a\":1}\n{}"}) {
      records.push_back(some(payload));
    }
    for (std::size_t const size : {0U, 1U, 4095U, 4096U, 4097U, 500'000U}) {
      text& bytes = records.emplace_back(some(text(size, '\0'))).payload;
      for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7);
    }
    come_back(f.fresh(), records);
  }
  static void any_time_comes_back(Factory& f) {
    come_back(f.fresh(), {{"", time_point::min()},
                          {"", time_point{us{-1}}},
                          {"", time_point{us{1'795'358'661'123'456}}},
                          {"", time_point::max()}});
  }

  static void every_key_has_a_record_of_its_own(Factory& f) {
    auto s = f.fresh();
    auto const keys = odd_keys();
    for (auto const& k : keys) put(s, k, of(k));
    for (auto const& k : keys) holds(s, k, of(k));
    lists(s, keys.size(), 0);
    for (auto const& k : keys) equal("erase(" + shown(k.str()) + ")", erase(s, k), true);
  }

  static void a_long_key_is_served_or_invalid(Factory& f) {
    auto s = f.fresh();
    std::size_t served = 0;
    for (text const letter : {"A", "\xc3\xa9", "\xf0\x9f\x97\x84"}) {
      text k;
      while (k.size() < key::max_size) k += letter;
      auto const refused = code_of([&] { put(s, k, some("long")); });
      equal("put: " + shown(refused), !refused || refused == errc::invalid_key, true);
      if (!refused) holds(s, k, some("long"));
      lists(s, served += !refused, 0);
    }
  }

  static void erase_tells_and_is_idempotent(Factory& f) {
    auto s = f.fresh();
    equal("erase of nothing", erase(s, "k"), false);
    put(s, "k", some("erased"));
    equal("erase", erase(s, "k"), true);
    holds(s, "k", std::nullopt);
    equal("erase again", erase(s, "k"), false);
  }

  static void entries_tell_all_by_key(Factory& f) {
    auto s = f.fresh();
    std::map<key, record> expected;  // by bytes: capitals first
    for (auto const* const k : {"b", "\xc3\xa9", "a b", "B", "a", "a-b", "10", "9"}) {
      record const r = some(text(expected.size() * 1000, 'x'), 2 - std::ssize(expected));
      put(s, k, r);
      expected.emplace(k, r);
    }
    auto const found = s.entries();
    equal("entries().size()", found.size(), expected.size());
    auto e = found.begin();
    for (auto const& [k, r] : expected) describes(*e++, k, r);
  }

  static void puts_from_many_threads_all_arrive(Factory& f) {
    auto s = f.fresh();
    auto const name = [](int i) { return key("key " + std::to_string(i)); };
    in_threads(4, [&](int thread) {
      for (int i = thread; i < 1000; i += 4) put(s, name(i), of(name(i)));
    });
    lists(s, 1000, 0);
    for (int i = 0; i < 1000; ++i) holds(s, name(i), of(name(i)));
  }

  static void replace_while_reading(storage& writer, storage const& reader) {
    record const a = some(text(10'000, 'a'), 1), b = some(text(20'000, 'b'), 2);
    put(writer, "k", a);
    std::atomic<int> reads{0};
    std::atomic<bool> done{false};
    auto reading = std::async(std::launch::async, [&] {
      for (; !done; ++reads) {
        auto const r = reader.get("k");
        if (r != a && r != b) throw nonconformance{"expected the old record or the new, found " + shown(r)};
      }
    });
    struct at_end {
      std::atomic<bool>& flag;
      ~at_end() { flag = true; }
    };
    {
      at_end const tell{done};
      for (int i = 0; i < 50 || (i < 1000 && reads < 20); ++i) put(writer, "k", i % 2 == 0 ? b : a);
    }
    reading.get();
  }
  static void readers_see_old_or_new(Factory& f) {
    auto s = f.fresh();
    replace_while_reading(s, s);
  }

  static void a_moved_storage_keeps_its_records(Factory& f) {
    auto target = f.fresh();
    auto s = f.fresh();
    put_aside(s, "gone", some("gone"));
    put(s, "k", some("kept"));
    storage moved{std::move(s)};
    holds(moved, "k", some("kept"));
    target = std::move(moved);
    s = std::move(target);
    holds(s, "k", some("kept"));
    lists(s, 1, 1);
  }

  static void what_is_set_aside_is_no_record(Factory& f) {
    auto s = f.fresh();
    put(s, "other", some("other"));
    put_aside(s, "k", some("aside"));
    holds(s, "k", std::nullopt);
    equal("erase of what was set aside", erase(s, "k"), false);
    lists(s, 1, 1);
    describes(s.entries().front(), "other", some("other"));
  }

  static void setting_aside_replaces_nothing(Factory& f) {
    auto s = f.fresh();
    std::map<text, record> kept;  // by place
    for (std::size_t i = 0; i < 20; ++i) {
      record const r = some(text(i % 7, 'x'), static_cast<int>(i));
      auto const where = put_aside(s, "k", r);
      equal("the place " + shown(where) + " is new", kept.emplace(where, r).second, true);
    }
    lists(s, 0, kept.size());
    for (auto const& e : s.set_aside_entries()) {
      equal("set_aside returned the place " + shown(e.where), kept.contains(e.where), true);
      describes(e, "k", kept.extract(e.where).mapped());
    }
  }

  static void setting_aside_nothing_is_enoent(Factory& f) {
    auto s = f.fresh();
    for (std::size_t aside = 0; aside < 2; ++aside) {
      auto const code = code_of([&] { set_aside(s, "k", "superseded"); });
      equal("set_aside of nothing: " + shown(code), code == boost::system::errc::no_such_file_or_directory, true);
      lists(s, 0, aside);
      put_aside(s, "k", some("aside"));
    }
  }

  static void any_key_and_reason_is_set_aside(Factory& f) {
    auto s = f.fresh();
    std::vector<text> const reasons{"", "../../x", "a-b.c", "\n", "\xff", "'); --", text(300, 'x'), text(1, '\0')};
    std::map<key, record> expected;
    for (auto const& k : odd_keys()) {
      expected.emplace(k, of(k));
      put_aside(s, k, of(k), reasons[expected.size() % reasons.size()]);
    }
    lists(s, 0, expected.size());
    for (auto const& e : s.set_aside_entries()) {
      equal("the key " + shown(e.key.str()) + " was set aside", expected.contains(e.key), true);
      describes(e, e.key, expected.extract(e.key).mapped());
    }
  }

  static void purge_destroys_all_and_no_record(Factory& f) {
    auto s = f.fresh();
    put(s, "kept", some("kept"));
    for (auto const age : {us{0}, us{-1}, us::min()}) {
      for (auto const* const k : {"a", "b", "b"}) put_aside(s, k, some(k));
      put(s, "b", some("kept"));
      equal("purge", s.purge(age), 3);
      equal("purge again", s.purge(age), 0);
      lists(s, 2, 0);
      holds(s, "kept", some("kept"));
    }
  }

  static void purge_leaves_what_is_too_young(Factory& f) {
    auto s = f.fresh();
    for (auto const saved_at : {time_point::min(), time_point{}, time_point::max()}) {  // which is not what counts
      put_aside(s, "k", {"young", saved_at});
    }
    equal("purge(1 hour)", s.purge(std::chrono::hours{1}), 0);
    equal("purge(max)", s.purge(us::max()), 0);
    lists(s, 0, 3);
  }

  static void purge_destroys_what_is_old_enough(Factory& f) {
    auto s = f.fresh();
    put_aside(s, "k", {"old", time_point::max()});
    std::this_thread::sleep_for(std::chrono::milliseconds{3});
    equal("purge(1 ms) after 3 ms", s.purge(std::chrono::milliseconds{1}), 1);
    lists(s, 0, 0);
  }

  /// Under a lock of `s`, whether `other` is kept out of its key, and of no other.
  static void excludes(storage& s, storage& other) {
    [[maybe_unused]] auto const lock = locked(s, "k");
    is_locked(other, "k", true);
    is_locked(other, "other", false);
  }
  static void a_lock_excludes_all_others_of_its_key(Factory& f) {
    auto s = f.fresh();
    excludes(s, s);
    auto const lock = locked(s, "k");
    in_threads(1, [&](int) { is_locked(s, "k", true); });
    is_held(lock, true);
  }

  static void locks_of_different_keys_do_not_meet(Factory& f) {
    auto s = f.fresh();
    std::vector<lock_type> held;
    for (auto const& k : odd_keys()) held.push_back(locked(s, k));
    for (auto const& lock : held) is_held(lock, true);
  }

  static void a_lock_ends_with_its_object(Factory& f) {
    auto s = f.fresh();
    for (int i = 0; i < 100; ++i) {
      [[maybe_unused]] auto const lock = locked(s, "k");
      is_held(lock, true);
    }
    in_threads(1, [&](int) { is_locked(s, "k", false); });
  }

  static void a_moved_lock_is_held_once(Factory& f) {
    auto s = f.fresh();
    {
      std::optional<lock_type> source{locked(s, "k")};
      auto const lock = std::move(*source);
      is_held(*source, false);
      source.reset();
      is_held(lock, true);
      is_locked(s, "k", true);
    }
    is_locked(s, "k", false);
  }

  static void an_assigned_lock_is_held_once(Factory& f) {
    auto s = f.fresh();
    {
      auto lock = locked(s, "a");
      {
        auto source = locked(s, "b");
        lock = std::move(source);
      }
      is_locked(s, "a", false);  // at the latest now: assignment may swap
      is_locked(s, "b", true);
      auto target = std::move(lock);
      lock = std::move(target);  // back into one that was moved from
      is_held(target, false);    // NOLINT(bugprone-use-after-move): that is the question
      is_held(lock, true);
    }
    is_locked(s, "b", false);
  }

  static void a_lock_outlives_a_move_of_its_storage(Factory& f) {
    auto s = f.fresh();
    {
      [[maybe_unused]] auto const lock = locked(s, "k");
      storage moved{std::move(s)};
      is_locked(moved, "k", true);
      s = std::move(moved);
      is_locked(s, "k", true);
      is_held(lock, true);
    }
    is_locked(s, "k", false);
  }

  static void of_many_threads_one_has_the_lock(Factory& f) {
    struct at_end {
      std::atomic<int>& count;
      ~at_end() { ++count; }
    };
    auto s = f.fresh();
    // All of a round try at once, and none lets go before all have tried: so a race needs no luck to be seen.
    for (int round = 0; round < 50; ++round) {
      constexpr int threads = 4;
      std::atomic<int> ready{0}, tried{0}, taken{0};
      auto const await_all = [](std::atomic<int> const& count) {
        while (count < threads) std::this_thread::yield();
      };
      in_threads(threads, [&](int) {
        ++ready;
        await_all(ready);
        std::optional<lock_type> lock;
        {
          at_end const tell{tried};
          lock = s.try_lock("k");
        }
        taken += lock.has_value();
        await_all(tried);
      });
      equal("threads that have the lock", static_cast<std::size_t>(taken), 1);
    }
    is_locked(s, "k", false);
  }

  static void a_forked_child_neither_has_nor_takes_a_lock(Factory& f) {
    auto s = f.fresh();
    std::optional<lock_type> lock{locked(s, "k")};
    auto const is_inert = [&] { is_held(*lock, false); };
    auto const is_inert_in_child = [&] { return returns_in_child(is_inert); };
    equal("a forked child has no lock", is_inert_in_child(), true);
    equal("a child's child has no lock", returns_in_child([&] { equal("in it", is_inert_in_child(), true); }), true);
    equal("a child drops its copy", returns_in_child([&] { lock.reset(); }), true);
    is_held(*lock, true);
    is_locked(s, "k", true);
  }

  static void records_outlive_their_object(Factory& f) {
    {
      auto s = f.fresh();
      put_aside(s, "gone", some("gone"));
      put(s, "k", some("kept"));
    }
    auto const s = another(f);
    holds(s, "k", some("kept"));
    lists(s, 1, 1);
  }

  static void another_object_sees_each_change(Factory& f) {
    auto s = f.fresh();
    auto other = another(f);
    holds(other, "k", std::nullopt);
    for (auto const* const payload : {"first", "second", "third"}) {
      put(s, "k", some(payload));
      holds(other, "k", some(payload));
      std::swap(s, other);
    }
    set_aside(s, "k", "superseded");
    holds(other, "k", std::nullopt);
    lists(other, 0, 1);
    equal("purge", other.purge(us{0}), 1);
    put(s, "k", some("erased"));
    equal("erase", erase(other, "k"), true);
    holds(s, "k", std::nullopt);
    lists(s, 0, 0);
  }

  static void other_readers_see_old_or_new(Factory& f) {
    auto s = f.fresh();
    auto const other = another(f);
    replace_while_reading(s, other);
  }

  static void a_lock_excludes_another_object(Factory& f) {
    auto s = f.fresh();
    auto other = another(f);
    excludes(s, other);
    excludes(other, s);
  }

  static void another_process_sees_each_change(Factory& f) {
    auto s = f.fresh();
    put(s, "k", some("parent's"));
    auto const replace = [&] {
      auto other = another(f);
      holds(other, "k", some("parent's"));
      put(other, "k", some("child's"));
    };
    equal("a child replaces what it sees", returns_in_child(replace), true);
    holds(s, "k", some("child's"));
  }

  static void a_lock_excludes_another_process(Factory& f) {
    auto s = f.fresh();
    [[maybe_unused]] auto const lock = locked(s, "k");
    auto const is_kept_out = [&] {
      auto other = another(f);
      is_locked(other, "k", true);
      is_locked(other, "other", false);
    };
    equal("a child is kept out of the key", returns_in_child(is_kept_out), true);
  }

  static void a_lock_ends_with_its_process(Factory& f) {
    auto s = f.fresh();
    auto const die_with_it = [&] {
      auto other = another(f);
      [[maybe_unused]] auto const lock = locked(other, "k");
      ::_exit(0);
    };
    equal("a child has the lock", returns_in_child(die_with_it), true);
    for (int i = 0; i < 1000 && !s.try_lock("k"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    is_locked(s, "k", false);
  }

  static void reads_create_nothing(Factory& f) {
    stash_type store{f.fresh()};
    auto const& s = store.storage();
    bool const before = exists(s);
    holds(s, "k", std::nullopt);
    lists(s, 0, 0);
    store.purge(us{0});
    equal("load", loaded(store), "(nothing)");
    equal("clear", store.clear("k"), false);
    equal("exists() after reads", exists(s), before);
    put(store.storage(), "k", some("there"));
    equal("exists() with a record", exists(s), true);
  }

  static void sweep_removes_no_record(Factory& f) {
    auto s = f.fresh();
    if constexpr (has_sweep) {
      put_aside(s, "aside", some("aside"));
      for (auto const* const k : {"k", "other"}) put(s, k, some(k));
      for (auto const* const k : {"k", "aside", "none"}) {
        [[maybe_unused]] auto const lock = locked(s, k);
        s.sweep(k);
      }
      lists(s, 2, 1);
      for (auto const* const k : {"k", "other"}) holds(s, k, some(k));
      equal("temporaries().size()", s.temporaries().size(), 0);
    }
  }

  static void check_agrees_with_put(Factory& f) {
    auto s = f.fresh();
    if constexpr (has_check) {
      std::as_const(s).check("k", some(text(500'000, 'x')));
      for (key const k : {text(1, 'k'), text(key::max_size, 'k'), text(key::max_size, 'A')}) {
        auto const refused = code_of([&] { std::as_const(s).check(k, of(k)); });
        equal("check of " + shown(k.str()), refused, code_of([&] { put(s, k, of(k)); }));
      }
    }
  }

  static void path_names_a_place(Factory& f) {
    auto s = f.fresh();
    if constexpr (has_path) {
      auto const before = std::as_const(s).path("k");
      put(s, "k", some("there"));
      equal("path(k) is empty", before.native().empty(), false);
      equal("path(k) is what it was before the put", s.path("k") == before, true);
    }
  }

  static std::vector<std::pair<key, record>> many(text const& words) {
    std::vector<std::pair<key, record>> result;
    for (int i = 0; i < 150; ++i) {
      auto const name = "key " + std::to_string(100 + i);
      result.emplace_back(name, some(text(words).append(" of ").append(name)));
    }
    return result;
  }
  static void all_put_together(Factory& f) {
    auto s = f.fresh();
    if constexpr (has_put_all) {
      put(s, "other", some("other"));
      s.put_all({});
      for (auto const* const words : {"first", "second"}) {
        auto const all = many(words);
        std::vector<lock_type> locks;
        for (auto const& one : all) locks.push_back(locked(s, one.first));
        s.put_all(all);
        for (auto const& [k, r] : all) holds(s, k, r);
      }
      holds(s, "other", some("other"));
      lists(s, 151, 0);
    }
  }
  static void all_erased(Factory& f) {
    auto s = f.fresh();
    if constexpr (has_erase_all) {
      s.erase_all({});
      std::vector<key> keys;
      for (auto const& [k, r] : many("words")) {
        put(s, k, r);
        keys.push_back(k);
      }
      put(s, "other", some("other"));
      keys.emplace_back("none");
      std::vector<lock_type> locks;
      for (auto const& k : keys) locks.push_back(locked(s, k));
      s.erase_all(keys);
      lists(s, 1, 0);
      holds(s, "other", some("other"));
      s.erase_all(keys);
    }
  }

  static void all_locked(Factory& f) {
    auto s = f.fresh();
    if constexpr (has_try_lock_all) {
      std::vector<key> keys;
      for (auto const& [k, r] : many("words")) keys.push_back(k);
      std::optional<lock_type> taken = locked(s, keys[100]);
      std::vector<lock_type> locks;
      s.try_lock_all({}, locks);
      s.try_lock_all(keys, locks);
      equal("locked before the one that is busy", locks.size(), 100);
      equal("behind it", s.try_lock(keys[101]).has_value(), true);
      taken.reset();
      s.try_lock_all(std::span(keys).subspan(locks.size()), locks);
      equal("locked", locks.size(), keys.size());
      for (auto const& one : locks) equal("held", one.held(), true);
      for (auto const& k : keys) equal("try_lock", s.try_lock(k).has_value(), false);
      equal("another", s.try_lock("another").has_value(), true);
      locks.erase(locks.begin());
      equal("released", s.try_lock(keys[0]).has_value(), true);
      equal("try_lock", s.try_lock(keys[1]).has_value(), false);
      locks.clear();
      for (auto const& k : keys) equal("released", s.try_lock(k).has_value(), true);
    }
  }

  static void a_stash_saves_loads_and_clears(Factory& f) {
    stash_type store{f.fresh()};
    equal("load", loaded(store), "(nothing)");
    for (text const words : {"old", "new"}) {
      store.template save<text>("k", words);
      equal("load", loaded(store), words);
    }
    equal("clear", store.clear("k"), true);
    equal("clear again", store.clear("k"), false);
    equal("load", loaded(store), "(nothing)");
    lists(store.storage(), 0, 0);
  }

  static void a_committed_guard_leaves_no_record(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    {
      auto guard = guarded(store, "words", restored);
      equal("load under the guard", loaded(store), "words");
      guard.commit();
    }
    equal("restored", restored, "");
    lists(store.storage(), 0, 0);
  }

  static void a_guard_that_is_left_restores_once(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    { auto const guard = guarded(store, "a", restored); }
    equal("restored", restored, "a");
    equal("load", loaded(store), "a");
    { auto const guard = guarded(store, "b", restored, {.clear_after_restore = true}); }
    equal("restored", restored, "ab");
    lists(store.storage(), 0, 1);
  }

  static void a_guard_adopts_what_was_left(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    store.template save<text>("k", "words");
    auto const left = store.storage().get("k");
    {
      auto guard = guarded(store, std::nullopt, restored);
      equal("the guard adopted", guard.origin() == origin::adopted, true);
      equal("its value", guard.value() ? *guard.value() : "(nothing)", "words");
      holds(store.storage(), "k", left);
      guard.release();
    }
    holds(store.storage(), "k", left);
    { auto const guard = guarded(store, std::nullopt, restored); }
    equal("restored", restored, "words");
  }

  static void a_guard_sets_aside_what_is_superseded(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    store.template save<text>("k", "old");
    auto guard = guarded(store, "new", restored);
    lists(store.storage(), 1, 1);
    equal("load", loaded(store), "new");
    guard.commit();
    lists(store.storage(), 0, 1);
  }

  static void a_second_guard_is_busy(Factory& f) {
    stash_type store{f.fresh()};
    text restored;
    auto const second = [&] { return code_of([&] { guarded(store, "b", restored).release(); }); };
    {
      auto const guard = guarded(store, "a", restored);
      equal("a second guard", second(), errc::busy);
    }
    equal("the next guard", second(), {});
    equal("restored", restored, "a");
  }

  static void recover_restores_orphans_only(Factory& f) {
    stash_type store{f.fresh()};
    for (auto const* const k : {"a", "b", "live"}) store.template save<text>(k, k);
    std::map<key, text> restored;
    auto const report = stash::recover<text>(
        store, [](key const& k) { return k == "live"; },
        [&](key const& k, text const& saved) { restored.emplace(k, saved); });
    equal("restored", report.restored, 2);
    equal("live", report.live, 1);
    equal("failed", report.failed.size(), 0);
    equal("what was restored", restored == std::map<key, text>{{"a", "a"}, {"b", "b"}}, true);
    lists(store.storage(), 1, 0);
  }
};

/// The negative twin of every storage: each member throws EIO. No check passes on it; and a job's own tests can see
/// with it what the job does where nothing can be stashed.
struct failing_storage {
  /// Of which there is none.
  struct lock_type {
    /// @{
    /// Because a lock is movable.
    lock_type(lock_type&&) = default;
    lock_type& operator=(lock_type&&) = default;
    /// @}
    ~lock_type() {}  // of its own: compilers say of the library's locks that they are not used
    /// Throws EIO.
    bool held() const { fail("held"); }
  };
  /// @{
  /// Throws EIO.
  void put(key const& k, record const&) { fail("put", k.str()); }
  std::optional<record> get(key const& k) const { fail("get", k.str()); }
  bool erase(key const& k) { fail("erase", k.str()); }
  std::vector<entry> entries() const { fail("entries"); }
  std::string set_aside(key const& k, std::string_view) { fail("set_aside", k.str()); }
  std::vector<entry> set_aside_entries() const { fail("set_aside_entries"); }
  std::size_t purge(std::chrono::microseconds) { fail("purge"); }
  std::optional<lock_type> try_lock(key const& k) { fail("try_lock", k.str()); }
  bool exists() const { fail("exists"); }
  std::vector<key> temporaries() const { fail("temporaries"); }
  void sweep(key const& k) { fail("sweep", k.str()); }
  void check(key const& k, record const&) const { fail("put", k.str()); }
  boost::filesystem::path path(key const& k) const { fail("path", k.str()); }
  /// @}

 private:
  [[noreturn]] static void fail(std::string_view operation, std::string_view k = {}) {
    throw error{{EIO, boost::system::system_category()}, std::string(operation), std::string(k), "it always fails"};
  }
};

/// Runs every check that applies and tells what became of it. Throws only for lack of memory.
template <storage_factory Factory>
conformance_report check_storage(Factory& factory) {
  conformance_report report;
  for (auto const& check : storage_conformance<Factory>::checks()) {
    auto& result = report.results.emplace_back(conformance_result{check.name, outcome::passed});
    try {
      if (check.applies) {
        check.run(factory);
      } else {
        result = {check.name, outcome::skipped, "there is no " + std::string(check.needs)};
      }
    } catch (std::exception const& problem) {
      result = {check.name, outcome::failed, problem.what()};
    } catch (...) {
      result = {check.name, outcome::failed, "something that is not a std::exception was thrown"};
    }
  }
  return report;
}

}  // namespace stash::inline v1::testing
