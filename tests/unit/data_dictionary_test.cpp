#include <chrono>
#include <random>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/parse_dictionary.hpp>
#include <stash/detail/ckan/field_names.hpp>

#include "support.hpp"

namespace data_dictionary_test {

using stash::errc;
using support::code_of;
namespace ckan = stash::ckan;
namespace json = boost::json;

namespace {

json::object object(char const* text) { return json::parse(text).as_object(); }

ckan::fields const annotated{
    {"id", "numeric", object(R"({"label":"Number","type_override":"numeric"})")},
    {"day", "text", object(R"({"notes":"local","type_override":"date"})"), object(R"({"plugin":{"x":1}})")},
    {"free", "text", std::nullopt},
    {"only-beside", "text", std::nullopt, object(R"({"plugin":2})")},
    {"empty-info", "text", json::object{}}};

}  // namespace

BOOST_AUTO_TEST_SUITE(data_dictionary)

BOOST_AUTO_TEST_CASE(a_dictionary_has_the_fields_with_info_in_column_order_and_what_is_beside) {
  BOOST_TEST(json::serialize(ckan::dictionary_of(annotated)) ==
             R"({"id":{"label":"Number","type_override":"numeric"},)"
             R"("day":{"notes":"local","type_override":"date","_beside":{"plugin":{"x":1}}},)"
             R"("only-beside":{"_beside":{"plugin":2}},"empty-info":{}})");
  BOOST_TEST(ckan::dictionary_of({}).empty());
  BOOST_TEST(ckan::dictionary_of({{"a", "text", std::nullopt}}).empty());
}

BOOST_AUTO_TEST_CASE(annotating_bare_headers_gives_back_what_the_dictionary_was_made_of) {
  ckan::fields headers;
  for (auto const& f : annotated) headers.push_back({f.id, "text", std::nullopt});
  ckan::annotate(headers, ckan::dictionary_of(annotated));
  ckan::fields expected = annotated;
  expected[1].type = "date";
  BOOST_TEST((headers == expected));
}

BOOST_AUTO_TEST_CASE(annotating_replaces_info_and_leaves_other_fields_and_unknown_overrides_alone) {
  ckan::fields headers{{"a", "timestamp", object(R"({"label":"old","gone":1})")},
                       {"b", "numeric", object(R"({"label":"b"})")}};
  ckan::annotate(headers, object(R"({"a":{"label":"new","type_override":"money"},"not-there":{"label":"x"}})"));
  BOOST_TEST((headers[0].info == object(R"({"label":"new","type_override":"money"})")));
  BOOST_TEST(headers[0].type == "timestamp");
  BOOST_TEST((headers[1] == ckan::field{"b", "numeric", object(R"({"label":"b"})")}));
  BOOST_TEST(headers.size() == 2U);
}

BOOST_AUTO_TEST_CASE(restored_fields_derive_their_type_from_the_override_and_are_text_without_a_known_one) {
  auto const fields = ckan::restored_fields(object(
      R"({"a":{"type_override":"text"},"b":{"type_override":"numeric"},"c":{"type_override":"timestamp"},)"
      R"("d":{"type_override":"date"},"e":{},"f":{"type_override":"money"},"g":{"type_override":7},"h":{"type_override":""}})"));
  std::string types;
  for (auto const& f : fields) types += f.id + ":" + f.type + " ";
  BOOST_TEST(types == "a:text b:numeric c:timestamp d:date e:text f:text g:text h:text ");
  BOOST_TEST((fields[1].info == object(R"({"type_override":"numeric"})")));
}

BOOST_AUTO_TEST_CASE(a_type_mapping_of_ones_own_replaces_the_known_types) {
  ckan::type_mapping const types{{"money", "numeric"}};
  auto const fields =
      ckan::restored_fields(object(R"({"a":{"type_override":"money"},"b":{"type_override":"date"}})"), types);
  BOOST_TEST(fields[0].type == "numeric");
  BOOST_TEST(fields[1].type == "text");
  ckan::fields headers{{"a", "text", std::nullopt}};
  ckan::annotate(headers, object(R"({"a":{"type_override":"money"}})"), types);
  BOOST_TEST(headers[0].type == "numeric");
}

BOOST_AUTO_TEST_CASE(what_is_beside_info_is_restored_beside_it) {
  auto const fields = ckan::restored_fields(ckan::dictionary_of(annotated));
  BOOST_TEST((fields.size() == 4U && fields[1].beside == annotated[1].beside && fields[1].info == annotated[1].info));
  BOOST_TEST((fields[2].beside == annotated[3].beside && !fields[2].info));
  BOOST_TEST((ckan::dictionary_of(fields) == ckan::dictionary_of(annotated)));
}

BOOST_AUTO_TEST_CASE(the_order_of_the_info_stays_when_the_beside_is_taken_out) {
  auto const dictionary = object(R"({"f":{"z":1,"_beside":{"p":1},"a":2,"m":3}})");
  BOOST_TEST(json::serialize(*ckan::restored_fields(dictionary)[0].info) == R"({"z":1,"a":2,"m":3})");
}

BOOST_AUTO_TEST_CASE(an_info_with_a_beside_of_its_own_is_refused_rather_than_moved) {
  for (char const* const name : {"_beside", "_verbatim"}) {
    auto const convert = [&] { ckan::dictionary_of({{"f", "text", json::object{{name, json::object{}}}}}); };
    BOOST_TEST(code_of(convert) == errc::unserializable);
    BOOST_TEST(support::message_of(convert).find(name) != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(a_text_of_somebodys_travels_beside_what_it_says) {
  ckan::fields const typed{{"remark", "text", std::nullopt, {}, "From SAP field VBELN"},
                           {"odd", "text", object(R"({"n":1,"type_override":"numeric"})"), {}, R"({"n":1.0})"},
                           {"bare", "text", std::nullopt}};
  auto const dictionary = ckan::dictionary_of(typed);
  BOOST_TEST(json::serialize(dictionary) == R"({"remark":{"_verbatim":"From SAP field VBELN"},)"
                                            R"("odd":{"n":1,"type_override":"numeric","_verbatim":"{\"n\":1.0}"}})");
  ckan::fields headers{{"odd", "text", std::nullopt},
                       {"remark", "text", object(R"({"label":"of the program"})")},
                       {"bare", "text", std::nullopt, {}, "of the program"}};
  ckan::annotate(headers, dictionary);
  BOOST_TEST((headers[0] == ckan::field{"odd", "numeric", typed[1].info, {}, typed[1].comment}));
  BOOST_TEST((headers[1] == typed[0]));
  BOOST_TEST((headers[2].comment == "of the program"));
  auto const restored = ckan::restored_fields(dictionary);
  BOOST_TEST((restored.size() == 2U && restored[0] == typed[0] && restored[1] == headers[0]));
  ckan::annotate(headers, {{"odd", json::object{{"label", "new"}}}});
  BOOST_TEST((!headers[0].comment && headers[0].info == json::object{{"label", "new"}}));
}

BOOST_AUTO_TEST_CASE(what_was_written_on_the_table_itself_is_no_field) {
  ckan::data_dictionary const dictionary{{ckan::table_key, {{"comment", "made by hand"}}}, {"a", json::object{}}};
  BOOST_TEST(ckan::restored_fields(dictionary).size() == 1U);
  ckan::fields headers{{"a", "text", std::nullopt}};
  ckan::annotate(headers, dictionary);
  BOOST_TEST(headers[0].info->empty());
}

BOOST_AUTO_TEST_CASE(entries_that_are_no_objects_are_a_mismatch_that_names_the_field) {
  for (char const* const bad : {R"({"f":1})", R"({"f":null})", R"({"f":{"_beside":1}})", R"({"f":{"_verbatim":1}})"}) {
    BOOST_TEST(code_of([&] { ckan::restored_fields(object(bad)); }) == errc::mismatch);
    BOOST_TEST(code_of([&] {
                 ckan::fields headers{{"f", "text", std::nullopt}};
                 ckan::annotate(headers, object(bad));
               }) == errc::mismatch);
  }
  BOOST_TEST(
      support::message_of([] { ckan::restored_fields(object(R"({"f":1})")); }).starts_with("restored_fields \"f\""));
}

namespace {

/// What is written of a comment that was read, once as it is and once after a stay in a stash.
std::vector<std::string> comes_back(std::string const& text) {
  ckan::field read{"f", "text", std::nullopt};
  ckan::detail::take_comment(read, text);
  stash::json_serializer const json;
  auto const saved = json.deserialize<ckan::data_dictionary>(json.serialize(ckan::dictionary_of({read})));
  ckan::fields headers{{"f", "text", std::nullopt}};
  ckan::annotate(headers, saved);
  return {ckan::detail::comment_of(read).value_or(""), ckan::detail::comment_of(headers[0]).value_or(""),
          ckan::detail::comment_of(ckan::restored_fields(saved).at(0)).value_or("")};
}

/// Comments that are nearly CKAN's, and often are.
class comments {
 public:
  std::string next() {
    std::string text = pick({"", " ", " ", "  ", "\n", "\xef\xbb\xbf", "x"});
    text += one_in(6) ? value(0) : object(0);
    if (one_in(8)) text += pick({" ", "\n", " {}", "x", "\0"});
    while (one_in(4)) text[roll(text.size())] = pick({"\"", "{", "}", "\\", " ", "N", "0", "'", ","})[0];
    return text;
  }
  std::string object(int depth) {
    std::string text = "{";
    for (auto n = roll(4); n > 0; --n) {
      text += space() +
              pick({"\"_info\"", "\"label\"", "\"\\u005finfo\"", "\"a\\\"}\"", "\"_beside\"", "\"_verbatim\"", "\"\""});
      text += space() + ":" + space() + (depth == 0 && one_in(2) ? object(1) : value(depth + 1)) + space();
      if (n > 1) text += ",";
    }
    return text + space() + "}";
  }

 private:
  std::size_t roll(std::size_t n) { return std::uniform_int_distribution<std::size_t>{0, n - 1}(random_); }
  bool one_in(std::size_t n) { return roll(n) == 0; }
  std::string pick(std::vector<std::string> const& all) { return all[roll(all.size())]; }
  std::string space() { return one_in(8) ? pick({" ", "\n", "\t"}) : ""; }
  std::string value(int depth) {
    if (depth < 4 && one_in(4)) return object(depth);
    if (one_in(60)) return std::string(70, '[') + std::string(70, ']');
    return pick({"1",
                 "-0",
                 "0",
                 "1.0",
                 "1.10",
                 "1E2",
                 "0.1",
                 "1E-1",
                 "12345678901234567890123",
                 "18446744073709551615",
                 "1e400",
                 "1e-400",
                 "1e99999999999",
                 "NaN",
                 "-Infinity",
                 "Infinity",
                 "null",
                 "true",
                 "\"NaN\"",
                 "[]",
                 "[1,{\"a\":[]}]",
                 "\"\\u00e9\\/\\ud83d\\ude00\"",
                 "\"\u00e9\"",
                 "\"\\ud800\"",
                 "\"\"",
                 "{}",
                 "'x'"});
  }
  std::mt19937 random_{17};
};

}  // namespace

BOOST_AUTO_TEST_CASE(every_comment_comes_back_byte_for_byte) {
  comments all;
  std::size_t read = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string const text = all.next();
    if (text.empty() || !stash::detail::is_utf8(text)) continue;
    read += ckan::detail::object_in(text).has_value();
    for (auto const& back : comes_back(text)) {
      if (back != text) BOOST_ERROR("\"" << text << "\" came back as \"" << back << '"');
    }
  }
  BOOST_TEST(read > 2'000U);
}

BOOST_AUTO_TEST_CASE(what_a_comment_says_is_read_in_both_forms_of_ckan_and_as_python_writes_it) {
  auto const info_of = [](std::string const& text) { return ckan::detail::read_comment(text).info; };
  BOOST_TEST((info_of(R"({"label":"T","max":NaN})") == object(R"({"label":"T","max":null})")));
  BOOST_TEST((info_of(R"( {"_info":{"a":-Infinity,"b":"NaN \"NaN","c":[Infinity]}})") ==
              object(R"({"a":null,"b":"NaN \"NaN","c":[null]})")));
  BOOST_TEST((info_of(" {\"_info\":{\"n\":12345678901234567890123}}")->at("n").is_double()));
  for (char const* const none : {"From SAP field VBELN", "{half", "[]", "{\"a\":1} {}", "{'a':1}", "\xef\xbb\xbf{}",
                                 "NaN", "\"\\", R"({"_beside":{}})", R"( {"_info":{"_verbatim":1}})"}) {
    BOOST_TEST(!info_of(none), none);
  }
  auto const deep = [](std::size_t n, std::string text) {
    return (text += std::string(n, '[') + std::string(n, ']')) += '}';
  };
  BOOST_TEST(!info_of(deep(63, "{\"a\":")));
  BOOST_TEST(!!info_of(deep(62, "{\"a\":")));
  BOOST_TEST(ckan::detail::read_comment(deep(62, " {\"a\":")).beside.empty());
  BOOST_TEST(ckan::detail::read_comment(deep(61, " {\"a\":")).beside.size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_text_that_says_something_else_than_info_and_beside_is_not_written) {
  ckan::field f{"f", "text", object(R"({"label":"new"})"), {}, R"({"label":"old"})"};
  BOOST_TEST((ckan::detail::comment_of(f) == R"( {"_info":{"label":"new"}})"));
  f.comment = "a remark";
  BOOST_TEST((ckan::detail::comment_of(f) == R"( {"_info":{"label":"new"}})"));
  f.comment = R"( {"_info":{"label":"new"},"p":1})";
  BOOST_TEST((ckan::detail::comment_of(f) == R"( {"_info":{"label":"new"}})"));
  f.beside = object(R"({"p":1})");
  f.comment = R"( {"p":1,"_info":{"label":"new"}})";
  BOOST_TEST((ckan::detail::comment_of(f) == f.comment));
}
BOOST_AUTO_TEST_CASE(what_python_reads_and_json_has_not_is_read_as_near_as_can_be_and_stays_as_it_stands) {
  for (auto const& [text, read] : std::vector<std::pair<std::string, std::string>>{
           {R"({"label":"T","max":1e400})", R"({"label":"T","max":null})"},
           {R"({"max":-1e400,"min":1e-400})", R"({"max":null,"min":0})"},
           {R"({"max":[1E999,NaN,-Infinity,2.50]})", R"({"max":[null,null,null,2.5E0]})"},
           {R"({"label":"\ud83d"})", "{\"label\":\"\uFFFD\"}"},
           {R"({"label":"\uD83D"})", "{\"label\":\"\uFFFD\"}"},
           {R"({"label":"\uD83D\uDE00"})", "{\"label\":\"\U0001F600\"}"},
           {R"({"label":"a\udE00b\ud83D"})", "{\"label\":\"a\uFFFDb\uFFFD\"}"},
           {R"({"label":"\ud83d\ude00 \\ud83d \u0041"})", "{\"label\":\"\U0001F600 \\\\ud83d A\"}"},
           {R"({"label":"1e400 NaN"})", R"({"label":"1e400 NaN"})"}}) {
    auto const found = ckan::detail::read_comment(text).info;
    BOOST_REQUIRE_MESSAGE(found.has_value(), text);
    BOOST_TEST(json::serialize(*found) == read);
    BOOST_TEST((ckan::detail::comment_of({"f", "text", std::nullopt, {}, text}) == text));
    std::string const beside = " {\"_info\":" + text + ",\"p\":{\"note\":\"by hand\"}}";
    BOOST_TEST(ckan::detail::with_info(beside, "{\"label\":\"new\"}") ==
               " {\"_info\":{\"label\":\"new\"},\"p\":{\"note\":\"by hand\"}}");
    BOOST_TEST(ckan::detail::with_info(text, "{\"label\":\"new\"}") == "{\"label\":\"new\"}");
  }
}
BOOST_AUTO_TEST_CASE(a_comment_that_comes_alone_is_written_as_it_is) {
  for (char const* const text : {R"({"label":"x"})", R"( {"_info":{"x":NaN}})", R"({"max":1234567890123456789012.5})",
                                 R"( {"p":1})", "a remark", "[1]", "{half", "{}", " "}) {
    BOOST_TEST((ckan::detail::comment_of({"f", "text", std::nullopt, {}, text}) == text));
  }
}
BOOST_AUTO_TEST_CASE(a_remark_gives_way_to_no_info_that_does_not_have_it_in_its_notes) {
  auto const code = [](std::string_view remark, char const* info) {
    return code_of([&] { ckan::detail::refuse_lost_remark(remark, json::parse(info).as_object()); });
  };
  for (char const* const remark : {"From SAP field VBELN", "[1]", "{half", "NaN", "\"text\""}) {
    BOOST_TEST(code(remark, R"({"label":"Order"})") == errc::mismatch, remark);
    BOOST_TEST(code(remark, R"({"notes":1})") == errc::mismatch, remark);
    BOOST_TEST(code(remark, R"({"notes":"another"})") == errc::mismatch, remark);
    BOOST_TEST(code_of([&] { ckan::detail::refuse_lost_remark(remark, std::nullopt); }) == errc::mismatch, remark);
    json::object const with{{"notes", "see: " + std::string(remark) + "."}};
    BOOST_TEST(code_of([&] { ckan::detail::refuse_lost_remark(remark, with); }) == boost::system::error_code{}, remark);
  }
  for (char const* const none : {"", " \n", R"({"label":"x"})", R"( {"p":1})", R"({"x":NaN})"}) {
    BOOST_TEST(code(none, R"({"label":"Order"})") == boost::system::error_code{}, none);
  }
}

BOOST_AUTO_TEST_CASE(new_info_goes_into_a_comment_and_all_else_stays_byte_for_byte) {
  auto const with = [](char const* text) { return ckan::detail::with_info(text, R"({"x":1})"); };
  BOOST_TEST(with(R"( {"p":12345678901234567890123, "_info" : {"a":"}"} ,"q":[1.10,"\"}"]})") ==
             R"( {"p":12345678901234567890123, "_info" :{"x":1},"q":[1.10,"\"}"]})");
  BOOST_TEST(with(R"( {"\u005finfo":{}})") == R"( {"\u005finfo":{"x":1}})");
  BOOST_TEST(with(R"( {"_info":{"a":1},"_info":{"a":2}})") == R"( {"_info":{"a":1},"_info":{"x":1}})");
  BOOST_TEST(with(R"( {"p":NaN})") == R"( {"_info":{"x":1},"p":NaN})");
  BOOST_TEST(with(" { }") == R"( {"_info":{"x":1} })");
  BOOST_TEST(with(R"({"label":"old"})") == R"({"x":1})");
  for (char const* const none : {"", "a remark", "{half", " [1]"}) BOOST_TEST(with(none) == R"( {"_info":{"x":1}})");
  comments all;
  for (int i = 0; i < 5'000; ++i) {
    std::string const text = ' ' + all.object(0);
    auto const before = ckan::detail::read_comment(text);
    auto const after = ckan::detail::read_comment(ckan::detail::with_info(text, R"({"x":1})"));
    if (after.info != object(R"({"x":1})")) BOOST_ERROR(text);
    if (before.info && after.beside != before.beside) BOOST_ERROR(text);
  }
}

BOOST_AUTO_TEST_CASE(a_dictionary_that_a_person_wrote_is_read_exactly_or_its_text_is_kept_or_it_is_refused) {
  auto const parse = [](std::string const& value) {
    return ckan::parse_dictionary(R"({"day":{}, "wind" : {"n":)" + value + "} }").at("wind").as_object();
  };
  for (char const* const exact : {"1",
                                  "0",
                                  "-1",
                                  "18446744073709551615",
                                  "-9223372036854775808",
                                  "1.0",
                                  "1.00",
                                  "1E2",
                                  "1.10",
                                  "0.1",
                                  "100e-2",
                                  "-0.0",
                                  "5e-324",
                                  "1.7976931348623157e308",
                                  "0e5",
                                  "0.000",
                                  "12e+3",
                                  "9007199254740993",
                                  "1e23",
                                  "\"NaN\"",
                                  "[{\"a\":1},{\"a\":1}]",
                                  "{\"wind\":1,\"a\":{\"a\":1}}"}) {
    BOOST_TEST(!parse(exact).contains("_verbatim"), exact);
  }
  for (std::string const inexact :
       {"12345678901234567890123", "18446744073709551616", "-9223372036854775809", "-0",
        "0.1000000000000000055511151231257827", "9007199254740993.0", "1.00000000000000000001",
        "[123456789012345678901e-5]", "{\"}\": 123456789012345678901234567890.0 }"}) {
    auto const read = parse(inexact);
    BOOST_TEST((read.contains("_verbatim") && read.at("_verbatim").as_string() == "{\"n\":" + inexact + '}'), inexact);
    BOOST_TEST(ckan::detail::info_to_write(read, "") == "{\"n\":" + inexact + '}');
  }
  for (char const* const bad : {"1e400", "-1e400", "1e99999999999", "NaN", "{\"a\":1,\"a\":1}",
                                "[{\"a\":{},\"b\":1,\"a\":2}]", "1,\"_beside\":{}", "1,\"_verbatim\":\"\""}) {
    BOOST_TEST(code_of([&] { parse(bad); }) == errc::mismatch, bad);
    auto const message = support::message_of([&] { parse(bad); });
    BOOST_TEST(message.starts_with("parse \"wind\": "), message);
  }
  for (char const* const bad : {"", "[]", "[1]", "{} {}", R"({"a":{},"a":{}})", "{half"}) {
    BOOST_TEST(code_of([&] { ckan::parse_dictionary(bad); }) == errc::mismatch, bad);
  }
  BOOST_TEST((ckan::parse_dictionary(R"({"z":{"l":1.5},"a":{},"b":12345678901234567890123})") ==
              object(R"({"z":{"l":1.5},"a":{},"b":12345678901234567890123})")));
  BOOST_TEST(ckan::parse_dictionary(" { } ").empty());
  BOOST_TEST((ckan::parse_dictionary(R"({"w\u0069nd":{"\u0041":-0}})") ==
              json::object{{"wind", {{"A", 0}, {"_verbatim", R"({"\u0041":-0})"}}}}));
  BOOST_TEST(code_of([] { ckan::parse_dictionary(R"({"a":{"b":1,"\u0062":1}})"); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_text_beside_an_info_is_written_only_where_it_says_the_same) {
  for (char const* const bad :
       {R"({"n":1,"_verbatim":"{\"n\":2}"})", R"({"_verbatim":"a remark"})", R"({"_verbatim":1})",
        R"({"_beside":{"p":1}})", R"({"n":1,"_verbatim":" {\"_info\":{\"n\":1}}"})", "1"}) {
    BOOST_TEST(code_of([&] { ckan::detail::info_to_write(json::parse(bad), ""); }) == errc::mismatch, bad);
  }
}

BOOST_AUTO_TEST_CASE(the_info_is_shown_as_somebody_wrote_it) {
  auto const shown = [](char const* comment) {
    ckan::field f{"f", "text", std::nullopt};
    ckan::detail::take_comment(f, comment);
    return ckan::info_text(f);
  };
  BOOST_TEST(shown(R"( {"p":{},"_info":{"n":12345678901234567890123, "m":1.10},"q":1})") ==
             R"({"n":12345678901234567890123, "m":1.10})");
  BOOST_TEST(shown(R"({"n":1.10})") == R"({"n":1.10})");
  BOOST_TEST(ckan::info_text({"f", "text", object(R"({"n":1.5})")}) == R"({"n":1.5E0})");
  BOOST_TEST(shown(R"({"n":NaN})") == R"({"n":null})");
  BOOST_TEST(shown(R"( {"p":1.10})") == "null");
  BOOST_TEST(shown("a remark") == "null");
}

BOOST_AUTO_TEST_CASE(a_field_name_is_what_ckan_takes_for_one) {
  for (char const* const good :
       {"a", "A b", "a_", "quo'te", "new\nline", "\u65e5\u672c", "a\u3000b", "-", "\u200bz", "e\u0301"}) {
    BOOST_TEST((ckan::detail::why_no_field_name(good) == nullptr), good);
  }
  for (char const* const bad : {"_a", "_", "\"", "a\"b", " a", "a ", " ", "\ta", "a\n", "\u00a0a", "a\u3000", "a\u2028",
                                "\x1f"
                                "a",
                                "\u0085"
                                "a",
                                "a\u205f",
                                "\u1680"
                                "a",
                                "a\u202f"}) {
    BOOST_TEST((ckan::detail::why_no_field_name(bad) != nullptr), bad);
  }
}

BOOST_AUTO_TEST_CASE(many_columns_take_no_more_than_their_share_of_time) {
  ckan::fields many;
  for (int i = 0; i < 100'000; ++i) many.push_back({"c" + std::to_string(i), "text", json::object{{"label", i}}});
  auto const begin = std::chrono::steady_clock::now();
  auto const dictionary = ckan::dictionary_of(many);
  ckan::annotate(many, dictionary);
  BOOST_TEST(ckan::restored_fields(dictionary).size() == 100'000U);
  std::vector<std::string> names;
  for (auto const& f : many) names.push_back(f.id);
  ckan::detail::refuse_equal_names(names, "test", "orders");
  BOOST_TEST((std::chrono::steady_clock::now() - begin < std::chrono::seconds(20)));  // quadratic: minutes
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace data_dictionary_test
