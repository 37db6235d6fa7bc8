#include <xxhash.h>

#include <random>
#include <stash/detail/record/format.hpp>

#include "support.hpp"

namespace record_format_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::record;
using stash::time_point;
using support::code_of;

namespace {

std::string bytes_of(stash::key const& k, record const& r) {
  return stash::detail::header_line(k, r) + r.payload + "\n";
}
record parse(std::string_view bytes, stash::key const& k = "orders") {
  return stash::detail::parse_record(std::string(bytes), k, "get", [] { return "file"; });
}
record const example{R"({"id":{"label":1}})", time_point{1'795'358'661'123'456us}};

/// Whole bytes with a right checksum, whatever their header says.
std::string sealed(std::string header_start, std::string const& payload) {
  header_start += stash::detail::checksum_field;
  return header_start + stash::detail::checksum(header_start, payload) + "\"}\n" + payload + "\n";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(record_format)

BOOST_AUTO_TEST_CASE(the_checksum_is_xxh64) {
  std::mt19937_64 random{1};
  std::string bytes;
  for (int size = 0; size < 300; ++size) {
    auto const seed = random();
    BOOST_TEST(stash::detail::xxh64::hash(bytes, seed) == XXH64(bytes.data(), bytes.size(), seed));
    bytes += static_cast<char>(random());
  }
}

BOOST_AUTO_TEST_CASE(a_record_is_two_lines_of_json) {
  BOOST_TEST(bytes_of("orders", example) ==
             "{\"stash\":1,\"key\":\"orders\",\"saved_at\":\"2026-11-22T14:44:21.123456Z\",\"bytes\":18,\"xxh64\":\"" +
                 bytes_of("orders", example).substr(87, 16) + "\"}\n{\"id\":{\"label\":1}}\n");
  auto const header = stash::detail::header_line("a\"b", {"", {}});
  BOOST_TEST(boost::json::parse(header).at("key").as_string() == "a\"b");
}

BOOST_AUTO_TEST_CASE(any_payload_and_any_time_come_back) {
  for (auto const& payload : {""s, "\n"s, "a\nb\n"s, "\0\0"s, std::string(4095, 'x'), std::string(4097, '\n')}) {
    for (auto const t : {time_point{}, time_point::min(), time_point::max(), time_point{-1us}, example.saved_at}) {
      BOOST_TEST((parse(bytes_of("orders", {payload, t})) == record{payload, t}));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_text_is_a_time_if_it_is_the_text_of_that_time) {
  std::minstd_rand random{7};
  auto const any = [&](std::size_t n) { return random() % n; };
  int times = 0;
  for (int i = 0; i < 100'000; ++i) {
    bool const compact = any(2) == 0;
    auto const micros = static_cast<std::int64_t>((std::uint64_t{random()} << 33) ^ (std::uint64_t{random()} << 2));
    time_point const t{std::chrono::microseconds{micros >> any(40)}};
    auto text = stash::detail::to_text(t, compact);
    if (stash::detail::to_time(text, compact) != t) BOOST_ERROR(text);
    auto& one = text[any(text.size())];
    one = "0123456789+-T:.Z"[any(16)];
    auto const changed = stash::detail::to_time(text, compact);
    if (changed && stash::detail::to_text(*changed, compact) != text) BOOST_ERROR(text);
    times += changed.has_value();
  }
  BOOST_TEST(times > 1000);
}

BOOST_AUTO_TEST_CASE(times_are_written_as_iso_8601) {
  using stash::detail::to_text;
  BOOST_TEST(to_text(time_point{-1us}) == "1969-12-31T23:59:59.999999Z");
  BOOST_TEST(to_text(time_point::max()) == "+294247-01-10T04:00:54.775807Z");
  BOOST_TEST(to_text(time_point::min()) == "-290308-12-21T19:59:05.224192Z");
  BOOST_TEST(to_text(time_point{951'782'400s}) == "2000-02-29T00:00:00.000000Z");
  BOOST_TEST(to_text(time_point{951'782'400s}, true) == "20000229T000000.000000Z");
  for (char const* const bad : {"",
                                "2026",
                                "2026-02-30T00:00:00.000000Z",
                                "2026-13-01T00:00:00.000000Z",
                                "2026-11-22T14:44:60.123456Z",
                                "2026-11-22T24:00:00.000000Z",
                                "2026-11-22T14:44:21.12345Z",
                                "2026-11-22T14:44:21.123456",
                                "2026-11-22T14:44:21.123456Zx",
                                "+2026-11-22T14:44:21.123456Z",
                                "02026-11-22T14:44:21.123456Z",
                                "+294247-01-10T04:00:54.775808Z",
                                "-290308-12-21T19:59:05.224191Z",
                                "+999999-01-01T00:00:00.000000Z",
                                "-2026-T",
                                "y026-11-22T14:44:21.123456Z",
                                "202x-11-22T14:44:21.123456Z",
                                "2026-1x-22T14:44:21.123456Z",
                                "2026/11-22T14:44:21.123456Z",
                                "2026-11/22T14:44:21.123456Z",
                                "2026-11-2xT14:44:21.123456Z",
                                "2026-11-22Tx4:44:21.123456Z",
                                "2026-11-22T14-44:21.123456Z",
                                "2026-11-22T14:44-21.123456Z",
                                "2026-11-22T14:44:21,123456Z",
                                "2026-00-22T14:44:21.123456Z",
                                "2026-11-00T14:44:21.123456Z",
                                "2026-11-22T14:60:21.123456Z",
                                "-0000-11-22T14:44:21.123456Z",
                                "10000-11-22T14:44:21.123456Z",
                                "+010000-11-22T14:44:21.123456Z",
                                "2026--1-22T14:44:21.123456Z",
                                "1234567-11-22T14:44:21.123456Z"}) {
    BOOST_TEST(!stash::detail::to_time(bad), bad);
  }
}

BOOST_AUTO_TEST_CASE(cut_off_at_every_byte_it_is_corrupt) {
  for (auto const& whole : {bytes_of("orders", example), bytes_of("orders", {})}) {
    for (std::size_t n = 0; n < whole.size(); ++n) {
      BOOST_TEST(code_of([&] { parse(whole.substr(0, n)); }) == errc::corrupt, n);
    }
  }
}

BOOST_AUTO_TEST_CASE(with_any_bit_flipped_it_is_corrupt) {
  std::string const whole = bytes_of("orders", example);
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    BOOST_TEST(code_of([&] { parse(flipped); }) == errc::corrupt, bit);
  }
}

BOOST_AUTO_TEST_CASE(with_anything_before_or_behind_it_or_zeros_instead_it_is_corrupt) {
  std::string const whole = bytes_of("orders", example);
  for (auto const& bad : {whole + "x", whole + "\n", whole + whole, "\xEF\xBB\xBF" + whole, " " + whole,
                          std::string(whole.size(), '\0'), "\n"s, "\n\n"s, "{}\n{}\n"s, "\"}\n\n"s}) {
    BOOST_TEST(code_of([&] { parse(bad); }) == errc::corrupt);
  }
}

BOOST_AUTO_TEST_CASE(the_record_of_another_key_is_corrupt) {
  BOOST_TEST(code_of([&] { parse(bytes_of("orders", example), "customers"); }) == errc::corrupt);
  BOOST_TEST(code_of([&] { parse(bytes_of("orders", example), "order"); }) == errc::corrupt);
}

BOOST_AUTO_TEST_CASE(whole_bytes_of_another_version_are_a_mismatch_and_torn_ones_corrupt) {
  for (char const* const version : {"2", "0", "18446744073709551615"}) {
    auto const other = sealed(R"({"stash":)" + std::string(version) + R"(,"new":"things")", "payload");
    BOOST_TEST(code_of([&] { parse(other); }) == errc::mismatch);
    BOOST_TEST(code_of([&] { parse(other.substr(0, other.size() - 3)); }) == errc::corrupt);
  }
  std::string const elsewhere = R"({"stash":2,"hash":")";  // the digits are right, but not where they belong
  auto const digits = stash::detail::checksum(elsewhere, "payload");
  BOOST_TEST(code_of([&] { parse(elsewhere + digits + "\"}\npayload\n"); }) == errc::corrupt);
}

BOOST_AUTO_TEST_CASE(whole_bytes_with_a_header_that_is_not_ours_are_corrupt) {
  auto const good = R"({"stash":1,"key":"orders","saved_at":"2026-11-22T14:44:21.123456Z","bytes":7)"s;
  BOOST_TEST(parse(sealed(good, "payload")).payload == "payload");
  for (auto const& bad :
       {R"({"stash":x)"s, R"({"stash":01,"key":"orders","saved_at":"2026-11-22T14:44:21.123456Z","bytes":7)"s,
        R"({"stash":99999999999999999999)"s, R"({"stash":1)"s, R"({"other":1)"s,
        R"({"stash":1,"key":"orders","saved_at":"yesterday","bytes":7)"s,
        R"({"stash":1,"key":"orders","saved_at":"2026-11-22T14:44:21.123456Z","bytes":8)"s,
        R"({"stash":1,"key":"orders","saved_at":"2026-11-22T14:44:21.123456Z","bytes":07)"s,
        R"({"stash":1,"key":"orders","saved_at":"2026-11-22T14:44:21.123456Z","bytes":7,"x":1)"s,
        R"({"stash":1,"key":"orders","saved_at":"2026-11-22T14:44:21.123456Z)"s}) {
    BOOST_TEST(code_of([&] { parse(sealed(bad, "payload")); }) == errc::corrupt, bad);
  }
}

BOOST_AUTO_TEST_CASE(an_error_tells_what_is_wrong_with_a_header) {
  std::pair<std::string, char const*> const cases[] = {
      {R"(2)", "no header"},
      {R"({"stash":x)", "no version"},
      {R"({"stash":1"orders")", "no key"},
      {R"({"stash":1,"key":"customers","saved_at":"2026-11-22T14:44:21.123456Z","bytes":7)",
       "it is the record of another key"},
      {R"({"stash":1,"key":"orders"2026-11-22T14:44:21.123456Z","bytes":7)", "no time"},
      {R"({"stash":1,"key":"orders","saved_at":"yesterday","bytes":7)", "no time"},
      {R"({"stash":1,"key":"orders","saved_at":"2026-11-22T14:44:21.123456Z","bytes":8)",
       "its header is not of the form of version 1"}};
  for (auto const& [header, why] : cases) {
    auto const said = support::message_of([&] { parse(sealed(header, "payload")); });
    BOOST_TEST(said.find(std::string("file: ") + why + ": corrupt") != said.npos, header << ": " << said);
  }
}

BOOST_AUTO_TEST_CASE(an_error_names_operation_key_file_and_cause) {
  BOOST_TEST(support::message_of([&] { parse("x"); }) ==
             "get \"orders\": file: cut off or damaged: corrupt: not a whole record [stash:3]");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace record_format_test
