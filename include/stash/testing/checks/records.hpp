#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <map>
#include <optional>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/testing/checks/tools.hpp>
#include <stash/testing/conformance_report.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// What a storage promises of records: `put`, `get`, `erase`, `entries`.
template <testing::storage_factory Factory>
struct record_checks : conformance_base<Factory> {
  using base = conformance_base<Factory>;
  using storage = typename base::storage;
  using text = typename base::text;
  using us = typename base::us;

  static void a_fresh_storage_is_empty(Factory& f) {
    auto earlier = f.fresh();
    base::put_aside(earlier, "k", base::some("aside"));
    base::put(earlier, "k", base::some("earlier"));
    [[maybe_unused]] auto const lock = base::locked(earlier, "k");
    auto s = f.fresh();
    for (int round = 0; round < 2; ++round) {  // the first must have made nothing
      base::holds(s, "k", std::nullopt);
      base::lists(s, 0, 0);
      base::equal("purge", s.purge(us{0}), 0);
    }
    base::put(s, "k", base::some("later"));
    base::holds(earlier, "k", base::some("earlier"));
  }

  static void come_back(storage s, std::vector<record> const& records) {
    for (auto const& r : records) {
      base::put(s, "k", r);
      base::holds(s, "k", r);
      base::holds(s, "other", std::nullopt);
      base::lists(s, 1, 0);
    }
  }
  static void what_is_put_is_got_until_replaced(Factory& f) {
    come_back(f.fresh(), {base::some("first", 1), base::some("second", 2), base::some("2nd", 2), base::some("2nd", 1)});
  }
  static void any_payload_comes_back(Factory& f) {
    std::vector<record> records;
    for (char const* const payload : {"\n", "a\n", "\r\n", " ", "1.0", "NULL", "'", "\\x41", "{\"a\":1}\n{}"}) {
      records.push_back(base::some(payload));
    }
    for (std::size_t const size : {0U, 1U, 4095U, 4096U, 4097U, 500'000U}) {
      text& bytes = records.emplace_back(base::some(text(size, '\0'))).payload;
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
    auto const keys = base::odd_keys();
    for (auto const& k : keys) base::put(s, k, base::of(k));
    for (auto const& k : keys) base::holds(s, k, base::of(k));
    base::lists(s, keys.size(), 0);
    for (auto const& k : keys) base::equal("base::erase(" + base::shown(k.str()) + ")", base::erase(s, k), true);
  }

  static void a_long_key_is_served_or_invalid(Factory& f) {
    auto s = f.fresh();
    std::size_t served = 0;
    for (text const letter : {"A", "\xc3\xa9", "\xf0\x9f\x97\x84"}) {
      text k;
      while (k.size() < key::max_size) k += letter;
      auto const refused = base::code_of([&] { base::put(s, k, base::some("long")); });
      base::equal("put: " + base::shown(refused), !refused || refused == errc::invalid_key, true);
      if (!refused) base::holds(s, k, base::some("long"));
      base::lists(s, served += !refused, 0);
    }
  }

  static void erase_tells_and_is_idempotent(Factory& f) {
    auto s = f.fresh();
    base::equal("erase of nothing", base::erase(s, "k"), false);
    base::put(s, "k", base::some("erased"));
    base::equal("erase", base::erase(s, "k"), true);
    base::holds(s, "k", std::nullopt);
    base::equal("erase again", base::erase(s, "k"), false);
  }

  static void entries_tell_all_by_key(Factory& f) {
    auto s = f.fresh();
    std::map<key, record> expected;  // by bytes: capitals first
    for (auto const* const k : {"b", "\xc3\xa9", "a b", "B", "a", "a-b", "10", "9"}) {
      record const r = base::some(text(expected.size() * 1000, 'x'), 2 - std::ssize(expected));
      base::put(s, k, r);
      expected.emplace(k, r);
    }
    auto const found = s.entries();
    base::equal("entries().size()", found.size(), expected.size());
    auto e = found.begin();
    for (auto const& [k, r] : expected) base::describes(*e++, k, r);
  }

  static void puts_from_many_threads_all_arrive(Factory& f) {
    auto s = f.fresh();
    auto const name = [](int i) { return key("key " + std::to_string(i)); };
    base::in_threads(4, [&](int thread) {
      for (int i = thread; i < 1000; i += 4) base::put(s, name(i), base::of(name(i)));
    });
    base::lists(s, 1000, 0);
    for (int i = 0; i < 1000; ++i) base::holds(s, name(i), base::of(name(i)));
  }

  static void replace_while_reading(storage& writer, storage const& reader) {
    record const a = base::some(text(10'000, 'a'), 1), b = base::some(text(20'000, 'b'), 2);
    base::put(writer, "k", a);
    std::atomic<int> reads{0};
    std::atomic<bool> done{false};
    auto reading = std::async(std::launch::async, [&] {
      for (; !done; ++reads) {
        auto const r = reader.get("k");
        if (r != a && r != b)
          throw testing::nonconformance{"expected the old record or the new, found " + base::shown(r)};
      }
    });
    struct at_end {
      std::atomic<bool>& flag;
      ~at_end() { flag = true; }
    };
    {
      at_end const tell{done};
      for (int i = 0; i < 50 || (i < 1000 && reads < 20); ++i) base::put(writer, "k", i % 2 == 0 ? b : a);
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
    base::put_aside(s, "gone", base::some("gone"));
    base::put(s, "k", base::some("kept"));
    storage moved{std::move(s)};
    base::holds(moved, "k", base::some("kept"));
    target = std::move(moved);
    s = std::move(target);
    base::holds(s, "k", base::some("kept"));
    base::lists(s, 1, 1);
  }
};

}  // namespace stash::inline v1::detail
