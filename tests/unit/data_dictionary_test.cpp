#include <stash/ckan/data_dictionary.hpp>

#include "support.hpp"

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
  BOOST_TEST(code_of([] {
               ckan::dictionary_of({{"f", "text", object(R"({"_beside":{}})")}});
             }) == errc::unserializable);
}

BOOST_AUTO_TEST_CASE(entries_that_are_no_objects_are_a_mismatch_that_names_the_field) {
  for (char const* const bad : {R"({"f":1})", R"({"f":null})", R"({"f":{"_beside":1}})"}) {
    BOOST_TEST(code_of([&] { ckan::restored_fields(object(bad)); }) == errc::mismatch);
    BOOST_TEST(code_of([&] {
                 ckan::fields headers{{"f", "text", std::nullopt}};
                 ckan::annotate(headers, object(bad));
               }) == errc::mismatch);
  }
  BOOST_TEST(
      support::message_of([] { ckan::restored_fields(object(R"({"f":1})")); }).starts_with("restored_fields \"f\""));
}

BOOST_AUTO_TEST_SUITE_END()
