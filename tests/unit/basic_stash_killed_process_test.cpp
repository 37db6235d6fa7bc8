// Processes that are killed amid a save, a clear, a guard or a recovery. (For every storage and every system call:
// exhaustive/every_call_fails_test.cpp.)
#include <csignal>
#include <functional>
#include <optional>
#include <string_view>

#include "basic_stash_fixture.hpp"
#include "support.hpp"

namespace basic_stash_killed_process_test {

using namespace std::string_literals;
namespace fs = boost::filesystem;
using basic_stash_test::fixture;

BOOST_FIXTURE_TEST_SUITE(basic_stash, fixture)

BOOST_AUTO_TEST_CASE(a_process_killed_anywhere_leaves_the_old_or_the_new_state_and_recover_sweeps_behind_it) {
  using killed_stash = stash::basic_stash<support::spoiled_storage>;
  using state = std::optional<int>;
  struct job {
    char const* name;
    state before, after;
    std::function<void(killed_stash&)> run;
  };
  auto const guard = [](killed_stash& s, state live, bool commit) {
    stash::delete_guard g{s, "k", [live] { return live; }, [](int) {}, {.clear_after_restore = true}};
    if (commit) g.commit();
  };
  std::vector<job> const jobs{
      {"first save", std::nullopt, 2, [](killed_stash& s) { s.save("k", 2); }},
      {"overwrite", 1, 2, [](killed_stash& s) { s.save("k", 2); }},
      {"clear", 1, std::nullopt, [](killed_stash& s) { s.clear("k"); }},
      {"set aside", 1, std::nullopt, [](killed_stash& s) { s.storage().set_aside("k", "x"); }},
      {"adopt and commit", 1, std::nullopt, [&](killed_stash& s) { guard(s, std::nullopt, true); }},
      {"adopt and roll back", 1, std::nullopt, [&](killed_stash& s) { guard(s, std::nullopt, false); }},
      {"recover", 1, std::nullopt, [](killed_stash& s) {
         stash::recover<int>(
             s, [](auto const&) { return false; }, [](auto const&, int) {});
       }}};
  for (auto const& j : jobs) {
    for (int n = 1;; ++n) {
      fs::remove_all(dir());
      if (j.before) store.save("k", *j.before);
      int const status = support::in_child([&] {
        support::spoiled_ops ops;
        int left = n;
        *ops.before = [&](std::string_view) {
          if (--left == 0) ::raise(SIGKILL);
          return 0;
        };
        killed_stash s{dir(), stash::file_options{}, ops};
        j.run(s);
        return 0;
      });
      auto const found = store.load<int>("k");
      BOOST_TEST((found == j.before || found == j.after), j.name << ", call " << n);
      if (!found && j.name == "set aside"s) BOOST_TEST(store.set_aside_entries().size() == 1U);
      stash::recover<int>(
          store, [](auto const&) { return true; }, [](auto const&, int) {});
      BOOST_TEST(store.storage().temporaries().empty(), j.name << ", call " << n);
      BOOST_TEST((status == 0 || status == 256 + SIGKILL));
      if (status != 0) continue;
      BOOST_TEST((found == j.after), j.name);
      break;
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace basic_stash_killed_process_test
