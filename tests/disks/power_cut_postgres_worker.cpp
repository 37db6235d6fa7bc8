// The same program for a table of a PostgreSQL server, whose data loses power with it: see power_cut_worker.cpp.
//
//     power_cut_postgres_worker run|check table DIRECTORY ...
//
// The server's connection string is in STASH_POSTGRES. PROTOCOL "no file sync": nothing waits for the disk.
#include <libpq-fe.h>

// What the library sends, so that a part of it can be left out.
static int send_query(PGconn* c, char const* sql);
#define PQsendQuery send_query
#include <stash/place/postgres_table.hpp>
#undef PQsendQuery

#include "cut_places.hpp"
#include "faulty_libpq.hpp"
#include "postgres.hpp"

namespace power_cut {

namespace {

bool waits = true;

/// A table in a schema of its own, with an index and a view.
struct a_table_of_postgres {
  fs::path root;
  std::size_t bytes;
  powered_ops ops;

  std::string schema() const { return "case " + root.filename().native(); }
  static std::string quoted(std::string const& name) { return support::schema::quoted(name); }
  stash::postgres_table place() const { return {support::server(), {schema(), "orders"}}; }
  /// From here on each call of libpq that asks something, or takes an answer, counts.
  void prepare() const {
    waits = ops.protocol != "no file sync";
    static support::faulty_libpq const libpq{[before = ops.before](std::string_view call, std::string_view) {
      (*before)(call);
      return false;
    }};
  }
  void build(std::string const& word) const {
    support::client db;
    auto const in = [this](char const* name) { return quoted(schema()) + '.' + name; };
    // The job's own rows may reach the disk later, as its server says; what parks and settles must wait for the disk.
    if (word != "new") db("SET synchronous_commit = on");
    db("CREATE SCHEMA IF NOT EXISTS " + quoted(schema()));
    db("BEGIN");
    db("DROP TABLE IF EXISTS " + in("orders"));
    db("CREATE TABLE " + in("orders") + " (word text, n integer)");
    db("INSERT INTO " + in("orders") + " SELECT '" + stretched(word, bytes) + "', n FROM generate_series(1, 2) n");
    if (word == "old") {
      db("CREATE INDEX by_n ON " + in("orders") + " (n)");
      db("CREATE VIEW " + in("seen") + " AS SELECT word FROM " + in("orders"));
    }
    db("COMMIT");
  }

  std::string word() const {
    auto const parked = quoted("stash_parked_" + schema()) + ".orders";
    return is_there(parked) ? "parked " + word_at(parked) : word_at(quoted(schema()) + ".orders");
  }
  std::string word_at(std::string const& at) const {
    if (!is_there(at)) return "none";
    for (char const* const word : {"old", "new"}) {
      auto const text = "'" + stretched(word, bytes) + "'";
      bool const is_whole =
          support::client{}("SELECT (count(*) = 2 AND min(word) = " + text + " AND max(word) = " + text +
                            " AND sum(n) = 3)::text FROM " + at) == "true";
      if (is_whole) return word;
    }
    return "mixture";
  }
  static bool is_there(std::string const& name) {
    return support::client{}("SELECT to_regclass('" + name + "')::text") != "";
  }
  /// With all that is to hang on the table, "orders" alone.
  std::vector<std::string> all() const {
    support::client db;
    auto const count = [&](std::string const& what) { return db("SELECT count(*)::text FROM " + what); };
    std::vector<std::string> result;
    if (count("pg_class WHERE relname IN ('by_n', 'seen') AND relnamespace = '" + quoted(schema()) +
              "'::regnamespace") != "2")
      result.push_back("lacks what hung on it");
    if (count("pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'stash_parked_" + schema() +
              "' AND relkind IN ('r', 'v')") != "0")
      result.push_back("something is parked still");
    return result;
  }
};

}  // namespace

}  // namespace power_cut

static int send_query(PGconn* c, char const* sql) {
  std::string text = sql;
  constexpr std::string_view waiting = "synchronous_commit = on";
  auto const at = text.find(waiting);
  if (!power_cut::waits && at != text.npos) text.replace(at, waiting.size(), "synchronous_commit = off");
  return ::PQsendQuery(c, text.c_str());
}

int main(int argc, char** argv) {
  try {
    return power_cut::run_place<power_cut::a_table_of_postgres>({argv + 1, argv + argc});
  } catch (std::exception const& e) {
    ::dprintf(STDERR_FILENO, "power_cut_postgres_worker: %s\n", e.what());
    return 1;
  }
}
