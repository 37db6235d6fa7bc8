#include <map>
#include <stash/ckan/reload.hpp>

#include "support.hpp"

namespace reload_test {

using namespace std::string_literals;
using stash::errc;
using stash::origin;
using support::code_of;
namespace ckan = stash::ckan;
namespace json = boost::json;

namespace {

json::object object(char const* text) { return json::parse(text).as_object(); }

/// Tables in memory; each step can be told to fail before or after it did its work.
struct fake_datastore {
  struct table {
    ckan::fields fields;
    bool finished = false;
    int rows = 0;
  };
  std::map<std::string, table, std::less<>> tables;
  std::string calls, fail_before, fail_after;

  void step(std::string const& name, std::string& fail) {
    if (fail != name) return;
    fail.clear();
    throw std::runtime_error(name + " failed");
  }
  template <class F>
  void run(std::string const& name, F f) {
    calls += name + " ";
    step(name, fail_before);
    f();
    step(name, fail_after);
  }
  std::optional<ckan::fields> describe(std::string_view id) {
    std::optional<ckan::fields> result;
    run("describe", [&] {
      auto const found = tables.find(id);
      if (found != tables.end() && found->second.finished) result = found->second.fields;
    });
    return result;
  }
  void create(std::string_view id, ckan::fields const& f) {
    run("create", [&] {
      if (!tables.try_emplace(std::string(id), table{f}).second) throw std::runtime_error("exists");
    });
  }
  void finish(std::string_view id) {
    run("finish", [&] { tables.find(id)->second.finished = true; });
  }
  void drop(std::string_view id) {
    run("drop", [&] { tables.erase(std::string(id)); });
  }
};

struct fixture {
  fake_datastore d;
  stash::memory_stash store;
  support::event_log log;
  ckan::fields const headers{{"id", "text", std::nullopt}, {"day", "text", std::nullopt}};
  json::object const words = object(R"({"label":"Day","type_override":"date"})");

  void make_live(bool with_words) {
    ckan::fields f = headers;
    if (with_words) f[1].info = words;
    d.tables["orders"] = {f, true, 7};
  }
  ckan::reload_report reload(ckan::fields const& columns, stash::guard_options guard = {}) {
    d.calls.clear();
    guard.observer = log.observer();
    return ckan::reload(d, store, "orders", columns,
                        [&](ckan::fields const&) { d.run("load", [&] { d.tables["orders"].rows = 9; }); },
                        {.guard = guard});
  }
  bool fails(ckan::fields const& columns, stash::guard_options guard = {}) {
    try {
      reload(columns, guard);
      return false;
    } catch (std::runtime_error const&) {
      return true;
    }
  }
  bool record_stands() { return store.look_up("orders").state == stash::record_state::intact; }
  fake_datastore::table const* table() const {
    auto const found = d.tables.find("orders");
    return found == d.tables.end() ? nullptr : &found->second;
  }
  /// The table anew: no rows, and just the words.
  bool is_restored() const {
    auto const* const t = table();
    // By name: g++ 16 takes a temporary that is compared here for one that dangles, which it does not.
    ckan::fields const expected{{"day", "date", words}};
    return t != nullptr && t->finished && t->rows == 0 && t->fields == expected;
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(reload, fixture)

BOOST_AUTO_TEST_CASE(the_steps_come_in_order_and_the_words_are_in_the_new_table) {
  make_live(true);
  auto const report = reload(headers);
  BOOST_TEST(d.calls == "describe drop create load finish ");
  BOOST_TEST((report.origin == origin::live && !report.age && report.unplaced.empty()));
  BOOST_TEST((table()->finished && table()->rows == 9 && table()->fields[1] == ckan::field{"day", "date", words}));
  BOOST_TEST(log.kinds == "saved committed");
  BOOST_TEST(!record_stands());
}

BOOST_AUTO_TEST_CASE(a_first_upload_needs_no_record) {
  BOOST_TEST((reload(headers).origin == origin::none));
  BOOST_TEST((table()->finished && table()->rows == 9));
}

BOOST_AUTO_TEST_CASE(a_first_upload_that_fails_leaves_no_table) {
  for (char const* const step : {"create", "load", "finish"}) {
    d.fail_before = step;
    BOOST_TEST(fails(headers));
    BOOST_TEST(table() == nullptr, step);
  }
}

BOOST_AUTO_TEST_CASE(a_failure_before_the_drop_touches_nothing_and_keeps_the_record) {
  make_live(true);
  for (bool const clear : {false, true}) {
    ckan::fields bad = headers;
    json::object not_a_dictionary{{"day", 1}};
    store.save("orders", not_a_dictionary);
    d.tables.clear();  // adopted, and annotate refuses it
    BOOST_TEST(code_of([&] { reload(bad, {.clear_after_restore = clear}); }) == errc::mismatch);
    BOOST_TEST(d.calls == "describe ");
    BOOST_TEST(record_stands());
  }
  make_live(true);
  d.fail_before = "describe";
  BOOST_TEST(fails(headers));
  BOOST_TEST(d.calls == "describe ");
  BOOST_TEST(table()->rows == 7);
}

BOOST_AUTO_TEST_CASE(a_check_that_refuses_comes_before_the_drop) {
  struct checking : fake_datastore {
    void check(std::string_view, ckan::fields const&) { throw std::invalid_argument("no such column"); }
  } strict;
  strict.tables["orders"] = {{{"day", "text", words}}, true, 7};
  auto const run = [&] { ckan::reload(strict, store, "orders", headers, [](ckan::fields const&) {}); };
  BOOST_CHECK_THROW(run(), std::invalid_argument);
  BOOST_TEST(strict.calls == "describe ");
  BOOST_TEST(strict.tables["orders"].rows == 7);
  BOOST_TEST(record_stands());
}

BOOST_AUTO_TEST_CASE(a_drop_that_threw_and_dropped_nothing_leaves_every_row) {
  make_live(true);
  d.fail_before = "drop";
  BOOST_TEST(fails(headers));
  BOOST_TEST(d.calls == "describe drop describe ");
  BOOST_TEST(table()->rows == 7);
  make_live(false);
  d.fail_before = "drop";
  BOOST_TEST(fails(headers));
  BOOST_TEST(table()->rows == 7);
}

BOOST_AUTO_TEST_CASE(a_drop_that_threw_after_its_work_is_restored) {
  make_live(true);
  d.fail_after = "drop";
  BOOST_TEST(fails(headers));
  BOOST_TEST(is_restored());
}

BOOST_AUTO_TEST_CASE(a_failure_after_the_drop_brings_the_words_back_with_zero_rows) {
  for (char const* const step : {"create", "load", "finish"}) {
    for (bool const after : {false, true}) {
      if (after && step == "finish"s) continue;
      make_live(true);
      log = {};
      (after ? d.fail_after : d.fail_before) = step;
      BOOST_TEST(fails(headers));
      BOOST_TEST(is_restored(), step);
      BOOST_TEST(log.kinds == "saved restored");
      BOOST_TEST(record_stands());
    }
  }
}

BOOST_AUTO_TEST_CASE(a_table_that_was_finished_before_the_failure_stays_whole) {
  for (bool const with_words : {false, true}) {
    make_live(with_words);
    d.fail_after = "finish";
    BOOST_TEST(fails(headers));
    BOOST_TEST((table()->finished && table()->rows == 9));
  }
}

BOOST_AUTO_TEST_CASE(a_live_table_without_the_words_is_left_alone_and_their_record_kept) {
  // The drop did nothing, and the adopted words are in no table: that is no restore, and nothing may be cleared.
  make_live(false);
  store.save("orders", json::object{{"day", words}});
  d.fail_before = "drop";
  BOOST_TEST(fails(headers, {.clear_after_restore = true}));
  BOOST_TEST(log.kinds == "adopted restore_failed");
  BOOST_TEST(table()->rows == 7);
  BOOST_TEST(record_stands());
  // Finished all the same, but without the column that some words are for.
  log = {};
  d.fail_after = "finish";
  BOOST_TEST(fails({{"id", "text", std::nullopt}}, {.clear_after_restore = true}));
  BOOST_TEST(log.kinds == "adopted restore_failed");
  BOOST_TEST(table()->rows == 9);
  BOOST_TEST(record_stands());
}

BOOST_AUTO_TEST_CASE(words_typed_while_a_drop_fails_are_not_overwritten_by_older_ones) {
  make_live(true);
  json::object const newer{{"label", "newer"}};
  struct typed : fake_datastore {
    json::object words;
    void drop(std::string_view) {
      tables["orders"].fields[1].info = words;
      throw std::runtime_error("locked");
    }
  } b;
  b.tables = d.tables;
  b.words = newer;
  auto const run = [&] { ckan::reload(b, store, "orders", headers, [](ckan::fields const&) {}); };
  BOOST_CHECK_THROW(run(), std::runtime_error);
  BOOST_TEST((b.tables["orders"].fields[1].info == newer && b.tables["orders"].rows == 7));
  BOOST_TEST(record_stands());
}

BOOST_AUTO_TEST_CASE(words_without_a_column_and_without_a_record_stop_the_reload_before_the_drop) {
  make_live(true);
  support::scratch place;
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> full{place.dir(), stash::file_options{}, ops};
  *ops.before = [](std::string_view call) { return call == "writev" ? ENOSPC : 0; };
  auto const run = [&](ckan::fields const& columns) {
    ckan::reload(d, full, "orders", columns, [](ckan::fields const&) {}, {.guard = {.best_effort = true}});
  };
  BOOST_TEST(code_of([&] { run({{"id", "text", std::nullopt}}); }) == support::os(ENOSPC));
  BOOST_TEST(table()->rows == 7);
  run(headers);
  BOOST_TEST((table()->fields[1].info == words));
}

BOOST_AUTO_TEST_CASE(a_restore_that_fails_keeps_the_record_and_the_next_reload_adopts_it) {
  make_live(true);
  struct broken : fake_datastore {
    int creates_that_fail = 2;
    void create(std::string_view id, ckan::fields const& f) {
      if (creates_that_fail-- > 0) throw std::runtime_error("disk full");
      fake_datastore::create(id, f);
    }
  } b;
  b.tables = d.tables;
  auto const run = [&] {
    return ckan::reload(b, store, "orders", headers, [](ckan::fields const&) {},
                        {.guard = {.observer = log.observer()}});
  };
  BOOST_CHECK_THROW(run(), std::runtime_error);
  BOOST_TEST(log.kinds == "saved restore_failed");
  BOOST_TEST(record_stands());
  auto const report = run();
  BOOST_TEST((report.origin == origin::adopted && report.age));
  BOOST_TEST((b.tables["orders"].fields[1] == ckan::field{"day", "date", words}));
  BOOST_TEST(!record_stands());
}

BOOST_AUTO_TEST_CASE(where_it_cannot_be_seen_whether_the_drop_worked_nothing_is_dropped_again) {
  make_live(true);
  struct blind : fake_datastore {
    int described = 0;
    std::optional<ckan::fields> describe(std::string_view id) {
      if (++described > 1) throw std::runtime_error("connection lost");
      return fake_datastore::describe(id);
    }
  } b;
  b.tables = d.tables;
  b.fail_before = "drop";
  auto const run = [&] {
    ckan::reload(b, store, "orders", headers, [](ckan::fields const&) {}, {.guard = {.observer = log.observer()}});
  };
  BOOST_CHECK_THROW(run(), std::runtime_error);
  BOOST_TEST(b.tables["orders"].rows == 7);
  BOOST_TEST(log.kinds == "saved restore_failed");
  BOOST_TEST(record_stands());
}

BOOST_AUTO_TEST_CASE(an_unfinished_table_is_not_live_and_the_next_reload_drops_it) {
  make_live(true);
  store.save("orders", json::object{{"day", words}});
  d.tables["orders"].finished = false;
  d.tables["orders"].fields[1].info.reset();
  auto const report = reload(headers);
  BOOST_TEST((report.origin == origin::adopted));
  BOOST_TEST((table()->fields[1].info == words && table()->rows == 9));
}

BOOST_AUTO_TEST_CASE(a_live_table_without_words_never_supersedes_a_record) {
  make_live(false);
  store.save("orders", json::object{{"day", words}});
  auto const report = reload(headers);
  BOOST_TEST((report.origin == origin::adopted));
  BOOST_TEST((table()->fields[1].info == words));
  BOOST_TEST(store.set_aside_entries().empty());
}

BOOST_AUTO_TEST_CASE(a_live_table_with_words_supersedes_a_stale_record) {
  make_live(true);
  store.save("orders", json::object{{"day", {{"label", "stale"}}}});
  BOOST_TEST((reload(headers).origin == origin::live));
  BOOST_TEST((table()->fields[1].info == words));
  BOOST_TEST(store.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(words_without_a_column_are_reported_and_set_aside_on_commit) {
  make_live(true);
  auto const report = reload({{"id", "text", std::nullopt}});
  BOOST_TEST((report.unplaced == std::vector{"day"s}));
  auto const kept = store.set_aside_entries();
  BOOST_REQUIRE(kept.size() == 1U);
  BOOST_TEST(kept[0].where.find("orders.unplaced-") != std::string::npos);
  BOOST_TEST(log.lines.back() == "stash: committed \"orders\", at " + kept[0].where);
  BOOST_TEST(!record_stands());
  BOOST_TEST(table()->rows == 9);
}

BOOST_AUTO_TEST_CASE(two_reloads_of_one_resource_exclude_each_other) {
  make_live(true);
  auto const inner = [&] { ckan::reload(d, store, "orders", headers, [](ckan::fields const&) {}); };
  ckan::reload(d, store, "orders", headers, [&](ckan::fields const&) {
    BOOST_TEST(code_of(inner) == errc::busy);
    d.tables["orders"].rows = 9;
  });
  BOOST_TEST((table()->rows == 9 && table()->fields[1].info == words));
}

namespace {
/// Has a place for what was written on a table itself.
struct with_remarks : fake_datastore {
  json::object written;
  json::object remarks(std::string_view id) { return tables.contains(id) ? written : json::object{}; }
  void create(std::string_view id, ckan::fields const& f, json::object const& remarks = {}) {
    fake_datastore::create(id, f);
    written = remarks;
  }
};
}  // namespace

BOOST_AUTO_TEST_CASE(what_was_written_on_the_table_itself_is_carried_over_by_a_datastore_that_has_a_place_for_it) {
  json::object const on_table{{"comment", "made by hand"}, {"columns", {{"_id", "key"}, {"_full_text", "search"}}}};
  for (bool const has_words : {false, true}) {
    with_remarks b;
    make_live(has_words);
    b.tables = d.tables;
    b.written = on_table;
    auto const run = [&](char const* fail) {
      b.fail_before = fail;
      return ckan::reload(b, store, "orders", headers, [&](ckan::fields const& created) {
        BOOST_TEST(created.size() == 2U);
        b.run("load", [] {});
      });
    };
    BOOST_TEST(run("").unplaced.empty());
    BOOST_TEST((b.written == on_table));
    BOOST_CHECK_THROW(run("load"), std::runtime_error);
    BOOST_TEST((b.written == on_table));
    BOOST_TEST(b.tables["orders"].fields.size() == (has_words ? 1U : 0U));
    b.tables.clear();
    b.written.clear();
    auto const report = run("");
    BOOST_TEST((report.origin == origin::adopted && report.unplaced.empty()));
    BOOST_TEST((b.written == on_table));
    store.clear("orders");
  }
}

BOOST_AUTO_TEST_CASE(what_was_written_on_what_the_new_table_does_not_have_is_reported_and_set_aside) {
  with_remarks b;
  make_live(true);
  b.tables = d.tables;
  b.written = {{"columns", {{"_id", "key"}, {"_other", "of a trigger"}}}};
  auto const saved = *ckan::detail::words_of(b, "orders");
  auto const report = ckan::reload(b, store, "orders", headers, [](ckan::fields const&) {});
  BOOST_TEST((report.unplaced == std::vector{"_other"s}));
  BOOST_TEST(store.set_aside_entries().size() == 1U);
  BOOST_TEST(code_of([&] { ckan::recreate(b, "orders", saved); }) == errc::mismatch);  // a recover keeps the record
  BOOST_TEST(b.tables["orders"].finished);
  d.tables.clear();
  store.save("orders", saved);  // of another datastore
  BOOST_TEST((reload(headers).unplaced == std::vector<std::string>{ckan::table_key}));
  BOOST_TEST(code_of([&] { ckan::recreate(d, "orders", saved); }) == errc::mismatch);
  BOOST_TEST(
      support::message_of([&] { ckan::recreate(d, "orders", saved); }).starts_with("recreate \"orders\": there is no"));
}

BOOST_AUTO_TEST_CASE(what_is_saved_of_the_table_in_another_form_is_a_mismatch_before_anything_is_touched) {
  for (json::object const& bad :
       {json::object{{ckan::table_key, 1}}, json::object{{ckan::table_key, {{"columns", 1}}}}}) {
    with_remarks b;
    store.save("orders", bad);
    auto const run = [&] { ckan::reload(b, store, "orders", headers, [](ckan::fields const&) {}); };
    BOOST_TEST(code_of(run) == errc::mismatch);
    BOOST_TEST(b.calls == "describe ");
    BOOST_TEST(record_stands());
  }
}

BOOST_AUTO_TEST_CASE(a_plain_remark_is_a_word_of_a_persons) {
  make_live(false);
  d.tables["orders"].fields[0].comment = "From SAP field VBELN";
  d.fail_before = "load";
  BOOST_TEST(fails(headers));
  BOOST_TEST((table()->fields[0].comment == "From SAP field VBELN"));
  BOOST_TEST((reload(headers).origin == origin::live));
  BOOST_TEST((table()->fields[0].comment == "From SAP field VBELN"));
  BOOST_TEST((reload({{"day", "text", std::nullopt}}).unplaced == std::vector{"id"s}));
}

BOOST_AUTO_TEST_CASE(recreate_is_the_restore_for_recover_and_can_run_twice) {
  store.save("orders", json::object{{"day", words}});
  d.tables["orders"] = {headers, false, 3};
  for (int run = 0; run < 2; ++run) {
    auto const report = stash::recover<json::object>(
        store, [&](auto const& k) { return d.describe(k).has_value(); },
        [&](auto const& k, auto const& saved) { ckan::recreate(d, k, saved); }, {.clear_after_restore = run == 1});
    BOOST_TEST(report.failed.empty());
    BOOST_TEST(is_restored());
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reload_test
