// Drops an SQL table and loads it again, in more than one transaction; what people typed about its columns survives.
// g++ -std=c++20 -Iinclude tests/examples/sql_table.cpp -lboost_json -lboost_filesystem -lsqlite3
#include <sqlite3.h>

#include <iostream>
#include <map>
#include <stash/stash.hpp>
#include <stdexcept>

using notes = std::map<std::string, std::string>;  // by column

struct database {
  sqlite3* handle = nullptr;

  explicit database(std::string const& file) {
    if (::sqlite3_open(file.c_str(), &handle) != SQLITE_OK) throw std::runtime_error(file + ": cannot be opened");
    run("PRAGMA synchronous = EXTRA");  // what was committed survives a power cut, as the stash does
    // A table that is not in "whole" is being built, or was left half-built by a job that died.
    run("CREATE TABLE IF NOT EXISTS notes (about PRIMARY KEY, note); CREATE TABLE IF NOT EXISTS whole (name)");
  }
  ~database() { ::sqlite3_close(handle); }

  void run(std::string const& sql, int (*row)(void*, int, char**, char**) = nullptr, void* to = nullptr) {
    if (::sqlite3_exec(handle, sql.c_str(), row, to, nullptr) == SQLITE_OK) return;
    std::string const why = ::sqlite3_errmsg(handle);
    ::sqlite3_exec(handle, "ROLLBACK", nullptr, nullptr, nullptr);  // where no transaction is open, it does nothing
    throw std::runtime_error(why);
  }
  notes select(std::string const& sql, notes found = {}) {
    run(sql, add, &found);
    return found;
  }
  static int add(void* to, int, char** row, char**) noexcept {
    return static_cast<notes*>(to)->emplace(row[0], row[1]), 0;
  }
  std::optional<notes> live() {
    if (select("SELECT name, 1 FROM whole").empty()) return std::nullopt;
    return select("SELECT about, note FROM notes");
  }
  void drop() { run("BEGIN; DELETE FROM whole; DELETE FROM notes; DROP TABLE IF EXISTS orders; COMMIT"); }
  void create(notes const& words) {
    std::string sql = "BEGIN; CREATE TABLE orders (id, price);";
    for (auto const& [about, note] : words) {
      char* const insert = ::sqlite3_mprintf("INSERT INTO notes VALUES (%Q, %Q);", about.c_str(), note.c_str());
      sql += insert != nullptr ? insert : throw std::bad_alloc();
      ::sqlite3_free(insert);
    }
    run(sql + "COMMIT");
  }
  void finish() { run("INSERT INTO whole VALUES ('orders')"); }
  void restore(notes const& words) {  // idempotent, and a whole table stays as it is
    if (live()) return;
    drop();
    create(words);
    finish();
  }
};

int main(int, char** arguments) {
  database orders{std::string(arguments[1]) + ".db"};
  notes const typed{{"price", "in EUR, without VAT"}};
  orders.restore(typed);  // the first upload, and what somebody typed

  stash::file_stash store{arguments[1]};
  for (std::string const rows : {"(1, 10), (2, oops)", "(1, 10), (2, 20)"}) try {
      stash::delete_guard guard{store, "orders", [&] { return orders.live(); },
                                [&](notes const& saved) { orders.restore(saved); }};
      orders.drop();
      orders.create(guard.value() != nullptr ? *guard.value() : notes{});
      orders.run("INSERT INTO orders VALUES " + rows);
      orders.finish();
      guard.commit();
      std::cout << "loaded; records left: " << store.entries().size() << '\n';
    } catch (std::exception const& problem) {
      if (orders.live() != typed) return 1;
      std::cout << "failed: " << problem.what() << "; the words are back\n";
    }
  return orders.live() == typed && store.entries().empty() ? 0 : 1;
}
