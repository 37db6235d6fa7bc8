#pragma once

#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/as_owner.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/place_session.hpp>
#include <stash/detail/postgres/prepared.hpp>
#include <stash/detail/postgres/result.hpp>
#include <string>
#include <vector>

// The schemas of a place: where tables are parked, and where the new one is amid `settle`.
namespace stash::inline v1::detail {

/// What is called `name` here and there, see `postgres_look_sql`, is the last of what this returns; before it stands
/// what the statements `first` gave, in one round trip. Throws 42501 where what is there may be anybody's.
inline std::vector<postgres_result> look(postgres_connection& db, postgres_place_session const& session,
                                         std::string const& name, operation const& op, std::string const& first = {}) {
  auto all = db.execute_all(
      first + detail::execute_sql(db, "stash_look", {session.schema(), session.parked(), session.built(), name}), op,
      session.end());
  auto const& found = all.back();
  if (found.rows() > 0 && found.text(0, 0) == "refused") {
    db.fail("42501", "schema " + found.text(0, 1) + ", in which the table would be parked, " + found.text(0, 2), op);
  }
  return all;
}
/// Before anything in the schemas is believed. Throws 42501.
inline void require_own_schemas(postgres_connection& db, postgres_place_session const& session, operation const& op) {
  static_cast<void>(detail::look(db, session, "", op));
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

/// Makes the schemas, one of which is not there or not as it must be, for a table of `owner`. In a transaction.
inline void make_room(postgres_connection& db, postgres_place_session const& session, std::string const& owner,
                      operation const& op) {
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
