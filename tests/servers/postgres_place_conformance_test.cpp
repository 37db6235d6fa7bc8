// What every place promises, of PostgreSQL tables.
#include <memory>
#include <optional>
#include <stash/place/postgres_table.hpp>
#include <stash/testing/place_conformance.hpp>
#include <string>

#include "conforming.hpp"
#include "postgres.hpp"

namespace postgres_place_conformance_test {

namespace {

/// A schema of its own for each.
struct tables {
  struct schema {
    std::string const name = [] {
      static int count = 0;
      return "places_" + std::to_string(++count);
    }();
    schema() { support::client{}("CREATE SCHEMA " + name); }
    ~schema() {
      for (std::string const prefix : {"", "stash_parked_"}) {
        support::client{}("DROP SCHEMA IF EXISTS " + prefix + name + " CASCADE");
      }
    }
  };

  stash::postgres_table fresh() {
    in = std::make_shared<schema>();
    return again();
  }
  stash::postgres_table again() { return {support::server(), {in->name, "export"}}; }
  void build(std::string const& words) {
    support::client db;  // of its own: it is also called in children
    db("CREATE TABLE " + table() + " (words text)");
    db("CREATE INDEX by_words ON " + table() + " (words)");
    db("INSERT INTO " + table() + " VALUES ('" + words + "')");
  }
  std::optional<std::string> found() {
    support::client db;
    if (db("SELECT to_regclass('" + table() + "')::text").empty()) return std::nullopt;
    return db("SELECT words FROM " + table());
  }
  std::string table() const { return in->name + ".export"; }

  std::shared_ptr<schema> in;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(postgres_place_conformance)

bool const registered = [] {
  boost::unit_test::framework::current_auto_test_suite().add(support::conforming_place<tables>("postgres_table"));
  return true;
}();

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_conformance_test
