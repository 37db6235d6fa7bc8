#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <boost/test/data/test_case.hpp>
#include <csignal>
#include <cstddef>
#include <set>

#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::atomic_file_storage;
using stash::errc;
using stash::record;
using stash::record_state;
using stash::time_point;
using support::code_of;
using support::names;
using support::os;
namespace utf = boost::unit_test;
namespace fs = boost::filesystem;

namespace {

record const first{"first", time_point{1us}};
record const second{"second", time_point{2us}};
auto const as_root = utf::precondition(support::as_root);
auto const without_root = utf::precondition(support::without_root);

mode_t mode_of(fs::path const& p) {
  struct stat s;
  return ::lstat(p.c_str(), &s) == 0 ? s.st_mode & 07777 : 0;
}

std::size_t open_descriptors() { return names("/proc/self/fd").size(); }

struct fixture : support::scratch {
  atomic_file_storage files{dir()};
  fs::path target = dir() / "k.stash";
  bool only_record_and_lock() const { return names(dir()) == std::vector<std::string>{".lock", "k.stash"}; }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(atomic_file, fixture)

BOOST_AUTO_TEST_CASE(constructing_reading_and_clearing_make_nothing) {
  BOOST_TEST((files.get("k") == std::nullopt));
  BOOST_TEST(!files.erase("k"));
  BOOST_TEST(files.entries().empty());
  BOOST_TEST(files.set_aside_entries().empty());
  BOOST_TEST(files.temporaries().empty());
  BOOST_TEST(files.purge(0us) == 0U);
  BOOST_TEST(!files.exists());
  files.sweep("k");
  stash::file_stash store{dir()};
  BOOST_TEST(!store.clear("k"));
  BOOST_TEST(!store.load("k"));
  BOOST_TEST(!store.age("k"));
  BOOST_TEST(names(root).empty());
  BOOST_TEST(!stash::file_stash{"/proc/no/stash"}.clear("k"));  // where nothing can be made
}

BOOST_AUTO_TEST_CASE(a_save_makes_the_directory_for_us_alone_with_its_parents) {
  atomic_file_storage deep{root / "a" / "b" / "c"};
  deep.put("k", first);
  BOOST_TEST(mode_of(root / "a" / "b" / "c") == 0700U);
  BOOST_TEST(mode_of(deep.path("k")) == 0600U);
  BOOST_TEST(mode_of(deep.path("k").parent_path() / ".lock") == 0600U);
  BOOST_TEST(deep.exists());
}

BOOST_AUTO_TEST_CASE(the_umask_neither_opens_nor_closes_anything) {
  for (mode_t const mask : {0777U, 0000U, 0077U}) {
    atomic_file_storage s{root / std::to_string(mask) / "x"};
    mode_t const before = ::umask(mask);
    s.put("k", first);
    bool const locked = s.try_lock("k").has_value();
    ::umask(before);
    BOOST_TEST(locked);
    BOOST_TEST((s.get("k") == first));
    BOOST_TEST(mode_of(s.path("k")) == 0600U);
    BOOST_TEST(mode_of(s.path("k").parent_path()) == 0700U);
  }
}

BOOST_DATA_TEST_CASE(nobody_else_may_read_a_file_at_any_moment, boost::unit_test::data::make({true, false}),
                     has_unnamed_files) {
  support::spoiled_ops ops;
  ops.has_unnamed_files = has_unnamed_files;
  support::spoiled_storage s{dir(), {}, ops};
  mode_t seen = 0;
  *ops.before = [&](std::string_view) {
    for (auto const& name : names(dir())) seen |= mode_of(dir() / name);
    return 0;
  };
  mode_t const before = ::umask(0);
  s.put("k", first);
  s.set_aside("k", "x");
  ::umask(before);
  BOOST_TEST(seen == 0600U);
}

BOOST_AUTO_TEST_CASE(the_file_is_what_the_format_says) {
  stash::basic_stash<atomic_file_storage, stash::json_serializer, stash::manual_clock> store{
      atomic_file_storage{dir()}, {}, stash::manual_clock{time_point{1'795'358'661'123'456us}}};
  store.save("orders", {{"id", {{"label", 1}}}});
  auto const text = support::read(store.storage().path("orders"));
  BOOST_TEST(text.starts_with(
      "{\"stash\":1,\"key\":\"orders\",\"saved_at\":\"2026-11-22T14:44:21.123456Z\",\"bytes\":18,\"xxh64\":\""));
  BOOST_TEST(text.ends_with("\"}\n{\"id\":{\"label\":1}}\n"));
  BOOST_TEST(store.storage().path("orders") == dir() / "orders.stash");
}

BOOST_AUTO_TEST_CASE(a_directory_with_more_than_one_slash_in_front_is_the_one_with_one) {
  BOOST_TEST(atomic_file_storage{"//stash"}.path("k") == "/stash/k.stash");
  BOOST_TEST(atomic_file_storage{"///stash"}.path("k") == "/stash/k.stash");
  BOOST_TEST(atomic_file_storage{"/"}.path("k") == "/k.stash");
  atomic_file_storage s{"/" + dir().native()};
  s.put("k", first);
  BOOST_TEST((files.get("k") == first));
}

BOOST_AUTO_TEST_CASE(a_directory_may_be_relative_to_one_with_a_long_path) {
  auto const before = fs::current_path();
  auto const deep = root / std::string(200, 'd') / std::string(200, 'e') / std::string(200, 'f');
  fs::create_directories(deep);
  fs::current_path(deep);
  atomic_file_storage const relative{"stash"};
  fs::current_path(before);
  BOOST_TEST(relative.path("k") == deep / "stash" / "k.stash");
}

BOOST_AUTO_TEST_CASE(a_relative_directory_stays_where_it_was) {
  auto const before = fs::current_path();
  fs::current_path(root);
  atomic_file_storage relative{"stash"};
  fs::current_path("/");
  relative.put("k", first);
  fs::current_path(before);
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(code_of([] { atomic_file_storage s{""}; }) == os(EINVAL));
  BOOST_TEST(code_of([] { atomic_file_storage s{"a\0b"s}; }) == os(EINVAL));
  int const status = support::in_child([&] {
    fs::create_directory(root / "gone");
    fs::current_path(root / "gone");
    fs::remove(root / "gone");
    return code_of([] { atomic_file_storage s{"stash"}; }) == os(ENOENT) ? 0 : 1;
  });
  BOOST_TEST(status == 0);
}

// The directory

BOOST_AUTO_TEST_CASE(a_file_where_the_directory_should_be_is_an_error_and_not_absence) {
  support::write(dir(), "x");
  BOOST_TEST(code_of([&] { files.put("k", first); }) == os(ENOTDIR));
  BOOST_TEST(code_of([&] { files.get("k"); }) == os(ENOTDIR));
  BOOST_TEST(code_of([&] { files.entries(); }) == os(ENOTDIR));
  BOOST_TEST(code_of([&] { atomic_file_storage{dir() / "below"}.get("k"); }) == os(ENOTDIR));
}

BOOST_AUTO_TEST_CASE(a_directory_that_others_may_write_to_is_refused) {
  files.put("k", first);
  for (mode_t const mode : {0777U, 01777U, 0720U, 0702U}) {
    support::set_mode(dir(), mode);
    BOOST_TEST(code_of([&] { files.put("k", second); }) == errc::unsafe_directory);
    BOOST_TEST(code_of([&] { files.get("k"); }) == errc::unsafe_directory);
    BOOST_TEST(code_of([&] { files.erase("k"); }) == errc::unsafe_directory);
    BOOST_TEST(code_of([&] { files.set_aside("k", "x"); }) == errc::unsafe_directory);
    BOOST_TEST(code_of([&] { files.entries(); }) == errc::unsafe_directory);
  }
  for (mode_t const mode : {0700U, 0755U, 0750U}) {
    support::set_mode(dir(), mode);
    BOOST_TEST((files.get("k") == first));
  }
}

BOOST_AUTO_TEST_CASE(without_permission_to_read_or_write_it_errors_are_told_and_nothing_is_lost, *without_root) {
  files.put("k", first);
  support::set_mode(dir(), 0500);
  BOOST_TEST(code_of([&] { files.put("k", second); }) == os(EACCES));
  BOOST_TEST(code_of([&] { files.erase("k"); }) == os(EACCES));
  BOOST_TEST(code_of([&] { files.set_aside("k", "x"); }) == os(EACCES));
  BOOST_TEST((files.get("k") == first));
  support::set_mode(dir(), 0300);
  BOOST_TEST(code_of([&] { files.put("k", second); }) == os(EACCES));
  BOOST_TEST(code_of([&] { files.get("k"); }) == os(EACCES));
  BOOST_TEST(code_of([&] { files.entries(); }) == os(EACCES));
  support::set_mode(dir(), 0700);
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
}

BOOST_AUTO_TEST_CASE(it_may_be_made_where_one_may_not_read, *without_root) {
  fs::create_directory(root / "drop-box");
  support::set_mode((root / "drop-box"), 0300);
  support::spoiled_ops ops;
  support::spoiled_storage s{root / "drop-box" / "mine", {}, ops};
  *ops.before = [](std::string_view call) { return call == "syncfs" ? EIO : 0; };
  BOOST_TEST(code_of([&] { s.put("k", first); }) == os(EIO));  // what cannot be synced alone is synced with all else
  *ops.before = [](std::string_view) { return 0; };
  s.put("k", first);
  BOOST_TEST((s.get("k") == first));
}

BOOST_AUTO_TEST_CASE(one_that_was_removed_or_renamed_while_running_is_made_again) {
  files.put("k", first);
  fs::rename(dir(), root / "moved");
  BOOST_TEST((files.get("k") == std::nullopt));
  files.put("k", second);
  fs::remove_all(dir());
  BOOST_TEST(!files.erase("k"));
  files.put("k", second);
  BOOST_TEST((files.get("k") == second));
  BOOST_TEST((atomic_file_storage{root / "moved"}.get("k") == first));
}

BOOST_AUTO_TEST_CASE(two_may_make_it_at_once) {
  for (int round = 0; round < 20; ++round) {
    auto const shared = root / std::to_string(round) / "a" / "b";
    int const status = support::in_child([&] {
      ::pid_t const other = ::fork();
      atomic_file_storage{shared}.put(other == 0 ? "child" : "parent", first);
      if (other == 0) ::_exit(0);
      int s = 0;
      ::waitpid(other, &s, 0);
      return s;
    });
    BOOST_TEST(status == 0);
    BOOST_TEST(atomic_file_storage{shared}.entries().size() == 2U);
  }
}

BOOST_AUTO_TEST_CASE(another_may_make_it_in_between) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  int sync_error = EIO;
  *ops.before = [&](std::string_view call) {
    if (call == "mkdir") return ::mkdir(dir().c_str(), 0700) == 0 ? 0 : errno;
    return call == "fsync" ? sync_error : 0;
  };
  BOOST_TEST(code_of([&] { s.put("k", first); }) == os(EIO));
  sync_error = 0;
  s.put("k", first);
  BOOST_TEST((s.get("k") == first));
}

BOOST_AUTO_TEST_CASE(a_link_in_its_place_is_told_from_other_errors_whichever_errno_says_so) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  bool is_first = true;
  *ops.before = [&](std::string_view call) { return call == "open" && std::exchange(is_first, false) ? ELOOP : 0; };
  fs::create_symlink(root / "elsewhere", dir());
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::unsafe_directory);
  fs::remove(dir());
  is_first = true;
  BOOST_TEST(code_of([&] { s.get("k"); }) == os(ELOOP));
}

BOOST_AUTO_TEST_CASE(one_that_is_removed_again_while_it_is_made_is_an_error) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  *ops.before = [&](std::string_view call) {
    if (call == "fsync") fs::remove(dir());
    return 0;
  };
  BOOST_TEST(code_of([&] { s.put("k", first); }) == os(ENOENT));
}

BOOST_AUTO_TEST_CASE(where_it_is_missing_there_is_nothing_to_set_aside) {
  BOOST_TEST(code_of([&] { files.set_aside("k", "x"); }) == os(ENOENT));
  BOOST_TEST(names(root).empty());
}

BOOST_AUTO_TEST_CASE(without_a_root_directory_making_it_ends_with_an_error) {
  support::spoiled_ops ops;
  support::spoiled_storage s{"/", {}, ops};
  *ops.before = [](std::string_view call) { return call == "open" || call == "mkdir" ? ENOENT : 0; };
  BOOST_TEST(code_of([&] { s.put("k", first); }) == os(ENOENT));
}

BOOST_AUTO_TEST_CASE(a_file_system_that_cannot_sync_directories_will_do_only_under_process_crash) {
  support::spoiled_ops ops;
  *ops.before = [](std::string_view call) { return call == "fsync" ? EINVAL : 0; };
  support::spoiled_storage durable{dir(), {}, ops};
  BOOST_TEST(code_of([&] { durable.put("k", first); }) == os(EINVAL));
  BOOST_TEST(code_of([&] { static_cast<void>(durable.try_lock("k")); }) == os(EINVAL));  // makes it, and no file
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  fast.put("k", first);
  BOOST_TEST((fast.get("k") == first));
}

boost::test_tools::assertion_result may_mount(utf::test_unit_id) {
  support::scratch s;
  bool const may = ::mount("none", s.root.c_str(), "tmpfs", 0, "size=1m") == 0;
  if (may) ::umount(s.root.c_str());
  return may;
}

struct mounted {
  fs::path at;
  explicit mounted(fs::path const& p, char const* options) : at(p) {
    fs::create_directories(p);
    BOOST_REQUIRE(::mount("none", p.c_str(), "tmpfs", 0, options) == 0);
  }
  ~mounted() { ::umount(at.c_str()); }
};

BOOST_AUTO_TEST_CASE(on_a_read_only_file_system_it_can_be_read_and_saving_is_an_error, *utf::precondition(may_mount)) {
  mounted const disk{root / "disk", "mode=0700"};
  atomic_file_storage s{disk.at / "stash"};
  s.put("k", first);
  BOOST_REQUIRE(::mount("none", disk.at.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
  BOOST_TEST((s.get("k") == first));
  BOOST_TEST(code_of([&] { s.put("k", second); }) == os(EROFS));
  BOOST_TEST(code_of([&] { s.erase("k"); }) == os(EROFS));
  BOOST_TEST(code_of([&] { s.try_lock("k"); }) == os(EROFS));
  BOOST_TEST(code_of([&] { atomic_file_storage{disk.at / "new"}.put("k", first); }) == os(EROFS));
}

BOOST_AUTO_TEST_CASE(on_a_full_disk_the_old_record_stands_and_no_temporary_is_left, *utf::precondition(may_mount)) {
  for (char const* const options : {"mode=0700,size=64k", "mode=0700,nr_inodes=5"}) {  // no blocks; no inodes
    mounted const disk{root / "disk", options};
    atomic_file_storage s{disk.at / "stash"};
    s.put("k", first);
    support::write(disk.at / "filler", std::string(1 << 17, 'x'));
    BOOST_TEST(code_of([&] { s.put("k", {std::string(100'000, 'x'), {}}); }) == os(ENOSPC));
    BOOST_TEST((s.get("k") == first));
    BOOST_TEST(names(disk.at / "stash").size() == 2U);
  }
}

BOOST_AUTO_TEST_CASE(the_longest_names_fit_and_a_path_that_is_too_long_is_an_error_and_not_absence) {
  std::string const longest(200, 'k');
  files.put(longest, first);
  BOOST_TEST(fs::exists(files.set_aside(longest, std::string(300, '/'))));
  fs::path deep = root;
  while (deep.size() < 4096) deep /= std::string(250, 'd');
  atomic_file_storage s{deep};
  BOOST_TEST(code_of([&] { s.get("k"); }) == os(ENAMETOOLONG));
  BOOST_TEST(code_of([&] { s.put("k", first); }) == os(ENAMETOOLONG));
  BOOST_TEST(code_of([&] { s.put(std::string(100, 'A'), first); }) == errc::invalid_key);
}

// The target's name is already

BOOST_AUTO_TEST_CASE(a_link_at_the_records_name_is_corrupt_and_is_replaced_but_never_followed) {
  files.put("other", first);
  support::write(root / "victim", "precious");
  for (auto const& goal : {root / "victim", root / "nowhere", dir() / "other.stash"}) {
    fs::create_symlink(goal, target);
    BOOST_TEST(code_of([&] { files.get("k"); }) == errc::corrupt);
    files.put("k", second);
    BOOST_TEST((files.get("k") == second));
    fs::remove(target);
    fs::create_symlink(goal, target);
    auto const aside = files.set_aside("k", "corrupt");
    BOOST_TEST(fs::is_symlink(fs::symlink_status(aside)));
    BOOST_TEST((files.get("k") == std::nullopt));
  }
  BOOST_TEST(support::read(root / "victim") == "precious");
  BOOST_TEST((files.get("other") == first));
}

BOOST_AUTO_TEST_CASE(a_fifo_or_a_socket_there_is_corrupt_and_nobody_waits_for_it) {
  files.put("k", first);
  fs::remove(target);
  BOOST_REQUIRE(::mkfifo(target.c_str(), 0600) == 0);
  BOOST_TEST(code_of([&] { files.get("k"); }) == errc::corrupt);
  BOOST_TEST((files.entries().at(0).state == record_state::corrupt));
  files.put("k", second);
  BOOST_TEST((files.get("k") == second));
  fs::remove(target);
  int const socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  BOOST_REQUIRE(target.size() < sizeof address.sun_path);
  std::copy_n(target.c_str(), target.size() + 1, address.sun_path);
  BOOST_REQUIRE(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  ::close(socket);
  BOOST_TEST(code_of([&] { files.get("k"); }) == errc::corrupt);
  BOOST_TEST(files.erase("k"));
}

BOOST_AUTO_TEST_CASE(a_directory_there_is_corrupt_and_can_be_set_aside) {
  files.put("other", first);
  fs::create_directories(target / "inside");
  BOOST_TEST(code_of([&] { files.get("k"); }) == errc::corrupt);
  BOOST_TEST(code_of([&] { files.put("k", first); }) == os(EISDIR));
  BOOST_TEST(code_of([&] { files.erase("k"); }) == os(EISDIR));
  BOOST_TEST(names(dir()).size() == 3U);
  files.set_aside("k", "corrupt");
  files.put("k", first);
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(files.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_second_name_of_the_file_keeps_the_old_bytes) {
  files.put("k", first);
  fs::create_hard_link(target, root / "second-name");
  auto const before = support::read(root / "second-name");
  files.put("k", second);
  BOOST_TEST(support::read(root / "second-name") == before);
  BOOST_TEST((files.get("k") == second));
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_read_is_an_error_and_not_absent_and_a_save_replaces_it, *without_root) {
  files.put("k", first);
  support::set_mode(target, 0000);
  BOOST_TEST(code_of([&] { files.get("k"); }) == os(EACCES));
  auto const listed = files.entries();
  BOOST_REQUIRE(listed.size() == 1U);
  BOOST_TEST((listed[0].state == record_state::corrupt && !listed[0].saved_at));
  files.put("k", second);
  BOOST_TEST((files.get("k") == second));
}

BOOST_AUTO_TEST_CASE(somebody_elses_file_is_an_error_and_is_listed, *as_root) {
  files.put("k", first);
  files.put("z", first);
  BOOST_REQUIRE(::chown(target.c_str(), 12345, 12345) == 0);
  BOOST_TEST(code_of([&] { files.get("k"); }) == os(EPERM));
  BOOST_TEST(support::message_of([&] { files.get("k"); }).find("owned by user 12345") != std::string::npos);
  auto const listed = files.entries();
  BOOST_REQUIRE(listed.size() == 2U);
  BOOST_TEST((listed[0].state == record_state::corrupt && listed[1].state == record_state::intact));
}

bool set_immutable(fs::path const& file, bool on) {
  int const fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  int flags = 0;
  bool ok = fd >= 0 && ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
  flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  ok = ok && ::ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
  ::close(fd);
  return ok;
}
boost::test_tools::assertion_result may_make_immutable(utf::test_unit_id) {
  support::scratch s;
  support::write(s.root / "x", "");
  return set_immutable(s.root / "x", true) && set_immutable(s.root / "x", false);
}

BOOST_AUTO_TEST_CASE(an_immutable_file_is_an_error_and_leaves_no_temporary, *utf::precondition(may_make_immutable)) {
  files.put("k", first);
  BOOST_REQUIRE(set_immutable(target, true));
  auto const put = code_of([&] { files.put("k", second); });
  auto const erase = code_of([&] { files.erase("k"); });
  BOOST_TEST(set_immutable(target, false));
  BOOST_TEST(put == os(EPERM));
  BOOST_TEST(erase == os(EPERM));
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
}

BOOST_AUTO_TEST_CASE(a_planted_temporary_name_is_neither_followed_nor_removed) {
  files.put("other", first);
  support::write(root / "victim", "precious");
  struct predictable : stash::posix_file_ops {
    int random(void* to, std::size_t n) const noexcept { return std::memset(to, 0, n), 0; }
  };
  auto const planted = dir() / ".k.0000000000000000.tmp";
  fs::create_symlink(root / "victim", planted);
  for (auto const d : {stash::durability::power_loss, stash::durability::process_crash}) {
    files.put("k", first);  // so that it takes a temporary name to replace it
    stash::basic_atomic_file_storage<predictable> s{dir(), {.durability = d}};
    BOOST_TEST(code_of([&] { s.put("k", second); }) == os(EEXIST));
    BOOST_TEST(fs::is_symlink(fs::symlink_status(planted)));
    BOOST_TEST(support::read(root / "victim") == "precious");
  }
}

BOOST_AUTO_TEST_CASE(strangers_in_the_directory_are_left_alone) {
  files.put("k", first);
  for (char const* const name : {"notes.txt", "A.stash", ".stash", "k.stash~", ".k.tmp", "%6b.stash"})
    support::write(dir() / name, "x");
  BOOST_TEST(files.entries().size() == 1U);
  BOOST_TEST(files.set_aside_entries().empty());
  BOOST_TEST(files.temporaries().empty());
  files.purge(0us);
  files.sweep("k");
  BOOST_TEST(names(dir()).size() == 8U);
}

// Bytes

BOOST_AUTO_TEST_CASE(the_cap_holds_for_writing_and_reading) {
  atomic_file_storage s{dir(), {.max_bytes = 10}};
  s.put("k", {std::string(10, 'x'), {}});
  BOOST_TEST(code_of([&] { s.put("k", {std::string(11, 'x'), {}}); }) == errc::too_large);
  BOOST_TEST(s.get("k")->payload.size() == 10U);
  for (std::size_t const size : {11U, 5000U}) {
    files.put("k", {std::string(size, 'x'), {}});
    BOOST_TEST(code_of([&] { s.get("k"); }) == errc::too_large);
    BOOST_TEST((s.entries().at(0).state == record_state::corrupt));
  }
  auto const whole = support::read(target);
  support::write(target, whole.substr(0, 200));  // torn, and its header tells of more than the cap
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::corrupt);
}

BOOST_AUTO_TEST_CASE(a_record_copied_under_another_key_is_corrupt_and_listed_as_such) {
  files.put("k", first);
  fs::copy_file(target, dir() / "other.stash");
  BOOST_TEST(code_of([&] { files.get("other"); }) == errc::corrupt);
  BOOST_TEST((files.entries().at(1).state == record_state::corrupt));
  fs::rename(dir() / "other.stash", dir() / "k.corrupt-20261122T144421.123456Z-9f3c0a5b7d1e2c48");
  BOOST_TEST((files.set_aside_entries().at(0).state == record_state::intact));  // one can be put back by renaming it
}

BOOST_AUTO_TEST_CASE(a_newer_version_is_a_mismatch_and_is_never_overwritten_by_a_guard) {
  auto text = "{\"stash\":2,\"key\":\"k\""s + std::string(stash::detail::checksum_field);
  text += stash::detail::checksum(text, "x") + "\"}\nx\n";
  files.put("other", first);
  support::write(target, text);
  BOOST_TEST(code_of([&] { files.get("k"); }) == errc::mismatch);
  BOOST_TEST((files.entries().at(0).state == record_state::intact));
  stash::file_stash store{dir()};
  auto const guarded = [&] {
    stash::delete_guard g{store, "k", [] { return boost::json::value(1); }, [](auto const&) {}};
  };
  BOOST_TEST(code_of(guarded) == errc::mismatch);
  BOOST_TEST(support::read(target) == text);
}

BOOST_AUTO_TEST_CASE(temporaries_of_the_dead_are_swept_key_by_key) {
  files.put("k", first);
  for (char const* const name : {".k.0123456789abcdef.tmp", ".k.1123456789abcdef.tmp", ".other.0123456789abcdef.tmp"}) {
    support::write(dir() / name, "half a rec");
  }
  BOOST_TEST((files.temporaries() == std::vector<stash::key>{"k", "other"}));
  files.sweep("k");
  BOOST_TEST((files.temporaries() == std::vector<stash::key>{"other"}));
  BOOST_TEST((files.get("k") == first));
}

// Faults

BOOST_DATA_TEST_CASE(each_call_failing_with_each_errno_leaves_the_old_record_and_no_temporary_and_no_descriptor,
                     boost::unit_test::data::make({true, false}), has_unnamed_files) {
  support::spoiled_ops ops;
  ops.has_unnamed_files = has_unnamed_files;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  auto const descriptors = open_descriptors();
  std::set<std::string> spoiled;
  for (int const error : {EIO, ENOSPC, EDQUOT, EROFS, EACCES, EMFILE, ENFILE, ENOMEM, ESTALE}) {
    for (int n = 1;; ++n) {
      int left = n;
      std::string which;
      bool is_linked = false;
      *ops.before = [&](std::string_view call) {
        is_linked |= call == "link_unnamed" && left > 1;
        if (--left != 0) return 0;
        which = call;
        return error;
      };
      bool const complete = [&] {
        try {
          s.put("k", second);
          *ops.before = [](std::string_view) { return 0; };
          BOOST_TEST((s.get("k") == second));
          s.put("k", first);
          bool const is_look = is_linked && which.ends_with("stat");  // at what was linked: it is linked once more
          if (left <= 0) BOOST_TEST((which == "close" || which.ends_with("_unnamed") || is_look), "forgives " << which);
          return left > 0;  // the call to spoil never came
        } catch (stash::error const& e) {
          BOOST_TEST(e.operation() == "put");
          BOOST_TEST(e.subject() == "k");
          BOOST_TEST(std::string(e.what()).find(dir().native()) != std::string::npos);
          bool const after_rename = e.code() == errc::indeterminate;
          if (!after_rename) BOOST_TEST(e.code() == os(error), which);
          *ops.before = [](std::string_view) { return 0; };
          BOOST_TEST((s.get("k") == (after_rename ? second : first)), which);
          s.put("k", first);
          return false;
        }
      }();
      *ops.before = [](std::string_view) { return 0; };
      spoiled.insert(which);
      BOOST_TEST(only_record_and_lock(), which);
      if (complete) break;
    }
  }
  BOOST_TEST(open_descriptors() == descriptors);
  BOOST_TEST(spoiled.contains("link_unnamed") == has_unnamed_files);
  for (char const* const call :
       {"open", "fstat", "lstat", "random", "open_unnamed", "fchmod", "writev", "fsync", "close", "rename"}) {
    BOOST_TEST(spoiled.contains(call), call);
  }
}

BOOST_AUTO_TEST_CASE(whatever_call_of_any_operation_fails_the_record_can_still_be_had_and_no_descriptor_is_lost) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  std::vector<std::pair<char const*, std::function<void()>>> const operations{
      {"get", [&] { s.get("k"); }},
      {"entries", [&] { s.entries(); }},
      {"set_aside_entries", [&] { s.set_aside_entries(); }},
      {"temporaries", [&] { s.temporaries(); }},
      {"set_aside", [&] { s.set_aside("k", "x"); }},
      {"try_lock", [&] { s.try_lock("k"); }},
      {"sweep", [&] { s.sweep("k"); }},
      {"purge", [&] { s.purge(1h); }}};
  s.put("k", first);
  auto const descriptors = open_descriptors();
  for (auto const& [name, run] : operations) {
    for (int const error : {EIO, ENOSPC, EACCES, EMFILE, ENOMEM, ESTALE}) {
      for (int n = 1;; ++n) {
        s.put("k", first);
        int left = n;
        std::string which;
        *ops.before = [&](std::string_view call) { return --left == 0 ? (which = call, error) : 0; };
        bool threw = false;
        try {
          run();
        } catch (stash::error const& e) {
          threw = true;
          BOOST_TEST(e.operation() == name);
          BOOST_TEST((e.code() == os(error) || e.code() == errc::indeterminate), which);
        }
        *ops.before = [](std::string_view) { return 0; };
        auto const aside = files.set_aside_entries();
        BOOST_TEST((files.get("k") == first || (aside.size() == 1U && aside[0].state == record_state::intact)), which);
        if (left <= 0 && !threw) {  // what may fail unnoticed: closing what was read, a look at a file that is listed,
                                    // a file without a name
          BOOST_TEST((which == "close" || which == "lock_byte" || which == "lstat" || which == "fstat" ||
                      which.ends_with("_unnamed") || name == "entries"s || name == "set_aside_entries"s),
                     name << " forgives " << which);
        }
        files.purge(0us);
        if (left > 0) break;
      }
    }
  }
  BOOST_TEST(open_descriptors() == descriptors);
}

BOOST_AUTO_TEST_CASE(under_process_crash_a_file_system_that_cannot_sync_directories_will_do) {
  support::spoiled_ops ops;
  *ops.before = [](std::string_view call) { return call == "fsync" || call == "syncfs" ? EINVAL : 0; };
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  fast.put("k", first);
  BOOST_TEST((fast.get("k") == first));
  fs::remove_all(dir());
  support::spoiled_storage durable{dir(), {}, ops};
  BOOST_TEST(code_of([&] { durable.put("k", first); }) == os(EINVAL));
}

BOOST_AUTO_TEST_CASE(interrupted_calls_are_made_again) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  int n = 0;
  *ops.before = [&](std::string_view call) {
    bool const restartable =
        call != "close" && call != "fstat" && call != "lstat" && call != "fchmod" && call != "mkdir" && call != "list";
    return restartable && ++n % 2 == 1 ? EINTR : 0;
  };
  s.put("k", first);
  BOOST_TEST((s.get("k") == first));
  BOOST_TEST(s.try_lock("k").has_value());
  s.set_aside("k", "x");
  BOOST_TEST(!s.erase("k"));
  BOOST_TEST(n > 20);
}

BOOST_AUTO_TEST_CASE(short_writes_are_continued_and_a_write_of_nothing_is_an_error) {
  struct short_writes : stash::posix_file_ops {
    explicit short_writes(std::size_t m) : most(m) {}
    std::size_t most;
    ssize_t writev(int fd, iovec const* v, int n) const noexcept {
      while (n > 1 && v->iov_len == 0) ++v, --n;
      return ::write(fd, v->iov_base, std::min(v->iov_len, most));
    }
  };
  for (std::size_t const most : {1U, 2U, 7U, 100U, 1000U}) {
    files.erase("k");
    stash::basic_atomic_file_storage<short_writes>{dir(), {}, short_writes{most}}.put("k", first);
    BOOST_TEST((files.get("k") == first));
  }
  BOOST_TEST(code_of([&] {
               stash::basic_atomic_file_storage<short_writes>{dir(), {}, short_writes{0}}.put("k", second);
             }) == os(EIO));
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
}

BOOST_AUTO_TEST_CASE(short_reads_are_continued_and_a_file_that_is_cut_meanwhile_is_corrupt) {
  struct short_reads : stash::posix_file_ops {
    ssize_t read(int fd, void* to, std::size_t size) const noexcept { return ::read(fd, to, std::min(size, most)); }
    std::size_t most = 7;
  };
  files.put("k", first);
  BOOST_TEST((stash::basic_atomic_file_storage<short_reads>{dir()}.get("k") == first));
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  *ops.before = [&](std::string_view call) { return call == "read" ? ::truncate(target.c_str(), 20) : 0; };
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::corrupt);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_opened_is_corrupt_only_where_it_is_no_regular_file) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  files.put("k", first);
  for (int const error : {ELOOP, ENXIO}) {
    int opened = 0;  // the directory, then the file
    *ops.before = [&](std::string_view call) { return call == "open" && ++opened == 2 ? error : 0; };
    BOOST_TEST(code_of([&] { s.get("k"); }) == os(error));
  }
}

BOOST_AUTO_TEST_CASE(a_file_far_over_the_cap_is_not_even_read) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {.max_bytes = 10}, ops};
  files.put("k", {std::string(5000, 'x'), {}});
  int reads = 0;
  *ops.before = [&](std::string_view call) { return reads += call == "read", 0; };
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::too_large);
  BOOST_TEST(reads == 0);
  auto const said = support::message_of([&] { s.get("k"); });
  auto const sizes = "a file of " + std::to_string(fs::file_size(target)) + " bytes; a payload of 10 is allowed";
  BOOST_TEST(said.find(sizes) != said.npos, said);
}

BOOST_AUTO_TEST_CASE(to_a_stash_a_record_that_cannot_be_read_is_an_error_and_not_absent) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> store{dir(), stash::file_options{}, ops};
  store.save("k", 1);
  *ops.before = [](std::string_view call) { return call == "read" ? EIO : 0; };
  BOOST_TEST(code_of([&] { store.load<int>("k"); }) == os(EIO));
  BOOST_TEST(code_of([&] { store.look_up<int>("k"); }) == os(EIO));
  BOOST_TEST(code_of([&] { store.age("k"); }) == os(EIO));
}

BOOST_AUTO_TEST_CASE(a_listing_tells_a_bad_file_but_throws_what_the_process_lacks) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  for (int const error : {EIO, ENOMEM}) {
    *ops.before = [&](std::string_view call) { return call == "read" ? error : 0; };
    std::vector<stash::entry> listed;
    auto const code = code_of([&] { listed = s.entries(); });
    BOOST_TEST(code == (error == EIO ? boost::system::error_code{} : os(error)));
    BOOST_TEST(listed.size() == (error == EIO ? 1U : 0U));
  }
}

BOOST_AUTO_TEST_CASE(a_listing_for_which_there_is_no_descriptor_is_an_error_and_not_the_end) {
  files.put("k", first);
  int const status = support::in_child([&] {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    int const next = ::dup(0);
    ::close(next);
    rlimit const one{static_cast<rlim_t>(next) + 1, limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &one);
    auto const code = code_of([&] { files.entries(); });
    ::setrlimit(RLIMIT_NOFILE, &limit);
    return code == os(EMFILE) ? 0 : 1;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(a_listing_leaves_out_what_is_gone_when_it_is_looked_at) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  for (std::string_view const gone_before : {"lstat", "open"}) {
    files.put("k", first);
    bool is_listed = false;
    *ops.before = [&](std::string_view call) {
      if (is_listed && call == gone_before) fs::remove(target);
      is_listed |= call == "list";
      return 0;
    };
    BOOST_TEST(s.entries().empty(), gone_before);
    BOOST_TEST(!fs::exists(target), gone_before);
  }
}

/// From here on, reading directories fails with EIO, in this process and for good.
bool spoil_reading_directories() {
  sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getdents64, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog const program{4, filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
boost::test_tools::assertion_result may_spoil_reading_directories(utf::test_unit_id) {
  return support::in_child([] { return spoil_reading_directories() ? 0 : 1; }) == 0;
}

BOOST_AUTO_TEST_CASE(a_listing_that_breaks_off_is_an_error_and_not_the_end,
                     *utf::precondition(may_spoil_reading_directories)) {
  files.put("k", first);
  int const status = support::in_child([&] {
    spoil_reading_directories();
    return code_of([&] { files.entries(); }) == os(EIO) ? 0 : 1;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(a_failed_sync_is_not_tried_again) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  int syncs = 0;
  *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 1 ? EIO : 0; };
  BOOST_TEST(code_of([&] { s.put("k", second); }) == os(EIO));
  BOOST_TEST(syncs == 1);
  BOOST_TEST((s.get("k") == first));
}

BOOST_AUTO_TEST_CASE(a_directory_that_cannot_be_synced_makes_the_outcome_indeterminate) {
  for (int const error : {EINVAL, EIO}) {
    support::spoiled_ops ops;
    support::spoiled_storage s{dir(), {}, ops};
    s.put("k", first);
    int syncs = 0;
    *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 2 ? error : 0; };
    BOOST_TEST(code_of([&] { s.put("k", second); }) == errc::indeterminate);
    syncs = 1;
    BOOST_TEST(code_of([&] { s.erase("k"); }) == errc::indeterminate);
    *ops.before = [](std::string_view) { return 0; };
    s.put("k", first);
    *ops.before = [&](std::string_view call) { return call == "fsync" && ++syncs == 4 ? error : 0; };
    BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == errc::indeterminate);
  }
}

BOOST_AUTO_TEST_CASE(what_is_durable_is_synced_before_and_after_the_rename_and_an_absent_ones_removal_too) {
  support::spoiled_ops ops;
  std::string calls;
  auto const record_calls = [&] {
    calls.clear();
    *ops.before = [&](std::string_view call) {
      for (std::string_view const one :
           {"writev", "fsync", "close", "link_unnamed", "rename", "rename_noreplace", "unlink"}) {
        if (call == one) calls += std::string(call) + " ";
      }
      return 0;
    };
  };
  support::spoiled_storage durable{dir(), {}, ops};
  durable.put("other", first);
  record_calls();
  durable.put("k", first);
  BOOST_TEST(calls == "writev fsync link_unnamed close fsync close ");
  record_calls();
  durable.put("k", second);  // the first is refused: there is one
  BOOST_TEST(calls == "writev fsync link_unnamed link_unnamed rename close fsync close ");
  ops.has_unnamed_files = false;
  support::spoiled_storage named{dir(), {}, ops};
  record_calls();
  named.put("k", first);
  BOOST_TEST(calls == "writev fsync close rename fsync close ");
  ops.has_unnamed_files = true;
  record_calls();
  durable.erase("k");
  BOOST_TEST(calls == "rename_noreplace fsync unlink close ");
  record_calls();
  durable.erase("k");
  BOOST_TEST(calls == "rename_noreplace fsync close ");
  durable.put("k", first);
  record_calls();
  durable.set_aside("k", "x");
  // A copy first, and then a removal.
  BOOST_TEST(calls ==
             "close writev fsync link_unnamed rename_noreplace fsync close rename_noreplace fsync unlink close ");
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  record_calls();
  fast.put("k", first);
  fast.erase("k");
  BOOST_TEST(calls == "writev close rename close rename_noreplace unlink close ");
  fast.put("k", first);
  record_calls();
  fast.set_aside("k", "x");
  BOOST_TEST(calls == "rename_noreplace close ");
}

BOOST_AUTO_TEST_CASE(what_is_not_synced_and_not_closed_well_takes_no_place) {
  support::spoiled_ops ops;
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  fast.put("k", first);
  bool is_written = false;
  *ops.before = [&](std::string_view call) {
    is_written |= call == "writev";
    return call == "close" && is_written ? ENOSPC : 0;
  };
  BOOST_TEST(code_of([&] { fast.put("k", second); }) == os(ENOSPC));
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
}

BOOST_AUTO_TEST_CASE(a_sync_that_failed_is_not_believed_by_the_next_try) {
  support::spoiled_ops ops;
  std::string calls, failing;
  int syncs_left = 0;
  *ops.before = [&](std::string_view call) {
    calls += std::string(call) + " ";
    return call == "fsync" && failing == "fsync" && syncs_left-- == 0 ? EIO : 0;
  };
  auto const fail_sync = [&](int nth) { failing = "fsync", syncs_left = nth, calls.clear(); };
  support::spoiled_storage s{dir(), {}, ops};

  for (int const nth : {0, 1, 2}) {  // of the directory into its parent, or of that one into the next: it is made again
    fail_sync(nth);
    BOOST_TEST(code_of([&] { s.put("k", first); }) == os(EIO));
    BOOST_TEST(!s.exists());
  }
  fail_sync(0);
  support::spoiled_storage deep{root / "deep" / "stash", {}, ops};
  BOOST_TEST(code_of([&] { deep.put("k", first); }) == os(EIO));
  BOOST_TEST(!fs::exists(root / "deep"));
  s.put("k", first);

  fail_sync(0);  // of the removal: the record stands, and is removed again
  BOOST_TEST(code_of([&] { s.erase("k"); }) == errc::indeterminate);
  BOOST_TEST((s.get("k") == first));
  BOOST_TEST(only_record_and_lock());
  BOOST_TEST(s.erase("k"));

  atomic_file_storage{dir(), {.durability = stash::durability::process_crash}}.put("k", first);
  fail_sync(0);  // of the bytes that somebody did not sync: they are written once more
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(EIO));
  BOOST_TEST(only_record_and_lock());
  calls.clear();
  s.set_aside("k", "x");
  BOOST_TEST(calls.find("writev fsync") != calls.npos);
  BOOST_TEST((s.set_aside_entries().at(0).state == record_state::intact));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_unlinked_is_moved_back_durably_and_the_first_error_is_told) {
  support::spoiled_ops ops;
  std::string calls;
  std::set<int> failing;
  int n = 0;
  *ops.before = [&](std::string_view call) {
    if (call != "rename_noreplace" && call != "fsync" && call != "unlink") return 0;
    calls += std::string(call) + " ";
    return failing.contains(++n) ? EIO : 0;
  };
  auto const erase = [&](support::spoiled_storage& s, std::set<int> const& nth) {
    failing.clear();
    s.put("k", first);
    n = 0, calls.clear(), failing = nth;
    return code_of([&] { s.erase("k"); });
  };
  support::spoiled_storage durable{dir(), {}, ops};
  BOOST_TEST(erase(durable, {3}) == os(EIO));
  BOOST_TEST(calls == "rename_noreplace fsync unlink rename_noreplace fsync ");
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
  BOOST_TEST(erase(durable, {3, 5}) == errc::indeterminate);
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(erase(durable, {3, 4}) == errc::indeterminate);  // the way back is barred
  BOOST_TEST((files.get("k") == std::nullopt));
  BOOST_TEST(erase(durable, {2, 3}) == errc::indeterminate);  // the sync fails, and the way back too
  support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
  BOOST_TEST(erase(fast, {2}) == os(EIO));
  BOOST_TEST(calls == "rename_noreplace unlink rename_noreplace ");
  BOOST_TEST((files.get("k") == first));
}

BOOST_AUTO_TEST_CASE(what_a_cleaner_takes_meanwhile_is_removed_but_was_not_set_aside) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  auto const clean_before = [&](std::string_view which) {
    *ops.before = [&, which](std::string_view call) {
      for (auto const& name : names(dir())) {
        if (call == which && name != ".lock" && name != "k.stash") fs::remove(dir() / name);
      }
      return 0;
    };
  };
  s.put("k", first);
  clean_before("unlink");
  BOOST_TEST(s.erase("k"));
  BOOST_TEST(names(dir()).size() == 1U);
  s.put("k", first);
  clean_before("rename_noreplace");  // the copy is gone before it has its name
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(ENOENT));
  BOOST_TEST((s.get("k") == first));
  files.set_aside("k", "x");
  clean_before("unlink");
  BOOST_TEST(s.purge(0us) == 0U);
}

BOOST_AUTO_TEST_CASE(what_is_over_the_cap_can_be_set_aside) {
  files.put("k", {std::string(5000, 'x'), {}});
  auto const bytes = support::read(target);
  BOOST_TEST(support::read(atomic_file_storage{dir(), {.max_bytes = 10}}.set_aside("k", "x")) == bytes);
}

/// What is above it, as far as its file system goes.
std::vector<fs::path> above(fs::path p) {
  auto const device = [](fs::path const& of) {
    struct stat s {};
    ::stat(of.c_str(), &s);
    return s.st_dev;
  };
  std::vector<fs::path> result;
  auto const own = device(p);
  for (p = p.parent_path(); !p.empty() && device(p) == own; p = p.parent_path()) result.push_back(p);
  return result;
}

BOOST_AUTO_TEST_CASE(each_level_of_a_new_directory_is_synced_into_its_parent_and_again_where_its_maker_died) {
  support::spoiled_ops ops;
  int made = 0, syncs = 0;
  *ops.before = [&](std::string_view call) {
    made += call == "mkdir";
    syncs += call == "fsync";
    return 0;
  };
  support::spoiled_storage s{root / "a" / "b", {}, ops};
  s.put("k", first);
  BOOST_TEST(made >= 2);
  int const for_new = syncs;
  BOOST_TEST(for_new >= 2 + 2);
  syncs = 0;
  s.put("k", first);
  BOOST_TEST(syncs == 2);
  auto const made_in = root / "a" / "b";
  fs::remove(made_in / ".lock");  // as if the maker had died before it had synced the directory
  syncs = 0;
  s.put("k", first);
  BOOST_TEST(syncs == 2 + static_cast<int>(above(made_in).size()));
}

BOOST_AUTO_TEST_CASE(what_stands_already_is_synced_too_for_its_maker_may_have_died_but_not_where_it_is_mounted) {
  struct noting_syncs : stash::posix_file_ops {
    int fstat(int fd, struct stat* s) const {
      int const result = posix_file_ops::fstat(fd, s);
      if (fs::read_symlink("/proc/self/fd/" + std::to_string(fd)) == *mounted_in) ++s->st_dev;
      return result;
    }
    int fsync(int fd) const {
      synced->push_back(fs::read_symlink("/proc/self/fd/" + std::to_string(fd)));
      return posix_file_ops::fsync(fd);
    }
    std::shared_ptr<std::vector<fs::path>> synced = std::make_shared<std::vector<fs::path>>();
    std::shared_ptr<fs::path> mounted_in = std::make_shared<fs::path>();
  };
  auto const is_synced = [](noting_syncs const& ops, fs::path const& p) {
    return std::find(ops.synced->begin(), ops.synced->end(), fs::canonical(p)) != ops.synced->end();
  };
  fs::create_directories(root / "a" / "b");
  noting_syncs const ops;
  stash::basic_atomic_file_storage<noting_syncs>{root / "a" / "b", {}, ops}.put("k", first);
  for (auto const& p : above(root / "a" / "b")) BOOST_TEST(is_synced(ops, p), p);
  noting_syncs const mounted;
  *mounted.mounted_in = fs::canonical(root);
  fs::create_directory(root / "a" / "c");
  stash::basic_atomic_file_storage<noting_syncs>{root / "a" / "c", {}, mounted}.put("k", first);
  BOOST_TEST(is_synced(mounted, root / "a"));
  BOOST_TEST(!is_synced(mounted, root));
}

BOOST_AUTO_TEST_CASE(where_the_kernel_cannot_rename_without_replacing_a_link_does_it) {
  for (int const error : {ENOSYS, EINVAL}) {
    support::spoiled_ops ops;
    support::spoiled_storage s{dir(), {}, ops};
    s.put("k", first);
    *ops.before = [&](std::string_view call) { return call == "rename_noreplace" ? error : 0; };
    auto const where = s.set_aside("k", "x");
    BOOST_TEST(fs::exists(where));
    BOOST_TEST(!fs::exists(target));
    files.put("k", first);
    support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
    *ops.before = [&](std::string_view call) {
      return call == "rename_noreplace" ? error : call == "unlink" ? EIO : 0;
    };
    BOOST_TEST(code_of([&] { fast.set_aside("k", "x"); }) == os(EIO));  // it stands, beside what was set aside
    BOOST_TEST((files.get("k") == first));
    std::set<std::string_view> interrupted;
    *ops.before = [&](std::string_view call) {
      if (call == "rename_noreplace") return error;
      return (call == "link" || call == "unlink") && interrupted.insert(call).second ? EINTR : 0;
    };
    BOOST_TEST(fs::exists(fast.set_aside("k", "x")));
    BOOST_TEST(interrupted.size() == 2U);
    BOOST_TEST(!fs::exists(target));
  }
}

BOOST_AUTO_TEST_CASE(setting_aside_never_replaces_a_file_that_has_the_name_already) {
  stash::posix_file_ops const real;
  int const fd = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  support::write(root / "from", "new");
  support::write(root / "to", "kept");
  BOOST_TEST(real.rename_noreplace(fd, "from", "to") == -1);
  BOOST_TEST(errno == EEXIST);
  ::close(fd);
  BOOST_TEST(support::read(root / "from") == "new");
  BOOST_TEST(support::read(root / "to") == "kept");
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  *ops.before = [](std::string_view call) { return call == "rename_noreplace" ? EEXIST : 0; };
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(EEXIST));
  BOOST_TEST((s.get("k") == first));
}

BOOST_AUTO_TEST_CASE(a_rename_that_cannot_be_done_is_an_error_and_nothing_is_written_in_place) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  for (int const error : {EXDEV, EBUSY}) {
    *ops.before = [&](std::string_view call) { return call == "rename" || call == "rename_noreplace" ? error : 0; };
    BOOST_TEST(code_of([&] { s.put("k", second); }) == os(error));
    BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(error));
    BOOST_TEST((s.get("k") == first));
    BOOST_TEST(only_record_and_lock());
  }
}

BOOST_AUTO_TEST_CASE(when_the_clean_up_fails_too_the_first_error_is_told) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  *ops.before = [](std::string_view call) { return call == "writev" ? ENOSPC : call == "unlink" ? EIO : 0; };
  BOOST_TEST(code_of([&] { s.put("k", second); }) == os(ENOSPC));
}

BOOST_AUTO_TEST_CASE(a_file_size_limit_is_an_error) {
  files.put("k", first);
  int const status = support::in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit const limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return code_of([&] { files.put("k", {std::string(5000, 'x'), {}}); }) == os(EFBIG) ? 0 : 1;
  });
  BOOST_TEST(status == 0);
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
}

BOOST_AUTO_TEST_CASE(purge_removes_what_it_can_and_tells_what_it_cannot) {
  fs::create_directories(target);
  support::set_mode(dir(), 0700);
  files.set_aside("k", "a");
  files.put("k", first);
  files.set_aside("k", "b");
  BOOST_TEST(code_of([&] { files.purge(0us); }) == os(EISDIR));
  BOOST_TEST(files.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_purge_goes_on_after_an_error_and_tells_the_first) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  int syncs = 0;
  auto const purge = [&](std::vector<int> errors, int sync_error) {  // of the unlinks and of the sync
    *ops.before = [](std::string_view) { return 0; };
    s.purge(0us);
    for (std::size_t i = 0; i < errors.size(); ++i) {
      s.put("k", first);
      s.set_aside("k", "x");
    }
    syncs = 0;
    std::size_t unlinks = 0;
    *ops.before = [&, unlinks](std::string_view call) mutable {
      if (call == "fsync") return ++syncs, sync_error;
      return call == "unlink" ? errors.at(unlinks++) : 0;
    };
    return code_of([&] { s.purge(0us); });
  };
  BOOST_TEST(purge({EIO, EACCES, 0}, 0) == os(EIO));
  BOOST_TEST(files.set_aside_entries().size() == 2U);
  BOOST_TEST(purge({EIO, 0}, EROFS) == os(EIO));
  BOOST_TEST(files.set_aside_entries().size() == 1U);
  BOOST_TEST(purge({0, 0}, EIO) == errc::indeterminate);
  BOOST_TEST(syncs == 1);
}

// The default directory

struct environment {
  explicit environment(std::vector<std::pair<char const*, char const*>> const& set) {
    for (char const* const name : {"STASH_DIR", "STATE_DIRECTORY", "XDG_STATE_HOME", "HOME", "TMPDIR"}) {
      char const* const value = std::getenv(name);
      before.emplace_back(name, value == nullptr ? std::nullopt : std::optional<std::string>(value));
      ::unsetenv(name);
    }
    for (auto const& [name, value] : set) ::setenv(name, value, 1);
  }
  ~environment() {
    for (auto const& [name, value] : before) {
      if (value) {
        ::setenv(name, value->c_str(), 1);
      } else {
        ::unsetenv(name);
      }
    }
  }
  std::vector<std::pair<char const*, std::optional<std::string>>> before;
};

BOOST_AUTO_TEST_CASE(the_default_directory_is_the_users_state_directory_and_never_a_temporary_one) {
  using pairs = std::vector<std::pair<char const*, char const*>>;
  auto const found = [](pairs const& set) {
    environment const e{set};
    return stash::default_directory().native();
  };
  pairs const all{
      {"STASH_DIR", "/s"}, {"STATE_DIRECTORY", "/var/lib/a:/var/lib/b"}, {"XDG_STATE_HOME", "/x"}, {"HOME", "/h"}};
  BOOST_TEST(found(all) == "/s");
  BOOST_TEST(found({all.begin() + 1, all.end()}) == "/var/lib/a");
  BOOST_TEST(found({all.begin() + 2, all.end()}) == "/x/stash");
  BOOST_TEST(found({all.begin() + 3, all.end()}) == "/h/.local/state/stash");
  BOOST_TEST(found({{"STASH_DIR", ""}, {"STATE_DIRECTORY", ""}, {"XDG_STATE_HOME", ""}, {"HOME", "/h"}}) ==
             "/h/.local/state/stash");
  BOOST_TEST(found({{"XDG_STATE_HOME", "relative"}, {"HOME", "/h"}}) == "/h/.local/state/stash");
  BOOST_TEST(found({{"STATE_DIRECTORY", ":/var/lib/b"}, {"HOME", "/h"}}) == "/h/.local/state/stash");
  for (pairs const& none : {pairs{}, pairs{{"HOME", ""}}, pairs{{"HOME", "relative"}}}) {
    auto const from_user_database = found(none);
    BOOST_TEST(from_user_database.ends_with("/.local/state/stash"));
    BOOST_TEST(!from_user_database.starts_with("/tmp"));
  }
}

BOOST_AUTO_TEST_CASE(a_user_without_a_home_is_told_to_set_one, *as_root) {
  uid_t nobody_knows = 3'000'000'000;
  while (::getpwuid(nobody_knows) != nullptr) ++nobody_knows;
  int const status = support::in_child([&] {
    environment const e{{}};
    if (::seteuid(nobody_knows) != 0) return 2;
    auto const said = support::message_of([] { stash::default_directory(); });
    if (::seteuid(0) != 0) return 2;
    return said.find("set STASH_DIR") != said.npos ? 0 : 1;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_SUITE_END()
