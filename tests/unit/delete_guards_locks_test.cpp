// How the locks of all keys are taken, held and released, and what many of them cost.
#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <span>
#include <stash/delete_guards.hpp>
#include <thread>

#include "delete_guards_fixture.hpp"
#include "support.hpp"

namespace delete_guards_locks_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using support::code_of;
using support::os;

namespace {

using delete_guards_test::fixture;

/// What a storage is to who locks many; each lock takes 20 ms.
struct slow_locks {
  using lock_type = std::string;
  std::optional<std::string> try_lock(stash::key const& k) {
    std::this_thread::sleep_for(20ms);
    asked.emplace_back(k.str());
    return k == "held" ? std::nullopt : std::optional(asked.back());
  }
  std::vector<std::string> asked;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(delete_guards, fixture)

BOOST_AUTO_TEST_CASE(one_that_is_busy_frees_all_and_nothing_was_asked_or_changed) {
  {
    auto const taken = store.storage().try_lock("b");
    BOOST_TEST(code_of([&] { auto const g = guard(); }) == errc::busy);
    BOOST_TEST((asked.empty() && log.kinds.empty()));
    BOOST_TEST((store.storage().try_lock("a") && store.storage().try_lock("c")));
  }
  BOOST_TEST(all_stashed() == "- - - ");
  BOOST_TEST(all_free());
}
BOOST_AUTO_TEST_CASE(all_are_held_until_the_guard_ends) {
  auto g = guard();
  for (char const* const k : {"a", "b", "c"}) BOOST_TEST(!store.storage().try_lock(k));
  g.commit();
}
BOOST_AUTO_TEST_CASE(locks_are_taken_in_the_order_of_the_keys_until_one_is_busy) {
  auto const taken = store.storage().try_lock("b");
  keys = {"c", "b", "a"};
  bool looked = false, is_free = false;
  std::jthread looking;
  *ops.before = [&](std::string_view call) {
    if (call == "open_lock" && !looked) {
      looked = true;
      looking = std::jthread([this, &is_free] {
        stash::file_stash other{dir()};
        while (other.storage().try_lock("a")) std::this_thread::sleep_for(1ms);  // comes before "b", and waits with it
        is_free = other.storage().try_lock("c").has_value();
      });
    }
    return 0;
  };
  BOOST_TEST(code_of([&] { auto const g = guard({.wait_for_lock = 300ms}); }) == errc::busy);
  heal();  // `taken` is released after `looking` has ended
  looking.join();
  BOOST_TEST(is_free);  // not in the thread: Boost.Test is for one at a time
}
BOOST_AUTO_TEST_CASE(all_wait_for_the_same_time_together) {
  slow_locks storage;
  stash::detail::lock_set<slow_locks> locks;
  BOOST_TEST(code_of([&] { locks.take(storage, {"a", "b", "held"}, 30ms, "test"); }) == errc::busy);
  BOOST_TEST((storage.asked == std::vector{"a"s, "b"s, "held"s}), boost::test_tools::per_element());
  BOOST_TEST(locks.size() == 2U);
}
BOOST_AUTO_TEST_CASE(a_key_that_is_given_twice_is_refused_before_anything_is_locked) {
  keys = {"a", "b", "a"};
  int const locked = count("lock_byte", [&] {
    try {
      auto const g = guard();
      BOOST_ERROR("not refused");
    } catch (stash::error const& e) {
      BOOST_TEST(e.code() == os(EINVAL));
      BOOST_TEST((e.operation() == "delete_guards" && e.subject() == "a"));
    }
  });
  BOOST_TEST(locked == 0);
}
BOOST_AUTO_TEST_CASE(no_keys_are_no_trouble) {
  keys.clear();
  auto g = guard();
  g.commit();
  BOOST_TEST(!support::fs::exists(dir()));
}
BOOST_AUTO_TEST_CASE(of_a_key_that_is_not_the_guards_nothing_is_told) {
  auto g = guard();
  for (char const* const k : {"0", "aa", "z"}) {
    BOOST_TEST(code_of([&] { static_cast<void>(g.value(k)); }) == os(EINVAL), k);
  }
  BOOST_TEST(code_of([&] { static_cast<void>(g.origin("z")); }) == os(EINVAL));
  BOOST_TEST(code_of([&] { static_cast<void>(g.age("z")); }) == os(EINVAL));
  g.release();
}

BOOST_AUTO_TEST_CASE(many_keys_have_one_descriptor_and_a_number_of_calls_that_grows_no_faster_than_they) {
  auto const calls_for = [&](int n) {
    many(n);
    int locks = 0, lists = 0;
    std::map<std::string, int> calls;
    *ops.before = [&](std::string_view call) { return ++calls[std::string(call)], 0; };
    auto g = guard();
    BOOST_TEST(calls["open_lock"] == 1);
    locks = calls["lock_bytes"] + calls["unlock_bytes"] + calls["lock_byte"];
    g.commit();
    heal();
    for (auto const& [call, count] : calls) lists += call == "list" ? count : 0;
    BOOST_TEST(lists == 0);
    return locks;
  };
  BOOST_TEST(calls_for(100) <= 100);
  BOOST_TEST(calls_for(400) <= 400);
}
BOOST_AUTO_TEST_CASE(two_hundred_keys_need_no_two_hundred_descriptors) {
  many(200);
  BOOST_TEST(support::in_child([&] {
               rlimit const few{170, 170};  // files are written 128 at a time
               if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
               guard().commit();
               if (!store.entries().empty()) return 2;
               auto g = guard();
               support::fs::remove(dir() / ".lock");  // each key is locked again before it is restored
               if (g.rollback().restored != 200) return 3;
               std::map<std::string, int> all;
               for (auto const& k : keys) all[k] = 1;
               store.save_all(all);
               auto const report = stash::recover<int>(
                   store, [](auto const&) { return false; }, [](auto const&, int) {});
               return report.restored == 200 && store.entries().empty() ? 0 : 4;
             }) == 0);
}
BOOST_AUTO_TEST_CASE(many_locks_exclude_theirs_and_no_others) {
  many(100);
  stash::file_stash other{dir()};
  std::vector<stash::atomic_file_storage::lock_type> strangers;
  for (int i = 0; i < 10; ++i) strangers.push_back(other.storage().try_lock("stranger" + std::to_string(i)).value());
  auto g = guard();
  for (auto const& k : keys) BOOST_TEST(!other.storage().try_lock(k));
  for (int i = 0; i < 20; ++i) BOOST_TEST(other.storage().try_lock("s" + std::to_string(i)).has_value());
  for (auto const& one : strangers) BOOST_TEST(one.held());
  g.commit();
}
BOOST_AUTO_TEST_CASE(of_many_locks_one_that_is_busy_frees_all) {
  many(100);
  stash::file_stash other{dir()};
  for (std::size_t const busy : {std::size_t{0}, std::size_t{99}, std::size_t{50}}) {
    auto const taken = other.storage().try_lock(keys[busy]);
    BOOST_TEST(code_of([&] { auto const g = guard(); }) == errc::busy);
    BOOST_TEST(asked.empty());
    for (auto const& k : keys) BOOST_TEST((k == keys[busy] || other.storage().try_lock(k)));
  }
}
BOOST_AUTO_TEST_CASE(of_many_locks_those_before_a_busy_one_are_held_while_it_waits) {
  many(200);
  auto sorted = keys;
  std::ranges::sort(sorted);
  stash::file_stash other{dir()};
  std::vector<stash::atomic_file_storage::lock_type> strangers;  // all that lies between is locked in parts
  for (int i = 0; i < 20; ++i) strangers.push_back(other.storage().try_lock("s" + std::to_string(i)).value());
  auto taken = other.storage().try_lock(sorted[100]);
  std::jthread const release([&] {
    while (other.storage().try_lock(sorted[99])) std::this_thread::sleep_for(1ms);
    for (std::size_t i = 101; i < sorted.size(); ++i) BOOST_TEST(other.storage().try_lock(sorted[i]).has_value());
    taken.reset();
  });
  guard({.wait_for_lock = 60s}).commit();
}
BOOST_AUTO_TEST_CASE(of_many_locks_of_which_some_were_taken_just_now_none_is_kept_while_it_tries_again) {
  many(100);
  stash::file_stash other{dir()};
  std::vector<stash::atomic_file_storage::lock_type> strangers;  // all that lies between is locked in parts
  for (int i = 0; i < 5; ++i) strangers.push_back(other.storage().try_lock("s" + std::to_string(i)).value());
  int calls = 0;
  *ops.before = [&](std::string_view call) {
    if (call != "lock_bytes" || ++calls > 3) return 0;
    if (calls == 2) return EAGAIN;
    bool is_free = true;
    for (auto const& k : keys) is_free = is_free && other.storage().try_lock(k);
    BOOST_TEST(is_free);
    return 0;
  };
  guard().commit();
  BOOST_TEST(calls > 3);
  heal();
}
BOOST_AUTO_TEST_CASE(a_stranger_who_comes_while_many_are_locked_is_not_told_that_he_is_busy) {
  many(100);
  stash::file_stash other{dir()};
  std::jthread stranger, others_batch;
  bool came = false;
  *ops.before = [&](std::string_view call) {
    if (call != "unlock_bytes" || came) return 0;
    came = true;  // all that is between the first key and the last is locked
    stranger = std::jthread([&] {
      for (int i = 0; i < 20; ++i) BOOST_TEST(other.storage().try_lock("s" + std::to_string(i)).has_value());
    });
    others_batch = std::jthread([&] {
      std::map<std::string, int> all;
      for (int i = 0; i < 100; ++i) all["t" + std::to_string(i)] = i;
      other.save_all(all);
    });
    std::this_thread::sleep_for(30ms);
    return 0;
  };
  auto g = guard();
  stranger.join();
  others_batch.join();
  heal();
  BOOST_TEST(other.entries().size() == 200U);
  g.commit();
}
BOOST_AUTO_TEST_CASE(whoever_keeps_all_between_locked_is_waited_for_up_to_a_second) {
  many(100);
  stash::file_stash other{dir()};
  auto const made = other.storage().try_lock("first");
  stash::posix_file_ops real;
  int const fd = real.open_lock(AT_FDCWD, (dir() / ".lock").c_str(), O_RDWR, 0);
  BOOST_REQUIRE(real.lock_bytes(fd, 0, 0) != 0);  // "first" is in it
  BOOST_REQUIRE(other.storage().try_lock("second").has_value());
  auto const behind = stash::detail::file_lock<stash::posix_file_ops>::byte_of("first") + 1;
  BOOST_REQUIRE(real.lock_bytes(fd, behind, 0) == 0);
  BOOST_TEST(code_of([&] { auto const g = guard(); }) == errc::busy);
  real.close_lock(fd);
  guard().commit();
}
BOOST_AUTO_TEST_CASE(bytes_that_lie_side_by_side_are_locked_as_others_are) {
  using file = stash::detail::byte_locks<stash::posix_file_ops>;
  stash::posix_file_ops const real;
  auto const ours = file::open(real, dir(), false, {"test", {}}, nullptr),
             others = file::open(real, dir(), false, {"test", {}}, nullptr);
  std::vector<off_t> bytes;
  for (off_t i = 0; i < 100; ++i) bytes.push_back(i < 50 ? i : 2 * i);
  BOOST_TEST(ours->lock(bytes, {"test", {}}) == 100U);
  for (off_t const free : {off_t{50}, off_t{99}, off_t{101}, off_t{199}}) BOOST_TEST(others->lock_again(free));
  for (off_t const locked : bytes) BOOST_TEST(!others->lock_again(locked));
  off_t start = 0, count = 1;
  BOOST_TEST(!real.find_lock(-1, start, count));  // nobody is known to have it
}
BOOST_AUTO_TEST_CASE(many_locks_that_cannot_be_taken_are_an_error) {
  many(100);
  for (char const* const call : {"lock_bytes", "unlock_bytes"}) {
    spoil(call, ENOLCK);
    BOOST_TEST(code_of([&] { auto const g = guard(); }) == os(ENOLCK));
    heal();
  }
  BOOST_TEST(asked.empty());
}
BOOST_AUTO_TEST_CASE(many_locks_are_taken_though_another_had_one_until_just_now) {
  many(100);
  spoil("lock_bytes", EAGAIN);
  guard().commit();
  BOOST_TEST(store.entries().empty());
}
BOOST_AUTO_TEST_CASE(of_locks_that_share_a_descriptor_each_is_released_by_itself) {
  std::vector<stash::key> const all{"a", "b", "c"};
  std::vector<support::spoiled_storage::lock_type> locks;
  store.storage().try_lock_all(std::span(all).first(1), locks);
  BOOST_TEST(count("open_lock", [&] { store.storage().try_lock_all(std::span(all).subspan(1), locks); }) == 0);
  BOOST_REQUIRE(locks.size() == 3U);
  locks.pop_back();
  BOOST_TEST((!store.storage().try_lock("a") && !store.storage().try_lock("b") && store.storage().try_lock("c")));
  BOOST_TEST(support::in_child([&] {  // which joins none of its parent's
               store.storage().try_lock_all(std::span(all).subspan(2), locks);
               bool const has_its_own = locks.size() == 3 && locks[2].held() && !locks[1].held();
               locks.clear();  // which releases none of its parent's
               return has_its_own ? 0 : 1;
             }) == 0);
  BOOST_TEST((!store.storage().try_lock("a") && !store.storage().try_lock("b")));
  support::fs::remove(dir() / ".lock");
  store.storage().try_lock_all(std::span(all).subspan(2), locks);
  BOOST_TEST((!locks[0].held() && locks[2].held()));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace delete_guards_locks_test
