// The fields of a resource: their names, the numbers in them, and the dictionary's words about them.
#include <array>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <stash/ckan/parse_dictionary.hpp>
#include <stash/ckan/reload.hpp>
#include <stash/ckan/sqlite_datastore.hpp>

#include "sqlite_datastore_fixture.hpp"
#include "support.hpp"

namespace sqlite_datastore_fields_test {

using namespace std::string_literals;
using stash::errc;
using support::code_of;
namespace ckan = stash::ckan;
namespace json = boost::json;

namespace {

using sqlite_datastore_test::fixture;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(sqlite_datastore, fixture)

BOOST_AUTO_TEST_CASE(names_may_have_anything_that_sql_would_take_apart) {
  for (std::string const& name :
       {"a b"s, "a\"b"s, "a'b"s, "a.b"s, "%"s, "Größe"s, "x; DROP TABLE _stash_resource; --"s, "select"s, "rowid"s}) {
    ckan::fields const f{{name, "text", json::object{{"label", name}}}};
    d.create(name, f);
    std::optional<std::string_view> const row[] = {"v"};
    ckan::sqlite_datastore::loader rows{d, name, f};
    rows.add(row);
    rows.finish();
    d.finish(name);
    BOOST_TEST((d.describe(name) == f));
    BOOST_TEST(d.rows(name) == 1U);
  }
}

BOOST_AUTO_TEST_CASE(fields_that_sqlite_would_refuse_are_refused_before_anything_is_done) {
  ckan::field const a{"a", "text", std::nullopt};
  for (ckan::fields const& bad :
       {ckan::fields{}, ckan::fields{{"", "text", std::nullopt}}, ckan::fields{{"_id", "text", std::nullopt}},
        ckan::fields{a, {"A", "text", std::nullopt}}, ckan::fields{a, a}, ckan::fields{{"a\0b"s, "text", std::nullopt}},
        ckan::fields(2001, a)}) {
    BOOST_TEST(code_of([&] { d.check("orders", bad); }) == errc::mismatch);
    BOOST_TEST(code_of([&] { d.create("orders", bad); }) == errc::mismatch);
  }
  BOOST_TEST(code_of([&] { d.check("sqlite_x", columns); }) == errc::mismatch);
  BOOST_TEST(query("SELECT name FROM sqlite_schema").empty());
}

BOOST_AUTO_TEST_CASE(a_field_name_that_ckan_refuses_is_refused_before_anything_but_a_restored_one_stays) {
  for (std::string const bad : {"quo\"te", " a", "a ", "\ta", "a\u00a0"}) {
    ckan::fields const named{{bad, "text", std::nullopt}};
    BOOST_TEST(code_of([&] { d.check("orders", named); }) == errc::mismatch, bad);
    BOOST_TEST(code_of([&] { d.create("orders", named); }) == errc::mismatch, bad);
    ckan::fields const with_words{{bad, "text", json::object{{"label", "of old"}}}};
    BOOST_TEST(support::message_of([&] { d.check("orders", with_words); }).find("CKAN takes no") != std::string::npos);
    d.create("orders", with_words);
    d.finish("orders");
    BOOST_TEST((d.describe("orders") == with_words));
    stash::memory_stash store;
    BOOST_TEST(code_of([&] { ckan::reload(d, store, "orders", named, [](ckan::fields const&) {}); }) == errc::mismatch);
    BOOST_TEST((d.describe("orders") == with_words));
    d.drop("orders");
  }
  BOOST_TEST(code_of([&] { d.create("orders", {{"_a", "text", json::object{}}}); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { d.create("orders", {{"\xff", "text", std::nullopt}}); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(as_many_fields_as_a_table_can_have_are_accepted) {
  ckan::fields many;
  for (int i = 0; i < 1999; ++i) many.push_back({"c" + std::to_string(i), "text", std::nullopt});
  d.create("wide", many);
  many.push_back({"one more", "text", std::nullopt});
  BOOST_TEST(code_of([&] { d.check("wider", many); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_numeric_field_never_changes_a_number) {
  ckan::fields const numeric{{"n", "numeric", std::nullopt}};
  struct sample {
    std::string given, kept, type;
  };
  std::vector<sample> const samples{
      {"1", "1", "integer"},
      {"007", "7", "integer"},
      {"+1", "1", "integer"},
      {"-0", "0", "integer"},
      {"-0.0", "0", "integer"},
      {" \t1\n\v\f\r", "1", "integer"},
      {"1.0", "1", "integer"},
      {"1e5", "100000", "integer"},
      {"1.e3", "1000", "integer"},
      {"0e99999999999999999999", "0", "integer"},
      {"9223372036854775807", "9223372036854775807", "integer"},
      {"-9223372036854775808", "-9223372036854775808", "integer"},
      {"0.1", "0.1", "real"},
      {".5", "0.5", "real"},
      {"-10.50", "-10.5", "real"},
      {"000000000000000000000001.50", "1.5", "real"},
      {"123456789.123456", "123456789.123456", "real"},
      {"-0.00000123456789012345", "-1.23456789012345e-06", "real"},
      {"100000000000000000000", "1.0e+20", "real"},
      {"1E22", "1.0e+22", "real"},
      {"1e-22", "1.0e-22", "real"},
  };
  std::vector<std::string> const texts{"12345678901234567890",
                                       "-12345678901234567890",
                                       "9223372036854775808",
                                       "1234567890123456789012345678901234567890",
                                       "0.1234567890123456",
                                       "9007199254740993.0",
                                       "3.14159265358979323846",
                                       "1e23",
                                       "1e-23",
                                       "1e400",
                                       "-1e400",
                                       "1e-400",
                                       "1e99999999999999999999",
                                       "1e-99999999999999999999",
                                       "0.30000000000000004",
                                       "",
                                       " ",
                                       ".",
                                       "-",
                                       "+",
                                       "e5",
                                       "1e",
                                       "1e+",
                                       "1 2",
                                       "1,5",
                                       "0x10",
                                       "1_000",
                                       "--1",
                                       "Infinity",
                                       "nan",
                                       "NULL",
                                       "2026-11-28",
                                       "1.2.3",
                                       "1e5.5",
                                       "\u0661",
                                       "abc"};
  d.create("orders", numeric);
  {
    ckan::sqlite_datastore::loader rows{d, "orders", numeric};
    auto const add = [&](std::string_view text) { rows.add(std::array<std::optional<std::string_view>, 1>{text}); };
    for (auto const& s : samples) add(s.given);
    for (auto const& text : texts) add(text);
    rows.finish();
  }
  auto const kept = query("SELECT n FROM orders ORDER BY _id");
  auto const types = query("SELECT typeof(n) FROM orders ORDER BY _id");
  BOOST_REQUIRE(kept.size() == samples.size() + texts.size());
  for (std::size_t i = 0; i < kept.size(); ++i) {
    bool const is_number = i < samples.size();
    auto const& given = is_number ? samples[i].given : texts[i - samples.size()];
    BOOST_TEST_INFO("of " << given);
    BOOST_TEST(kept[i] == (is_number ? samples[i].kept : given));
    BOOST_TEST_INFO("of " << given);
    BOOST_TEST(types[i] == (is_number ? samples[i].type : "text"));
  }
}

BOOST_AUTO_TEST_CASE(what_is_taken_for_a_number_is_printed_as_the_same_number) {
  using namespace stash::detail;
  auto const normal = [](std::string_view text) {
    auto found = *read_decimal(text);
    if (found.digits.empty() || found.digits == "-") return decimal{"0", 0};
    for (; found.digits.ends_with('0'); ++found.tens) found.digits.pop_back();
    return found;
  };
  std::mt19937 random{20'261'128};
  int numbers = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = random() % 2 == 0 ? "-" : "";
    for (auto n = 1 + random() % 20; n > 0; --n) text += static_cast<char>('0' + random() % 10);
    if (random() % 2 == 0) text.insert(text.size() - random() % 2, 1, '.');
    if (random() % 2 == 0) text += 'e' + std::to_string(static_cast<int>(random() % 61) - 30);
    auto const found = exact_number(text);
    char printed[64] = "";
    if (auto const* const n = std::get_if<std::int64_t>(&found)) std::snprintf(printed, sizeof printed, "%" PRId64, *n);
    if (auto const* const x = std::get_if<double>(&found)) {
      std::snprintf(printed, sizeof printed, "%.15g", *x);
      BOOST_TEST(std::strtod(text.c_str(), nullptr) == *x);
    }
    if (*printed == '\0') continue;
    ++numbers;
    auto const given = normal(text), kept = normal(printed);
    BOOST_TEST_INFO(text << " is " << printed);
    BOOST_TEST((kept.digits == given.digits && kept.tens == given.tens));
  }
  BOOST_TEST(numbers > 2'000);
}

BOOST_AUTO_TEST_CASE(a_table_of_an_older_version_that_would_change_a_number_refuses_it_with_its_row) {
  ckan::fields const numeric{{"n", "numeric", std::nullopt}};
  d.create("orders", numeric);
  query("DROP TABLE orders");
  query("CREATE TABLE orders (_id INTEGER PRIMARY KEY, n NUMERIC)");
  ckan::sqlite_datastore::loader rows{d, "orders", numeric};
  auto const add = [&](std::string_view text) { rows.add(std::array<std::optional<std::string_view>, 1>{text}); };
  add("0.5");
  add("abc");
  auto const said = support::message_of([&] { add("12345678901234567890"); });
  BOOST_TEST(said.starts_with("load \"orders\": row 3, field \"n\": this table, of an older version, would change"));
  add("7");
  rows.finish();
  BOOST_TEST((query("SELECT n FROM orders ORDER BY _id") == std::vector{"0.5"s, "abc"s, "7"s}));
}

BOOST_AUTO_TEST_CASE(annotating_replaces_the_info_of_the_named_fields_all_or_none) {
  d.create("orders", columns);
  BOOST_TEST(code_of([&] { d.annotate("orders", {{"day", json::object{}}}); }) == errc::mismatch);  // not live yet
  d.finish("orders");
  d.annotate("orders", {{"day", {{"label", "Day"}}}});
  BOOST_TEST((d.describe("orders")->at(1).info == json::object{{"label", "Day"}}));
  BOOST_TEST((d.describe("orders")->at(0) == columns[0]));
  for (json::object const& bad : {json::object{{"id", json::object{}}, {"nowhere", json::object{}}},
                                  json::object{{"id", json::object{}}, {"day", 1}},
                                  json::object{{"id", json::object{}}, {"day", {{"_beside", 1}}}}}) {
    BOOST_TEST(code_of([&] { d.annotate("orders", bad); }) == errc::mismatch);
    BOOST_TEST((d.describe("orders")->at(0) == columns[0]));
  }
}

BOOST_AUTO_TEST_CASE(what_a_person_wrote_into_the_dictionary_is_there_byte_for_byte_after_a_reload) {
  for (std::string const text :
       {R"({"label":"Sum","sum":12345678901234567890123})", "From SAP field VBELN", R"({"a":1,"a":2})",
        R"({ "n": 1.10 })", R"({"label":"T","max":NaN})", R"( {"_info":{"n":-0},"plugin":1.10})", "{half", " "}) {
    d.drop("orders");
    d.create("orders", columns);
    d.finish("orders");
    query("UPDATE _stash_field SET info = '" + text + "' WHERE id = 'day'");
    stash::memory_stash store;
    auto const reload = [&](auto load) { return ckan::reload(d, store, "orders", columns, load); };
    BOOST_TEST((reload([](ckan::fields const&) {}).origin == stash::origin::live));
    BOOST_TEST((query("SELECT info FROM _stash_field WHERE id = 'day'") == std::vector{text}), text);
    BOOST_CHECK_THROW(reload([](ckan::fields const&) { throw std::runtime_error("no"); }), std::runtime_error);
    BOOST_TEST((query("SELECT info FROM _stash_field WHERE id = 'day'") == std::vector{text}), text);
    BOOST_TEST((d.describe("orders")->at(0).info == columns[0].info));
    BOOST_TEST((d.describe("orders")->at(0).beside == columns[0].beside));
  }
}

BOOST_AUTO_TEST_CASE(annotating_keeps_what_is_beside_the_info_byte_for_byte) {
  d.create("orders", {{"day", "date", json::object{{"n", 1}}, {{"p", {1.1}}}, R"( {"_info":{"n":1},"p":[1.10]})"}});
  d.finish("orders");
  d.annotate("orders", {{"day", {{"label", "Day"}}}});
  BOOST_TEST((query("SELECT info FROM _stash_field") == std::vector{R"( {"_info":{"label":"Day"},"p":[1.10]})"s}));
  BOOST_TEST(code_of([&] { d.annotate("orders", {{"day", {{"_verbatim", 1}}}}); }) == errc::mismatch);
  d.create("two", columns);
  d.finish("two");
  d.annotate("two", {{"id", {{"label", "N"}}}});
  BOOST_TEST((d.describe("two")->at(0).beside == columns[0].beside));
  std::string const digits = R"({"n":12345678901234567890123})";
  d.annotate("two", ckan::parse_dictionary(R"({"id":)" + digits + R"(,"day":)" + digits + "}"));
  auto const live = *d.describe("two");
  BOOST_TEST(ckan::info_text(live[0]) == digits);
  BOOST_TEST(ckan::info_text(live[1]) == digits);
  BOOST_TEST((live[0].beside == columns[0].beside));
  d.annotate("two", {{"id", {{"label", "N"}}}});
  BOOST_TEST((d.describe("two")->at(0).beside == columns[0].beside));
}

BOOST_AUTO_TEST_CASE(what_would_not_come_back_is_an_error_that_names_the_field) {
  d.create("orders", columns);
  d.finish("orders");
  auto const refused = [&](std::string const& set) {
    query("UPDATE _stash_field SET " + set + " WHERE id = 'id'");
    return support::message_of([&] { d.describe("orders"); });
  };
  auto const says = [&](std::string const& set, char const* what) {
    return refused(set).find(what) != std::string::npos;
  };
  BOOST_TEST(says("beside = '{\"n\":12345678901234567890123}'",
                  "words of field \"id\": a number under \"n\" would not come back"));
  BOOST_TEST(says("beside = '{}', info = '{\"n\":1,\"n\":2}'", "field \"id\": \"n\" stands there twice"));
  BOOST_TEST(refused("beside = '{}', info = NULL") == "");
  BOOST_TEST(says("beside = NULL, info = CAST(x'22ff22' AS TEXT)", "\"id\" are no UTF-8"));
}

BOOST_AUTO_TEST_CASE(a_comment_alone_is_kept_and_no_info_takes_its_place_unseen) {
  for (std::string const text : {" {\"_info\":{\"label\":\"x\"}}", " {\"_info\":{\"x\":NaN}}",
                                 "{\"max\":1234567890123456789012.5}", "a remark", "[1]", "{half"}) {
    bool const is_remark = text.front() != ' ' && !text.starts_with("{\"");
    d.drop("orders");
    d.create("orders", {{"id", "text", {}, {}, text}});
    d.finish("orders");
    auto const kept = [&] { return ckan::detail::comment_of(d.describe("orders")->at(0)); };
    BOOST_TEST((kept() == text));
    auto const told = support::message_of([&] { d.annotate("orders", {{"id", {{"label", "N"}}}}); });
    BOOST_TEST((told.find("its comment is a remark") != std::string::npos) == is_remark, told);
    if (!is_remark) continue;
    BOOST_TEST((kept() == text));
    d.annotate("orders", {{"id", {{"label", "N"}, {"notes", "said " + text}}}});
    BOOST_TEST(d.describe("orders")->at(0).info->at("notes").as_string() == "said " + text);
  }
  ckan::fields const lost{{"id", "text", {{{"label", "N"}}}, {}, "a remark"}};
  BOOST_TEST(code_of([&] { d.check("another", lost); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { d.create("another", lost); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(what_the_encoding_of_a_utf16_file_would_change_is_refused) {
  std::string const odd = "x\xEF\xBF\xBFy", plain = "\xE2\x82\xAC";  // U+FFFF, which SQLite replaces; the Euro sign
  auto const path = (root / "wide.sqlite").native();
  {
    stash::detail::sqlite_connection const made{path};
    made.execute("PRAGMA encoding = 'UTF-16le'; CREATE TABLE theirs (a)", "test", "");
  }
  ckan::sqlite_datastore wide{path};
  ckan::fields const named{{odd, "text", {}}}, said{{"id", "text", {{{"label", odd}}}}}, good{{plain, "text", {}}};
  for (auto const& bad : {named, said}) {
    BOOST_TEST(code_of([&] { wide.check("orders", bad); }) == errc::mismatch);
    BOOST_TEST(code_of([&] { wide.create("orders", bad); }) == errc::mismatch);
  }
  wide.create("orders", good);
  {
    ckan::sqlite_datastore::loader rows{wide, "orders", good};
    rows.add(std::array<std::optional<std::string_view>, 1>{plain});
    rows.add(std::array<std::optional<std::string_view>, 1>{std::nullopt});
    BOOST_TEST(code_of([&] { rows.add(std::array<std::optional<std::string_view>, 1>{odd}); }) == errc::mismatch);
    rows.finish();
  }
  wide.finish("orders");
  BOOST_TEST(wide.rows("orders") == 2U);
  BOOST_TEST(code_of([&] { wide.annotate("orders", {{plain, {{"label", odd}}}}); }) == errc::mismatch);
  wide.annotate("orders", {{plain, {{"label", plain}}}});
  BOOST_TEST(wide.describe("orders")->at(0).info->at("label").as_string() == plain);
}

BOOST_AUTO_TEST_CASE(remarks_on_a_table_are_kept_with_it) {
  json::object const remarks{{"comment", "made by hand"}};
  BOOST_TEST(d.remarks("orders").empty());
  d.create("orders", columns, remarks);
  BOOST_TEST(d.remarks("orders").empty());
  d.finish("orders");
  BOOST_TEST((d.remarks("orders") == remarks));
  BOOST_TEST((d.describe("orders") == columns));
  stash::memory_stash store;
  ckan::reload(d, store, "orders", columns, [](ckan::fields const&) {});
  BOOST_TEST((d.remarks("orders") == remarks));
  d.create("empty", {}, remarks);
  d.finish("empty");
  BOOST_TEST(d.describe("empty")->empty());
  d.create("bare", columns);
  d.finish("bare");
  BOOST_TEST(d.remarks("bare").empty());
}

BOOST_AUTO_TEST_CASE(a_reload_of_a_real_table_keeps_its_words) {
  d.create("orders", columns);
  d.finish("orders");
  stash::file_stash store{dir()};
  ckan::fields const headers{{"day", "text", std::nullopt}, {"id", "text", std::nullopt}};
  auto const failing = [&] {
    ckan::reload(d, store, "orders", headers, [](ckan::fields const&) { throw std::runtime_error("x"); });
  };
  BOOST_CHECK_THROW(failing(), std::runtime_error);
  BOOST_TEST((ckan::dictionary_of(*d.describe("orders")) == ckan::dictionary_of(columns)));
  ckan::reload(d, store, "orders", headers, [](ckan::fields const&) {});
  BOOST_TEST((ckan::dictionary_of(*d.describe("orders")) == ckan::dictionary_of(columns)));
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sqlite_datastore_fields_test
