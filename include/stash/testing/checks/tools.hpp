#pragma once

#include <sys/wait.h>
#include <unistd.h>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <chrono>
#include <concepts>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <optional>
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
#include <stash/testing/conformance_report.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

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

/// What the checks of a storage are written with: its types, and its members as the library calls them.
template <testing::storage_factory Factory>
struct conformance_base : conformance_tools {
  using storage = decltype(std::declval<Factory&>().fresh());
  using lock_type = typename storage::lock_type;
  using stash_type = basic_stash<storage>;
  using text = std::string;
  using us = std::chrono::microseconds;

  static constexpr bool has_again = testing::reopening_factory<Factory>;
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
  static constexpr bool has_where = requires(storage const& s, key const& k) { text(s.where(k)); };

  // put, erase and set_aside as the library calls them: with the key's lock.
  static lock_type locked(storage& s, key const& k) {
    auto lock = s.try_lock(k);
    if (!lock) throw testing::nonconformance{"try_lock(" + shown(k.str()) + "), which nobody holds: found nullopt"};
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
};

}  // namespace stash::inline v1::detail
