#pragma once

#include <array>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <stash/ckan/postgres_datastore.hpp>
#include <stash/ckan/reload.hpp>
#include <string>
#include <thread>
#include <vector>

#include "postgres.hpp"
#include "support.hpp"

namespace postgres_swap_test {

using namespace std::chrono_literals;
using stash::errc;
using stash::sqlstate;
using support::client;
using support::code_of;
using support::message_of;
using support::schema;
using support::server;
namespace ckan = stash::ckan;
namespace json = boost::json;

using row = std::array<std::optional<std::string_view>, 3>;

/// All that the server has, as its own pg_dump writes it, but for rows.
inline std::string dump() {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> const out{
      ::popen(("pg_dump --schema-only --exclude-schema='stash_beside_*' --exclude-schema='stash_parked_*' '" +
               server() + "'")
                  .c_str(),
              "r"),
      ::pclose};
  std::string text;
  char line[4096];
  while (std::fgets(line, sizeof line, out.get()) != nullptr) {
    if (std::string_view(line).find("restrict ") == std::string_view::npos) text += line;  // a random word
  }
  BOOST_TEST_REQUIRE(text.size() > 1000U);
  return text;
}

/// The first line that two texts do not share.
inline std::string difference(std::string const& a, std::string const& b) {
  std::istringstream left{a}, right{b};
  for (std::string x, y;;) {
    bool const more_left = static_cast<bool>(std::getline(left, x)),
               more_right = static_cast<bool>(std::getline(right, y));
    if (!more_left && !more_right) return "";
    if (x != y || more_left != more_right) return x + " | " + y;
  }
}

/// A role of its own for each test, gone afterwards with what it has.
struct role {
  std::string const name, quoted;
  explicit role(std::string const& of, std::string const& rights = "")
      : name(of + " " + std::to_string(::getpid())), quoted('"' + name + '"') {
    client{}("CREATE ROLE " + quoted + ' ' + rights);
  }
  ~role() {
    client query;
    query("DROP OWNED BY " + quoted + " CASCADE");
    query("DROP ROLE " + quoted);
  }
};

struct fixture : schema, support::scratch {
  role reader{"reader", "LOGIN"}, owner{"owner"};
  ckan::postgres_datastore d{server(), {.schema = name}};
  client query;
  stash::file_stash store{dir()};
  ckan::fields const headers{
      {"id", "text", std::nullopt}, {"amount", "numeric", std::nullopt}, {"day", "date", std::nullopt}};

  std::string table(std::string const& of = "orders") const { return quoted() + "." + quoted(of); }
  using schema::quoted;

  static auto loading(ckan::postgres_datastore& d, std::string csv) {
    return [&d, csv = std::move(csv)](ckan::fields const& created) {
      ckan::postgres_datastore::loader rows{d, "orders", created};
      rows.add_csv(csv);
      rows.finish();
    };
  }
  /// What is there: the rows, and what hangs on the table.
  std::string content() {
    return query("SELECT string_agg(o::text, ',' ORDER BY _id) FROM " + table() + " o") + '\n' + dump();
  }
  ckan::reload_report reload(std::string const& csv, ckan::reload_options const& options = {}) {
    return ckan::reload(d, store, "orders", headers, loading(d, csv), options);
  }
  /// Returns when the server has seen that it is dead, too: until then its locks are held.
  template <class F>
  void in_a_process_that_is_killed(F f) {
    BOOST_TEST(support::in_child([&] {
                 ckan::postgres_datastore one{server() + "?application_name=killed", {.schema = name}};
                 f(one);
                 ::raise(SIGKILL);
                 return 0;
               }) == 256 + SIGKILL);
    while (query("SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'killed'") != "0") {
      std::this_thread::sleep_for(5ms);
    }
  }
  /// A live table as CKAN makes it, with what people made of it since.
  void make() {
    reload("a,1,2026-11-22\nb,2,2026-11-23\n");
    query("GRANT USAGE, CREATE ON SCHEMA " + quoted() + " TO " + owner.quoted);
    query("COMMENT ON COLUMN " + table() + ".day IS ' {\"_info\":{\"label\":\"Day\"}}'");
    query("COMMENT ON TABLE " + table() + " IS 'by hand'");
  }
  void hang_all_on_it() {
    std::string const t = table(), s = quoted() + '.';
    for (auto const& sql : std::vector<std::string>{
             "CREATE TABLE " + s + "other (id int PRIMARY KEY, day date)",
             "CREATE TABLE " + s + "days (day date PRIMARY KEY)",
             "INSERT INTO " + s +
                 "days SELECT d::date FROM generate_series('2026-11-01'::date, '2026-12-01', '1 day') d",
             "ALTER TABLE " + t + " ADD CONSTRAINT \"of days\" FOREIGN KEY (day) REFERENCES " + s +
                 "days ON DELETE CASCADE",
             "ALTER TABLE " + t + " ADD FOREIGN KEY (_id) REFERENCES " + t + " DEFERRABLE",
             "CREATE INDEX ON " + t + " USING gin (_full_text)",
             "CREATE INDEX \"by amount\" ON " + t + " (amount DESC NULLS LAST) INCLUDE (id) WITH (fillfactor = 50)",
             "CREATE UNIQUE INDEX partly ON " + t + " (lower(id)) WHERE id <> ' ON " + quoted() + ".orders USING '",
             "ALTER INDEX " + s + "partly ALTER COLUMN 1 SET STATISTICS 77",
             "ALTER TABLE " + t + " ADD CONSTRAINT \"the key\" UNIQUE (id, amount) DEFERRABLE",
             "ALTER TABLE " + t + " ADD CHECK (amount > 0)",
             "ALTER TABLE " + t + " ADD CONSTRAINT later CHECK (amount < 100) NOT VALID",
             "ALTER TABLE " + t + " ADD EXCLUDE USING gist (daterange(day, day, '[]') WITH &&)",
             "ALTER TABLE " + t + " ALTER day SET DEFAULT '2026-01-01', ALTER id SET NOT NULL",
             "ALTER TABLE " + t +
                 " ALTER id SET STATISTICS 500, ALTER id SET (n_distinct = 5), ALTER id SET STORAGE EXTERNAL",
             "ALTER TABLE " + t + " ADD double_amount numeric GENERATED ALWAYS AS (amount * 2) STORED",
             "ALTER TABLE " + t + " SET (fillfactor = 80, toast.autovacuum_enabled = false)",
             "CREATE FUNCTION " + s + "note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
             "CREATE TRIGGER noting BEFORE UPDATE OF id ON " + t +
                 " FOR EACH ROW WHEN (new.id <> '') EXECUTE FUNCTION " + s + "note()",
             "CREATE TRIGGER t000 AFTER INSERT ON " + t + " EXECUTE FUNCTION " + s + "note()",
             "ALTER TABLE " + t + " DISABLE TRIGGER noting",
             "CREATE RULE guarding AS ON DELETE TO " + t + " WHERE old.id = 'a' DO INSTEAD NOTHING",
             "CREATE POLICY reading ON " + t + " FOR SELECT TO " + reader.quoted + " USING (amount > 1)",
             "CREATE POLICY writing ON " + t + " AS RESTRICTIVE FOR INSERT WITH CHECK (amount < 9)",
             "ALTER TABLE " + t + " ENABLE ROW LEVEL SECURITY",
             "ALTER TABLE " + t + " FORCE ROW LEVEL SECURITY",
             "GRANT SELECT ON " + t + " TO PUBLIC",
             "GRANT UPDATE (day), INSERT ON " + t + " TO " + reader.quoted + " WITH GRANT OPTION",
             "GRANT USAGE ON SEQUENCE " + s + "orders__id_seq TO " + reader.quoted,
             "CREATE STATISTICS " + s + "together ON id, amount FROM " + t,
             "ALTER STATISTICS " + s + "together SET STATISTICS 90",
             "ALTER TABLE " + t + " REPLICA IDENTITY FULL",
             "ALTER TABLE " + t + " CLUSTER ON \"by amount\"",
             "ALTER TABLE " + t + " RENAME CONSTRAINT orders_pkey TO \"p key\"",
             "ALTER SEQUENCE " + s + "orders__id_seq RENAME TO numbers",
             "ALTER SEQUENCE " + s + "numbers CACHE 5 CYCLE",
             "CREATE SEQUENCE " + s + "mine OWNED BY " + t + ".amount",
             "CREATE TABLE " + s + "child (ref int REFERENCES " + t + " ON DELETE CASCADE)",
             "COMMENT ON CONSTRAINT child_ref_fkey ON " + s + "child IS 'to orders'",
             "CREATE VIEW " + s + "alias WITH (security_invoker = true, security_barrier = true) AS SELECT * FROM " + t,
             "CREATE VIEW " + s + "over AS SELECT id FROM " + s + "alias",
             "COMMENT ON VIEW " + s + "alias IS 'CKAN alias'",
             "GRANT SELECT ON " + s + "alias TO " + reader.quoted,
             "CREATE MATERIALIZED VIEW " + s + "counted AS SELECT day, count(*) AS n FROM " + t + " GROUP BY day",
             "CREATE UNIQUE INDEX by_day ON " + s + "counted (day)",
             "COMMENT ON MATERIALIZED VIEW " + s + "counted IS 'counts'",
             "CREATE FUNCTION " + s + "how_many() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM " + t + "; END",
             "ALTER FUNCTION " + s + "how_many() DEPENDS ON EXTENSION plpgsql",
             "CREATE POLICY via ON " + s + "other USING (day IN (SELECT o.day FROM " + t + " o))",
             "CREATE RULE looking AS ON INSERT TO " + s + "other DO ALSO SELECT count(*) FROM " + t,
             "ALTER TABLE " + s + "other ALTER id SET DEFAULT nextval('" + s + "numbers')",
             "ALTER INDEX " + s + "partly DEPENDS ON EXTENSION plpgsql",
             "ALTER TRIGGER noting ON " + t + " DEPENDS ON EXTENSION plpgsql",
             "COMMENT ON INDEX " + s + "partly IS 'partly''s'",
             "COMMENT ON TRIGGER noting ON " + t + " IS 'notes'",
             "COMMENT ON POLICY reading ON " + t + " IS 'reads'",
             "COMMENT ON RULE guarding ON " + t + " IS 'guards'",
             "COMMENT ON STATISTICS " + s + "together IS 'both'",
             "COMMENT ON CONSTRAINT later ON " + t + " IS 'some day'",
             "COMMENT ON SEQUENCE " + s + "numbers IS 'ids'",
             "CREATE PUBLICATION \"pub " + std::to_string(::getpid()) + "\" FOR TABLE " + t + " WHERE (amount > 1)",
         }) {
      query(sql);
    }
  }
  ~fixture() { query("DROP PUBLICATION IF EXISTS \"pub " + std::to_string(::getpid()) + '"'); }
};

/// Of a record of files.
inline std::string payload_of(stash::entry const& e) {
  std::ifstream file{e.where};
  std::string header, payload;
  std::getline(file, header);
  std::getline(file, payload);
  return payload;
}

inline constexpr char other_rows[] =
    "c,3,2026-11-24\n"
    "d,4,2026-11-25\n";

}  // namespace postgres_swap_test
