// Drops an SQL table and loads it again, in more than one transaction; what people typed about its columns survives.
// g++ -std=c++20 -Iinclude tests/examples/sql_table.cpp -lboost_json -lboost_filesystem -lsqlite3 -o job && ./job at
#include <sqlite3.h>

#include <iostream>
#include <map>
#include <stash/stash.hpp>

using notes = std::map<std::string, std::string>;  // by column

struct database {
  std::unique_ptr<sqlite3, int (*)(sqlite3*)> handle{nullptr, ::sqlite3_close};

  explicit database(std::string const& file) {
    sqlite3* opened = nullptr;
    ::sqlite3_open(file.c_str(), &opened);  // where it fails, the first statement says why
    handle.reset(opened);
    run("PRAGMA synchronous = EXTRA");  // what was committed survives a power cut, as the stash does
    run("CREATE TABLE IF NOT EXISTS notes (about TEXT NOT NULL, note TEXT NOT NULL)");
    run("CREATE TABLE IF NOT EXISTS whole (name TEXT NOT NULL)");  // what is not in it was left half-built
  }
  void run(std::string const& sql, int (*row)(void*, int, char**, char**) = nullptr, void* to = nullptr) {
    if (::sqlite3_exec(handle.get(), sql.c_str(), row, to, nullptr) == SQLITE_OK) return;
    std::string const why = ::sqlite3_errmsg(handle.get());
    ::sqlite3_exec(handle.get(), "ROLLBACK", nullptr, nullptr, nullptr);  // of what is open, if anything is
    throw std::runtime_error(why);
  }
  notes select(std::string const& sql, notes found = {}) {
    run(sql, add, &found);
    return found;
  }
  static int add(void* to, int, char** row, char**) noexcept {
    return static_cast<notes*>(to)->emplace(row[0], row[1]), 0;
  }
  bool is_whole() { return !select("SELECT name, 1 FROM whole").empty(); }
  std::optional<notes> live() {
    notes const words = is_whole() ? select("SELECT about, note FROM notes") : notes{};
    return words.empty() ? std::nullopt : std::optional(words);
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
  void restore(notes const& words) {
    if (is_whole()) return;  // not live(): a whole table may have no words, and keeps its rows
    drop();
    create(words);
    finish();
  }
};

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  database orders{std::string(argv[1]) + ".db"};
  notes const typed{{"price", "in EUR, without VAT"}};
  orders.restore(typed);  // the first upload, and what somebody typed

  stash::file_stash store{argv[1]};
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
