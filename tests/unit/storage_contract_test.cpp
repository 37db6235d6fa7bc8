// What every storage promises, whatever it keeps the bytes in; run for each.
#include <boost/mpl/list.hpp>
#include <thread>

#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::key;
using stash::record;
using stash::record_state;
using stash::time_point;
using support::code_of;

namespace {

struct in_memory {
  stash::memory_storage storage;
};
struct in_files {
  support::scratch place;
  stash::atomic_file_storage storage{place.dir()};
};
struct in_files_without_sync {
  support::scratch place;
  stash::atomic_file_storage storage{place.dir(), {.durability = stash::durability::process_crash}};
};
using all = boost::mpl::list<in_memory, in_files, in_files_without_sync>;

record const first{"first", time_point{1us}};
record const second{"second", time_point{2us}};

}  // namespace

BOOST_AUTO_TEST_SUITE(storage_contract)

BOOST_AUTO_TEST_CASE_TEMPLATE(what_is_put_is_got_and_a_second_put_replaces_it, S, all) {
  S s;
  BOOST_TEST((s.storage.get("k") == std::nullopt));
  s.storage.put("k", first);
  BOOST_TEST((s.storage.get("k") == first));
  s.storage.put("k", second);
  BOOST_TEST((s.storage.get("k") == second));
  BOOST_TEST((s.storage.get("other") == std::nullopt));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(payloads_of_any_bytes_and_sizes_and_any_time_come_back, S, all) {
  S s;
  for (std::size_t const size : {0U, 1U, 4095U, 4096U, 4097U, 500'000U}) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7);
    for (auto const t : {time_point::min(), time_point{}, time_point::max()}) {
      s.storage.put("k", {bytes, t});
      BOOST_TEST((s.storage.get("k") == record{bytes, t}));
    }
  }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(every_valid_key_has_a_record_of_its_own, S, all) {
  S s;
  std::vector<std::string> const keys{"A",
                                      "a",
                                      "%41",
                                      "%2F",
                                      "\xc3\xa9",
                                      "e\xcc\x81",
                                      "CON",
                                      "con",
                                      "a.",
                                      "a ",
                                      "-rf",
                                      ".lock",
                                      "x.stash",
                                      "'; DROP TABLE x; --",
                                      std::string(200, 'k'),
                                      ".k.0123456789abcdef.tmp"};
  for (auto const& k : keys) s.storage.put(k, {"of " + k, {}});
  for (auto const& k : keys) BOOST_TEST(s.storage.get(k)->payload == "of " + k);
  BOOST_TEST(s.storage.entries().size() == keys.size());
  BOOST_TEST(s.storage.set_aside_entries().empty());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(erase_tells_whether_there_was_one_and_is_idempotent, S, all) {
  S s;
  BOOST_TEST(!s.storage.erase("k"));
  s.storage.put("k", first);
  BOOST_TEST(s.storage.erase("k"));
  BOOST_TEST(!s.storage.erase("k"));
  BOOST_TEST((s.storage.get("k") == std::nullopt));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(entries_list_all_records_by_key_and_nothing_else, S, all) {
  S s;
  BOOST_TEST(s.storage.entries().empty());
  s.storage.put("b", first);
  s.storage.put("a", second);
  s.storage.put("gone", first);
  s.storage.set_aside("gone", "corrupt");
  auto const listed = s.storage.entries();
  BOOST_REQUIRE(listed.size() == 2U);
  BOOST_TEST((listed[0].key == "a" && listed[1].key == "b"));
  BOOST_TEST(
      (listed[0].state == record_state::intact && listed[0].saved_at == second.saved_at && listed[0].bytes == 6U));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(what_is_set_aside_is_kept_and_never_replaces_anything, S, all) {
  S s;
  std::vector<std::string> places;
  for (int i = 0; i < 20; ++i) {
    s.storage.put("k", {"value " + std::to_string(i), time_point{i * 1us}});
    places.push_back(s.storage.set_aside("k", "superseded"));
    BOOST_TEST((s.storage.get("k") == std::nullopt));
  }
  std::sort(places.begin(), places.end());
  BOOST_TEST((std::unique(places.begin(), places.end()) == places.end()));
  auto const aside = s.storage.set_aside_entries();
  BOOST_TEST(aside.size() == 20U);
  for (auto const& e : aside) {
    BOOST_TEST((e.key == "k" && e.state == record_state::intact && e.saved_at));
    BOOST_TEST(std::binary_search(places.begin(), places.end(), e.where));
  }
  BOOST_TEST(s.storage.entries().empty());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(setting_aside_nothing_is_an_error_and_any_reason_is_a_name, S, all) {
  S s;
  BOOST_TEST(code_of([&] { s.storage.set_aside("k", "corrupt"); }) == boost::system::errc::no_such_file_or_directory);
  for (std::string const& reason : {""s, "../../x"s, "a-b.c"s, std::string(300, 'x'), "\n"s}) {
    s.storage.put("k", first);
    s.storage.set_aside("k", reason);
  }
  BOOST_TEST(s.storage.set_aside_entries().size() == 5U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(purge_destroys_only_what_was_set_aside_long_enough_ago, S, all) {
  S s;
  BOOST_TEST(s.storage.purge(0us) == 0U);
  s.storage.put("kept", first);
  s.storage.put("k", first);
  s.storage.set_aside("k", "corrupt");
  BOOST_TEST(s.storage.purge(1h) == 0U);
  BOOST_TEST(s.storage.purge(std::chrono::microseconds::max()) == 0U);
  BOOST_TEST(s.storage.set_aside_entries().size() == 1U);
  BOOST_TEST(s.storage.purge(0us) == 1U);
  BOOST_TEST(s.storage.set_aside_entries().empty());
  s.storage.put("k", first);
  s.storage.set_aside("k", "corrupt");
  BOOST_TEST(s.storage.purge(std::chrono::microseconds::min()) == 1U);
  BOOST_TEST((s.storage.get("kept") == first));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_lock_excludes_all_others_of_its_key_until_it_is_gone, S, all) {
  S s;
  {
    auto const lock = s.storage.try_lock("k");
    BOOST_REQUIRE(lock.has_value());
    BOOST_TEST(lock->held());
    BOOST_TEST(!s.storage.try_lock("k").has_value());
    BOOST_TEST(s.storage.try_lock("other").has_value());
    std::thread([&] { BOOST_TEST(!s.storage.try_lock("k").has_value()); }).join();
  }
  BOOST_TEST(s.storage.try_lock("k").has_value());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_moved_lock_is_held_once, S, all) {
  S s;
  auto lock = s.storage.try_lock("k");
  {
    auto moved = std::move(*lock);
    BOOST_TEST(moved.held());
    BOOST_TEST(!lock->held());
    BOOST_TEST(!s.storage.try_lock("k").has_value());
    lock.reset();
    BOOST_TEST(!s.storage.try_lock("k").has_value());
    auto other = std::move(*s.storage.try_lock("other"));
    moved = std::move(other);  // swapped: both are held until both are gone
    BOOST_TEST(moved.held());
  }
  BOOST_TEST(s.storage.try_lock("k").has_value());
  BOOST_TEST(s.storage.try_lock("other").has_value());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_forked_child_inherits_no_lock_and_takes_none_away, S, all) {
  S s;
  auto lock = s.storage.try_lock("k");
  int const in_child = support::in_child([&] {
    bool const inert = !lock->held();
    lock.reset();  // must not unlock the parent's
    return inert ? 0 : 1;
  });
  BOOST_TEST(in_child == 0);
  BOOST_TEST(lock->held());
  BOOST_TEST(!s.storage.try_lock("k").has_value());
  int const grandchild = support::in_child([&] { return support::in_child([&] { return lock->held() ? 1 : 0; }); });
  BOOST_TEST(grandchild == 0);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(of_many_threads_one_has_the_lock, S, all) {
  S s;
  int inside = 0, most = 0, rounds = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200;) {
        auto const lock = s.storage.try_lock("k");
        if (!lock) {
          std::this_thread::yield();
          continue;
        }
        most = std::max(most, ++inside);  // not atomic: the lock must do
        ++rounds;
        --inside;
        ++i;
      }
    });
  }
  for (auto& t : threads) t.join();
  BOOST_TEST(most == 1);
  BOOST_TEST(rounds == 800);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_reader_sees_the_old_or_the_new_record_and_never_a_mixture, S, all) {
  S s;
  record const a{std::string(10'000, 'a'), time_point{1us}}, b{std::string(20'000, 'b'), time_point{2us}};
  s.storage.put("k", a);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; i < 200; ++i) s.storage.put("k", i % 2 == 0 ? b : a);
    stop = true;
  });
  std::size_t wrong = 0;
  while (!stop) {
    auto const r = s.storage.get("k");
    wrong += !r || (*r != a && *r != b);
  }
  writer.join();
  BOOST_TEST(wrong == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
