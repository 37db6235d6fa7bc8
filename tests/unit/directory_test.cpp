// Whose the stash directory is, how it is reached, and who may do what in it.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <stash/storage/journal.hpp>
#include <stash/storage/sqlite.hpp>
#include <thread>

#include "support.hpp"

using namespace std::chrono_literals;
using stash::atomic_file_storage;
using stash::errc;
using stash::record;
using stash::time_point;
using support::code_of;
using support::message_of;
using support::names;
using support::os;
namespace utf = boost::unit_test;
namespace fs = boost::filesystem;

namespace {

record const first{"first", time_point{1us}};
record const second{"second", time_point{2us}};
auto const as_root = utf::precondition(support::as_root);
constexpr uid_t job = 12345, stranger = 12346;  // users without a name

mode_t mode_of(fs::path const& p) {
  struct stat s;
  return ::lstat(p.c_str(), &s) == 0 ? s.st_mode & 07777 : 0;
}

/// Runs `f` in a child that is `user`; whether it returned true.
template <class F>
bool as_user(uid_t user, F f) {
  return support::in_child([&] {
           if (::setgid(user) != 0 || ::setuid(user) != 0) return 2;
           return f() ? 0 : 1;
         }) == 0;
}

bool contains(std::string const& text, std::string const& part) { return text.find(part) != text.npos; }

struct fixture : support::scratch {
  atomic_file_storage files{dir()};
  fixture() { ::chmod(root.c_str(), 0755); }

  /// A stash of the job's, with a record in it.
  void make_stash_of_job(fs::path const& where) {
    fs::create_directories(where.parent_path());
    ::mkdir(where.c_str(), 0700);
    BOOST_REQUIRE(::chown(where.c_str(), job, job) == 0);
    BOOST_REQUIRE(as_user(job, [&] {
      atomic_file_storage{where}.put("k", first);
      return true;
    }));
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(directory, fixture)

// Links

BOOST_AUTO_TEST_CASE(a_link_of_roots_is_followed_whatever_leads_to_the_directory, *as_root) {
  make_stash_of_job(root / "private" / "etl");
  auto const real = root / "private" / "etl";
  auto const link = root / "etl";
  for (auto const& goal : {fs::path("private/etl"), fs::path("private/etl/"), fs::path("private/etl/."), real,
                           fs::path("one"), root / "one", fs::path("./private/../private/etl")}) {
    fs::remove(link);
    fs::remove(root / "one");
    fs::create_symlink(goal, link);
    fs::create_symlink("private/etl", root / "one");
    BOOST_TEST(as_user(job,
                       [&] {  // as systemd makes it for DynamicUser= with StateDirectory=etl
                         ::unsetenv("STASH_DIR");
                         ::setenv("STATE_DIRECTORY", link.c_str(), 1);
                         stash::file_stash store;
                         bool const found = store.storage().get("k") == first;
                         stash::delete_guard guard{store, "other", [] { return 1; }, [](int) {}};
                         bool const saved = fs::exists(real / "other.stash");
                         guard.commit();
                         store.storage().put("k", first);
                         return found && saved && store.storage().get("k") == first && store.entries().size() == 1;
                       }),
               goal);
  }
}

BOOST_AUTO_TEST_CASE(a_directory_below_a_link_of_roots_is_made_where_the_link_leads, *as_root) {
  fs::create_directory(root / "real");
  fs::create_symlink("real", root / "link");
  atomic_file_storage{root / "link" / "a" / "stash"}.put("k", first);
  BOOST_TEST((atomic_file_storage{root / "real" / "a" / "stash"}.get("k") == first));
}

BOOST_AUTO_TEST_CASE(a_link_that_others_could_have_made_is_refused_by_all_whoever_we_are, *as_root) {
  make_stash_of_job(root / "job");
  fs::create_directory(root / "in");
  auto const link = root / "in" / "link";
  auto const refused = [&] {
    return as_user(job, [&] {
      atomic_file_storage s{link};
      stash::journal_storage j{link};
      return code_of([&] { s.put("k", second); }) == errc::unsafe_directory &&
             code_of([&] { s.get("k"); }) == errc::unsafe_directory &&
             code_of([&] { s.entries(); }) == errc::unsafe_directory &&
             code_of([&] { s.try_lock("k"); }) == errc::unsafe_directory &&
             code_of([&] { j.put("k", second); }) == errc::unsafe_directory &&
             contains(message_of([&] { s.get("k"); }), "a symbolic link that others than root could have made");
    });
  };
  struct way {
    uid_t directory, link;
    mode_t mode;
  };
  for (way const& w : {way{0, stranger, 0755},
                       {0, job, 0755},
                       {stranger, 0, 0755},
                       {job, 0, 0700},
                       {0, 0, 0775},
                       {0, 0, 0757},
                       {0, 0, 01777}}) {
    fs::remove(link);
    fs::create_symlink(root / "job", link);
    BOOST_REQUIRE(::chown((root / "in").c_str(), w.directory, w.directory) == 0);
    BOOST_REQUIRE(::lchown(link.c_str(), w.link, w.link) == 0);
    support::set_mode((root / "in"), w.mode);
    BOOST_TEST(refused(), w.directory << " " << w.link << " " << std::oct << w.mode);
  }
  // In the middle of a chain too.
  fs::remove(link);
  support::set_mode((root / "in"), 0755);
  BOOST_REQUIRE(::chown((root / "in").c_str(), 0, 0) == 0);
  fs::create_symlink(root / "second", link);
  fs::create_symlink(root / "job", root / "second");
  BOOST_TEST(!refused());
  BOOST_REQUIRE(::lchown((root / "second").c_str(), stranger, stranger) == 0);
  BOOST_TEST(refused());
}

BOOST_AUTO_TEST_CASE(a_link_of_ones_own_is_refused_roots_too) {
  fs::create_directory(root / "elsewhere");
  support::set_mode((root / "elsewhere"), 0700);
  for (char const* const goal : {"elsewhere", "nowhere"}) {
    fs::remove(dir());
    fs::create_symlink(root / goal, dir());
    for (auto const& spelled : {dir(), dir() / "", dir() / ".", dir() / "." / "."}) {
      atomic_file_storage s{spelled};
      BOOST_TEST(code_of([&] { s.put("k", first); }) == errc::unsafe_directory);
      BOOST_TEST(code_of([&] { s.get("k"); }) == errc::unsafe_directory);
      BOOST_TEST(code_of([&] { s.try_lock("k"); }) == errc::unsafe_directory);
    }
  }
  BOOST_TEST(names(root / "elsewhere").empty());
}

BOOST_AUTO_TEST_CASE(root_follows_roots_link_to_look_at_what_is_anothers, *as_root) {
  atomic_file_storage{root / "private"}.put("k", first);
  for (auto const& one : {root / "private", root / "private" / "k.stash", root / "private" / ".lock"}) {
    BOOST_REQUIRE(::chown(one.c_str(), job, job) == 0);
  }
  fs::create_symlink(root / "private", dir());
  atomic_file_storage s{dir()};
  BOOST_TEST((s.get("k") == first));
  BOOST_TEST(s.entries().size() == 1U);
  BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::unsafe_directory);
  BOOST_TEST(code_of([&] { s.try_lock("k"); }) == errc::unsafe_directory);
}

/// Says that we are the job, and lets us do what root may.
struct as_job : support::spoiled_ops {
  uid_t user() const { return job; }
};

BOOST_AUTO_TEST_CASE(what_a_link_leads_to_must_be_as_safe_and_be_there, *as_root) {
  auto const link = root / "link";
  auto const target = root / "target";
  fs::create_symlink("target", link);
  stash::basic_atomic_file_storage<as_job> s{link, {}, {}};
  for (auto const& call : {std::function<void()>([&] { s.get("k"); }), {[&] { s.put("k", first); }}}) {
    auto const why = message_of(call);  // not absence: it may be a volume that is not mounted
    BOOST_TEST(code_of(call) == errc::unsafe_directory);
    BOOST_TEST(contains(why, "a symbolic link to " + target.native() + ", which is not there"), why);
  }
  BOOST_TEST(!fs::exists(target));
  fs::create_directory(target);
  support::set_mode(target, 0777);
  BOOST_REQUIRE(::chown(target.c_str(), job, job) == 0);
  BOOST_TEST(code_of([&] { s.put("k", first); }) == errc::unsafe_directory);
  support::set_mode(target, 0700);
  BOOST_REQUIRE(::chown(target.c_str(), stranger, stranger) == 0);
  BOOST_TEST(code_of([&] { s.put("k", first); }) == errc::unsafe_directory);
  BOOST_REQUIRE(::chown(target.c_str(), job, job) == 0);
  s.put("k", first);
  fs::remove_all(target);
  support::write(target, "a file");
  BOOST_TEST(code_of([&] { s.get("k"); }) == os(ENOTDIR));
  fs::remove(target);
  fs::create_symlink("link", target);  // round and round
  BOOST_TEST(code_of([&] { s.get("k"); }) == os(ELOOP));
}

BOOST_AUTO_TEST_CASE(a_link_that_cannot_be_looked_at_is_an_error_and_not_absence, *as_root) {
  fs::create_directory(root / "real");
  fs::create_symlink("real", root / "link");
  as_job const ops;
  stash::basic_atomic_file_storage<as_job> s{root / "link", {}, ops};
  for (char const* const failing : {"open", "fstat", "lstat", "read_link"}) {
    int opened = 0;
    *ops.before = [&](std::string_view call) {
      opened += call == "open";
      return opened > 1 && call == failing ? EIO : 0;  // the first open is what finds the link
    };
    BOOST_TEST(code_of([&] { s.get("k"); }) == os(ENOTDIR), failing);
  }
}

BOOST_AUTO_TEST_CASE(where_a_link_leads_is_synced_into_its_parent_too, *as_root) {
  struct noting_syncs : stash::posix_file_ops {
    uid_t user() const { return job; }
    int fsync(int fd) const {
      synced->push_back(fs::read_symlink("/proc/self/fd/" + std::to_string(fd)));
      return posix_file_ops::fsync(fd);
    }
    std::shared_ptr<std::vector<fs::path>> synced = std::make_shared<std::vector<fs::path>>();
  };
  auto const real = root / "private" / "etl";
  fs::create_directories(real);
  support::set_mode(real, 0700);
  BOOST_REQUIRE(::chown(real.c_str(), job, job) == 0);
  fs::create_symlink("private/etl", root / "etl");
  noting_syncs const ops;
  stash::basic_atomic_file_storage<noting_syncs>{root / "etl", {}, ops}.put("k", first);
  for (auto const& p : {root, root / "private", real}) {
    BOOST_TEST(std::count(ops.synced->begin(), ops.synced->end(), fs::canonical(p)) >= 1, p);
  }
}

// Owners

BOOST_AUTO_TEST_CASE(root_reads_what_is_another_users_and_is_told_as_whom_to_change_it, *as_root) {
  make_stash_of_job(dir());
  BOOST_REQUIRE(as_user(job, [&] {
    atomic_file_storage{dir()}.put("aside", second);
    atomic_file_storage{dir()}.set_aside("aside", "x");
    support::write(dir() / ".k.0123456789abcdef.tmp", "x");
    return true;
  }));
  stash::file_stash store{dir()};
  BOOST_TEST(files.exists());
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST((files.get("absent") == std::nullopt));
  BOOST_TEST(files.entries().size() == 1U);
  BOOST_TEST((files.entries()[0].state == stash::record_state::intact));
  BOOST_TEST(files.set_aside_entries().size() == 1U);
  BOOST_TEST(files.temporaries().size() == 1U);
  BOOST_TEST(store.age("k").has_value());
  BOOST_TEST((store.look_up("absent").state == stash::record_state::absent));
  auto const before = names(dir());
  std::function<void()> const changes[] = {[&] { files.put("k", second); },
                                           [&] {
                                             files.put_all(std::vector{std::pair{stash::key{"k"}, second}});
                                           },
                                           [&] { files.erase("k"); },
                                           [&] { files.erase_all(std::vector{stash::key{"k"}}); },
                                           [&] { files.set_aside("k", "x"); },
                                           [&] { files.purge(0us); },
                                           [&] { files.sweep("k"); },
                                           [&] { files.try_lock("k"); },
                                           [&] { store.save("k", 1); },
                                           [&] { store.clear("k"); },
                                           [&] {
                                             stash::delete_guard const g{store, "k", [] { return 1; }, [](int) {}};
                                           }};
  for (auto const& change : changes) {
    auto const why = message_of(change);
    BOOST_TEST(code_of(change) == errc::unsafe_directory);
    BOOST_TEST(contains(why, "owned by user 12345, not by us, user 0"), why);
    BOOST_TEST(contains(why, "sudo -u '#12345'"), why);
  }
  BOOST_TEST(names(dir()) == before);
  BOOST_REQUIRE(::chown(dir().c_str(), 65534, 65534) == 0);
  BOOST_TEST(contains(message_of(changes[0]), "owned by user 65534 (nobody), not by us"));
  BOOST_TEST(contains(message_of(changes[0]), "sudo -u nobody"));
}

BOOST_AUTO_TEST_CASE(root_reads_no_file_that_another_than_the_directorys_owner_put_there, *as_root) {
  make_stash_of_job(dir());
  for (uid_t const owner : {0U, stranger}) {
    BOOST_REQUIRE(::chown((dir() / "k.stash").c_str(), owner, owner) == 0);
    BOOST_TEST(code_of([&] { files.get("k"); }) == os(EPERM));
    BOOST_TEST((files.entries().at(0).state == stash::record_state::corrupt));
  }
  BOOST_TEST(contains(message_of([&] { files.get("k"); }), "owned by user 12346, and its directory by user 12345"));
  support::set_mode(dir(), 0777);  // nor anything from where others may write
  BOOST_TEST(code_of([&] { files.get("k"); }) == errc::unsafe_directory);
}

BOOST_AUTO_TEST_CASE(nobody_but_root_reads_what_is_another_users, *as_root) {
  make_stash_of_job(dir());
  support::set_mode(dir(), 0755);
  support::set_mode((dir() / "k.stash"), 0644);
  BOOST_TEST(as_user(stranger, [&] {
    auto const why = message_of([&] { files.get("k"); });
    return code_of([&] { files.get("k"); }) == errc::unsafe_directory &&
           contains(why, "owned by user 12345, not by us, user 12346") && !contains(why, "sudo");
  }));
}

BOOST_AUTO_TEST_CASE(at_the_root_of_a_volume_that_all_may_write_to_a_directory_below_it_is_named, *as_root) {
  fs::create_directory(dir());
  support::set_mode(dir(), 0777);
  BOOST_TEST(contains(message_of([&] { files.put("k", first); }), "or a directory below it"));
  BOOST_TEST(as_user(job, [&] {
    auto const below = dir() / "stash";
    bool const told =
        contains(message_of([&] { files.put("k", first); }),
                 "owned by user 0 (root), not by us, user 12345; a directory below it will do: " + below.native());
    atomic_file_storage{below}.put("k", first);
    return told;
  }));
}

boost::test_tools::assertion_result may_mount_for_itself(utf::test_unit_id) {
  return support::is_root() && support::may_unshare(CLONE_NEWNS);
}

// Where users have no number

boost::test_tools::assertion_result as_root_with_user_namespaces(utf::test_unit_id) {
  return support::is_root() && support::may_unshare(CLONE_NEWUSER);
}

BOOST_AUTO_TEST_CASE(where_all_users_look_the_same_a_strangers_directory_is_still_not_ours,
                     *utf::precondition(as_root_with_user_namespaces)) {
  make_stash_of_job(root / "ours");
  make_stash_of_job(root / "theirs");
  for (auto const& p : {root / "theirs", root / "theirs" / "k.stash", root / "theirs" / ".lock"}) {
    BOOST_REQUIRE(::chown(p.c_str(), stranger, stranger) == 0);
    support::set_mode(p, 0755);
  }
  BOOST_TEST(as_user(job, [&] {
    if (::unshare(CLONE_NEWUSER) != 0 || ::geteuid() != 65534) return false;
    atomic_file_storage ours{root / "ours"}, theirs{root / "theirs"};
    bool const works = ours.get("k") == first && ours.try_lock("k").has_value();
    return works && code_of([&] { theirs.get("k"); }) == errc::unsafe_directory &&
           code_of([&] { theirs.put("k", second); }) == errc::unsafe_directory;
  }));
}

BOOST_AUTO_TEST_CASE(what_keeps_from_telling_whose_it_is_is_an_error) {
  struct without_number : support::spoiled_ops {
    uid_t user() const { return 65534; }
    int fstat(int fd, struct stat* s) const {
      int const result = real.fstat(fd, s);
      s->st_uid = 65534;
      return result;
    }
  };
  files.put("k", first);
  without_number ops;
  stash::basic_atomic_file_storage<without_number> s{dir(), {}, ops};
  BOOST_TEST((s.get("k") == first));
  *ops.before = [&](std::string_view call) { return call == "require_owner" ? EMFILE : 0; };
  BOOST_TEST(code_of([&] { s.get("k"); }) == os(EMFILE));
}

BOOST_AUTO_TEST_CASE(root_can_read_it_in_a_volume_that_can_only_be_read, *utf::precondition(may_mount_for_itself)) {
  make_stash_of_job(dir());
  BOOST_TEST(support::in_child([&] {
               if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
                 return 1;
               auto const* const at = root.c_str();
               if (::mount(at, at, nullptr, MS_BIND, nullptr) != 0) return 2;
               if (::mount("none", at, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) != 0) return 3;
               auto const reads = [&] {
                 stash::file_stash store{dir()};
                 return files.exists() && files.get("k") == first && files.entries().size() == 1 && store.age("k") &&
                        files.set_aside_entries().empty() && files.temporaries().empty();
               };
               auto const changes = [&] { return code_of([&] { files.put("k", second); }); };
               if (!reads() || changes() != errc::unsafe_directory) return 4;
               if (::setgid(job) != 0 || ::setuid(job) != 0) return 5;
               bool const is_refused = changes() == os(EROFS) && code_of([&] { files.erase("k"); }) == os(EROFS) &&
                                       code_of([&] { files.try_lock("k"); }) == os(EROFS);
               return reads() && is_refused ? 0 : 6;
             }) == 0);
}

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

// Setuid

BOOST_AUTO_TEST_CASE(prints_the_default_directory, *utf::disabled()) {
  std::string const found = code_of([] { stash::default_directory(); }) ? "none" : stash::default_directory().native();
  std::printf("default directory: %s\n", found.c_str());
}

boost::test_tools::assertion_result as_root_where_setuid_works(utf::test_unit_id) {
  support::scratch const s;
  struct statvfs found;
  return support::is_root() && ::statvfs(s.root.c_str(), &found) == 0 && (found.f_flag & ST_NOSUID) == 0;
}

BOOST_AUTO_TEST_CASE(a_program_with_more_rights_than_its_user_asks_no_environment,
                     *utf::precondition(as_root_where_setuid_works)) {
  auto const program = root / "program";
  fs::copy_file("/proc/self/exe", program);
  auto const told = [&](mode_t mode) {
    support::set_mode(program, mode);
    auto const command = "STASH_DIR=/from/the/environment HOME=/from/the/environment exec " + program.native() +
                         " --run_test=directory/prints_the_default_directory";
    auto const report = root / "report";
    support::write(report, "");
    support::set_mode(report, 0666);
    as_user(job, [&] { return std::system((command + " >" + report.native() + " 2>&1").c_str()) == 0; });
    return support::read(report);
  };
  BOOST_TEST(contains(told(0755), "default directory: /from/the/environment"));
  auto const with_more = told(04755);
  BOOST_TEST(contains(with_more, "default directory: "), with_more);
  BOOST_TEST(!contains(with_more, "/from/the/environment"), with_more);
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

BOOST_AUTO_TEST_SUITE_END()
