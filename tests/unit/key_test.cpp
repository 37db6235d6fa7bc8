#include <stash/detail/record/file_names.hpp>
#include <stash/key.hpp>
#include <unordered_set>
#include <utility>

#include "support.hpp"

namespace key_test {

using namespace std::string_literals;
using stash::errc;
using stash::key;
using support::code_of;

BOOST_AUTO_TEST_SUITE(keys)

BOOST_AUTO_TEST_CASE(what_could_leave_the_directory_or_break_a_line_is_refused) {
  for (std::string const& bad :
       {""s, "."s, ".."s, "../x"s, "/etc/passwd"s, "a/b"s, "a\\b"s, "a\0b"s, "\0"s, "a\nb"s, "\x1b[31m"s, "\x7f"s,
        "a\rb"s, "\xff"s, "\xc3"s, "\xed\xa0\x80"s, "\xc0\xaf"s, "\xf4\x90\x80\x80"s, std::string(201, 'x')}) {
    BOOST_TEST(code_of([&] { key k{bad}; }) == errc::invalid_key, "accepted " << stash::detail::printable(bad));
  }
}

BOOST_AUTO_TEST_CASE(everything_else_is_a_key) {
  for (std::string const& good :
       {"orders"s, "..."s, "a..b"s, ".hidden"s, "-rf"s, " "s, "a b "s, "a."s, "CON"s, "%2F"s, "%"s,
        "'; DROP TABLE x; --"s, "*?"s, "\xe2\x82\xac"s, "\xf0\x9f\x92\xbe"s, std::string(200, 'x')}) {
    BOOST_TEST(key{good}.str() == good);
  }
}

BOOST_AUTO_TEST_CASE(a_null_pointer_is_refused_and_an_error_names_the_text_on_one_line) {
  char const* const nothing = nullptr;
  BOOST_TEST(code_of([&] { key k{nothing}; }) == errc::invalid_key);
  BOOST_TEST(support::message_of([] { key k{"a\nb"}; }) ==
             "key \"a\\x0ab\": has a control byte: invalid_key [stash:1]");
  BOOST_TEST(support::message_of([] { key k{"\xc3\xa9\xff"}; }) ==
             "key \"\\xc3\\xa9\\xff\": not UTF-8: invalid_key [stash:1]");
}

BOOST_AUTO_TEST_CASE(a_key_is_equal_to_no_null_pointer) {
  char const* nothing = nullptr;
  BOOST_TEST(!(key("orders") == nothing));
  BOOST_TEST((nothing != key("orders")));
  nothing = "orders";
  BOOST_TEST((nothing == key("orders")));
}

BOOST_AUTO_TEST_CASE(a_key_is_printed_as_it_is_whatever_is_left_on_the_stream) {
  BOOST_TEST(support::printed_on_a_bent_stream(key("orders")) == "orders");
  BOOST_TEST(key("orders").string() == "orders"s);
}

BOOST_AUTO_TEST_CASE(a_message_is_cut_but_not_amid_a_letter) {
  std::string letters;
  for (int i = 0; i < 201; ++i) letters += "\xc3\xa9";
  BOOST_TEST(stash::detail::printable(letters) == letters.substr(0, 400) + "...");
  BOOST_TEST(stash::detail::printable("x" + letters) == "x" + letters.substr(0, 398) + "...");
  BOOST_TEST(stash::detail::printable(letters.substr(0, 400)) == letters.substr(0, 400));
}

BOOST_AUTO_TEST_CASE(keys_compare_hash_and_print_as_their_bytes) {
  key const a = "a", b = "b";
  BOOST_TEST((a == key{"a"} && a != b && a < b && (a <=> b) < 0));
  BOOST_TEST((a == "a" && "a" == a && a == "a"s && a == std::string_view("a") && a != "x/y"));
  std::unordered_set<key> const set{a, b, a};
  BOOST_TEST(set.size() == 2U);
  std::ostringstream out;
  out << a;
  BOOST_TEST(out.str() == "a");
  std::string_view const view = a;
  BOOST_TEST(view == "a");
}

BOOST_AUTO_TEST_CASE(composed_and_decomposed_letters_and_both_cases_are_different_keys_with_different_files) {
  auto const name = [](char const* k) { return stash::detail::record_name(k, "test"); };
  BOOST_TEST(name("\xc3\xa9") != name("e\xcc\x81"));
  BOOST_TEST(name("A") != name("a"));
  BOOST_TEST(name("A") == "%41.stash");  // also where the directory folds case: no upper-case letter is in any name
  BOOST_TEST(name("%2F") == "%252%46.stash");
}

BOOST_AUTO_TEST_CASE(file_names_are_readable_and_never_hidden_or_options) {
  auto const name = [](char const* k) { return stash::detail::record_name(k, "test"); };
  BOOST_TEST(name("orders") == "orders.stash");
  BOOST_TEST(name("my-table_2.v1") == "my-table_2.v1.stash");
  BOOST_TEST(name(".hidden") == "%2ehidden.stash");
  BOOST_TEST(name("-rf") == "%2drf.stash");
  BOOST_TEST(name("a b") == "a%20b.stash");
}

BOOST_AUTO_TEST_CASE(a_key_that_looks_like_a_file_of_ours_is_told_from_it) {
  namespace d = stash::detail;
  stash::time_point const t{std::chrono::microseconds{1}};
  for (char const* const text : {"orders", "orders.stash", ".lock", ".orders.0123456789abcdef.tmp",
                                 "orders.corrupt-20261122T144421.123456Z-9f3c0a5b7d1e2c48", "%", "A", "\xe2\x82\xac"}) {
    key const k = text;
    BOOST_TEST((d::key_of_record(d::record_name(k, "test")) == k));
    BOOST_TEST((d::key_of_temporary(d::temporary_name(k, "test", 7)) == k));
    for (auto const when : {t, stash::time_point::min(), stash::time_point::max()}) {
      BOOST_TEST((d::parse_set_aside(d::set_aside_name(k, "test", "a.b-c/d", when, 7)) == std::pair{k, when}));
    }
    BOOST_TEST(!d::key_of_temporary(d::record_name(k, "test")));
    BOOST_TEST(!d::parse_set_aside(d::record_name(k, "test")));
    BOOST_TEST(!d::key_of_record(d::temporary_name(k, "test", 7)));
    BOOST_TEST(!d::key_of_record(d::set_aside_name(k, "test", "stash", t, 7)));
  }
  for (char const* const stranger : {"",
                                     ".stash",
                                     "A.stash",
                                     "%41%.stash",
                                     "%zz.stash",
                                     "a%2fb.stash",
                                     "%61.stash",
                                     ".lock",
                                     ".tmp",
                                     "..0123456789abcdef.tmp",
                                     "notes.txt",
                                     ".orders.0123456789abcdef.bak",
                                     ".orders-0123456789abcdef.tmp",
                                     ".orders.0123456789abcdeF.tmp",
                                     ".orders.swap-file-of-vim.tmp",
                                     "x.corrupt-yesterday-0123456789abcdef",
                                     "x.corrupt-20261122T144421.123456Z-0123456789abcdeg",
                                     "x.cor-rupt-20261122T144421.123456Z-0123456789abcdef",
                                     "%1g.stash",
                                     "x-0123456789abcdef",
                                     "-20261122T144421.123456Z-0123456789abcdef",
                                     "x-20261122T144421.123456Z-0123456789abcdef",
                                     "%zz.corrupt-20261122T144421.123456Z-0123456789abcdef"}) {
    BOOST_TEST(!d::key_of_record(stranger));
    BOOST_TEST(!d::key_of_temporary(stranger));
    BOOST_TEST(!d::parse_set_aside(stranger));
  }
}

BOOST_AUTO_TEST_CASE(an_encoded_name_over_200_bytes_is_an_invalid_key_and_the_longest_file_name_fits) {
  namespace d = stash::detail;
  BOOST_TEST(d::record_name(std::string(200, 'x'), "test").size() == 206U);
  std::string const fits(66, 'A');
  BOOST_TEST(d::encoded(fits + "xx", "test").size() == 200U);
  BOOST_TEST(code_of([&] { d::encoded(fits + "xxx", "test"); }) == errc::invalid_key);
  auto const longest =
      d::set_aside_name(std::string(200, 'x'), "test", std::string(300, 'R'), stash::time_point::max(), ~0ULL);
  BOOST_TEST(longest.size() <= 255U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace key_test
