#pragma once

#include <algorithm>
#include <boost/system/errc.hpp>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/encoding.hpp>
#include <stash/detail/postgres/name.hpp>
#include <stash/detail/postgres/reconnect.hpp>
#include <stash/detail/postgres/transaction.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// A row as it must stand at the end of a change: where in the table; nullopt: there must be none.
struct postgres_written {
  std::string key, set_aside;
  std::optional<std::string> at;
};

/// The table of one storage's records, and all SQL that depends on where it is. Not thread safe.
///
/// In the schema `stash`, which is the default, it stands in for `public.<name>`, where version 0.1 wrote: a record
/// that is there is newer than one here (each change here takes it over first), and locks have the names that they have
/// there.
class postgres_table {
 public:
  /// What is there to read.
  enum class place { nothing, old_table, table };

  postgres_table(std::string schema, std::string name) : schema_(std::move(schema)), name_(std::move(name)) {
    detail::check_postgres_name("postgres_storage", "schema", schema_);
    detail::check_postgres_name("postgres_storage", "table", name_);
  }

  static constexpr std::string_view own_schema = "stash";
  bool is_default() const noexcept { return schema_ == own_schema; }

  std::string sql(postgres_connection const& db) const { return db.identifier(schema_) + '.' + db.identifier(name_); }
  std::string shown(std::string_view row) const {
    std::string text;
    text.reserve(schema_.size() + 1 + name_.size() + 2 + row.size());
    return text.append(schema_).append(".").append(name_).append(": ").append(row);
  }
  /// As `shown`, of a row of the old table where `is_old`.
  std::string shown(std::string_view row, bool is_old) const {
    return is_old ? std::string(old_schema).append(".").append(name_).append(": ").append(row) : shown(row);
  }
  /// The number of the advisory lock of `k`.
  std::string lock_id(key const& k) const {
    std::string_view const where = is_default() ? old_schema : schema_;
    std::string const name = std::string(where) + '\0' + name_ + '\0' + k.string();
    return std::to_string(static_cast<std::int64_t>(xxh64::hash(name)));
  }

  /// To be called in each new session. Throws EINVAL where its database cannot hold the table's name.
  void start(postgres_connection& db, operation const& op, deadline until) {
    has_old_ = is_default() ? std::nullopt : std::optional(false);
    for (auto const& name : {schema_, name_}) {
      if (detail::comes_back(db, name, op, until)) continue;
      throw error{{EINVAL, boost::system::system_category()},
                  std::string(op.name),
                  name,
                  "as the name of a schema or a table it does not fit into the database's encoding"};
    }
  }

  /// Throws `errc::invalid_key` where the database's encoding cannot hold `k`.
  static void require_held(postgres_connection& db, key const& k, operation const& op, deadline until) {
    if (detail::comes_back(db, k.string(), op, until)) return;
    op.fail(errc::invalid_key, k,
            "the database's encoding " + std::string(detail::encoding_of(db)) + " cannot hold it");
  }

  /// Whether there is a table; looks for the old one, too. Throws SQLSTATE 3F000 where there is no such schema, unless
  /// it is the default one.
  bool exists(postgres_connection& db, operation const& op, deadline until) {
    auto const found = db.run(
        "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = $1::text)::text, (SELECT count(*) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname = $2::text)::text,"
        " (SELECT count(*) FROM pg_attribute WHERE attrelid = o.oid AND NOT attisdropped AND attname IN"
        " ('key', 'set_aside', 'set_aside_at', 'version', 'saved_at', 'xxh64', 'payload', 'payload_bytes'))::text,"
        " (SELECT rolname::text FROM pg_roles r WHERE r.oid = o.relowner AND NOT r.rolsuper AND"
        " NOT pg_has_role(o.relowner, 'MEMBER') AND r.oid <> (SELECT datdba FROM pg_database WHERE datname ="
        " current_database())) FROM (SELECT $1::text) AS given LEFT JOIN (SELECT c.oid, c.relowner FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $3::text AND c.relname = $2::text"
        " AND c.relkind = 'r') AS o ON true",
        {schema_, name_, old_schema}, op, until);
    has_old_ = is_default() && found.text(0, 2) == "8";
    if (has_old() && !found.is_null(0, 3)) {  // anybody may have made it, where everybody may make tables in public
      refuse(std::string(old_schema) + '.' + name_ + " looks like a stash of version 0.1, but is role " +
                 found.text(0, 3) + "'s; to use it, say postgres_options::schema = \"public\", else another schema",
             op);
    }
    if (found.text(0, 0) == "0" && !is_default()) {
      db.fail("3F000", "there is no schema " + stash::detail::quoted(schema_), op);
    }
    return found.text(0, 1) != "0";
  }
  /// Whether there may be records in the old table too.
  bool has_old() const noexcept { return has_old_.value_or(false); }

  /// Calls `f(rows)`, where `rows` is what SQL selects from: key, set_aside, version, saved_at, xxh64, payload,
  /// payload_bytes and is_old, and `more` columns. Not where there is no table.
  template <class F>
  place read(postgres_connection& db, std::string const& more, operation const& op, deadline until, F f) {
    if (!has_old_) exists(db, op, until);
    try {
      f(rows(db, more));
      return place::table;
    } catch (error const& problem) {
      if (problem.code() != stash::sqlstate("42P01")) throw;
    }
    if (exists(db, op, until)) {  // it was made just now, or the old one dropped
      f(rows(db, more));
      return place::table;
    }
    if (!has_old()) return place::nothing;
    f('(' + select(db, old_schema, more, true) + ") AS records");
    return place::old_table;
  }

  /// The names in SQL of all tables that there are, this one and the old one.
  std::vector<std::string> all(postgres_connection& db, operation const& op, deadline until) {
    std::vector<std::string> found;
    if (exists(db, op, until)) found.push_back(sql(db));
    if (has_old()) found.push_back(old_sql(db));
    return found;
  }

  /// Another may make it at the same time. In the default schema, which it makes too, it is its owner's alone.
  void make(postgres_connection& db, operation const& op, deadline until) {
    for (int tries = 1;; ++tries) {
      try {
        return make_once(db, op, until);
      } catch (error const& problem) {
        bool const is_made = is_there_already(problem.code());
        if (is_made && exists(db, op, until)) return;
        if (is_made && tries < 5) continue;  // the schema, with another table in it
        throw error{problem.code(), std::string(op.name), std::string(op.subject),
                    "making the table " + schema_ + '.' + name_ + ": " + problem.detail() + way_out(problem)};
      }
    }
  }

  /// In the transaction of a change: a record of `k` that stands in the old table moves into this one.
  void take_over(postgres_connection& db, key const& k, operation const& op, deadline until) const {
    if (!has_old()) return;
    std::string const old = old_sql(db);
    db.run("WITH moved AS (DELETE FROM " + old +
               " WHERE key = $1 AND set_aside = '' RETURNING *)"
               " INSERT INTO " +
               sql(db) +
               " (key, version, saved_at, xxh64, payload, payload_bytes)"
               " SELECT key, version, saved_at, xxh64, payload, payload_bytes FROM moved" +
               on_conflict,
           {k.str()}, op, until);
    auto const left = db.run("SELECT key FROM " + old + " WHERE key = $1 AND set_aside = ''", {k.str()}, op, until);
    if (left.rows() > 0) refuse(shown(k, true) + ": something keeps it from being moved, as a trigger does", op);
  }

  static constexpr char on_conflict[] =
      " ON CONFLICT (key, set_aside) DO UPDATE SET version = excluded.version, saved_at = excluded.saved_at,"
      " xxh64 = excluded.xxh64, payload = excluded.payload, payload_bytes = excluded.payload_bytes";

  /// Before a change of a table with triggers is committed: throws where what it wrote does not stand there, or would
  /// not stay.
  void check_written(postgres_connection& db, std::vector<postgres_written> const& all, operation const& op,
                     deadline until) const {
    db.run("SET CONSTRAINTS ALL IMMEDIATE", {}, op, until);  // so that the triggers of the end have been called
    for (auto const& one : all) {
      auto const found = db.run("SELECT ctid::text FROM " + sql(db) + " WHERE key = $1 AND set_aside = $2",
                                {one.key, one.set_aside}, op, until);
      auto const at = found.rows() > 0 ? std::optional(found.text(0, 0)) : std::nullopt;
      if (at != one.at) refuse_change(one.key, op);
    }
  }
  [[noreturn]] void refuse_change(std::string_view row, operation const& op) const {
    refuse(shown(row) + ": the table did not take it as it was sent; a trigger may have changed it", op);
  }

  /// What kind of table it is; the transaction's number. Of what that has written to, nobody can alter it before its
  /// end.
  postgres_question question_of_kind() const {
    return {
        "SELECT c.relkind::text, c.relpersistence::text, (EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhparent,"
        " inhrelid)))::text, (EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN'))"
        "::text, c.relhastriggers::text, txid_current_if_assigned()::text FROM pg_class c JOIN pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname = $2::text",
        {schema_, name_}};
  }
  /// Throws where it is not a table that keeps what is written to it. Whether it has triggers.
  bool check_kind(postgres_result const& found, operation const& op) const {
    if (found.rows() == 0) return true;
    auto const refuse_if = [&](bool is_bad, char const* why) {
      if (is_bad) refuse("the table " + schema_ + '.' + name_ + why, op);
    };
    refuse_if(found.text(0, 0) != "r",
              " is no table but a view or the like: what became of a record nobody could tell");
    refuse_if(found.text(0, 1) != "p",
              " is unlogged: a crash of the server would empty it; ALTER TABLE ... SET LOGGED");
    refuse_if(found.text(0, 2) != "false", " inherits or is inherited: a record could stand twice");
    refuse_if(found.text(0, 3) != "false", " has rules, which may drop what is written");
    return found.text(0, 4) != "false";
  }

 private:
  static constexpr std::string_view old_schema = "public";

  std::string old_sql(postgres_connection const& db) const {
    return db.identifier(old_schema) + '.' + db.identifier(name_);
  }

  [[noreturn]] static void refuse(std::string const& why, operation const& op) {
    throw error{boost::system::errc::make_error_code(boost::system::errc::operation_not_supported),
                std::string(op.name), std::string(op.subject), why};
  }

  std::string select(postgres_connection const& db, std::string_view schema, std::string const& more,
                     bool is_old) const {
    return "SELECT key, set_aside, version, saved_at, xxh64, payload, payload_bytes, " +
           std::string(is_old ? "true" : "false") + " AS is_old" + more + " FROM " + db.identifier(schema) + '.' +
           db.identifier(name_) + " AS r";
  }
  std::string rows(postgres_connection const& db, std::string const& more) const {
    std::string const here = select(db, schema_, more, false);
    if (!has_old()) return '(' + here + ") AS records";
    return '(' + select(db, old_schema, more, true) + " UNION ALL " + here + " WHERE NOT EXISTS (SELECT FROM " +
           old_sql(db) + " AS o WHERE o.key = r.key AND o.set_aside = r.set_aside)) AS records";
  }

  static bool is_there_already(boost::system::error_code const& code) {
    for (char const* const made : {"42P06", "42P07", "42710", "23505"}) {
      if (code == stash::sqlstate(made)) return true;
    }
    return false;
  }
  void make_once(postgres_connection& db, operation const& op, deadline until) const {
    postgres_transaction all{db, op, [=] { return until; }};
    if (is_default()) make_schema(db, op, until);
    db.run("CREATE TABLE " + sql(db) +
               " (key text COLLATE \"C\" NOT NULL, set_aside text COLLATE \"C\" NOT NULL DEFAULT '',"
               " set_aside_at text COLLATE \"C\", version integer NOT NULL, saved_at text NOT NULL,"
               " xxh64 text NOT NULL, payload text, payload_bytes bytea,"
               " CHECK ((payload IS NULL) <> (payload_bytes IS NULL)), PRIMARY KEY (key, set_aside))",
           {}, op, until);
    if (is_default()) {
      revoke(db, "TABLE " + sql(db),
             "c.relacl, c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
             " WHERE n.nspname = $1::text AND c.relname = $2::text",
             op, until);
    }
    all.commit();
  }
  void make_schema(postgres_connection& db, operation const& op, deadline until) const {
    auto const found = db.run("SELECT nspname::text FROM pg_namespace WHERE nspname = $1::text", {schema_}, op, until);
    if (found.rows() > 0) return;
    db.run("CREATE SCHEMA " + db.identifier(schema_), {}, op, until);
    revoke(db, "SCHEMA " + db.identifier(schema_),
           "n.nspacl, n.nspowner FROM pg_namespace n WHERE n.nspname = $1::text AND $2::text <> ''", op, until);
  }
  /// Takes back what default privileges gave to others, as those do that CKAN has for its read-only role.
  void revoke(postgres_connection& db, std::string const& object, std::string const& its_rights, operation const& op,
              deadline until) const {
    auto const others = db.run(
        "SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
        " FROM (SELECT " +
            its_rights + ") AS t (rights, owner), aclexplode(t.rights) AS a WHERE a.grantee <> t.owner",
        {schema_, name_}, op, until);
    for (int i = 0; i < others.rows(); ++i) {
      db.run("REVOKE ALL ON " + object + " FROM " + others.text(i, 0), {}, op, until);
    }
  }
  std::string way_out(error const& problem) const {
    if (!is_default() || problem.code() != stash::sqlstate("42501")) return {};
    return "; let the database's owner say CREATE SCHEMA stash AUTHORIZATION <this role>, or GRANT CREATE ON DATABASE,"
           " or give postgres_options a schema in which this role may make a table, such as \"public\"";
  }

  std::string const schema_, name_;
  std::optional<bool> has_old_;  // nullopt: this session has not looked yet
};

}  // namespace stash::inline v1::detail
