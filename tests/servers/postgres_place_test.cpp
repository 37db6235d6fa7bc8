// A table of PostgreSQL as a place: what hangs on the old one is on the new one that somebody's job has made, and where
// that fails the old one is back, rows and all.
#include "postgres_place_fixture.hpp"

namespace postgres_place_test {

BOOST_FIXTURE_TEST_SUITE(postgres_place, fixture)

BOOST_AUTO_TEST_CASE(after_ten_guards_all_that_hangs_on_the_table_is_as_it_was) {
  make();
  hang_all_on_it();
  query("ALTER TABLE " + table() + " OWNER TO " + owner.quoted);
  auto const before = dump();
  for (int i = 0; i < 10; ++i) {
    replace();
    BOOST_TEST(difference(before, dump()) == "");
  }
  std::string const s = quoted() + '.';
  BOOST_TEST(query("SELECT string_agg(id || double_amount, ',' ORDER BY id) FROM " + s + "alias") == "c6,d8");
  BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + s + "over") == "c,d");
  BOOST_TEST(query("SELECT sum(n)::text FROM " + s + "counted") == "2");
  BOOST_TEST(query("SELECT " + s + "how_many()::text") == "2");
  BOOST_TEST(count_parked() == "0");
  BOOST_TEST(query("SELECT count(*)::text FROM pg_namespace WHERE nspname LIKE 'stash_built_%'") == "0");
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(a_job_that_fails_gives_all_back_that_stood_there) {
  make();
  hang_all_on_it();
  auto const before = content();
  for (int step = 0; step < 4; ++step) {
    try {
      auto guard = guarded();
      if (step > 0) drop();
      if (step > 1) create();
      if (step > 2) copy();
      BOOST_TEST(query("SELECT string_agg(id, ',' ORDER BY id) FROM " + table("alias")) == "a,b");
      throw std::runtime_error("as it was told to");
    } catch (std::runtime_error const&) {
    }
    BOOST_TEST(difference(before, content()) == "");
    BOOST_TEST(count_parked() == "0");
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_test
