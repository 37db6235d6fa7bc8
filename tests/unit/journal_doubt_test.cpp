// A torn end, which is cut, and damage of which nobody can tell what was there: it makes doubtful whatever was not
// written since.
#include <cstdint>
#include <stash/storage/journal.hpp>
#include <thread>
#include <utility>

#include "journal_fixture.hpp"
#include "support.hpp"

namespace journal_doubt_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::record;
using stash::record_state;
using stash::detail::frame_head;
using stash::detail::frame_kind;
using support::names;
namespace fs = boost::filesystem;

namespace {

using journal_test::first;
using journal_test::fixture;
using journal_test::frame_seen;
using journal_test::got;
using journal_test::second;
using journal_test::some;
using journal_test::states;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(journal, fixture)

BOOST_AUTO_TEST_CASE(what_was_written_over_the_last_frames_makes_doubtful_what_was_there_before) {
  for (auto const durability : {stash::durability::power_loss, stash::durability::process_crash}) {
    fs::remove_all(dir());
    crash_with(
        [](auto& s) {
          for (auto const* const k : {"a", "b", "c"}) s.put(k, some(std::string(100, *k)));
        },
        {.durability = durability});
    overwrite(frame_of("b").at - 8, std::string(frame_of("b").size + 200, '\xff'));
    for (int i = 0; i < 3; ++i) {
      auto s = open();
      for (auto const* const k : {"a", "b", "c"}) BOOST_TEST(got(s, k) == "corrupt");
      s.put("later", some(std::to_string(i)));
      BOOST_TEST(got(s, "later") == std::to_string(i));
    }
  }
}

BOOST_AUTO_TEST_CASE(zeros_amid_what_was_not_synced_make_doubtful_what_was_not_either) {
  stash::journal_options const unsynced{.durability = stash::durability::process_crash};
  open().put("synced", first);
  crash_with(
      [](auto& s) {
        for (auto const* const k : {"a", "b", "c", "d"}) s.put(k, some(std::string(200, *k)));
      },
      unsynced);
  auto const b = frame_of("b"), c = frame_of("c");
  overwrite(b.at, std::string(b.size + c.size, '\0'));
  for (int i = 0; i < 3; ++i) {
    auto s = open(unsynced);
    BOOST_TEST(got(s, "synced") == "first");
    for (auto const* const k : {"a", "b", "c"}) BOOST_TEST(got(s, k) == "corrupt");
    BOOST_TEST(got(s, "d") == std::string(200, 'd'));
    s.put("later", some(std::to_string(i)));
  }
}

// As a failed sync may leave it: of what was not synced only the last was written, and that says what was.
BOOST_AUTO_TEST_CASE(what_only_the_last_frame_says_to_be_synced_is_not_doubted) {
  stash::journal_options const unsynced{.durability = stash::durability::process_crash};
  crash_with([](auto& s) { s.put("synced", first); });
  auto const end = frames().back().at + frames().back().size;
  crash_with(
      [](auto& s) {
        for (auto const* const k : {"a", "b", "c"}) s.put(k, some(std::string(200, *k)));
      },
      unsynced);
  auto const c = frame_of("c");
  overwrite(end, std::string(c.at - 8 - end, '\0') + "the tail");  // of b, in the block in which c begins
  for (int i = 0; i < 3; ++i) {
    auto s = open(unsynced);
    BOOST_TEST(got(s, "synced") == "first");
    for (auto const* const k : {"a", "b"}) BOOST_TEST(got(s, k) == "corrupt");
    BOOST_TEST(got(s, "c") == std::string(200, 'c'));
    s.put("later", some(std::to_string(i)));
  }
}

BOOST_AUTO_TEST_CASE(damage_about_nobody_knows_which_keys_makes_doubtful_what_was_not_written_since) {
  {
    auto s = open();
    for (auto const* const k : {"old", "x", "y", "new"}) s.put(k, some("the words of "s + k));
  }
  zero_x_and_y();
  auto const check = [&](auto& s) {
    BOOST_TEST(got(s, "old") == "corrupt");
    BOOST_TEST(got(s, "x") == "corrupt");
    BOOST_TEST(got(s, "never seen") == "corrupt");
    BOOST_TEST(got(s, "new") == "the words of new");
    BOOST_TEST(states(s) == "new intact old corrupt ");
  };
  {
    auto s = open();
    check(s);
    BOOST_TEST(s.erase("never seen"));
    BOOST_TEST(!s.erase("never seen"));
    BOOST_TEST(got(s, "never seen") == "absent");
    auto const where = s.set_aside("old", "corrupt");
    BOOST_TEST(s.aside(where)->payload == "the words of old");
    BOOST_TEST((s.set_aside_entries().at(0).state == record_state::intact));
    s.set_aside("x", "corrupt");
    BOOST_TEST(got(s, "x") == "absent");
  }
  auto s = open();
  BOOST_TEST(got(s, "never seen") == "absent");
  BOOST_TEST(got(s, "x") == "absent");
  BOOST_TEST(got(s, "y") == "corrupt");
  s.put("y", second);
  BOOST_TEST(got(s, "y") == "second");
}

BOOST_AUTO_TEST_CASE(what_was_erased_after_such_damage_is_absent_and_what_is_damaged_then_is_corrupt) {
  {
    auto s = open();
    for (auto const* const k : {"x", "y", "z", "new"}) s.put(k, some("the words of "s + k));
  }
  zero_x_and_y();
  {
    auto s = open();
    s.erase("z");
    BOOST_TEST(states(s) == "new intact ");
    s.put("z", first);
    s.put("last", first);
  }
  auto const all = bytes();
  flip(all.find("z", all.rfind("stframe1", all.find("first")) + 72));
  auto s = open();
  BOOST_TEST(got(s, "z") == "corrupt");
  BOOST_TEST(got(s, "last") == "first");
}

BOOST_AUTO_TEST_CASE(doubt_ends_when_what_is_left_of_the_damage_is_purged) {
  {
    auto s = open();
    for (auto const* const k : {"old", "x", "y", "new"}) s.put(k, some("the words of "s + k));
  }
  zero_x_and_y();
  {
    auto s = open();
    s.set_aside("x", "corrupt");
    BOOST_TEST(s.purge(0s) == 1U);
    BOOST_TEST(got(s, "never seen") == "corrupt");  // for "old" is doubtful still
    s.set_aside("old", "corrupt");
    s.set_aside("never seen", "corrupt");
    s.set_aside("y", "corrupt");
    BOOST_TEST(got(s, "z") == "corrupt");
    BOOST_TEST(s.purge(1h) == 0U);
    BOOST_TEST(got(s, "z") == "corrupt");
    BOOST_TEST(s.purge(0s) == 3U);
    for (auto const* const k : {"old", "x", "z"}) BOOST_TEST(got(s, k) == "absent");
    BOOST_TEST(got(s, "new") == "the words of new");
    s.put("old", first);
  }
  auto s = open();
  BOOST_TEST(states(s) == "new intact old intact ");
  BOOST_TEST(got(s, "z") == "absent");
}

BOOST_AUTO_TEST_CASE(doubt_lasts_as_long_as_anything_of_the_damage_is_kept) {
  {
    auto s = open();
    for (auto const* const k : {"old", "x", "y", "new"}) s.put(k, some("the words of "s + k));
  }
  zero_x_and_y();
  auto s = open();
  s.set_aside("old", "corrupt");
  s.set_aside("x", "corrupt");
  std::this_thread::sleep_for(300ms);
  auto const between = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(300ms);
  s.set_aside("y", "corrupt");
  using std::chrono::microseconds;
  BOOST_TEST(s.purge(std::chrono::floor<microseconds>(std::chrono::steady_clock::now() - between)) == 2U);
  BOOST_TEST(got(s, "z") == "corrupt");
  BOOST_TEST(s.purge(0s) == 1U);
  BOOST_TEST(got(s, "z") == "absent");
}

BOOST_AUTO_TEST_CASE(a_torn_end_is_cut_and_never_counts_again) {
  crash_with([](auto& s) {
    s.put("k", first);
    s.put("torn", some(std::string(200, 'x')));
  });
  auto const torn = frame_of("torn");
  overwrite(torn.at + torn.size - 64, std::string(64, '\0'));
  auto const as_found = bytes();
  BOOST_TEST(states(open()) == "k intact ");
  BOOST_TEST(bytes() == as_found);  // who reads cuts nothing
  {
    auto s = open();
    auto const lock = s.try_lock("k");
    BOOST_TEST(bytes().substr(torn.at).find_first_not_of('\0') == std::string::npos);
    s.put("torn", some(std::string(200, 'y')));  // as long as the one that was cut
    BOOST_TEST(frame_of("torn").size == torn.size);
  }
  BOOST_TEST(states(open()) == "k intact torn intact ");
}

BOOST_AUTO_TEST_CASE(of_a_torn_group_what_is_whole_is_kept_and_what_is_not_leaves_the_old_record) {
  crash_with([&](auto& s) {
    s.put("b", first);
    s.put("erased", first);
    std::vector<std::pair<stash::key, record>> group;
    for (auto const* const k : {"a", "b", "c", "d"}) group.emplace_back(k, some(std::string(200, *k)));
    s.put_all(group);
  });
  auto const whole = bytes();
  auto const b = frame_of("b", 2), c = frame_of("c");
  // In the middle of b, the head of b, all of b and c.
  for (auto const& [from, to] :
       {std::pair(b.at + 128, b.at + 256), std::pair(b.at, b.at + 128), std::pair(b.at, c.at + c.size)}) {
    support::write(file, whole);
    auto const start = (from + 63) / 64 * 64;
    overwrite(start, std::string(to / 64 * 64 - start, '\0'));
    bool const has_c = c.at >= to;
    auto const check = [&](auto const& s) {
      BOOST_TEST(got(s, "a") == std::string(200, 'a'));
      BOOST_TEST(got(s, "b") == "first");
      BOOST_TEST(got(s, "c") == (has_c ? std::string(200, 'c') : "absent"));
      BOOST_TEST(got(s, "d") == std::string(200, 'd'));
      BOOST_TEST(got(s, "erased") == "first");
    };
    check(open());
    for (int i = 0; i < 3; ++i) {  // once others follow, it still is no damage
      auto s = open();
      check(s);
      s.put("later", some(std::to_string(i)));
      check(s);
    }
    check(open());
    BOOST_TEST((names(dir()) == std::vector{".lock"s, "stash.journal"s}));
  }
}

BOOST_AUTO_TEST_CASE(behind_the_last_frame_there_are_zeros_always) {
  for (std::uint64_t const chunk : {64U, 4096U}) {
    for (std::size_t size = 3000; size < 3600; size += 8) {
      fs::remove_all(dir());
      stash::journal_options const small{.chunk = chunk};
      {
        auto s = open(small);
        s.put("k", some(std::string(size, 'x')));
      }
      auto const last = frames().back();
      BOOST_REQUIRE(last.kind == frame_kind::synced);
      BOOST_REQUIRE(last.at + last.size < fs::file_size(file));
      auto s = open(small);
      BOOST_REQUIRE(got(s, "k") == std::string(size, 'x'));
      s.put("k", second);
    }
  }
}

BOOST_AUTO_TEST_CASE(behind_a_frame_that_ends_where_the_zeros_did_are_zeros_again) {
  crash_with([](auto& s) { s.put("a", first); });
  auto const last = frames().back();
  auto const left = fs::file_size(file) - (last.at + last.size);
  auto const size = static_cast<std::size_t>(left) - frame_head::fixed_size - 2;  // its key and the one before
  crash_with([&](auto& s) { s.put("b", some(std::string(size, 'b'))); });
  auto s = open();  // without them, the file might have been cut there
  BOOST_TEST(states(s) == "a intact b intact ");
  BOOST_TEST(got(s, "never seen") == "absent");
}

BOOST_AUTO_TEST_CASE(of_a_sector_that_was_lost_at_the_end_of_a_closed_journal_nothing_is_silent) {
  for (auto const durability : {stash::durability::power_loss, stash::durability::process_crash}) {
    for (std::size_t size = 200; size < 800; size += 40) {
      fs::remove_all(dir());
      {
        auto s = open({.durability = durability});
        for (auto const* const k : {"a", "b", "a"}) s.put(k, some(std::string(size, *k)));
      }
      auto const last = frame_of("a", 2);
      overwrite((last.at + last.size - 1) / 512 * 512, std::string(512, '\0'));
      auto s = open();
      BOOST_TEST(got(s, "a") == "corrupt", size);
      BOOST_TEST(got(s, "b") != "absent", size);
    }
  }
}

BOOST_AUTO_TEST_CASE(of_a_file_that_was_cut_short_nobody_knows_what_else_was_in_it) {
  {
    auto s = open();
    s.put("a", first);
    s.put("b", some(std::string(100, 'b')));
  }
  auto const whole = bytes();
  auto const b = frame_of("b");
  std::vector<std::uint64_t> sizes{40, 64, b.at};  // in its first bytes, and where a frame ends
  for (std::uint64_t size = b.at + 1; size <= b.at + b.size; ++size) sizes.push_back(size);
  for (auto const size : sizes) {
    support::write(file, whole);
    fs::resize_file(file, size);
    for (int i = 0; i < 3; ++i) {
      auto s = open();
      BOOST_REQUIRE(got(s, "a") == "corrupt");  // there may have been a later one
      BOOST_REQUIRE(got(s, "b") == "corrupt");
      BOOST_REQUIRE(got(s, "never seen") == "corrupt");
      s.put("new", some(std::to_string(i)));
      BOOST_REQUIRE(got(s, "new") == std::to_string(i));
    }
    auto s = open();
    s.put("a", second);
    BOOST_REQUIRE(got(s, "a") == "second");
  }
}

BOOST_AUTO_TEST_CASE(where_nothing_is_synced_a_torn_end_is_cut_too) {
  stash::journal_options const unsynced{.durability = stash::durability::process_crash};
  crash_with(
      [](auto& s) {
        s.put("a", first);
        s.put("torn", some(std::string(300, 'x')));
      },
      unsynced);
  auto const torn = frame_of("torn");
  overwrite(torn.at + torn.size - 128, std::string(128, '\0'));
  BOOST_TEST(states(open(unsynced)) == "a intact ");
  open(unsynced).put("later", second);
  BOOST_TEST(states(open(unsynced)) == "a intact later intact ");
}

// More than one byte of it, so that it cannot be mended. Nothing says whether it was synced.
BOOST_AUTO_TEST_CASE(a_head_that_was_overwritten_where_nothing_is_synced_is_damage_of_its_key) {
  stash::journal_options const unsynced{.durability = stash::durability::process_crash};
  crash_with(
      [](auto& s) {
        for (auto const* const k : {"a", "b", "c"}) s.put(k, some(std::string(200, *k)));
      },
      unsynced);
  overwrite(frame_of("b").at, std::string(64, '\xff'));
  BOOST_TEST(states(open(unsynced)) == "a intact b corrupt c intact ");
  BOOST_TEST(got(open(unsynced), "never seen") == "absent");
}

BOOST_AUTO_TEST_CASE(a_head_that_was_overwritten_of_a_frame_about_no_record_makes_nothing_doubtful) {
  crash_with([](auto& s) {
    s.put("a", first);
    s.set_aside("a", "superseded");
    s.purge(0s);
    s.put("b", second);
  });
  auto const all = frames();
  auto const purge = std::ranges::find(all, frame_kind::purge, &frame_seen::kind);
  BOOST_REQUIRE((purge != all.end()));
  overwrite(purge->at, std::string(64, '\xff'));
  auto const s = open();
  BOOST_TEST(states(s) == "b intact ");
  BOOST_TEST(got(s, "never seen") == "absent");
}

BOOST_AUTO_TEST_CASE(a_damaged_note_of_damage_about_unknown_keys_is_such_damage_still) {
  {
    auto s = open();
    for (auto const* const k : {"old", "x", "y", "new"}) s.put(k, some("the words of "s + k));
  }
  zero_x_and_y();
  {
    auto s = open({.chunk = 4096});
    for (int i = 0; i < 100; ++i) s.put("busy", some(std::string(1000, 'b'), i));  // until it is written anew
  }
  auto const all = frames();
  auto const note = std::ranges::find(all, frame_kind::damage, &frame_seen::kind);
  BOOST_REQUIRE((note != all.end()));
  overwrite(note->at, std::string(64, '\xff'));
  auto const s = open();
  for (auto const* const k : {"old", "x", "y", "never seen"}) BOOST_TEST(got(s, k) == "corrupt", k);
}

// As a power cut may leave a sector that was never written: what the disk had there before.
BOOST_AUTO_TEST_CASE(of_what_is_behind_the_end_only_the_beginning_of_a_head_is_torn) {
  for (std::uint64_t const key_size : {std::uint64_t{100}, std::uint64_t{1} + stash::key::max_size}) {
    fs::remove_all(dir());
    crash_with([](auto& s) { s.put("a", first); });
    auto const end = frames().back().at + frames().back().size;
    std::string front(80, 'x');
    stash::detail::append_number(front, key_size | std::uint64_t{frames().back().key.size()} << 32);
    overwrite(end, front + "the key");
    bool const may_be_a_head = key_size <= stash::key::max_size;
    BOOST_TEST(got(open(), "a") == (may_be_a_head ? "first" : "corrupt"));
    BOOST_TEST(got(open(), "never seen") == (may_be_a_head ? "absent" : "corrupt"));
  }
}

BOOST_AUTO_TEST_CASE(a_whole_frame_within_a_damaged_one_is_read) {
  crash_with([](auto& s) {
    s.put("a", first);
    s.put("b", some(std::string(2000, 'b')));
  });
  auto const whole = bytes();
  auto const a = frame_of("a"), b = frame_of("b");
  auto const salt = stash::detail::journal_head::decode(std::string_view(whole).substr(0, 64))->salt;
  auto const head_of_a = *frame_head::decode(std::string_view(whole).substr(a.at), a.at, salt);
  auto within = head_of_a;
  within.sequence += 2;
  within.offset = (b.body_at + 800) / 8 * 8;
  within.synced = within.offset;
  within.key = "c";
  auto const frame = within.encode(salt) + "first";
  overwrite(within.offset, frame + std::string(b.at + b.size - within.offset - frame.size(), '\0'));
  BOOST_TEST(states(open()) == "a intact b corrupt c intact ");
}

BOOST_AUTO_TEST_CASE(what_else_is_set_aside_does_not_keep_doubt_from_ending) {
  {
    auto s = open();
    for (auto const* const k : {"old", "x", "y", "new"}) s.put(k, some("the words of "s + k));
  }
  zero_x_and_y();
  auto s = open();
  for (auto const* const k : {"old", "x", "y"}) s.set_aside(k, "corrupt");
  std::this_thread::sleep_for(300ms);
  auto const between = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(300ms);
  s.set_aside("new", "superseded");
  using std::chrono::microseconds;
  BOOST_TEST(s.purge(std::chrono::floor<microseconds>(std::chrono::steady_clock::now() - between)) == 3U);
  BOOST_TEST(got(s, "z") == "absent");
  BOOST_TEST(s.purge(0s) == 1U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace journal_doubt_test
