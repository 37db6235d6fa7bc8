// The files' directory: how it is named, made and missed, and which one is the default.
#include <pwd.h>
#include <sys/stat.h>

#include <utility>

#include "atomic_file_fixture.hpp"
#include "support.hpp"

namespace atomic_file_directory_test {

using namespace std::string_literals;
using stash::atomic_file_storage;
using stash::errc;
using support::code_of;
using support::names;
using support::os;
namespace utf = boost::unit_test;
namespace fs = boost::filesystem;

namespace {

using atomic_file_test::first;
using atomic_file_test::fixture;
using atomic_file_test::second;

auto const as_root = utf::precondition(support::as_root);
auto const without_root = utf::precondition(support::without_root);

}  // namespace

BOOST_FIXTURE_TEST_SUITE(atomic_file, fixture)

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
  BOOST_TEST(code_of([&] { files.entries(); }) == os(EACCES));
  if (::geteuid() != stash::detail::overflow_user) {  // who would have to list it, to prove that it is his
    BOOST_TEST((files.get("k") == first));
  }
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

}  // namespace atomic_file_directory_test
