// Damaged bytes in the file: the record that they were of is corrupt, and no other.
#include <atomic>
#include <cstdint>
#include <stash/storage/journal.hpp>
#include <thread>
#include <utility>

#include "journal_fixture.hpp"
#include "support.hpp"

namespace journal_damage_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::record;
using stash::record_state;
using stash::detail::frame_head;
using stash::detail::frame_kind;
using support::code_of;
using support::message_of;
namespace fs = boost::filesystem;

namespace {

using journal_test::first;
using journal_test::fixture;
using journal_test::got;
using journal_test::second;
using journal_test::some;
using journal_test::states;
using journal_test::third;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(journal, fixture)

BOOST_AUTO_TEST_CASE(one_damaged_byte_makes_one_record_corrupt_and_nothing_is_cut) {
  {
    auto s = open();
    for (auto const* const k : {"a", "b", "c"}) s.put(k, some("the words of "s + k));
  }
  auto const whole = bytes();
  auto const f = frame_of("b");
  auto const padding_at = f.body_at + "the words of b"s.size();
  for (std::uint64_t at = f.at; at < padding_at; ++at) {
    support::write(file, whole);
    flip(at);
    auto s = open();
    BOOST_REQUIRE(got(s, "a") == "the words of a");
    BOOST_REQUIRE(got(s, "b") == "corrupt");
    BOOST_REQUIRE(got(s, "c") == "the words of c");
    BOOST_REQUIRE(got(s, "d") == "absent");
    BOOST_REQUIRE(states(s) == "a intact b corrupt c intact ");
  }
  auto s = open();
  BOOST_TEST(message_of([&] { s.get("b"); }).find("are damaged") != std::string::npos);
  auto const where = s.set_aside("b", "corrupt");
  BOOST_TEST(got(s, "b") == "absent");
  BOOST_TEST(s.aside(where)->payload.find("the words of") != std::string::npos);
  BOOST_TEST((s.set_aside_entries().at(0).state == record_state::corrupt));
  s.put("b", second);
  BOOST_TEST(got(s, "b") == "second");
}

BOOST_AUTO_TEST_CASE(of_a_flipped_bit_anywhere_no_record_is_absent_and_at_most_one_is_corrupt) {
  for (auto const durability : {stash::durability::power_loss, stash::durability::process_crash}) {
    for (bool const is_closed : {true, false}) {
      fs::remove_all(dir());
      stash::journal_options const how{.durability = durability, .chunk = 4096};
      auto const fill = [](auto& s) {
        std::vector<std::pair<stash::key, record>> group;
        for (char k = 'a'; k < 'e'; ++k) s.put(std::string(1, k), some("the words of "s + k));
        for (char k = 'e'; k < 'i'; ++k) group.emplace_back(std::string(1, k), some("the words of "s + k));
        s.put_all(group);  // acknowledged last
      };
      if (is_closed) {
        auto s = open(how);
        fill(s);
      } else {
        crash_with(fill, how);
      }
      auto const whole = bytes();
      auto const end = frames().back().at + frames().back().size;
      for (std::uint64_t at = 64; at < end; ++at) {
        auto damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
        support::write(file, damaged);
        auto const check = [&](auto const& s) {
          int corrupt = 0;
          for (char k = 'a'; k < 'i'; ++k) {
            auto const found = got(s, std::string(1, k));
            corrupt += found == "corrupt";
            BOOST_REQUIRE_MESSAGE((found == "corrupt" || found == "the words of "s + k),
                                  found << " of " << k << " at " << at);
          }
          BOOST_REQUIRE_MESSAGE(corrupt <= 1, corrupt << " at " << at);
          BOOST_REQUIRE(got(s, "never seen") == "absent");
        };
        {
          auto s = open(how);
          check(s);
          BOOST_REQUIRE(s.entries().size() == 8U);
        }
        BOOST_REQUIRE(bytes() == damaged);  // who reads erases nothing
        if (at % 5 != 0) continue;
        {
          auto s = open(how);
          s.put("more", first);
          check(s);
        }
        auto s = open(how);
        check(s);
        for (char k = 'a'; k < 'i'; ++k) {  // and what is left of it can be had
          if (got(s, std::string(1, k)) != "corrupt") continue;
          auto const where = s.set_aside(std::string(1, k), "corrupt");
          auto const left = s.aside(where)->payload;
          BOOST_REQUIRE((left.find("the ") != left.npos || left.find("words") != left.npos));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(damage_in_what_an_older_version_wrote_without_a_sync_is_damage) {
  crash_with([](auto& s) { s.put("first", first); });
  {
    stash::posix_file_ops const posix;
    stash::detail::operation const op{"test", {}};
    auto const path = dir();
    auto const d = stash::detail::directory<stash::posix_file_ops>::open(posix, path, op);
    auto j =
        stash::detail::journal_file<stash::posix_file_ops>::open(posix, *d, stash::detail::access::write, true, op);
    struct {
      void frame(frame_head const&, std::string_view) {}
      void damage(stash::detail::journal_damage const&) {}
    } ignore;
    j->replay(ignore, op);
    for (auto const* const k : {"a", "b", "c"}) {  // as 0.1 did: `synced` stays where it was
      stash::detail::new_frame frame{.head = {.kind = frame_kind::put, .key = k}, .body = "the words"};
      j->prepare({&frame, 1});
      j->append({&frame, 1}, j->parts_of({&frame, 1}), op);
    }
  }
  BOOST_TEST(states(open()) == "a intact b intact c intact first intact ");
  flip(frame_of("b").body_at);
  BOOST_TEST(states(open()) == "a intact b corrupt c intact first intact ");
  flip(frame_of("b").at);
  BOOST_TEST(states(open()) == "a intact b corrupt c intact first intact ");
}

BOOST_AUTO_TEST_CASE(what_is_damaged_while_the_file_is_open_is_seen_when_it_is_read) {
  auto s = open();
  s.put("k", first);
  flip(frame_of("k").body_at);
  BOOST_TEST(got(s, "k") == "corrupt");
  flip(frame_of("k").body_at);
  flip(frame_of("k").at);
  BOOST_TEST(got(s, "k") == "corrupt");
}

BOOST_AUTO_TEST_CASE(a_damaged_replacement_does_not_bring_the_old_value_back_and_the_old_value_is_kept) {
  {
    auto s = open();
    s.put("k", first);
    s.put("k", second);
    s.put("other", third);
  }
  auto const whole = bytes();
  for (auto const at : {frame_of("k", 2).at, frame_of("k", 2).body_at}) {
    support::write(file, whole);
    flip(at);
    auto s = open();
    BOOST_TEST(got(s, "k") == "corrupt");
    BOOST_TEST(got(s, "other") == "third");
    auto const aside = s.set_aside_entries();
    BOOST_REQUIRE(aside.size() == 1U);
    BOOST_TEST((s.aside(aside.at(0).where) == first));
  }
}

BOOST_AUTO_TEST_CASE(a_damaged_erase_is_not_forgotten) {
  {
    auto s = open();
    s.put("k", first);
    s.erase("k");
    s.put("other", third);
  }
  flip(frame_of("k", 2).at);
  auto s = open();
  BOOST_TEST(got(s, "k") == "corrupt");
  BOOST_TEST(s.erase("k"));
  BOOST_TEST(got(s, "k") == "absent");
}

BOOST_AUTO_TEST_CASE(damage_of_what_concerns_no_record_is_passed_over) {
  {
    auto s = open();
    s.put("k", first);
    s.put("x", second);
    s.set_aside("x", "superseded");
    s.purge(0s);
    s.put("other", third);
  }
  auto const all = frames();
  auto const whole = bytes();
  for (auto const& f : all) {
    if (f.kind != frame_kind::purge && f.kind != frame_kind::synced) continue;
    if (f.at == all.back().at) continue;
    for (auto const at : {f.at, f.kind == frame_kind::purge ? f.body_at : f.at + 8}) {
      support::write(file, whole);
      flip(at);
      auto s = open();
      BOOST_TEST(states(s) == "k intact other intact ");
    }
  }
}

BOOST_AUTO_TEST_CASE(damage_of_a_set_aside_loses_no_word) {
  {
    auto s = open();
    s.put("k", first);
    s.set_aside("k", "superseded");
    s.put("other", third);
  }
  flip(frame_of("k", 2).body_at);
  auto s = open();
  BOOST_TEST(got(s, "k") == "corrupt");
  auto const aside = s.set_aside_entries();
  BOOST_REQUIRE(aside.size() == 1U);
  BOOST_TEST((s.aside(aside.at(0).where) == first));
}

BOOST_AUTO_TEST_CASE(the_first_bytes_are_there_twice_and_without_both_nothing_is_believed) {
  open().put("k", first);
  auto const whole = bytes();
  for (std::uint64_t at = 0; at < 64; ++at) {
    support::write(file, whole);
    flip(at);
    BOOST_REQUIRE(got(open(), "k") == "first");
  }
  flip(3);
  auto const damaged = bytes();
  auto s = open();
  BOOST_TEST(got(s, "k") == "corrupt");
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::corrupt);
  BOOST_TEST(bytes() == damaged);
}

BOOST_AUTO_TEST_CASE(one_changed_byte_of_a_head_is_mended) {
  {
    auto s = open();
    for (auto const* const k : {"a", "b", "c"}) s.put(k, some("the words of "s + k));
  }
  auto const whole = bytes();
  for (auto const& f : frames()) {
    for (std::uint64_t at = f.at; at < f.at + 90; at += 7) {
      support::write(file, whole);
      overwrite(at, std::string(1, static_cast<char>(~whole[at])));
      auto s = open();
      for (auto const* const k : {"a", "b", "c"}) {
        BOOST_TEST(got(s, k) == (f.key == k ? "corrupt" : "the words of "s + k), at - f.at << " of " << f.key);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(zeros_in_a_payload_are_no_gap_where_only_the_head_is_damaged) {
  crash_with([](auto& s) {
    s.put("k", first);
    s.put("k", some(std::string(300, '\0')));
  });
  flip(frame_of("k", 2).at + 20);
  BOOST_TEST(got(open(), "k") == "corrupt");
}

BOOST_AUTO_TEST_CASE(of_a_group_one_damaged_frame_takes_no_other_with_it) {
  std::atomic<int> waiting{0};
  {
    auto s = spoiled();
    s.put("first", first);
    *ops.before = [&](std::string_view call) {
      while (call == "fdatasync" && waiting < 4) std::this_thread::sleep_for(1ms);  // the rest are one group
      return 0;
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        if (++waiting == 4) std::this_thread::sleep_for(20ms);
        s.put("k" + std::to_string(t), second);
      });
    }
    for (auto& t : threads) t.join();
    s.put("last", third);
  }
  auto const whole = bytes();
  for (int t = 0; t < 4; ++t) {
    support::write(file, whole);
    flip(frame_of("k" + std::to_string(t)).at);
    auto s = open();
    for (int other = 0; other < 4; ++other) {
      BOOST_TEST(got(s, "k" + std::to_string(other)) == (other == t ? "corrupt" : "second"));
    }
    BOOST_TEST(got(s, "first") == "first");
    BOOST_TEST(got(s, "last") == "third");
  }
}

BOOST_AUTO_TEST_CASE(a_whole_frame_that_is_not_the_next_is_none) {
  {
    auto s = open();
    s.put("a", first);
    s.put("b", second);
  }
  auto const whole = bytes();
  auto const f = frame_of("b");
  auto const salt = stash::detail::journal_head::decode(std::string_view(whole).substr(0, 64))->salt;
  for (bool const is_sequence : {true, false}) {
    support::write(file, whole);
    auto head = *frame_head::decode(std::string_view(whole).substr(f.at), f.at, salt);
    (is_sequence ? head.sequence : head.previous) += 1;
    overwrite(f.at, head.encode(salt) + "second" + std::string(whole.size() - f.body_at - 6, '\0'));
    auto s = open();
    BOOST_TEST(states(s) == "a corrupt ");  // it is no torn one either
    BOOST_TEST(got(s, "b") == "corrupt");
  }
}

BOOST_AUTO_TEST_CASE(a_frame_that_was_left_behind_the_end_is_none) {
  {
    auto s = open();
    s.put("a", first);
  }
  auto const whole = bytes();
  auto const f = frame_of("a");
  auto const salt = stash::detail::journal_head::decode(std::string_view(whole).substr(0, 64))->salt;
  auto head = *frame_head::decode(std::string_view(whole).substr(f.at), f.at, salt);
  head.offset = frames().back().at + 1000;
  head.synced = head.offset;
  overwrite(head.offset, head.encode(salt) + "first");
  auto s = open();
  BOOST_TEST(states(s) == "a intact ");
  s.put("b", second);
  BOOST_TEST(states(s) == "a intact b intact ");
}

BOOST_AUTO_TEST_CASE(a_large_damaged_record_takes_no_other_with_it) {
  {
    auto s = open();
    s.put("a", first);
    s.put("b", some(std::string(3'000'000, 'x')));
    s.put("c", second);
  }
  auto const f = frame_of("b");
  flip(f.body_at + 1'000'000);
  {
    auto s = open();
    BOOST_TEST(states(s) == "a intact b corrupt c intact ");
  }
  flip(f.at);
  flip(frame_of("a").at);
  BOOST_TEST(states(open()) == "a corrupt b corrupt c intact ");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace journal_damage_test
