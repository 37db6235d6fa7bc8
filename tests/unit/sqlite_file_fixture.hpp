#pragma once

#include <stash/storage/sqlite.hpp>
#include <utility>

#include "support.hpp"

namespace sqlite_file_test {

inline stash::record some(std::string payload) {
  return {std::move(payload), stash::time_point{std::chrono::seconds{1}}};
}
inline bool has(std::string const& text, std::string_view part) { return text.find(part) != text.npos; }

struct fixture : support::scratch {
  support::fs::path file = dir() / "stash.sqlite";
  stash::sqlite_storage s{file};

  fixture() { support::make_private(dir()); }
  void change(std::string const& sql) const {
    stash::detail::sqlite_connection{file.native()}.execute(sql, "test", {});
  }
  std::string query(std::string const& sql) const {
    stash::detail::sqlite_connection db{file.native()};
    stash::detail::sqlite_statement row{db, sql, "query", {}};
    return row.step() ? row.text(0).value_or("NULL") : "";
  }
  std::string others() const {
    std::string found;
    for (auto const& name : support::names(dir())) {
      if (name != "stash.sqlite" && name != ".lock") found += name + ' ';
    }
    return found;
  }
  /// What each of the calls that change something says.
  std::vector<std::function<void()>> changes() {
    return {[&] { s.put("k", some("new")); }, [&] { s.erase("k"); }, [&] { s.set_aside("k", "x"); }};
  }
};

}  // namespace sqlite_file_test
