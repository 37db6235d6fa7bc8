#pragma once

#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/as_owner.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/place_session.hpp>
#include <string>

// The schemas of a place: where tables are parked, and where the new one is amid `settle`.
namespace stash::inline v1::detail {

/// Whoever owns such a schema could drop what is in it, and whoever may create there could put a table where a parked
/// one is looked for. So both must be somebody who may do so anyway; for a superuser, too, who is a member of all roles
/// only where he is asked. What is no such somebody, of the schemas $2 and $3 of a place in the schema $1.
inline constexpr char postgres_others_schemas_sql[] = R"sql(
WITH RECURSIVE us AS (
  SELECT oid FROM pg_roles WHERE rolname = current_user
  UNION SELECT m.roleid FROM us JOIN pg_auth_members m ON m.member = us.oid
), trusted AS (
  SELECT oid FROM us UNION SELECT oid FROM pg_roles WHERE rolsuper
  UNION SELECT datdba FROM pg_database WHERE datname = current_database()
  UNION SELECT nspowner FROM pg_namespace WHERE nspname = $1::text
), of_place AS (SELECT * FROM pg_namespace WHERE nspname IN ($2::text, $3::text))
SELECT quote_ident(nspname), format('is role %s''s', pg_get_userbyid(nspowner)) FROM of_place
  WHERE nspowner NOT IN (SELECT oid FROM trusted)
UNION ALL SELECT quote_ident(nspname), format('of role %s lets %s create what it likes', pg_get_userbyid(nspowner),
  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE 'role ' || pg_get_userbyid(grantee) END) FROM of_place, aclexplode(nspacl)
  WHERE privilege_type = 'CREATE' AND grantee <> nspowner AND grantee NOT IN (SELECT oid FROM trusted)
ORDER BY 1, 2 LIMIT 1
)sql";

/// Before anything in them is believed. Throws 42501.
inline void require_own_schemas(postgres_connection& db, postgres_place_session const& session, operation const& op) {
  auto const found =
      db.run(postgres_others_schemas_sql, {session.schema(), session.parked(), session.built()}, op, session.end());
  if (found.rows() == 0) return;
  db.fail("42501", "schema " + found.text(0, 0) + ", in which the table would be parked, " + found.text(0, 1), op);
}

inline void make_schema(postgres_connection& db, postgres_place_session const& session, std::string const& schema,
                        std::string const& remark, operation const& op) {
  auto const is_there = [&] {
    return db.run("SELECT FROM pg_namespace WHERE nspname = $1::text", {schema}, op, session.end()).rows() > 0;
  };
  if (is_there()) return;
  db.run(lock_for_rights, {schema}, op, session.end());
  if (is_there()) return;
  std::string const name = db.identifier(schema);
  db.execute("CREATE SCHEMA " + name + "; COMMENT ON SCHEMA " + name + " IS " + db.literal(remark), op, session.end());
  detail::revoke_from_others(db, schema, op, session.end());
}

/// Makes the schemas where they are not there, for a table of `owner`. In a transaction.
inline void make_room(postgres_connection& db, postgres_place_session const& session, std::string const& owner,
                      operation const& op) {
  auto const ready = db.run(
      "SELECT (count(*) = 2 AND bool_and(nspowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND"
      " (nspname <> $1::text OR has_schema_privilege($3::text, oid, 'USAGE'))))::text FROM pg_namespace WHERE nspname"
      " IN ($1::text, $2::text)",
      {session.parked(), session.built(), owner}, op, session.end());
  if (ready.text(0, 0) == "true") return;
  detail::make_schema(db, session, session.parked(),
                      "stash: tables of schema " + session.schema() +
                          " that are being replaced; ALTER TABLE ... SET SCHEMA puts one back",
                      op);
  detail::make_schema(
      db, session, session.built(),
      "stash: tables that take the place of others in schema " + session.schema() + "; empty but in between", op);
  detail::require_own_schemas(db, session, op);  // somebody may have been faster
  // Foreign keys are checked with the rights of the table's owner.
  auto const may = db.run("SELECT has_schema_privilege($1::text, $2::text, 'USAGE')::text", {owner, session.parked()},
                          op, session.end());
  if (may.text(0, 0) == "true") return;
  db.execute("GRANT USAGE ON SCHEMA " + db.identifier(session.parked()) + " TO " + db.identifier(owner), op,
             session.end());
}

}  // namespace stash::inline v1::detail
