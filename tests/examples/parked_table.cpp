// A job drops a PostgreSQL table and loads it again, as ever; where it fails, the old one is back: rows, grants, views.
// g++ -std=c++20 -Iinclude -I/usr/include/postgresql tests/examples/parked_table.cpp -lboost_json -lboost_filesystem
// -lpq -o job && ./job at
#include <libpq-fe.h>

#include <iostream>
#include <stash/place/postgres_table.hpp>
#include <stash/stash.hpp>

struct database {
  std::unique_ptr<PGconn, decltype(&::PQfinish)> handle{::PQconnectdb(""), ::PQfinish};  // PGHOST, PGUSER, ...

  std::string run(std::string const& sql) {
    std::unique_ptr<PGresult, decltype(&::PQclear)> const done{::PQexec(handle.get(), sql.c_str()), ::PQclear};
    auto const status = ::PQresultStatus(done.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
      throw std::runtime_error(::PQerrorMessage(handle.get()));
    return ::PQntuples(done.get()) > 0 ? ::PQgetvalue(done.get(), 0, 0) : "";
  }
};

// Nothing in it knows of any stash.
void load_orders(database& shop, std::string const& rows) {
  shop.run("DROP TABLE IF EXISTS orders");
  shop.run("CREATE TABLE orders (id int PRIMARY KEY, price numeric)");
  shop.run("INSERT INTO orders VALUES " + rows);
}

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  database shop;
  shop.run("SET client_min_messages = warning; DROP TABLE IF EXISTS orders CASCADE");
  load_orders(shop, "(1, 10)");  // the first upload, and what people have made of it since
  shop.run("CREATE INDEX by_price ON orders (price); COMMENT ON COLUMN orders.price IS 'in EUR, without VAT'");
  shop.run("GRANT SELECT ON orders TO PUBLIC; CREATE VIEW cheap AS SELECT id FROM orders WHERE price < 50");

  stash::file_stash store{argv[1]};
  for (std::string const rows : {"(1, 10), (2, 'oops')", "(1, 10), (2, 20)"}) try {
      stash::replace_guard guard{store, "orders", stash::postgres_table{"", {"public", "orders"}}};
      load_orders(shop, rows);
      guard.commit();
      std::cout << "loaded: " << shop.run("SELECT count(*) FROM cheap") << " in the view\n";
    } catch (std::exception const&) {
      std::cout << "failed; there is again: " << shop.run("SELECT count(*) FROM cheap") << " in the view\n";
    }
  std::cout << shop.run("SELECT col_description('orders'::regclass, 2)") << '\n';
  if (shop.run("SELECT has_table_privilege('public', 'orders', 'SELECT')") != "t") return 1;
  return shop.run("SELECT count(*) FROM pg_indexes WHERE indexname = 'by_price'") == "1" ? 0 : 1;
}
