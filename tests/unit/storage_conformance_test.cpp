// The conformance suite, run on each storage, and on storages that are wrong on purpose: that is how we know
// that it sees.
#include <csignal>
#include <list>
#include <set>
#include <stash/storage/journal.hpp>
#include <stash/testing/storage_conformance.hpp>

#include "conforming.hpp"
#include "support.hpp"
#include "wrong_storages.hpp"

namespace storage_conformance_test {

using stash::testing::outcome;
using stash::testing::storage_conformance;
using support::add_case;
using support::complaint;
using support::conforming;
namespace ut = boost::unit_test;

namespace {

using wrong_storages::twin;
using wrong_storages::twins;
using wrong_storages::wrong_ones;

struct memories {
  stash::memory_storage fresh() { return {}; }
};

template <stash::durability Durability>
struct files {
  stash::atomic_file_storage fresh() {
    places.emplace_back();
    return again();
  }
  stash::atomic_file_storage again() {
    return stash::atomic_file_storage{places.back().dir(), {.durability = Durability}};
  }
  std::list<support::scratch> places;
};
using quick_files = files<stash::durability::process_crash>;

/// Without `again`: one object at a time has a journal open.
struct journals {
  stash::journal_storage fresh() {
    places.emplace_back();
    return stash::journal_storage{places.back().dir()};
  }
  std::list<support::scratch> places;
};

struct failing {
  stash::testing::failing_storage fresh() { return {}; }
  stash::testing::failing_storage again() { return {}; }
};

using wrong_memories = wrong_ones<memories>;
using wrong_files = wrong_ones<quick_files>;

template <class Factory>
auto find(std::string_view name) {
  auto const checks = storage_conformance<Factory>::checks();
  auto const found = std::find_if(checks.begin(), checks.end(), [&](auto const& c) { return c.name == name; });
  return found == checks.end() ? throw std::logic_error("no check " + std::string(name)) : *found;
}

void twin_is_seen(twin const& t) {
  // A marker in memory would be gone with the child that has it.
  bool const in_memory = find<wrong_memories>(t.seen_by).applies && t.wrong_in != "locks_are_markers";
  std::string const seen = in_memory ? complaint(find<wrong_memories>(t.seen_by), wrong_memories{t.wrong_in})
                                     : complaint(find<wrong_files>(t.seen_by), wrong_files{t.wrong_in});
  BOOST_TEST_INFO("no complaint of " << t.seen_by);
  BOOST_TEST(!seen.empty());
  BOOST_TEST_MESSAGE(t.wrong_in << ": " << seen);
}

ut::test_suite* failing_always() {
  auto* const suite = BOOST_TEST_SUITE("failing_always");
  for (auto const& check : storage_conformance<failing>::checks()) {
    add_case(*suite, std::string(check.name), [&check] { BOOST_TEST(complaint(check, failing{}) != ""); });
  }
  return suite;
}

ut::test_suite* wrong_in_one_way() {
  auto* const suite = BOOST_TEST_SUITE("wrong_in_one_way");
  for (auto const& t : twins) {
    add_case(*suite, std::string(t.wrong_in) + "__" + std::string(t.seen_by), [&t] { twin_is_seen(t); });
  }
  return suite;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(storage_conformance_suite)

bool const registered = [] {
  auto& all = ut::framework::current_auto_test_suite();
  all.add(conforming<memories>("memory"));
  all.add(conforming<files<stash::durability::power_loss>>("files_that_survive_power_loss"));
  all.add(conforming<quick_files>("files_that_survive_a_crash"));
  all.add(conforming<journals>("journal"));
  all.add(failing_always());
  all.add(wrong_in_one_way());
  return true;
}();

BOOST_AUTO_TEST_CASE(a_wrong_storage_without_a_fault_conforms) {
  wrong_memories in_memory{""};
  wrong_files in_files{""};
  std::ostringstream report;
  report << stash::testing::check_storage(in_memory) << stash::testing::check_storage(in_files);
  BOOST_TEST(report.str().find("failed: ") == std::string::npos, report.str());
}

BOOST_AUTO_TEST_CASE(every_member_of_the_failing_storage_throws_eio_and_names_its_operation) {
  stash::testing::failing_storage s;
  auto const operation_of = [](auto f) -> std::string {
    try {
      f();
    } catch (stash::error const& e) {
      return e.code() == support::os(EIO) ? e.operation() : e.what();
    }
    return "nothing was thrown";
  };
  BOOST_TEST(operation_of([&] { s.put("k", {}); }) == "put");
  BOOST_TEST(operation_of([&] { s.get("k"); }) == "get");
  BOOST_TEST(operation_of([&] { s.erase("k"); }) == "erase");
  BOOST_TEST(operation_of([&] { s.entries(); }) == "entries");
  BOOST_TEST(operation_of([&] { s.set_aside("k", "x"); }) == "set_aside");
  BOOST_TEST(operation_of([&] { s.set_aside_entries(); }) == "set_aside_entries");
  BOOST_TEST(operation_of([&] { s.purge(std::chrono::microseconds{0}); }) == "purge");
  BOOST_TEST(operation_of([&] { s.try_lock("k"); }) == "try_lock");
  BOOST_TEST(operation_of([&] { s.exists(); }) == "exists");
  BOOST_TEST(operation_of([&] { s.temporaries(); }) == "temporaries");
  BOOST_TEST(operation_of([&] { s.sweep("k"); }) == "sweep");
  BOOST_TEST(operation_of([&] { s.check("k", {}); }) == "put");
  BOOST_TEST(operation_of([&] { s.where("k"); }) == "where");
}

BOOST_AUTO_TEST_CASE(a_factory_that_throws_anything_at_all_fails_every_check) {
  struct throwing {
    stash::memory_storage fresh() { throw 42; }
  } factory;
  auto const report = stash::testing::check_storage(factory);
  BOOST_TEST(!report.conforms());
  BOOST_TEST(report.count(stash::testing::outcome::passed) == 0U);
  BOOST_TEST(report.results.front().why == "something that is not a std::exception was thrown");
}

BOOST_AUTO_TEST_CASE(where_children_cannot_be_waited_for_a_check_with_a_child_fails) {
  int const status = support::in_child([] {
    std::signal(SIGCHLD, SIG_IGN);
    return stash::detail::conformance_tools::returns_in_child([] {}) ? 1 : 0;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(every_check_sees_some_wrong_storage) {
  std::set<std::string_view> checks, seeing;
  for (auto const& check : storage_conformance<quick_files>::checks()) checks.insert(check.name);
  for (auto const& t : twins) seeing.insert(t.seen_by);
  BOOST_TEST(checks == seeing, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_report_counts_and_names_what_did_not_pass) {
  memories right;
  auto const good = stash::testing::check_storage(right);
  BOOST_TEST(good.conforms());
  BOOST_TEST(good.count(outcome::skipped) > 0U);
  wrong_memories wrong_one{"purge_ignores_age"};
  auto const bad = stash::testing::check_storage(wrong_one);
  BOOST_TEST(!bad.conforms());
  std::ostringstream text;
  text << bad;
  BOOST_TEST(text.str().starts_with("failed: purge_leaves_what_is_too_young: purge: at least so long ago: "),
             text.str());
  BOOST_TEST(text.str().find("expected 0, found 3") != std::string::npos, text.str());
  BOOST_TEST(text.str().find("skipped: reads_create_nothing: there is no exists()\n") != std::string::npos);
  BOOST_TEST(text.str().ends_with(" passed, 1 failed, " + std::to_string(good.count(outcome::skipped)) + " skipped\n"));
}

BOOST_AUTO_TEST_CASE(a_check_that_does_not_apply_is_not_run_as_if_it_passed) {
  memories factory;
  BOOST_CHECK_THROW(find<memories>("a_lock_excludes_another_process").run(factory), std::logic_error);
  BOOST_TEST(!stash::testing::conformance_report{}.conforms());
  using stash::testing::outcome;
  stash::testing::conformance_report report;
  report.results.assign(123, {"a check", outcome::passed});
  report.results.push_back({"another", outcome::failed, "why"});
  BOOST_TEST(support::printed_on_a_bent_stream(report) == "failed: another: why\n123 passed, 1 failed, 0 skipped\n");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace storage_conformance_test
