// A type of your own as the value of a guard: with BOOST_DESCRIBE_STRUCT for each part of it Boost.JSON, and so the
// stash, knows how to write it and read it.
// g++ -std=c++20 -Iinclude tests/examples/described_type.cpp -lboost_json -lboost_filesystem -o job && ./job at
#include <boost/describe/class.hpp>
#include <iostream>
#include <map>
#include <optional>
#include <stash/stash.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace example {

struct column {
  std::string name;
  std::optional<std::string> unit;
  std::vector<std::string> synonyms;
  bool operator==(column const&) const = default;
};
BOOST_DESCRIBE_STRUCT(column, (), (name, unit, synonyms))  // a member that is not named here is not saved

struct table_words {
  std::string owner;
  std::optional<std::string> description;
  std::vector<column> columns;
  bool operator==(table_words const&) const = default;
};
BOOST_DESCRIBE_STRUCT(table_words, (), (owner, description, columns))

/// A toy: it is gone with the process. Yours is a database, and ensure() is durable when it returns.
class catalog {
 public:
  std::optional<table_words> find(std::string const& table) const {
    auto const found = tables_.find(table);
    return found == tables_.end() ? std::nullopt : std::optional(found->second);
  }
  void ensure(std::string const& table, table_words const& words) { tables_.try_emplace(table, words); }
  void drop(std::string const& table) { tables_.erase(table); }

 private:
  std::map<std::string, table_words> tables_;
};

}  // namespace example

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  example::catalog catalog;
  example::table_words const typed{"Ada", std::nullopt, {{"price", "EUR", {"amount", "sum"}}, {"day", {}, {}}}};
  catalog.ensure("orders", typed);

  stash::file_stash store{argv[1]};
  try {
    stash::delete_guard guard{store, "orders", [&] { return catalog.find("orders"); },
                              [&](example::table_words const& saved) { catalog.ensure("orders", saved); }};
    catalog.drop("orders");
    throw std::runtime_error("orders.csv: no such file");
  } catch (std::exception const& problem) {
    std::cout << "the reload failed: " << problem.what() << '\n';
  }
  if (catalog.find("orders") != typed) return 1;
  std::cout << "the words are back\n";

  // The record stays until a later run commits; without a guard it is read with its type.
  std::optional<example::table_words> const saved = store.load<example::table_words>("orders");
  if (saved != typed) return 1;
  std::cout << "on disk: " << stash::json_serializer{}.serialize(*saved) << '\n';
}
