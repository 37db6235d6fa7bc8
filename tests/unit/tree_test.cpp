// A file, a directory or a link as a place: what stands where, and what the system refuses.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "support.hpp"

namespace tree_test {

using namespace std::string_literals;
using support::code_of;
using support::names;
using support::os;
using support::read;
using support::write;
namespace fs = boost::filesystem;

namespace {

/// All that is in a tree, as text; "nothing" where there is none.
std::string all_of(fs::path const& path) {
  auto const kind = fs::symlink_status(path).type();
  if (kind == fs::file_not_found) return "nothing";
  if (kind == fs::symlink_file) return "-> " + fs::read_symlink(path).native();
  if (kind == fs::regular_file) return read(path);
  if (kind != fs::directory_file) return "other";
  std::string all = "{";
  for (auto const& name : names(path)) all += name + "=" + all_of(path / name) + ";";
  return all + "}";
}

struct fixture : support::scratch {
  fs::path const place = root / "export";
  support::spoiled_ops ops;
  stash::file_stash store{dir()};
  support::event_log log;

  fixture() {
    fs::create_directories(place / "sub/deep");
    write(place / "a", "of a");
    write(place / "sub/deep/b", "of b");
    fs::create_symlink("../elsewhere", place / "sub/link");
  }
  std::string const old = "{a=of a;sub={deep={b=of b;};link=-> ../elsewhere;};}";

  auto guard_of(fs::path const& path, stash::guard_options o = {}) {
    o.observer = log.observer();
    return stash::replace_guard{store, "export", stash::tree{path}, o};
  }
  auto guard(stash::guard_options o = {}) { return guard_of(place, std::move(o)); }
  void build() {
    fs::create_directories(place / "new");
    write(place / "new/c", "of c");
  }
  std::string const built = "{new={c=of c;};}";
  /// But for the stash's own directory.
  std::vector<std::string> beside() {
    auto all = names(root);
    std::erase(all, "stash");
    return all;
  }
  using list = std::vector<std::string>;
  list const alone{"export"};
};

boost::test_tools::assertion_result can_mount(boost::unit_test::test_unit_id) {
  return support::may_unshare(CLONE_NEWNS);
}
int chattr(std::string const& how) { return std::system(("chattr " + how + " 2>/dev/null").c_str()); }
boost::test_tools::assertion_result has_immutable_files(boost::unit_test::test_unit_id) {
  support::scratch here;
  return chattr("+i " + here.root.native()) == 0 && chattr("-i " + here.root.native()) == 0;
}

/// In a mount namespace of a child's own, of which nobody else sees anything. Other numbers than 0 say what went wrong.
template <class F>
int where_it_may_mount(F f) {
  return support::in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 98;
    return f();
  });
}
bool mount(char const* what, fs::path const& at, char const* kind, unsigned long flags, char const* options = nullptr) {
  return ::mount(what, at.c_str(), kind, flags, options) == 0;
}
/// An overlay whose lower layer has export/f; whether there is one.
bool mount_overlay(fs::path const& base) {
  fs::create_directories(base);
  if (!mount("tmpfs", base, "tmpfs", 0)) return false;
  for (auto const* const each : {"lower/export", "upper", "work", "merged"}) fs::create_directories(base / each);
  write(base / "lower/export/f", "old");
  auto const layers = "redirect_dir=off,lowerdir=" + (base / "lower").native() +
                      ",upperdir=" + (base / "upper").native() + ",workdir=" + (base / "work").native();
  return mount("overlay", base / "merged", "overlay", 0, layers.c_str());
}
boost::test_tools::assertion_result has_overlay(boost::unit_test::test_unit_id) {
  support::scratch here;
  return where_it_may_mount([&] { return mount_overlay(here.root / "layers") ? 0 : 1; }) == 0;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(tree, fixture)

BOOST_AUTO_TEST_CASE(a_directory_is_parked_beside_its_place_and_put_back_whole) {
  {
    auto g = guard();
    BOOST_TEST((beside() == list{".export.stash-parked"}));
    BOOST_TEST(g.place().parked_path() == root / ".export.stash-parked");
    BOOST_TEST(all_of(g.place().parked_path()) == old);
    build();
  }
  BOOST_TEST(all_of(place) == old);
  BOOST_TEST((beside() == alone));
  BOOST_TEST(log.kinds == "saved parked put_back restored");
}

BOOST_AUTO_TEST_CASE(after_a_commit_the_new_one_stands_alone) {
  auto g = guard();
  build();
  g.commit();
  BOOST_TEST(all_of(place) == built);
  BOOST_TEST((beside() == alone));
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(a_file_and_a_link_are_parked_as_themselves) {
  fs::remove_all(place);
  write(place, "a file");
  { auto g = guard(), h = stash::replace_guard{store, "nothing", stash::tree{root / "no"}}; }
  BOOST_TEST(read(place) == "a file");
  {
    auto g = guard();
    build();
    g.commit();
  }
  BOOST_TEST(all_of(place) == built);
  fs::create_directory_symlink("export", root / "current");
  {
    auto g = guard_of(root / "current/");  // with the slash, too
    BOOST_TEST(all_of(g.place().parked_path()) == "-> export");
    BOOST_TEST(all_of(place) == built);
    fs::create_directory(root / "current");
  }
  BOOST_TEST(all_of(root / "current") == "-> export");
  {
    auto g = guard_of(root / "current");
    fs::create_directory_symlink("stash", root / "current");
    g.commit();
  }
  BOOST_TEST(all_of(root / "current") == "-> stash");
  BOOST_TEST(all_of(place) == built);
}

BOOST_AUTO_TEST_CASE(the_note_tells_a_person_and_recover_places_where_it_is) {
  {
    auto g = guard();
    auto const& note = *g.value();
    BOOST_TEST(note.at("path").as_string() == place.native());
    BOOST_TEST(note.at("parked").as_string() == (root / ".export.stash-parked").native());
    BOOST_TEST(note.at("kind").as_string() == "directory");
    BOOST_TEST(note.size() == 3U);
    BOOST_TEST(stash::tree::path_in(note) == place);
    build();
    g.release();
  }
  auto const report = stash::recover_places(
      store, [](auto const&, auto const& note) { return std::optional(stash::tree{stash::tree::path_in(note)}); });
  BOOST_TEST(report.restored == 1U);
  BOOST_TEST(all_of(place) == old);
  BOOST_TEST((beside() == alone));
  BOOST_CHECK(code_of([] { stash::tree::path_in({{"id", 1}}); }) == os(EINVAL));
}

BOOST_AUTO_TEST_CASE(a_person_can_put_it_back_with_mv) {
  guard().release();
  build();
  std::string const command = "rm -r '" + place.native() + "' && mv '" + (root / ".export.stash-parked").native() +
                              "' '" + place.native() + "'";
  BOOST_REQUIRE(std::system(command.c_str()) == 0);
  { auto g = guard(); }
  BOOST_TEST(all_of(place) == old);
}

BOOST_AUTO_TEST_CASE(what_a_dead_job_left_of_any_step_is_found_and_removed) {
  guard().release();
  build();
  fs::create_directories(root / ".export.stash-doomed-0123456789abcdef/x/y");
  write(root / ".export.stash-doomed-00000000000000ff", "a file");
  write(root / ".export.stash-doomed-tonight", "somebody's own");
  write(root / ".export2.stash-doomed-0123456789abcdef", "another's");
  { auto g = guard(); }
  BOOST_TEST(all_of(place) == old);
  BOOST_TEST((beside() == list{".export.stash-doomed-tonight", ".export2.stash-doomed-0123456789abcdef", "export"}));
}

BOOST_AUTO_TEST_CASE(a_name_of_any_bytes_and_of_255_of_them_can_be_parked) {
  for (std::string const& name : {std::string(255, 'x'), std::string(242, 'y'), std::string(241, 'y'),
                                  std::string(226, 'z'), "o"s + std::string(127, '\xc3'), "caf\xc3\xa9 \n'\"%s"s,
                                  "not \xff utf-8"s, ".hidden"s, "..."s, "-rf"s, std::string(126, '\xc3') + "\xa9"}) {
    fs::path const at = root / name;
    write(at, "old");
    {
      auto g = guard_of(at);
      BOOST_TEST(!fs::exists(at));
      BOOST_TEST(read(g.place().parked_path()) == "old");
      BOOST_TEST(stash::tree::path_in(*g.value()) == at);
      write(at, "new");
    }
    BOOST_TEST(read(at) == "old", name);
    {
      auto g = guard_of(at);
      write(at, "new");
      g.commit();
    }
    BOOST_TEST(read(at) == "new", name);
    BOOST_TEST((beside() == list{name < "export" ? name : "export", name < "export" ? "export" : name}), name);
    fs::remove(at);
    store.clear("export");
  }
}

BOOST_AUTO_TEST_CASE(a_relative_path_is_that_of_where_it_was_said) {
  auto const before = fs::current_path();
  fs::current_path(root);
  {
    stash::tree relative{"export"};
    BOOST_TEST(relative.path() == place);
    stash::replace_guard g{store, "export", std::move(relative)};
    fs::current_path("/");
  }
  fs::current_path(before);
  BOOST_TEST(all_of(place) == old);
}

BOOST_AUTO_TEST_CASE(what_can_be_no_place_is_refused_at_once) {
  for (char const* const path : {"", "/", "/..", "..", "a/..", ".", "/.", "//", "https://a/b"}) {
    if (path == "."s) continue;  // the directory that one is in can be moved
    BOOST_CHECK_MESSAGE(code_of([&] { stash::tree{fs::path(path)}; }) == os(EINVAL), "\"" << path << "\"");
  }
  BOOST_CHECK(code_of([&] { stash::tree{fs::path("a\0b"s)}; }) == os(EINVAL));
}

BOOST_AUTO_TEST_CASE(where_the_directory_above_is_missing_nothing_stands) {
  stash::replace_guard g{store, "export", stash::tree{root / "no/such"}};
  BOOST_TEST(g.value() == nullptr);
  fs::create_directories(root / "no/such");
  g.commit();
  BOOST_TEST(fs::exists(root / "no/such"));
}

BOOST_AUTO_TEST_CASE(an_error_is_not_absence) {
  BOOST_CHECK(code_of([&] { stash::replace_guard{store, "export", stash::tree{place / "a/b"}}; }) == os(ENOTDIR));
  *ops.before = [](std::string_view call) { return call == "lstat" ? EIO : 0; };
  stash::basic_tree<support::spoiled_ops> spoiled{place, {}, ops};
  BOOST_CHECK(code_of([&] { spoiled.live(); }) == os(EIO));
  *ops.before = [](std::string_view call) { return call == "open" ? EACCES : 0; };
  BOOST_CHECK(code_of([&] { spoiled.live(); }) == os(EACCES));
  BOOST_CHECK(code_of([&] { spoiled.parked(); }) == os(EACCES));
}

BOOST_AUTO_TEST_CASE(where_neither_the_old_one_is_left_nor_a_new_one_it_cannot_be_put_back) {
  guard().release();
  fs::remove_all(root / ".export.stash-parked");
  stash::tree t{place};
  BOOST_CHECK(code_of([&] { t.put_back({}); }) == os(ENOENT));
  BOOST_TEST(support::message_of([&] { t.put_back({}); }).find("neither there nor parked") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(where_a_sync_fails_after_the_rename_the_old_one_is_moved_back_for_good) {
  stash::basic_tree<support::spoiled_ops> spoiled{place, {}, ops};
  std::string calls;
  int failing = 0, renames = 0, failing_rename = 0;
  *ops.before = [&](std::string_view call) {
    if (call == "rename_noreplace") {
      calls += 'r';
      return ++renames == failing_rename ? EIO : 0;
    }
    if (call != "fsync") return 0;
    calls += 's';
    return std::count(calls.begin(), calls.end(), 's') == failing ? EIO : 0;
  };
  failing = 2;  // before the rename, too, for what an earlier run did
  BOOST_CHECK(code_of([&] { spoiled.park({}); }) == os(EIO));
  BOOST_TEST(calls == "srsrs");
  BOOST_TEST(all_of(place) == old);
  BOOST_TEST((beside() == alone));
  failing = 0;
  spoiled.park({});
  build();
  calls.clear();
  failing = 5;  // of the new file and directories, and of the directory above; then that of the rename
  BOOST_CHECK(code_of([&] { spoiled.settle({}); }) == os(EIO));
  BOOST_TEST(calls == "ssssrsrs");
  BOOST_TEST(all_of(root / ".export.stash-parked") == old);
  calls.clear();
  failing_rename = renames + 2;
  BOOST_CHECK(code_of([&] { spoiled.settle({}); }) == stash::errc::indeterminate);
}

BOOST_AUTO_TEST_CASE(what_an_earlier_run_has_doomed_is_doomed_for_good_before_it_is_emptied) {
  stash::basic_tree<support::spoiled_ops> spoiled{place, {}, ops};
  std::string calls;
  *ops.before = [&](std::string_view call) {
    if (call == "fsync" || call == "unlink") calls += call[0];
    return 0;
  };
  fs::create_directory(root / ".export.stash-doomed-0123456789abcdef");
  spoiled.discard();
  BOOST_TEST(calls == "fu");
  spoiled.park({});
  build();
  spoiled.settle({});
  calls.clear();
  spoiled.discard();  // of which this object knows
  BOOST_TEST(calls.find('f') == std::string::npos);
}

BOOST_AUTO_TEST_CASE(all_that_was_built_is_synced_before_the_old_one_loses_its_name) {
  std::string calls;
  stash::basic_tree<support::spoiled_ops> spoiled{place, {}, ops};
  spoiled.park({});
  build();
  write(place / "d", "of d");
  fs::create_symlink("nowhere", place / "link");
  BOOST_REQUIRE(::mkfifo((place / "pipe").c_str(), 0600) == 0);  // which nobody must open
  *ops.before = [&](std::string_view call) {
    if (call == "fsync") calls += 's';
    if (call == "rename_noreplace") calls += 'r';
    return 0;
  };
  spoiled.settle({});
  BOOST_TEST(calls == "sssssrs");  // c, new, d, export, and the directory above
  calls.clear();
  stash::basic_tree<support::spoiled_ops> unsynced{place, {.sync_new = false}, ops};
  unsynced.park({});
  calls.clear();
  build();
  unsynced.settle({});
  BOOST_TEST(calls == "srs");
}

BOOST_AUTO_TEST_CASE(where_a_file_of_the_new_one_cannot_be_synced_the_commit_throws_and_the_old_one_comes_back) {
  *ops.before = [](std::string_view) { return 0; };
  {
    stash::replace_guard g{store, "export", stash::basic_tree<support::spoiled_ops>{place, {}, ops}};
    build();
    *ops.before = [](std::string_view call) { return call == "fsync" ? ENOSPC : 0; };
    BOOST_CHECK(code_of([&] { g.commit(); }) == os(ENOSPC));
    BOOST_TEST(support::message_of([&] { g.commit(); }).find((place / "new/c").native()) != std::string::npos);
    *ops.before = [](std::string_view) { return 0; };
  }
  BOOST_TEST(all_of(place) == old);
}

BOOST_AUTO_TEST_CASE(where_the_system_has_no_rename_without_replacing_it_looks_first) {
  for (int const missing : {ENOSYS, EINVAL}) {
    *ops.before = [&](std::string_view call) { return call == "rename_noreplace" ? missing : 0; };
    stash::basic_tree<support::spoiled_ops> t{place, {}, ops};
    t.park({});
    build();
    t.put_back({});
    BOOST_TEST(all_of(place) == old);
    t.discard();
    BOOST_TEST((beside() == alone));
    write(root / "to", "somebody's");
    auto const in = stash::detail::parent<support::spoiled_ops>::open(ops, root, {"test", {}});
    BOOST_CHECK(code_of([&] { in.move("export", "to"); }) == os(EEXIST));
    fs::remove(root / "to");
  }
}

BOOST_AUTO_TEST_CASE(a_deep_tree_is_removed_with_few_descriptors_and_a_link_in_it_is_not_followed) {
  fs::create_directory(root / "elsewhere");
  write(root / "elsewhere/precious", "kept");
  {
    auto g = guard();
    fs::path deep = g.place().parked_path();
    auto const before = fs::current_path();
    fs::current_path(deep);
    for (int i = 0; i < 3000; ++i) {
      BOOST_REQUIRE(::mkdir("d", 0700) == 0);
      BOOST_REQUIRE(::chdir("d") == 0);
      if (i % 100 == 0) write("f", "x");
    }
    fs::create_directory_symlink(root / "elsewhere", "link");
    fs::current_path(before);
    g.commit();
  }
  BOOST_TEST((beside() == list{"elsewhere"}));
  BOOST_TEST(read(root / "elsewhere/precious") == "kept");
  BOOST_TEST(log.kinds == "saved parked settled committed");
}

BOOST_AUTO_TEST_CASE(directories_that_nobody_may_write_to_are_parked_put_back_as_they_were_and_removed) {
  for (auto const* const each : {"sub/deep", "sub", ""}) support::set_mode(place / each, 0555);
  { auto g = guard(); }
  BOOST_TEST(all_of(place) == old);
  for (auto const* const each : {"sub/deep", "sub", ""}) {
    BOOST_TEST(fs::status(place / each).permissions() == 0555);
  }
  auto g = guard();
  build();
  g.commit();
  BOOST_TEST((beside() == alone), log.lines.back());
}

BOOST_AUTO_TEST_CASE(where_the_directory_above_may_not_be_written_to_nothing_is_touched,
                     *boost::unit_test::precondition(support::without_root)) {
  fs::create_directories(root / "closed/export");
  support::set_mode(root / "closed", 0555);
  BOOST_CHECK(code_of([&] { guard_of(root / "closed/export"); }) == os(EACCES));
  BOOST_TEST(fs::exists(root / "closed/export"));
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(somebody_elses_in_a_sticky_directory_is_left_where_it_is,
                     *boost::unit_test::precondition(support::as_root)) {
  fs::create_directory(root / "sticky");
  support::set_mode(root / "sticky", 01777);
  support::set_mode(root, 0755);
  fs::create_directory(root / "sticky/export");
  BOOST_TEST(support::in_child([&] {
               if (::setegid(1000) != 0 || ::seteuid(1000) != 0) return 98;
               stash::memory_stash m;
               auto const code = code_of([&] { stash::replace_guard{m, "k", stash::tree{root / "sticky/export"}}; });
               return code == os(EPERM) && m.entries().empty() ? 0 : 1;
             }) == 0);
  BOOST_TEST(fs::exists(root / "sticky/export"));
}

BOOST_AUTO_TEST_CASE(what_is_immutable_is_left_where_it_is, *boost::unit_test::precondition(has_immutable_files)) {
  BOOST_REQUIRE(chattr("+i " + place.native()) == 0);
  auto const code = code_of([&] { guard(); });
  BOOST_REQUIRE(chattr("-i " + place.native()) == 0);
  BOOST_CHECK(code == os(EPERM));
  BOOST_TEST(all_of(place) == old);
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(an_immutable_file_in_a_tree_is_left_behind_and_told_and_removed_when_it_can_be,
                     *boost::unit_test::precondition(has_immutable_files)) {
  BOOST_REQUIRE(chattr("+i " + (place / "a").native()) == 0);
  {
    auto g = guard();
    build();
    g.commit();
  }
  BOOST_TEST(all_of(place) == built);
  BOOST_TEST(log.kinds == "saved parked settled committed left_behind");
  BOOST_TEST(log.lines.back().find("/a: Operation not permitted") != std::string::npos, log.lines.back());
  for (auto const& name : beside()) {
    if (name != "export") chattr("-R -i " + (root / name).native());
  }
  { auto g = guard(); }
  BOOST_TEST((beside() == alone));
}

BOOST_AUTO_TEST_CASE(a_mount_point_is_busy_and_stands_where_it_stood, *boost::unit_test::precondition(can_mount)) {
  BOOST_TEST(where_it_may_mount([&] {
               if (!mount("tmpfs", place, "tmpfs", 0)) return 97;
               write(place / "f", "mounted");
               if (code_of([&] { guard(); }) != os(EBUSY)) return 1;
               return all_of(place) == "{f=mounted;}" && store.entries().empty() ? 0 : 2;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(what_is_mounted_somewhere_in_a_tree_is_not_emptied_when_the_tree_is_destroyed,
                     *boost::unit_test::precondition(can_mount)) {
  fs::create_directories(root / "precious/x");
  write(root / "precious/x/f", "kept");
  BOOST_TEST(where_it_may_mount([&] {
               for (auto const* const in : {"mounted", "sub/mounted"}) {
                 fs::create_directory(place / in);
                 if (!mount((root / "precious").c_str(), place / in, nullptr, MS_BIND)) return 97;
               }
               { auto g = guard(); }
               if (read(place / "mounted/x/f") != "kept") return 1;
               auto g = guard();
               build();
               g.commit();
               return all_of(place) == built && log.kinds.ends_with("settled committed left_behind") ? 0 : 2;
             }) == 0);
  BOOST_TEST(read(root / "precious/x/f") == "kept");
}

BOOST_AUTO_TEST_CASE(what_a_lower_layer_of_an_overlay_has_is_left_where_it_is,
                     *boost::unit_test::precondition(has_overlay)) {
  BOOST_TEST(where_it_may_mount([&] {
               if (!mount_overlay(root / "layers")) return 97;
               auto const at = root / "layers/merged/export";
               if (code_of([&] { guard_of(at); }) != os(EXDEV)) return 1;
               if (all_of(at) != "{f=old;}" || !store.entries().empty()) return 2;
               return names(at.parent_path()) == std::vector{"export"s} ? 0 : 3;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(a_full_disk_keeps_no_failed_job_from_being_undone, *boost::unit_test::precondition(can_mount)) {
  fs::create_directory(root / "disk");
  BOOST_TEST(where_it_may_mount([&] {
               if (!mount("tmpfs", root / "disk", "tmpfs", 0, "size=256k")) return 97;
               fs::path const at = root / "disk/export";
               fs::create_directory(at);
               write(at / "f", "old");
               {
                 auto g = guard_of(at);
                 fs::create_directory(at);
                 std::ofstream full((at / "f").native(), std::ios::binary);
                 while (full << std::string(4096, 'x') << std::flush) {
                 }
               }
               return all_of(at) == "{f=old;}" ? 0 : 1;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(on_a_read_only_file_system_nothing_is_touched, *boost::unit_test::precondition(can_mount)) {
  fs::create_directory(root / "disk");
  BOOST_TEST(where_it_may_mount([&] {
               if (!mount("tmpfs", root / "disk", "tmpfs", 0)) return 97;
               fs::create_directory(root / "disk/export");
               if (!mount(nullptr, root / "disk", nullptr, MS_REMOUNT | MS_RDONLY)) return 96;
               if (code_of([&] { guard_of(root / "disk/export"); }) != os(EROFS)) return 1;
               return fs::exists(root / "disk/export") && store.entries().empty() ? 0 : 2;
             }) == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace tree_test
