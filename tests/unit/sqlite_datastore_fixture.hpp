#pragma once

#include <optional>
#include <stash/ckan/sqlite_datastore.hpp>

#include "support.hpp"

namespace sqlite_datastore_test {

namespace ckan = stash::ckan;
namespace json = boost::json;

struct fixture : support::scratch {
  std::string file = (root / "datastore.sqlite").native();
  ckan::sqlite_datastore d{file};
  ckan::fields const columns{
      {"id", "numeric", json::object{{"label", "N°"}, {"scale", 0.1}}, json::object{{"plugin", 1}}},
      {"day", "date", std::nullopt}};

  std::vector<std::string> query(std::string const& sql) const {
    stash::detail::sqlite_connection db{file};
    stash::detail::sqlite_statement row{db, sql, "query", {}};
    std::vector<std::string> result;
    while (row.step()) result.push_back(row.text(0).value_or("NULL"));
    return result;
  }
};

}  // namespace sqlite_datastore_test
