#pragma once

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/parked_texts.hpp>
#include <stash/detail/sqlite/sql_words.hpp>
#include <string>
#include <string_view>
#include <vector>

// A table in words: what the record of a guard says of it.
namespace stash::inline v1::detail {

inline boost::json::array columns_of(sqlite_connection const& db, std::string_view table, operation const& op) {
  boost::json::array columns;
  sqlite_statement row{db, "SELECT name, type FROM pragma_table_xinfo(?)", op.name, op.subject};
  row.bind(table);
  while (row.step()) {
    columns.push_back(boost::json::object{{"name", row.text(0).value_or("")}, {"type", row.text(1).value_or("")}});
  }
  return columns;
}

/// Those that name the table, or one of those.
inline boost::json::array views_of(sqlite_connection const& db, std::string_view table, operation const& op) {
  struct view {
    std::string name, sql;
    std::vector<sql_word> words;
  };
  std::vector<view> others;
  sqlite_statement row{db, "SELECT name, sql FROM sqlite_schema WHERE type = 'view' ORDER BY name", op.name,
                       op.subject};
  while (row.step()) {
    auto const sql = row.text(1).value_or("");
    others.push_back({row.text(0).value_or(""), sql, detail::sql_words(sql)});
  }
  boost::json::array found;
  std::vector<std::string> names{detail::sqlite_folded(table)};
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string const name = names[i];
    std::erase_if(others, [&](view const& one) {
      auto const is_it = [&](sql_word const& word) { return word.text == name || word.text == detail::sql_name(name); };
      if (std::none_of(one.words.begin(), one.words.end(), is_it)) return false;
      names.push_back(detail::sqlite_folded(one.name));
      found.push_back(boost::json::object{{"name", one.name}, {"sql", one.sql}});
      return true;
    });
  }
  return found;
}

inline void write_text(boost::json::object& note, sqlite_table_text const& text) {
  boost::json::array indexes, triggers;
  for (auto const& one : text.belongings) {
    (one.type == "index" ? indexes : triggers).push_back(boost::json::object{{"name", one.name}, {"sql", one.sql}});
  }
  note["create"] = detail::renamed(text.sql, text.name);  // a rename writes the name between quotes, as this does
  note["indexes"] = std::move(indexes);
  note["triggers"] = std::move(triggers);
  note["analyzed"] = text.is_analyzed;
}

}  // namespace stash::inline v1::detail
