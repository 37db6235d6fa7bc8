// Whatever the settings of the role, the database or the environment are, our answers mean the same. Against a real
// server (see postgres_cluster.py).
#include <cstdlib>
#include <future>
#include <map>
#include <stash/ckan/postgres_datastore.hpp>
#include <stash/storage/postgres.hpp>
#include <thread>

#include "postgres.hpp"
#include "support.hpp"

namespace postgres_settings_test {

using namespace std::chrono_literals;
using stash::errc;
using stash::record;
using stash::sqlstate;
using support::client;
using support::code_of;
using support::info;
using support::message_of;
using support::missing_standby;
using support::schema;
using support::server;
namespace ckan = stash::ckan;
namespace json = boost::json;

namespace {

std::string const any_bytes("\0\xff\\'", 4);

/// A role for whom one thing is set otherwise. It may make what is not there, and nothing else.
struct odd_role : schema {
  client query;
  std::string const as = info("user=stash_odd");
  schema const evil{};

  odd_role() {
    forget();
    query("CREATE ROLE stash_odd LOGIN");
    query("GRANT ALL ON SCHEMA " + quoted() + " TO stash_odd");
    query("GRANT ALL ON SCHEMA " + evil.quoted() + " TO stash_odd");
    query("CREATE FUNCTION " + quoted() +
          ".populate_full_text_trigger() RETURNS trigger LANGUAGE plpgsql AS"
          " $$ BEGIN NEW._full_text := 'filled'; RETURN NEW; END $$");
    query("CREATE DOMAIN " + quoted() + ".\"Mood\" AS pg_catalog.text");
    make_traps();
  }
  ~odd_role() { forget(); }
  void forget() {
    query(
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'stash_odd') THEN DROP OWNED BY stash_odd;"
        " END IF; END $$");
    query("DROP ROLE IF EXISTS stash_odd");
  }

  /// What somebody's search_path could put in the place of what we mean.
  void make_traps() {
    std::string const in = evil.quoted() + '.';
    for (auto const& [function, result] :
         std::map<std::string, std::string>{{"set_config(a text, b text, c boolean)", "text"},
                                            {"current_setting(a text)", "text"},
                                            {"current_setting(a text, b boolean)", "text"},
                                            {"pg_backend_pid()", "integer"},
                                            {"pg_try_advisory_lock(a bigint)", "boolean"},
                                            {"pg_advisory_unlock(a bigint)", "boolean"},
                                            {"pg_is_in_recovery()", "boolean"},
                                            {"octet_length(a text)", "integer"},
                                            {"host(a inet)", "text"},
                                            {"inet_client_port()", "integer"},
                                            {"equal(a pg_catalog.text, b pg_catalog.text)", "boolean"}}) {
      query("CREATE FUNCTION " + in + function + " RETURNS " + result +
            " LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trap'; END $$");
    }
    query("CREATE OPERATOR " + in + "= (LEFTARG = text, RIGHTARG = text, FUNCTION = " + in + "equal)");
    query("CREATE OPERATOR " + in + "<> (LEFTARG = text, RIGHTARG = text, FUNCTION = " + in + "equal)");
    query("CREATE DOMAIN " + in + "text AS pg_catalog.text CHECK (false)");
    query("CREATE DOMAIN " + in + "bytea AS pg_catalog.bytea CHECK (false)");
    for (char const* const table : {"pg_class", "pg_namespace", "pg_settings", "pg_attribute"}) {
      query("CREATE TABLE " + in + table + " (nothing integer)");
    }
    query("GRANT SELECT ON ALL TABLES IN SCHEMA " + evil.quoted() + " TO stash_odd");
  }

  static record some(std::string payload) { return {std::move(payload), stash::time_point{1s}}; }

  /// All that a storage and a datastore answer, in one text.
  std::string answers(std::string const& with) {
    query("DROP TABLE IF EXISTS " + quoted() + ".stash, " + quoted() + ".orders");
    std::string all;
    auto const tell = [&](std::string const& what) { all += what + '\n'; };
    auto const yes = [](bool is) { return std::string(is ? "yes" : "no"); };
    {
      stash::postgres_storage s{with, {.schema = name, .timeout = 10s}}, other{server(), {.schema = name}};
      auto const lock = s.try_lock("k");
      tell("locked " + yes(lock && !other.try_lock("k")));
      tell("absent " + yes(!s.get("k") && !s.erase("k")));
      tell("held " + yes(lock->held()));
      s.put("k", some("N\u00b0 'a' \\ \"b\" 0.1 2026-11-22"));
      std::vector<std::pair<stash::key, record>> const both{{"b", some(any_bytes)}, {"\u00e9", some("")}};
      s.put_all(both);
      tell(s.get("k").value().payload);
      tell(other.get("b").value().payload);
      for (auto const& e : s.entries()) tell(e.where);
      s.set_aside("k", "superseded");
      s.erase("b");
      tell(std::to_string(s.set_aside_entries().size()) + " aside, " + std::to_string(other.entries().size()) +
           " left");
      tell("purged " + std::to_string(s.purge(0us)));
      query("BEGIN");
      query("LOCK TABLE " + quoted() + ".stash");
      auto read = std::async(std::launch::async, [&] { return s.get("\u00e9").has_value(); });
      std::this_thread::sleep_for(120ms);
      query("ROLLBACK");
      tell("waited " + yes(read.get()));
      tell("held " + yes(lock->held()));
    }
    ckan::postgres_datastore d{with, {.schema = name, .timeout = 10s}};
    ckan::fields const columns{{"id", "numeric", json::object{{"label", "N\u00b0 'a' \\"}, {"scale", 0.1}}},
                               {"day", "date", std::nullopt},
                               {"mood", quoted() + ".\"Mood\"", std::nullopt}};
    d.create("orders", columns);
    {
      ckan::postgres_datastore::loader rows{d, "orders", columns};
      rows.add(std::array<std::optional<std::string_view>, 3>{"0.1", "2026-11-22", "\\'\u00e9"});
      std::this_thread::sleep_for(120ms);
      rows.add_csv(",,\n");
      rows.finish();
    }
    tell("finished " + yes(d.describe("orders").has_value()));
    d.finish("orders");
    d.annotate("orders", {{"day", json::object{{"label", "Tag"}}}});
    auto const found = d.describe("orders").value();
    for (auto const& f : found) {
      tell(f.id + ' ' + f.type + ' ' + (f.info ? json::serialize(*f.info) : ""));
    }
    tell(query("SELECT string_agg(id || to_char(day, 'YYYYMMDD') || mood || _full_text::text, ' ') FROM " + quoted() +
               ".orders"));
    tell(std::to_string(d.rows("orders")));
    d.drop("orders");
    tell("dropped " + yes(!d.describe("orders")));
    return all;
  }
};

using settings = std::vector<std::pair<std::string, std::string>>;

/// Those that we set ourselves, and those that change nothing for us, alike: who knows what we will ask tomorrow.
std::vector<settings> const groups{
    {{"search_path", "$evil, pg_catalog"},
     {"client_min_messages", "error"},
     {"synchronous_commit", "local"},
     {"statement_timeout", "90"},
     {"client_encoding", "LATIN1"},
     {"quote_all_identifiers", "on"},
     {"bytea_output", "escape"}},
    {{"search_path", "''"},
     {"lock_timeout", "60"},
     {"idle_in_transaction_session_timeout", "60"},
     {"idle_session_timeout", "60"},
     {"exit_on_error", "on"},
     {"synchronous_commit", "remote_write"},
     {"standard_conforming_strings", "off"},
     {"backslash_quote", "off"}},
    {{"synchronous_commit", "remote_apply"},
     {"client_min_messages", "notice"},
     {"default_transaction_isolation", "serializable"},
     {"default_transaction_deferrable", "on"},
     {"row_security", "on"},
     {"escape_string_warning", "on"},
     {"check_function_bodies", "off"},
     {"transform_null_equals", "on"},
     {"plan_cache_mode", "force_generic_plan"},
     {"enable_indexscan", "off"},
     {"jit_above_cost", "0"},
     {"client_connection_check_interval", "0"},
     {"tcp_keepalives_idle", "7200"},
     {"role", "stash_odd"}},
    {{"DateStyle", "'SQL, DMY'"},
     {"IntervalStyle", "sql_standard"},
     {"TimeZone", "'Pacific/Chatham'"},
     {"extra_float_digits", "-15"},
     {"array_nulls", "off"},
     {"xmloption", "document"},
     {"lc_messages", "'C'"},
     {"lc_monetary", "'C'"},
     {"default_table_access_method", "heap"},
     {"default_tablespace", "pg_default"},
     {"default_toast_compression", "pglz"},
     {"default_text_search_config", "'pg_catalog.german'"}},
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_settings, odd_role)

BOOST_AUTO_TEST_CASE(whatever_is_set_for_a_role_the_answers_mean_the_same) {
  auto const expected = answers(as);
  BOOST_TEST(expected.find("locked yes") != expected.npos, expected);
  for (auto const& group : groups) {
    for (auto [setting, value] : group) {
      if (auto const at = value.find("$evil"); at != value.npos) value.replace(at, 5, evil.quoted());
      query("ALTER ROLE stash_odd SET " + setting + " TO " + value);
    }
    std::string found;
    try {
      found = answers(as);
    } catch (std::exception const& e) {
      found = e.what();
    }
    BOOST_TEST(found == expected, "with " << group.front().first << ", ...: " << found);
    query("ALTER ROLE stash_odd RESET ALL");
  }
}

/// What the environment and the string itself say comes after what the role says, and before what we do.
BOOST_AUTO_TEST_CASE(whatever_the_database_or_the_environment_says_the_answers_mean_the_same) {
  auto const expected = answers(as);
  std::map<std::string, std::string> const environment{
      {"PGOPTIONS",
       "-c statement_timeout=90 -c lock_timeout=60 -c client_min_messages=error -c search_path=pg_temp"
       " -c quote_all_identifiers=on -c synchronous_commit=local"},
      {"PGCLIENTENCODING", "LATIN1"},
      {"PGDATESTYLE", "German"},
      {"PGTZ", "Pacific/Chatham"},
      {"PGAPPNAME", "mine"},
      {"PGGEQO", "on"}};
  for (auto const& [variable, value] : environment) ::setenv(variable.c_str(), value.c_str(), 1);
  auto const in_environment = answers(as);
  for (auto const& one : environment) ::unsetenv(one.first.c_str());
  BOOST_TEST(in_environment == expected);
  BOOST_TEST(answers(as + " options='-c exit_on_error=on -c row_security=on' client_encoding=LATIN1") == expected);
  query("ALTER DATABASE postgres SET standard_conforming_strings = off");
  query("ALTER DATABASE postgres SET idle_session_timeout = 60");
  auto found = answers(as);
  query("ALTER DATABASE postgres RESET ALL");
  BOOST_TEST(found == expected);
}

/// What only a superuser may set says how a damaged page is read, and whether triggers fire.
BOOST_AUTO_TEST_CASE(what_we_may_not_set_is_refused_in_words_before_anything_is_touched) {
  for (auto const& [setting, value] : std::map<std::string, std::string>{
           {"session_replication_role", "replica"}, {"zero_damaged_pages", "on"}, {"ignore_checksum_failure", "on"}}) {
    query("ALTER ROLE stash_odd SET " + setting + " TO " + value);
    stash::postgres_storage s{as, {.schema = name}};
    for (auto const& told : {message_of([&] { s.put("k", some("words")); }), message_of([&] {
                               ckan::postgres_datastore{as, {.schema = name}};
                             })}) {
      BOOST_TEST(told.find("permission denied to set parameter \"" + setting + '"') != told.npos, told);
      BOOST_TEST(told.find("SQLSTATE 42501") != told.npos, told);
    }
    query("ALTER ROLE stash_odd SUPERUSER");
    BOOST_TEST(!code_of([&] { s.put("k", some("words")); }));
    client asked{as};
    BOOST_TEST(asked("SELECT current_setting('" + setting + "')") != value);
    query("ALTER ROLE stash_odd NOSUPERUSER");
    query("ALTER ROLE stash_odd RESET " + setting);
  }
}

/// A save that the standby does not have is not saved, whatever hides the server's warning, or its waiting.
BOOST_AUTO_TEST_CASE(a_standby_is_waited_for_whatever_the_settings_say) {
  stash::postgres_storage{server(), {.schema = name}}.put("k", some("old"));
  query("GRANT ALL ON ALL TABLES IN SCHEMA " + quoted() + " TO stash_odd");
  ckan::fields const columns{{"id", "text", std::nullopt}};
  for (auto const& [setting, value] : std::vector<std::pair<std::string, std::string>>{
           {"client_min_messages", "error"}, {"synchronous_commit", "local"}, {"synchronous_commit", "remote_write"}}) {
    query("ALTER ROLE stash_odd SET " + setting + " TO " + value);
    for (bool const is_storage : {true, false}) {
      stash::postgres_storage s{as, {.schema = name}};
      ckan::postgres_datastore d{as, {.schema = name}};
      if (!is_storage) d.create("orders", columns);
      missing_standby const waiting{query};
      auto done = std::async(std::launch::async, [&] {
        return code_of([&] { is_storage ? s.put("k", some("new")) : d.finish("orders"); });
      });
      while (done.wait_for(5ms) != std::future_status::ready) {
        query(
            "SELECT count(pg_cancel_backend(pid))::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            " AND application_name = 'stash'");
      }
      BOOST_TEST(done.get() == errc::indeterminate, setting << " = " << value);
    }
    query("DROP TABLE " + quoted() + ".orders");
    query("ALTER ROLE stash_odd RESET " + setting);
  }
}

/// The list itself: each that we need, in a session to which all was said otherwise.
BOOST_AUTO_TEST_CASE(each_session_is_set_to_what_our_answers_need) {
  query("ALTER ROLE stash_odd SUPERUSER");
  std::map<std::string, std::string> const needed{{"search_path", "pg_catalog, pg_temp"},
                                                  {"client_encoding", "UTF8"},
                                                  {"standard_conforming_strings", "on"},
                                                  {"quote_all_identifiers", "off"},
                                                  {"default_transaction_isolation", "read committed"},
                                                  {"row_security", "off"},
                                                  {"client_min_messages", "warning"},
                                                  {"exit_on_error", "off"},
                                                  {"session_replication_role", "origin"},
                                                  {"zero_damaged_pages", "off"},
                                                  {"ignore_checksum_failure", "off"},
                                                  {"statement_timeout", "0"},
                                                  {"lock_timeout", "0"},
                                                  {"idle_in_transaction_session_timeout", "0"},
                                                  {"idle_session_timeout", "0"},
                                                  {"client_connection_check_interval", "1s"},
                                                  {"tcp_keepalives_idle", "20"},
                                                  {"tcp_keepalives_interval", "10"},
                                                  {"tcp_keepalives_count", "3"},
                                                  {"tcp_user_timeout", "50000"}};
  for (auto const& [setting, value] :
       std::map<std::string, std::string>{{"search_path", "public"},
                                          {"client_encoding", "LATIN1"},
                                          {"standard_conforming_strings", "off"},
                                          {"quote_all_identifiers", "on"},
                                          {"default_transaction_isolation", "serializable"},
                                          {"row_security", "on"},
                                          {"client_min_messages", "error"},
                                          {"exit_on_error", "on"},
                                          {"session_replication_role", "replica"},
                                          {"zero_damaged_pages", "on"},
                                          {"ignore_checksum_failure", "on"},
                                          {"statement_timeout", "10000"},
                                          {"lock_timeout", "10000"},
                                          {"idle_in_transaction_session_timeout", "10000"},
                                          {"idle_session_timeout", "10000"},
                                          {"client_connection_check_interval", "0"},
                                          {"tcp_keepalives_idle", "30"},
                                          {"tcp_keepalives_interval", "30"},
                                          {"tcp_keepalives_count", "9"},
                                          {"tcp_user_timeout", "10"}}) {
    query("ALTER ROLE stash_odd SET " + setting + " TO " + value);
  }
  client asked{as};
  for (auto const& [setting, value] : needed) {
    BOOST_TEST(asked("SELECT current_setting('" + setting + "')") == value, setting);
  }
}

/// What is left to the role says itself that it was in the way.
BOOST_AUTO_TEST_CASE(a_role_that_shall_not_write_is_told_so_and_reads) {
  stash::postgres_storage{server(), {.schema = name}}.put("k", some("old"));
  query("GRANT ALL ON ALL TABLES IN SCHEMA " + quoted() + " TO stash_odd");
  query("ALTER ROLE stash_odd SET default_transaction_read_only = on");
  stash::postgres_storage s{as, {.schema = name}};
  BOOST_TEST(code_of([&] { s.put("k", some("new")); }) == sqlstate("25006"));
  BOOST_TEST((s.get("k") == some("old")));
  BOOST_TEST(s.try_lock("k").has_value());
  ckan::postgres_datastore d{as, {.schema = name}};
  BOOST_TEST(code_of([&] { d.create("orders", {{"id", "text", std::nullopt}}); }) == sqlstate("25006"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_settings_test
