// Drops all tables of a schema and loads them again, under one guard: all words are safe before the first drop, and all
// come back, or none is needed any more.
// g++ -std=c++20 -Iinclude tests/examples/several_resources.cpp -lboost_json -lboost_filesystem -o job && ./job at
#include <iostream>
#include <map>
#include <optional>
#include <stash/stash.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

/// A toy: it is gone with the process. Yours is a database, and ensure() is durable when it returns.
struct schema {
  std::map<std::string, std::string, std::less<>> words;  // by table

  std::optional<std::string> find(std::string_view table) const {
    auto const found = words.find(table);
    return found == words.end() ? std::nullopt : std::optional(found->second);
  }
  void ensure(std::string_view table, std::string const& saved) { words.try_emplace(std::string(table), saved); }
};

void reload_all(schema& tables, stash::file_stash& store, bool fails) {
  // From the job's configuration, not from the schema: a retry finds no table there, and would adopt nothing.
  std::vector<std::string> const names{"customers", "items", "orders"};
  stash::delete_guards guard{
      store,
      names,
      [&](stash::key const& table) { return tables.find(table); },
      [&](stash::key const& table, std::string const& saved) { tables.ensure(table, saved); },
      {.observer = [](stash::event const& e) { std::cout << to_string(e.kind) << ' ' << e.key << '\n'; }}};
  tables.words.clear();  // DROP SCHEMA ... CASCADE
  for (auto const& name : names) {
    if (fails && name == "items") throw std::runtime_error("items.csv: no such file");
    if (guard.value(name) != nullptr) tables.ensure(name, *guard.value(name));
  }
  guard.commit();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  schema tables{{{"customers", "who bought"}, {"orders", "what they bought"}}};  // items has no words yet
  auto const typed = tables.words;
  stash::file_stash store{argv[1]};
  try {
    reload_all(tables, store, true);
  } catch (std::exception const& problem) {
    std::cout << "failed: " << problem.what() << "; the words are " << (tables.words == typed ? "back\n" : "LOST\n");
  }
  reload_all(tables, store, false);
  return tables.words == typed && store.entries().empty() ? 0 : 1;
}
