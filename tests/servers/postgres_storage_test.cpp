// Against a real server: STASH_POSTGRES is the connection string of its superuser (see postgres_cluster.py).
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <future>
#include <list>
#include <map>
#include <optional>
#include <stash/storage/postgres.hpp>
#include <thread>
#include <tuple>

#include "conforming.hpp"
#include "fake_postgres.hpp"
#include "faulty_libpq.hpp"
#include "figures.hpp"
#include "postgres.hpp"
#include "support.hpp"

namespace postgres_storage_test {

using namespace std::chrono_literals;
using stash::errc;
using stash::record;
using stash::record_state;
using stash::sqlstate;
using support::client;
using support::code_of;
using support::code_of_any;
using support::fake_server;
using support::info;
using support::listener;
using support::message_of;
using support::missing_standby;
using support::schema;
using support::server;

namespace {

struct servers {
  stash::postgres_storage fresh() {
    places.emplace_back();
    return again();
  }
  stash::postgres_storage again() { return stash::postgres_storage{server(), {.schema = places.back().name}}; }
  std::list<schema> places;
};

record some(std::string payload) { return {std::move(payload), stash::time_point{1s}}; }

struct fixture : schema {
  stash::postgres_storage s{server(), {.schema = name}};
  client query;

  std::string table() const { return quoted() + ".stash"; }
  stash::postgres_storage other(stash::postgres_options options = {}, std::string const& with = server()) const {
    options.schema = name;
    return stash::postgres_storage{with, options};
  }
  std::string put(stash::postgres_storage& storage, char const* k, std::string payload) {
    auto const lock = storage.try_lock(k);
    if (!lock) return "the lock is taken";
    return code_of([&] { storage.put(k, some(std::move(payload))); }).message();
  }
  /// Whether, in 5 seconds, another can lock `k`: the server has seen the session end that had it.
  bool becomes_free(char const* k) const {
    auto third = other();
    for (int i = 0; i < 500; ++i) {
      if (third.try_lock(k)) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }
  /// Ends every session of a stash, as a server does that restarts.
  void end_sessions() {
    query(
        "SELECT count(pg_terminate_backend(pid, 5000))::text FROM pg_stat_activity WHERE application_name = 'stash'"
        " AND pid <> pg_backend_pid()");
  }
  void wait_until(std::string const& condition) {
    for (int i = 0; i < 1000; ++i) {
      if (query("SELECT (" + condition + ")::text") == "true") return;
      std::this_thread::sleep_for(10ms);
    }
    BOOST_FAIL("never: " + condition);
  }
};

/// As pg_advisory_lock takes it.
constexpr char the_lock_that_is_held[] =
    "SELECT ((classid::bigint << 32) | objid::bigint)::text FROM pg_locks WHERE locktype = 'advisory'";
constexpr char waits_for_standby[] =
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'stash'";

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_storage, fixture)

bool const registered = [] {
  boost::unit_test::framework::current_auto_test_suite().add(support::conforming<servers>("conformance"));
  return true;
}();

BOOST_AUTO_TEST_CASE(reading_makes_nothing_and_the_first_put_makes_a_table_that_people_can_read) {
  BOOST_TEST(!s.exists());
  BOOST_TEST(!s.get("k"));
  BOOST_TEST(!s.erase("k"));
  BOOST_TEST(s.purge(0us) == 0U);
  BOOST_TEST(s.entries().empty());
  BOOST_TEST(!s.exists());
  s.put("orders", some("{\"label\":\"N\u00b0\"}"));
  s.put("bytes", some(std::string("\0\xff", 2)));
  BOOST_TEST(s.exists());
  BOOST_TEST(query("SELECT key || ' ' || saved_at || ' ' || payload FROM " + table() + " WHERE key = 'orders'") ==
             "orders 1970-01-01T00:00:01.000000Z {\"label\":\"N\u00b0\"}");
  BOOST_TEST(query("SELECT encode(payload_bytes, 'hex') FROM " + table() + " WHERE key = 'bytes'") == "00ff");
  BOOST_TEST(s.where("orders") == name + ".stash: orders");
  BOOST_TEST(s.entries().at(0).where == name + ".stash: bytes");
  auto const where = s.set_aside("orders", "superseded");
  BOOST_TEST(where == name + ".stash: " + query("SELECT set_aside FROM " + table() + " WHERE key = 'orders'"));
}

BOOST_AUTO_TEST_CASE(a_row_that_was_changed_by_hand_is_corrupt_and_one_of_a_later_version_a_mismatch) {
  for (char const* const damage : {"payload = 'other'", "payload = NULL, payload_bytes = ''", "saved_at = 'yesterday'",
                                   "xxh64 = ''", "saved_at = '1970-01-01T00:00:02.000000Z'"}) {
    s.put("k", some("words"));
    query("UPDATE " + table() + " SET " + damage);
    BOOST_TEST_INFO(damage);
    BOOST_TEST(code_of([&] { s.get("k"); }) == errc::corrupt);
    BOOST_TEST(s.entries().at(0).state == record_state::corrupt);
  }
  s.put("k", some("words"));
  query("UPDATE " + table() + " SET version = 2");
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::mismatch);
  query("UPDATE " + table() + " SET key = '../k'");
  BOOST_TEST(s.entries().empty());
}

BOOST_AUTO_TEST_CASE(what_is_no_text_comes_back_as_it_was) {
  for (auto const& payload :
       {std::string("\0", 1), std::string("\xff"), std::string(), std::string(16 << 20, '\xfe')}) {
    s.put("k", some(payload));
    BOOST_TEST((s.get("k") == some(payload)));
  }
}

BOOST_AUTO_TEST_CASE(a_payload_over_the_cap_is_too_large_to_put_and_to_get) {
  s.put("k", some("12345"));
  auto small = other({.max_bytes = 4});
  BOOST_TEST(code_of([&] { small.put("k", some("67890")); }) == errc::too_large);
  BOOST_TEST(code_of([&] { small.get("k"); }) == errc::too_large);
  BOOST_TEST((s.get("k") == some("12345")));
}

BOOST_AUTO_TEST_CASE(a_missing_schema_is_an_error_and_not_an_absence) {
  stash::postgres_storage lost{server(), {.schema = "nowhere"}};
  for (auto const& f : std::vector<std::function<void()>>{
           [&] { lost.get("k"); }, [&] { lost.entries(); }, [&] { lost.put("k", some("x")); }, [&] { lost.erase("k"); },
           [&] { lost.exists(); }, [&] { lost.purge(0us); }, [&] { lost.set_aside("k", "x"); }}) {
    BOOST_TEST(code_of(f) == sqlstate("3F000"));
  }
  BOOST_TEST(
      message_of([&] { lost.get("k"); }).starts_with("get \"k\": there is no schema \"nowhere\": SQLSTATE 3F000"));
}

BOOST_AUTO_TEST_CASE(what_a_role_may_not_see_is_an_error_and_not_an_absence) {
  s.put("k", some("words"));
  query("DROP ROLE IF EXISTS stash_reader");
  query("CREATE ROLE stash_reader LOGIN");
  {
    auto reader = other({}, info("user=stash_reader"));
    BOOST_TEST(code_of([&] { reader.get("k"); }) == sqlstate("42501"));
    BOOST_TEST(code_of([&] { reader.entries(); }) == boost::system::errc::permission_denied);
    query("GRANT USAGE ON SCHEMA " + quoted() + " TO stash_reader");
    query("GRANT SELECT ON " + table() + " TO stash_reader");
    BOOST_TEST((reader.get("k") == some("words")));
    query("ALTER TABLE " + table() + " ENABLE ROW LEVEL SECURITY");  // hides all rows
    BOOST_TEST(code_of([&] { reader.get("k"); }) == sqlstate("42501"));
    BOOST_TEST(code_of([&] { reader.entries(); }) == sqlstate("42501"));
  }
  query("DROP OWNED BY stash_reader");
  query("DROP ROLE stash_reader");
}

BOOST_AUTO_TEST_CASE(a_server_that_would_lose_an_acknowledged_save_in_a_power_cut_is_refused) {
  namespace os = boost::system::errc;
  auto const with = info("options='-c synchronous_commit=off'");
  auto careless = other({}, with);
  BOOST_TEST(code_of([&] { careless.put("k", some("x")); }) == os::operation_not_supported);
  BOOST_TEST(code_of([&] { careless.get("k"); }) == os::operation_not_supported);
  BOOST_TEST(message_of([&] { careless.get("k"); }).find("synchronous_commit is off") != std::string::npos);
  auto forgetful = other({.durability = stash::durability::process_crash}, with);
  forgetful.put("k", some("words"));
  BOOST_TEST((forgetful.get("k") == some("words")));

  query("ALTER SYSTEM SET fsync = off");
  query("SELECT pg_reload_conf()::text");
  wait_until("current_setting('fsync') = 'off'");
  auto unsynced = other();
  auto const code = code_of([&] { unsynced.get("k"); });
  query("ALTER SYSTEM RESET fsync");
  query("SELECT pg_reload_conf()::text");
  BOOST_TEST(code == os::operation_not_supported);
}

BOOST_AUTO_TEST_CASE(what_synchronous_commit_was_when_the_session_began_it_stays) {
  s.put("k", some("words"));
  query("ALTER SYSTEM SET synchronous_commit = off");
  query("SELECT pg_reload_conf()::text");
  wait_until("current_setting('synchronous_commit') = 'off'");
  auto const before = query("SELECT pg_current_wal_flush_lsn()::text");
  std::string unflushed;
  for (int i = 0; i < 3 && unflushed != "0"; ++i) {  // the server itself writes there, too, now and then
    s.put("k", some("flushed"));
    unflushed = query("SELECT (pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn())::text");
  }
  BOOST_TEST(unflushed == "0");
  BOOST_TEST(query("SELECT pg_current_wal_flush_lsn()::text") != before);
  query("ALTER SYSTEM RESET synchronous_commit");
  query("SELECT pg_reload_conf()::text");
}

BOOST_AUTO_TEST_CASE(an_erase_is_flushed_where_there_is_nothing_to_erase_too) {
  s.put("k", some("words"));
  for (char const* const k : {"k", "k", "none"}) {
    auto const before = query("SELECT pg_current_wal_flush_lsn()::text");
    s.erase(k);
    BOOST_TEST(query("SELECT (pg_current_wal_flush_lsn() > '" + before + "')::text") == "true");
  }
}

BOOST_AUTO_TEST_CASE(both_ends_of_a_connection_find_out_within_a_minute_that_the_other_went_dark) {
  auto const until = std::chrono::steady_clock::now() + 10s;
  stash::detail::postgres_connection db{
      info("keepalives=0 options='-c idle_session_timeout=5000 -c row_security=on'"), {"test", "test"}, until};
  auto const ask = [&](std::string const& what) {
    return db.run("SELECT current_setting('" + what + "')", {}, {"test", "test"}, until).text(0, 0);
  };
  BOOST_TEST(ask("tcp_keepalives_idle") == "20");
  BOOST_TEST(ask("tcp_keepalives_interval") == "10");
  BOOST_TEST(ask("tcp_keepalives_count") == "3");
  BOOST_TEST(ask("tcp_user_timeout") == "50000");
  BOOST_TEST(ask("idle_session_timeout") == "0");
  BOOST_TEST(ask("row_security") == "off");
  auto const option = [&](int level, int which) {
    int value = 0;
    socklen_t size = sizeof value;
    BOOST_TEST(::getsockopt(::PQsocket(db.get()), level, which, &value, &size) == 0);
    return value;
  };
  BOOST_TEST(option(SOL_SOCKET, SO_KEEPALIVE) == 1);
  BOOST_TEST(option(IPPROTO_TCP, TCP_KEEPIDLE) == 20);
  BOOST_TEST(option(IPPROTO_TCP, TCP_KEEPINTVL) == 10);
  BOOST_TEST(option(IPPROTO_TCP, TCP_KEEPCNT) == 3);
  BOOST_TEST(option(IPPROTO_TCP, TCP_USER_TIMEOUT) == 50'000);
}

BOOST_AUTO_TEST_CASE(a_bad_server_is_a_clear_error_with_its_sqlstate) {
  query("DROP ROLE IF EXISTS with_password");
  query("CREATE ROLE with_password LOGIN PASSWORD 'right' CONNECTION LIMIT 1");
  auto const of = [&](std::string const& with) { return message_of([&] { other({.timeout = 3s}, with).get("k"); }); };
  auto const has = [](std::string const& text, char const* part) { return text.find(part) != text.npos; };
  for (auto const& [with, state, words] : std::vector<std::array<std::string, 3>>{
           {info("user=with_password password=wrong"), "28P01", "password authentication failed"},
           {info("user=with_password"), "28P01", "no password supplied"},
           {info("user=nobody_of_that_name"), "28000", "does not exist"},
           {info("dbname=nowhere"), "3D000", "database \"nowhere\" does not exist"},
           {"host=127.0.0.1 port=1 user=postgres", "08001", "Connection refused"},
           {"host=/nowhere user=postgres", "08001", "No such file or directory"}}) {
    auto const told = of(with);
    BOOST_TEST(has(told, ("SQLSTATE " + state).c_str()), told);
    BOOST_TEST(has(told, words.c_str()), told);
    BOOST_TEST(told.starts_with("get \"k\": connect: "), told);
    BOOST_TEST(!has(told, "wrong"), told);
  }
  client first{info("user=with_password password=right")};
  BOOST_TEST(has(of(info("user=with_password password=right")), "SQLSTATE 53300"));
  BOOST_TEST(code_of([&] { other({}, "host=").get("k"); }) != errc::corrupt);
  BOOST_TEST(code_of([&] { other({}, "no string").get("k"); }) == support::os(EINVAL));
  BOOST_TEST(code_of([&] { other({}, "color=red").get("k"); }) == support::os(EINVAL));
}

BOOST_AUTO_TEST_CASE(of_several_hosts_the_one_that_answers_is_used) {
  listener const dark;  // takes calls, and never answers
  std::string const uri = server(), host = uri.substr(uri.find('@') + 1, uri.rfind('/') - uri.find('@') - 1);
  std::string const dark_host = "127.0.0.1:" + dark.port;
  auto const start = std::chrono::steady_clock::now();
  auto several = other({.timeout = 3s}, "postgresql://postgres@127.0.0.1:1," + dark_host + ',' + host + "/postgres");
  several.put("k", some("words"));
  BOOST_TEST((s.get("k") == some("words")));
  BOOST_TEST((std::chrono::steady_clock::now() - start < 3s));
  auto none = other({.timeout = 400ms}, "postgresql://postgres@" + dark_host + "/postgres");
  BOOST_TEST(message_of([&] { none.get("k"); }).find("did not answer in time") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(the_environment_may_name_several_hosts_too) {
  s.put("k", some("words"));
  std::string const uri = server();
  auto const port = uri.substr(uri.rfind(':') + 1, uri.rfind('/') - uri.rfind(':') - 1);
  ::setenv("PGHOST", "127.0.0.1,127.0.0.1", 1);
  ::setenv("PGPORT", ("1," + port).c_str(), 1);
  auto found = other({}, "user=postgres dbname=postgres");
  BOOST_TEST((found.get("k") == some("words")));
  auto named = other({}, "hostaddr=127.0.0.1,127.0.0.1 user=postgres dbname=postgres port=1," + port);
  BOOST_TEST((named.get("k") == some("words")));
  ::setenv("PGTARGETSESSIONATTRS", "read-only", 1);
  BOOST_TEST(message_of([&] { other({}, "user=postgres dbname=postgres").get("k"); }).find("read-only") !=
             std::string::npos);
  ::unsetenv("PGTARGETSESSIONATTRS");
  support::scratch place;
  auto const file = place.root / "services";
  support::write(file, "[etl]\nhost=127.0.0.1\nport=" + port + "\nuser=postgres\ndbname=postgres\n");
  ::setenv("PGSERVICEFILE", file.c_str(), 1);
  ::setenv("PGHOST", "/nowhere,/nowhere", 1);
  BOOST_TEST((other({}, "service=etl").get("k") == some("words")));
  ::unsetenv("PGSERVICEFILE");
  ::unsetenv("PGHOST");
  ::unsetenv("PGPORT");
}

BOOST_AUTO_TEST_CASE(a_storage_that_was_connected_waits_for_its_server_to_take_it_again) {
  s.put("k", some("words"));
  query("DROP ROLE IF EXISTS stash_limited");
  query("CREATE ROLE stash_limited LOGIN CONNECTION LIMIT 1");
  query("GRANT USAGE ON SCHEMA " + quoted() + " TO stash_limited");
  query("GRANT SELECT ON " + table() + " TO stash_limited");
  {
    auto reader = other({.timeout = 10s}, info("user=stash_limited"));
    BOOST_TEST((reader.get("k") == some("words")));
    end_sessions();
    std::optional<client> in_the_way{std::in_place, info("user=stash_limited application_name=test")};
    auto found = std::async(std::launch::async, [&] { return reader.get("k"); });
    std::this_thread::sleep_for(400ms);
    in_the_way.reset();
    BOOST_TEST((found.get() == some("words")));
    end_sessions();
    in_the_way.emplace(info("user=stash_limited application_name=test"));
    auto hasty = other({.timeout = 300ms}, info("user=stash_limited"));
    BOOST_TEST(code_of([&] { hasty.get("k"); }) == sqlstate("53300"));
    BOOST_TEST(code_of([&] { hasty.try_lock("k"); }) == sqlstate("53300"));
    query("ALTER ROLE stash_limited NOLOGIN");  // which will not pass
    auto const start = std::chrono::steady_clock::now();
    BOOST_TEST(code_of([&] { reader.get("k"); }) == sqlstate("28000"));
    BOOST_TEST((std::chrono::steady_clock::now() - start < 5s));
  }
  query("DROP OWNED BY stash_limited");
  query("DROP ROLE stash_limited");
}

BOOST_AUTO_TEST_CASE(a_transaction_that_the_server_rolled_back_is_not_committed) {
  auto const until = std::chrono::steady_clock::now() + 10s;
  auto const soon = [] { return std::chrono::steady_clock::now() + 5s; };
  stash::detail::operation const op{"test", "test"};
  stash::detail::postgres_connection db{server(), op, until};
  {
    stash::detail::postgres_transaction all{db, op, soon};
    BOOST_TEST(code_of([&] { db.run("SELECT 1 / 0", {}, op, until); }) == sqlstate("22012"));
    BOOST_TEST(code_of([&] { all.commit(); }) == sqlstate("40000"));
  }
  {
    stash::detail::postgres_transaction const all{db, op, soon};
    end_sessions();
  }
  BOOST_TEST(db.is_lost());
}

BOOST_AUTO_TEST_CASE(when_its_session_ended_a_storage_goes_on_in_another_but_its_locks_are_lost) {
  s.put("k", some("words"));
  auto const lock = s.try_lock("k");
  BOOST_TEST(lock->held());
  end_sessions();
  BOOST_TEST((s.get("k") == some("words")));
  BOOST_TEST(!lock->held());
  BOOST_TEST(code_of([&] { s.put("k", some("new")); }) == errc::busy);
  BOOST_TEST(code_of([&] { s.erase("k"); }) == errc::busy);
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == errc::busy);
  BOOST_TEST((s.get("k") == some("words")));
  s.put("another", some("words"));
  BOOST_TEST(other().try_lock("k").has_value());
}

BOOST_AUTO_TEST_CASE(a_lock_is_lost_too_where_another_was_the_first_to_find_its_session_ended) {
  s.put("k", some("words"));
  auto const lock = s.try_lock("k");
  auto another = s.try_lock("another");
  end_sessions();
  another.reset();
  BOOST_TEST(!lock->held());
  BOOST_TEST(code_of([&] { s.put("k", some("new")); }) == errc::busy);
}

BOOST_AUTO_TEST_CASE(a_change_finds_out_by_itself_that_its_session_and_the_lock_have_ended) {
  s.put("k", some("words"));
  auto const change = [&](auto f) {
    auto const lock = s.try_lock("k");
    end_sessions();
    return code_of(f);
  };
  {
    auto const lock = s.try_lock("k");
    BOOST_TEST(lock->held());
    end_sessions();
    BOOST_TEST(!lock->held());
  }
  BOOST_TEST(change([&] { s.put("k", some("new")); }) == errc::busy);
  BOOST_TEST(change([&] { s.erase("k"); }) == errc::busy);
  BOOST_TEST(change([&] { s.set_aside("k", "x"); }) == errc::busy);
  BOOST_TEST((s.get("k") == some("words")));
  BOOST_TEST(put(s, "k", "new") == "Success");
  end_sessions();
  BOOST_TEST(put(s, "k", "newer") == "Success");
  end_sessions();
  BOOST_TEST(s.purge(0us) == 0U);
  end_sessions();
  BOOST_TEST(s.exists());
  end_sessions();
  BOOST_TEST(s.entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_save_whose_session_ended_unanswered_is_written_again) {
  s.put("k", some("old"));
  std::future<std::string> saved;
  {
    missing_standby const waiting{query};
    saved = std::async(std::launch::async, [&] { return put(s, "k", "new"); });
    wait_until(waits_for_standby);
    auto const first = query("SELECT xmin::text FROM " + table());
    end_sessions();  // the row is there, but no standby has it
    wait_until(waits_for_standby);
    BOOST_TEST(query("SELECT xmin::text FROM " + table()) != first);
    BOOST_TEST((saved.wait_for(0s) == std::future_status::timeout));
  }
  BOOST_TEST(saved.get() == "Success");
  BOOST_TEST((s.get("k") == some("new")));
  BOOST_TEST(other().try_lock("k").has_value());
}

BOOST_AUTO_TEST_CASE(an_erase_and_a_set_aside_whose_session_ended_unanswered_are_done_again) {
  for (bool const erases : {true, false}) {
    s.put("k", some("old"));
    std::future<bool> was_there;
    {
      missing_standby const waiting{query};
      was_there = std::async(std::launch::async, [&] {
        auto const lock = s.try_lock("k");
        return erases ? s.erase("k") : !s.set_aside("k", "superseded").empty();
      });
      wait_until(waits_for_standby);
      end_sessions();
      wait_until(waits_for_standby);
    }
    BOOST_TEST(was_there.get());
    BOOST_TEST(!s.get("k"));
  }
  BOOST_TEST(s.set_aside_entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_guard_whose_session_ended_while_it_saved_lets_no_delete_start) {
  stash::basic_stash<stash::postgres_storage> store{server(), stash::postgres_options{.schema = name}};
  s.put("k", some("old"));
  s.erase("k");
  std::future<boost::system::error_code> guarded;
  int restored = 0;
  {
    missing_standby const waiting{query};
    guarded = std::async(std::launch::async, [&] {
      return code_of([&] {
        stash::delete_guard{store, "k", [] { return std::string("words"); }, [&](std::string const&) { ++restored; }}
            .commit();
      });
    });
    wait_until(waits_for_standby);
    end_sessions();
    wait_until(waits_for_standby);
  }
  BOOST_TEST(guarded.get() == errc::busy);
  BOOST_TEST(restored == 0);
  BOOST_TEST((store.load<std::string>("k") == "words"));
}

BOOST_AUTO_TEST_CASE(a_save_that_was_not_written_when_its_session_ended_is_written_too) {
  s.put("k", some("old"));
  query("CREATE TABLE " + quoted() + ".ends (left_over int)");
  query("INSERT INTO " + quoted() + ".ends VALUES (2)");
  // The connection breaks in the middle of the statement, for the first times that it is tried.
  query("CREATE FUNCTION " + quoted() +
        ".break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('" +
        quoted() +
        ".breaks') < 3 THEN PERFORM pg_terminate_backend(pg_backend_pid());"
        " PERFORM pg_sleep(1); END IF; RETURN NEW; END $$");
  query("CREATE SEQUENCE " + quoted() + ".breaks");
  query("CREATE TRIGGER t BEFORE INSERT ON " + table() + " FOR EACH ROW EXECUTE FUNCTION " + quoted() + ".break_off()");
  BOOST_TEST(put(s, "k", "new") == "Success");
  BOOST_TEST(query("SELECT last_value::text FROM " + quoted() + ".breaks") == "3");
  BOOST_TEST((s.get("k") == some("new")));
  std::vector<std::pair<stash::key, record>> const all{{"a", some("1")}, {"b", some("2")}};
  query("ALTER SEQUENCE " + quoted() + ".breaks RESTART");
  s.put_all(all);
  BOOST_TEST(s.entries().size() == 3U);
}

BOOST_AUTO_TEST_CASE(a_save_is_not_written_again_over_what_another_wrote_meanwhile) {
  s.put("k", some("old"));
  std::string lock_key;
  {
    auto const lock = s.try_lock("k");
    lock_key = query(the_lock_that_is_held);
  }
  std::future<std::string> saved;
  {
    missing_standby const waiting{query};
    saved = std::async(std::launch::async, [&] { return put(s, "k", "mine"); });
    wait_until(waits_for_standby);
    std::promise<void> go_on;
    auto another = std::async(std::launch::async, [&] {
      client theirs;
      theirs("SET synchronous_commit = local");
      theirs("SELECT pg_advisory_lock(" + lock_key + ")::text");  // had as soon as the first session has ended
      theirs("UPDATE " + table() + " SET xxh64 = 'theirs'");
      go_on.get_future().wait();
    });
    wait_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'advisory'");
    end_sessions();
    wait_until("SELECT count(*) > 0 FROM " + table() + " WHERE xxh64 = 'theirs'");
    BOOST_TEST((saved.wait_for(200ms) == std::future_status::timeout));  // it waits for the lock
    go_on.set_value();
    another.get();
    BOOST_TEST(saved.get() == stash::make_error_code(errc::busy).message());
  }
  BOOST_TEST(query("SELECT xxh64 FROM " + table()) == "theirs");
}

/// To adopt is to put the same record again: only the row's version tells.
BOOST_AUTO_TEST_CASE(an_erase_is_not_done_again_where_another_adopted_the_record_meanwhile) {
  s.put("k", some("old"));
  query("CREATE TABLE " + quoted() + ".copy AS SELECT * FROM " + table());
  std::string lock_key;
  {
    auto const lock = s.try_lock("k");
    lock_key = query(the_lock_that_is_held);
  }
  {
    missing_standby const waiting{query};
    auto erased = std::async(std::launch::async, [&] {
      auto const lock = s.try_lock("k");
      return code_of([&] { s.erase("k"); });
    });
    wait_until(waits_for_standby);
    auto another = std::async(std::launch::async, [&] {
      client theirs;
      theirs("SET synchronous_commit = local");
      theirs("SELECT pg_advisory_lock(" + lock_key + ")::text");
      theirs("INSERT INTO " + table() + " SELECT * FROM " + quoted() + ".copy");
    });
    wait_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'advisory'");
    end_sessions();
    another.get();
    BOOST_TEST(erased.get() == errc::busy);
  }
  BOOST_TEST((s.get("k") == some("old")));
}

/// A record that was not there before, and is not there now: whether it has been there between is known by the server.
BOOST_AUTO_TEST_CASE(a_save_is_not_written_again_where_another_cleared_it_meanwhile) {
  for (bool const is_cleared : {true, false}) {
    s.put("k", some("old"));
    std::string lock_key;
    {
      auto const lock = s.try_lock("k");
      s.erase("k");
      lock_key = query(the_lock_that_is_held);
    }
    std::future<std::string> saved;
    {
      missing_standby const waiting{query};
      saved = std::async(std::launch::async, [&] { return put(s, "k", "mine"); });
      wait_until(waits_for_standby);
      auto another = std::async(std::launch::async, [&] {
        client theirs;
        theirs("SET synchronous_commit = local");
        theirs("SELECT pg_advisory_lock(" + lock_key + ")::text");
        if (is_cleared) theirs("DELETE FROM " + table());
      });
      wait_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'advisory'");
      end_sessions();
      another.get();
    }
    BOOST_TEST(saved.get() == (is_cleared ? stash::make_error_code(errc::busy).message() : "Success"));
    BOOST_TEST(s.get("k").has_value() == !is_cleared);
  }
}

/// Of two that remove a record one is told so.
BOOST_AUTO_TEST_CASE(an_erase_that_was_not_done_says_so_where_another_cleared_the_record_meanwhile) {
  s.put("k", some("old"));
  // The connection breaks in the middle of the first removal, before it is committed.
  query("CREATE FUNCTION " + quoted() +
        ".break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF current_setting('application_name') = 'stash' THEN PERFORM pg_sleep(60); END IF; RETURN OLD; END $$");
  query("CREATE TRIGGER t BEFORE DELETE ON " + table() + " FOR EACH ROW EXECUTE FUNCTION " + quoted() + ".break_off()");
  auto erased = std::async(std::launch::async, [&] {
    auto const lock = s.try_lock("k");
    return code_of([&] { s.erase("k"); });
  });
  wait_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
  auto const lock_key = query(the_lock_that_is_held);
  auto another = std::async(std::launch::async, [&] {
    client theirs;
    theirs("SELECT pg_advisory_lock(" + lock_key + ")::text");
    theirs("DELETE FROM " + table());
  });
  wait_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'advisory'");
  end_sessions();
  another.get();
  BOOST_TEST(erased.get() == errc::busy);
}

BOOST_AUTO_TEST_CASE(a_save_of_which_the_server_warns_is_indeterminate) {
  s.put("k", some("old"));
  std::future<boost::system::error_code> saved;
  {
    missing_standby const waiting{query};
    saved = std::async(std::launch::async, [&] { return code_of([&] { s.put("k", some("new")); }); });
    wait_until(waits_for_standby);
    query("SELECT count(pg_cancel_backend(pid))::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    BOOST_TEST(saved.get() == errc::indeterminate);
  }
  BOOST_TEST(put(s, "k", "newer") == "Success");
}

BOOST_AUTO_TEST_CASE(a_call_ends_when_its_time_is_over_whatever_the_server_does) {
  s.put("k", some("old"));
  auto hasty = other({.timeout = 500ms});
  {
    missing_standby const waiting{query};
    auto const start = std::chrono::steady_clock::now();
    BOOST_TEST(put(hasty, "k", "new") == stash::make_error_code(errc::indeterminate).message());
    BOOST_TEST((std::chrono::steady_clock::now() - start < 3s));
  }
  query("BEGIN");
  query("LOCK TABLE " + table());
  BOOST_TEST(code_of([&] { hasty.get("k"); }) == sqlstate("08006"));
  query("ROLLBACK");
  wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'stash' AND state = 'active'");
  BOOST_TEST(hasty.get("k").has_value());
}

BOOST_AUTO_TEST_CASE(a_statement_that_the_server_ends_is_an_error_and_the_old_stands) {
  s.put("k", some("old"));
  query("BEGIN");
  query("LOCK TABLE " + table() + " IN SHARE MODE");
  auto cancelled = std::async(std::launch::async, [&] { return code_of([&] { s.put("k", some("new")); }); });
  client canceller;
  while (canceller("SELECT count(pg_cancel_backend(pid))::text FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                   " AND application_name = 'stash'") == "0") {
    std::this_thread::sleep_for(5ms);
  }
  BOOST_TEST(cancelled.get() == sqlstate("57014"));
  query("ROLLBACK");
  auto reader = other({}, info("options='-c default_transaction_read_only=on'"));
  BOOST_TEST(code_of([&] { reader.put("k", some("new")); }) == sqlstate("25006"));
  BOOST_TEST(code_of([&] { reader.put("k", some("new")); }) == boost::system::errc::read_only_file_system);
  BOOST_TEST((s.get("k") == some("old")));
  std::vector<std::pair<stash::key, record>> const all{{"k", some("1")}, {"long", some("2")}};
  query("ALTER TABLE " + table() + " ADD CHECK (key <> 'long')");
  BOOST_TEST(code_of([&] { s.put_all(all); }) == sqlstate("23514"));
  BOOST_TEST((s.get("k") == some("old")));
  BOOST_TEST(put(s, "k", "new") == "Success");
}

BOOST_AUTO_TEST_CASE(a_full_disk_and_a_missing_right_can_be_forgiven_by_best_effort) {
  namespace os = boost::system::errc;
  BOOST_TEST(sqlstate("53100") == os::no_space_on_device);
  BOOST_TEST(sqlstate("25006") == os::read_only_file_system);
  BOOST_TEST(sqlstate("42501") == os::permission_denied);
  BOOST_TEST(sqlstate("57014") != os::no_space_on_device);
  BOOST_TEST(sqlstate("0A000").message() == "SQLSTATE 0A000");
  BOOST_TEST(sqlstate("XX001").message() == "SQLSTATE XX001");
}

BOOST_AUTO_TEST_CASE(best_effort_does_not_forgive_a_server_that_takes_no_locks) {
  struct refusing {
    stash::postgres_storage inner;
    using lock_type = stash::postgres_storage::lock_type;
    void put(stash::key const& k, record const& r) { inner.put(k, r); }
    std::optional<record> get(stash::key const& k) const { return inner.get(k); }
    bool erase(stash::key const& k) { return inner.erase(k); }
    std::vector<stash::entry> entries() const { return inner.entries(); }
    std::string set_aside(stash::key const& k, std::string_view reason) { return inner.set_aside(k, reason); }
    std::vector<stash::entry> set_aside_entries() const { return inner.set_aside_entries(); }
    std::size_t purge(std::chrono::microseconds t) { return inner.purge(t); }
    std::optional<lock_type> try_lock(stash::key const&) { throw stash::error{sqlstate("42501"), "try_lock"}; }
  };
  stash::basic_stash<refusing> store{refusing{other()}};
  BOOST_TEST(code_of([&] {
               stash::delete_guard{store, "k", [] { return 1; }, [](int) {}, {.best_effort = true}}.release();
             }) == sqlstate("42501"));
}

BOOST_AUTO_TEST_CASE(all_of_several_first_savers_at_once_succeed) {
  for (int round = 0; round < 10; ++round) {
    query("DROP TABLE IF EXISTS " + table());
    std::vector<std::future<std::string>> savers;
    for (int i = 0; i < 8; ++i) {
      savers.push_back(std::async(std::launch::async, [&, i] {
        auto one = other();
        one.exists();
        return put(one, std::to_string(i).c_str(), "words");
      }));
    }
    for (auto& one : savers) BOOST_TEST(one.get() == "Success");
    BOOST_TEST(s.entries().size() == 8U);
  }
}

BOOST_AUTO_TEST_CASE(a_table_that_is_made_while_it_is_read_is_read) {
  bool is_made = false;
  support::faulty_libpq const libpq{[&](std::string_view, std::string_view sql) {
    if (!is_made && sql.find("pg_class") != sql.npos) {
      is_made = true;
      other().put("k", some("words"));
    }
    return false;
  }};
  BOOST_TEST((s.get("k") == some("words")));
  BOOST_TEST(is_made);
}

BOOST_AUTO_TEST_CASE(what_broke_before_anything_was_written_is_not_tried_again_without_the_lock) {
  auto const lock = s.try_lock("k");
  {
    bool is_making = false;
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
      is_making = is_making || sql.starts_with("CREATE TABLE");
      return call == "PQgetResult" && is_making;
    }};
    BOOST_TEST(code_of([&] { s.put("k", some("first")); }) == sqlstate("08006"));
  }
  BOOST_TEST(code_of([&] { s.put("k", some("first")); }) == errc::busy);
  BOOST_TEST(!lock->held());
}

/// A call that had to wait for another has its whole time afterwards, and leaves the session alone.
BOOST_AUTO_TEST_CASE(a_call_that_waited_for_its_turn_ends_no_session) {
  s.put("k", some("words"));
  query("CREATE FUNCTION " + quoted() +
        ".sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.4); RETURN NEW; END $$");
  query("CREATE TRIGGER t BEFORE INSERT ON " + table() + " FOR EACH ROW EXECUTE FUNCTION " + quoted() + ".sleep()");
  auto slow = other({.timeout = 900ms});
  auto const lock = slow.try_lock("another");
  std::vector<std::future<boost::system::error_code>> all;
  for (char const* const k : {"a", "b", "c", "d"}) {
    all.push_back(std::async(std::launch::async, [&, k] { return code_of([&] { slow.put(k, some("words")); }); }));
  }
  for (auto& one : all) BOOST_TEST(!one.get());
  BOOST_TEST(lock->held());
}

/// Where nobody knows whether it was done, and it cannot be done again.
BOOST_AUTO_TEST_CASE(a_save_that_cannot_be_written_again_is_indeterminate) {
  s.put("k", some("old"));
  auto impatient = other({.timeout = 2s});
  std::optional<stash::postgres_storage::lock_type> theirs;
  auto third = other();
  auto const put_when_lost = [&](auto meanwhile) {
    bool is_sent = false, is_lost = false;
    auto const lock = impatient.try_lock("k");
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
      is_sent = is_sent || sql.starts_with("INSERT");
      bool const was_lost = is_lost;
      if (call == "PQgetResult" && is_sent) is_lost = true;
      return is_lost && (!was_lost || meanwhile(call, sql));
    }};
    return message_of([&] { impatient.put("k", some("new")); });
  };
  auto const in_the_way = put_when_lost([&](std::string_view call, std::string_view) {
    while (call == "PQconnectStartParams" && !theirs) theirs = third.try_lock("k");
    return false;
  });
  BOOST_TEST(in_the_way.find("its lock could not be taken again") != std::string::npos, in_the_way);
  theirs.reset();
  bool is_moved = false;
  auto const gone = put_when_lost([&](std::string_view, std::string_view) {
    if (!std::exchange(is_moved, true)) query("ALTER SCHEMA " + quoted() + " RENAME TO moved");
    return false;
  });
  query("ALTER SCHEMA moved RENAME TO " + quoted());
  BOOST_TEST(gone.find("SQLSTATE 3F000") != std::string::npos, gone);
  auto const no_memory =
      put_when_lost([](std::string_view call, std::string_view) { return call == "PQconnectStartParams"; });
  auto const lost_at_the_end = put_when_lost([](std::string_view, std::string_view sql) {
    if (sql.find("pg_try_advisory_lock") == sql.npos) return false;
    std::this_thread::sleep_for(2s);
    return true;
  });
  for (auto const& told : {in_the_way, gone, no_memory, lost_at_the_end}) {
    BOOST_TEST(told.find(stash::make_error_code(errc::indeterminate).message()) != std::string::npos, told);
  }
  BOOST_TEST(put(impatient, "k", "new") == "Success");
}

BOOST_AUTO_TEST_CASE(a_save_in_the_middle_of_which_memory_ran_out_is_written_again) {
  for (std::string const command : {"INSERT", "COMMIT"}) {
    bool is_sent = false, has_thrown = false;
    auto lock = s.try_lock("k");
    BOOST_REQUIRE(lock.has_value());
    {
      support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
        is_sent = is_sent || sql.starts_with(command);
        if (call == "PQflush" && is_sent && !std::exchange(has_thrown, true)) throw std::bad_alloc{};
        if (sql.find("unlock_all") != sql.npos) throw std::bad_alloc{};  // its locks end with the session then
        return false;
      }};
      BOOST_CHECK_NO_THROW(s.put("k", some(command)));
    }
    BOOST_TEST(has_thrown);
    lock.reset();
    BOOST_TEST(becomes_free("k"));
    BOOST_TEST((s.get("k") == some(command)));
  }
}

BOOST_AUTO_TEST_CASE(a_call_that_waited_for_its_turn_has_its_whole_time) {
  auto one = other({.timeout = 1s});
  BOOST_TEST(put(one, "k", "old") == "Success");
  std::atomic<bool> has_turn{false};
  bool is_sent = false, is_lost = false;
  support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
    if (call == "PQflush" && !has_turn) {  // the first call takes longer than a call may
      has_turn = true;
      std::this_thread::sleep_for(1500ms);
    }
    is_sent = is_sent || sql.starts_with("INSERT");
    return call == "PQgetResult" && is_sent && !std::exchange(is_lost, true);
  }};
  auto const slow = std::async(std::launch::async, [&] { return one.get("k"); });
  while (!has_turn) std::this_thread::sleep_for(1ms);
  BOOST_TEST(code_of([&] { one.put("k", some("new")); }).message() == "Success");  // in a new session, in its own time
  BOOST_TEST(is_lost);
}

BOOST_AUTO_TEST_CASE(wherever_memory_runs_out_no_lock_stays_behind) {
  int nth = 1;
  for (bool has_thrown = true; has_thrown; ++nth) {
    has_thrown = false;
    int calls = 0;
    auto one = other();
    {
      support::faulty_libpq const libpq{[&](std::string_view call, std::string_view) {
        if (call != "PQflush" || ++calls != nth) return false;
        has_thrown = true;
        throw std::bad_alloc{};
      }};
      try {
        auto const lock = one.try_lock("k");
        BOOST_REQUIRE(lock.has_value());
        one.put("k", some("words"));
      } catch (std::bad_alloc const&) {
      }
    }
    BOOST_TEST(becomes_free("k"), nth);
  }
  BOOST_TEST(nth > 6);
}

BOOST_AUTO_TEST_CASE(a_payload_whose_sending_broke_off_is_sent_again) {
  std::string const payload(16 << 20, 'x');
  bool is_sending = false, is_left = false, is_broken = false;
  {
    support::faulty_libpq const libpq{[&](std::string_view call, std::string_view sql) {
      is_sending = is_sending || sql.starts_with("INSERT");
      if (call == support::rest_to_flush) return is_sending && !std::exchange(is_left, true);
      return call == "PQconsumeInput" && is_sending && !std::exchange(is_broken, true);
    }};
    s.put("k", some(payload));
  }
  BOOST_TEST(is_broken);
  BOOST_TEST((s.get("k") == some(payload)));
}

BOOST_AUTO_TEST_CASE(a_signal_ends_no_wait) {
  struct sigaction ignore {};
  ignore.sa_handler = [](int) {};
  struct sigaction before {};
  ::sigaction(SIGALRM, &ignore, &before);
  itimerval const often{{0, 2000}, {0, 2000}}, never{};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  BOOST_TEST(query("SELECT pg_sleep(0.1)::text") == "");
  ::setitimer(ITIMER_REAL, &never, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
}

/// Each call fails once, or from then on; what is there then is the old records or the new, and what is read meanwhile
/// is right or an error.
BOOST_AUTO_TEST_CASE(whichever_call_of_libpq_fails_the_old_or_the_new_records_stand_and_no_error_is_an_absence) {
  auto const standing = [](stash::postgres_storage const& in) {
    std::string all;
    for (auto const& e : in.entries()) all += std::string(e.key.str()) + '=' + in.get(e.key).value().payload + ' ';
    for (auto const& e : in.set_aside_entries()) all += std::string(e.key.str()) + " kept ";
    return all;
  };
  std::size_t tried = 0, failed = 0, done_again = 0, bad = 0;
  auto const stride = static_cast<std::size_t>(support::stride());
  auto const check = [&](bool is_right) {
    BOOST_TEST(is_right);
    bad += !is_right;
  };
  BOOST_TEST(!s.exists());  // and so has a session
  for (bool const all_later : {false, true}) {
    for (std::size_t fails_at = 0;;) {
      query("DROP TABLE IF EXISTS " + table());
      std::string expected, next_to_it;
      boost::system::error_code problem;
      bool has_failed = false;
      BOOST_TEST_CONTEXT("call " << fails_at << " fails" << (all_later ? ", as do all later" : "")) {
        std::optional one = other({.timeout = all_later ? 100ms : 5000ms});
        auto const step = [&](std::string next, std::initializer_list<stash::key> keys, auto f) {
          if (problem) return;
          std::list<stash::postgres_storage::lock_type> locks;
          problem = code_of_any([&] {
            for (auto const& k : keys) {
              auto lock = one->try_lock(k);
              for (int i = 0; i < 500 && !lock; ++i) {  // of a session that is about to end
                std::this_thread::sleep_for(2ms);
                lock = one->try_lock(k);
              }
              locks.push_back(std::move(lock.value()));
            }
          });
          if (problem) return;
          problem = code_of_any(f);
          if (!problem || problem == errc::indeterminate) next_to_it = next;
          if (!problem) expected = next;
          if (problem) return;
          auto seen = next;
          code_of_any([&] { seen = standing(*one); });
          check(seen == next);
        };
        std::size_t calls = 0;
        std::optional<support::faulty_libpq> libpq{std::in_place, [&](std::string_view call, std::string_view) {
                                                     if (call == support::rest_to_flush) return false;
                                                     bool const fails =
                                                         calls == fails_at || (all_later && calls > fails_at);
                                                     ++calls;
                                                     has_failed = has_failed || fails;
                                                     return fails;
                                                   }};
        std::vector<std::pair<stash::key, record>> const both{{"k", some("second")}, {"l", some("two")}};
        step("k=first ", {"k"}, [&] { one->put("k", some("first")); });
        step("k=second l=two ", {"k", "l"}, [&] { one->put_all(both); });
        step("l=two k kept ", {"k"}, [&] { one->set_aside("k", "superseded"); });
        step("k kept ", {"l"}, [&] { check(one->erase("l")); });
        step("", {}, [&] { one->purge(0us); });
        if (expected == "k kept ") next_to_it = "";  // a purge that failed may have been done
        libpq.reset();
        check(all_later || !code_of([&] { one->exists(); }));  // it goes on
        one.reset();
        // What was sent, and given up, may be done later only.
        wait_until("SELECT count(*) <= 1 FROM pg_stat_activity WHERE application_name = 'stash'");
        auto const found = standing(s);
        BOOST_TEST_INFO(problem.message() << ": " << found << "where it was " << expected << "or " << next_to_it);
        check(found == expected || found == next_to_it);
      }
      ++tried;
      failed += bool(problem);
      done_again += has_failed && !problem;
      if (!has_failed && !problem) break;
      if (has_failed) fails_at += (all_later ? 5U : 1U) * stride;
    }
  }
  BOOST_TEST(failed * stride > 50U);
  BOOST_TEST(done_again * stride > 20U);
  support::figure("every call fails", "each call of libpq by the storage, and all later ones", tried, bad);
}

BOOST_AUTO_TEST_CASE(what_a_server_says_that_is_none_is_an_error_all_the_same) {
  using fake = fake_server;
  std::string const in = fake::message('R', std::string(4, '\0')) + fake::message('Z', "I");
  auto const error = [](std::initializer_list<std::string> all) { return fake::fields('E', all); };
  for (auto const& [answers, code, words] : std::vector<std::tuple<std::vector<std::string>, char const*, char const*>>{
           {{error({"SFATAL", "VFATAL", "C57P03", "Mstarting up"})}, "57P03", "starting up"},
           {{error({"SFATAL", "VFATAL", "C\x01", "Mab"})}, "08001", "ab"},
           {{error({"SFATAL", "VFATAL", "C!!!!!", "Mtold:  ABCDE or not"})}, "08001", "or not"},
           {{in, error({"SERROR", "VERROR", "C42501", "Mno", "Dnot you", "Wthere"})}, "42501", "no: not you (there)"},
           {{in, error({"SERROR", "VERROR", "C!!!!!", "Mrefused"})}, "08006", "refused"},
           {{in, error({"SERROR", "VERROR", "Mrefused"})}, "08006", "refused"},
           {{in, error({"SFATAL", "Mrefused"})}, "08006", "refused"},
           {{in, fake::message('H', std::string(3, '\0'))},
            "08006",
            "get \"k\""}}) {  // as if it had been asked to COPY out
    auto const ends = answers.size() == 2 ? fake::message('Z', "I") : "";
    auto all = answers;
    all.back() += ends;
    fake server{all};
    auto const told = message_of([&] { other({.timeout = 2s}, server.info).get("k"); });
    BOOST_TEST(told.find(std::string("SQLSTATE ") + code) != std::string::npos, told);
    BOOST_TEST(told.find(words) != std::string::npos, told);
  }
}

BOOST_AUTO_TEST_CASE(a_lock_is_of_one_table_only) {
  auto const lock = s.try_lock("k");
  schema const elsewhere;
  stash::postgres_storage there{server(), {.schema = elsewhere.name}}, beside{server(), {.schema = name, .table = "t"}};
  BOOST_TEST(there.try_lock("k").has_value());
  BOOST_TEST(beside.try_lock("k").has_value());
  BOOST_TEST(!other().try_lock("k").has_value());
}

BOOST_AUTO_TEST_CASE(the_lock_of_a_process_that_died_is_gone_though_its_child_lives) {
  int ends[2];
  BOOST_REQUIRE(::pipe(ends) == 0);
  int const status = support::in_child([&] {
    auto mine = other();
    auto const lock = mine.try_lock("k");
    if (::fork() == 0) {
      char byte = 0;
      ::close(ends[1]);
      ::_exit(::read(ends[0], &byte, 1) == 0 ? 0 : 1);  // lives until the test closes its end
    }
    ::_exit(lock ? 0 : 1);
    return 1;
  });
  BOOST_TEST(status == 0);
  bool taken = false;
  for (int i = 0; i < 300 && !taken; ++i) {
    taken = s.try_lock("k").has_value();
    std::this_thread::sleep_for(10ms);
  }
  BOOST_TEST(taken);
  ::close(ends[0]);
  ::close(ends[1]);
}

BOOST_AUTO_TEST_CASE(a_child_ends_nothing_of_its_parents_session) {
  s.put("k", some("words"));
  auto lock = s.try_lock("k");
  auto const session = query("SELECT max(pid)::text FROM pg_locks WHERE locktype = 'advisory'");
  int const status = support::in_child([&] {
    bool const is_inert = !lock->held() && !s.try_lock("k");
    lock.reset();
    return is_inert && s.get("k") == some("words") ? 0 : 1;
  });
  BOOST_TEST(status == 0);
  int const dropped = support::in_child([storage = std::move(s)]() mutable {
    stash::postgres_storage const gone = std::move(storage);
    return 0;
  });
  BOOST_TEST(dropped == 0);
  BOOST_TEST(lock->held());
  BOOST_TEST(query("SELECT max(pid)::text FROM pg_locks WHERE locktype = 'advisory'") == session);
}

BOOST_AUTO_TEST_CASE(its_socket_is_no_standard_descriptor_where_these_are_closed) {
  int const status = support::in_child([&] {
    for (int const fd : {0, 1, 2}) ::close(fd);
    auto mine = other();
    mine.put("k", some("words"));
    for (char const* const fd : {"0", "1", "2"}) {
      if (boost::filesystem::read_symlink("/proc/self/fd/" + std::string(fd)) != "/") return 1;
    }
    return mine.get("k") == some("words") ? 0 : 2;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_storage_test
