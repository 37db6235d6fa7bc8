#pragma once

#include <array>
#include <fstream>
#include <optional>
#include <stash/ckan/reload.hpp>
#include <string>
#include <vector>

#include "sqlite_datastore_fixture.hpp"

namespace sqlite_swap_test {

using namespace std::chrono_literals;
using namespace std::string_literals;
using stash::errc;
using support::code_of;
using support::message_of;
namespace ckan = stash::ckan;
namespace json = boost::json;

using row = std::array<std::optional<std::string_view>, 2>;

struct fixture : sqlite_datastore_test::fixture {
  stash::file_stash store{dir()};
  ckan::fields const headers{{"id", "numeric", std::nullopt}, {"day", "date", std::nullopt}};

  void execute(std::string const& sql) const {
    stash::detail::sqlite_connection db{file};
    db.execute(sql, "test", {});
  }
  static auto loading(ckan::sqlite_datastore& d, std::vector<row> rows) {
    return [&d, rows = std::move(rows)](ckan::fields const& created) {
      ckan::sqlite_datastore::loader loader{d, "orders", created};
      for (auto const& one : rows) loader.add(one);
      loader.finish();
    };
  }
  ckan::reload_report reload(std::vector<row> rows, ckan::reload_options const& options = {}) {
    return ckan::reload(d, store, "orders", headers, loading(d, std::move(rows)), options);
  }
  void make() {
    reload({row{"1", "a"}, row{"2", "b"}});
    d.annotate("orders", {{"day", json::object{{"label", "Day"}}}});
  }
  /// All that stands in the file but for rows, then the rows.
  std::vector<std::string> content(bool with_rows = true) const {
    auto all = query(
        "SELECT type || '|' || name || '|' || tbl_name || '|' || coalesce(sql, '') FROM sqlite_schema"
        " WHERE name NOT LIKE '\\_stash%' ESCAPE '\\' AND name NOT LIKE 'sqlite_stat%' ORDER BY type, name");
    for (auto const& sql :
         {"SELECT id || '|' || finished FROM _stash_resource ORDER BY id"s,
          "SELECT resource_id || '|' || position || '|' || id || '|' || coalesce(info, '') FROM _stash_field"
          " ORDER BY resource_id, position"s,
          "SELECT "s + (with_rows ? "_id || '|' || id || '|' || day" : "1") + " FROM orders"}) {
      for (auto& line : query(sql)) all.push_back(std::move(line));
    }
    return all;
  }
};

inline std::string payload_of(stash::entry const& e) {
  std::ifstream file{e.where};
  std::string header, payload;
  std::getline(file, header);
  std::getline(file, payload);
  return payload;
}

inline std::vector<row> const other_rows{row{"3", "c"}, row{"4", "d"}};

}  // namespace sqlite_swap_test
