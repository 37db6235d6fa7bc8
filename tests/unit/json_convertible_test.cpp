// Which types the JSON serializer takes: the rest is refused when it is compiled, in our words and not in Boost's.
#include <array>
#include <boost/describe.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <variant>

#include "support.hpp"

namespace json_convertible_test {

namespace json = boost::json;

/// At run time, so that what breaks it is a failure and no error of the compiler's.
template <class T>
bool is_accepted() {
  return stash::serializer_policy<stash::json_serializer, T>;
}
template <class T>
std::string bytes_of(T const& value) {
  if constexpr (stash::serializer_policy<stash::json_serializer, T>) return stash::json_serializer{}.serialize(value);
  return "refused";
}

struct undescribed {
  int i = 0;
};
enum class undescribed_enum { a };
struct with_undescribed {
  std::map<std::string, std::vector<undescribed>> parts;
};
BOOST_DESCRIBE_STRUCT(with_undescribed, (), (parts))
struct tree {
  std::string name;
  std::vector<tree> branches;
};
BOOST_DESCRIBE_STRUCT(tree, (), (name, branches))

/// What is in these is their own matter.
struct cells : std::vector<undescribed> {};
inline void tag_invoke(json::value_from_tag, json::value& v, cells const& c) { v = c.size(); }
inline cells tag_invoke(json::value_to_tag<cells>, json::value const& v) {
  cells c;
  c.resize(json::value_to<std::size_t>(v));
  return c;
}
template <class Tag>
struct id {
  std::size_t index() const { return 1; }
};
template <class Tag>
void tag_invoke(json::value_from_tag, json::value& v, id<Tag> const&) {
  v = 1;
}
template <class Tag>
id<Tag> tag_invoke(json::value_to_tag<id<Tag>>, json::value const&) {
  return {};
}
struct hidden;
void tag_invoke(json::value_from_tag, json::value& v, std::shared_ptr<hidden> const&);
std::shared_ptr<hidden> tag_invoke(json::value_to_tag<std::shared_ptr<hidden>>, json::value const&);
void tag_invoke(json::value_from_tag, json::value& v, std::variant<undescribed, cells> const&);
std::variant<undescribed, cells> tag_invoke(json::value_to_tag<std::variant<undescribed, cells>>, json::value const&);

/// A text by its conversions; what it is made of, JSON does not ask. (It is too small for a pointer on any machine:
/// what has room for one is taken for a view.)
enum class undescribed_byte : char { a };
struct word {
  word() = default;
  explicit word(json::string_view) {}
  operator std::string_view() const { return "word"; }
  operator json::string_view() const { return "word"; }
  undescribed_byte kind = undescribed_byte::a;
  friend bool operator<(word const&, word const&) { return false; }
};
BOOST_DESCRIBE_STRUCT(word, (), (kind))

/// Boost.JSON takes a class with bases where it is told so, for the members of all of them: the bases need not be
/// known.
struct lowest {
  int i = 0;
};
BOOST_DESCRIBE_STRUCT(lowest, (), (i))
struct middle : lowest {};
BOOST_DESCRIBE_STRUCT(middle, (lowest), ())
struct derived : middle {};
BOOST_DESCRIBE_STRUCT(derived, (middle), ())

using time = std::chrono::system_clock::time_point;
using text = std::string;

}  // namespace json_convertible_test

template <>
struct boost::json::is_described_class<json_convertible_test::derived> : std::true_type {};

namespace json_convertible_test {

BOOST_AUTO_TEST_SUITE(json_convertible)

BOOST_AUTO_TEST_CASE(what_json_does_not_know_is_refused_in_a_container_too) {
  BOOST_TEST(!is_accepted<time>());
  BOOST_TEST(!is_accepted<undescribed>());
  BOOST_TEST(!is_accepted<undescribed_enum>());
  BOOST_TEST((!is_accepted<std::map<text, time>>()));
  BOOST_TEST(!is_accepted<std::vector<std::vector<time>>>());
  BOOST_TEST((!is_accepted<std::optional<std::map<text, time>>>()));
  BOOST_TEST((!is_accepted<std::variant<int, std::set<time>>>()));
  BOOST_TEST((!is_accepted<std::pair<text, time>>()));
  BOOST_TEST((!is_accepted<std::tuple<cells, std::vector<time>>>()));
  BOOST_TEST((!is_accepted<std::array<undescribed_enum, 2>>()));
  BOOST_TEST(!is_accepted<std::vector<std::unique_ptr<int>>>());
  BOOST_TEST(!is_accepted<with_undescribed>());
  BOOST_TEST(!is_accepted<std::vector<with_undescribed>>());
}

BOOST_AUTO_TEST_CASE(what_json_knows_is_accepted) {
  BOOST_TEST((is_accepted<std::map<text, std::vector<std::optional<std::tuple<int, double, char>>>>>()));
  BOOST_TEST(is_accepted<std::vector<json::array>>());
  BOOST_TEST((is_accepted<std::map<text, json::object>>()));
  BOOST_TEST(is_accepted<tree>());
  BOOST_TEST((is_accepted<std::variant<std::monostate, text>>()));
  BOOST_TEST((is_accepted<std::map<word, int>>()));
  BOOST_TEST(bytes_of(derived{}) == "{\"i\":0}");
  BOOST_TEST(is_accepted<std::vector<derived>>());
}

BOOST_AUTO_TEST_CASE(what_has_a_conversion_of_its_own_is_accepted_whatever_it_is_made_of) {
  BOOST_TEST(is_accepted<std::optional<cells>>());
  BOOST_TEST((is_accepted<std::map<text, cells>>()));
  BOOST_TEST(is_accepted<id<time>>());
  BOOST_TEST((is_accepted<std::map<text, id<time>>>()));
  BOOST_TEST(is_accepted<std::shared_ptr<hidden>>());
  BOOST_TEST((is_accepted<std::vector<std::variant<undescribed, cells>>>()));
  BOOST_TEST((bytes_of(std::map<text, cells>{{"a", {}}, {"b", {}}}) == "{\"a\":0,\"b\":0}"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace json_convertible_test
