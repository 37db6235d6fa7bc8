#pragma once

#include <exception>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/parked_schema.hpp>
#include <stash/detail/postgres/place_session.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <string>
#include <utility>
#include <vector>

// What was half-built: it is moved out of the way first, and dropped later. So a view that somebody made on it
// meanwhile blocks nothing, and is told.
namespace stash::inline v1::detail {

/// Moves what has the oid `what`, a table of any kind or a view, with its partitions and all that is its own, to where
/// `drop_doomed` finds it. In a transaction.
inline void doom(postgres_place_session const& session, postgres_connection& db, std::string const& what,
                 operation const& op) {
  auto const moves = db.run(
      "WITH RECURSIVE tree AS (SELECT $1::text::oid AS oid UNION SELECT i.inhrelid FROM tree JOIN pg_inherits i ON"
      " i.inhparent = tree.oid JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition),"
      " its AS (SELECT c.oid, c.relnamespace AS schema, c.relname AS name, 'TABLE' AS kind FROM tree JOIN pg_class c"
      " USING (oid)"
      " UNION ALL SELECT c.oid, c.relnamespace, c.relname, 'INDEX' FROM tree JOIN pg_index i ON i.indrelid = tree.oid"
      " JOIN pg_class c ON c.oid = i.indexrelid"
      " UNION ALL SELECT c.oid, c.relnamespace, c.relname, 'SEQUENCE' FROM tree JOIN pg_depend d ON d.refobjid ="
      " tree.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a',"
      " 'i') JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'"
      " UNION ALL SELECT s.oid, stxnamespace, stxname, 'STATISTICS' FROM tree JOIN pg_statistic_ext s ON stxrelid ="
      " tree.oid)"
      // Its indexes and sequences go along with a table.
      " SELECT string_agg(format('ALTER %s %I.%I RENAME TO %I', kind, nspname, name, $2::text || its.oid) || CASE WHEN"
      " kind IN ('TABLE', 'STATISTICS') THEN format('; ALTER %s %I.%I SET SCHEMA %I', kind, nspname, $2::text ||"
      " its.oid, $3::text) ELSE '' END, '; ' ORDER BY kind = 'TABLE', its.oid)"
      " FROM its JOIN pg_namespace n ON n.oid = its.schema",
      {what, session.doomed(), session.parked()}, op, session.end());
  if (!moves.is_null(0, 0)) db.execute(moves.text(0, 0), op, session.end());
}

/// Drops what of this place was doomed, each in a transaction of its own, and throws the first error then.
inline void drop_doomed(postgres_place_session& session, operation const& op) {
  std::vector<std::string> all;
  session.run(op, [&](postgres_connection& db, postgres_patience const&) {
    all.clear();
    detail::require_own_schemas(db, session, op);
    auto const found = db.run(
        "SELECT format('DROP %s IF EXISTS %I.%I', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'"
        " WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, nspname, relname) FROM pg_class c JOIN pg_namespace n ON "
        "n.oid ="
        " c.relnamespace WHERE nspname = $1::text AND starts_with(relname, $2::text) AND relkind IN ('r', 'p', 'f', "
        "'v',"
        " 'm') AND NOT relispartition AND ($4::text = 'true' OR relname <> $3::text) ORDER BY c.oid",
        {session.parked(), session.doomed(), session.dropped(), session.has_settled() ? "true" : "false"}, op,
        session.end());
    for (int i = 0; i < found.rows(); ++i) all.push_back(found.text(i, 0));
  });
  std::exception_ptr first;
  for (auto const& one : all) {
    try {
      session.run(op, [&](postgres_connection& db, postgres_patience const& patience) {
        postgres_step step{session, db, patience, op};
        db.execute(step.first() + one, op, session.end());
        step.commit();
      });
    } catch (error const&) {
      if (!first) first = std::current_exception();
    }
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace stash::inline v1::detail
