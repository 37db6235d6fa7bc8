// The conformance suite of places, run on trees, and on places that are wrong on purpose: that is how we know that it
// sees.
#include <sys/mman.h>

#include <stash/place/sqlite_table.hpp>
#include <stash/testing/place_conformance.hpp>

#include "conforming.hpp"
#include "support.hpp"

namespace place_conformance_test {

using stash::testing::outcome;
using stash::testing::place_conformance;
using support::add_case;
using support::complaint;
namespace ut = boost::unit_test;
namespace fs = boost::filesystem;

namespace {

struct directories {
  stash::tree fresh() {
    at = std::make_shared<support::scratch>();
    return again();
  }
  stash::tree again() { return stash::tree{place()}; }
  void build(std::string const& words) {
    fs::create_directories(place());
    support::write(place() / "words", words);
  }
  std::optional<std::string> found() {
    return fs::exists(place()) ? std::optional(support::read(place() / "words")) : std::nullopt;
  }
  fs::path place() const { return at->root / "export"; }
  std::shared_ptr<support::scratch> at;
};

struct sqlite_tables {
  stash::sqlite_table fresh() {
    at = std::make_shared<support::scratch>();
    run("CREATE TABLE another (x)");  // so that there is a file
    return again();
  }
  stash::sqlite_table again() { return stash::sqlite_table{file(), "export"}; }
  void build(std::string const& words) {
    run("CREATE TABLE export (words TEXT); CREATE INDEX by_words ON export (words); INSERT INTO export VALUES ('" +
        words + "')");
  }
  std::optional<std::string> found() {
    stash::detail::sqlite_connection const db{file().native()};
    stash::detail::sqlite_statement there{db, "SELECT 1 FROM sqlite_schema WHERE name = 'export'", "test", ""};
    if (!there.step()) return std::nullopt;
    stash::detail::sqlite_statement row{db, "SELECT words FROM export INDEXED BY by_words WHERE words > ''", "test",
                                        ""};
    return row.step() ? row.text(0) : "no rows";
  }
  void run(std::string const& sql) {
    stash::detail::sqlite_connection const db{file().native()};
    db.execute(sql, "test", "");
  }
  fs::path file() const { return at->root / "shop.sqlite"; }
  std::shared_ptr<support::scratch> at;
};

/// A place in memory, which is right but for one thing; shared with children, as another process would see it.
struct wrong_place {
  using value_type = std::string;
  struct site {
    bool has = false, is_parked = false;
    char stands[16] = {}, under[16] = {};
  };
  std::string wrong;
  site* at;

  bool is(char const* in) const { return wrong == in; }
  std::optional<std::string> live() const {
    if (is("live_is_destructive")) at->has = false;
    if (is("live_is_always_there")) return "note";
    if (is("live_looks_at_what_is_half_built") ? !at->has : !at->has || at->is_parked) return std::nullopt;
    if (is("live_is_another_each_time")) return std::to_string(::rand());
    return "note";
  }
  std::optional<std::string> parked() const {
    if (is("parked_says_nothing") || !at->is_parked) return std::nullopt;
    return "note";
  }
  std::string where() const { return is("where_is_empty") ? "" : "under the bed"; }
  void park(std::string const&) {
    if (at->is_parked && !is("park_again_replaces_what_is_parked")) {
      if (!is("park_again_leaves_the_place_full")) at->has = false;
      return;
    }
    if (!at->has) {
      if (is("park_of_nothing_parks")) at->is_parked = true;
      return;
    }
    std::copy(std::begin(at->stands), std::end(at->stands), at->under);
    at->is_parked = !is("park_deletes");
    at->has = is("park_copies");
  }
  void put_back(std::string const&) {
    if (!at->is_parked) {
      if (is("put_back_removes_what_is_whole")) at->has = false;
      if (!at->has && !is("put_back_of_nothing_succeeds")) throw std::runtime_error("nothing");
      return;
    }
    if (!is("put_back_is_forgetful")) at->is_parked = false;
    if (is("put_back_leaves_the_half_built") && at->has) return;
    std::copy(std::begin(at->under), std::end(at->under), at->stands);
    at->has = true;
  }
  void settle(std::string const&) {
    if (is("settle_puts_back") && at->is_parked) put_back({});
    if (is("settle_keeps_what_was_parked")) return;
    if (is("settle_needs_something_parked") && !at->is_parked) at->has = false;
    at->is_parked = false;
  }
  void discard() {
    if (is("discard_takes_what_is_parked")) at->is_parked = false;
    if (is("discard_takes_what_stands")) at->has = false;
  }
};

struct wrong_places {
  std::string wrong;
  wrong_place::site* at = nullptr;
  wrong_place fresh() {
    auto* const shared = ::mmap(nullptr, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    at = new (shared) wrong_place::site;  // a page for each check
    return again();
  }
  wrong_place again() { return {wrong, at}; }
  void build(std::string const& words) {
    at->has = true;
    words.copy(at->stands, sizeof at->stands - 1);
    at->stands[words.size()] = 0;
  }
  std::optional<std::string> found() { return at->has ? std::optional<std::string>(at->stands) : std::nullopt; }
};

char const* const all_wrong[] = {"live_is_destructive",
                                 "live_is_always_there",
                                 "live_looks_at_what_is_half_built",
                                 "live_is_another_each_time",
                                 "parked_says_nothing",
                                 "where_is_empty",
                                 "park_again_replaces_what_is_parked",
                                 "park_again_leaves_the_place_full",
                                 "park_of_nothing_parks",
                                 "park_deletes",
                                 "park_copies",
                                 "put_back_removes_what_is_whole",
                                 "put_back_of_nothing_succeeds",
                                 "put_back_is_forgetful",
                                 "put_back_leaves_the_half_built",
                                 "settle_puts_back",
                                 "settle_keeps_what_was_parked",
                                 "settle_needs_something_parked",
                                 "discard_takes_what_is_parked",
                                 "discard_takes_what_stands"};

/// Without what is optional.
struct plain {
  using value_type = std::string;
  wrong_place of;
  std::optional<std::string> live() const { return of.live(); }
  void park(std::string const& v) { of.park(v); }
  void put_back(std::string const& v) { of.put_back(v); }
  void settle(std::string const& v) { of.settle(v); }
  void discard() { of.discard(); }
};
struct plains : wrong_places {
  plain fresh() { return {wrong_places::fresh()}; }
  plain again() { return {wrong_places::again()}; }
};

ut::test_suite* wrong_in_one_way() {
  auto* const suite = BOOST_TEST_SUITE("wrong_in_one_way");
  for (std::string const wrong : all_wrong) {
    add_case(*suite, wrong, [wrong] {
      wrong_places factory{wrong};
      auto const report = stash::testing::check_place(factory);
      BOOST_TEST(!report.conforms());
    });
  }
  return suite;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(place_conformance_suite)

bool const registered = [] {
  auto& all = ut::framework::current_auto_test_suite();
  all.add(support::conforming_place<directories>("tree"));
  all.add(support::conforming_place<sqlite_tables>("sqlite_table"));
  all.add(wrong_in_one_way());
  return true;
}();

BOOST_AUTO_TEST_CASE(a_place_that_is_right_passes_all_and_each_check_finds_some_wrong_one) {
  wrong_places right{"nothing"};
  auto const report = stash::testing::check_place(right);
  BOOST_TEST_INFO(report);
  BOOST_TEST(report.conforms());
  for (auto const& check : place_conformance<wrong_places>::checks()) {
    bool const finds_one = std::any_of(std::begin(all_wrong), std::end(all_wrong), [&](std::string const& wrong) {
      return !complaint(check, wrong_places{wrong}).empty();
    });
    BOOST_TEST(finds_one, check.name);
  }
}

BOOST_AUTO_TEST_CASE(a_place_without_what_is_optional_is_asked_for_the_rest) {
  plains factory{{"nothing"}};
  auto const report = stash::testing::check_place(factory);
  BOOST_TEST(report.conforms());
  BOOST_TEST(report.count(outcome::skipped) == 3U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace place_conformance_test
