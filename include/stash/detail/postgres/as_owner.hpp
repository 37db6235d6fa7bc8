#pragma once

#include <functional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/transaction.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <string>

namespace stash::inline v1::detail {

/// Who changes the rights on a schema meets another who does ("tuple concurrently updated"), unless they take turns: to
/// the end of the transaction.
inline constexpr char lock_for_rights[] =
    "SELECT pg_advisory_xact_lock(hashtextextended('stash: ' || $1::text, 0))::text";

/// Lets `role` have tables and functions in `schema`. Not in a transaction.
inline void admit(postgres_connection& db, std::string const& schema, std::string const& role, operation const& op,
                  std::function<deadline()> const& until) {
  auto const can =
      db.run("SELECT has_schema_privilege($1::text, $2::text, 'CREATE')::text", {role, schema}, op, until());
  if (can.text(0, 0) == "true") return;
  postgres_transaction all{db, op, until};
  db.run(lock_for_rights, {schema}, op, until());
  db.execute("GRANT USAGE, CREATE ON SCHEMA " + db.identifier(schema) + " TO " + db.identifier(role), op, until());
  all.commit();
}

/// Takes from all others what default privileges gave them on a schema of this role.
inline void revoke_from_others(postgres_connection& db, std::string const& schema, operation const& op,
                               deadline until) {
  auto const others = db.run(
      "SELECT string_agg(DISTINCT format('REVOKE ALL ON SCHEMA %I FROM ', nspname) || CASE grantee WHEN 0 THEN 'PUBLIC'"
      " ELSE quote_ident(pg_get_userbyid(grantee)) END, '; ') FROM pg_namespace n, aclexplode(n.nspacl) WHERE nspname ="
      " $1::text AND grantee <> nspowner AND grantee <> (SELECT oid FROM pg_roles WHERE rolname = current_user)",
      {schema}, op, until);
  if (!others.is_null(0, 0)) db.execute(others.text(0, 0), op, until);
}

/// Statements that run `statements` with the rights of the owner of the table `oid`, who wrote what is in them, by a
/// function in `schema`: in such a one nobody can take other rights, and what is deferred runs in it, too.
inline std::string as_owner(postgres_connection& db, std::string const& schema, std::string const& oid,
                            std::string const& statements, operation const& op, deadline until) {
  auto const owner = db.run(
      "SELECT pg_get_userbyid(relowner)::text, (pg_get_userbyid(relowner) = current_user)::text FROM pg_class"
      " WHERE oid = $1::text::oid",
      {oid}, op, until);
  if (owner.text(0, 1) == "true") return statements;
  std::string const function = db.identifier(schema) + '.' + db.identifier("stash: as owner of " + oid) + "()";
  return "CREATE FUNCTION " + function + " RETURNS void LANGUAGE sql SECURITY DEFINER AS " +
         db.literal(statements + "; SET CONSTRAINTS ALL IMMEDIATE") + "; ALTER FUNCTION " + function + " OWNER TO " +
         db.identifier(owner.text(0, 0)) + "; SELECT " + function + "; DROP FUNCTION " + function;
}

}  // namespace stash::inline v1::detail
