#include <array>
#include <limits>
#include <optional>
#include <stash/ckan/postgres_datastore.hpp>
#include <stash/ckan/reload.hpp>
#include <thread>

#include "faulty_libpq.hpp"
#include "figures.hpp"
#include "postgres.hpp"
#include "support.hpp"

namespace postgres_datastore_test {

using namespace std::chrono_literals;
using stash::errc;
using stash::sqlstate;
using support::client;
using support::code_of;
using support::code_of_any;
using support::info;
using support::message_of;
using support::missing_standby;
using support::schema;
using support::server;
namespace ckan = stash::ckan;
namespace json = boost::json;

namespace {

using row = std::array<std::optional<std::string_view>, 2>;

struct fixture : schema {
  ckan::postgres_datastore d{server(), {.schema = name}};
  client query;
  ckan::fields const columns{
      {"id", "numeric", json::object{{"label", "N°"}, {"scale", 0.1}}, json::object{{"plugin", 1}}},
      {"day", "date", std::nullopt}};

  std::string table(std::string const& of = "orders") const { return quoted() + ".\"" + of + '"'; }
  void write(std::string const& column, std::string const& text) {
    query("COMMENT ON COLUMN " + table() + ".\"" + column + "\" IS " + quoted_text(text));
  }
  void write(std::string const& text) { query("COMMENT ON TABLE " + table() + " IS " + quoted_text(text)); }
  std::string comment() {
    return query("SELECT coalesce(obj_description('" + table() + "'::regclass, 'pg_class'), '-')");
  }
  static std::string quoted_text(std::string const& text) {
    std::string out = "'";
    for (char const c : text) out += c == '\'' ? "''" : std::string(1, c);
    return out + '\'';
  }
  std::string comment(std::string const& column) {
    return query("SELECT coalesce(col_description(attrelid, attnum), '-') FROM pg_attribute WHERE attrelid = '" +
                 table() + "'::regclass AND attname = '" + column + "'");
  }
  void make(std::string const& id = "orders") {
    d.create(id, columns);
    d.finish(id);
  }
  void load(std::initializer_list<row> rows) {
    ckan::postgres_datastore::loader loader{d, "orders", columns};
    for (auto const& one : rows) loader.add(one);
    loader.finish();
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_datastore, fixture)

BOOST_AUTO_TEST_CASE(a_resource_is_live_when_it_is_finished_and_gone_when_it_is_dropped) {
  BOOST_TEST(!d.describe("orders"));
  d.create("orders", columns);
  BOOST_TEST(!d.describe("orders"));
  d.finish("orders");
  BOOST_TEST((d.describe("orders") == columns));
  BOOST_TEST((ckan::postgres_datastore{server(), {.schema = name}}.describe("orders") == columns));
  d.finish("orders");
  d.drop("orders");
  BOOST_TEST(!d.describe("orders"));
  d.drop("orders");
  d.create("orders", columns);
  d.drop("orders");  // unfinished ones go too
  BOOST_TEST(query("SELECT count(*)::text FROM pg_tables WHERE schemaname = '" + name + "'") == "0");
}

BOOST_AUTO_TEST_CASE(the_words_are_in_the_columns_comments_as_ckan_writes_them) {
  make();
  BOOST_TEST(comment("id") == " {\"_info\":{\"label\":\"N\u00b0\",\"scale\":1E-1},\"plugin\":1}");
  BOOST_TEST(comment("day") == "-");
  BOOST_TEST(query("SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM"
                   " pg_attribute WHERE attnum > 0 AND attrelid = '" +
                   table() + "'::regclass") == "_id integer, _full_text tsvector, id numeric, day date");
}

BOOST_AUTO_TEST_CASE(comments_of_all_times_are_read) {
  make();
  auto const found = [&](char const* text) {
    write("day", text);
    return d.describe("orders")->at(1);
  };
  auto const old_form = found("{\"label\":\"old\"}");
  BOOST_TEST((old_form == ckan::field{"day", "date", json::object{{"label", "old"}}, {}, "{\"label\":\"old\"}"}));
  BOOST_TEST((found(" {\"_info\":{\"label\":\"new\"},\"x\":[1]}") ==
              ckan::field{"day", "date", json::object{{"label", "new"}}, {{"x", json::array{1}}}}));
  BOOST_TEST((found(" {\"x\":1}") == ckan::field{"day", "date", std::nullopt, {{"x", 1}}}));
  BOOST_TEST((found(" {\"_info\":7}") == ckan::field{"day", "date", std::nullopt, {{"_info", 7}}}));
  for (char const* const none : {"typed by hand", "{half", "[]", "7", " ", "{\"a\":1} {}"}) {
    BOOST_TEST((found(none) == ckan::field{"day", "date", std::nullopt, {}, none}), none);
  }
}

namespace {
std::vector<std::string> const written{
    "From SAP field VBELN",
    " it's  a remark\n\t",
    "\\",
    "stash: unfinished",
    "{half",
    "{'label':'T'}",
    "\xef\xbb\xbf{\"label\":\"T\"}",
    R"({"label":"old form"})",
    R"({ "label": "spaced" })",
    R"({"label":"T","max":NaN})",
    R"({"n":1e99999999999})",
    R"( {"_info":{"label":"Sum","sum":12345678901234567890123},"plugin":{"x":1.10}})",
    R"( {"_info":{"a":1,"a":2}})",
    R"( {"plugin":-0,"_info":{}})",
    R"( {"_info":{"label":"x"}} and so on)",
    " {\"x\":" + std::string(70, '[') + std::string(70, ']') + '}',
    R"( {"_info":{"_beside":1}})",
    R"( {"_info":{"n":1e400}})"};
}  // namespace

BOOST_AUTO_TEST_CASE(every_comment_of_a_person_is_there_byte_for_byte_after_a_reload_a_failure_and_a_kill) {
  ckan::fields headers;
  for (std::size_t i = 0; i < written.size(); ++i) headers.push_back({"c" + std::to_string(i), "text", std::nullopt});
  d.create("orders", headers);
  d.finish("orders");
  auto const all_stand = [&](char const* when) {
    for (std::size_t i = 0; i < written.size(); ++i) BOOST_TEST(comment("c" + std::to_string(i)) == written[i], when);
    BOOST_TEST(comment("_id") == "our own key");
    BOOST_TEST(comment("_full_text") == "{\"label\":\"for the search\"}");
    BOOST_TEST(comment() == "stash: unfinished business\nof a person's");
  };
  for (std::size_t i = 0; i < written.size(); ++i) write("c" + std::to_string(i), written[i]);
  write("_id", "our own key");
  write("_full_text", "{\"label\":\"for the search\"}");
  write("stash: unfinished business\nof a person's");
  stash::memory_stash store;
  auto const reload = [&](auto load) {
    return ckan::reload(d, store, "orders", headers, load, {.keep = ckan::keep::words});
  };
  auto const report = reload([&](auto const&) { BOOST_TEST(!d.describe("orders")); });
  BOOST_TEST(report.unplaced.empty());
  all_stand("after a reload");
  BOOST_TEST(
      ckan::reload(d, store, "orders", headers, [&](auto const&) { all_stand("amid another"); }).unplaced.empty());
  all_stand("after a swap");
  d.finish("orders");
  all_stand("after a second finish");
  BOOST_CHECK_THROW(reload([](auto const&) { throw std::runtime_error("no"); }), std::runtime_error);
  all_stand("after a load that failed");
  {
    stash::delete_guard killed{store, "orders", [&] { return ckan::detail::words_of(d, "orders"); },
                               [](auto const&) {}};
    d.drop("orders");
    killed.release();
  }
  BOOST_TEST(reload([](auto const&) {}).origin == stash::origin::adopted);
  all_stand("after a retry");
  store.save("orders", *ckan::detail::words_of(d, "orders"));
  d.drop("orders");
  auto const restored = stash::recover<json::object>(
      store, [&](auto const& k) { return d.describe(k).has_value(); },
      [&](auto const& k, auto const& saved) { ckan::recreate(d, k, saved); });
  BOOST_TEST(restored.restored == 1U);
  all_stand("after recover");
}

BOOST_AUTO_TEST_CASE(a_table_whose_only_words_are_remarks_has_a_live_value) {
  make();
  ckan::fields const bare{{"a", "text", std::nullopt}};
  for (std::string const place : {"", "a", "_id", "_full_text"}) {
    d.drop("orders");
    d.create("orders", bare);
    d.finish("orders");
    place.empty() ? write("a remark") : write(place, "a remark");
    stash::memory_stash store;
    auto const failing = [](auto const&) { throw std::runtime_error("no"); };
    BOOST_CHECK_THROW(ckan::reload(d, store, "orders", bare, failing), std::runtime_error);
    BOOST_TEST((place.empty() ? comment() : comment(place)) == "a remark", place);
    BOOST_TEST(ckan::reload(d, store, "orders", bare, [](auto const&) {}).origin == stash::origin::live);
    BOOST_TEST((place.empty() ? comment() : comment(place)) == "a remark", place);
  }
}

BOOST_AUTO_TEST_CASE(a_remark_on_a_column_that_goes_is_reported_and_set_aside) {
  query("CREATE TABLE " + table() + " (_id serial, _full_text tsvector, _other int, a text, b text)");
  write("_other", "of a trigger");
  write("b", "From SAP field VBELN");
  stash::memory_stash store;
  auto const report = ckan::reload(d, store, "orders", {{"a", "text", std::nullopt}}, [](auto const&) {});
  BOOST_TEST((report.unplaced == std::vector<std::string>{"_other", "b"}));
  BOOST_TEST(store.set_aside_entries().size() == 1U);
  json::object const saved{{"a", json::object{}}, {ckan::table_key, {{"columns", {{"_other", "of a trigger"}}}}}};
  BOOST_TEST(code_of([&] { ckan::recreate(d, "orders", saved); }) ==
             errc::mismatch);  // so that recover keeps the record
  BOOST_TEST(d.describe("orders")->size() == 1U);
}

BOOST_AUTO_TEST_CASE(annotating_keeps_the_form_of_a_comment_and_what_else_stands_in_it) {
  make();
  auto const annotated = [&](char const* before) {
    write("day", before);
    d.annotate("orders", {{"day", json::object{{"label", "Day"}}}});
    return comment("day");
  };
  BOOST_TEST(annotated("{\"label\":\"old\"}") == "{\"label\":\"Day\"}");
  BOOST_TEST(annotated(R"( {"p":12345678901234567890123,"_info":{"n":NaN},"q":1.10})") ==
             R"( {"p":12345678901234567890123,"_info":{"label":"Day"},"q":1.10})");
  BOOST_TEST(annotated("{\"label\":\"old\",\"max\":1e400}") == "{\"label\":\"Day\"}");
  BOOST_TEST(annotated(R"( {"_info":{"label":"\ud83d","max":1e400},"p":{"note":"by hand"}})") ==
             R"( {"_info":{"label":"Day"},"p":{"note":"by hand"}})");
  BOOST_TEST(code_of([&] { annotated("From SAP field VBELN"); }) == errc::mismatch);
  BOOST_TEST(comment("day") == "From SAP field VBELN");
  ckan::fields const lost{{"day", "text", {{{"label", "Day"}}}, {}, "a remark"}};
  BOOST_TEST(code_of([&] { d.check("another", lost); }) == errc::mismatch);
  for (char const* const reserved : {"_beside", "_verbatim"}) {
    BOOST_TEST(code_of([&] { d.annotate("orders", {{"day", json::object{{reserved, 1}}}}); }) == errc::mismatch);
  }
  d.annotate("orders", {});
  BOOST_TEST(comment("day") == "From SAP field VBELN");
}

BOOST_AUTO_TEST_CASE(a_mark_with_a_remark_behind_it_is_a_mark_and_one_of_an_older_version_too) {
  d.create("orders", columns, {{"comment", "made by hand"}, {"columns", {{"_id", "key"}, {"_other", "no place"}}}});
  BOOST_TEST(comment() == "stash: unfinished\nmade by hand");
  BOOST_TEST(!d.describe("orders"));
  BOOST_TEST(d.remarks("orders").empty());
  d.finish("orders");
  BOOST_TEST((d.remarks("orders") == json::object{{"comment", "made by hand"}, {"columns", {{"_id", "key"}}}}));
  write("stash: unfinished");
  BOOST_TEST(!d.describe("orders"));
  d.finish("orders");
  BOOST_TEST(comment() == "-");
  BOOST_TEST(d.remarks("none").empty());
  for (json::object const& bad :
       {json::object{{"comment", 1}}, json::object{{"columns", 1}}, json::object{{"columns", {{"_id", 1}}}}}) {
    BOOST_TEST(code_of([&] { d.create("other", columns, bad); }) == errc::mismatch);
  }
  BOOST_TEST(!d.describe("other"));
}

BOOST_AUTO_TEST_CASE(the_number_of_statements_does_not_depend_on_how_many_columns_there_are) {
  auto const statements = [&](int size) {
    ckan::fields many;
    ckan::data_dictionary words;
    for (int i = 0; i < size; ++i) {
      std::string const id = "c" + std::to_string(i);
      many.push_back({id, i % 2 == 0 ? "text" : "numeric", json::object{{"label", i}}});
      words.emplace(id, json::object{{"label", -i}});
    }
    std::string all;
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
      if (call.starts_with("PQsend")) all.append(sql.substr(0, 12)) += '\n';
      return false;
    }};
    stash::memory_stash store;
    d.create("orders", many);
    d.finish("orders");
    d.annotate("orders", words);
    ckan::reload(d, store, "orders", many, [](auto const&) {});
    auto const failing = [](auto const&) { throw std::runtime_error("no"); };
    BOOST_CHECK_THROW(ckan::reload(d, store, "orders", many, failing), std::runtime_error);
    BOOST_TEST((ckan::dictionary_of(*d.describe("orders")) == words));
    d.drop("orders");
    return all;
  };
  statements(1);  // the schema for what is built is made once
  auto const few = statements(3);
  BOOST_TEST(statements(300) == few);
  BOOST_TEST(std::count(few.begin(), few.end(), '\n') > 50);
}

BOOST_AUTO_TEST_CASE(more_columns_than_a_table_can_have_are_refused_at_once_and_in_words) {
  ckan::fields many;
  for (int i = 0; i < 1598; ++i) many.push_back({"c" + std::to_string(i), "text", std::nullopt});
  d.create("orders", many);
  many.push_back({"one more", "text", std::nullopt});
  BOOST_TEST(message_of([&] { d.check("wide", many); }).starts_with("check \"wide\": more than 1598 fields"));
  BOOST_TEST(code_of([&] { d.create("wide", many); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_field_name_that_ckan_refuses_is_refused_before_anything_but_a_restored_one_stays) {
  for (std::string const bad : {"quo\"te", " a", "a ", "\ta", "a\u00a0"}) {
    ckan::fields const named{{bad, "text", std::nullopt}};
    BOOST_TEST(code_of([&] { d.check("orders", named); }) == errc::mismatch, bad);
    BOOST_TEST(code_of([&] { d.create("orders", named); }) == errc::mismatch, bad);
    ckan::fields const with_words{{bad, "text", json::object{{"label", "of old"}}}};
    BOOST_TEST(message_of([&] { d.check("orders", with_words); }).find("CKAN takes no") != std::string::npos, bad);
    d.create("orders", with_words);
    d.finish("orders");
    BOOST_TEST((d.describe("orders") == with_words));
    stash::memory_stash store;
    BOOST_TEST(code_of([&] { ckan::reload(d, store, "orders", named, [](auto const&) {}); }) == errc::mismatch);
    BOOST_TEST((d.describe("orders") == with_words));
    d.drop("orders");
  }
}

BOOST_AUTO_TEST_CASE(a_text_that_could_not_be_stored_or_saved_is_refused) {
  for (std::string const& bad : {std::string("a\0b", 3), std::string("\xff")}) {
    ckan::fields const typed{{"a", "text", std::nullopt, {}, bad}};
    BOOST_TEST(message_of([&] {
                 d.check("orders", typed);
               }).starts_with("check \"orders\": the comment of field \"a\" is no text"));
  }
}

BOOST_AUTO_TEST_CASE(what_is_no_field_of_ckans_is_none) {
  query("CREATE TABLE " + table() + " (_id serial, _full_text tsvector, _other int, a text, gone int, b text[])");
  query("ALTER TABLE " + table() + " DROP COLUMN gone");
  query("CREATE TYPE " + quoted() + ".mood AS ENUM ('good')");
  query("ALTER TABLE " + table() + " ADD COLUMN c " + quoted() + ".mood");
  auto const found = *d.describe("orders");
  BOOST_TEST(found.size() == 3U);
  BOOST_TEST(found[0].id == "a");
  BOOST_TEST(found[1].type == "_text");
  BOOST_TEST(found[2].type == quoted() + ".mood");
  d.drop("orders");
  d.create("orders", found);
  d.finish("orders");
  BOOST_TEST((*d.describe("orders") == found));
  query("CREATE TABLE " + table("parted") + " (_id int, a text) PARTITION BY RANGE (_id)");
  BOOST_TEST(d.describe("parted")->size() == 1U);
  BOOST_TEST(code_of([&] { d.rows("\xff"); }) == support::os(EINVAL));
}

BOOST_AUTO_TEST_CASE(the_trigger_of_ckan_is_set_where_its_function_is) {
  query("CREATE FUNCTION " + quoted() +
        ".populate_full_text_trigger() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW._full_text := to_tsvector('simple', NEW.id::text); RETURN NEW; END $$");
  make();
  load({{"7", "2026-11-22"}});
  BOOST_TEST(query("SELECT _full_text::text FROM " + table()) == "'7':1");
}

BOOST_AUTO_TEST_CASE(rows_are_loaded_with_null_apart_from_empty_when_they_are_finished) {
  ckan::fields const texts{{"a", "text", std::nullopt}, {"b", "text", std::nullopt}};
  d.create("orders", texts);
  std::uint64_t told = 0, times = 0;
  {
    ckan::postgres_datastore::loader rows{d, "orders", texts, [&](std::uint64_t bytes) {
                                            BOOST_TEST(bytes > told);
                                            told = bytes;
                                            ++times;
                                          }};
    for (row const& one :
         {row{"1", std::nullopt}, row{"", "\\."}, row{"\"q\",\r\n", "\\N"}, row{std::nullopt, " x "}}) {
      rows.add(one);
    }
    rows.add_csv("\"from a");
    rows.add_csv(" file\",2\n");
    std::string const megabyte(1 << 20, 'x');
    rows.add(row{megabyte, "end"});
    rows.add_csv(megabyte + ",end\n");
    BOOST_TEST(query("SELECT count(*)::text FROM " + table()) == "0");
    rows.finish();
  }
  BOOST_TEST(told > 2'000'000U);
  BOOST_TEST(times > 10U);
  BOOST_TEST(d.rows("orders") == 7U);
  BOOST_TEST(query("SELECT string_agg(coalesce(a, 'NULL') || '|' || coalesce(b, 'NULL'), ' ' ORDER BY _id) FROM " +
                   table() + " WHERE _id < 6") == "1|NULL |\\. \"q\",\r\n|\\N NULL| x  from a file|2");
  BOOST_TEST(query("SELECT count(*)::text FROM " + table() + " WHERE length(a) = 1048576 AND b = 'end'") == "2");
}

BOOST_AUTO_TEST_CASE(rows_that_were_not_finished_are_not_there_and_the_datastore_goes_on) {
  make();
  auto const session = [&] {
    return query(
        "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE application_name = 'stash'");
  };
  auto const before = session();
  {
    ckan::postgres_datastore::loader rows{d, "orders", columns};
    rows.add(row{"1", "2026-11-22"});
    rows.add_csv(std::string(100'000, '1'));
  }
  BOOST_TEST(d.rows("orders") == 0U);
  BOOST_TEST(session() == before);
  make("another");
  BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);  // not as if nothing had been to load
  load({{"1", "2026-11-22"}});                                         // tried again
  d.finish("orders");
  BOOST_TEST(d.rows("orders") == 1U);
  d.drop("orders");
  make();
  ckan::postgres_datastore::loader rows{d, "orders", columns};
  BOOST_TEST(code_of([&] { rows.add(std::array<std::optional<std::string_view>, 1>{"1"}); }) == errc::mismatch);
  rows.add(row{"much", "2026-11-22"});
  BOOST_TEST(code_of([&] { rows.finish(); }) == sqlstate("22P02"));
  BOOST_TEST(d.rows("orders") == 0U);
  BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);  // the rows are lost here too
  BOOST_TEST(code_of([&] { ckan::postgres_datastore::loader{d, "none", columns}; }) == sqlstate("42P01"));
  load({{"1", "2026-11-22"}});
  load({});
  BOOST_TEST(d.rows("orders") == 1U);
}

BOOST_AUTO_TEST_CASE(a_connection_that_breaks_fails_one_call_and_the_next_goes_on) {
  make();
  auto const end_all = [&] {
    query("SELECT count(pg_terminate_backend(pid, 5000))::text FROM pg_stat_activity WHERE application_name = 'stash'");
  };
  {
    ckan::postgres_datastore::loader rows{d, "orders", columns};
    end_all();
    BOOST_TEST((code_of([&] { rows.finish(); }).category() == stash::postgres_category()));
  }
  d.finish("orders");  // no row was added, and none is lost
  {
    ckan::postgres_datastore::loader rows{d, "orders", columns};
    rows.add(row{"1", "2026-11-22"});
    end_all();
    BOOST_TEST((code_of([&] { rows.finish(); }).category() == stash::postgres_category()));
  }
  BOOST_TEST((d.describe("orders") == columns));
  BOOST_TEST(d.rows("orders") == 0U);
  {
    ckan::postgres_datastore::loader rows{d, "orders", columns};
    rows.add(row{"1", "2026-11-22"});
    end_all();
  }
  d.drop("orders");
  end_all();
  BOOST_TEST(bool(code_of([&] { d.create("orders", columns); })));
  make();
}

BOOST_AUTO_TEST_CASE(each_commit_waits_for_the_disk_whatever_the_settings_say) {
  ckan::postgres_datastore careless{info("options='-c synchronous_commit=off'"), {.schema = name}};
  for (auto const& f :
       std::vector<std::function<void()>>{[&] { careless.create("orders", columns); },
                                          [&] {
                                            ckan::postgres_datastore::loader rows{careless, "orders", columns};
                                            rows.add(row{"1", "2026-11-22"});
                                            rows.finish();
                                          },
                                          [&] { careless.finish("orders"); },
                                          [&] {
                                            careless.annotate("orders", {{"day", json::object{}}});
                                          },
                                          [&] { careless.drop("orders"); }}) {
    f();
    BOOST_TEST(query("SELECT (pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn())::text") == "0");
  }
  query("ALTER SYSTEM SET fsync = off");
  query("SELECT pg_reload_conf()::text");
  while (query("SELECT current_setting('fsync')") != "off") std::this_thread::sleep_for(5ms);
  auto const code = code_of([&] { ckan::postgres_datastore{server(), {.schema = name}}; });
  query("ALTER SYSTEM RESET fsync");
  query("SELECT pg_reload_conf()::text");
  BOOST_TEST(code == boost::system::errc::operation_not_supported);
}

BOOST_AUTO_TEST_CASE(annotating_replaces_the_info_of_the_named_fields_all_or_none) {
  make();
  d.annotate("orders", {{"id", json::object{{"notes", "new"}}}, {"day", json::object{{"label", "Day"}}}});
  auto expected = columns;
  expected[0].info = json::object{{"notes", "new"}};
  expected[1].info = json::object{{"label", "Day"}};
  BOOST_TEST((d.describe("orders") == expected));  // what is beside the info stays
  for (ckan::data_dictionary const& bad :
       {ckan::data_dictionary{{"id", json::object{}}, {"none", json::object{}}},
        ckan::data_dictionary{{"id", json::object{}}, {"day", "text"}},
        ckan::data_dictionary{{"id", json::object{}}, {"day", json::object{{"_beside", 1}}}},
        ckan::data_dictionary{{"id", json::object{}}, {"_id", json::object{}}}}) {
    BOOST_TEST(code_of([&] { d.annotate("orders", bad); }) == errc::mismatch);
    BOOST_TEST((d.describe("orders") == expected));
  }
  d.create("half", columns);
  BOOST_TEST(code_of([&] { d.annotate("half", {}); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { d.annotate("none", {}); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(names_may_have_anything_that_sql_would_take_apart) {
  for (std::string const odd : {"two words", "quo\"te", "apo'strophe", "d.o.t", "100%", "\\", "select", "\u65e5\u672c",
                                "x\"; DROP TABLE y; --", "new\nline", "UPPER"}) {
    ckan::fields const named{{odd, "text", json::object{{odd, odd}}}};
    d.create(odd, named);
    ckan::postgres_datastore::loader rows{d, odd, named};
    rows.add(std::array<std::optional<std::string_view>, 1>{odd});
    rows.finish();
    d.finish(odd);
    BOOST_TEST((d.describe(odd) == named), odd);
    BOOST_TEST(d.rows(odd) == 1U);
    d.drop(odd);
    BOOST_TEST(!d.describe(odd));
  }
}

BOOST_AUTO_TEST_CASE(fields_that_the_server_would_refuse_or_cut_are_refused_before_anything_is_done) {
  auto const refused = [&](std::string const& id, ckan::fields const& all) {
    bool const by_check = code_of([&] { d.check(id, all); }) == errc::mismatch;
    return by_check && code_of([&] { d.create(id, all); }) == errc::mismatch;
  };
  ckan::field const good{"a", "text", std::nullopt};
  BOOST_TEST(refused("orders", {}));
  BOOST_TEST(refused("", {good}));
  BOOST_TEST(refused(std::string(64, 'x'), {good}));
  BOOST_TEST(refused(std::string("a\0b", 3), {good}));
  for (std::string const& bad :
       {std::string(), std::string("_a"), std::string(64, 'x'), std::string("a\0b", 3), std::string("\xff")}) {
    BOOST_TEST(refused("orders", {good, {bad, "text", std::nullopt}}), bad);
  }
  BOOST_TEST(refused("orders", {good, good}));
  for (char const* const type : {"", "colour", "text; DROP TABLE x", "text)"}) {
    BOOST_TEST(bool(code_of([&] { d.create("orders", {{"a", type, std::nullopt}}); })), type);
  }
  BOOST_TEST(query("SELECT count(*)::text FROM pg_tables WHERE schemaname = '" + name + "'") == "0");
  d.check(std::string(63, 'x'), {{std::string(63, 'x'), "timestamp", std::nullopt}, {"A", "text", std::nullopt}, good});
}

BOOST_AUTO_TEST_CASE(what_is_no_resource_is_in_the_way_and_is_never_dropped) {
  query("CREATE TABLE " + table("mine") + " (a int)");
  query("CREATE VIEW " + table("view") + " AS SELECT 1 AS _id");
  query("CREATE TABLE " + table("empty") + " ()");
  for (char const* const id : {"mine", "view", "empty"}) {
    BOOST_TEST(code_of([&] { d.describe(id); }) == errc::mismatch);
    BOOST_TEST(code_of([&] { d.check(id, columns); }) == errc::mismatch);
    BOOST_TEST(code_of([&] { d.create(id, columns); }) == errc::mismatch);
    BOOST_TEST(code_of([&] { d.finish(id); }) == errc::mismatch);
    BOOST_TEST(code_of([&] { d.drop(id); }) == errc::mismatch);
  }
  make();
  query("CREATE VIEW " + table("wide") + " AS SELECT * FROM " + table());
  BOOST_TEST(code_of([&] { d.drop("orders"); }) == sqlstate("2BP01"));
  BOOST_TEST((d.describe("orders") == columns));
}

BOOST_AUTO_TEST_CASE(finishing_what_is_not_there_and_creating_twice_are_errors) {
  BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);
  d.create("orders", columns);
  BOOST_TEST(code_of([&] { d.create("orders", columns); }) == sqlstate("42P07"));
  BOOST_TEST(message_of([&] { d.rows("none"); }).starts_with("rows \"none\": relation "));
  json::object const no_json{{"scale", std::numeric_limits<double>::quiet_NaN()}};
  auto const message = message_of([&] { d.create("other", {{"id", "text", no_json}}); });
  BOOST_TEST(message.starts_with("create \"other\": a number that is not finite, at field \"id\": unserializable"));
}

BOOST_AUTO_TEST_CASE(a_drop_that_waits_too_long_is_an_error) {
  make();
  query("BEGIN");
  query("SELECT count(*)::text FROM " + table());
  ckan::postgres_datastore hasty{server(), {.schema = name, .timeout = 300ms}};
  BOOST_TEST(code_of([&] { hasty.drop("orders"); }) == sqlstate("08006"));
  query("ROLLBACK");
}

BOOST_AUTO_TEST_CASE(a_load_may_take_longer_than_a_statement) {
  ckan::postgres_datastore hasty{server(), {.schema = name, .timeout = 400ms}};
  hasty.create("orders", columns);
  ckan::postgres_datastore::loader rows{hasty, "orders", columns};
  rows.add(row{"1", "2026-11-22"});
  std::this_thread::sleep_for(600ms);
  rows.finish();
  BOOST_TEST(hasty.rows("orders") == 1U);
}

BOOST_AUTO_TEST_CASE(a_table_whose_drop_is_still_under_way_is_not_described) {
  make();
  ckan::postgres_datastore hasty{server(), {.schema = name, .timeout = 500ms}};
  {
    missing_standby const waiting{query};
    BOOST_TEST(code_of([&] { hasty.drop("orders"); }) == sqlstate("08006"));
    BOOST_TEST(code_of([&] { hasty.describe("orders"); }) == sqlstate("08006"));
  }
  BOOST_TEST(!d.describe("orders"));
}

BOOST_AUTO_TEST_CASE(a_finish_for_which_no_standby_was_waited_is_indeterminate) {
  d.create("orders", columns);
  missing_standby const waiting{query};
  auto finished = std::async(std::launch::async, [&] { return code_of([&] { d.finish("orders"); }); });
  while (query("SELECT count(pg_cancel_backend(pid))::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
               " AND application_name = 'stash'") == "0") {
    if (finished.wait_for(5ms) == std::future_status::ready) break;
  }
  BOOST_TEST(finished.get() == errc::indeterminate);
}

/// What is there then is what the last step left, or where nobody knows, what the next one would have.
BOOST_AUTO_TEST_CASE(whichever_call_of_libpq_fails_a_step_is_done_whole_or_not_at_all) {
  auto annotated = columns;
  annotated[1].info = json::object{{"label", "Day"}};
  using standing = std::pair<std::optional<ckan::fields>, std::string>;
  std::size_t tried = 0, failed = 0, unknown = 0, bad = 0;
  auto const stride = static_cast<std::size_t>(support::stride());
  for (bool has_failed = true; has_failed; tried += stride) {
    d.drop("orders");
    standing expected{std::nullopt, "-"}, other = expected;
    boost::system::error_code problem;
    {
      std::optional<ckan::postgres_datastore> one;
      auto const step = [&](standing next, auto f) {
        if (problem) return;
        problem = code_of_any(f);
        bool const is_unknown =
            problem == errc::indeterminate || problem == sqlstate("08006") || problem == sqlstate("08001");
        if (!problem || is_unknown) other = next;
        if (!problem) expected = next;
        unknown += is_unknown;
      };
      has_failed = false;
      std::size_t calls = 0;
      support::faulty_libpq const libpq{[&](std::string_view call, std::string_view) {
        if (call == support::rest_to_flush) return false;
        bool const fails = calls++ == tried;
        has_failed = has_failed || fails;
        return fails;
      }};
      step(expected, [&] { one.emplace(server(), ckan::postgres_datastore_options{.schema = name}); });
      step({std::nullopt, "0"}, [&] { one->create("orders", columns); });
      step({std::nullopt, "2"}, [&] {
        ckan::postgres_datastore::loader rows{*one, "orders", columns};
        rows.add_csv("1,2026-11-22\n2,2026-11-23\n");
        rows.finish();
      });
      step({columns, "2"}, [&] { one->finish("orders"); });
      step({annotated, "2"}, [&] { one->annotate("orders", {{"day", *annotated[1].info}}); });
      step({std::nullopt, "-"}, [&] { one->drop("orders"); });
    }
    standing found{d.describe("orders"), "-"};
    if (query("SELECT to_regclass('" + table() + "')::text") != "") {
      found.second = std::to_string(d.rows("orders"));
    }
    BOOST_TEST_INFO("call " << tried << " fails: " << problem.message());
    bool const is_whole = found == expected || found == other;
    BOOST_TEST(is_whole);
    bad += !is_whole;
    failed += bool(problem);
  }
  BOOST_TEST(failed * stride > 100U);
  BOOST_TEST(unknown * stride > 50U);
  support::figure("every call fails", "each call of libpq by the datastore", tried / stride, bad);
}

BOOST_AUTO_TEST_CASE(a_comment_that_is_no_utf8_in_a_database_without_an_encoding_is_an_error) {
  query("CREATE DATABASE any_bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
  {
    client bytes{info("dbname=any_bytes")};
    ckan::postgres_datastore there{info("dbname=any_bytes")};
    bytes("CREATE TABLE public.orders (_id int, a text)");
    bytes("COMMENT ON COLUMN public.orders.a IS E'caf\\xe9'");
    BOOST_TEST(code_of([&] { there.describe("orders"); }) == sqlstate("22021"));  // as the server says it
  }
  query("DROP DATABASE any_bytes WITH (FORCE)");
}

BOOST_AUTO_TEST_CASE(types_come_back_without_a_length_of_one) {
  query("CREATE TABLE " + table() + " (_id serial, a char(10), b bit(3), c varchar(5))");
  auto const found = *d.describe("orders");
  d.drop("orders");
  d.create("orders", found);
  query("INSERT INTO " + table() + " (a, b, c) VALUES ('ten chars.', '101', 'and so on')");
  d.finish("orders");
  BOOST_TEST((*d.describe("orders") == found));
}

BOOST_AUTO_TEST_CASE(a_forked_child_may_destroy_an_inherited_one_without_harm) {
  make();
  std::optional<ckan::postgres_datastore> mine{std::in_place, server(),
                                               ckan::postgres_datastore_options{.schema = name}};
  int const status = support::in_child([&] {
    mine.reset();
    return 0;
  });
  BOOST_TEST(status == 0);
  BOOST_TEST((mine->describe("orders") == columns));
  BOOST_TEST(!mine->describe(std::string_view{}));
  for (auto const* const breaks : {"PQflush", "PQconnectStartParams"}) {  // so that it has no connection
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view) { return call == breaks; }};
    BOOST_TEST(code_of_any([&] { mine->describe("orders"); }));
  }
  BOOST_TEST(support::in_child([&] { return mine.reset(), 0; }) == 0);
  ckan::postgres_datastore moved = std::move(*mine);
  BOOST_TEST((moved.describe("orders") == columns));
}

BOOST_AUTO_TEST_CASE(a_reload_of_a_real_table_keeps_its_words) {
  make();
  stash::memory_stash store;
  ckan::fields const headers{{"id", "text", std::nullopt}, {"day", "text", std::nullopt}};
  auto const load = [&](ckan::fields const& created) {
    ckan::postgres_datastore::loader rows{d, "orders", created};
    rows.add(row{"1", "2026-11-22"});
    rows.finish();
  };
  auto const report = ckan::reload(d, store, "orders", headers, load);
  BOOST_TEST(report.origin == stash::origin::live);
  BOOST_TEST(d.rows("orders") == 1U);
  BOOST_TEST(comment("id") == " {\"_info\":{\"label\":\"N\u00b0\",\"scale\":1E-1},\"plugin\":1}");
  auto const failing = [&](ckan::fields const&) { throw std::runtime_error("the load failed"); };
  BOOST_CHECK_THROW(ckan::reload(d, store, "orders", headers, failing), std::runtime_error);
  BOOST_TEST(d.rows("orders") == 1U);
  BOOST_CHECK_THROW(ckan::reload(d, store, "orders", headers, failing, {.keep = ckan::keep::words}),
                    std::runtime_error);
  BOOST_TEST(d.rows("orders") == 0U);
  BOOST_TEST((d.describe("orders")->at(0).info == columns[0].info));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_datastore_test
