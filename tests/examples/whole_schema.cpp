// Drops all tables of an SQLite file and builds them anew, as a script does it: each table is parked by a guard of its
// own, one in the other. If the script fails, all stand as they stood, with rows, indexes and views.
//
// g++ -std=c++20 -Iinclude tests/examples/whole_schema.cpp -lboost_json -lboost_filesystem -lsqlite3 -o job && ./job at
#include <sqlite3.h>

#include <boost/filesystem.hpp>
#include <iostream>
#include <span>
#include <stash/place/sqlite_table.hpp>
#include <stash/stash.hpp>
#include <string>
#include <vector>

namespace {

struct database {  // yours has a client of its own; the guards open the file by themselves
  sqlite3* db = nullptr;
  explicit database(std::string const& file) { sqlite3_open(file.c_str(), &db); }
  ~database() { sqlite3_close(db); }
  void run(char const* sql) const {
    if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(db));
  }
  std::string first(char const* query) const {
    std::string found;
    auto const keep = [](void* to, int, char** row, char**) {
      return static_cast<std::string*>(to)->assign(row[0]), 0;
    };
    if (sqlite3_exec(db, query, keep, &found, nullptr) != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(db));
    return found;
  }
};

/// Calls `build` when all tables are out of the way. Each commit stands for itself: if one throws, the tables that were
/// committed before it are new, and the others old; the views that need both say whether they can live with that.
void replace(stash::file_stash& store, std::string const& file, std::span<std::string const> tables, auto build) {
  if (tables.empty()) return build();
  stash::replace_guard guard{store, tables[0], stash::sqlite_table{file, tables[0]}};
  replace(store, file, tables.subspan(1), build);
  guard.commit();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  boost::filesystem::create_directories(argv[1]);
  std::string const file = std::string(argv[1]) + "/shop.sqlite";
  stash::file_stash store{std::string(argv[1]) + "/stash"};
  std::vector<std::string> const tables{"customers", "orders"};
  database shop{file};
  shop.run(
      "CREATE TABLE customers (name); CREATE TABLE orders (buyer, item); CREATE INDEX by_buyer ON orders (buyer);"
      "INSERT INTO customers VALUES ('Ada'); INSERT INTO orders VALUES ('Ada', 'a lamp');"
      "CREATE VIEW sales AS SELECT name || ' bought ' || item FROM customers JOIN orders ON buyer = name");
  auto const rebuild = [&](char const* last) {
    shop.run("CREATE TABLE customers (name); INSERT INTO customers VALUES ('Grace')");
    shop.run("CREATE TABLE orders (buyer, item)");
    shop.run(last);
  };
  try {
    replace(store, file, tables, [&] { rebuild("INSERT INTO orders VALUES ('Grace', oops)"); });
  } catch (std::exception const& problem) {
    std::cout << "failed: " << problem.what() << "; " << shop.first("SELECT * FROM sales") << '\n';
  }
  replace(store, file, tables, [&] { rebuild("INSERT INTO orders VALUES ('Grace', 'a clock')"); });
  std::cout << "rebuilt: " << shop.first("SELECT * FROM sales") << "; "
            << shop.first("SELECT name FROM sqlite_schema WHERE type = 'index'") << " is there\n";
  return store.entries().empty() ? 0 : 1;
}
