// What the system refuses: then the old one stands where it stood, and what is not ours is left alone.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "tree_fixture.hpp"

namespace tree_test {

namespace {

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

BOOST_FIXTURE_TEST_SUITE(tree_refused, fixture)

BOOST_AUTO_TEST_CASE(where_the_directory_above_may_not_be_written_to_nothing_is_touched,
                     *boost::unit_test::precondition(support::without_root)) {
  fs::create_directories(root / "closed/export");
  support::set_mode(root / "closed", 0555);
  BOOST_CHECK(code_of([&] { auto const g = guard_of(root / "closed/export"); }) == os(EACCES));
  BOOST_TEST(fs::exists(root / "closed/export"));
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(somebody_elses_in_a_sticky_directory_is_left_where_it_is,
                     *boost::unit_test::precondition(support::as_root)) {
  fs::create_directory(root / "sticky");
  support::set_mode(root / "sticky", 01777);
  support::set_mode(root, 0755);
  fs::create_directory(root / "sticky/export");
  BOOST_TEST(
      support::in_child([&] {
        if (::setegid(1000) != 0 || ::seteuid(1000) != 0) return 98;
        stash::memory_stash m;
        auto const code = code_of([&] { stash::replace_guard const g{m, "k", stash::tree{root / "sticky/export"}}; });
        return code == os(EPERM) && m.entries().empty() ? 0 : 1;
      }) == 0);
  BOOST_TEST(fs::exists(root / "sticky/export"));
}

BOOST_AUTO_TEST_CASE(what_a_stranger_puts_under_the_parked_name_in_a_sticky_directory_is_not_believed,
                     *boost::unit_test::precondition(support::as_root)) {
  fs::path const sticky = root / "sticky";
  fs::create_directories(sticky / "export");
  write(sticky / "export/f", "old");
  support::set_mode(sticky, 01777);
  support::set_mode(root, 0755);
  auto const plant = [&](fs::path const& path) {
    BOOST_REQUIRE(support::in_child([&] {
                    if (::setegid(1000) != 0 || ::seteuid(1000) != 0) return 98;
                    fs::create_directory(path);
                    write(path / "f", "evil");
                    return 0;
                  }) == 0);
  };
  plant(sticky / ".export.stash-parked");
  auto const said = support::message_of([&] { auto const g = guard_of(sticky / "export"); });
  BOOST_TEST(said.find("user 1000") != std::string::npos, said);
  BOOST_CHECK(code_of([&] { auto const g = guard_of(sticky / "export"); }) == stash::errc::unsafe_directory);
  BOOST_TEST(all_of(sticky / "export") == "{f=old;}");
  fs::remove_all(sticky / ".export.stash-parked");
  plant(sticky / ".export.stash-doomed-0123456789abcdef");
  {
    auto g = guard_of(sticky / "export");
    g.commit();
  }
  BOOST_TEST(fs::exists(sticky / ".export.stash-doomed-0123456789abcdef"));  // it is not ours to remove
  // Of somebody else, but parked by this guard.
  fs::create_directory(sticky / "export");
  BOOST_REQUIRE(::chown((sticky / "export").c_str(), 1000, 1000) == 0);
  { auto g = guard_of(sticky / "export"); }
  BOOST_TEST(fs::exists(sticky / "export"));
}

BOOST_AUTO_TEST_CASE(whoever_may_move_what_is_ours_is_believed_to_have_parked_it,
                     *boost::unit_test::precondition(support::as_root)) {
  struct {
    mode_t mode;
    uid_t above, parked;  // whose the directory is, and what is parked in it
    bool is_believed;
  } const rows[] = {{01777, 0, 1000, true},  // ours
                    {01777, 1001, 0, true},  {01777, 1001, 1001, true}, {01777, 0, 1001, false},
                    {01775, 0, 1001, false}, {01757, 0, 1001, false},   {01755, 0, 1001, true},
                    {0777, 0, 1001, true}};
  support::set_mode(root, 0755);
  for (auto const& row : rows) {
    auto const above = root / "above";
    fs::create_directories(above / ".export.stash-parked");
    BOOST_REQUIRE(::chown((above / ".export.stash-parked").c_str(), row.parked, 0) == 0);
    BOOST_REQUIRE(::chown(above.c_str(), row.above, 0) == 0);
    support::set_mode(above, row.mode);
    BOOST_TEST_CONTEXT(std::oct << row.mode << ", " << row.above << ", " << row.parked) {
      BOOST_TEST(support::in_child([&] {
                   if (::setegid(1000) != 0 || ::seteuid(1000) != 0) return 98;
                   auto const code = code_of([&] { stash::tree{above / "export"}.live(); });
                   bool const is_right = row.is_believed ? !code.failed() : code == stash::errc::unsafe_directory;
                   return is_right ? 0 : 1;
                 }) == 0);
    }
    fs::remove_all(above);
  }
}

BOOST_AUTO_TEST_CASE(what_is_immutable_is_left_where_it_is, *boost::unit_test::precondition(has_immutable_files)) {
  BOOST_REQUIRE(chattr("+i " + place.native()) == 0);
  auto const code = code_of([&] { auto const g = guard(); });
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
               if (code_of([&] { auto const g = guard(); }) != os(EBUSY)) return 1;
               return all_of(place) == "{f=mounted;}" && store.entries().empty() ? 0 : 2;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(what_is_mounted_somewhere_in_a_tree_is_not_emptied_when_the_tree_is_destroyed,
                     *boost::unit_test::precondition(can_mount)) {
  fs::create_directories(root / "precious/x");
  write(root / "precious/x/f", "kept");
  write(root / "precious/g", "kept, too");
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
  BOOST_TEST(read(root / "precious/g") == "kept, too");
}

BOOST_AUTO_TEST_CASE(what_is_mounted_where_something_waits_to_be_removed_is_not_emptied,
                     *boost::unit_test::precondition(can_mount)) {
  fs::path const doomed = root / ".export.stash-doomed-0123456789abcdef";  // as where others do not see the mount
  fs::create_directory(doomed);
  BOOST_TEST(where_it_may_mount([&] {
               if (!mount("tmpfs", doomed, "tmpfs", 0)) return 97;
               write(doomed / "f", "kept");
               if (code_of([&] { stash::tree{place}.discard(); }) != os(EBUSY)) return 1;
               return all_of(doomed) == "{f=kept;}" ? 0 : 2;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(what_a_lower_layer_of_an_overlay_has_is_left_where_it_is,
                     *boost::unit_test::precondition(has_overlay)) {
  BOOST_TEST(where_it_may_mount([&] {
               if (!mount_overlay(root / "layers")) return 97;
               auto const at = root / "layers/merged/export";
               if (code_of([&] { auto const g = guard_of(at); }) != os(EXDEV)) return 1;
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
               if (code_of([&] { auto const g = guard_of(root / "disk/export"); }) != os(EROFS)) return 1;
               return fs::exists(root / "disk/export") && store.entries().empty() ? 0 : 2;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(an_error_is_not_absence) {
  BOOST_CHECK(code_of([&] {
                stash::replace_guard const g{store, "export", stash::tree{place / "a/b"}};
              }) == os(ENOTDIR));
  *ops.before = [](std::string_view call) { return call == "lstat" ? EIO : 0; };
  stash::basic_tree<support::spoiled_ops> spoiled{place, {}, ops};
  BOOST_CHECK(code_of([&] { spoiled.live(); }) == os(EIO));
  *ops.before = [](std::string_view call) { return call == "open" ? EACCES : 0; };
  BOOST_CHECK(code_of([&] { spoiled.live(); }) == os(EACCES));
  BOOST_CHECK(code_of([&] { spoiled.parked(); }) == os(EACCES));
}

BOOST_AUTO_TEST_CASE(a_file_that_is_doomed_is_unlinked_whatever_a_rmdir_of_it_says) {
  stash::basic_tree<support::spoiled_ops> spoiled{place, {}, ops};
  fs::path const doomed = root / ".export.stash-doomed-0123456789abcdef";
  *ops.before = [&](std::string_view call) { return call == "rmdir" ? EPERM : 0; };  // an immutable one: not ENOTDIR
  write(doomed, "a file");
  spoiled.discard();
  BOOST_TEST(!fs::exists(doomed));
  *ops.before = [&](std::string_view call) { return call == "rmdir" || call == "unlink" ? EPERM : 0; };
  write(doomed, "a file");
  BOOST_CHECK_EXCEPTION(spoiled.discard(), stash::error, [&](stash::error const& e) {
    return std::string_view(e.what()).find("unlink " + doomed.native()) != std::string_view::npos;
  });
}

BOOST_AUTO_TEST_CASE(what_somebody_removes_while_it_is_looked_at_is_gone_and_no_error) {
  stash::basic_tree<support::spoiled_ops> spoiled{place, {}, ops};
  int lists = 0;
  auto const goes_when_it_is_open = [&](fs::path const& going) {  // first listed is what it is in
    lists = 0;
    *ops.before = [&, going](std::string_view call) {
      if (call == "list" && ++lists == 2) fs::remove_all(going);
      return 0;
    };
  };
  goes_when_it_is_open(place / "sub");
  spoiled.settle({});
  BOOST_TEST(lists == 2);
  BOOST_TEST(all_of(place) == "{a=of a;}");
  fs::path const doomed = root / ".export.stash-doomed-0123456789abcdef";
  fs::create_directories(doomed / "sub");
  goes_when_it_is_open(doomed);
  spoiled.discard();
  BOOST_TEST(lists == 2);
  BOOST_TEST(!fs::exists(doomed));
}

BOOST_AUTO_TEST_CASE(what_is_built_may_lose_a_file_or_a_directory_at_any_call_of_the_commit) {
  stash::basic_tree<support::spoiled_ops> spoiled{place, {}, ops};
  for (auto const* const going : {"a", "sub", "sub/deep"}) {
    bool has_gone = true;
    for (int n = 0; has_gone; ++n) {
      fs::create_directories(place / "sub/deep");
      for (auto const* const file : {"a", "b", "sub/c"}) write(place / file, "words");
      has_gone = false;
      int calls = 0;
      *ops.before = [&](std::string_view) {
        if (calls++ == n) has_gone = fs::remove_all(place / going) > 0;
        return 0;
      };
      BOOST_TEST_INFO(going << " goes ahead of call " << n);
      BOOST_CHECK_NO_THROW(spoiled.settle({}));
      BOOST_TEST(read(place / "b") == "words");
    }
  }
}

BOOST_AUTO_TEST_CASE(more_files_than_are_written_at_once_are_each_synced) {
  fs::remove_all(place);
  fs::create_directory(place);
  for (int i = 0; i < 150; ++i) write(place / std::to_string(i), "words");
  int opened = 0, most = 0, synced = 0;
  *ops.before = [&](std::string_view call) {
    opened += call == "open";
    opened -= call == "close";
    synced += call == "fsync";
    most = std::max(most, opened);
    return 0;
  };
  stash::basic_tree<support::spoiled_ops>{place, {}, ops}.settle({});
  BOOST_TEST(synced == 150 + 2);  // and the two directories
  BOOST_TEST(most < 100);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace tree_test
