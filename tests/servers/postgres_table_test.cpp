// The table that a postgres_storage keeps its records in, against a real server (see postgres_storage_test.cpp).
#include <array>
#include <list>
#include <optional>
#include <stash/ckan/postgres_datastore.hpp>
#include <stash/delete_guard.hpp>
#include <stash/recover.hpp>
#include <stash/storage/postgres.hpp>

#include "faulty_libpq.hpp"
#include "postgres.hpp"
#include "support.hpp"

namespace postgres_table_test {

using namespace std::chrono_literals;
using stash::errc;
using stash::record;
using stash::record_state;
using stash::sqlstate;
using support::client;
using support::code_of;
using support::message_of;
using support::server;

namespace {

namespace os = boost::system::errc;

record some(std::string payload) { return {std::move(payload), stash::time_point{1s}}; }
bool has(std::string const& text, std::string_view part) { return text.find(part) != text.npos; }

/// A schema of the test's own.
struct fixture : support::schema {
  client query;
  stash::postgres_storage s{server(), {.schema = name}};

  std::string table() const { return quoted() + ".stash"; }
  void trigger(std::string const& when, std::string const& body, std::string const& how = "") {
    query("CREATE OR REPLACE FUNCTION " + quoted() + ".f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + body +
          " END $$");
    auto const behind = std::min(when.size(), when.find('!'));
    query("CREATE " + how + " TRIGGER t " + when.substr(0, behind) + " ON " + table() + ' ' +
          when.substr(std::min(when.size(), behind + 1)) + " FOR EACH ROW EXECUTE FUNCTION " + quoted() + ".f()");
  }
};

/// A database of the test's own, gone afterwards.
struct database {
  std::string name = "stash test " + std::to_string(::getpid()) + '.' + std::to_string(++support::schema::count());
  explicit database(std::string const& how = "") { client{}("CREATE DATABASE \"" + name + "\" " + how); }
  ~database() { client{}("DROP DATABASE \"" + name + "\" WITH (FORCE)"); }
  std::string info(std::string const& more = "") const { return support::info(more + " dbname='" + name + "'"); }
  /// As version 0.1 made it.
  static constexpr char old_table[] =
      "CREATE TABLE public.stash (key text COLLATE \"C\" NOT NULL, set_aside text COLLATE \"C\" NOT NULL DEFAULT '',"
      " set_aside_at text COLLATE \"C\", version integer NOT NULL, saved_at text NOT NULL, xxh64 text NOT NULL,"
      " payload text, payload_bytes bytea, CHECK ((payload IS NULL) <> (payload_bytes IS NULL)),"
      " PRIMARY KEY (key, set_aside))";
};

/// A role without rights, gone afterwards with what it has in `where`.
struct role {
  std::string where;
  std::string name = "stash_role_" + std::to_string(::getpid()) + '_' + std::to_string(++support::schema::count());
  explicit role(database const& d) : where(d.info("application_name=test")) {
    client{}("CREATE ROLE " + name + " LOGIN");
  }
  ~role() {
    client{where}("DROP OWNED BY " + name + " CASCADE");
    client{}("DROP ROLE " + name);
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_table, fixture)

BOOST_AUTO_TEST_CASE(a_name_that_the_server_would_cut_or_refuse_is_refused_by_the_constructor) {
  std::string const longest(63, 'x'), wide = std::string(60, 'x') + "\u20ac";
  for (std::string const& bad : {std::string(), longest + 'x', wide + 'x', std::string("a\0b", 3), std::string("\xff"),
                                 std::string("\xed\xa0\x80")}) {
    for (bool const is_schema : {true, false}) {
      auto const make = [&] {
        stash::postgres_options options;
        (is_schema ? options.schema : options.table) = bad;
        stash::postgres_storage{"", options};
      };
      BOOST_TEST(code_of(make) == support::os(EINVAL));
      BOOST_TEST(has(message_of(make), is_schema ? "the name of the schema" : "the name of the table"));
    }
  }
  for (std::string const& good : {longest, wide, std::string("a\"b; DROP 'x' \\ $1 \u00e9"), std::string("SELECT"),
                                  std::string("Upper"), std::string(" ")}) {
    stash::postgres_storage one{server(), {.schema = name, .table = good}};
    BOOST_TEST_INFO(good);
    BOOST_TEST(!one.exists());
    one.put("k", some("words"));
    BOOST_TEST((one.get("k") == some("words")));
    BOOST_TEST(one.erase("k"));
  }
}

BOOST_AUTO_TEST_CASE(what_is_no_table_that_keeps_its_rows_is_refused_and_nothing_written) {
  s.put("k", some("old"));
  query("ALTER TABLE " + table() + " RENAME TO kept");
  std::string const kept = quoted() + ".kept", t = table();
  struct kind {
    char const* words;
    std::string make, unmake;
  };
  for (auto const& [words, make, unmake] : std::vector<kind>{
           {"unlogged", "ALTER TABLE " + kept + " SET UNLOGGED; ALTER TABLE " + kept + " RENAME TO stash",
            "ALTER TABLE " + t + " RENAME TO kept; ALTER TABLE " + kept + " SET LOGGED"},
           {"no table but a view", "CREATE VIEW " + t + " AS SELECT * FROM " + kept, "DROP VIEW " + t},
           {"no table but a view", "CREATE MATERIALIZED VIEW " + t + " AS SELECT * FROM " + kept,
            "DROP MATERIALIZED VIEW " + t},
           {"no table but a view",
            "CREATE TABLE " + t + " (LIKE " + kept + " INCLUDING ALL) PARTITION BY LIST (key); CREATE TABLE " +
                quoted() + ".part PARTITION OF " + t + " DEFAULT; INSERT INTO " + t + " SELECT * FROM " + kept,
            "DROP TABLE " + t},
           {"inherits",
            "ALTER TABLE " + kept + " RENAME TO stash; CREATE TABLE " + quoted() + ".child () INHERITS (" + t + ")",
            "DROP TABLE " + quoted() + ".child; ALTER TABLE " + t + " RENAME TO kept"},
           {"no table but a view",
            "CREATE FOREIGN DATA WRAPPER stash_test; CREATE SERVER stash_test FOREIGN DATA WRAPPER stash_test;"
            " CREATE FOREIGN TABLE " +
                t + " (key text) SERVER stash_test",
            "DROP FOREIGN DATA WRAPPER stash_test CASCADE"},
           {"rules",
            "ALTER TABLE " + kept + " RENAME TO stash; CREATE RULE r AS ON DELETE TO " + t + " DO ALSO NOTIFY x",
            "DROP RULE r ON " + t + "; ALTER TABLE " + t + " RENAME TO kept"},
           {"rules",
            "ALTER TABLE " + kept + " RENAME TO stash; CREATE RULE r AS ON INSERT TO " + t + " DO INSTEAD NOTHING",
            "DROP RULE r ON " + t + "; ALTER TABLE " + t + " RENAME TO kept"}}) {
    auto const all = [&](std::string const& statements) { query("DO $do$ BEGIN " + statements + "; END $do$"); };
    all(make);
    for (auto const& f : std::vector<std::function<void()>>{[&] { s.put("k", some("new")); }, [&] { s.erase("k"); },
                                                            [&] { s.set_aside("k", "x"); }}) {
      BOOST_TEST_INFO(words << ": " << message_of(f));
      BOOST_TEST(code_of(f) == os::operation_not_supported);
      BOOST_TEST(has(message_of(f), words));
    }
    if (!has(make, "FOREIGN")) BOOST_TEST((s.get("k") == some("old")));
    all(unmake);
  }
  query("ALTER TABLE " + kept + " RENAME TO stash");
  s.put("k", some("new"));
  BOOST_TEST((s.get("k") == some("new")));
}

BOOST_AUTO_TEST_CASE(what_a_trigger_swallows_or_changes_is_an_error_and_the_old_stands) {
  std::string const t = table(), insert = "BEFORE INSERT", update = "BEFORE UPDATE", after = "AFTER INSERT OR UPDATE";
  auto const at_the_end = [](char const* what) { return std::string(what) + "!DEFERRABLE INITIALLY DEFERRED"; };
  std::vector<std::pair<std::string, std::string>> const bodies{
      {insert, "RETURN NULL;"},
      {insert + " OR UPDATE", "NEW.payload := upper(NEW.payload); RETURN NEW;"},
      {insert + " OR UPDATE", "NEW.payload := 'x' || NEW.payload; RETURN NEW;"},
      {insert, "NEW.key := lower(NEW.key); RETURN NEW;"},
      {insert + " OR UPDATE", "NEW.key := NEW.key || ' '; RETURN NEW;"},
      {insert + " OR UPDATE", "NEW.set_aside := 'x'; RETURN NEW;"},
      {insert + " OR UPDATE", "NEW.saved_at := now()::text; RETURN NEW;"},
      {insert + " OR UPDATE", "NEW.version := 7; RETURN NEW;"},
      {insert + " OR UPDATE", "NEW.xxh64 := ''; RETURN NEW;"},
      {update, "RETURN NULL;"},
      {update, "NEW.payload_bytes := NULL; NEW.payload := 'changed'; RETURN NEW;"},
      {"BEFORE DELETE", "RETURN NULL;"},
      {after, "DELETE FROM " + t + "; RETURN NULL;"},
      {after, "IF NEW.payload <> 'x' THEN UPDATE " + t + " SET payload = 'x'; END IF; RETURN NULL;"},
      {"AFTER DELETE", "INSERT INTO " + t + " SELECT OLD.*; RETURN NULL;"},
      {at_the_end("AFTER INSERT OR UPDATE"), "DELETE FROM " + t + "; RETURN NULL;"},
      {at_the_end("AFTER INSERT OR UPDATE"),
       "IF NEW.payload <> 'x' THEN UPDATE " + t + " SET payload = 'x'; END IF; RETURN NULL;"},
      {at_the_end("AFTER DELETE"), "INSERT INTO " + t + " SELECT OLD.*; RETURN NULL;"}};
  s.put("Key", some("words"));
  s.erase("Key");
  for (auto const& [when, body] : bodies) {
    BOOST_TEST_CONTEXT(when << ": " << body) {
      s.put("Old", some("words"));
      trigger(when, body, has(when, "!") ? "CONSTRAINT" : "");
      std::size_t refused = 0;
      auto const change = [&](auto f, std::optional<record> const& key_after, bool is_old_kept) {
        auto const code = code_of(f);
        refused += bool(code);
        query("ALTER TABLE " + t + " DISABLE TRIGGER t");
        if (code) {
          BOOST_TEST(code == os::operation_not_supported);
          BOOST_TEST((s.get("Old") == some("words")));
          BOOST_TEST(s.entries().size() == 1U);
          BOOST_TEST(s.set_aside_entries().empty());
        } else {
          BOOST_TEST((s.get("Key") == key_after));
          BOOST_TEST((s.get("Old") == (is_old_kept ? std::optional(some("words")) : std::nullopt)));
        }
        query("DELETE FROM " + t);
        s.put("Old", some("words"));
        query("ALTER TABLE " + t + " ENABLE TRIGGER t");
      };
      change([&] { s.put("Key", some("words")); }, some("words"), true);
      change([&] { s.erase("Old"); }, std::nullopt, false);
      change([&] { s.set_aside("Old", "superseded"); }, std::nullopt, false);
      change([&] { s.put("Old", some("words")); }, std::nullopt, true);
      std::vector<std::pair<stash::key, record>> const two{{"Key", some("words")}, {"Key 2", some("words")}};
      change([&] { s.put_all(two); }, some("words"), true);
      BOOST_TEST(refused > 0U);
      query("DROP TRIGGER t ON " + t);
    }
  }
  BOOST_TEST(has(
      [&] {
        trigger("BEFORE INSERT", "RETURN NULL;");
        return message_of([&] { s.put("new", some("x")); });
      }(),
      "a trigger may have changed it"));
}

BOOST_AUTO_TEST_CASE(a_trigger_that_leaves_the_record_alone_is_nobodys_business) {
  s.put("k", some("old"));
  query("CREATE TABLE " + quoted() + ".log (key text)");
  trigger("AFTER INSERT OR UPDATE OR DELETE",
          "INSERT INTO " + quoted() + ".log VALUES (coalesce(NEW.key, OLD.key)); RETURN NULL;");
  s.put("k", some("new"));
  s.put("l", some("words"));
  BOOST_TEST(s.erase("l"));
  BOOST_TEST(has(s.set_aside("k", "superseded"), "superseded"));
  BOOST_TEST(query("SELECT count(*)::text FROM " + quoted() + ".log") == "4");
}

BOOST_AUTO_TEST_CASE(a_row_set_aside_at_a_time_that_nobody_knows_is_listed_and_goes_only_when_all_go) {
  for (char const* const at : {"NULL", "''", "'yesterday'", "'0'", "'1970-01-01T00:00:00.000000'"}) {
    s.put("k", some("words"));
    s.set_aside("k", "superseded");
    query("UPDATE " + table() + " SET set_aside_at = " + at);
    BOOST_TEST_INFO(at);
    BOOST_TEST(s.set_aside_entries().size() == 1U);
    BOOST_TEST(s.purge(1us) == 0U);
    BOOST_TEST(s.set_aside_entries().size() == 1U);
    BOOST_TEST(s.purge(0us) == 1U);
    BOOST_TEST(s.set_aside_entries().empty());
  }
}

BOOST_AUTO_TEST_CASE(more_keys_at_once_than_the_server_has_locks_to_spare_are_refused_and_others_go_on) {
  stash::basic_stash<stash::postgres_storage> store{server(), stash::postgres_options{.schema = name}};
  std::map<std::string, int> many;
  for (int i = 0; i < 30'000; ++i) many[std::to_string(i)] = i;
  auto const told = message_of([&] { store.save_all(many); });
  BOOST_TEST(has(told, "too_large"), told);
  BOOST_TEST(has(told, "more than 800 keys would be locked at once"), told);  // an eighth of 64 * 100
  BOOST_TEST(store.entries().empty());
  BOOST_TEST(query("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'") == "0");
  std::map<std::string, int> const some_of_them{many.begin(), std::next(many.begin(), 800)};
  store.save_all(some_of_them);
  BOOST_TEST(store.entries().size() == 800U);
}

BOOST_AUTO_TEST_CASE(the_default_schema_is_made_by_the_first_save_and_is_nobody_elses) {
  database const place;
  client there{place.info("application_name=test")};
  there("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor, PUBLIC");
  there("ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO PUBLIC, pg_monitor");
  stash::postgres_storage one{place.info()};
  BOOST_TEST(!one.exists());
  BOOST_TEST(!one.get("k"));
  BOOST_TEST(!one.erase("k"));
  BOOST_TEST(one.purge(0us) == 0U);
  BOOST_TEST(one.entries().empty());
  BOOST_TEST(there("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'stash'") == "0");
  one.put("k", some("words"));
  BOOST_TEST(one.exists());
  BOOST_TEST((one.get("k") == some("words")));
  BOOST_TEST(one.where("k") == "stash.stash: k");
  BOOST_TEST(there("SELECT payload FROM stash.stash") == "words");
  for (char const* const sql : {"SELECT relacl, relowner FROM pg_class WHERE oid = 'stash.stash'::regclass",
                                "SELECT nspacl, nspowner FROM pg_namespace WHERE nspname = 'stash'"}) {
    BOOST_TEST(there("SELECT count(*)::text FROM (" + std::string(sql) +
                     ") t (acl, owner), aclexplode(acl) a WHERE a.grantee <> owner") == "0");
  }
  there("GRANT SELECT ON stash.stash TO pg_monitor");  // what a person grants stays
  stash::postgres_storage{place.info()}.put("k", some("new"));
  BOOST_TEST(there("SELECT has_table_privilege('pg_monitor', 'stash.stash', 'SELECT')::text") == "true");
}

BOOST_AUTO_TEST_CASE(first_savers_of_several_tables_of_the_default_schema_succeed) {
  database const place;
  for (int round = 0; round < 5; ++round) {
    client{place.info("application_name=test")}("DROP SCHEMA IF EXISTS stash CASCADE");
    std::vector<std::future<std::string>> savers;
    for (int i = 0; i < 6; ++i) {
      savers.push_back(std::async(std::launch::async, [&, i] {
        stash::postgres_storage one{place.info(), {.table = "t" + std::to_string(i / 2)}};
        one.exists();
        return code_of([&] { one.put(std::to_string(i), some("words")); }).message();
      }));
    }
    for (auto& one : savers) BOOST_TEST(one.get() == "Success");
  }
}

BOOST_AUTO_TEST_CASE(a_role_that_may_make_no_schema_is_told_what_would_do) {
  database const place;
  role const poor{place};
  client there{place.info("application_name=test")};
  auto const with = place.info("user=" + poor.name);
  auto const put = [&](stash::postgres_options options = {}) {
    return [&, options] { stash::postgres_storage{with, options}.put("k", some("words")); };
  };
  BOOST_TEST(code_of(put()) == sqlstate("42501"));
  auto const told = message_of(put());
  BOOST_TEST(has(told, "CREATE SCHEMA stash AUTHORIZATION"), told);
  BOOST_TEST(has(told, "\"public\""), told);
  BOOST_TEST(!has(message_of(put({.schema = "public"})), "AUTHORIZATION"));
  auto const reading = place.info("options='-c default_transaction_read_only=on'");
  auto const other = message_of([&] { stash::postgres_storage{reading}.put("k", some("words")); });
  BOOST_TEST((has(other, "25006") && !has(other, "AUTHORIZATION")), other);
  there("CREATE SCHEMA stash");
  BOOST_TEST(code_of(put()) == sqlstate("42501"));
  there("ALTER SCHEMA stash OWNER TO " + poor.name);
  BOOST_TEST(!code_of(put()));
  there("DROP SCHEMA stash CASCADE");
  there("GRANT CREATE ON DATABASE \"" + place.name + "\" TO " + poor.name);
  BOOST_TEST(!code_of(put()));
  BOOST_TEST((stash::postgres_storage{with}.get("k") == some("words")));
  there(
      "ALTER TABLE stash.stash ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");  // hides all, from its owner too
  BOOST_TEST(code_of(put()) == sqlstate("42501"));
  BOOST_TEST(code_of([&] { stash::postgres_storage{with}.erase("k"); }) == sqlstate("42501"));
}

namespace {

/// A database in which version 0.1 had its table, and records in it.
struct old_records : database {
  client there{info("application_name=test")};
  stash::postgres_storage old{info(), {.schema = "public"}}, one{info()};
  old_records() {
    there(old_table);
    old.put("a", some("old a"));
    old.put("b", some("old b"));
    old.put("c", some("old c"));
    old.set_aside("c", "superseded");
  }
  std::string in(char const* table) {
    return there(std::string("SELECT string_agg(key || '=' || payload, ' ' ORDER BY key, set_aside) FROM ") + table);
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(what_version_0_1_wrote_is_found_and_moves_when_it_is_changed) {
  old_records place;
  auto& one = place.one;
  BOOST_TEST(one.exists());
  BOOST_TEST((one.get("a") == some("old a")));
  BOOST_TEST(!one.get("d"));
  BOOST_TEST(one.entries().size() == 2U);
  BOOST_TEST(one.entries().at(0).where == "public.stash: a");
  BOOST_TEST(one.set_aside_entries().size() == 1U);
  BOOST_TEST(place.there("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'stash'") == "0");
  BOOST_TEST(!one.erase("d"));  // makes the table: it writes, where there may be something to write about
  one.put("a", some("new a"));
  BOOST_TEST(place.in("public.stash") == "b=old b c=old c");
  BOOST_TEST(place.in("stash.stash") == "a=new a");
  BOOST_TEST((one.get("a") == some("new a")));
  BOOST_TEST(one.entries().size() == 2U);
  BOOST_TEST(one.entries().at(0).where == "stash.stash: a");
  BOOST_TEST(one.entries().at(1).where == "public.stash: b");
  BOOST_TEST(has(one.set_aside("b", "corrupt"), "stash.stash: b.corrupt"));
  BOOST_TEST(!one.get("b"));
  BOOST_TEST(one.set_aside_entries().size() == 2U);
  BOOST_TEST(one.erase("a"));
  BOOST_TEST(!one.get("a"));
  BOOST_TEST(one.purge(0us) == 2U);
  BOOST_TEST(place.in("public.stash") == "");
  place.there("DROP TABLE public.stash");
  BOOST_TEST(!one.get("a"));
  one.put("a", some("last"));
  BOOST_TEST((one.get("a") == some("last")));
}

BOOST_AUTO_TEST_CASE(an_old_record_that_is_cleared_is_gone_whether_there_is_a_new_table_or_not) {
  for (bool const is_made : {true, false}) {
    old_records place;
    if (is_made) place.one.put("new", some("words"));
    BOOST_TEST(place.one.erase("a"));
    BOOST_TEST(has(place.one.set_aside("b", "superseded"), "stash.stash: b.superseded"));
    BOOST_TEST(!place.one.get("a"));
    BOOST_TEST(place.one.entries().size() == (is_made ? 1U : 0U));
    BOOST_TEST(place.in("public.stash") == "c=old c");
    BOOST_TEST(code_of([&] { place.one.set_aside("none", "superseded"); }) == support::os(ENOENT));
  }
}

BOOST_AUTO_TEST_CASE(a_guard_adopts_and_recover_restores_what_version_0_1_left) {
  database const place;
  client there{place.info("application_name=test")};
  there(database::old_table);
  stash::basic_stash<stash::postgres_storage> old{place.info(), stash::postgres_options{.schema = "public"}},
      store{place.info()};
  old.save<std::string>("a", "label a");
  old.save<std::string>("b", "label b");
  {
    stash::delete_guard guard{store, "a", [] { return std::optional<std::string>(); }, [](std::string const&) {}};
    BOOST_TEST((guard.origin() == stash::origin::adopted));
    BOOST_TEST(*guard.value() == "label a");
    guard.commit();
  }
  std::map<std::string, std::string> restored;
  auto const report = stash::recover<std::string>(
      store, [](stash::key const&) { return false; },
      [&](stash::key const& k, std::string const& v) { restored[std::string(k.str())] = v; });
  BOOST_TEST(report.restored == 1U);
  BOOST_TEST(restored["b"] == "label b");
  BOOST_TEST(store.entries().empty());
  BOOST_TEST(old.entries().empty());
}

BOOST_AUTO_TEST_CASE(jobs_of_version_0_1_and_later_ones_exclude_each_other_and_the_last_save_counts) {
  old_records place;
  auto const theirs = place.old.try_lock("a");
  BOOST_TEST(!place.one.try_lock("a").has_value());
  BOOST_TEST(place.one.try_lock("b").has_value());
  place.one.put("b", some("new b"));
  place.old.put("b", some("newest b"));  // by a job of 0.1, which sees its own table only
  BOOST_TEST((place.one.get("b") == some("newest b")));
  BOOST_TEST(place.one.entries().size() == 2U);
  place.one.put("b", some("last b"));
  BOOST_TEST((place.one.get("b") == some("last b")));
  BOOST_TEST(place.in("public.stash") == "a=old a c=old c");
}

BOOST_AUTO_TEST_CASE(an_old_record_that_cannot_be_moved_stops_a_save_that_it_would_hide) {
  old_records place;
  place.there("CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$");
  place.there("CREATE TRIGGER t BEFORE DELETE ON public.stash FOR EACH ROW EXECUTE FUNCTION public.f()");
  BOOST_TEST(code_of([&] { place.one.put("a", some("new")); }) == os::operation_not_supported);
  BOOST_TEST((place.one.get("a") == some("old a")));
  place.one.put("new", some("words"));
  BOOST_TEST((place.one.get("new") == some("words")));
}

BOOST_AUTO_TEST_CASE(an_old_table_that_anybody_may_have_made_is_neither_believed_nor_taken_for_none) {
  old_records place;
  role const other{place}, user{place};
  auto const with = place.info("user=" + user.name);
  for (std::string const& sql :
       {"CREATE SCHEMA stash AUTHORIZATION " + user.name, std::string("GRANT ALL ON public.stash TO PUBLIC"),
        "ALTER TABLE public.stash OWNER TO " + other.name}) {
    place.there(sql);
  }
  for (auto const& f : std::vector<std::function<void()>>{
           [&] { stash::postgres_storage{with}.get("a"); }, [&] { stash::postgres_storage{with}.entries(); },
           [&] { stash::postgres_storage{with}.put("a", some("new")); }}) {
    BOOST_TEST(code_of(f) == os::operation_not_supported);
    BOOST_TEST(has(message_of(f), "role " + other.name), message_of(f));
  }
  BOOST_TEST((stash::postgres_storage{with, {.schema = "public"}}.get("a") == some("old a")));
  place.there("GRANT " + other.name + " TO " + user.name);
  BOOST_TEST((stash::postgres_storage{with}.get("a") == some("old a")));
  stash::postgres_storage{with}.put("a", some("new"));
  BOOST_TEST((stash::postgres_storage{with}.get("a") == some("new")));
}

BOOST_AUTO_TEST_CASE(a_public_table_of_that_name_that_is_nothing_of_ours_is_left_alone) {
  database const place;
  client there{place.info("application_name=test")};
  there("CREATE TABLE public.stash (key text, payload text)");
  there("INSERT INTO public.stash VALUES ('k', 'theirs')");
  stash::postgres_storage one{place.info()};
  BOOST_TEST(!one.get("k"));
  one.put("k", some("words"));
  BOOST_TEST((one.get("k") == some("words")));
  BOOST_TEST(there("SELECT payload FROM public.stash") == "theirs");
  there("DROP TABLE public.stash");
  there("CREATE VIEW public.stash AS SELECT * FROM stash.stash");
  BOOST_TEST(stash::postgres_storage{place.info()}.entries().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_datastores_names_are_never_cut) {
  std::string const longest(63, 'x');
  for (std::string const& bad : {std::string(), longest + 'x', std::string("a\0b", 3), std::string("\xff")}) {
    BOOST_TEST(code_of([&] { stash::ckan::postgres_datastore{server(), {.schema = bad}}; }) == support::os(EINVAL));
  }
  stash::ckan::postgres_datastore d{server(), {.schema = name}};
  d.create(longest, {{"id", "text", {}}});
  d.finish(longest);
  BOOST_TEST(d.rows(longest) == 0U);
  BOOST_TEST(!d.describe(longest + 'x'));
  BOOST_TEST(code_of([&] { d.rows(longest + 'x'); }) == support::os(EINVAL));
  d.drop(longest + 'x');
  BOOST_TEST(d.describe(longest).has_value());
}

/// U+2014 and U+2015 are one character in EUC_JP, and U+20AC is none.
BOOST_AUTO_TEST_CASE(what_the_databases_encoding_cannot_hold_is_kept_as_bytes_or_refused) {
  for (char const* const encoding : {"EUC_JP", "EUC_KR", "LATIN1", "SQL_ASCII", "UTF8"}) {
    database const place{std::string("TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING '") + encoding + '\''};
    stash::postgres_storage one{place.info("options='-c synchronous_commit=off'"),
                                {.durability = stash::durability::process_crash}};
    std::size_t held = 0, refused = 0;
    BOOST_TEST_CONTEXT(encoding) {
      std::string all;
      for (std::string const text : {"ascii",        "\u00e9",  "\u2014", "\u2015", "\u20ac", "\uff5e", "\u301c",
                                     "\u65e5\u672c", "\ud55c",  "\u0416", "\uffe0", "\u00a2", "\ufeff", "\uffff",
                                     "\U0001f600",   "a\u0301", "\u2225", "\u2016", "\u2212", "\uff0d"}) {
        one.put("k", some(text));
        BOOST_TEST_INFO(text);
        BOOST_TEST((one.get("k") == some(text)));
        all += text;
        one.erase("k");
        auto const code = code_of([&] { one.put(text, some(text)); });
        if (code) {
          BOOST_TEST(code == errc::invalid_key);
          for (auto const& f : std::vector<std::function<void()>>{[&] { one.get(text); }, [&] { one.erase(text); },
                                                                  [&] { one.set_aside(text, "x"); }}) {
            BOOST_TEST(code_of(f) == errc::invalid_key);
          }
          BOOST_TEST(has(message_of([&] { one.get(text); }), encoding));
          ++refused;
        } else {
          BOOST_TEST((one.get(text) == some(text)));
          ++held;
        }
      }
      one.put("all", some(all));
      BOOST_TEST((one.get("all") == some(all)));
      BOOST_TEST(one.entries().size() == held + 1);
      for (auto const& e : one.entries()) BOOST_TEST((e.state == record_state::intact));
      BOOST_TEST((refused == 0) == (std::string_view(encoding) == "SQL_ASCII" || std::string_view(encoding) == "UTF8"));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_datastore_refuses_what_the_databases_encoding_would_change_before_anything_is_touched) {
  namespace ckan = stash::ckan;
  database const place{"TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'EUC_JP'"};
  ckan::postgres_datastore d{place.info(), {.schema = "public"}};
  ckan::fields const good{{"\u65e5", "text", {{{"label", "\u672c"}}}, {}}};
  d.create("orders", good);
  d.finish("orders");
  for (std::string const odd : {"\u00a6", "\u2603", "\u20ac"}) {  // the first becomes another, the others are not there
    for (ckan::fields const& bad :
         {ckan::fields{{odd, "text", {}, {}}}, ckan::fields{{"id", "text", {{{"label", odd}}}, {}}}}) {
      BOOST_TEST(code_of([&] { d.check("orders", bad); }) == errc::mismatch, odd);
    }
    BOOST_TEST(code_of([&] { d.annotate("orders", {{"\u65e5", {{"label", odd}}}}); }) == errc::mismatch, odd);
  }
  BOOST_TEST((d.describe("orders") == good));
}

BOOST_AUTO_TEST_CASE(a_name_that_the_databases_encoding_cannot_hold_is_refused) {
  database const place{"TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'EUC_JP'"};
  client{place.info("application_name=test")}("CREATE SCHEMA \"\u65e5\"");
  stash::postgres_storage held{place.info(), {.schema = "\u65e5", .table = "\u672c"}};
  held.put("k", some("words"));
  BOOST_TEST((held.get("k") == some("words")));
  for (char const* const odd : {"\u2014", "\u00a6", "\u20ac"}) {  // the server changes some, and refuses others
    stash::postgres_storage other{place.info(), {.schema = "public", .table = odd}};
    BOOST_TEST(code_of([&] { other.put("k", some("words")); }) == support::os(EINVAL), odd);
    BOOST_TEST(has(message_of([&] { other.get("k"); }), "does not fit into the database's encoding"));
  }
}

BOOST_AUTO_TEST_CASE(where_the_encoding_is_not_told_the_server_is_asked) {
  support::faulty_libpq const libpq{[](std::string_view call, std::string_view asked) {
    return call == "PQparameterStatus" && asked == "server_encoding";
  }};
  s.put("\u65e5", some("\u672c"));
  BOOST_TEST((s.get("\u65e5") == some("\u672c")));
}

BOOST_AUTO_TEST_CASE(a_server_that_goes_while_it_is_asked_does_not_say_that_it_cannot_hold_a_key) {
  database const place{"TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'EUC_JP'"};
  namespace ckan = stash::ckan;
  stash::postgres_storage one{place.info(), {.timeout = 2s}};
  ckan::postgres_datastore d{place.info(), {.schema = "public", .timeout = 2s}};
  one.put("\u65e5", some("words"));
  support::faulty_libpq const libpq{[](std::string_view call, std::string_view sql) {
    return call == "PQsendQueryParams" && sql == "SELECT $1::text";
  }};
  for (auto const& f : std::vector<std::function<void()>>{[&] { one.get("\u65e5"); },
                                                          [&] {
                                                            d.check("orders", {{"\u65e5", "text", {}, {}}});
                                                          }}) {
    auto const code = support::code_of_any(f);
    BOOST_TEST((code && code != errc::invalid_key && code != errc::mismatch), code.message());
  }
}

BOOST_AUTO_TEST_CASE(a_table_that_is_said_to_be_there_and_never_is_ends_the_save) {
  query("CREATE FUNCTION " + quoted() +
        ".f() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE duplicate_table;"
        " END $$");
  std::string const trigger = "\"stash test " + std::to_string(::getpid()) + '"';
  query("CREATE EVENT TRIGGER " + trigger + " ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION " +
        quoted() + ".f()");
  BOOST_TEST(code_of([&] { s.put("k", some("words")); }) == sqlstate("42P07"));
  query("DROP EVENT TRIGGER " + trigger);
  s.put("k", some("words"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace postgres_table_test
