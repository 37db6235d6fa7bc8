// What one connection to a real server does (see support/postgres_cluster.py), below the storage and the datastore.
#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <stash/ckan/postgres_datastore.hpp>
#include <stash/storage/postgres.hpp>
#include <thread>

#include "fake_postgres.hpp"
#include "faulty_libpq.hpp"
#include "postgres.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using stash::errc;
using stash::record;
using stash::sqlstate;
using support::client;
using support::code_of;
using fake = support::fake_server;
using support::info;
using support::message_of;
using support::schema;
using support::server;

namespace {

stash::detail::operation const op{"test", "test"};
stash::detail::deadline soon() { return std::chrono::steady_clock::now() + 20s; }

struct connection : stash::detail::postgres_connection {
  explicit connection(std::string const& with = server()) : postgres_connection(with, op, soon()) {}
  std::string operator()(std::string const& sql) {
    auto const found = run(sql, {}, op, soon());
    return found.rows() > 0 ? found.text(0, 0) : "";
  }
  /// Behind its back, as something between the two could.
  void slip_in(char const* sql) { ::PQclear(::PQexec(get(), sql)); }
};

record some(std::string payload) { return {std::move(payload), stash::time_point{1s}}; }

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_connection, schema)

BOOST_AUTO_TEST_CASE(what_is_written_in_a_transaction_that_was_left_open_is_not_acknowledged) {
  std::string const table = quoted() + ".t";
  client query;
  query("CREATE TABLE " + table + " (n integer)");
  for (char const* const statement : {"INSERT INTO $ VALUES (1)", "SELECT count(*)::text FROM $", "SELECT 1 / 0"}) {
    std::string sql = statement;
    if (auto const at = sql.find('$'); at != sql.npos) sql.replace(at, 1, table);
    connection db;
    db.slip_in("BEGIN");
    bool const is_bad = sql == "SELECT 1 / 0";
    BOOST_TEST(code_of([&] { db(sql); }) == (is_bad ? sqlstate("22012") : make_error_code(errc::indeterminate)), sql);
    BOOST_TEST(db.is_lost());
  }
  BOOST_TEST(query("SELECT count(*)::text FROM " + table) == "0");
}

BOOST_AUTO_TEST_CASE(a_transaction_that_something_else_ended_is_none) {
  for (char const* const how : {"COMMIT", "ROLLBACK"}) {
    connection db;
    stash::detail::postgres_transaction all{db, op, soon};
    db("SELECT 'within'");
    db.slip_in(how);
    BOOST_TEST(code_of([&] { db("SELECT 'outside'"); }) == errc::indeterminate);
    BOOST_TEST(db.is_lost());
  }
  connection db;
  {
    stash::detail::postgres_transaction all{db, op, soon};
    BOOST_TEST(code_of([&] { db("SELECT 1 / 0"); }) == sqlstate("22012"));  // which is as it must be
    BOOST_TEST(!db.is_lost());
  }
  BOOST_TEST(db("SELECT 'here'") == "here");
}

BOOST_AUTO_TEST_CASE(a_transaction_that_begins_in_another_is_none) {
  connection db;
  db.slip_in("BEGIN; SAVEPOINT s; SELECT 1 / 0");  // an error there: BEGIN is refused
  BOOST_TEST(code_of([&] { stash::detail::postgres_transaction{db, op, soon}; }) == sqlstate("25P02"));
  BOOST_TEST(db.is_lost());
}

BOOST_AUTO_TEST_CASE(a_save_that_a_transaction_keeps_open_is_written_again_and_else_indeterminate) {
  stash::postgres_storage s{server(), {.schema = name, .timeout = 500ms}};
  s.put("k", some("old"));
  for (bool const is_once : {true, false}) {
    bool is_sent = false, has_failed = false;
    boost::system::error_code code;
    {
      support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
        is_sent = is_sent || sql.starts_with("INSERT");
        return call == "PQtransactionStatus" && is_sent && !(std::exchange(has_failed, true) && is_once);
      }};
      code = code_of([&] { s.put("k", some("new")); });
    }
    BOOST_TEST(code == (is_once ? boost::system::error_code{} : make_error_code(errc::indeterminate)));
    BOOST_TEST((s.get("k") == some("new")));
  }
}

/// As pgbouncer, which makes a process id up, and as pgpool, which has the server's and answers a question of its own.
BOOST_AUTO_TEST_CASE(a_pooler_is_found_out_before_anything_of_the_session_is_changed) {
  std::vector<std::string> const pgbouncer{fake::welcome(4711), fake::row_of_query({"4712", "127.0.0.1", "5432"})},
      pgpool{fake::welcome(4711), fake::row_of_query({"4711", "127.0.0.1", "1"}), fake::row({"4.3.5 (tamahomeboshi)"})};
  for (auto const& answers : {pgbouncer, pgpool}) {
    for (bool const is_storage : {true, false}) {
      fake server{answers};
      auto const told = message_of([&] {
        if (is_storage) {
          stash::postgres_storage{server.info}.try_lock("k");
        } else {
          stash::ckan::postgres_datastore{server.info};
        }
      });
      server.end();
      BOOST_TEST(told.find("there is a pooler between") != told.npos, told);
      BOOST_TEST(server.asked.find("pg_backend_pid") != server.asked.npos);
      BOOST_TEST(server.asked.find("set_config") == server.asked.npos);
      BOOST_TEST(server.asked.find("SET") == server.asked.npos);
      BOOST_TEST(server.asked.find("options") == server.asked.npos);  // these would be set by the welcome
    }
  }
}

/// The server has an error in its log for each time that it is asked what only a pooler knows.
BOOST_AUTO_TEST_CASE(a_server_that_sees_us_is_not_asked_what_only_a_pooler_knows) {
  for (bool const is_seen : {true, false}) {
    bool is_asked = false;
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view) {
      is_asked = is_asked || call == "PQsendQuery";
      return !is_seen && call == "getnameinfo";
    }};
    connection db;
    BOOST_TEST(is_asked == !is_seen);
    BOOST_TEST(db("SELECT 'here'") == "here");
  }
}

BOOST_AUTO_TEST_CASE(a_server_that_cannot_say_whether_it_is_a_pooler_is_not_believed) {
  fake server{{fake::welcome(4711), fake::row_of_query({"4711", "127.0.0.1", "1"}),
               fake::fields('E', {"SERROR", "VERROR", "C57014", "Mcancelled"}) + fake::ready()}};
  BOOST_TEST(code_of([&] { connection{server.info}; }) == sqlstate("57014"));
}

/// Each row is sent as it is made, for it fills the server's buffer.
BOOST_AUTO_TEST_CASE(a_deadline_is_for_silence_and_not_for_a_long_answer) {
  connection db;
  int rows = 0;
  auto const start = std::chrono::steady_clock::now();
  db.run_by_row("SELECT repeat('x', 10000) || pg_sleep(0.1)::text FROM generate_series(1, 15)", {}, op, start + 1s,
                [&](stash::detail::postgres_result const& one) { rows += one.rows(); });
  BOOST_TEST(rows == 15);
  BOOST_TEST((std::chrono::steady_clock::now() - start > 1s));
  auto const until = std::chrono::steady_clock::now() + 200ms;
  BOOST_TEST(code_of([&] { db.run("SELECT pg_sleep(3)::text", {}, op, until); }) == sqlstate("08006"));
  BOOST_TEST((std::chrono::steady_clock::now() - until < 2s));
}

BOOST_AUTO_TEST_CASE(a_long_list_lets_other_threads_have_their_turn_and_their_locks) {
  stash::postgres_storage s{server(), {.schema = name, .timeout = 10s}};
  s.put("k", some("words"));
  client query;
  query("INSERT INTO " + quoted() +
        ".stash (key, set_aside, version, saved_at, xxh64, payload)"
        " SELECT 'n' || n, aside, 1, 'never', '', 'of nobody' FROM generate_series(1, 12000) n,"
        " (VALUES (''), ('n.corrupt-20261122T000000Z-0')) a (aside)");
  auto const lock = s.try_lock("k");
  std::atomic<bool> is_listed{false};
  auto listed = std::async(std::launch::async, [&] {
    auto all = s.entries();
    is_listed = true;
    return all;
  });
  std::size_t turns = 0;
  while (!is_listed) {
    BOOST_TEST_REQUIRE(lock->held());
    ++turns;
  }
  BOOST_TEST(turns > 5U);
  auto const found = listed.get();
  BOOST_TEST(found.size() == 12'001U);
  BOOST_TEST(std::is_sorted(found.begin(), found.end(), [](auto const& a, auto const& b) { return a.key < b.key; }));
  BOOST_TEST(s.set_aside_entries().size() == 12'000U);
  BOOST_TEST(lock->held());
}

/// Whether there are more than a page is seen at the next one only.
BOOST_AUTO_TEST_CASE(a_list_of_just_a_page_is_whole) {
  stash::postgres_storage s{server(), {.schema = name}};
  s.put("k", some("words"));
  client query;
  for (int const n : {998, 1, 1}) {
    query("INSERT INTO " + quoted() +
          ".stash (key, version, saved_at, xxh64, payload) SELECT 'n' || gen_random_uuid(), 1,"
          " '', '', '' FROM generate_series(1, " +
          std::to_string(n) + ")");
    BOOST_TEST(std::to_string(s.entries().size()) == query("SELECT count(*)::text FROM " + quoted() + ".stash"));
  }
}

BOOST_AUTO_TEST_SUITE_END()
