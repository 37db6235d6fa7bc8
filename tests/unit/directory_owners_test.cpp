// Whose the stash directory is, how it is reached, and who may do what in it.
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstdio>
#include <cstdlib>
#include <stash/storage/journal.hpp>
#include <utility>

#include "directory_fixture.hpp"
#include "support.hpp"

namespace directory_owners_test {

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

using directory_test::as_user;
using directory_test::contains;
using directory_test::first;
using directory_test::fixture;
using directory_test::job;

record const second{"second", time_point{2us}};
auto const as_root = utf::precondition(support::as_root);
constexpr uid_t stranger = 12346;  // without a name too

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
  fs::remove(target);  // Boost 1.83 throws when it goes through the directory
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

BOOST_AUTO_TEST_SUITE_END()

}  // namespace directory_owners_test
