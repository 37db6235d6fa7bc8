// A table of PostgreSQL as a place, among others: what a job leaves out, what somebody else puts where tables are
// parked, what depends on the table, and who has built it.
#include "postgres_place_fixture.hpp"

namespace postgres_place_test {

BOOST_FIXTURE_TEST_SUITE(postgres_place, fixture)

BOOST_AUTO_TEST_CASE(a_job_may_leave_out_the_primary_key_which_the_new_table_gets) {
  std::string const t = table();
  for (std::string const rows : {"generate_series(1, 3)", "generate_series(1, 60000)"}) {  // below and above 1 MB
    for (int i = 0; i < 4; ++i) {
      query("CREATE TABLE " + t + " (id int CONSTRAINT \"the key\" PRIMARY KEY)");
      query("CREATE TABLE " + table("child") + " (ref int REFERENCES " + t + ")");
      stash::postgres_table one = place("orders", {.leave_behind = i < 2});
      auto const v = *one.live();
      one.park(v);
      if (i % 2 == 0) {
        jobs("CREATE TABLE " + t + " (id int)");
        jobs("INSERT INTO " + t + " SELECT " + rows);
      } else {
        jobs("CREATE TABLE " + t + " AS SELECT " + rows + " AS id");
      }
      BOOST_TEST(one.settle(v, nobody_keeps).empty());
      BOOST_TEST(query("SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), '; ') FROM pg_constraint WHERE"
                       " conrelid = '" +
                       t + "'::regclass AND contype = 'p'") == "the key PRIMARY KEY (id)");
      BOOST_TEST(query("SELECT count(*)::text FROM pg_constraint WHERE confrelid = '" + t + "'::regclass") == "1");
      query("DROP TABLE " + t + ", " + table("child"));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_place_test
