// A file, a directory or a link as a place: what stands where, and when.
#include <sys/resource.h>
#include <unistd.h>

#include <random>

#include "tree_fixture.hpp"

namespace tree_test {

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
  for (auto const* const no_path : {"id", "path", "path_in_hex"}) {
    BOOST_CHECK(code_of([&] { stash::tree::path_in({{no_path, 1}}); }) == os(EINVAL));
  }
  for (char const* const no_path : {"zz", "2f7", "2", "-1", "2fx1"}) {
    BOOST_CHECK(code_of([&] { stash::tree::path_in({{"path_in_hex", no_path}}); }) == os(EINVAL));
  }
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
  {
    auto g = guard();
    BOOST_TEST(!fs::exists(place));
  }
  BOOST_TEST(all_of(place) == old);
  BOOST_TEST((beside() == list{".export.stash-doomed-tonight", ".export2.stash-doomed-0123456789abcdef", "export"}));
}

BOOST_AUTO_TEST_CASE(a_name_of_any_bytes_and_of_255_of_them_can_be_parked) {
  for (std::string const& name :
       {std::string(255, '\x80'), std::string(255, 'x'), std::string(242, 'y'), std::string(241, 'y'),
        std::string(226, 'z'), "o"s + std::string(127, '\xc3'), "caf\xc3\xa9 \n'\"%s"s, "not \xff utf-8"s, ".hidden"s,
        "..."s, "-rf"s, std::string(126, '\xc3') + "\xa9"}) {
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

BOOST_AUTO_TEST_CASE(names_of_any_bytes_are_parked_put_back_and_settled) {
  std::mt19937 random(20);
  for (int i = 0; i < 300; ++i) {
    std::string name(1 + random() % 255, '\0');
    for (char& c : name) {
      do {
        c = static_cast<char>(random() % (i % 3 == 0 ? 128 : 256));
      } while (c == '\0' || c == '/');
    }
    if (name == "." || name == ".." || name == "stash") continue;
    fs::path const at = root / "names" / name;
    fs::create_directories(at.parent_path());
    write(at, "old");
    stash::memory_stash noted;
    {
      stash::replace_guard g{noted, "k", stash::tree{at}};
      BOOST_TEST(stash::tree::path_in(*g.value()) == at);
      BOOST_TEST((names(at.parent_path()) == list{g.place().parked_path().filename().native()}));
      write(at, "half");
    }
    BOOST_TEST(read(at) == "old");
    {
      stash::replace_guard g{noted, "k", stash::tree{at}};
      write(at, "new");
      g.commit();
    }
    BOOST_TEST(read(at) == "new");
    BOOST_TEST((names(at.parent_path()) == list{name}));
    fs::remove(at);
  }
}

BOOST_AUTO_TEST_CASE(however_much_is_in_it_to_park_it_takes_the_same_calls_and_at_most_five_flushes) {
  using spoiled_stash = stash::basic_stash<support::spoiled_storage>;
  std::vector<std::string> calls;
  *ops.before = [&](std::string_view call) {
    calls.emplace_back(call);
    return 0;
  };
  auto const calls_to_park = [&](fs::path const& at, std::string const& name) {
    spoiled_stash counted{support::spoiled_storage{root / ("stash of " + name), {}, ops}};
    counted.save("another", 1);  // it has its directory
    calls.clear();
    stash::replace_guard g{counted, "k", stash::basic_tree<support::spoiled_ops>{at, {}, ops}};
    return calls;
  };
  auto const few = calls_to_park(place, "few");
  auto const flushes = std::count(few.begin(), few.end(), "fsync");
  BOOST_TEST(flushes >= 3);
  BOOST_TEST(flushes <= 5);
  for (int i = 0; i < 2000; ++i) write(place / std::to_string(i), "");
  BOOST_TEST((calls_to_park(place, "many") == few));
  std::ofstream(place.native() + ".img");
  if (::truncate((place.native() + ".img").c_str(), off_t{1} << 40) == 0) {  // a sparse file of 1 TB
    BOOST_TEST((calls_to_park(place.native() + ".img", "large") == few));
  }
}

BOOST_AUTO_TEST_CASE(a_long_name_is_not_cut_amid_a_letter) {
  for (std::string begins : {"", "x"}) {
    while (begins.size() + 2 <= 255) begins += "\xc3\xa9";
    auto const parked = stash::tree{root / begins}.parked_path().filename().native();
    BOOST_TEST(parked.size() <= 255U);
    BOOST_TEST(stash::detail::is_utf8(parked), parked);
  }
}

BOOST_AUTO_TEST_CASE(a_directory_that_somebody_makes_a_link_while_its_tree_is_removed_is_not_followed) {
  fs::create_directory(root / "elsewhere");
  write(root / "elsewhere/precious", "kept");
  fs::path const doomed = root / ".export.stash-doomed-0123456789abcdef";
  fs::create_directories(doomed / "sub");
  int opened = 0;
  *ops.before = [&](std::string_view call) {
    if (call != "open") return 0;
    if (++opened != 3) return 0;  // the directory above, the tree, then what is in it and was moved just now
    for (auto const& name : names(doomed)) {
      fs::remove(doomed / name);
      fs::create_directory_symlink(root / "elsewhere", doomed / name);
    }
    return 0;
  };
  stash::basic_tree<support::spoiled_ops> t{place, {}, ops};
  BOOST_CHECK(code_of([&] { t.discard(); }) != boost::system::error_code());
  BOOST_TEST(opened >= 3);
  BOOST_TEST(read(root / "elsewhere/precious") == "kept");
}

BOOST_AUTO_TEST_CASE(two_long_names_that_begin_alike_are_parked_as_two) {
  std::string const begins(254, 'x');
  BOOST_TEST(stash::tree{root / (begins + "1")}.parked_path() != stash::tree{root / (begins + "2")}.parked_path());
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

BOOST_AUTO_TEST_CASE(where_the_directory_above_is_missing_the_path_may_be_wrong_and_the_guard_says_so) {
  BOOST_CHECK(code_of([&] {
                stash::replace_guard const g{store, "export", stash::tree{root / "no/such"}};
              }) == os(ENOENT));
  stash::tree{root / "no/such"}.discard();  // there is nothing to remove
}

BOOST_AUTO_TEST_CASE(what_an_mv_has_moved_into_what_is_half_built_is_not_destroyed_with_it) {
  guard().release();
  build();
  BOOST_REQUIRE(
      std::system(("mv '" + (root / ".export.stash-parked").native() + "' '" + place.native() + "'").c_str()) == 0);
  auto const said = support::message_of([&] { auto const g = guard(); });
  BOOST_TEST(said.find("what was parked was moved into it") != std::string::npos, said);
  BOOST_TEST(all_of(place / ".export.stash-parked") == old);
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

BOOST_AUTO_TEST_CASE(a_commit_of_which_nobody_knows_destroys_nothing_and_the_old_one_comes_back) {
  {
    stash::replace_guard g{
        store, "export", stash::basic_tree<support::spoiled_ops>{place, {}, ops}, {.observer = log.observer()}};
    build();
    int renames = 0;
    *ops.before = [&](std::string_view call) {
      if (call == "rename_noreplace") return ++renames == 2 ? EIO : 0;
      return call == "fsync" && renames == 1 ? EIO : 0;
    };
    BOOST_CHECK(code_of([&] { g.commit(); }) == stash::errc::indeterminate);
    *ops.before = [](std::string_view) { return 0; };
    g.place().discard();  // which removes nothing of it
    auto const doomed = root / beside()[0];
    fs::rename(doomed, root / "taken");  // by somebody, for a moment
    BOOST_CHECK(code_of([&] { g.place().put_back({}); }) == stash::errc::mismatch);
    fs::rename(root / "taken", doomed);
  }
  BOOST_TEST(all_of(place) == old);
  BOOST_TEST((beside() == alone));
}

BOOST_AUTO_TEST_CASE(where_somebody_takes_away_what_is_parked_a_guard_says_so_and_not_that_it_is_done) {
  for (bool const commits : {true, false}) {
    auto g = std::make_unique<stash::replace_guard<stash::file_stash, stash::tree>>(
        store, "export", stash::tree{place}, stash::guard_options{.observer = log.observer()});
    build();
    fs::rename(root / ".export.stash-parked", root / "taken");
    auto const end = [&] { commits ? g->commit() : g->rollback(); };
    BOOST_CHECK(code_of(end) == stash::errc::mismatch);
    BOOST_TEST(support::message_of([&] { g->commit(); }) == (commits ? support::message_of(end) : ""));
    g.reset();
    BOOST_TEST(all_of(place) == built);
    BOOST_TEST(store.entries().size() == 1U);
    fs::remove_all(place);
    fs::rename(root / "taken", place);
    store.clear("export");
  }
  {
    stash::tree t{place};  // and nothing was built
    t.park({});
    fs::rename(root / ".export.stash-parked", root / "taken");
    BOOST_CHECK(code_of([&] { t.put_back({}); }) == stash::errc::mismatch);
    fs::rename(root / "taken", place);
  }
  {
    auto g = guard();
    fs::rename(root / ".export.stash-parked", place);  // a person has put it back
  }
  BOOST_TEST(all_of(place) == old);
  BOOST_TEST(log.kinds.ends_with("put_back restored"));
}

BOOST_AUTO_TEST_CASE(a_commit_of_nothing_that_died_before_its_record_went_is_not_undone) {
  {
    auto g = guard();
    stash::tree{place}.settle({});
    g.release();
  }
  auto const report = stash::recover_places(
      store, [](auto const&, auto const& note) { return std::optional(stash::tree{stash::tree::path_in(note)}); });
  BOOST_TEST(report.failed.empty());
  BOOST_TEST(store.entries().empty());
  BOOST_TEST(beside().empty());
}

BOOST_AUTO_TEST_CASE(what_an_earlier_run_has_doomed_is_doomed_for_good_before_it_is_emptied) {
  stash::basic_tree<support::spoiled_ops> spoiled{place, {}, ops};
  std::string calls;
  *ops.before = [&](std::string_view call) {
    if (call == "fsync" || call == "unlink" || call == "rmdir") calls += call[0];
    return 0;
  };
  fs::create_directory(root / ".export.stash-doomed-0123456789abcdef");
  write(root / ".export.stash-doomed-0123456789abcdef/rows", "a");
  spoiled.discard();
  BOOST_TEST(calls == "frur");  // the sync, in vain while there is a file in it, the file, the directory
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
    for (int i = 0; i < 300; ++i) {
      BOOST_REQUIRE(::mkdir("d", 0700) == 0);
      BOOST_REQUIRE(::chdir("d") == 0);
      if (i % 100 == 0) write("f", "x");
    }
    fs::create_directory_symlink(root / "elsewhere", "link");
    fs::current_path(before);
    rlimit all = {};
    BOOST_REQUIRE(::getrlimit(RLIMIT_NOFILE, &all) == 0);
    rlimit const few{100, all.rlim_max};
    BOOST_REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
    g.commit();
    ::setrlimit(RLIMIT_NOFILE, &all);
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

BOOST_AUTO_TEST_SUITE_END()

}  // namespace tree_test
