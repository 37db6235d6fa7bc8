// What a storage in PostgreSQL asks together, and what the server keeps of it. Against a real server: STASH_POSTGRES is
// the connection string of its superuser (see postgres_cluster.py).
#include <new>
#include <optional>
#include <random>
#include <set>
#include <stash/storage/postgres.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "faulty_libpq.hpp"
#include "postgres.hpp"
#include "support.hpp"

namespace postgres_plans_test {

using namespace std::chrono_literals;
using stash::errc;
using stash::record;
using stash::record_state;
using stash::sqlstate;
using support::client;
using support::code_of;
using support::schema;
using support::server;

namespace {

record some(std::string payload) { return {std::move(payload), stash::time_point{1s}}; }
using records = std::vector<std::pair<stash::key, record>>;

struct fixture : schema {
  stash::postgres_storage s{server(), {.schema = name}};
  client query;

  std::string table() const { return quoted() + ".stash"; }
};

/// How often the server is waited for while `f` runs.
template <class F>
int round_trips(F f) {
  int count = 0;
  support::faulty_libpq const libpq{[&](std::string_view call, std::string_view) {
    count += call == "PQpipelineSync" || call == "PQsendQueryParams" || call == "PQsendQuery";
    return false;
  }};
  f();
  return count;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_plans, fixture)

BOOST_AUTO_TEST_CASE(a_batch_takes_no_more_round_trips_than_one_record) {
  s.put("k", some("words"));
  records all;
  for (int i = 0; i < 100; ++i) all.emplace_back(std::to_string(i), some("words"));
  BOOST_TEST(round_trips([&] { s.put("k", some("others")); }) == 3);  // what stands there, the record, COMMIT
  BOOST_TEST(round_trips([&] { s.put_all(all); }) == 3);
  BOOST_TEST(round_trips([&] { s.get("k"); }) == 1);
  std::vector<stash::key> keys;
  for (auto const& one : all) keys.push_back(one.first);
  BOOST_TEST(round_trips([&] { s.erase_all(keys); }) == 3);
  BOOST_TEST(s.entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_batch_of_which_one_is_refused_changes_nothing_and_leaves_the_session_as_it_was) {
  s.put("c", some("old"));
  query("CREATE FUNCTION " + quoted() +
        ".refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.key = 'c' THEN RAISE 'no'; END IF; RETURN NEW; "
        "END $$");
  query("CREATE TRIGGER t BEFORE INSERT OR UPDATE ON " + table() + " FOR EACH ROW EXECUTE FUNCTION " + quoted() +
        ".refuse()");
  auto const lock = s.try_lock("c");
  records all;
  for (char const* const k : {"a", "b", "c", "d"}) all.emplace_back(k, some("new"));
  BOOST_TEST(code_of([&] { s.put_all(all); }) == sqlstate("P0001"));
  BOOST_TEST(lock->held());
  BOOST_TEST((s.get("c") == some("old")));
  BOOST_TEST(s.entries().size() == 1U);
  s.put("a", some("new"));
  BOOST_TEST((s.get("a") == some("new")));
}

BOOST_AUTO_TEST_CASE(small_and_large_payloads_are_listed_alike) {
  records all;
  for (int i = 0; i < 2500; ++i) all.emplace_back("k" + std::to_string(10'000 + i), some(std::to_string(i)));
  for (int const i : {0, 1, 499, 500, 501, 999, 1000, 1001, 1999, 2499}) {
    all[static_cast<std::size_t>(i)].second.payload = std::string(16'384 + static_cast<std::size_t>(i % 2), 'x');
  }
  for (std::size_t i = 1600; i < 1620; ++i) all[i].second.payload = std::string(i % 2 == 0 ? 20'000 : 1'048'577, 'y');
  all[700].second.payload = std::string(20'000, '\0');
  all[2200].second.payload = std::string(19'000, '\xff');
  s.put_all(all);
  auto const found = s.entries();
  BOOST_TEST_REQUIRE(found.size() == all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    bool const is_right = found[i].key == all[i].first && found[i].state == record_state::intact &&
                          found[i].bytes == all[i].second.payload.size();
    BOOST_TEST(is_right, i);
  }
}

BOOST_AUTO_TEST_CASE(what_is_large_and_was_removed_meanwhile_is_not_listed) {
  records all;
  for (char const* const k : {"a", "b", "c"}) all.emplace_back(k, some(std::string(2'000'000, 'x')));
  for (char const* const gone : {"1048576", "infinity"}) {  // before it is asked for with others, and before alone
    s.put_all(all);
    bool is_gone = false;
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
      bool const is_asked = call == "PQsendQueryPrepared" && sql.find(gone) != sql.npos;
      if (is_asked && !std::exchange(is_gone, true)) query("DELETE FROM " + table() + " WHERE key = 'a'");
      return false;
    }};
    auto const found = s.entries();
    BOOST_TEST(found.size() == 2U, gone);
    BOOST_TEST(is_gone, gone);
  }
}

BOOST_AUTO_TEST_CASE(a_long_list_is_whole_and_by_key_whatever_the_order_of_the_column) {
  records all{{"k", some("words")}};
  s.put_all(all);
  query("ALTER TABLE " + table() + " ALTER key TYPE varchar COLLATE \"en-x-icu\"");
  std::minstd_rand random;
  std::set<std::string> keys{"k"};
  while (keys.size() < 2000) {
    std::string k;
    for (int i = 0; i < 6; ++i) k += "aAbBzZ_-09"[random() % 10];
    if (keys.insert(k).second) all.emplace_back(k, some("words"));
  }
  s.put_all(all);
  auto const found = s.entries();
  BOOST_TEST_REQUIRE(found.size() == keys.size());
  auto expected = keys.begin();
  for (auto const& one : found) BOOST_TEST(one.key == *expected++);
}

BOOST_AUTO_TEST_CASE(a_batch_is_on_its_way_before_all_of_it_is_in_memory) {
  s.put("k", some("words"));
  records all;
  for (char const* const k : {"a", "b", "c", "d"}) all.emplace_back(k, some(std::string(1 << 20, 'x')));
  int inserts = 0, flushes = 0;
  support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
    inserts += call == "PQsendQueryPrepared" && sql.starts_with("INSERT");
    flushes += call == "PQflush" && inserts > 0 && inserts < 4;
    return false;
  }};
  s.put_all(all);
  BOOST_TEST(flushes >= 3);
}

BOOST_AUTO_TEST_CASE(a_session_of_which_somebody_threw_the_plans_away_is_made_anew) {
  s.put("k", some("old"));
  query("CREATE FUNCTION " + quoted() +
        ".forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DEALLOCATE ALL; RETURN NEW; END $$");
  query("CREATE TRIGGER t BEFORE INSERT ON " + table() + " FOR EACH ROW EXECUTE FUNCTION " + quoted() + ".forget()");
  s.put("k", some("new"));
  BOOST_TEST((s.get("k") == some("new")));
  query("DROP TRIGGER t ON " + table());
  BOOST_TEST(code_of([&] { s.put("other", some("new")); }) == errc::busy);  // once
  s.put("other", some("new"));
  BOOST_TEST((s.get("other") == some("new")));
}

BOOST_AUTO_TEST_CASE(a_connection_whose_answers_nobody_reads_is_lost) {
  stash::detail::operation const op{"test", "test"};
  auto const soon = stash::detail::deadline_in(30s);
  stash::detail::postgres_connection db{server(), op, soon};
  stash::detail::postgres_question const question{"SELECT 'words'", {}};
  {
    auto asked = db.ask_all({&question, 1}, op, soon);
    BOOST_TEST(db.answers(std::move(asked), op, soon).front().text(0, 0) == "words");
  }
  BOOST_TEST(!db.is_lost());
  { auto const asked = db.ask_all({&question, 1}, op, soon); }
  BOOST_TEST(db.is_lost());
}

/// It was planned when there was one row, for which the server would read the whole table.
BOOST_AUTO_TEST_CASE(what_is_asked_often_is_found_by_its_key_however_small_the_table_was) {
  s.put("k", some("words"));
  query("VACUUM ANALYZE " + table());
  auto const scans = [&](std::string const& kind) {
    return std::stoi(
        query("SELECT " + kind + "::text FROM pg_stat_all_tables WHERE relid = '" + table() + "'::regclass"));
  };
  auto const whole_before = scans("seq_scan"), by_key_before = scans("idx_scan");  // but for the last second's
  for (int i = 0; i < 20; ++i) {
    s.put("k", some("words"));
    s.get("k");
    s.erase("none");
  }
  auto const give_up = std::chrono::steady_clock::now() + 60s;  // the server counts with some delay
  auto const count = [&] { return scans("idx_scan") - by_key_before + scans("seq_scan") - whole_before; };
  while (count() < 60 && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(100ms);
    s.get("k");
  }
  BOOST_TEST(scans("idx_scan") >= by_key_before + 60);
  BOOST_TEST(scans("seq_scan") < whole_before + 10);
}

BOOST_AUTO_TEST_CASE(the_server_compiles_nothing_for_what_is_asked) {
  s.put("k", some("words"));
  query("CREATE FUNCTION " + quoted() +
        ".tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'jit is %', current_setting('jit'); END $$");
  query("CREATE TRIGGER t BEFORE INSERT ON " + table() + " FOR EACH ROW EXECUTE FUNCTION " + quoted() + ".tell()");
  auto const told = support::message_of([&] { s.put("k", some("others")); });
  BOOST_TEST(told.find("jit is off") != told.npos, told);
}

BOOST_AUTO_TEST_CASE(a_table_whose_columns_were_altered_meanwhile_is_read_and_written_as_before) {
  for (int i = 0; i < 8; ++i) {
    s.put("k", some("words"));
    BOOST_TEST((s.get("k") == some("words")));
    BOOST_TEST(s.entries().size() == 1U);
  }
  for (char const* const column : {"payload", "xxh64", "saved_at", "key", "set_aside"}) {
    query("ALTER TABLE " + table() + " ALTER " + column + " TYPE varchar COLLATE \"C\"");
    BOOST_TEST((s.get("k") == some("words")), column);
    BOOST_TEST(s.entries().at(0).state == record_state::intact, column);
    s.put("k", some("words"));
  }
  query("ALTER TABLE " + table() + " ALTER version TYPE bigint");
  BOOST_TEST((s.get("k") == some("words")));
  s.put("k", some("others"));
  BOOST_TEST((s.get("k") == some("others")));
  query("DROP TABLE " + table());
  BOOST_TEST(!s.get("k"));
  s.put("k", some("words"));
  BOOST_TEST((s.get("k") == some("words")));
}

BOOST_AUTO_TEST_CASE(where_memory_runs_out_amid_what_is_sent_it_is_written_again) {
  s.put("k", some("old"));
  auto const lock = s.try_lock("k");
  bool has_thrown = false;
  {
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
      bool const is_its = call == "PQsendQueryPrepared" && sql.starts_with("INSERT");
      if (is_its && !std::exchange(has_thrown, true)) throw std::bad_alloc{};
      return false;
    }};
    BOOST_CHECK_NO_THROW(s.put("k", some("new")));
  }
  BOOST_TEST(has_thrown);
  BOOST_TEST((s.get("k") == some("new")));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_plans_test
