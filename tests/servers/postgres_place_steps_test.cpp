// The steps of a place that is a PostgreSQL table, one by one, and what may go wrong in each.
#include "postgres_place_fixture.hpp"

namespace postgres_place_test {

BOOST_FIXTURE_TEST_SUITE(postgres_place, fixture)

BOOST_AUTO_TEST_CASE(parked_it_stands_where_a_person_finds_it) {
  make_plain();
  hang_some_on_it();
  auto one = place();
  auto const v = *one.live();
  one.park(v);
  BOOST_TEST((!one.live() && one.parked()));
  BOOST_TEST(one.where() == parked());
  BOOST_TEST(!is_there(table()));
  BOOST_TEST(query("SELECT count(*)::text FROM " + one.where()) == "2");
  query("ALTER TABLE " + one.where() + " SET SCHEMA " + quoted());
  BOOST_TEST((one.live() && !one.parked()));
  BOOST_TEST(ids() == "a,b");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_test
