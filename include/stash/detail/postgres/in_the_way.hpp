#pragma once

#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <string>

namespace stash::inline v1::detail {

/// Who has a lock on the table `name` of one of two schemas: the one whose query is the oldest.
inline std::string who_is_in_the_way(postgres_connection& db, std::string const& schema, std::string const& other,
                                     std::string const& name, operation const& op, deadline until) {
  auto const found = db.run(
      "SELECT 'pid ' || a.pid || coalesce(', ' || nullif(a.application_name, ''), '') ||"
      " coalesce(', ' || nullif(a.backend_type, 'client backend'), '') || coalesce(', query of ' ||"
      " to_char(a.query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '') FROM pg_locks l JOIN"
      " pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_stat_activity a"
      " ON a.pid = l.pid WHERE l.granted AND l.locktype = 'relation' AND n.nspname IN ($1::text, $3::text) AND "
      "c.relname = "
      "$2::text"
      " AND l.pid <> pg_backend_pid() AND l.database = (SELECT oid FROM pg_database WHERE datname ="
      " current_database()) ORDER BY a.query_start LIMIT 1",
      {schema, name, other}, op, until);
  return found.rows() > 0 ? found.text(0, 0) : "nobody any more, or on what depends on the table";
}

}  // namespace stash::inline v1::detail
