#pragma once

#include <initializer_list>
#include <stash/detail/postgres/connection.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// A call of a statement that was prepared in the session: "EXECUTE name ('a', 'b')". Questions about the catalog take
/// the server longer to plan than to answer.
inline std::string execute_sql(postgres_connection const& db, std::string_view name,
                               std::initializer_list<std::string_view> arguments) {
  std::string sql = "EXECUTE ";
  sql += name;
  char const* separator = " (";
  for (auto const one : arguments) {
    sql.append(separator).append(db.literal(one));
    separator = ", ";
  }
  return sql + ')';
}

}  // namespace stash::inline v1::detail
