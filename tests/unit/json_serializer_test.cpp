#include <array>
#include <bit>
#include <boost/describe.hpp>
#include <boost/optional/optional.hpp>
#include <boost/utility/string_view.hpp>
#include <boost/variant2/variant.hpp>
#include <clocale>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "support.hpp"

namespace json_serializer_test {

using namespace std::string_literals;
namespace json = boost::json;
using stash::errc;
using stash::json_serializer;
using support::code_of;

namespace {

json_serializer const z;

template <class T>
T there_and_back(T const& v) {
  return z.deserialize<T>(z.serialize(v));
}

json::value nested(std::size_t levels) {
  json::value v = nullptr;
  for (std::size_t i = 0; i < levels; ++i) {
    if (i % 2 == 0) {
      json::array a;
      a.emplace_back(std::move(v));
      v = std::move(a);
    } else {
      json::object o;
      o.emplace("k", std::move(v));
      v = std::move(o);
    }
  }
  return v;
}

}  // namespace

namespace user {
struct column {
  std::string label;
  std::optional<double> scale;
  std::vector<int> sizes;
  friend bool operator==(column const&, column const&) = default;
};
BOOST_DESCRIBE_STRUCT(column, (), (label, scale, sizes))

struct forgetful {
  std::string label;
  std::optional<double> scale{};
  friend bool operator==(forgetful const&, forgetful const&) = default;
};
BOOST_DESCRIBE_STRUCT(forgetful, (), (label))
struct forgetful_without_equality {
  int a;
  int b;
};
BOOST_DESCRIBE_STRUCT(forgetful_without_equality, (), (a))
struct holder {
  std::map<std::string, std::vector<forgetful>> all;
  std::unordered_set<int> numbers;
  friend bool operator==(holder const&, holder const&) = default;
};
BOOST_DESCRIBE_STRUCT(holder, (), (all, numbers))
struct any_number {
  std::variant<int, double> number;
  int forgotten = 0;
  friend bool operator==(any_number const&, any_number const&) = default;
};
BOOST_DESCRIBE_STRUCT(any_number, (), (number))
struct never_equal {
  double forgotten = std::nan("");
  friend bool operator==(never_equal const&, never_equal const&) = default;
};
BOOST_DESCRIBE_STRUCT(never_equal, (), ())

/// A part of itself, and in no description forgotten.
struct tree {
  std::string name;
  std::vector<tree> branches;
  friend bool operator==(tree const&, tree const&) = default;
};
BOOST_DESCRIBE_STRUCT(tree, (), (name, branches))
struct tree_of_views {
  std::vector<tree_of_views> branches;
  std::map<std::string, std::optional<std::string_view>> names;
};
BOOST_DESCRIBE_STRUCT(tree_of_views, (), (branches, names))
struct derived : tree_of_views {
  int i;
};
BOOST_DESCRIBE_STRUCT(derived, (tree_of_views), (i))
class with_private_view {
  std::string_view view_;
  BOOST_DESCRIBE_CLASS(with_private_view, (), (), (), (view_))
};
struct unknown;
/// A text in itself, as views are trivially copied and become a std::string_view.
struct code {
  char letters[4] = {'a', 'b', 'c', 0};
  operator std::string_view() const { return letters; }
};
struct coded {
  code c;
};
BOOST_DESCRIBE_STRUCT(coded, (), (c))

/// Writes what it cannot read again.
struct one_way {};
inline void tag_invoke(json::value_from_tag, json::value& v, one_way const&) { v = "text"; }
inline one_way tag_invoke(json::value_to_tag<one_way>, json::value const&) { throw std::runtime_error("no way back"); }

struct too_big {};
inline void tag_invoke(json::value_from_tag, json::value& v, too_big const&) { v = 1; }
inline too_big tag_invoke(json::value_to_tag<too_big>, json::value const&) { throw std::bad_alloc{}; }

struct thrower {};
inline void tag_invoke(json::value_from_tag, json::value&, thrower const&) { throw std::logic_error("midway"); }
inline thrower tag_invoke(json::value_to_tag<thrower>, json::value const&) { return {}; }

/// As std::optional is from C++26 on: a range, and a view by its name.
template <class T>
struct optional_of_cpp26 {
  using value_type = T;
  bool has_value() const { return true; }
  explicit operator bool() const { return true; }
  T const& operator*() const { return value; }
  T const* begin() const { return &value; }
  T const* end() const { return &value + 1; }
  T value;
};
}  // namespace user

}  // namespace json_serializer_test

template <class T>
inline constexpr bool std::ranges::enable_view<json_serializer_test::user::optional_of_cpp26<T>> = true;

namespace json_serializer_test {

BOOST_AUTO_TEST_SUITE(json_serialization)

BOOST_AUTO_TEST_CASE(values_of_every_kind_come_back_equal_and_in_order) {
  for (char const* const text :
       {"{}", "[]", "null", "true", "false", "0", "\"\"", "[[]]", "[{}]", "{\"b\":1,\"a\":2,\"c\":{\"z\":0,\"y\":0}}",
        "[-9223372036854775808,9223372036854775807,18446744073709551615,9007199254740993]",
        "\"\\u0000\\u001f\\\"\\\\\""}) {
    json::value const v = json::parse(text);
    auto const back = there_and_back(v);
    BOOST_TEST(back == v);
    BOOST_TEST(json::serialize(back) == json::serialize(v));
  }
}

BOOST_AUTO_TEST_CASE(the_bytes_are_those_of_boost_however_many_more_or_fewer_than_expected) {
  json::array numbers, nothing;
  for (int i = 0; i < 10'000; ++i) numbers.push_back(i % 10);
  for (int i = 0; i < 10'000; ++i) nothing.push_back(json::array{});
  for (json::value const& v :
       {json::value(std::string(100'000, '\x01')), json::value(std::string(100'000, 'x')), json::value(numbers),
        json::value(nothing), json::value(-1.2345678901234567e-300), json::value(json::object{}), json::value("")}) {
    BOOST_TEST(z.serialize(v) == json::serialize(v));
  }
}

BOOST_AUTO_TEST_CASE(an_object_does_not_become_an_array_around_it) {
  json::value const v{{"a", 1}};
  BOOST_TEST(there_and_back(v).is_object());
  json::value const one = json::array{1};
  BOOST_TEST(there_and_back(one).as_array().size() == 1U);
  BOOST_TEST((z.deserialize<json::array>("[1]") == json::array{1}));
  BOOST_TEST((z.deserialize<json::object>("{\"a\":1}") == json::object{{"a", 1}}));
  BOOST_TEST((z.deserialize<json::string>("\"a\"") == "a"));
}

BOOST_AUTO_TEST_CASE(every_finite_double_comes_back_bit_for_bit) {
  std::mt19937_64 random{42};
  std::vector<double> all{0.0,
                          -0.0,
                          0.1,
                          1e22,
                          1e23,
                          5e-324,
                          -5e-324,
                          2.2250738585072011e-308,
                          1.7976931348623157e308,
                          9007199254740991.0,
                          9007199254740993.0,
                          1.0,
                          3.0,
                          123456789012345680.0};
  for (int i = 0; i < 200'000; ++i) all.push_back(std::uniform_real_distribution<double>(-1e9, 1e9)(random));
  while (all.size() < 400'000) {
    double const d = std::bit_cast<double>(random());
    if (std::isfinite(d)) all.push_back(d);
  }
  json::array a(all.begin(), all.end());
  auto const back = there_and_back(json::value(a)).as_array();
  std::size_t different = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    different += !back[i].is_double() ||
                 std::bit_cast<std::uint64_t>(back[i].get_double()) != std::bit_cast<std::uint64_t>(all[i]);
  }
  BOOST_TEST(different == 0U);
}

BOOST_AUTO_TEST_CASE(a_standard_library_without_from_chars_reads_the_same_doubles) {
  std::mt19937_64 random{7};
  std::vector<std::string> texts{"0",
                                 "-0",
                                 "-0E0",
                                 "5E-1",
                                 "5e-324",
                                 "2.4703282292062328e-324",
                                 "2.4703282292062327e-324",
                                 "1e-400",
                                 "2.2250738585072011e-308",
                                 "1e400",
                                 "-1e400",
                                 "1.7976931348623157e308",
                                 "1.7976931348623159e308",
                                 "9007199254740993",
                                 "9007199254740992.99999999999999999999999999999999999999",
                                 "",
                                 "x",
                                 "1x",
                                 "1,5",
                                 "0." + std::string(400, '3'),
                                 "1" + std::string(300, '7') + ".5"};
  for (int i = 0; i < 50'000; ++i) {
    double const d = std::bit_cast<double>(random());
    if (!std::isfinite(d)) continue;
    texts.push_back(json::serialize(json::value(d)));
    texts.push_back(texts.back() + "1");  // another exponent
    texts.push_back("1" + texts.back());
  }
  for (char const* const locale : {"C", "de_DE.UTF-8"}) {  // the second where it is there
    std::setlocale(LC_ALL, locale);
    std::size_t different = 0;
    for (auto const& text : texts) {
      double a = 0, b = 0;
      bool const is_a = stash::detail::nearest_double(text, a);
      bool const is_b = stash::detail::nearest_double_by_strtod(text, b);
      bool const is_same =
          is_a == is_b && (!is_a || std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b));
      if (!is_same) BOOST_TEST_MESSAGE(text);
      different += !is_same;
    }
    std::setlocale(LC_ALL, "C");
    BOOST_TEST(different == 0U);
  }
}

BOOST_AUTO_TEST_CASE(any_valid_utf8_comes_back) {
  std::string all;
  for (std::uint32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    if (c < 0x80) {
      all += static_cast<char>(c);
    } else if (c < 0x800) {
      all += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
    } else if (c < 0x10000) {
      all += {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
              static_cast<char>(0x80 | (c & 63))};
    } else {
      all += {static_cast<char>(0xf0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
              static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
    }
  }
  json::object o{{all.substr(0, 5000), all}};
  BOOST_TEST((there_and_back(o) == o));
}

BOOST_AUTO_TEST_CASE(what_could_not_come_back_is_refused_on_save) {
  double const inf = std::numeric_limits<double>::infinity();
  for (json::value const& bad :
       {json::value(std::nan("")), json::value(inf), json::value(-inf), json::value{{"a", {1, inf}}},
        json::value("\xff"), json::value("\xed\xa0\x80"), json::value("a\xc3"), json::value{{"\xff", 1}},
        json::value{{"a", {{"b", "\xc0\x80"}}}}}) {
    BOOST_TEST(code_of([&] { z.serialize(bad); }) == errc::unserializable);
  }
  BOOST_TEST(code_of([&] { z.serialize(json::string("\xff")); }) == errc::unserializable);
  BOOST_TEST(code_of([&] { z.serialize(inf); }) == errc::unserializable);
  BOOST_TEST(code_of([&] { z.serialize("\xff"s); }) == errc::unserializable);
}

BOOST_AUTO_TEST_CASE(sixty_four_levels_come_back_and_one_more_is_refused) {
  BOOST_TEST((there_and_back(nested(64)) == nested(64)));
  BOOST_TEST(code_of([] { z.serialize(nested(65)); }) == errc::unserializable);
  BOOST_TEST(code_of([] { z.serialize(nested(65).as_array()); }) == errc::unserializable);
  BOOST_TEST((there_and_back(nested(64).as_object()) == nested(64).as_object()));
  BOOST_TEST(code_of([] { z.serialize(nested(66).as_object()); }) == errc::unserializable);
  BOOST_TEST(code_of([] { z.deserialize<json::value>(std::string(65, '[') + std::string(65, ']')); }) ==
             errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_hundred_thousand_levels_are_refused_without_using_the_stack_for_them) {
  BOOST_TEST(code_of([] { z.deserialize<json::value>(std::string(100'000, '[')); }) == errc::mismatch);
  json::value const deep = nested(20'000);
  BOOST_TEST(code_of([&] { z.serialize(deep); }) == errc::unserializable);
}

BOOST_AUTO_TEST_CASE(bytes_that_are_not_json_are_a_mismatch) {
  for (auto const& bad : {""s, " "s, "{"s, "nul"s, "{} x"s, "1e400"s, "-1e400"s, "NaN"s, "\"\xff\""s, "\"\\ud800\""s,
                          "\xEF\xBB\xBF{}"s, "[1,]"s, "01"s, "{\"a\":1,}"s, "\"a\nb\""s, "\0"s}) {
    BOOST_TEST(code_of([&] { z.deserialize<json::value>(bad); }) == errc::mismatch, bad);
  }
}

BOOST_AUTO_TEST_CASE(of_equal_names_the_last_counts) {
  BOOST_TEST((z.deserialize<json::value>(R"({"a":1,"b":2,"a":3})").at("a") == 3));
}

BOOST_AUTO_TEST_CASE(users_types_come_back_through_value_from_and_value_to) {
  user::column const c{"Länge", 0.1, {1, 2}};
  BOOST_TEST((there_and_back(c) == c));
  user::column const none{"", std::nullopt, {}};
  BOOST_TEST((there_and_back(none) == none));
  std::map<std::string, std::vector<std::uint64_t>> const m{{"x", {~0ULL}}, {"", {}}};
  BOOST_TEST((there_and_back(m) == m));
  BOOST_TEST(there_and_back("text"s) == "text");
  std::unordered_set<std::string> const any_order{"a", "b", "c", "d", "e"};
  BOOST_TEST((there_and_back(any_order) == any_order));
  BOOST_TEST(there_and_back(-0.0) == 0.0);
}

BOOST_AUTO_TEST_CASE(a_lack_of_memory_is_no_mismatch) {
  BOOST_CHECK_THROW(z.deserialize<user::too_big>("1"), std::bad_alloc);
}

BOOST_AUTO_TEST_CASE(bytes_of_another_type_are_a_mismatch) {
  BOOST_TEST(code_of([] { z.deserialize<user::column>("{}"); }) == errc::mismatch);
  auto const why = support::message_of([] { z.deserialize<user::column>("{\"label\":\"a\"}"); });
  BOOST_TEST(why.find("it has more or fewer members than the type") != why.npos, why);
  BOOST_TEST(code_of([] { z.deserialize<user::column>("[]"); }) == errc::mismatch);
  BOOST_TEST(code_of([] { z.deserialize<int>("\"1\""); }) == errc::mismatch);
  BOOST_TEST(code_of([] { z.deserialize<json::object>("[]"); }) == errc::mismatch);
  BOOST_TEST(code_of([] { z.deserialize<json::array>("{}"); }) == errc::mismatch);
  BOOST_TEST(code_of([] { z.deserialize<json::string>("1"); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_type_that_does_not_convert_back_is_refused_on_save) {
  BOOST_TEST(code_of([] { z.serialize(user::one_way{}); }) == errc::unserializable);
  BOOST_CHECK_THROW(z.serialize(user::thrower{}), std::logic_error);
}

BOOST_AUTO_TEST_CASE(a_member_that_was_forgotten_in_its_description_is_found_on_save_where_there_is_an_equality) {
  BOOST_TEST((there_and_back(user::forgetful{"a"}) == user::forgetful{"a"}));
  user::forgetful const forgotten{"a", 1.5};
  BOOST_TEST(code_of([&] { z.serialize(forgotten); }) == errc::unserializable);
  BOOST_TEST(support::message_of([&] { z.serialize(forgotten); }).find("is each member described?") !=
             std::string::npos);
  BOOST_TEST(code_of([&] { z.serialize(std::vector{forgotten}); }) == errc::unserializable);
  BOOST_TEST(code_of([&] {
               z.serialize(std::map<std::string, user::forgetful>{{"x", forgotten}});
             }) == errc::unserializable);
  user::holder const fine{{{"x", {{"a"}, {"b"}}}}, {1, 2, 3, 4, 5}};
  BOOST_TEST((there_and_back(fine) == fine));
  BOOST_TEST(code_of([&] {
               z.serialize(user::holder{{{"x", {{"a"}, forgotten}}}, {1, 2, 3}});
             }) == errc::unserializable);
  // Null is both the outer one and the inner one.
  BOOST_TEST(code_of([] { z.serialize(std::vector<std::optional<std::optional<int>>>{{std::optional<int>()}}); }) ==
             errc::unserializable);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_compared_is_saved_all_the_same) {
  BOOST_TEST(z.serialize(user::forgetful_without_equality{1, 2}) == "{\"a\":1}");
  BOOST_TEST(z.serialize(std::vector<user::forgetful_without_equality>{{1, 2}}) == "[{\"a\":1}]");
  BOOST_TEST(z.serialize(user::never_equal{}) == "{}");
}

BOOST_AUTO_TEST_CASE(a_variant_comes_back_as_another_alternative_but_loses_no_member) {
  using number = std::variant<int, double>;
  BOOST_TEST((there_and_back(number(1.0)) == number(1)));
  BOOST_TEST((there_and_back(user::any_number{1.0}).number == number(1)));
  BOOST_TEST((there_and_back(user::any_number{1.5}).number == number(1.5)));
  BOOST_TEST(code_of([] { z.serialize(user::any_number{1.5, 7}); }) == errc::unserializable);
}

BOOST_AUTO_TEST_CASE(views_are_no_values_however_deep_they_sit) {
  using view = std::string_view;
  using stash::detail::looks_elsewhere;
  static_assert(looks_elsewhere<view> && looks_elsewhere<std::span<int>> && looks_elsewhere<json::string_view>);
  static_assert(looks_elsewhere<char const*> && looks_elsewhere<int*> && looks_elsewhere<void (*)()>);
  static_assert(looks_elsewhere<std::initializer_list<int>> && looks_elsewhere<std::reference_wrapper<int>>);
  static_assert(looks_elsewhere<std::map<std::string, view>> && looks_elsewhere<std::map<view, int>>);
  static_assert(looks_elsewhere<std::set<view>> && looks_elsewhere<std::unordered_multimap<int, view>>);
  static_assert(looks_elsewhere<std::vector<std::vector<std::vector<view>>>> && looks_elsewhere<view[2][3]>);
  static_assert(looks_elsewhere<std::pair<int, view>> && looks_elsewhere<std::tuple<int, std::pair<view, int>>>);
  static_assert(looks_elsewhere<std::tuple<std::string&>> && looks_elsewhere<std::tuple<std::string&&>>);
  static_assert(looks_elsewhere<std::array<std::vector<char const*>, 2>>);
  static_assert(looks_elsewhere<std::optional<view>> && looks_elsewhere<boost::optional<std::optional<view>>>);
  static_assert(looks_elsewhere<boost::optional<int&>> && looks_elsewhere<boost::system::result<view>>);
  static_assert(looks_elsewhere<std::variant<int, std::vector<view>>>);
  static_assert(looks_elsewhere<boost::variant2::variant<int, view>>);
  static_assert(looks_elsewhere<std::unique_ptr<view>> && looks_elsewhere<std::shared_ptr<std::vector<view>>>);
  static_assert(looks_elsewhere<user::tree_of_views> && looks_elsewhere<std::vector<user::derived>>);
  static_assert(looks_elsewhere<user::with_private_view>);
  static_assert(!stash::serializer_policy<json_serializer, std::map<std::string, view>>);

  static_assert(!looks_elsewhere<std::map<std::string, std::vector<std::optional<std::tuple<int, double>>>>>);
  static_assert(!looks_elsewhere<user::tree> && !looks_elsewhere<std::unique_ptr<user::tree>>);
  static_assert(!looks_elsewhere<std::variant<std::monostate, std::nullptr_t, std::string>>);
  static_assert(!looks_elsewhere<json::value> && !looks_elsewhere<std::map<std::string, json::object>>);
  static_assert(!looks_elsewhere<boost::filesystem::path> && !looks_elsewhere<std::vector<bool>>);
  static_assert(!looks_elsewhere<std::shared_ptr<user::unknown>> && !looks_elsewhere<std::shared_ptr<void>>);
  static_assert(!looks_elsewhere<user::coded> && !looks_elsewhere<char[16]>);
  user::tree const t{"root", {{"leaf", {}}, {"branch", {{"leaf", {}}}}}};
  BOOST_TEST((there_and_back(t) == t));
}

BOOST_AUTO_TEST_CASE(types_that_would_look_at_bytes_that_are_gone_are_no_values) {
  static_assert(!stash::serializer_policy<json_serializer, std::string_view>);
  static_assert(!stash::serializer_policy<json_serializer, json::string_view>);
  static_assert(!stash::serializer_policy<json_serializer, std::vector<std::string_view>>);
  static_assert(!stash::serializer_policy<json_serializer, std::span<int>>);
  static_assert(stash::serializer_policy<json_serializer, std::vector<std::string>>);
}

boost::test_tools::assertion_result has_comma_locale(boost::unit_test::test_unit_id) {
  bool const there = std::setlocale(LC_NUMERIC, "de_DE.UTF-8") != nullptr && *std::localeconv()->decimal_point == ',';
  std::setlocale(LC_NUMERIC, "C");
  return there;
}

BOOST_AUTO_TEST_CASE(a_locale_with_a_decimal_comma_changes_nothing, *boost::unit_test::precondition(has_comma_locale)) {
  std::setlocale(LC_ALL, "de_DE.UTF-8");
  auto const text = z.serialize(json::value(0.5));
  auto const back = z.deserialize<double>("5E-1");
  std::setlocale(LC_ALL, "C");
  BOOST_TEST(text == "5E-1");
  BOOST_TEST(back == 0.5);
}

BOOST_AUTO_TEST_CASE(a_view_that_is_none_of_the_standards_is_one) {
  BOOST_TEST(stash::detail::looks_elsewhere<boost::string_view>);
  BOOST_TEST((stash::detail::looks_elsewhere<std::map<std::string, std::optional<boost::string_view>>>));
  BOOST_TEST((!stash::detail::looks_elsewhere<std::array<std::int64_t, 2>>));
  BOOST_TEST((!stash::detail::looks_elsewhere<std::pair<std::int64_t, std::int64_t>>));
  BOOST_TEST(!stash::detail::looks_elsewhere<std::optional<std::int64_t>>);
  BOOST_TEST(!stash::detail::looks_elsewhere<user::optional_of_cpp26<std::int64_t>>);
  BOOST_TEST(stash::detail::looks_elsewhere<user::optional_of_cpp26<boost::string_view>>);
#if defined(__cpp_lib_optional) && __cpp_lib_optional >= 202506L
  BOOST_TEST(stash::detail::looks_elsewhere<std::optional<int&>>);
#endif
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace json_serializer_test
