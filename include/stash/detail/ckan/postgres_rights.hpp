#pragma once

#include <stash/detail/ckan/postgres_catalog.hpp>
#include <stash/detail/ckan/postgres_session.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/as_owner.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/error.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>

namespace stash::inline v1::ckan::detail {

/// What a role needs to build a table that takes another's place: looked at before anything is loaded. For a
/// transaction.
class postgres_rights {
 public:
  postgres_rights(datastore_session const& session, stash::detail::postgres_connection& db,
                  stash::detail::operation const& op)
      : session_(session), db_(db), op_(op), id_(op.subject) {}

  /// It is this role's alone, whatever default privileges say: what is in it has no row security yet.
  void make_schema() const {
    std::string const name = db_.identifier(session_.beside());
    session_.run(db_, stash::detail::lock_for_rights, {session_.beside()}, op_);
    auto const found =
        session_.run(db_,
                     "SELECT pg_get_userbyid(nspowner)::text, (nspowner = (SELECT oid FROM pg_roles WHERE"
                     " rolname = current_user) OR (SELECT rolsuper FROM pg_roles r WHERE r.oid = nspowner))"
                     "::text FROM pg_namespace WHERE nspname = $1::text",
                     {session_.beside()}, op_);
    if (found.rows() > 0 && found.text(0, 1) != "true") {
      db_.fail("42501", "schema " + name + ", in which the new table is built, is role " + found.text(0, 0) + "'s",
               op_);
    }
    try {
      if (found.rows() == 0) {
        session_.run_all(db_,
                         "CREATE SCHEMA " + name + "; COMMENT ON SCHEMA " + name +
                             " IS 'stash: tables that are being built, to take the place of others'",
                         op_);
      }
    } catch (error const& problem) {
      if (problem.code() != stash::sqlstate("42501")) throw;
      throw error{problem.code(), std::string(op_.name), id_,
                  problem.detail() +
                      ": the new table is built in a schema of its own; let the database's owner say"
                      " CREATE SCHEMA " +
                      name + " AUTHORIZATION " + db_.identifier(session_.role()) +
                      ", or use keep::words, which drops the table first"};
    }
    if (found.rows() == 0) stash::detail::revoke_from_others(db_, session_.beside(), op_, session_.end());
  }
  /// Subscribers would be sent rows of a table that they do not have, and stop.
  void refuse_to_publish() const {
    auto const found = session_.run(db_, "SELECT pubname::text FROM pg_publication WHERE puballtables LIMIT 1", op_);
    if (found.rows() == 0) return;
    detail::refuse(op_, "publication \"" + found.text(0, 0) +
                            "\" is for all tables, and so for one that is being built:"
                            " name its tables, or use keep::words");
  }
  /// That the live table may be replaced, so that it is not found out after the load.
  void require_on_live() const {
    auto const found = session_.run(
        db_,
        "SELECT (pg_has_role(c.relowner, 'USAGE') AND pg_has_role(c.relowner, $3::text))::text, "
        "pg_get_userbyid(c.relowner)::text, has_schema_privilege(n.oid,"
        " 'CREATE')::text, current_user::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1::text AND c.relname = $2::text",
        {session_.schema(), id_, ::PQserverVersion(db_.get()) < 160000 ? "MEMBER" : "SET"}, op_);
    if (found.text(0, 0) != "true") {
      db_.fail("42501",
               "the table is role " + found.text(0, 1) + "'s: role " + found.text(0, 3) + " may not replace it", op_);
    }
    if (found.text(0, 2) != "true") {
      db_.fail("42501", "role " + found.text(0, 3) + " may not make tables in schema " + session_.schema(), op_);
    }
    auto const counts = session_.name_in(db_, session_.schema(), "_table_stats");
    auto const stats = session_.run(db_,
                                    "SELECT (has_table_privilege(to_regclass($1::text), 'SELECT') AND"
                                    " has_table_privilege(to_regclass($1::text), 'DELETE'))::text",
                                    {counts}, op_);
    if (!stats.is_null(0, 0) && stats.text(0, 0) != "true") {
      db_.fail("42501", "role " + found.text(0, 3) + " may not delete from " + counts + ", where CKAN keeps its count",
               op_);
    }
  }

  /// That those for whom CKAN's schema is made could use a new table: who owns `_table_metadata` writes, and who may
  /// read that reads (CKAN's "ckan datastore set-permissions"). Other tables are none of our business.
  void require_readers() const {
    std::string const table = session_.name_of(db_, id_);
    session_.run_all(db_, "SAVEPOINT stash; CREATE TABLE " + table + " (_id serial PRIMARY KEY)", op_);
    auto const found =
        session_.run(db_,
                     "SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee)::text END, (grantee = "
                     "m.relowner)::text,"
                     " current_user::text FROM pg_class m JOIN pg_namespace n ON n.oid = m.relnamespace,"
                     " aclexplode(coalesce(m.relacl, acldefault('r', m.relowner))) a"
                     " WHERE n.nspname = $1::text AND m.relname = '_table_metadata' AND privilege_type = 'SELECT'"
                     " AND CASE grantee WHEN 0 THEN false WHEN m.relowner THEN NOT pg_has_role(m.relowner, (SELECT "
                     "relowner FROM pg_class"
                     " WHERE oid = $2::text::regclass), 'USAGE') ELSE NOT has_table_privilege(grantee, "
                     "$2::text::regclass, 'SELECT') END",
                     {session_.schema(), table}, op_);
    session_.run_all(db_, "ROLLBACK TO stash; RELEASE stash", op_);
    if (found.rows() == 0) return;
    std::string const who = found.text(0, 0), we = found.text(0, 2);
    db_.fail(
        "42501",
        found.text(0, 1) == "true"
            ? "CKAN's tables are role " + who + "'s, which could not change one of role " + we + ": connect as " + who
            : "role " + who + " reads CKAN's tables, and could not read one that role " + we +
                  " makes: connect as the owner of _table_metadata, or ALTER DEFAULT PRIVILEGES",
        op_);
  }

 private:
  datastore_session const& session_;
  stash::detail::postgres_connection& db_;
  stash::detail::operation op_;
  std::string id_;
};

}  // namespace stash::inline v1::ckan::detail
