#pragma once

#include <sqlite3.h>

#include <array>
#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <stash/stash.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

// What the README's snippets take for granted: the job's own names.

/// Tables with their dictionaries, as a database would have them.
class catalog_of_tables {
 public:
  std::optional<boost::json::value> dictionary(std::string_view table) const {
    auto const found = tables_.find(table);
    return found == tables_.end() ? std::nullopt : std::optional(found->second);
  }
  bool has(std::string_view table) const { return tables_.contains(table); }
  void ensure(std::string_view table, boost::json::value const& dictionary) {
    tables_.insert_or_assign(std::string(table), dictionary);
  }
  void drop(std::string_view table) { tables_.erase(std::string(table)); }
  void drop_schema() { tables_.clear(); }

 private:
  std::map<std::string, boost::json::value, std::less<>> tables_;
};

inline catalog_of_tables catalog;
inline bool load_fails = false;
inline std::vector<std::string> alerts;

inline void load(std::string_view file, boost::json::value const* dictionary) {
  if (load_fails) throw std::runtime_error("the load failed");
  if (dictionary != nullptr) catalog.ensure(file.substr(0, file.find('.')), *dictionary);
}
inline std::filesystem::path exported;
inline void build(std::string const& directory) {
  std::filesystem::create_directory(directory);
  std::ofstream(directory + "/new") << "new";
}
/// A client of its own of a database beside `exported`.
inline std::string run(std::string const& sql) {
  std::string first;
  sqlite3* db = nullptr;
  sqlite3_open((exported.parent_path() / "shop.sqlite").c_str(), &db);
  auto const keep = [](void* to, int, char** row, char**) { return static_cast<std::string*>(to)->assign(row[0]), 0; };
  int const failed = sqlite3_exec(db, sql.c_str(), keep, &first, nullptr);
  sqlite3_close(db);
  if (failed != SQLITE_OK) throw std::runtime_error(sql);
  return first;
}
inline void run_the_job() {}
inline bool built() { return std::filesystem::exists(exported / "new"); }
inline void show_progress(std::uint64_t) {}
inline void alert(std::string_view what) { alerts.emplace_back(what); }
template <class Why>
void alert(stash::key const& key, Why const&) {
  alerts.emplace_back(key.str());
}

inline bool ok = false;  // what a test asks of a snippet

inline boost::json::value const words{{"label", "Orders"}, {"notes", "typed by hand"}};

template <class Stash>
bool keeps(Stash& store) {
  store.save("kept", words);
  return store.load("kept") == words;
}
