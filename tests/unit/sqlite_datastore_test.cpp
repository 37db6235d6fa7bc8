#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <stash/ckan/sqlite_datastore.hpp>
#include <thread>
#include <utility>

#include "huge_text.hpp"
#include "read_only.hpp"
#include "sqlite_datastore_fixture.hpp"
#include "support.hpp"

namespace sqlite_datastore_test {

using namespace std::string_literals;
using stash::errc;
using support::code_of;
namespace ckan = stash::ckan;
namespace json = boost::json;

namespace {

/// Where a mount can make it read-only: what permissions forbid another user is another error.
boost::test_tools::assertion_result may_mount_read_only(boost::unit_test::test_unit_id unit) {
  return support::is_root() && !!support::may_be_kept_from_writing(unit);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(sqlite_datastore, fixture)

BOOST_AUTO_TEST_CASE(a_resource_is_live_when_it_is_finished_and_gone_when_it_is_dropped) {
  BOOST_TEST(!d.describe("orders"));
  d.create("orders", columns);
  BOOST_TEST(!d.describe("orders"));
  d.finish("orders");
  BOOST_TEST((d.describe("orders") == columns));
  BOOST_TEST((ckan::sqlite_datastore{file}.describe("orders") == columns));
  d.drop("orders");
  BOOST_TEST(!d.describe("orders"));
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name = 'orders'").empty());
  d.drop("orders");
  d.create("orders", columns);
  d.drop("orders");  // unfinished ones go too
  BOOST_TEST(query("SELECT id FROM _stash_field").empty());
}

BOOST_AUTO_TEST_CASE(rows_are_in_a_table_of_the_resources_name_with_null_apart_from_empty) {
  d.create("orders", columns);
  {
    ckan::sqlite_datastore::loader rows{d, "orders", columns};
    for (auto const& row : {std::array<std::optional<std::string_view>, 2>{"1", "2026-11-22"}, {std::nullopt, ""}})
      rows.add(row);
    std::optional<std::string_view> const too_few[] = {"1"};
    BOOST_TEST(code_of([&] { rows.add(too_few); }) == errc::mismatch);
    rows.finish();
  }
  BOOST_TEST(d.rows("orders") == 2U);
  BOOST_TEST((query("SELECT id || ':' || typeof(id) FROM orders WHERE id IS NOT NULL") == std::vector{"1:integer"s}));
  BOOST_TEST((query("SELECT day FROM orders ORDER BY _id") == std::vector{"2026-11-22"s, ""s}));
  BOOST_TEST((query("SELECT id FROM orders ORDER BY _id") == std::vector{"1"s, "NULL"s}));
}

BOOST_AUTO_TEST_CASE(rows_that_were_not_finished_are_not_there) {
  d.create("orders", columns);
  {
    ckan::sqlite_datastore::loader rows{d, "orders", columns};
    std::optional<std::string_view> const row[] = {"1", "x"};
    for (int i = 0; i < 10'005; ++i) rows.add(row);
  }
  BOOST_TEST(d.rows("orders") == 10'000U);
}

BOOST_AUTO_TEST_CASE(a_resource_whose_rows_were_not_finished_is_not_finished_as_if_there_had_been_none) {
  d.create("orders", columns);
  {
    ckan::sqlite_datastore::loader rows{d, "orders", columns};
    rows.add(std::array<std::optional<std::string_view>, 2>{"1", "2026-11-22"});
  }
  d.create("another", columns);
  BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);
  ckan::sqlite_datastore::loader again{d, "orders", columns};
  again.add(std::array<std::optional<std::string_view>, 2>{"1", "2026-11-22"});
  again.finish();
  d.finish("orders");
  BOOST_TEST(d.rows("orders") == 1U);
  {
    ckan::sqlite_datastore::loader rows{d, "orders", columns};
    rows.add(std::array<std::optional<std::string_view>, 2>{"2", "2026-11-22"});
  }
  d.drop("orders");
  d.create("orders", columns);
  d.finish("orders");
  {
    ckan::sqlite_datastore::loader rows{d, "orders", columns};
    for (int i = 0; i < 10'000; ++i) rows.add(std::array<std::optional<std::string_view>, 2>{"2", "2026-11-22"});
  }
  BOOST_TEST(d.rows("orders") == 10'000U);  // committed in between, and no sign that these are all
  BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(the_file_survives_the_power_cut_as_far_as_sqlite_can) {
  BOOST_TEST((query("PRAGMA journal_mode") == std::vector{"wal"s}));
  std::string synchronous;  // of this connection: another's tells nothing
  auto const take = [](void* to, int, char** values, char**) { return *static_cast<std::string*>(to) = values[0], 0; };
  ::sqlite3_exec(d.native_handle(), "PRAGMA synchronous", take, &synchronous, nullptr);
  BOOST_TEST(synchronous == "2");  // FULL
}

BOOST_AUTO_TEST_CASE(where_there_is_no_write_ahead_log_each_commit_syncs_the_directory_too) {
  ckan::sqlite_datastore const in_memory{":memory:"};
  std::string synchronous;
  auto const take = [](void* to, int, char** values, char**) { return *static_cast<std::string*>(to) = values[0], 0; };
  ::sqlite3_exec(in_memory.native_handle(), "PRAGMA synchronous", take, &synchronous, nullptr);
  BOOST_TEST(synchronous == "3");  // EXTRA
}

BOOST_AUTO_TEST_CASE(a_transaction_keeps_other_writers_out_from_its_start) {
  d.create("orders", columns);
  stash::detail::sqlite_connection const one{file}, other{file};
  auto const begin = [&] { stash::detail::sqlite_transaction{other, "test", {}}; };
  {
    stash::detail::sqlite_transaction const first{one, "test", {}};
    BOOST_TEST(code_of(begin).value() == SQLITE_BUSY);
  }
  BOOST_TEST(!code_of(begin));
}

BOOST_AUTO_TEST_CASE(loading_nothing_is_no_error_and_an_empty_text_is_not_null) {
  d.create("orders", columns);
  ckan::sqlite_datastore::loader rows{d, "orders", columns};
  rows.finish();
  BOOST_TEST(d.rows("orders") == 0U);
  std::vector<std::optional<std::string_view>> row(columns.size());
  row[0] = std::string_view{};
  rows.add(row);
  rows.finish();
  BOOST_TEST((query("SELECT count(*) FROM orders WHERE id = '' AND day IS NULL") == std::vector{"1"s}));
}

BOOST_AUTO_TEST_CASE(what_sqlite_refuses_to_bind_or_to_do_is_an_error) {
  stash::detail::sqlite_connection const other{file};
  stash::detail::sqlite_statement none{other, "SELECT 1", "test", {}};
  BOOST_TEST(code_of([&] { none.bind(std::int64_t{1}); }).value() == SQLITE_RANGE);
  BOOST_TEST(code_of([&] { none.bind("x"); }).value() == SQLITE_RANGE);
  other.execute("CREATE TABLE once (x UNIQUE); INSERT INTO once VALUES (1)", "test", {});
  BOOST_TEST(code_of([&] {
               stash::detail::sqlite_statement{other, "INSERT INTO once VALUES (1)", "test", {}}.run();
             }).value() == SQLITE_CONSTRAINT_UNIQUE);
}

/// Whoever is asked to finish the resource.
BOOST_AUTO_TEST_CASE(a_load_that_was_given_up_is_known_to_the_file_and_not_to_one_object) {
  using loader = ckan::sqlite_datastore::loader;
  std::array<std::optional<std::string_view>, 2> const row{"1", "x"};
  auto const add = [&](loader& to, int count) {
    for (int i = 0; i < count; ++i) to.add(row);
  };
  auto const has_lost_rows = [&](char const* id) {
    auto const code = code_of([&] { ckan::sqlite_datastore{file}.finish(id); });
    BOOST_TEST((!code || code == errc::mismatch));
    return bool(code);
  };
  for (auto const& [id, count] : {std::pair{"a", 15'000}, {"b", 1}, {"c", 0}}) {
    d.create(id, columns);
    loader rows{d, id, columns};
    add(rows, count);
  }
  BOOST_TEST(has_lost_rows("a"));
  BOOST_TEST(has_lost_rows("b"));
  BOOST_TEST(!has_lost_rows("c"));
  BOOST_TEST(code_of([&] { d.finish("a"); }) == errc::mismatch);
  BOOST_TEST(!d.describe("a"));
  ckan::sqlite_datastore e{file};
  {
    loader again{e, "b", columns};
    add(again, 1);
    again.finish();
    BOOST_TEST(!has_lost_rows("b"));
    add(again, 1);
  }
  BOOST_TEST(has_lost_rows("b"));
  {
    loader again{e, "a", columns};  // after the 10,000 that are there
    add(again, 15'000);
    again.finish();
  }
  BOOST_TEST(has_lost_rows("a"));
  d.drop("a");
  d.create("a", columns);
  {
    loader rows{d, "a", columns};
    add(rows, 10'000);
    BOOST_TEST(has_lost_rows("a"));  // it is under way
    loader other{e, "a", columns};
    add(other, 1);
    other.finish();
    BOOST_TEST(has_lost_rows("a"));
    rows.finish();
    rows.finish();
  }
  BOOST_TEST(!has_lost_rows("a"));
  BOOST_TEST(d.rows("a") == 10'001U);
  BOOST_TEST((query("SELECT resource_id FROM _stash_load") == std::vector{"b"s}));
}

BOOST_AUTO_TEST_CASE(a_load_whose_process_died_is_known_too) {
  d.create("orders", columns);
  BOOST_TEST(support::in_child([&] {
               ckan::sqlite_datastore mine{file};
               ckan::sqlite_datastore::loader rows{mine, "orders", columns};
               rows.add(std::array<std::optional<std::string_view>, 2>{"1", "2"});
               ::_exit(7);
               return 0;
             }) == 7);
  BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_load_whose_place_another_took_before_its_first_row_takes_it_again) {
  d.create("orders", columns);
  std::string name = file;
  auto const take_once = [](void* of, sqlite3* db, char const*, int) {
    ::sqlite3_wal_hook(db, nullptr, nullptr);
    stash::detail::sqlite_connection const other{*static_cast<std::string*>(of)};
    other.execute("DELETE FROM _stash_load", "test", {});
    return SQLITE_OK;
  };
  ckan::sqlite_datastore::loader rows{d, "orders", columns};
  std::array<std::optional<std::string_view>, 2> const row{"1", "x"};
  ::sqlite3_wal_hook(d.native_handle(), take_once, &name);  // when it was marked
  for (int i = 0; i < 10'000; ++i) rows.add(row);
  BOOST_TEST((query("SELECT has_rows FROM _stash_load") == std::vector{"1"s}));
  ckan::sqlite_datastore other{file};
  other.drop("orders");
  other.create("orders", columns);
  BOOST_TEST(code_of([&] { rows.add(row); }) == errc::mismatch);  // the first 10,000 are gone
  BOOST_TEST(d.rows("orders") == 0U);
}

BOOST_AUTO_TEST_CASE(a_value_that_an_int_cannot_count_is_an_error_and_no_row_is_there) {
  d.create("orders", columns);
  support::huge_text const text;
  {
    ckan::sqlite_datastore::loader rows{d, "orders", columns};
    std::optional<std::string_view> const row[] = {text.view(), text.view()};
    BOOST_TEST(code_of([&] { rows.add(row); }).value() == SQLITE_TOOBIG);
  }
  BOOST_TEST(d.rows("orders") == 0U);
}

BOOST_AUTO_TEST_CASE(a_table_that_is_somebody_elses_is_never_dropped) {
  query("CREATE TABLE people (name)");
  d.create("Orders", columns);
  for (char const* const id : {"people", "PEOPLE", "orders", "_stash_resource", "_stash_field"}) {
    BOOST_TEST(code_of([&] { d.describe(id); }) == errc::mismatch, id);
    BOOST_TEST(code_of([&] { d.drop(id); }) == errc::mismatch, id);
    BOOST_TEST(code_of([&] { d.create(id, columns); }) == errc::mismatch, id);
    BOOST_TEST(code_of([&] { d.check(id, columns); }) == errc::mismatch, id);
  }
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name = 'people'").size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_table_that_somebody_else_makes_while_a_drop_waits_is_not_dropped) {
  stash::detail::sqlite_connection const other{file};
  std::optional<stash::detail::sqlite_transaction> transaction{std::in_place, other, "test", ""};
  other.execute("CREATE TABLE orders (name)", "test", {});
  auto dropping = std::async(std::launch::async, [&] { return code_of([&] { d.drop("orders"); }); });
  std::this_thread::sleep_for(std::chrono::milliseconds{200});
  transaction->commit();
  BOOST_TEST(dropping.get() == errc::mismatch);
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name = 'orders'").size() == 1U);
}

BOOST_AUTO_TEST_CASE(finishing_what_is_not_there_and_creating_twice_are_errors) {
  BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);
  d.create("orders", columns);
  BOOST_TEST(bool(code_of([&] { d.create("orders", columns); })));
  BOOST_TEST(code_of([&] { d.finish("other"); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(an_error_names_the_operation_the_resource_the_file_and_sqlites_words) {
  BOOST_TEST(support::message_of([&] { d.rows("orders"); }) ==
             "rows \"orders\": " + file + ": no such table: orders: SQL logic error [sqlite:1]");
  json::object const no_json{{"scale", std::numeric_limits<double>::quiet_NaN()}};
  auto const why = [](char const* operation) {
    return operation + " \"orders\": a number that is not finite, at field \"id\": "s +
           make_error_code(errc::unserializable).message() + " [stash:5]";
  };
  BOOST_TEST(support::message_of([&] { d.create("orders", {{"id", "text", no_json}}); }) == why("create"));
  BOOST_TEST(support::message_of([&] { d.create("orders", {{"id", "text", {}, no_json}}); }) == why("create"));
  d.create("orders", columns);
  d.finish("orders");
  BOOST_TEST(support::message_of([&] { d.annotate("orders", {{"id", no_json}}); }) == why("annotate"));
  support::write(root / "not-sqlite", std::string(1000, 'x'));
  auto const open = [&] { ckan::sqlite_datastore other{(root / "not-sqlite").native()}; };
  BOOST_TEST(code_of(open).message() == "file is not a database");
  BOOST_TEST(bool(code_of([&] { ckan::sqlite_datastore other{(root / "no" / "such").native()}; })));
}

BOOST_AUTO_TEST_CASE(a_forked_child_may_destroy_an_inherited_one_without_harm) {
  d.create("orders", columns);
  auto* const inherited = new ckan::sqlite_datastore{file};
  BOOST_TEST(support::in_child([&] {
               delete inherited;
               return 0;
             }) == 0);
  inherited->finish("orders");
  delete inherited;
  BOOST_TEST((d.describe("orders") == columns));
}

BOOST_AUTO_TEST_CASE(a_forked_child_that_destroys_an_inherited_one_spoils_no_transaction_of_its_parent) {
  d.create("orders", columns);
  auto shared = std::make_unique<ckan::sqlite_datastore>(file);
  auto const run = [&](char const* sql) {
    return ::sqlite3_exec(shared->native_handle(), sql, nullptr, nullptr, nullptr);
  };
  run("PRAGMA cache_size = 1");  // so that much of the transaction is in the file already
  BOOST_REQUIRE(run("BEGIN IMMEDIATE; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
                    " INSERT INTO orders (id, day) SELECT i, 'x' FROM n") == SQLITE_OK);
  BOOST_TEST(support::in_child([&] { return shared.reset(), 0; }) == 0);
  BOOST_TEST(run("COMMIT") == SQLITE_OK);
  BOOST_TEST(shared->rows("orders") == 20'000U);
  BOOST_TEST((query("PRAGMA integrity_check") == std::vector{"ok"s}));
}

BOOST_AUTO_TEST_CASE(on_a_read_only_file_system_a_resource_is_described_and_not_changed,
                     *boost::unit_test::precondition(may_mount_read_only)) {
  d.create("orders", columns);
  d.finish("orders");
  int const result = support::where_nothing_can_be_written(root, [&] {
    ckan::sqlite_datastore there{file};
    bool const is_read = there.describe("orders") == columns && there.rows("orders") == 0;
    bool const is_refused = code_of([&] { there.drop("orders"); }) ==
                            boost::system::error_code(SQLITE_READONLY, stash::detail::sqlite_category());
    return (is_read ? 0 : 1) + (is_refused ? 0 : 2);
  });
  BOOST_TEST(result == 0);
  BOOST_TEST((d.describe("orders") == columns));
}

BOOST_AUTO_TEST_CASE(several_may_be_the_first_to_open_a_file) {
  for (int i = 0; i < 100; ++i) {
    std::string const fresh = (root / ("fresh " + std::to_string(i))).native();
    std::atomic<int> here{0}, failed{0};
    std::vector<std::thread> all;
    for (int n = 0; n < 3; ++n) {
      all.emplace_back([&] {
        ++here;
        while (here < 3) std::this_thread::yield();
        failed += code_of([&] { ckan::sqlite_datastore{fresh}; }).failed();
      });
    }
    for (auto& one : all) one.join();
    BOOST_TEST(failed == 0);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_datastore_test
