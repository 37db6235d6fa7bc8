#pragma once

#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/prepared.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <string>

// How a table comes from one schema or name to another, with what is its own. For a transaction, in a session in which
// a `postgres_belongings_reader` has prepared these questions.
namespace stash::inline v1::detail {

/// Statements that give the table $1 (an oid), and what is its own and would be in the way of another table's, other
/// names. "@replaced@": see `postgres_texts`.
inline constexpr char postgres_renames_sql[] = R"sql(
WITH its AS (
  SELECT 'TABLE' AS kind, oid FROM pg_class WHERE oid = $1::text::oid
  UNION ALL SELECT 'INDEX', indexrelid FROM pg_index WHERE indrelid = $1::text::oid
  UNION ALL SELECT 'SEQUENCE', d.objid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE d.refclassid = 'pg_class'::regclass
    AND d.refobjid = $1::text::oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND (@replaced@)
), named AS (
  SELECT kind, oid, relnamespace AS schema, relname AS name FROM its JOIN pg_class USING (oid)
  UNION ALL SELECT 'STATISTICS', oid, stxnamespace, stxname FROM pg_statistic_ext WHERE stxrelid = $1::text::oid
)
SELECT string_agg(format('ALTER %s %I.%I RENAME TO %I', kind, nspname, name, 'stash: replaced ' || named.oid), '; '
  ORDER BY kind, name) FROM named JOIN pg_namespace n ON n.oid = schema
)sql";

/// Statements that move the table $1 (an oid) to the schema $2. Statistics that stand in its own go with it, which the
/// server leaves behind, with their names. Where a type there has its name, or that of its array type ("_name"), it
/// goes under another name: with a RENAME the server finds other names for array types.
inline constexpr char postgres_moves_sql[] = R"sql(
SELECT format(CASE WHEN EXISTS (SELECT FROM pg_type y JOIN pg_type of_array ON of_array.oid = y.typarray JOIN pg_type other
    ON other.typname IN (c.relname, of_array.typname) JOIN pg_namespace m ON m.oid = other.typnamespace
    WHERE y.oid = c.reltype AND m.nspname = $2::text)
  THEN 'ALTER TABLE %1$I.%2$I RENAME TO %4$I; ALTER TABLE %1$I.%4$I SET SCHEMA %3$I; ALTER TABLE %3$I.%4$I RENAME TO %2$I'
  ELSE 'ALTER TABLE %1$I.%2$I SET SCHEMA %3$I' END, n.nspname, c.relname, $2::text, 'stash: new ' || c.oid)
  || coalesce((SELECT string_agg(format('; ALTER STATISTICS %I.%I SET SCHEMA %I', n.nspname, stxname, $2::text), ''
  ORDER BY stxname) FROM pg_statistic_ext WHERE stxrelid = c.oid AND stxnamespace = n.oid), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::text::oid
)sql";

/// GRANTs on the table $1 (an oid), its columns, and its sequences that go with it. "@replaced@": see `postgres_texts`.
inline constexpr char postgres_rights_sql[] = R"sql(
SELECT coalesce(c.relacl::text, '-') || coalesce((SELECT string_agg(attnum || attacl::text, ' ' ORDER BY attnum)
  FROM pg_attribute WHERE attrelid = c.oid), '') || coalesce((SELECT string_agg(s.oid || s.relacl::text, ' ' ORDER BY s.oid)
  FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_attribute a ON a.attrelid = d.refobjid
  AND a.attnum = d.refobjsubid WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid =
  'pg_class'::regclass AND d.deptype IN ('a', 'i') AND (@replaced@)), '')
FROM pg_class c WHERE c.oid = $1::text::oid
)sql";

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

/// The name that `postgres_renames_sql` gives the table `oid`.
inline std::string name_aside(std::string const& oid) { return "stash: replaced " + oid; }

/// The statements that `postgres_moves_sql` found.
inline std::string moves_in(postgres_result const& found) { return found.rows() > 0 ? found.text(0, 0) : ""; }

/// Statements that move the table `oid` to another schema, under its name, with its statistics; empty: it is gone.
/// After the statements `first`, in one round trip.
inline std::string moves_of_table(postgres_connection& db, std::string const& oid, std::string const& to,
                                  operation const& op, deadline until, std::string const& first = {}) {
  return detail::moves_in(db.execute(first + "; " + detail::execute_sql(db, "stash_moves", {oid, to}), op, until));
}
inline void move_table(postgres_connection& db, std::string const& oid, std::string const& to, operation const& op,
                       deadline until) {
  db.execute(detail::moves_of_table(db, oid, to, op, until), op, until);
}

}  // namespace stash::inline v1::detail
