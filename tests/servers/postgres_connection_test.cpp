// What one connection to a real server does (see postgres_cluster.py), below the storage and the datastore.
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <map>
#include <stash/ckan/postgres_datastore.hpp>
#include <stash/storage/postgres.hpp>
#include <thread>
#include <tuple>

#include "fake_postgres.hpp"
#include "faulty_libpq.hpp"
#include "postgres.hpp"
#include "support.hpp"

namespace postgres_connection_test {

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

/// The addresses of names that no name server knows; of one without any, that it has none.
std::map<std::string, std::vector<std::string>, std::less<>> addresses;

}  // namespace

// Not weak, as in faulty_libpq.hpp: the sanitizers have weak ones of their own, which would come first.
extern "C" {

int getaddrinfo(char const* name, char const* port, addrinfo const* hints, addrinfo** all) {
  auto const known = addresses.find(name == nullptr ? "" : name);
  if (known == addresses.end()) return support::real(&::getaddrinfo, "getaddrinfo")(name, port, hints, all);
  *all = nullptr;
  for (auto const& address : known->second) {
    if (int const failed = support::real(&::getaddrinfo, "getaddrinfo")(address.c_str(), port, hints, all); failed != 0)
      return failed;
    while (*all != nullptr) all = &(*all)->ai_next;
  }
  return known->second.empty() ? EAI_NONAME : 0;
}
int getnameinfo(sockaddr const* at, socklen_t size, char* host, socklen_t n, char* port, socklen_t m, int how) {
  if (support::faulty_libpq::fails("getnameinfo")) return EAI_FAIL;
  return support::real(&::getnameinfo, "getnameinfo")(at, size, host, n, port, m, how);
}
}

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

BOOST_AUTO_TEST_CASE(a_question_without_any_answer_is_the_end_of_a_connection) {
  fake between{{fake::welcome(), fake::ready()}};
  BOOST_TEST(message_of([&] { stash::postgres_storage{between.info}.get(stash::key{"k"}); }).find("no answer came") !=
             std::string::npos);
}

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
  support::faulty_libpq const libpq{
      [&](std::string_view call, std::string_view) { return call == "PQsendQuery" || call == "getnameinfo"; }};
  BOOST_TEST(code_of([&] { connection{}; }) == sqlstate("08006"));
}

/// Each row is sent as it is made, for it fills the server's buffer.
BOOST_AUTO_TEST_CASE(a_deadline_is_for_silence_and_not_for_a_long_answer) {
  connection db;
  auto const start = std::chrono::steady_clock::now();
  auto const found =
      db.run("SELECT repeat('x', 10000) || pg_sleep(0.1)::text FROM generate_series(1, 15)", {}, op, start + 1s);
  BOOST_TEST(found.rows() == 15);
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
  int pages = 0;
  {
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
      pages += call == "PQsendQueryPrepared" && sql.find("LIMIT") != sql.npos;
      return false;
    }};
    BOOST_TEST(s.set_aside_entries().size() == 12'000U);
  }
  BOOST_TEST(pages > 12);
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

BOOST_AUTO_TEST_CASE(each_address_of_a_name_has_its_turn) {
  auto const port = std::stoi(server().substr(server().rfind(':') + 1));
  support::listener const dark{"127.0.0.2", port};  // takes calls, and never answers
  addresses = {{"two.test", {"127.0.0.2", "127.0.0.1"}}, {"none.test", {}}};
  std::string const two = "user=postgres dbname=postgres port=" + std::to_string(port) + " host=two.test";
  for (auto const& [with, timeout, longest] :
       std::vector<std::tuple<std::string, stash::detail::deadline::duration, stash::detail::deadline::duration>>{
           {two, 2s, 2s},
           {two + " connect_timeout=1", 60s, 9s},
           {two + " connect_timeout=' 2 '", 60s, 9s},
           {two + ",none.test,127.0.0.1", 3s, 3s}}) {
    auto const start = std::chrono::steady_clock::now();
    stash::detail::postgres_connection db{with, op, start + timeout};
    BOOST_TEST((std::chrono::steady_clock::now() - start < longest), with);
    BOOST_TEST(std::string(::PQhost(db.get())) == "two.test");  // which its certificate is of, and its password
    BOOST_TEST(std::string(::PQhostaddr(db.get())) == "127.0.0.1");
  }
  auto const told = message_of([&] {
    stash::detail::postgres_connection{two + ",none.test port=1", op, std::chrono::steady_clock::now() + 900ms};
  });
  BOOST_TEST(told.find("two.test (127.0.0.1): connection to server at") != told.npos, told);
  BOOST_TEST(told.find("could not translate host name \"none.test\" to address") != told.npos, told);
  auto const dark_only = message_of([&] {
    auto const until = std::chrono::steady_clock::now() + 300ms;
    stash::detail::postgres_connection{
        "connect_timeout=0 hostaddr=127.0.0.2 host=two.test port=" + std::to_string(port), op, until};
  });
  BOOST_TEST(dark_only.find("two.test (127.0.0.2): 127.0.0.2 did not answer in time") != dark_only.npos, dark_only);
  BOOST_TEST(code_of([&] { connection{two + " connect_timeout=soon"}; }) == support::os(EINVAL));
  addresses.clear();
}

BOOST_AUTO_TEST_CASE(where_one_host_does_not_let_us_in_no_other_is_asked) {
  client query;
  query("DROP ROLE IF EXISTS with_password");
  query("CREATE ROLE with_password LOGIN PASSWORD 'right'");
  auto const port = server().substr(server().rfind(':') + 1, server().rfind('/') - server().rfind(':') - 1);
  auto const told = message_of(
      [&] { connection{"host=127.0.0.1,127.0.0.1 user=with_password password=wrong dbname=postgres port=" + port}; });
  query("DROP ROLE with_password");
  BOOST_TEST(told.find("SQLSTATE 28P01") != told.npos, told);
  auto const first = told.find("password authentication failed");
  BOOST_TEST(first != told.npos);
  BOOST_TEST(told.find("password authentication failed", first + 1) == told.npos, told);
}

/// One that never stops to tell settings, instead of letting us in.
BOOST_AUTO_TEST_CASE(connecting_ends_by_the_clock_whatever_comes) {
  support::listener const place;
  std::thread server{[&] {
    int const caller = ::accept(place.fd, nullptr, nullptr);
    std::string bytes = fake::message('R', fake::number(0, 4)), more;
    for (int i = 0; i < 100'000; ++i) more += fake::message('S', std::string("a\0b\0", 4));
    auto const until = std::chrono::steady_clock::now() + 5s;
    while (::send(caller, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0 && std::chrono::steady_clock::now() < until) {
      bytes = more;
    }
    ::close(caller);
  }};
  auto const start = std::chrono::steady_clock::now();
  BOOST_TEST(code_of([&] {
               stash::detail::postgres_connection{
                   "sslmode=disable gssencmode=disable host=127.0.0.1 port=" + place.port, op, start + 300ms};
             }) == sqlstate("08001"));
  BOOST_TEST((std::chrono::steady_clock::now() - start < 3s));
  server.join();
}

BOOST_AUTO_TEST_CASE(a_service_file_may_name_several_hosts) {
  support::scratch const place;
  auto const port = server().substr(server().rfind(':') + 1, server().rfind('/') - server().rfind(':') - 1);
  auto const file = place.root / "services";
  support::write(file, "[etl]\nhost=127.0.0.1,127.0.0.1\nport=1," + port + "\nuser=postgres\ndbname=postgres\n");
  ::setenv("PGSERVICEFILE", file.c_str(), 1);
  BOOST_TEST(connection{"service=etl"}("SELECT 'here'") == "here");
  BOOST_TEST(code_of([] { connection{"service=another"}; }) == support::os(EINVAL));
  ::unsetenv("PGSERVICEFILE");
  BOOST_TEST(code_of([] { connection{"host=a,b hostaddr=127.0.0.1"}; }) == support::os(EINVAL));
}

/// However it is written: what libpq takes it for may be told, with the wrong piece in it.
BOOST_AUTO_TEST_CASE(no_error_tells_a_password) {
  std::string const at = "@127.0.0.1:1/db";
  for (std::string const& with :
       std::vector<std::string>{"postgresql://etl:S3cret" + at,
                                "postgresql://etl:S3cret%40" + at,
                                "postgresql://etl:S%33cret" + at,
                                "postgresql://etl:%53%33%63%72%65%74" + at,
                                "postgresql://etl:S3cret@S3cret" + at,
                                "postgresql://etl:1@S3cret" + at,
                                "postgresql://etl:S3cret/S3cret" + at,
                                "postgresql://etl:1/S3cret" + at,
                                "postgresql://127.0.0.1:1/S3cret" + at,
                                "postgresql://etl:S3cret?S3cret" + at,
                                "postgresql://etl:1/a?S3cret" + at,
                                "postgresql://etl:S3cret#" + at,
                                "postgresql://etl:S3cret%" + at,
                                "postgresql://etl:S3cret%00" + at,
                                "postgresql://etl:[S3cret" + at,
                                "postgresql://[S3cret",
                                "postgresql://etl:S3cret",
                                "postgresql://etl:S3cret/db",
                                "postgresql://a@b:S3cret" + at,
                                "postgresql://127.0.0.1:1/db?password=S3cret",
                                "postgresql://127.0.0.1:1/db?password=S3cret=S3cret",
                                "postgresql://127.0.0.1:1/db?pass=S3cret",
                                "postgresql://127.0.0.1:1/db?S3cret",
                                "postgresql://etl:S3cret@127.0.0.1:1/db?connect_timeout=soon",
                                "postgres://etl:S3cret" + at,
                                "postgres"
                                "s://etl:S3cret" +
                                    at,
                                "postgres"
                                "s://etl:S3cret@127.0.0.1:1/db?sslmode=disable",
                                "http://etl:S3cret" + at,
                                "host=127.0.0.1 port=1 password=S3cret",
                                "host=127.0.0.1 port=1 password='S3cret",
                                "host=127.0.0.1 port=1 password=my S3cret",
                                "host=127.0.0.1 port=1 password=my S3cret=1",
                                "host=127.0.0.1 port=1 password=S3cret'",
                                "host=127.0.0.1 port=1 passphrase=S3cret",
                                "host=127.0.0.1 port=1 password S3cret",
                                "host=127.0.0.1 port=S3cret",
                                "host=127.0.0.1 port=S3cr",
                                "host=127.0.0.1 port=1 user=etl:S3cret",
                                "host=127.0.0.1 port=1 user=etl/S3cret",
                                "host=/nowhere port=S3cret connect_timeout=1",
                                "host=127.0.0.1 port=1 password=S3cret sslmode=never",
                                "host=127.0.0.1 port=1 sslpassword=S3cret",
                                "host=127.0.0.1 port=1 dbname=postgresql://etl:S3cret@127.0.0.1/db",
                                "S3cret"}) {
    for (auto const& told : {message_of([&] {
                               stash::postgres_storage{with, {.timeout = 2s}}.try_lock("k");
                             }),
                             message_of([&] {
                               stash::ckan::postgres_datastore{with, {.timeout = 2s}};
                             })}) {
      BOOST_TEST(told.find("connect") != told.npos, told);
      BOOST_TEST(told.find("S3") == told.npos, with << ": " << told);
      BOOST_TEST(told.find("cret") == told.npos, with << ": " << told);
    }
  }
  auto const said = [](std::string const& with) {
    return message_of([&] { stash::detail::postgres_connection{with, op, soon()}; });
  };
  auto const odd = said("host=127.0.0.1 port=1 color=red");
  BOOST_TEST(odd.find("invalid connection option") != std::string::npos, odd);
  BOOST_TEST(said("user=me@here host=127.0.0.1 port=1").find("Connection refused") != std::string::npos);
  BOOST_TEST(said("host=127.0.0.1 port=123456").find("a port that is no number") != std::string::npos);
  BOOST_TEST(said("hostaddr=127.0.0.1,127.0.0.9 port=1,").find("\"127.0.0.9\", port 5432") != std::string::npos);
  for (char const* const local : {"port=1", "host=/nowhere port=1", "host=@S3 port=1"}) {
    BOOST_TEST(said(local).find("socket") != std::string::npos, said(local));
  }
  BOOST_TEST(said("host=@S3 port=1").find("@S3") != std::string::npos);  // a socket without a file
}

BOOST_AUTO_TEST_CASE(what_the_server_tells_on_the_way_is_not_written_to_stderr) {
  support::scratch const place;
  auto const file = place.root / "stderr";
  int const before = ::dup(2), to = ::open(file.c_str(), O_CREAT | O_WRONLY, 0600);
  ::dup2(to, 2);
  std::string here;
  try {
    here = connection{info("options='-c client_min_messages=debug5'")}("SELECT 'here'");
  } catch (std::exception const& e) {
    here = e.what();
  }
  ::dup2(before, 2);
  ::close(before);
  ::close(to);
  BOOST_TEST(here == "here");
  BOOST_TEST(support::read(file) == "");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_connection_test
