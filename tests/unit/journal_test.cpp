// What is special to the journal. That it keeps the promises of every storage is shown by the conformance suite, what a
// power cut may do to it by power_cut_test.cpp.
#include <sys/stat.h>

#include <set>
#include <stash/storage/journal.hpp>
#include <thread>

#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::journal_storage;
using stash::record;
using stash::record_state;
using stash::time_point;
using stash::detail::frame_head;
using stash::detail::frame_kind;
using support::code_of;
using support::message_of;
using support::names;
using support::os;
namespace fs = boost::filesystem;

namespace {

using spoiled_journal = stash::basic_journal_storage<support::spoiled_ops>;

struct on_read_only_file_system : stash::posix_file_ops {
  static bool is_refused(int flags) {
    errno = EROFS;
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0;
  }
  int open(int d, char const* n, int flags, mode_t m = 0) const {
    return is_refused(flags) ? -1 : posix_file_ops::open(d, n, flags, m);
  }
  int open_lock(int d, char const* n, int flags, mode_t m) const {
    return is_refused(flags) ? -1 : posix_file_ops::open_lock(d, n, flags, m);
  }
};

record some(std::string payload, int time = 1) {
  return {std::move(payload), time_point{std::chrono::microseconds{time}}};
}
record const first = some("first"), second = some("second"), third = some("third");

struct frame_seen {
  frame_kind kind;
  std::uint64_t at, size, body_at;
  std::string key;
};

struct fixture : support::scratch {
  fs::path const file = dir() / "stash.journal";
  support::spoiled_ops ops{};

  journal_storage open(stash::journal_options o = {}) const { return journal_storage{dir(), o}; }
  spoiled_journal spoiled(stash::journal_options o = {}) const { return spoiled_journal{dir(), o, ops}; }
  /// The n-th call of that name from now on fails, once.
  void fail(std::string const& call, int error, int n = 1) {
    *ops.before = [=, left = n](std::string_view name) mutable { return name == call && --left == 0 ? error : 0; };
  }
  void fail_always(std::string const& call, int error) {
    *ops.before = [=](std::string_view name) { return name == call ? error : 0; };
  }
  /// Calls `work` with the n of `fail` until all calls of that name have failed once.
  void each_failing(std::string const& call, int error, std::function<void(int)> const& work) {
    for (int n = 1;; ++n) {
      auto const happened = std::make_shared<bool>(false);
      *ops.before = [=, left = n](std::string_view name) mutable {
        if (name != call || --left != 0) return 0;
        *happened = true;
        return error;
      };
      work(n);
      if (!*happened) return;
    }
  }
  void fail_nothing() {
    *ops.before = [](std::string_view) { return 0; };
  }

  std::string bytes() const { return support::read(file); }
  std::vector<frame_seen> frames() const {
    std::vector<frame_seen> result;
    auto const all = bytes();
    auto const salt = stash::detail::journal_head::decode(std::string_view(all).substr(0, 64))->salt;
    for (std::uint64_t at = 64;;) {
      auto const head = frame_head::decode(std::string_view(all).substr(at), at, salt);
      if (!head) return result;
      result.push_back({head->kind, at, head->frame_size(), head->body_at(), std::string(head->key)});
      at = head->end();
    }
  }
  frame_seen frame_of(std::string const& key, int n = 1) const {
    for (auto const& f : frames()) {
      if (f.key == key && --n == 0) return f;
    }
    throw std::runtime_error("no frame of " + key);
  }
  void overwrite(std::uint64_t at, std::string const& with) const {
    std::fstream out(file.native(), std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(static_cast<std::streamoff>(at));
    out << with;
  }
  /// Their two frames, one behind the other: nobody can tell any more which keys they were about.
  void zero_x_and_y() const {
    auto const x = frame_of("x"), y = frame_of("y");
    overwrite(x.at, std::string(x.size + y.size, '\0'));
  }
  void flip(std::uint64_t at) const { overwrite(at, std::string(1, static_cast<char>(bytes()[at] ^ 0x10))); }
  /// As a process that ends in the middle of its work: nothing is noted as closed.
  void crash_with(std::function<void(journal_storage&)> const& work, stash::journal_options o = {}) const {
    int const status = support::in_child([&] {
      auto s = open(o);
      work(s);
      ::_exit(0);
      return 0;
    });
    BOOST_REQUIRE(status == 0);
  }
};

template <class Storage>
std::string got(Storage const& s, stash::key const& k) {
  try {
    auto const r = s.get(k);
    return r ? r->payload : "absent";
  } catch (stash::error const& problem) {
    return problem.code() == errc::corrupt ? "corrupt" : problem.what();
  }
}
template <class Storage>
std::string states(Storage const& s) {
  std::string result;
  for (auto const& e : s.entries()) {
    result += std::string(e.key.str()) + (e.state == record_state::intact ? " intact " : " corrupt ");
  }
  return result;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(journal, fixture)

BOOST_AUTO_TEST_CASE(constructing_reading_and_clearing_make_nothing) {
  auto s = open();
  BOOST_TEST(!s.exists());
  BOOST_TEST(got(s, "k") == "absent");
  BOOST_TEST(!s.erase("k"));
  BOOST_TEST(s.entries().empty());
  BOOST_TEST(s.set_aside_entries().empty());
  BOOST_TEST(s.purge(0s) == 0U);
  BOOST_TEST(!s.aside("k").has_value());
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(ENOENT));
  BOOST_TEST(!fs::exists(dir()));
  BOOST_TEST(s.where("k") == file);
  BOOST_TEST(code_of([] { journal_storage{""}; }) == os(EINVAL));
}

BOOST_AUTO_TEST_CASE(records_outlive_the_object_and_the_process) {
  std::string where;
  {
    auto s = open();
    s.put("a", first);
    s.put("b", first);
    s.put("gone", third);
    s.put("b", second);
    s.erase("gone");
    s.put("aside", third);
    where = s.set_aside("aside", "superseded");
    BOOST_TEST(s.exists());
  }
  BOOST_TEST((names(dir()) == std::vector{".lock"s, "stash.journal"s}));
  struct stat status {};
  BOOST_REQUIRE(::stat(file.c_str(), &status) == 0);
  BOOST_TEST((status.st_mode & 07777) == 0600U);
  crash_with([](auto& s) { s.put("c", third); });
  crash_with([](auto& s) { s.put("d", third); });
  auto s = open();
  BOOST_TEST(s.exists());
  BOOST_TEST((s.get("a") == first));
  BOOST_TEST((s.get("b") == second));
  BOOST_TEST((s.get("c") == third));
  BOOST_TEST((s.get("d") == third));
  BOOST_TEST(got(s, "gone") == "absent");
  BOOST_TEST(got(s, "aside") == "absent");
  BOOST_TEST(states(s) == "a intact b intact c intact d intact ");
  BOOST_TEST((s.aside(where) == third));
  BOOST_TEST(where.starts_with(file.native() + ": aside.superseded-"), where);
  BOOST_TEST(!s.aside("elsewhere").has_value());
  BOOST_TEST(s.set_aside_entries().at(0).where == where);
  BOOST_TEST(s.purge(1h) == 0U);
  BOOST_TEST(s.purge(0s) == 1U);
  BOOST_TEST(!s.aside(where).has_value());
}

BOOST_AUTO_TEST_CASE(the_umask_takes_nothing_away) {
  BOOST_TEST(support::in_child([&] {
               ::umask(0777);
               open().put("k", first);
               return got(open(), "k") == "first" ? 0 : 1;
             }) == 0);
  struct stat status {};
  BOOST_REQUIRE(::stat(file.c_str(), &status) == 0);
  BOOST_TEST((status.st_mode & 07777) == 0600U);
}

BOOST_AUTO_TEST_CASE(a_second_object_and_a_forked_child_are_busy) {
  auto s = open();
  s.put("k", first);
  auto other = open();
  BOOST_TEST(code_of([&] { other.get("k"); }) == errc::busy);
  BOOST_TEST(code_of([&] { other.put("k", second); }) == errc::busy);
  BOOST_TEST(other.exists());
  BOOST_TEST(support::in_child([&] {
               bool const inherited =
                   code_of([&] { s.get("k"); }) == errc::busy && code_of([&] { s.put("k", second); }) == errc::busy &&
                   code_of([&] { s.exists(); }) == errc::busy && code_of([&] { s.try_lock("k"); }) == errc::busy;
               { auto const ends_in_the_child = std::move(s); }
               return inherited && code_of([&] { open().get("k"); }) == errc::busy ? 0 : 1;
             }) == 0);
  auto lock = s.try_lock("k");
  {
    auto const moved = std::move(s);
    BOOST_TEST(got(moved, "k") == "first");
  }
  BOOST_TEST(lock->held());
  BOOST_TEST(code_of([&] { other.get("k"); }) == errc::busy);  // a lock keeps it open
  lock.reset();
  BOOST_TEST(got(other, "k") == "first");
}

BOOST_AUTO_TEST_CASE(a_payload_over_the_cap_is_refused_and_the_old_one_stands) {
  auto s = open({.max_bytes = 5});
  s.put("k", first);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::too_large);
  BOOST_TEST(code_of([&] { s.check("k", second); }) == errc::too_large);
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(it_may_grow_by_as_little_as_one_likes) {
  auto s = open({.chunk = 0});
  for (int i = 0; i < 50; ++i) s.put("k", some(std::to_string(i)));
  BOOST_TEST(got(s, "k") == "49");
}

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

BOOST_AUTO_TEST_CASE(who_reads_makes_writes_and_erases_nothing) {
  crash_with([](auto& s) {
    s.put("k", first);
    s.put("torn", some(std::string(200, 'x')));
  });
  overwrite(frame_of("torn").at + 128, std::string(200, '\0'));
  for (bool const has_lock_file : {true, false}) {
    if (!has_lock_file) fs::remove(dir() / ".lock");  // as where it was copied to
    auto const as_found = bytes();
    auto const files = names(dir());
    std::string written;
    *ops.before = [&](std::string_view call) {
      for (auto const* const one : {"pwritev", "fdatasync", "fsync", "unlink", "rename", "mkdir", "fchmod"}) {
        if (call == one) written += std::string(call) + ' ';
      }
      return 0;
    };
    {
      auto s = spoiled();
      BOOST_TEST(got(s, "k") == "first");
      BOOST_TEST(got(s, "torn") == "absent");
      BOOST_TEST(states(s) == "k intact ");
      BOOST_TEST(s.set_aside_entries().empty());
      BOOST_TEST(!s.aside(s.where("k") + ": k.x-20200101T000000Z-0123456789abcdef"));
      BOOST_TEST(s.exists());
    }
    BOOST_TEST(written == "");
    BOOST_TEST(bytes() == as_found);
    BOOST_TEST((names(dir()) == files));
    fail_nothing();
  }
  auto s = open();
  BOOST_TEST(got(s, "k") == "first");
  s.put("k", second);  // who has read may write
  BOOST_TEST(got(s, "k") == "second");
}

BOOST_AUTO_TEST_CASE(who_reads_without_a_lock_sees_what_another_wrote_meanwhile) {
  // What is read where another writes before the nth call of that name. nullopt: there are not so many.
  auto const read_where_another_writes = [&](std::string_view name, int nth) -> std::optional<std::string> {
    open().put("k", first);
    fs::remove(dir() / ".lock");
    auto s = spoiled();
    int calls = 0;
    *ops.before = [&](std::string_view call) {
      if (call == name && ++calls == nth) open().put("k", second);
      return 0;
    };
    auto read = got(s, "k");
    fail_nothing();
    return calls < nth ? std::nullopt : std::optional(std::move(read));
  };
  BOOST_TEST((read_where_another_writes("pread", 1) == "second"));
  int nth = 1;
  for (; auto const read = read_where_another_writes("lstat", nth); ++nth) BOOST_TEST(*read == "second", *read);
  BOOST_TEST(nth > 2);  // before and behind what is read
}

BOOST_AUTO_TEST_CASE(on_a_read_only_file_system_one_reads_without_a_lock) {
  open().put("k", first);
  stash::basic_journal_storage<on_read_only_file_system> s{dir()}, other{dir()};
  BOOST_TEST(got(s, "k") == "first");
  BOOST_TEST(got(other, "k") == "first");
  BOOST_TEST(states(s) == "k intact ");
  BOOST_TEST(code_of([&] { s.put("k", second); }) == os(EROFS));
  BOOST_TEST(code_of([&] { s.try_lock("k"); }) == os(EROFS));
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(root_may_look_at_anothers_and_changes_nothing, *boost::unit_test::precondition(support::as_root)) {
  open().put("k", first);
  for (auto const& one : {dir(), file, dir() / ".lock"}) BOOST_REQUIRE(::lchown(one.c_str(), 1, 1) == 0);
  for (bool const has_lock_file : {true, false}) {
    if (!has_lock_file) fs::remove(dir() / ".lock");
    auto const as_found = bytes();
    auto const files = names(dir());
    auto s = open(), other = open();
    BOOST_TEST(got(s, "k") == "first");
    BOOST_TEST(got(other, "k") == "first");  // the owner is not kept out either
    auto const said = message_of([&] { s.put("k", second); });
    BOOST_TEST(said.find("sudo -u") != std::string::npos, said);
    BOOST_TEST(code_of([&] { s.try_lock("k"); }) == errc::unsafe_directory);
    BOOST_TEST(code_of([&] { s.erase("k"); }) == errc::unsafe_directory);
    BOOST_TEST(bytes() == as_found);
    BOOST_TEST((names(dir()) == files));
  }
  BOOST_REQUIRE(::lchown(file.c_str(), 2, 2) == 0);
  BOOST_TEST(code_of([&] { open().get("k"); }) == os(EPERM));
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_the_program_used_again_is_not_read_written_or_closed) {
  auto const other = dir().parent_path() / "others";
  support::write(other, "the program's own");
  int fd = -1;
  {
    auto s = open();
    s.put("k", first);
    for (int one = 3; one < 64 && fd < 0; ++one) {
      struct stat s1 {
      }, s2{};
      if (::fstat(one, &s1) == 0 && ::stat(file.c_str(), &s2) == 0 && s1.st_ino == s2.st_ino) fd = one;
    }
    BOOST_REQUIRE(fd >= 0);
    int const opened = ::open(other.c_str(), O_RDWR | O_CLOEXEC);
    BOOST_REQUIRE(::dup2(opened, fd) == fd);
    ::close(opened);
    BOOST_TEST(code_of([&] { s.get("k"); }) == os(EBADF));
    BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
  }
  BOOST_TEST(::fcntl(fd, F_GETFD) != -1);  // it is open still
  ::close(fd);
  BOOST_TEST(support::read(other) == "the program's own");
  BOOST_TEST(got(open(), "k") == "first");
}

BOOST_AUTO_TEST_CASE(what_was_looked_at_and_is_gone_is_not_written_to) {
  open().put("k", first);
  auto s = open();
  BOOST_TEST(got(s, "k") == "first");
  fs::remove(file);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
  BOOST_TEST(!fs::exists(file));
  s.put("k", second);  // it has noticed
  BOOST_TEST(got(s, "k") == "second");
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

BOOST_AUTO_TEST_CASE(a_newer_version_is_a_mismatch_and_stays_as_it_is) {
  open().put("k", first);
  std::string head = "stash journal 2\n"s + std::string(8, 's');
  stash::detail::append_little_endian(head, stash::detail::xxh64::hash(head));
  overwrite(0, head + head);
  auto const newer = bytes();
  auto s = open();
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::mismatch);
  BOOST_TEST(bytes() == newer);
}

BOOST_AUTO_TEST_CASE(a_frame_of_a_newer_version_is_a_mismatch) {
  {
    auto s = open();
    s.put("k", first);
  }
  auto all = bytes();
  auto const f = frame_of("k");
  auto const salt = stash::detail::journal_head::decode(std::string_view(all).substr(0, 64))->salt;
  auto head = *frame_head::decode(std::string_view(all).substr(f.at), f.at, salt);
  head.kind = static_cast<frame_kind>(77);
  overwrite(f.at, head.encode(salt));
  BOOST_TEST(code_of([&] { open().get("k"); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(what_is_no_journal_file_is_an_error) {
  open().put("k", first);
  fs::remove(file);
  BOOST_REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
  BOOST_TEST(code_of([&] { open().get("k"); }) == errc::corrupt);
  fs::remove(file);
  fs::create_symlink("elsewhere", file);
  BOOST_TEST(code_of([&] { open().get("k"); }) == os(ELOOP));
  BOOST_TEST(code_of([&] { open().put("k", first); }) == os(ELOOP));
  fs::remove(file);
  support::write(file, "something else");
  BOOST_TEST(code_of([&] { open().put("k", first); }) == errc::corrupt);
  BOOST_TEST(bytes() == "something else");
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

BOOST_AUTO_TEST_CASE(a_failed_sync_or_write_poisons_until_it_is_opened_again) {
  for (auto const* const call : {"fdatasync", "pwritev"}) {
    {
      auto s = spoiled();
      s.put("k", first);
      fail(call, EIO);
      auto const said = message_of([&] { s.put("k", second); });
      BOOST_TEST(said.starts_with("put \"k\": "), said);
      BOOST_TEST(said.find("indeterminate") != std::string::npos, said);
      BOOST_TEST(said.find(file.native()) != std::string::npos, said);
      BOOST_TEST(code_of([&] { s.put("k", third); }) == errc::indeterminate);
      BOOST_TEST(code_of([&] { s.erase("k"); }) == errc::indeterminate);
      BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == errc::indeterminate);
      BOOST_TEST(code_of([&] { s.purge(0s); }) == errc::indeterminate);
      BOOST_TEST(got(s, "k") == "first");
    }
    fail_nothing();
    auto s = open();
    auto const now = got(s, "k");
    BOOST_TEST((now == "first" || now == "second"));
    s.put("k", first);
  }
}

BOOST_AUTO_TEST_CASE(a_sync_that_failed_is_not_believed_where_there_was_no_memory_to_say_so) {
  auto s = spoiled();
  s.put("k", first);
  *ops.before = [](std::string_view call) {
    if (call == "fdatasync") throw std::bad_alloc{};
    return 0;
  };
  BOOST_CHECK_THROW(s.put("k", second), std::bad_alloc);
  fail_nothing();
  BOOST_TEST(code_of([&] { s.put("k", third); }) == errc::indeterminate);
}

BOOST_AUTO_TEST_CASE(a_signal_or_a_short_write_is_no_failure) {
  auto s = spoiled();
  s.put("k", first);
  for (auto const* const call : {"fdatasync", "pwritev"}) {
    fail(call, EINTR);
    s.put("k", second);
  }
  BOOST_TEST(got(s, "k") == "second");
}

BOOST_AUTO_TEST_CASE(where_it_cannot_grow_the_old_record_stands_and_it_goes_on_when_it_can) {
  auto s = spoiled({.chunk = 4096});
  s.put("k", first);
  auto const large = some(std::string(20'000, 'x'));
  fail("pwritev", ENOSPC);
  BOOST_TEST(code_of([&] { s.put("k", large); }) == os(ENOSPC));
  BOOST_TEST(got(s, "k") == "first");
  s.put("k", large);
  BOOST_TEST((s.get("k") == large));
  fail("fdatasync", EIO);  // of the zeros that it grows by
  BOOST_TEST(code_of([&] { s.put("k", some(std::string(50'000, 'y'))); }) == os(EIO));
  BOOST_TEST(code_of([&] { s.put("k", first); }) == errc::indeterminate);
  BOOST_TEST((s.get("k") == large));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_made_is_told_and_leaves_nothing) {
  for (std::string const call :
       {"open", "fstat", "fchmod", "random", "pwritev", "fdatasync", "rename", "fsync", "unlink"}) {
    each_failing(call, EIO, [&](int n) {
      fs::remove_all(dir());
      auto s = spoiled();
      auto const failed = code_of([&] { s.put("k", first); });
      bool const told = failed == os(EIO) || failed == errc::indeterminate || failed == errc::busy || !failed;
      BOOST_TEST(told, call << ' ' << n << ": " << failed.message());
      for (auto const& name : names(dir())) {
        BOOST_TEST((name == ".lock" || name == "stash.journal"), call << ' ' << n << ' ' << name);
      }
      BOOST_TEST((!failed || got(s, "k") == "absent"), call << ' ' << n);
    });
    fail_nothing();
    BOOST_TEST(code_of([&] { spoiled().put("k", first); }) == boost::system::error_code{});
  }
}

BOOST_AUTO_TEST_CASE(what_cannot_be_opened_is_told_and_stays) {
  spoiled().put("k", first);
  for (std::string const call : {"open", "fstat", "lstat", "pread", "pwritev", "fdatasync", "fsync"}) {
    each_failing(call, EIO, [&](int n) {
      auto const failed = code_of([&] { spoiled().get("k"); });
      BOOST_TEST((failed == os(EIO) || failed == errc::busy || !failed), call << ' ' << n << ": " << failed.message());
    });
    fail_nothing();
    BOOST_TEST(got(spoiled(), "k") == "first");
  }
}

BOOST_AUTO_TEST_CASE(what_a_dead_process_left_half_made_is_replaced) {
  open().put("k", first);
  support::write(dir() / ".stash.journal.tmp", "half");
  fs::remove(file);
  auto s = open();
  BOOST_TEST(!s.exists());
  BOOST_TEST(got(s, "k") == "absent");
  s.put("k", second);
  BOOST_TEST((names(dir()) == std::vector{".lock"s, "stash.journal"s}));
}

BOOST_AUTO_TEST_CASE(somebody_elses_file_is_refused, *boost::unit_test::precondition(support::as_root)) {
  open().put("k", first);
  BOOST_REQUIRE(::chown(file.c_str(), 1, 1) == 0);
  BOOST_TEST(code_of([&] { open().get("k"); }) == os(EPERM));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_is_an_error_and_not_absent) {
  spoiled().put("k", first);
  for (auto const* const call : {"open", "lstat", "fstat", "pread", "lock_byte"}) {
    fail_always(call, EIO);
    BOOST_TEST(code_of([&] { spoiled().get("k"); }) == os(EIO), call);
  }
  for (auto const* const call : {"open", "lstat", "fstat", "pread", "fdatasync", "fsync", "lock_byte"}) {
    fail_always(call, EIO);
    BOOST_TEST(code_of([&] { spoiled().try_lock("k"); }) == os(EIO), call);
  }
  fail_nothing();
  auto s = spoiled();
  BOOST_TEST(got(s, "k") == "first");
  fail_always("pread", EIO);
  BOOST_TEST(code_of([&] { s.get("k"); }) == os(EIO));
  fail_always("random", EIO);
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(EIO));
  fail_always("lstat", EIO);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
  fail_nothing();
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(when_the_lock_file_or_the_journal_is_removed_nothing_is_acknowledged) {
  for (auto const* const name : {".lock", "stash.journal"}) {
    auto s = open();
    s.put("k", first);
    auto const lock = s.try_lock("k");
    fs::remove(dir() / name);
    BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
    BOOST_TEST(got(s, "k") == "first");
    BOOST_TEST(lock->held() == (name != ".lock"s));
  }
}

BOOST_AUTO_TEST_CASE(when_another_file_stands_in_its_place_nothing_is_acknowledged) {
  auto s = open();
  s.put("k", first);
  auto const copy = bytes();
  support::write(dir() / "copy", copy);
  fs::rename(dir() / "copy", file);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::busy);
  BOOST_TEST(bytes() == copy);
}

BOOST_AUTO_TEST_CASE(when_the_lock_file_is_removed_while_it_is_written_anew_the_old_file_stays) {
  {
    auto s = spoiled({.chunk = 4096});
    s.put("k", first);
    *ops.before = [this, chmods = 0](std::string_view call) mutable {
      if (call == "fchmod" && ++chmods == 1) fs::remove(dir() / ".lock");  // of the new file
      return 0;
    };
    boost::system::error_code failed;
    for (int i = 0; i < 100 && !failed; ++i) {
      failed = code_of([&] { s.put("busy", some(std::string(1000, 'b'), i)); });
    }
    BOOST_TEST(failed == errc::busy);
    fail_nothing();
  }
  BOOST_TEST((names(dir()) == std::vector{"stash.journal"s}));
  BOOST_TEST(got(open(), "k") == "first");
}

BOOST_AUTO_TEST_CASE(a_file_that_is_mostly_dead_is_written_anew_with_all_that_counts) {
  stash::journal_options const small{.chunk = 4096};
  std::string where;
  {
    auto s = open();
    for (auto const* const k : {"old", "x", "y", "damaged", "new"}) s.put(k, some("the words of "s + k));
    s.put("aside", third);
    where = s.set_aside("aside", "superseded");
    s.put("last", first);
  }
  flip(frame_of("damaged").body_at);
  zero_x_and_y();
  auto const check = [&](auto& s) {
    BOOST_TEST(got(s, "old") == "corrupt");
    BOOST_TEST(got(s, "x") == "corrupt");
    BOOST_TEST(got(s, "erased") == "absent");
    BOOST_TEST(got(s, "damaged") == "corrupt");
    BOOST_TEST(got(s, "new") == "the words of new");
    BOOST_TEST((s.aside(where) == third));
    BOOST_TEST(s.set_aside_entries().size() == 2U);
  };
  ino_t before = 0;
  {
    auto s = open(small);
    s.erase("erased");
    s.put("lost", second);
    s.set_aside("y", "corrupt");
    check(s);
    struct stat status {};
    ::stat(file.c_str(), &status);
    before = status.st_ino;
    std::ifstream const keeps_its_number{file.native()};
    for (int i = 0; i < 200; ++i) s.put("busy", some(std::string(1000, 'b'), i));
    check(s);
    BOOST_TEST((s.get("busy") == some(std::string(1000, 'b'), 199)));
    ::stat(file.c_str(), &status);
    BOOST_TEST(status.st_ino != before);
    BOOST_TEST(fs::file_size(file) < 64'000U);
  }
  {
    auto s = open(small);
    check(s);
    BOOST_TEST((s.get("busy") == some(std::string(1000, 'b'), 199)));
    for (int i = 0; i < 200; ++i) s.put("busy", some(std::string(1000, 'c'), i));
    check(s);
  }
  auto s = open(small);
  check(s);
  BOOST_TEST((names(dir()) == std::vector{".lock"s, "stash.journal"s}));
}

BOOST_AUTO_TEST_CASE(what_was_written_anew_can_be_damaged_too) {
  stash::journal_options const small{.chunk = 4096};
  {
    auto s = open();
    for (auto const* const k : {"x", "y", "aside", "bad", "k"}) s.put(k, some("the words of "s + k));
    s.set_aside("aside", "superseded");
    s.put("last", first);
  }
  flip(frame_of("bad").body_at);
  zero_x_and_y();
  {
    auto s = open(small);
    s.put("k", first);
    s.set_aside("bad", "corrupt");
    for (int i = 0; i < 100; ++i) s.put("busy", some(std::string(1000, 'b'), i));
  }
  auto const whole = bytes();
  std::set<frame_kind> kinds;
  for (auto const& f : frames()) {
    if (f.at + f.size == frames().back().at + frames().back().size) break;  // the last: a torn end
    for (auto const at : {f.at, f.body_at}) {
      if (at == f.body_at && f.kind != frame_kind::damage && f.kind != frame_kind::kept &&
          f.kind != frame_kind::corrupt_kept) {
        continue;
      }
      kinds.insert(f.kind);
      support::write(file, whole);
      flip(at);
      auto s = open(small);
      BOOST_TEST(got(s, "x") == "corrupt");
      BOOST_TEST((got(s, "k") == "first" || f.key == "k"));
      std::size_t const damaged_head = f.at == at && !f.key.empty() ? 1 : 0;
      BOOST_TEST(s.set_aside_entries().size() + damaged_head >= 2U);
    }
  }
  BOOST_TEST(kinds.contains(frame_kind::damage));
  BOOST_TEST(kinds.contains(frame_kind::kept));
  BOOST_TEST(kinds.contains(frame_kind::corrupt_kept));
}

BOOST_AUTO_TEST_CASE(many_and_large_records_are_written_anew) {
  auto s = open({.chunk = 4096});
  for (int i = 0; i < 600; ++i) s.put("k" + std::to_string(i), some("value " + std::to_string(i)));
  auto const large = std::string(700'000, 'x');
  s.put("large", some(large));
  for (int i = 0; i < 6; ++i) s.put("busy", some(large, i));
  BOOST_TEST(fs::file_size(file) < 6U * 700'000U);
  BOOST_TEST(s.entries().size() == 602U);
  BOOST_TEST(got(s, "k599") == "value 599");
  BOOST_TEST(got(s, "large") == large);
}

BOOST_AUTO_TEST_CASE(where_it_cannot_be_written_anew_the_old_file_goes_on) {
  auto const large = std::string(1000, 'b');
  for (auto const* const call : {"open", "unlink", "rename", "fchmod", "random"}) {
    {
      auto s = spoiled({.chunk = 4096});
      s.put("k", first);
      fail_always(call, EIO);
      for (int i = 0; i < 100; ++i) s.put("busy", some(large, i));
      fail_nothing();
      BOOST_TEST(got(s, "k") == "first");
      for (int i = 0; i < 100; ++i) s.put("busy", some(large, i));
    }
    BOOST_TEST(got(open(), "k") == "first");
    BOOST_TEST((names(dir()) == std::vector{".lock"s, "stash.journal"s}), call);
    fs::remove_all(dir());
  }
}

BOOST_AUTO_TEST_CASE(where_the_new_files_name_cannot_be_synced_it_is_written_once_more) {
  auto const large = std::string(1000, 'b');
  auto s = spoiled({.chunk = 4096});
  s.put("k", first);
  fail("fsync", EIO);
  for (int i = 0; i < 100; ++i) s.put("busy", some(large, i));
  fail_always("fsync", EIO);
  boost::system::error_code failed;
  for (int i = 0; i < 100 && !failed; ++i) failed = code_of([&] { s.put("busy", some(large, i)); });
  BOOST_TEST(failed == errc::indeterminate);
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(a_new_file_whose_name_may_not_be_certain_is_made_once_more) {
  auto const inode = [&] {
    struct stat status {};
    BOOST_REQUIRE(::stat(file.c_str(), &status) == 0);
    return status.st_ino;
  };
  open().put("k", first);
  fs::remove(file);
  fail("fsync", EIO);  // of the file's name: the directory stands
  {
    auto s = spoiled();
    BOOST_TEST(code_of([&] { s.put("k", first); }) == os(EIO));
    auto const uncertain = inode();
    s.put("k", first);
    BOOST_TEST(inode() != uncertain);
  }
  auto const certain = inode();
  BOOST_TEST(got(open(), "k") == "first");
  BOOST_TEST(inode() == certain);

  // One that was written anew, and neither rename could be synced.
  {
    auto s = spoiled({.chunk = 4096});
    s.put("k", second);
    fail_always("fsync", EIO);
    boost::system::error_code failed;
    for (int i = 0; i < 100 && !failed; ++i) failed = code_of([&] { s.put("busy", some(std::string(1000, 'b'), i)); });
    BOOST_TEST(failed == errc::indeterminate);
  }
  fail_nothing();
  auto const uncertain = inode();
  BOOST_TEST(got(open(), "k") == "second");
  BOOST_TEST(inode() == uncertain);  // who reads makes nothing
  open().erase("busy");
  BOOST_TEST(got(open(), "k") == "second");
  BOOST_TEST(inode() != uncertain);
}

BOOST_AUTO_TEST_CASE(a_new_file_to_which_nothing_is_written_is_not_made_again_and_again) {
  {
    auto s = open();
    s.put("k", first);
    s.erase("k");
  }
  auto const whole = bytes();
  BOOST_TEST(got(open(), "k") == "absent");
  BOOST_TEST(bytes() == whole);
}

BOOST_AUTO_TEST_CASE(a_file_system_that_cannot_sync_directories_will_do_under_process_crash_only) {
  fail_always("fsync", EINVAL);
  BOOST_TEST(code_of([&] { spoiled().put("k", first); }) == os(EINVAL));
  spoiled({.durability = stash::durability::process_crash}).put("k", first);
  fs::remove(file);
  fail_always("fsync", EIO);  // of the name of the file alone: the directory stands
  BOOST_TEST(code_of([&] { spoiled({.durability = stash::durability::process_crash}).put("k", first); }) == os(EIO));
  fail_always("fsync", EINVAL);
  spoiled({.durability = stash::durability::process_crash}).put("k", first);
  BOOST_TEST(got(spoiled({.durability = stash::durability::process_crash}), "k") == "first");
  fail_nothing();
  BOOST_TEST(got(open(), "k") == "first");
}

BOOST_AUTO_TEST_CASE(under_process_crash_no_record_is_synced) {
  int syncs = 0;
  auto s = spoiled({.durability = stash::durability::process_crash});
  s.put("k", first);
  *ops.before = [&](std::string_view call) {
    syncs += call == "fdatasync" || call == "fsync";
    return 0;
  };
  s.put("k", second);
  s.erase("k");
  s.put("k", third);
  BOOST_TEST(syncs == 0);
}

BOOST_AUTO_TEST_CASE(threads_that_save_at_the_same_time_share_a_sync) {
  std::atomic<int> syncs{0};
  *ops.before = [&](std::string_view call) {
    if (call != "fdatasync") return 0;
    ++syncs;
    std::this_thread::sleep_for(1ms);  // while the others come
    return 0;
  };
  auto s = spoiled();
  s.put("k", first);
  int const before = syncs;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&s, t] {
      for (int i = 0; i < 20; ++i) s.put("k" + std::to_string(t), some(std::to_string(i)));
    });
  }
  for (auto& t : threads) t.join();
  BOOST_TEST(syncs - before < 80);
  for (int t = 0; t < 8; ++t) BOOST_TEST(got(s, "k" + std::to_string(t)) == "19");
  BOOST_TEST(s.entries().size() == 9U);
}

BOOST_AUTO_TEST_CASE(threads_go_on_while_the_file_is_written_anew) {
  std::atomic<bool> is_new{false};
  *ops.before = [&](std::string_view call) {
    if (call == "unlink") is_new = true;
    if (call != "fdatasync") return 0;
    std::this_thread::sleep_for(is_new.exchange(false) ? 50ms : 1ms);
    return 0;
  };
  auto s = spoiled({.chunk = 4096});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&s, t] {
      for (int i = 0; i < 40; ++i) {
        s.put("busy" + std::to_string(t), some(std::string(1000, 'b'), i));
        s.put("k" + std::to_string(t) + "-" + std::to_string(i), some(std::to_string(i)));
      }
    });
  }
  threads.emplace_back([&s] {
    for (int i = 0; i < 40; ++i) {
      s.put("aside", first);
      s.set_aside("aside", "x");
      s.purge(0s);
    }
  });
  threads.emplace_back([&s] {
    for (int i = 0; i < 60; ++i) s.purge(0s);
  });
  for (auto& t : threads) t.join();
  BOOST_TEST(s.entries().size() == 4U + 160U);
  for (int t = 0; t < 4; ++t) BOOST_TEST(got(s, "k" + std::to_string(t) + "-39") == "39");
  s.purge(0s);
  BOOST_TEST(s.set_aside_entries().empty());
}

BOOST_AUTO_TEST_CASE(where_a_shared_sync_fails_each_thread_is_told_of_its_own_key) {
  auto s = spoiled();
  s.put("k", first);
  fail_always("fdatasync", EIO);
  std::vector<std::string> said(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < said.size(); ++t) {
    threads.emplace_back([&, t] { said[t] = message_of([&] { s.put("key" + std::to_string(t), second); }); });
  }
  for (auto& t : threads) t.join();
  for (std::size_t t = 0; t < said.size(); ++t) {
    BOOST_TEST(said[t].starts_with("put \"key" + std::to_string(t) + "\": "), said[t]);
  }
}

/// Writes a byte at a time, or nothing at all.
struct slow_ops : stash::posix_file_ops {
  std::shared_ptr<bool> writes = std::make_shared<bool>(true);
  ssize_t pwritev(int fd, iovec const* parts, int, off_t at) const {
    iovec const one{parts->iov_base, *writes ? 1U : 0U};
    return ::pwritev(fd, &one, 1, at);
  }
};

BOOST_AUTO_TEST_CASE(short_writes_are_gone_on_with_and_a_write_of_nothing_is_an_error) {
  slow_ops slow;
  {
    stash::basic_journal_storage<slow_ops> s{dir(), {.chunk = 512}, slow};
    s.put("k", first);
    *slow.writes = false;
    BOOST_TEST(message_of([&] { s.put("k", second); }).find("Input/output error") != std::string::npos);
  }
  BOOST_TEST(got(open(), "k") == "first");
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

BOOST_AUTO_TEST_CASE(after_a_change_that_could_not_be_made_what_is_there_is_seen) {
  open().put("k", first);
  for (char const* const call : {"open", "fdatasync", "pwritev", "fsync", "lstat"}) {
    auto s = spoiled();
    BOOST_TEST(got(s, "k") == "first");
    fail_always(call, EMFILE);
    static_cast<void>(code_of([&] { s.try_lock("k"); }));
    static_cast<void>(code_of([&] { s.put("k", second); }));
    static_cast<void>(code_of([&] { s.erase("k"); }));
    fail_nothing();
    auto const now = got(s, "k");
    BOOST_TEST((now == "first" || now.find("busy") != now.npos), call << ' ' << now);
    s.put("k", first);
  }
  flip(3);  // what cannot be read stays an error
  flip(35);
  auto s = open();
  for (int i = 0; i < 2; ++i) {
    BOOST_TEST(code_of([&] { s.try_lock("k"); }) == errc::corrupt);
    BOOST_TEST(code_of([&] { s.entries(); }) == errc::corrupt);
  }
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

BOOST_AUTO_TEST_CASE(two_that_purge_at_once_count_each_record_once) {
  auto s = spoiled();
  s.put("k", first);
  s.set_aside("k", "x");
  std::atomic<bool> is_other{false};
  *ops.before = [&](std::string_view call) {
    if (call == "fdatasync" && !is_other.exchange(true)) std::this_thread::sleep_for(100ms);
    return 0;
  };
  std::size_t by_other = 0;
  std::thread other{[&] {
    while (!is_other) std::this_thread::sleep_for(1ms);
    by_other = s.purge(0s);
  }};
  auto const by_us = s.purge(0s);
  other.join();
  BOOST_TEST(by_us + by_other == 1U);
  fail_nothing();
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

BOOST_AUTO_TEST_CASE(who_waits_while_anothers_sync_fails_is_not_written_any_more) {
  auto s = spoiled();
  s.put("k", first);
  std::atomic<int> syncs{0};
  *ops.before = [&](std::string_view call) {
    if (call != "fdatasync") return 0;
    if (++syncs > 1) return 0;
    std::this_thread::sleep_for(100ms);  // while the other comes
    return EIO;
  };
  boost::system::error_code other_failed;
  std::thread other{[&] {
    while (syncs == 0) std::this_thread::sleep_for(1ms);
    other_failed = code_of([&] { s.put("other", second); });
  }};
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::indeterminate);
  other.join();
  BOOST_TEST(other_failed == errc::indeterminate);
  BOOST_TEST(syncs == 1);
  fail_nothing();
}

BOOST_AUTO_TEST_CASE(who_cannot_open_it_keeps_no_other_out) {
  spoiled().put("k", first);
  auto s = spoiled();
  fail_always("pread", EIO);
  BOOST_TEST(code_of([&] { s.get("k"); }) == os(EIO));
  fail_nothing();
  BOOST_TEST(got(open(), "k") == "first");
  BOOST_TEST(got(s, "k") == "first");
}

BOOST_AUTO_TEST_CASE(a_record_larger_than_what_is_read_at_a_time_comes_back) {
  auto const large = some(std::string(3'000'000, 'x'));
  {
    auto s = open();
    s.put("a", large);
    s.put("b", first);
    s.put("c", large);
  }
  auto s = open();
  BOOST_TEST((s.get("a") == large));
  BOOST_TEST(got(s, "b") == "first");
  BOOST_TEST((s.get("c") == large));
}

BOOST_AUTO_TEST_SUITE_END()
