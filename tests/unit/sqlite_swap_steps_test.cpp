// The steps of a swap in an SQLite file, each of which may fail, be waited for, or be the last: others who write,
// kills, calls of SQLite that fail, what people type meanwhile.
#include <sqlite3.h>

#include <csignal>
#include <stash/ckan/recover.hpp>
#include <stash/storage/memory.hpp>
#include <thread>

#include "faulty_vfs.hpp"
#include "figures.hpp"
#include "hooked_datastore.hpp"
#include "sqlite_swap_fixture.hpp"

namespace sqlite_swap_test {

namespace {

struct full_storage : stash::memory_storage {
  bool is_full = false;
  void put(stash::key const& k, stash::record const& r) {
    if (is_full) throw stash::error{make_error_code(boost::system::errc::no_space_on_device), "put", k.string()};
    memory_storage::put(k, r);
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(sqlite_swap, fixture)

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_in_wal_mode_is_reloaded_all_the_same) {
  support::faulty_vfs const plain{[](std::string_view) { return SQLITE_OK; }, false};
  std::string const there = (root / "plain.sqlite").native();
  ckan::sqlite_datastore one{there};
  for (int i = 0; i < 2; ++i) ckan::reload(one, store, "orders", headers, loading(one, other_rows));
  BOOST_TEST(one.rows("orders") == 2U);
}

/// The table has the old rows or the new ones, and the words, and what hung on it.
BOOST_AUTO_TEST_CASE(whichever_call_of_sqlite_fails_the_table_is_the_old_one_or_the_new_one) {
  std::size_t tried = 0, failed = 0, bad = 0;
  for (int const code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
    for (bool const all_later : {false, true}) {
      bool has_failed = true;
      for (int fails_at = 0; has_failed; ++fails_at) {
        support::scratch place;
        std::string const there = (place.root / "one.sqlite").native();
        stash::file_stash words{place.dir()};
        std::vector<row> const old_rows{row{"1", "a"}, row{"2", "b"}};
        {
          ckan::sqlite_datastore one{there};
          ckan::reload(one, words, "orders", headers, loading(one, old_rows));
          one.annotate("orders", {{"day", json::object{{"label", "Day"}}}});
          ::sqlite3_exec(one.native_handle(), "CREATE INDEX by_day ON orders (day)", nullptr, nullptr, nullptr);
        }
        has_failed = false;
        boost::system::error_code problem;
        {
          int calls = 0;
          support::faulty_vfs const faulty{[&](std::string_view) {
            bool const fails = calls == fails_at || (all_later && calls > fails_at);
            ++calls;
            has_failed = has_failed || fails;
            return fails ? code : SQLITE_OK;
          }};
          problem = code_of([&] {
            ckan::sqlite_datastore one{there};
            ckan::reload(one, words, "orders", headers, loading(one, other_rows),
                         {.guard = {.observer = stash::silent}});
          });
          calls = -1'000'000;  // the disk is well again, before what was opened is closed
        }
        ckan::sqlite_datastore one{there};
        stash::detail::sqlite_connection const connection{there};
        auto const text = [&](char const* sql) {
          stash::detail::sqlite_statement found{connection, sql, "test", {}};
          return found.step() ? found.text(0).value_or("") : "";
        };
        auto const days = text("SELECT group_concat(day, ',') FROM (SELECT day FROM orders ORDER BY _id)");
        auto const live = one.describe("orders");
        bool const is_whole = (days == "a,b" || (days == "c,d")) && (problem || days == "c,d") && live &&
                              live->at(1).info == json::object{{"label", "Day"}} &&
                              text("SELECT tbl_name FROM sqlite_schema WHERE name = 'by_day'") == "orders";
        BOOST_TEST_INFO("call " << fails_at << " fails with " << code << ": " << problem.message() << ", " << days);
        BOOST_TEST(is_whole);
        ckan::reload(one, words, "orders", headers, loading(one, other_rows), {.guard = {.observer = stash::silent}});
        bool const is_clean = one.leftovers().empty() && words.entries().empty() && one.rows("orders") == 2U;
        BOOST_TEST(is_clean);
        ++tried;
        failed += bool(problem);
        bad += !is_whole || !is_clean;
      }
    }
  }
  BOOST_TEST(tried > 100U);
  BOOST_TEST(failed > 80U);
  support::figure("every call fails", "each call of SQLite by a swap, and all later ones", tried, bad);
}

/// A second reload begins at each step of the first, with the same stash or another.
BOOST_AUTO_TEST_CASE(a_second_reload_at_any_step_leaves_a_whole_table_of_one_of_them) {
  make();
  execute("CREATE INDEX by_day ON orders (day)");
  stash::file_stash elsewhere{root / "elsewhere"};
  auto const words = d.describe("orders")->at(1).info;
  std::vector<row> const second_rows{row{"5", "e"}, row{"6", "f"}};
  for (auto const keep : {ckan::keep::everything, ckan::keep::words}) {
    for (bool const has_same_stash : {true, false}) {
      std::size_t steps = 1;
      for (std::size_t second_at = 0; second_at < steps; ++second_at) {
        ckan::sqlite_datastore other{file};
        ::sqlite3_busy_timeout(other.native_handle(), 1);
        std::size_t step = 0;
        std::optional<boost::system::error_code> second;
        std::string where;
        support::hooked_datastore<ckan::sqlite_datastore> hooked{
            d, [&](std::string_view at) {
              if (step++ != second_at) return;
              where = at;
              second = code_of([&] {
                ckan::reload(other, has_same_stash ? store : elsewhere, "orders", headers, loading(other, second_rows),
                             {.guard = {.observer = stash::silent}, .keep = keep});
              });
            }};
        auto const first = code_of([&] {
          ckan::reload(hooked, store, "orders", headers, loading(d, other_rows),
                       {.guard = {.observer = stash::silent}, .keep = keep});
        });
        steps = std::max(steps, step);
        auto const context = "at " + where + (has_same_stash ? ", the same stash: " : ", another: ") + first.message() +
                             "; " + second.value_or(first).message() + (keep == ckan::keep::words ? "; words" : "");
        BOOST_TEST_REQUIRE(second.has_value());
        if (has_same_stash) BOOST_TEST((*second == errc::busy || where == "describe" || where == "after the swap"));
        BOOST_TEST((!first || !*second || keep == ckan::keep::words));
        auto const days = query("SELECT day FROM orders ORDER BY _id");
        bool const is_one = days == std::vector{"c"s, "d"s} || days == std::vector{"e"s, "f"s};
        BOOST_TEST((is_one || keep == ckan::keep::words));
        // With another stash nothing keeps two from dropping at once: then the words may be in the record alone.
        if (!d.describe("orders")) ckan::recover(d, store, {.observer = stash::silent});
        BOOST_TEST_INFO(context);
        BOOST_TEST((d.describe("orders")->at(1).info == words || !store.entries().empty()));
        if (keep == ckan::keep::everything) {
          BOOST_TEST((query("SELECT tbl_name FROM sqlite_schema WHERE name = 'by_day'") == std::vector{"orders"s}));
        }
        reload(other_rows);
        BOOST_TEST_INFO(context);
        BOOST_TEST((d.describe("orders")->at(1).info == words));
        BOOST_TEST((d.leftovers().empty() && store.entries().empty()));
        for (auto const& e : elsewhere.entries()) elsewhere.storage().erase(stash::key(e.key));
      }
      BOOST_TEST(steps > 5U);
    }
  }
}

BOOST_AUTO_TEST_CASE(words_that_were_taken_away_while_a_table_waited_are_not_on_it) {
  make();
  d.annotate("orders", {{"id", json::object{{"label", "Id"}}}});
  support::hooked_datastore<ckan::sqlite_datastore> waiting{d, [](std::string_view step) {
                                                              if (step == "amid the swap")
                                                                throw stash::error{errc::busy, "stop"};
                                                            }};
  BOOST_TEST(code_of([&] { ckan::reload(waiting, store, "orders", headers, loading(d, other_rows)); }) == errc::busy);
  support::hooked_datastore<ckan::sqlite_datastore> clearing{
      d, [&](std::string_view step) {
        if (step == "swap") execute("UPDATE _stash_field SET info = NULL WHERE id = 'day' AND resource_id = 'orders'");
      }};
  ckan::finish_reload(clearing, store, "orders");
  auto const live = d.describe("orders");
  BOOST_TEST((live->at(0).info == json::object{{"label", "Id"}}));
  BOOST_TEST(!live->at(1).info);
}

BOOST_AUTO_TEST_CASE(a_reload_that_cannot_be_ended_leaves_its_record_where_it_is) {
  make();
  store.save("orders", ckan::data_dictionary{{"day", json::object{{"label", "stashed"}}}});
  d.drop("orders");
  BOOST_TEST(code_of([&] { ckan::finish_reload(d, store, "orders"); }) == errc::mismatch);
  BOOST_TEST(store.entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_table_that_somebody_deletes_while_a_reload_fails_stays_deleted) {
  make();
  auto const deleting = [&](auto const&) {
    ckan::sqlite_datastore{file}.drop("orders");
    throw std::runtime_error("after all");
  };
  BOOST_CHECK_THROW(ckan::reload(d, store, "orders", headers, deleting, {.guard = {.observer = stash::silent}}),
                    std::runtime_error);
  BOOST_TEST(!d.describe("orders"));
  BOOST_TEST(store.entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_record_that_tells_what_was_left_behind_is_one_of_words_all_the_same) {
  make();
  store.save("orders", ckan::data_dictionary{{"day", json::object{{"label", "stashed"}}},
                                             {"_left_behind", json::array{"an index"}}});
  d.drop("orders");
  auto const report = reload(other_rows);
  BOOST_TEST((report.unplaced.empty() && report.origin == stash::origin::adopted));
  BOOST_TEST((d.describe("orders")->at(1).info == json::object{{"label", "stashed"}}));
  // And where it fails after its end, they are found to stand there.
  store.save("orders", ckan::data_dictionary{{"day", json::object{{"label", "stashed"}}},
                                             {"_left_behind", json::array{"an index"}}});
  d.drop("orders");
  support::hooked_datastore<ckan::sqlite_datastore> failing{d, [](std::string_view step) {
                                                              if (step == "after the swap")
                                                                throw std::runtime_error("after all");
                                                            }};
  bool is_restored = false;
  auto const observer = [&](stash::event const& e) {
    is_restored = is_restored || e.kind == stash::event_kind::restored;
  };
  BOOST_CHECK_THROW(
      ckan::reload(failing, store, "orders", headers, loading(d, other_rows), {.guard = {.observer = observer}}),
      std::runtime_error);
  BOOST_TEST(is_restored);
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(where_a_failed_save_is_forgiven_the_reload_goes_on_without_a_record) {
  make();
  d.annotate("orders", {{"day", json::object{{"label", "typed"}}}});
  stash::basic_stash<full_storage> failing;
  auto const forgiving = [&] {
    failing.storage().is_full = true;
    return ckan::reload(d, failing, "orders", headers, loading(d, other_rows),
                        {.guard = {.best_effort = true, .observer = stash::silent}});
  };
  BOOST_TEST(forgiving().origin == stash::origin::live);
  BOOST_TEST(d.rows("orders") == 2U);
  // And where a record of a reload that would have dropped the table says the same already.
  failing.storage().is_full = false;
  failing.save("orders", ckan::dictionary_of(*d.describe("orders")));
  BOOST_TEST(forgiving().origin == stash::origin::live);
  BOOST_TEST(d.rows("orders") == 2U);
  BOOST_TEST((d.describe("orders")->at(1).info == json::object{{"label", "typed"}}));
}

BOOST_AUTO_TEST_CASE(words_on_a_half_built_table_without_a_record_are_kept) {
  d.create("orders", {{"id", "numeric", std::nullopt}, {"day", "date", json::object{{"label", "typed since"}}}});
  reload(other_rows);
  BOOST_TEST((d.describe("orders")->at(1).info == json::object{{"label", "typed since"}}));
}

BOOST_AUTO_TEST_CASE(a_table_that_somebody_dropped_in_sqlite_is_gone) {
  make();
  execute("DROP TABLE orders");
  BOOST_TEST((!d.describe("orders") && !d.unfinished("orders") && d.remarks("orders").empty()));
  d.create("orders", headers);
  d.finish("orders");
  BOOST_TEST(d.describe("orders").has_value());
  store.save("orders", ckan::data_dictionary{{"day", json::object{{"label", "Day"}}}});
  execute("DROP TABLE orders");
  BOOST_TEST(ckan::recover(d, store, {.observer = stash::silent}).restored == 1U);
  BOOST_TEST((d.describe("orders")->at(0).info == json::object{{"label", "Day"}}));
  execute("DROP TABLE orders");
  reload(other_rows);
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(recover_leaves_to_others_what_they_are_building) {
  make();
  d.build("orders", headers);
  auto const lock = store.storage().try_lock("orders");
  ckan::recover(d, store);
  BOOST_TEST((d.leftovers() == std::vector{"orders"s}));
}

BOOST_AUTO_TEST_CASE(what_is_typed_meanwhile_is_on_the_new_table) {
  make();
  auto const report = ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
    ckan::sqlite_datastore person{file};
    person.annotate("orders", {{"id", json::object{{"label", "typed meanwhile"}}}});
    execute("UPDATE _stash_field SET info = NULL WHERE id = 'day' AND resource_id = 'orders'");
    loading(d, other_rows)(created);
  });
  BOOST_TEST(report.unplaced.empty());
  auto const live = d.describe("orders");
  BOOST_TEST((live->at(0).info == json::object{{"label", "typed meanwhile"}}));
  BOOST_TEST(!live->at(1).info);
  ckan::reload(d, store, "orders", {{"day", "text", std::nullopt}}, [&](ckan::fields const&) {
    ckan::sqlite_datastore{file}.annotate("orders", {{"id", json::object{{"label", "at the last moment"}}}});
  });
  auto const aside = store.set_aside_entries();
  BOOST_TEST_REQUIRE(aside.size() == 1U);
  BOOST_TEST(payload_of(aside[0]).find("at the last moment") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(readers_see_the_old_rows_until_the_new_ones_are_there) {
  make();
  std::vector<row> many(30'000, row{"5", "e"});
  stash::detail::sqlite_connection reader{file};
  ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
    loading(d, many)(created);
    stash::detail::sqlite_statement count{reader, "SELECT count(*) FROM orders", "test", {}};
    BOOST_TEST((count.step() && count.integer(0) == 2));
  });
  BOOST_TEST(d.rows("orders") == many.size());
}

BOOST_AUTO_TEST_CASE(a_writer_in_the_way_is_waited_for_as_long_as_patience_says) {
  make();
  auto const before = content();
  ::sqlite3_busy_timeout(d.native_handle(), 50);
  std::optional<stash::detail::sqlite_connection> other;
  std::optional<stash::detail::sqlite_transaction> writing;
  int waited = 0;
  auto const load = [&](ckan::fields const& created) {
    loading(d, other_rows)(created);
    other.emplace(file);
    writing.emplace(*other, "test", "other");
  };
  auto const waiting = [&](std::string const&) { ++waited; };
  BOOST_TEST(code_of([&] {
               ckan::reload(d, store, "orders", headers, load, {.patience = 300ms, .waiting = waiting});
             }) == errc::busy);
  BOOST_TEST(waited == 1);
  writing.reset();
  BOOST_TEST(d.rows("orders") == 2U);
  ckan::sqlite_datastore another{file};
  BOOST_TEST(code_of([&] { ckan::finish_reload(another, store, "orders"); }) == errc::mismatch);  // nobody could say
  auto const report = ckan::finish_reload(d, store, "orders");
  BOOST_TEST(report.origin == stash::origin::live);
  BOOST_TEST((query("SELECT day FROM orders ORDER BY _id") == std::vector{"c"s, "d"s}));
  BOOST_TEST((another.describe("orders")->at(1).info == json::object{{"label", "Day"}}));
  BOOST_TEST(code_of([&] { ckan::finish_reload(another, store, "orders"); }) == errc::mismatch);
  BOOST_TEST(store.entries().empty());
  reload({row{"1", "a"}, row{"2", "b"}});
  BOOST_TEST(content() == before, boost::test_tools::per_element());
  auto const let_go = [&](std::string const&) { writing.reset(); };
  ckan::reload(d, store, "orders", headers, load, {.waiting = let_go});
  BOOST_TEST(d.rows("orders") == 2U);
}

BOOST_AUTO_TEST_CASE(another_reload_takes_what_is_built_and_the_first_ends_with_all_as_it_is) {
  make();
  stash::memory_stash another;
  ckan::sqlite_datastore second{file};
  BOOST_TEST(code_of([&] {
               ckan::reload(d, store, "orders", headers, [&](ckan::fields const& created) {
                 loading(d, {row{"9", "x"}})(created);
                 ckan::reload(second, another, "orders", headers, loading(second, other_rows));
               });
             }) == errc::mismatch);
  BOOST_TEST((query("SELECT day FROM orders ORDER BY _id") == std::vector{"c"s, "d"s}));
  second.build("orders", headers);
  BOOST_TEST(code_of([&] { d.swap_in("orders"); }) == errc::mismatch);  // not its own
}

BOOST_AUTO_TEST_CASE(a_process_killed_anywhere_leaves_the_old_table_or_the_new_one) {
  make();
  execute("CREATE INDEX by_day ON orders (day); CREATE VIEW alias AS SELECT id FROM orders;");
  auto const structure = content(false).size();
  for (int at = 0; at < 60; ++at) {
    int const status = support::in_child([&] {
      ckan::sqlite_datastore one{file};
      int left = at;
      ::sqlite3_progress_handler(
          one.native_handle(), 20,
          [](void* n) {
            if (--*static_cast<int*>(n) < 0) ::raise(SIGKILL);
            return 0;
          },
          &left);
      stash::memory_stash own;
      ckan::reload(one, own, "orders", headers,
                   loading(one, at % 2 == 0 ? other_rows : std::vector{row{"1", "a"}, row{"2", "b"}}));
      return 0;
    });
    BOOST_TEST((status == 0 || status == 256 + SIGKILL));
    auto const days = query("SELECT day FROM orders ORDER BY _id");
    BOOST_TEST((days == std::vector{"c"s, "d"s} || days == std::vector{"a"s, "b"s}), "killed at " << at);
    BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name IN ('by_day', 'alias')").size() == 2U);
    BOOST_TEST((ckan::sqlite_datastore{file}.describe("orders")->at(1).info == json::object{{"label", "Day"}}));
  }
  reload(other_rows);
  BOOST_TEST(content(false).size() == structure);
  d.build("orders", headers);
  ckan::sqlite_datastore{file}.discard("orders");
  BOOST_TEST(content(false).size() == structure);
}

BOOST_AUTO_TEST_CASE(recover_removes_what_was_built_and_brings_no_deleted_resource_back) {
  make();
  auto const dies = [&](ckan::keep keep) {
    return support::in_child([&] {
      ckan::sqlite_datastore one{file};
      ckan::reload(one, store, "orders", headers, [&](auto const&) { ::raise(SIGKILL); }, {.keep = keep});
      return 0;
    });
  };
  auto const recover = [&] { return ckan::recover(d, store, {.observer = stash::silent}); };
  BOOST_TEST(dies(ckan::keep::everything) == 256 + SIGKILL);
  BOOST_TEST(store.entries().size() == 1U);
  BOOST_TEST(recover().live == 1U);
  BOOST_TEST(query("SELECT name FROM sqlite_schema WHERE name LIKE '%beside%'").empty());
  BOOST_TEST(store.entries().size() == 1U);
  d.drop("orders");  // on purpose
  BOOST_TEST(code_of([&] { ckan::recreate(d, "orders", *store.load<json::object>("orders")); }) == errc::mismatch);
  auto const report = recover();
  BOOST_TEST(report.restored == 0U);
  BOOST_TEST_REQUIRE(report.failed.size() == 1U);
  auto const why = message_of([&] { std::rethrow_exception(report.failed[0].second); });
  BOOST_TEST(why.find("deleted on purpose") != std::string::npos);
  BOOST_TEST(!d.describe("orders"));
  BOOST_TEST(store.entries().empty());
  auto const aside = store.set_aside_entries();
  BOOST_TEST_REQUIRE(aside.size() == 1U);
  BOOST_TEST(payload_of(aside[0]).find("\"Day\"") != std::string::npos);
  BOOST_TEST(recover().failed.empty());
  // What a reload has dropped comes back.
  make();
  BOOST_TEST(dies(ckan::keep::words) == 256 + SIGKILL);
  BOOST_TEST(recover().restored == 1U);
  BOOST_TEST((d.describe("orders")->at(0).info == json::object{{"label", "Day"}}));
  // And the same words, left by one way, are not set aside by the other.
  BOOST_TEST(dies(ckan::keep::everything) == 256 + SIGKILL);
  reload(other_rows, {.keep = ckan::keep::words});
  BOOST_TEST(dies(ckan::keep::words) == 256 + SIGKILL);
  reload(other_rows);
  BOOST_TEST(store.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(what_people_typed_into_a_table_that_a_dead_reload_left_is_newer_than_the_record) {
  make();
  for (auto const keep : {ckan::keep::words, ckan::keep::everything}) {
    auto const before = store.set_aside_entries().size();
    BOOST_TEST(support::in_child([&] {
                 ckan::sqlite_datastore one{file};
                 ckan::reload(one, store, "orders", headers, [](auto const&) { ::raise(SIGKILL); },
                              {.keep = ckan::keep::words});
                 return 0;
               }) == 256 + SIGKILL);
    execute("UPDATE _stash_field SET info = '{\"label\":\"typed since\"}' WHERE id = 'id'");
    reload(other_rows, {.guard = {.observer = stash::silent}, .keep = keep});
    BOOST_TEST((d.describe("orders")->at(0).info == json::object{{"label", "typed since"}}));
    BOOST_TEST((d.describe("orders")->at(1).info == json::object{{"label", "Day"}}));
    BOOST_TEST(store.set_aside_entries().size() == before + 1);
    execute("UPDATE _stash_field SET info = NULL WHERE id = 'id'");
  }
}

BOOST_AUTO_TEST_CASE(a_swap_survives_the_power_cut_when_it_returns) {
  make();
  auto const synchronous = [&] {
    sqlite3_stmt* found = nullptr;
    ::sqlite3_prepare_v2(d.native_handle(), "PRAGMA synchronous", -1, &found, nullptr);
    ::sqlite3_step(found);
    int const level = ::sqlite3_column_int(found, 0);
    ::sqlite3_finalize(found);
    return level;
  };
  int amid = 0;
  ckan::reload(d, store, "orders", headers, [&](ckan::fields const&) { amid = synchronous(); });
  BOOST_TEST(amid == 1);           // NORMAL
  BOOST_TEST(synchronous() == 2);  // FULL
  BOOST_CHECK_THROW(ckan::reload(d, store, "orders", headers, [](auto const&) { throw std::runtime_error("x"); }),
                    std::runtime_error);
  BOOST_TEST(synchronous() == 2);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_swap_test
