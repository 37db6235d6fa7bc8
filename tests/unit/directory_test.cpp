// The names that a stash directory can have in it, where it must exist, and how it is made and removed again.
#include <fcntl.h>
#include <sys/stat.h>

#include <concepts>
#include <cstdio>
#include <map>
#include <set>
#include <stash/storage/journal.hpp>
#include <stash/storage/sqlite.hpp>
#include <thread>
#include <tuple>
#include <utility>

#include "directory_fixture.hpp"
#include "support.hpp"

namespace directory_test {

using namespace std::chrono_literals;
using stash::atomic_file_storage;
using stash::errc;
using stash::record;
using support::code_of;
using support::message_of;
using support::names;
using support::os;
namespace fs = boost::filesystem;

namespace {

mode_t mode_of(fs::path const& p) {
  struct stat s;
  return ::lstat(p.c_str(), &s) == 0 ? s.st_mode & 07777 : 0;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(directory, fixture)

// Names

BOOST_AUTO_TEST_CASE(a_key_that_could_not_be_set_aside_for_its_length_is_refused_before_it_is_saved) {
  struct short_names : support::spoiled_ops {
    long most = 143;  // as eCryptfs
    long name_max(int) const { return most; }
  };
  stash::basic_atomic_file_storage<short_names> s{dir(), {}, {}};
  std::string const longest(143 - 55, 'k'), longer(longest + 'k');
  s.put(longest, first);
  BOOST_TEST(fs::path(s.set_aside(longest, "superseded")).filename().size() <= 143U);
  s.put(longest, first);
  BOOST_TEST(fs::path(s.set_aside(longest, std::string(99, 'r'))).filename().size() == 143U);
  BOOST_TEST(s.set_aside_entries().size() == 2U);
  BOOST_TEST(code_of([&] { s.put(longer, first); }) == errc::invalid_key);
  auto const both = std::vector{std::pair{stash::key{"a"}, first}, std::pair{stash::key{longer}, first}};
  BOOST_TEST(code_of([&] { s.put_all(both); }) == errc::invalid_key);
  BOOST_TEST(s.entries().empty());
  BOOST_TEST(!s.erase(longer));
  BOOST_TEST(
      contains(message_of([&] { s.put(longer, first); }), "144 bytes; in " + dir().native() + " 143 are allowed"));
  files.put(longer, first);  // by one who was not told; nothing that it may be asked for loses it
  static_cast<void>(code_of([&] { s.set_aside(longer, "x"); }));
  BOOST_TEST((s.get(longer) == first || s.set_aside_entries().size() == 3U));
  for (long const none : {-1L, 1000L}) {
    short_names ops;
    ops.most = none;
    stash::basic_atomic_file_storage<short_names> any{dir(), {}, ops};
    any.put(std::string(200, 'k'), first);
    BOOST_TEST(fs::path(any.set_aside(std::string(200, 'k'), std::string(99, 'r'))).filename().size() == 255U);
  }
  short_names ops;
  ops.most = 0;  // a short name is not asked for
  stash::basic_atomic_file_storage<short_names>{dir(), {}, ops}.put(longest, first);
}

// A volume that is not mounted

using storages_on_disk = std::tuple<stash::atomic_file_storage, stash::sqlite_storage, stash::journal_storage>;
BOOST_AUTO_TEST_CASE_TEMPLATE(where_it_must_exist_its_absence_is_an_error_for_all_and_nothing_is_made, Storage,
                              storages_on_disk) {
  auto const open = [&] {
    if constexpr (std::same_as<Storage, stash::sqlite_storage>) {
      return stash::basic_stash<Storage>{dir() / "stash.sqlite", stash::sqlite_options{.must_exist = true}};
    } else if constexpr (std::same_as<Storage, stash::journal_storage>) {
      return stash::basic_stash<Storage>{dir(), stash::journal_options{.must_exist = true}};
    } else {
      return stash::basic_stash<Storage>{dir(), stash::file_options{.must_exist = true}};
    }
  };
  auto store = open();
  auto& s = store.storage();
  std::vector<std::pair<stash::key, record>> const one{{"k", first}};
  std::vector<stash::key> const keys{"k"};
  for (auto const& call : std::vector<std::function<void()>>{
           [&] { s.put("k", first); }, [&] { s.put_all(one); }, [&] { s.get("k"); }, [&] { s.erase("k"); },
           [&] { s.erase_all(keys); }, [&] { s.entries(); }, [&] { s.set_aside("k", "x"); },
           [&] { s.set_aside_entries(); }, [&] { s.purge(0us); }, [&] { s.try_lock("k"); }, [&] { s.exists(); },
           [&] { store.clear("k"); }, [&] { store.save("k", 1); },
           [&] {
             stash::delete_guard const g{store, "k", [] { return std::optional<int>(); }, [](int) {}};
           }}) {
    BOOST_TEST(code_of(call) == os(ENOENT));
  }
  if constexpr (std::same_as<Storage, stash::atomic_file_storage>) {
    BOOST_TEST(code_of([&] { s.temporaries(); }) == os(ENOENT));
    BOOST_TEST(code_of([&] { s.sweep("k"); }) == os(ENOENT));
  }
  BOOST_TEST(names(root).empty());
  fs::create_directory(dir());
  support::set_mode(dir(), 0700);
  s.put("k", first);
  BOOST_TEST((s.get("k") == first));
  BOOST_TEST(s.try_lock("k").has_value());
}

// What is made, and removed again where nothing is saved

BOOST_AUTO_TEST_CASE(only_the_stashs_own_directory_is_private_its_parents_are_as_the_umask_says) {
  struct row {
    mode_t umask, parents;
  };
  for (row const& r : {row{022, 0755}, {027, 0750}, {002, 0775}, {0, 0777}, {0777, 0700}}) {
    auto const out = root / std::to_string(r.umask);
    mode_t const before = ::umask(r.umask);
    atomic_file_storage{out / "deeper" / "stash"}.put("k", first);
    static_cast<void>(atomic_file_storage{out / "locked" / "stash"}.try_lock("k"));
    ::umask(before);
    for (auto const& parent : {out, out / "deeper"}) BOOST_TEST(mode_of(parent) == r.parents, parent);
    BOOST_TEST(mode_of(out / "deeper" / "stash") == 0700U);
  }
}

struct sqlite_stash : stash::basic_stash<stash::sqlite_storage> {
  explicit sqlite_stash(fs::path const& dir)
      : stash::basic_stash<stash::sqlite_storage>(dir / "stash.sqlite", stash::sqlite_options{}) {}
};
struct journal_stash : stash::basic_stash<stash::journal_storage> {
  explicit journal_stash(fs::path const& dir)
      : stash::basic_stash<stash::journal_storage>(dir, stash::journal_options{}) {}
};
using stashes_on_disk = std::tuple<stash::file_stash, sqlite_stash, journal_stash>;

BOOST_AUTO_TEST_CASE_TEMPLATE(a_guard_that_saves_nothing_leaves_nothing_made, Stash, stashes_on_disk) {
  fs::create_directory(root / "there");
  auto const where = root / "there" / "out" / "stash";
  auto const nothing = [](stash::key const&) { return std::optional<int>(); };
  std::vector<stash::key> const keys{"a", "b", "c"};
  std::function<void(Stash&)> const ways[] = {
      [&](Stash& store) {
        stash::delete_guard const g{store, "k", [] { return std::optional<int>(); }, [](int) {}};
      },
      [&](Stash& store) {
        stash::delete_guard const g{store, "k", []() -> int { throw 1; }, [](int) {}};
      },
      [&](Stash& store) {
        stash::delete_guard const g{store, "k", [] { return std::string("\xff"); }, [](std::string const&) {}};
      },
      [&](Stash& store) {
        stash::delete_guards const g{store, keys, nothing, [](stash::key const&, int) {}};
      },
      [&](Stash& store) { store.save("k", std::string("\xff")); },
      [&](Stash& store) {
        store.storage().put("k", {std::string(65 << 20, 'x'), {}});
      },
      [&](Stash& store) {
        store.save_all(std::map<stash::key, std::string>{{"k", "\xff"}});
      },
      [&](Stash& store) { store.storage().try_lock("k"); },
      [&](Stash& store) { store.clear("k"); },
      [&](Stash& store) {
        stash::recover(
            store, [](auto const&) { return true; }, [](auto const&, auto const&) {});
      },
      [&](Stash& store) {
        auto outer = store.storage().try_lock("outer");
        auto inner = store.storage().try_lock("inner");
        BOOST_TEST(!store.storage().try_lock("inner"));
        outer.reset();  // which had made it
        BOOST_TEST(inner->held());
        auto moved = std::move(*inner);
        BOOST_TEST(moved.held());
      }};
  for (auto const& way : ways) {
    Stash store{where};
    try {
      way(store);
    } catch (int) {
    } catch (stash::error const&) {
    }
    if constexpr (!std::same_as<Stash, journal_stash>) {  // that is open until its end
      BOOST_TEST(names(root / "there").empty(), "way " << &way - ways);
    }
    { Stash const ended = std::move(store); }
    BOOST_TEST(names(root / "there").empty(), "way " << &way - ways);
    fs::remove_all(root / "there" / "out");
  }
}

BOOST_AUTO_TEST_CASE(where_something_was_saved_it_stays_when_that_is_gone) {
  stash::file_stash store{dir()};
  {
    stash::delete_guard g{store, "k", [] { return 1; }, [](int) {}};
    g.commit();
  }
  BOOST_TEST((names(dir()) == std::vector<std::string>{".lock"}));
  stash::file_stash many{root / "many"};
  {
    stash::delete_guards g{many, std::vector<stash::key>{"a", "b"}, [](auto const&) { return 1; },
                           [](auto const&, int) {}};
    g.commit();
  }
  BOOST_TEST((names(root / "many") == std::vector<std::string>{".lock"}));
}

BOOST_AUTO_TEST_CASE(a_directory_that_was_there_stays) {
  fs::create_directory(dir());
  support::set_mode(dir(), 0700);
  static_cast<void>(files.try_lock("k"));
  BOOST_TEST(fs::exists(dir()));
}

BOOST_AUTO_TEST_CASE(one_that_another_has_a_lock_or_a_file_in_is_not_removed) {
  auto mine = files.try_lock("mine");
  atomic_file_storage others{dir()};
  {
    auto theirs = others.try_lock("theirs");
    mine.reset();
    BOOST_TEST(theirs->held());
    others.put("theirs", first);
    BOOST_TEST((files.get("theirs") == first));
  }
  fs::remove_all(dir());
  mine = files.try_lock("mine");
  support::write(dir() / "somebody's", "x");
  mine.reset();
  BOOST_TEST((names(dir()) == std::vector<std::string>{".lock", "somebody's"}));
  fs::remove_all(dir());
  mine = files.try_lock("mine");
  fs::remove(dir() / ".lock");  // a cleaner's work; another's lock file stands there now
  auto theirs = others.try_lock("mine");
  mine.reset();
  BOOST_TEST(theirs->held());
}

BOOST_AUTO_TEST_CASE(a_lock_file_that_another_made_meanwhile_is_left_to_him) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  auto mine = s.try_lock("mine");
  std::optional<atomic_file_storage::lock_type> theirs;
  *ops.before = [&](std::string_view call) {
    if (call == "lock_bytes") {
      fs::remove(dir() / ".lock");
      theirs = files.try_lock("theirs");
    }
    return 0;
  };
  mine.reset();
  BOOST_TEST((theirs && theirs->held()));
}

BOOST_AUTO_TEST_CASE(all_names_are_listed_however_many_and_long_they_are_and_once_more) {
  fs::path const at = root / "many";
  fs::create_directory(at);
  std::set<std::string> all{".", ".."};
  for (int i = 0; i < 3000; ++i) all.insert(std::to_string(i) + std::string(static_cast<std::size_t>(i % 251), 'x'));
  for (auto const& name : all) {
    if (name.front() != '.') support::write(at / name, "");
  }
  stash::posix_file_ops const ops;
  int const fd = ops.open(AT_FDCWD, at.c_str(), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 2; ++i) {
    std::vector<std::string> found;
    BOOST_TEST(ops.list(fd, found) == 0);
    BOOST_TEST(found.size() == all.size());
    BOOST_TEST((std::set(found.begin(), found.end()) == all));
  }
  ops.close(fd);
}

BOOST_AUTO_TEST_CASE(one_that_is_removed_while_it_is_listed_has_no_names) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  files.put("k", first);
  *ops.before = [&](std::string_view call) {
    if (call == "list") fs::remove_all(dir());
    return 0;
  };
  BOOST_TEST(s.entries().empty());
}

BOOST_AUTO_TEST_CASE(where_it_cannot_be_removed_it_stays_and_nobody_minds) {
  for (std::string_view const failing :
       {"open", "open_lock", "lock_bytes", "fstat", "lstat", "list", "unlink", "rmdir"}) {
    support::spoiled_ops ops;
    support::spoiled_storage s{dir(), {}, ops};
    auto lock = s.try_lock("k");
    *ops.before = [&](std::string_view call) { return call == failing ? EIO : 0; };
    lock.reset();
    BOOST_TEST(fs::exists(dir()), failing);
    *ops.before = [](std::string_view) { return 0; };
    s.put("k", first);
    BOOST_TEST((s.get("k") == first));
    fs::remove_all(dir());
  }
}

BOOST_AUTO_TEST_CASE(what_was_made_before_something_fails_is_removed) {
  auto const where = root / "a" / "b" / "stash";
  for (std::string_view const failing : {"mkdir", "fsync", "open", "fchmod", "open_lock", "lock_byte"}) {
    for (int n = 1; n < (failing == "open_lock" ? 2 : 4); ++n) {  // the second is to remove it
      support::spoiled_ops ops;
      support::spoiled_storage s{where, {}, ops};
      int left = n;
      *ops.before = [&](std::string_view call) { return call == failing && --left == 0 ? EIO : 0; };
      static_cast<void>(code_of([&] { static_cast<void>(s.try_lock("k")); }));
      BOOST_TEST(names(root).empty(), failing << " " << n);
      fs::remove_all(root / "a");
    }
  }
}

BOOST_AUTO_TEST_CASE(who_comes_while_it_is_removed_waits_and_makes_it_anew) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  for (std::string_view const theirs : {"open", "lstat", "open_lock"}) {
    support::spoiled_ops their_ops;
    support::spoiled_storage other{dir(), {}, their_ops};
    auto lock = s.try_lock("k");
    *their_ops.before = [&](std::string_view call) {
      if (call == theirs) lock.reset();  // it is removed just before this
      return 0;
    };
    auto const got = other.try_lock("other");
    BOOST_TEST((got && got->held()), theirs);
    other.put("other", first);
    BOOST_TEST((other.get("other") == first));
    fs::remove_all(dir());
  }
}

BOOST_AUTO_TEST_CASE(who_has_all_bytes_is_waited_for_but_not_for_long) {
  files.put("k", first);
  stash::posix_file_ops const ops;
  int const fd = ops.open_lock(AT_FDCWD, (dir() / ".lock").c_str(), O_RDWR, 0);
  BOOST_REQUIRE(ops.lock_bytes(fd, 0, 0) == 0);
  BOOST_TEST(!files.try_lock("k").has_value());
  std::thread cleaner{[&] {
    std::this_thread::sleep_for(20ms);
    ops.close_lock(fd);
  }};
  BOOST_TEST(files.try_lock("k").has_value());
  cleaner.join();
}

BOOST_AUTO_TEST_CASE(many_who_come_and_go_lose_nothing_and_are_never_told_of_each_other) {
  auto const where = root / "a" / "b" / "stash";
  std::vector<pid_t> children;
  for (int n = 0; n < 4; ++n) {
    pid_t const child = ::fork();
    if (child == 0) {
      int failures = 0;
      for (int i = 0; i < 60; ++i) {
        try {
          stash::file_stash store{where, stash::file_options{.durability = stash::durability::process_crash}};
          stash::key const k = std::to_string(n) + "-" + std::to_string(i);
          stash::delete_guard g{store, k, [&] { return i == 59 ? std::optional(i) : std::nullopt; }, [](int) {}};
          store.entries();
          if (i == 59) g.release();
        } catch (std::exception const& e) {
          ::dprintf(2, "%s\n", e.what());
          ++failures;
        }
      }
      ::_exit(failures);
    }
    children.push_back(child);
  }
  for (pid_t const child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    BOOST_TEST(status == 0);
  }
  BOOST_TEST(atomic_file_storage{where}.entries().size() == 4U);
}

BOOST_AUTO_TEST_CASE(one_that_is_removed_whenever_it_was_made_is_an_error) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  *ops.before = [&](std::string_view call) {
    if (call == "open_lock") fs::remove_all(dir());
    return 0;
  };
  BOOST_TEST(code_of([&] { static_cast<void>(s.try_lock("k")); }) == support::os(ENOENT));
  BOOST_TEST(fs::exists(root));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(what_was_there_before_stays_however_often_the_rest_is_removed_and_made, Stash,
                              stashes_on_disk) {
  fs::create_directories(root / "there" / "empty");
  auto const where = root / "there" / "empty" / "out" / "stash";
  {
    Stash store{where};
    for (auto const& removed : {where, where.parent_path(), where, where}) {
      try {
        auto const lock = store.storage().try_lock("k");
        fs::remove_all(removed);
      } catch (stash::error const&) {  // a journal's file is gone that it has open
      }
    }
    try {
      auto const lock = store.storage().try_lock("k");
    } catch (stash::error const&) {
    }
  }
  BOOST_TEST(fs::exists(root / "there" / "empty"));
}

BOOST_AUTO_TEST_CASE(what_others_made_in_place_of_ours_stays) {
  auto const out = root / "out";
  atomic_file_storage s{out / "stash"};
  {
    auto const lock = s.try_lock("k");
    fs::remove_all(out);
    fs::create_directory(out);
  }
  BOOST_TEST(fs::exists(out));
  s.try_lock("k");
  BOOST_TEST(fs::exists(out));
  BOOST_TEST(!fs::exists(out / "stash"));
}

BOOST_AUTO_TEST_CASE(one_that_is_made_anew_while_it_is_removed_is_removed_too) {
  support::spoiled_ops ops;
  support::spoiled_storage s{root / "out" / "stash", {}, ops};
  std::optional<support::spoiled_storage::lock_type> second;
  auto first = s.try_lock("k");
  int removed = 0;
  *ops.before = [&](std::string_view call) {
    if (call == "rmdir" && ++removed == 2) second = s.try_lock("other");  // the directory is gone, its parent not yet
    return 0;
  };
  first.reset();
  BOOST_REQUIRE(second.has_value());
  BOOST_TEST(second->held());
  second.reset();
  BOOST_TEST(!fs::exists(root / "out" / "stash"));
}

BOOST_AUTO_TEST_CASE(one_in_which_something_is_saved_while_it_is_removed_stays_when_that_is_gone) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  auto lock = s.try_lock("k");
  bool is_saved = false;
  *ops.before = [&](std::string_view call) {
    if (call == "rmdir" && !std::exchange(is_saved, true)) s.put("other", first);
    return 0;
  };
  lock.reset();
  BOOST_REQUIRE(is_saved);
  s.erase("other");
  s.try_lock("k");
  BOOST_TEST(fs::exists(dir()));
}

BOOST_AUTO_TEST_CASE(a_lock_file_that_cannot_be_told_from_anothers_stays) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  auto lock = s.try_lock("k");
  bool is_locked = false;
  *ops.before = [&](std::string_view call) {
    if (call == "lock_bytes") is_locked = true;
    return call == "fstat" && is_locked ? EIO : 0;
  };
  lock.reset();
  BOOST_TEST(is_locked);
  BOOST_TEST(fs::exists(dir() / ".lock"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace directory_test
