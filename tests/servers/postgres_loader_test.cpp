#include <array>
#include <limits>
#include <optional>
#include <stash/ckan/postgres_datastore.hpp>
#include <stash/detail/postgres/copy.hpp>

#include "faulty_libpq.hpp"
#include "huge_text.hpp"
#include "postgres.hpp"
#include "support.hpp"

namespace postgres_loader_test {

using namespace std::string_literals;
using stash::errc;
using stash::sqlstate;
using support::client;
using support::code_of;
using support::huge_text;
using support::message_of;
using support::schema;
using support::server;
namespace ckan = stash::ckan;

namespace {

struct fixture : schema {
  ckan::postgres_datastore d{server(), {.schema = name}};
  client query;
  ckan::fields columns{{"a", "text", std::nullopt}, {"b", "text", std::nullopt}};

  std::string table() const { return quoted() + ".\"orders\""; }

  /// The rows that are live after a load of `csv`, cut into pieces of `piece` bytes; "refused": and there is none.
  std::string loaded(std::string_view csv, std::size_t piece) {
    d.drop("orders");
    d.create("orders", columns);
    boost::system::error_code refused;
    {
      ckan::postgres_datastore::loader rows{d, "orders", columns};
      refused = code_of([&] {
        for (; !csv.empty(); csv.remove_prefix(std::min(piece, csv.size()))) rows.add_csv(csv.substr(0, piece));
        rows.finish();
      });
    }
    if (refused) {
      BOOST_TEST(d.rows("orders") == 0U);
      BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);
      BOOST_TEST(!d.describe("orders"));
      return "refused";
    }
    d.finish("orders");
    std::string const names =
        columns.size() == 1 ? "coalesce(a, 'NULL')" : "coalesce(a, 'NULL') || '|' || coalesce(b, 'NULL')";
    return query("SELECT coalesce(string_agg('[' || " + names + " || ']', '' ORDER BY _id), '') FROM " + table());
  }
};

std::uint64_t rows_in(std::string_view csv) {
  stash::detail::csv_row_count count;
  for (char const c : csv) count.look_at({&c, 1});
  return count.rows();
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_loader, fixture)

BOOST_AUTO_TEST_CASE(csv_is_loaded_as_the_server_reads_it_or_refused_and_never_in_part) {
  struct sample {
    std::string csv, rows;
  };
  for (auto const& [csv, rows] : {
           sample{"1,2\n3,4\n", "[1|2][3|4]"},
           {"1,2\n3,4", "[1|2][3|4]"},
           {"1,2\r\n3,4\r\n", "[1|2][3|4]"},
           {"1,2\r3,4\r", "[1|2][3|4]"},
           {"1,2\r3,4", "[1|2][3|4]"},
           {"", ""},
           {"1,\"2\n\n2\"\n\"3\r\r\n3\",4\n", "[1|2\n\n2][3\r\r\n3|4]"},
           {"1,\"2\"\"2\"\n\"\"\"\",4\n", "[1|2\"2][\"|4]"},
           {"1,\"2\n\\.\n2\"\n3,4\n", "[1|2\n\\.\n2][3|4]"},
           {"1,\\.\n\\.3,4\n", "[1|\\.][\\.3|4]"},
           {"\"\\.\",2\n3,4\n", "[\\.|2][3|4]"},
           {",\"\"\n", "[NULL|]"},
           {"\xEF\xBB\xBF"
            "1,2\n",
            "[\xEF\xBB\xBF"
            "1|2]"},
           {"1,2\n\\.\n3,4\n", "refused"},
           {"1,2\r\n\\.\r\n3,4\r\n", "refused"},
           {"1,2\r\\.\r3,4\r", "refused"},
           {"\\.\n1,2\n", "refused"},
           {"1,2\n3,4\n\\.\n", "refused"},
           {"1,2\n\n3,4\n", "refused"},
           {"1,2\n3,4\r\n", "refused"},
           {"1,2\r\n3,4\n", "refused"},
           {"1,2\r3,4\n", "refused"},
           {"1,2\n3,4\r5,6\n", "refused"},
           {"1,2\n3,\"4\n", "refused"},
           {"1,2\n3,\"", "refused"},
           {"1,2\n3\n", "refused"},
           {"1,2\n3,4,5\n", "refused"},
           {"1,2\n3,\xff\n", "refused"},
           {"1,2\n3,\xe2\x82\n", "refused"},
           {"1,2\n3,\0\n"s, "refused"},
       }) {
    for (std::size_t const piece : {std::size_t{1}, std::size_t{2}, csv.size() + 1}) {
      BOOST_TEST_INFO(stash::detail::quoted(csv) << " in pieces of " << piece);
      BOOST_TEST(loaded(csv, piece) == rows);
    }
  }
}

BOOST_AUTO_TEST_CASE(an_empty_line_is_a_row_of_null_where_there_is_one_column) {
  columns.pop_back();
  BOOST_TEST(loaded("1\n\n3\n", 1) == "[1][NULL][3]");
  BOOST_TEST(loaded("\r\n1\r\n\r\n", 3) == "[NULL][1][NULL]");
  BOOST_TEST(loaded("\"\"\n\n", 9) == "[][NULL]");
  bool const is_data = std::stoi(query("SHOW server_version_num")) >= 180000;  // before PostgreSQL 18 it ended the CSV
  BOOST_TEST(loaded("1\n\\.\n3\n", 9) == (is_data ? "[1][\\.][3]" : "refused"));
  BOOST_TEST(loaded("1\n\"\\.\"\n3\n", 9) == "[1][\\.][3]");
}

BOOST_AUTO_TEST_CASE(what_ends_within_a_block_is_read_as_anywhere_else) {
  std::size_t const block = 64 << 10;
  for (std::size_t const before : {block - 3, block - 2, block - 1, block}) {
    std::string const pad(before, 'x');
    for (std::string const& end : {"\"\"\n\\.\n"s, "\r\n\\.\r\n"s, "\n\n"s}) {
      BOOST_TEST((loaded('"' + pad + end + "\",2\n3,4\n", before * 3) ==
                  '[' + pad + (end[0] == '"' ? end.substr(1) : end) + "|2][3|4]"));
    }
    BOOST_TEST(loaded(pad + ",2\n\\.\n3,4\n", before * 3) == "refused");
  }
}

BOOST_AUTO_TEST_CASE(values_are_loaded_whatever_csv_would_make_of_them) {
  d.create("orders", columns);
  std::vector<std::string> const values{"\\.",    "\\.\n", "\n\\.\n", "\r\n\\.\r\n", "\\",        "\"",
                                        "\"\"",   "\n",    "\r",      "\r\n",        ",",         "a\nb",
                                        "\\.\\.", "",      " ",       "NULL",        "\n\\.\"\n", "a\"\n\\."};
  {
    ckan::postgres_datastore::loader rows{d, "orders", columns};
    for (auto const& value : values) rows.add(std::array<std::optional<std::string_view>, 2>{value, std::nullopt});
    rows.finish();
  }
  d.finish("orders");
  for (std::size_t i = 0; i < values.size(); ++i) {
    auto const row = query("SELECT a || coalesce(b, '') FROM " + table() + " WHERE _id = " + std::to_string(i + 1));
    BOOST_TEST(row == values[i]);
  }
}

BOOST_AUTO_TEST_CASE(a_row_after_csv_stands_for_itself) {
  d.create("orders", columns);
  ckan::postgres_datastore::loader rows{d, "orders", columns};
  std::array<std::optional<std::string_view>, 2> const row{"3", "4"};
  rows.add_csv("1,\"2");
  BOOST_TEST(code_of([&] { rows.add(row); }) == errc::mismatch);
  rows.add_csv("\"");
  rows.add(row);
  rows.add_csv("5,6");
  rows.finish();
  BOOST_TEST(query("SELECT string_agg(a || b, ' ' ORDER BY _id) FROM " + table()) == "12 34 56");
}

BOOST_AUTO_TEST_CASE(rows_that_the_server_leaves_out_are_an_error_and_no_row_is_there) {
  d.create("orders", columns);
  query(
      "CREATE FUNCTION " + quoted() +
      ".no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN NEW.a = '3' THEN NULL ELSE NEW END; END $$");
  query("CREATE TRIGGER no BEFORE INSERT ON " + table() + " FOR EACH ROW EXECUTE FUNCTION " + quoted() + ".no()");
  std::string said;
  {
    ckan::postgres_datastore::loader rows{d, "orders", columns};
    rows.add_csv("1,2\n3,4\n5,6\n");
    said = message_of([&] { rows.finish(); });
  }
  BOOST_TEST(said.starts_with("load \"orders\": the server took 2 of the 3 rows that it was given"));
  BOOST_TEST(d.rows("orders") == 0U);
  BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);
}

/// Whoever is asked to finish the resource.
BOOST_AUTO_TEST_CASE(a_load_that_was_given_up_is_known_to_the_table_and_not_to_one_object) {
  auto const has_lost_rows = [&](std::string const& id) {
    auto const code = code_of([&] { ckan::postgres_datastore{server(), {.schema = name}}.finish(id); });
    BOOST_TEST((!code || code == errc::mismatch));
    BOOST_TEST(!d.describe(id) == bool(code));
    return code == errc::mismatch;
  };
  using loader = ckan::postgres_datastore::loader;
  std::array<std::optional<std::string_view>, 2> const row{"1", "2"};
  ckan::postgres_datastore e{server(), {.schema = name}};
  for (char const* const id : {"a", "b"}) {
    d.create(id, columns);
    loader{d, id, columns}.add(row);
  }
  BOOST_TEST(code_of([&] { d.finish("a"); }) == errc::mismatch);
  BOOST_TEST(has_lost_rows("a"));
  BOOST_TEST(has_lost_rows("b"));
  {
    loader again{e, "a", columns};
    again.add(row);
    BOOST_TEST(has_lost_rows("a"));  // it is under way
    again.finish();
    BOOST_TEST(!has_lost_rows("a"));
    again.add(row);
    BOOST_TEST(code_of([&] { d.finish("a"); }) == errc::mismatch);
    again.finish();
  }
  BOOST_TEST(d.rows("a") == 2U);
  BOOST_TEST(query("SELECT count(*)::text FROM pg_description WHERE description LIKE 'stash: a load%'") == "1");
  d.drop("b");
  d.create("b", columns);
  BOOST_TEST(!has_lost_rows("b"));
}

BOOST_AUTO_TEST_CASE(a_load_that_is_finished_says_nothing_of_another_that_is_not) {
  using loader = ckan::postgres_datastore::loader;
  std::array<std::optional<std::string_view>, 2> const row{"1", "2"};
  ckan::postgres_datastore e{server(), {.schema = name}}, f{server(), {.schema = name}};
  query("CREATE TABLE " + table() + " (_id serial, a text, b text)");
  query("COMMENT ON COLUMN " + table() + "._id IS 'counts\nfrom one'");
  query("COMMENT ON TABLE " + table() + " IS 'stash: unfinished'");
  auto const comment = [&] { return query("SELECT col_description('" + table() + "'::regclass, 1)"); };
  std::optional<loader> one{std::in_place, d, "orders", columns}, other{std::in_place, e, "orders", columns};
  one->add(row);
  other->add(row);
  one->finish();
  BOOST_TEST(code_of([&] { f.finish("orders"); }) == errc::mismatch);
  one->add(row);
  one.reset();  // given up while another is under way, which began after it ...
  other->finish();
  BOOST_TEST(code_of([&] { f.finish("orders"); }) == errc::mismatch);
  other->add(row);
  loader{d, "orders", columns}.add(row);  // ... or before
  other->finish();
  BOOST_TEST(code_of([&] { f.finish("orders"); }) == errc::mismatch);
  one.emplace(d, "orders", columns).add(row);
  other->add(row);
  one.reset();
  other->finish();
  BOOST_TEST(code_of([&] { f.finish("orders"); }) == errc::mismatch);
  BOOST_TEST(comment().starts_with("stash: a load"));
  query("COMMENT ON COLUMN " + table() + "._id IS 'stash: a load was begun and not finished: by hand'");
  BOOST_TEST(code_of([&] { f.finish("orders"); }) == errc::mismatch);
  {
    loader again{f, "orders", columns};
    again.add(row);
    query("COMMENT ON COLUMN " + table() + "._id IS 'counts\nfrom one'");
    again.finish();
  }
  loader again{f, "orders", columns};
  again.finish();
  BOOST_TEST(comment() == "stash: rows of finished loads: 1\ncounts\nfrom one");
  f.finish("orders");
  BOOST_TEST(f.rows("orders") == 5U);
}

BOOST_AUTO_TEST_CASE(the_mark_of_a_load_is_nobodys_remark) {
  d.create("orders", columns);
  d.finish("orders");
  auto const give_up = [&] {
    ckan::postgres_datastore::loader rows{d, "orders", columns};
    rows.add_csv("1,2\n");
  };
  give_up();
  BOOST_TEST(d.remarks("orders") == boost::json::object{});
  query("COMMENT ON COLUMN " + table() + "._id IS 'typed'");
  give_up();
  BOOST_TEST((d.remarks("orders") == boost::json::object{{"columns", {{"_id", "typed"}}}}));
}

BOOST_AUTO_TEST_CASE(a_load_whose_process_died_is_known_too) {
  d.create("orders", columns);
  BOOST_TEST(support::in_child([&] {
               ckan::postgres_datastore mine{server(), {.schema = name}};
               ckan::postgres_datastore::loader rows{mine, "orders", columns};
               rows.add(std::array<std::optional<std::string_view>, 2>{"1", "2"});
               ::_exit(7);
               return 0;
             }) == 7);
  BOOST_TEST(code_of([&] { d.finish("orders"); }) == errc::mismatch);
  while (query("SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'stash'") != "1") {
  }
  ckan::postgres_datastore::loader rows{d, "orders", columns};
  rows.add(std::array<std::optional<std::string_view>, 2>{"1", "2"});
  rows.finish();
  d.finish("orders");
  BOOST_TEST(d.rows("orders") == 1U);
}

BOOST_AUTO_TEST_CASE(rows_are_counted_however_they_are_cut) {
  BOOST_TEST(rows_in("") == 0U);
  BOOST_TEST(rows_in("a") == 1U);
  BOOST_TEST(rows_in("a\n\nb\n") == 3U);
  BOOST_TEST(rows_in("a\r\n\r\nb") == 3U);
  BOOST_TEST(rows_in("a\r\rb\r") == 3U);
  BOOST_TEST(rows_in("\"a\r\n\"\"\n\"\n\"\n") == 2U);
}

BOOST_AUTO_TEST_CASE(a_row_of_any_length_goes_to_the_server_in_pieces) {
  d.create("orders", columns);
  std::string const plain(3 << 20, 'x');
  std::string quoted_text;
  for (int i = 0; i < 1 << 20; ++i) quoted_text += "\"\n,";
  std::size_t longest = 0;
  {
    ckan::postgres_datastore::loader rows{d, "orders", columns};
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view bytes) {
      if (call == "PQputCopyData") longest = std::max(longest, bytes.size());
      return false;
    }};
    rows.add(std::array<std::optional<std::string_view>, 2>{plain, quoted_text});
    rows.add_csv(plain + ',' + plain + '\n');
    rows.finish();
  }
  BOOST_TEST(longest > 1000U);
  BOOST_TEST(longest < 200'000U);
  BOOST_TEST(d.rows("orders") == 2U);
  BOOST_TEST(query("SELECT count(*)::text FROM " + table() +
                   " WHERE a = repeat('x', 3 << 20) AND b IN"
                   " (a, repeat(E'\"\\n,', 1 << 20))") == "2");
}

BOOST_AUTO_TEST_CASE(a_size_that_an_int_does_not_hold_is_refused_before_anything_is_sent) {
  constexpr auto most = static_cast<std::size_t>(std::numeric_limits<int>::max());
  stash::detail::operation const op{"test", "orders"};
  BOOST_TEST(stash::detail::int_size(most, op) == std::numeric_limits<int>::max());
  for (std::size_t const size : {most + 1, most * 2 + 2, most * 2 + 3, std::numeric_limits<std::size_t>::max()}) {
    BOOST_TEST(code_of([&] { stash::detail::int_size(size, op); }) == errc::too_large);
  }
  huge_text const text;
  stash::detail::postgres_connection db{server(), op, stash::detail::deadline_in(std::chrono::seconds(30))};
  auto const run = [&](std::string_view parameter) {
    return db.run("SELECT length($1::text)::text", {parameter}, op,
                  stash::detail::deadline_in(std::chrono::seconds(30)));
  };
  BOOST_TEST(code_of([&] { run(text.view()); }) == errc::too_large);
  BOOST_TEST(run("abc").text(0, 0) == "3");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_loader_test
