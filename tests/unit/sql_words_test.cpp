// What two statements of SQLite's have in common: how they are taken apart into words, and compared.
#include <stash/detail/sqlite/sql_words.hpp>

#include "support.hpp"

namespace sql_words_test {

namespace {

std::string words_of(std::string_view sql) {
  std::string all;
  for (auto const& word : stash::detail::sql_words(sql)) all += word.text + '|';
  return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(sql_words)

BOOST_AUTO_TEST_CASE(white_space_comments_and_the_case_of_names_are_nothing) {
  BOOST_TEST(words_of("CREATE Index\tby_Day\r\nON x(Day)") == "create|index|by_day|on|x|(|day|)|");
  BOOST_TEST(words_of("a -- note\nb /* and\n-- this */ c --") == "a|b|c|");
  BOOST_TEST(words_of("a /* to the end") == "a|");
  BOOST_TEST(words_of("a - b / c || ~d") == "a|-|b|/|c|\x7c|\x7c|~|d|");
  BOOST_TEST(words_of("") == "");
}

BOOST_AUTO_TEST_CASE(a_name_is_the_same_in_any_quotes_but_for_what_is_a_word_without_them) {
  BOOST_TEST(words_of(R"(Day "Day" `Day` [Day])") == "day|day|day|day|");
  BOOST_TEST(words_of(R"("a""b" `a``b` [a"b])") == R"(a"b|a`b|a"b|)");
  BOOST_TEST(words_of(R"("select" "TRUE" "false" "9th" "ninth")") == R"("select"|"true"|"false"|"9th"|ninth|)");
  BOOST_TEST(words_of("stra\xc3\x9f"
                      "e a$b _z9Z") ==
             "stra\xc3\x9f"
             "e|a$b|_z9z|");
  BOOST_TEST(words_of(R"("" "no end)") == "|no end|");
  BOOST_TEST(words_of("[no end") == "no end|");
}

BOOST_AUTO_TEST_CASE(a_string_is_no_name_and_keeps_its_case) {
  BOOST_TEST(words_of("'It''s' It") == "'It's|it|");
  BOOST_TEST(words_of("'no end") == "'no end|");
}

BOOST_AUTO_TEST_CASE(two_that_make_the_same_are_the_same_whatever_they_are_called) {
  using stash::detail::make_the_same;
  BOOST_TEST(make_the_same("CREATE INDEX a ON x (day)", "create index \"b\" on X(Day) -- by day"));
  BOOST_TEST(make_the_same("CREATE UNIQUE INDEX a ON x (day)", "CREATE UNIQUE INDEX b ON x (day)"));
  BOOST_TEST(!make_the_same("CREATE UNIQUE INDEX a ON x (day)", "CREATE INDEX a ON x (day)"));
  BOOST_TEST(!make_the_same("CREATE INDEX a ON x (day)", "CREATE INDEX a ON x (day DESC)"));
  BOOST_TEST(!make_the_same("CREATE INDEX a ON x (day) WHERE n = 'A'", "CREATE INDEX a ON x (day) WHERE n = 'a'"));
}

BOOST_AUTO_TEST_CASE(another_name_takes_the_place_of_the_old_one_and_of_nothing_else) {
  using stash::detail::renamed;
  BOOST_TEST(renamed("CREATE INDEX a ON x (a)", "b \"c\"") == R"(CREATE INDEX "b ""c""" ON x (a))");
  BOOST_TEST(renamed("CREATE  UNIQUE INDEX /* a */ [a] ON x (a)", "b") ==
             R"(CREATE  UNIQUE INDEX /* a */ "b" ON x (a))");
  for (char const* const short_one : {"", "CREATE", "CREATE INDEX"}) BOOST_TEST(renamed(short_one, "b") == short_one);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace sql_words_test
