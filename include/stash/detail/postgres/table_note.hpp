#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>
#include <cerrno>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/belongings.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/place_session.hpp>
#include <stash/detail/postgres/table_moves.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// The columns of the table $1 (an oid).
inline constexpr char postgres_columns_sql[] = R"sql(
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull::text, pg_get_expr(d.adbin, d.adrelid),
  a.attidentity::text, a.attgenerated::text, col_description(a.attrelid, a.attnum),
  CASE WHEN a.attcollation <> y.typcollation THEN format('%I.%I', n.nspname, l.collname) END,
  (SELECT format('SEQUENCE NAME %I.%I START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s %sCYCLE', m.nspname,
    s.relname, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN '' ELSE 'NO ' END)
    FROM pg_depend o JOIN pg_class s ON s.oid = o.objid AND s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid
    JOIN pg_namespace m ON m.oid = s.relnamespace WHERE o.classid = 'pg_class'::regclass AND o.deptype = 'i' AND
    o.refclassid = 'pg_class'::regclass AND o.refobjid = a.attrelid AND o.refobjsubid = a.attnum)
FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum =
  a.attnum LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = l.collnamespace
WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
)sql";

/// Statements that make the owned sequences of the table $1 (an oid), and that make them its own; its persistence; its
/// primary key.
inline constexpr char postgres_sequences_sql[] = R"sql(
SELECT (SELECT string_agg(format('CREATE SEQUENCE %I.%I AS %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE'
    ' %s %sCYCLE', nspname, relname, format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcache,
    CASE WHEN seqcycle THEN '' ELSE 'NO ' END), '; ' ORDER BY relname) FROM its),
  (SELECT string_agg(format('ALTER SEQUENCE %I.%I OWNED BY %I.%I.%I', nspname, relname, nspname, relname_of, attname),
    '; ' ORDER BY relname) FROM its, LATERAL (SELECT c.relname AS relname_of) x),
  c.relpersistence::text,
  (SELECT format('CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid = c.oid AND
    contype = 'p')
FROM pg_class c
)sql";

/// What stands in a record of a table that was parked: for people, and for where somebody dropped the parked one too.
class postgres_table_note {
 public:
  postgres_table_note(postgres_place_session& session, postgres_connection& db, operation const& op)
      : session_(session), db_(db), op_(op) {}

  /// Of the table `oid`, which stands in `schema`. The statements are for one that stands at the place.
  boost::json::object of(std::string const& oid, std::string const& schema) const {
    auto note = about();
    boost::json::array columns;
    std::string const all = columns_of(oid, columns);
    note["columns"] = std::move(columns);
    boost::json::array create, ddl;
    for (auto const& one : makings(oid, all)) create.emplace_back(at_place(one, schema));
    auto const& reader = session_.reader();
    std::string const table = detail::qualified(db_, session_.schema(), session_.name());
    for (auto const& one : reader.own(oid, oid, table, db_.identifier(session_.schema()), op_, session_.end())) {
      bool const is_in_create = one.kind == "primary key" || one.kind == "sequence";
      if (one.make && !is_in_create) ddl.emplace_back(at_place(*one.make, schema));
    }
    for (auto const& one : reader.dependents(oid, op_, session_.end())) {
      if (auto const& make = one.ddl ? one.ddl : one.make) ddl.emplace_back(at_place(*make, schema));
    }
    note["create"] = std::move(create);
    note["ddl"] = std::move(ddl);
    return note;
  }

  /// Makes an empty table of it, with all that hung on it. In a transaction. Throws ENOENT where it tells of none.
  void make(boost::json::object const& note) const {
    auto const create = statements(note, "create");
    if (create.empty()) op_.fail(ENOENT, "neither there nor parked:", std::string(op_.subject));
    for (auto const& one : create) db_.execute(one, op_, session_.end());
    revoke_defaults();
    for (auto const& one : statements(note, "ddl")) db_.execute(one, op_, session_.end());
  }

 private:
  boost::json::object about() const {
    return {{"schema", session_.schema()}, {"name", session_.name()}, {"parked", session_.parked()}};
  }

  /// As SQL; and into `columns`.
  std::string columns_of(std::string const& oid, boost::json::array& columns) const {
    auto const found = db_.run(postgres_columns_sql, {oid}, op_, session_.end());
    std::string all;
    for (int i = 0; i < found.rows(); ++i) {
      auto const text = [&](int column) { return found.is_null(i, column) ? "" : found.text(i, column); };
      boost::json::object one{{"name", text(0)}, {"type", text(1)}};
      std::string sql = db_.identifier(text(0)) + ' ' + text(1);
      if (auto const collation = text(7); !collation.empty()) {
        one["collation"] = collation;
        sql += " COLLATE " + collation;
      }
      if (auto const identity = text(4); !identity.empty()) {
        std::string const how = identity == "a" ? "ALWAYS" : "BY DEFAULT";
        one["identity"] = how;
        sql += " GENERATED " + how + " AS IDENTITY (" + text(8) + ')';
      } else if (auto const value = text(3); !value.empty()) {
        bool const is_generated = !text(5).empty();
        one[is_generated ? "generated" : "default"] = value;
        sql += is_generated ? " GENERATED ALWAYS AS (" + value + ") STORED" : " DEFAULT " + value;
      }
      if (text(2) == "true") {
        one["not_null"] = true;
        sql += " NOT NULL";
      }
      if (!found.is_null(i, 6)) one["comment"] = text(6);
      columns.push_back(std::move(one));
      all.append(all.empty() ? "" : ", ").append(sql);
    }
    return all;
  }
  std::vector<std::string> makings(std::string const& oid, std::string columns) const {
    std::string const its =
        "WITH its AS (SELECT s.relname, n.nspname, a.attname, q.* FROM pg_depend d JOIN pg_class s ON s.oid = d.objid "
        "AND"
        " s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid JOIN"
        " pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE d.classid ="
        " 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a' AND d.refobjid ="
        " $1::text::oid)";
    auto const found =
        db_.run(its + postgres_sequences_sql + " WHERE c.oid = $1::text::oid", {oid}, op_, session_.end());
    std::vector<std::string> result;
    if (!found.is_null(0, 0)) result.push_back(found.text(0, 0));
    if (!found.is_null(0, 3)) columns.append(", ").append(found.text(0, 3));  // a key has columns
    result.push_back((found.text(0, 2) == "u" ? "CREATE UNLOGGED TABLE " : "CREATE TABLE ") +
                     detail::qualified(db_, session_.schema(), session_.name()) + " (" + columns + ')');
    if (!found.is_null(0, 1)) result.push_back(found.text(0, 1));
    return result;
  }

  /// What is written for a table in `schema`, for one at its place.
  std::string at_place(std::string sql, std::string const& schema) const {
    if (schema == session_.schema()) return sql;
    auto const names = db_.run("SELECT quote_ident($1::text) || '.', quote_ident($2::text) || '.'",
                               {schema, session_.schema()}, op_, session_.end());
    auto const from = names.text(0, 0), to = names.text(0, 1);
    for (auto at = sql.find(from); at != sql.npos; at = sql.find(from, at + to.size())) {
      sql.replace(at, from.size(), to);
    }
    return sql;
  }

  static std::vector<std::string> statements(boost::json::object const& note, std::string_view name) {
    std::vector<std::string> result;
    auto const* const found = note.if_contains(name);
    if (found == nullptr || !found->is_array()) return result;
    for (auto const& one : found->get_array()) {
      if (one.is_string()) result.emplace_back(one.get_string());
    }
    return result;
  }
  /// The grants that it had follow.
  void revoke_defaults() const {
    auto const found = db_.run(
        "SELECT string_agg(DISTINCT format('REVOKE ALL ON TABLE %I.%I FROM ', nspname, relname) || CASE grantee WHEN 0"
        " THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, '; ') FROM pg_class c JOIN pg_namespace n ON"
        " n.oid = relnamespace, aclexplode(relacl) WHERE nspname = $1::text AND relname = $2::text AND grantee <>"
        " relowner",
        {session_.schema(), session_.name()}, op_, session_.end());
    if (!found.is_null(0, 0)) db_.execute(found.text(0, 0), op_, session_.end());
  }

  postgres_place_session& session_;
  postgres_connection& db_;
  operation op_;
};

}  // namespace stash::inline v1::detail
