#pragma once

#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/belongings.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <string>

// How a table comes from one schema or name to another, with what is its own. For a transaction.
namespace stash::inline v1::detail {

inline std::string qualified(postgres_connection const& db, std::string const& schema, std::string const& name) {
  return db.identifier(schema) + '.' + db.identifier(name);
}

/// The oid of what has this name, a table or not; nullopt: nothing.
inline std::optional<std::string> oid_of(postgres_connection& db, std::string const& schema, std::string const& name,
                                         operation const& op, deadline until) {
  auto const found = db.run(
      "SELECT c.oid::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
      " WHERE n.nspname = $1::text AND c.relname = $2::text",
      {schema, name}, op, until);
  return found.rows() > 0 ? std::optional(found.text(0, 0)) : std::nullopt;
}

/// Gives the table `oid`, which stands in `schema`, and what is its own and would be in the way of another table's,
/// other names. Returns its name as SQL.
inline std::string rename_aside(postgres_connection& db, std::string const& schema, std::string const& oid,
                                postgres_built_by by, operation const& op, deadline until) {
  std::string renames =
      "SELECT string_agg(format('ALTER %s %I.%I RENAME TO %I', kind, nspname, name, 'stash: replaced ' || its.oid), "
      "'; ' ORDER BY kind, name)"
      " FROM (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' ELSE 'TABLE' "
      "END"
      " AS kind, relnamespace AS schema, relname AS name, c.oid FROM pg_class c WHERE c.oid = $1::text::oid OR c.oid "
      "IN"
      " (SELECT indexrelid FROM pg_index WHERE indrelid = $1::text::oid) OR c.relkind = 'S' AND c.oid IN (SELECT "
      "d.objid FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE"
      " d.refobjid = $1::text::oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND (@replaced@))"
      " UNION ALL SELECT 'STATISTICS', stxnamespace, stxname, oid FROM pg_statistic_ext WHERE stxrelid = "
      "$1::text::oid)"
      " AS its JOIN pg_namespace n ON n.oid = its.schema";
  detail::fill_in(renames, by, ::PQserverVersion(db.get()));
  db.execute(db.run(renames, {oid}, op, until).text(0, 0), op, until);
  return detail::qualified(db, schema, "stash: replaced " + oid);
}

/// Moves the table `oid` to another schema, under its name. Statistics that stand in its schema go with it, which the
/// server leaves behind, with their names.
inline void move_table(postgres_connection& db, std::string const& oid, std::string const& to, operation const& op,
                       deadline until) {
  // On the way under another name: its array type, "_name", may meet a table there.
  auto const moves = db.run(
      "SELECT format('ALTER TABLE %1$I.%2$I RENAME TO %4$I; ALTER TABLE %1$I.%4$I SET SCHEMA %3$I; ALTER TABLE"
      " %3$I.%4$I RENAME TO %2$I', n.nspname, c.relname, $2::text, 'stash: new ' || c.oid) || coalesce((SELECT"
      " string_agg(format('; ALTER STATISTICS %I.%I SET SCHEMA %I', n.nspname, stxname, $2::text), '' ORDER BY stxname)"
      " FROM pg_statistic_ext WHERE stxrelid = c.oid AND stxnamespace = n.oid), '')"
      " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::text::oid",
      {oid, to}, op, until);
  if (moves.rows() > 0) db.execute(moves.text(0, 0), op, until);
}

}  // namespace stash::inline v1::detail
