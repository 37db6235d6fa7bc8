#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/test/data/test_case.hpp>
#include <cstddef>
#include <cstring>

#include "atomic_file_fixture.hpp"
#include "support.hpp"

namespace atomic_file_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::atomic_file_storage;
using stash::errc;
using stash::record_state;
using stash::time_point;
using support::code_of;
using support::names;
using support::os;
namespace utf = boost::unit_test;
namespace fs = boost::filesystem;

namespace {

auto const as_root = utf::precondition(support::as_root);
auto const without_root = utf::precondition(support::without_root);

mode_t mode_of(fs::path const& p) {
  struct stat s;
  return ::lstat(p.c_str(), &s) == 0 ? s.st_mode & 07777 : 0;
}

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

BOOST_AUTO_TEST_CASE(nobody_else_may_read_a_file_at_any_moment) {
  support::spoiled_ops ops;
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

// Setting aside and purging

BOOST_AUTO_TEST_CASE(what_is_over_the_cap_can_be_set_aside) {
  files.put("k", {std::string(5000, 'x'), {}});
  auto const bytes = support::read(target);
  BOOST_TEST(support::read(atomic_file_storage{dir(), {.max_bytes = 10}}.set_aside("k", "x")) == bytes);
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

BOOST_AUTO_TEST_CASE(purge_removes_what_it_can_and_tells_what_it_cannot) {
  fs::create_directories(target);
  support::set_mode(dir(), 0700);
  files.set_aside("k", "a");
  files.put("k", first);
  files.set_aside("k", "b");
  BOOST_TEST(code_of([&] { files.purge(0us); }) == os(EISDIR));
  BOOST_TEST(files.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace atomic_file_test
