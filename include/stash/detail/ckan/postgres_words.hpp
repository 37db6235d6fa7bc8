#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/detail/ckan/postgres_catalog.hpp>
#include <stash/detail/ckan/postgres_session.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/load_mark.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>

// The statements that make a resource's table and its words.
namespace stash::inline v1::ckan::detail {

inline std::string comment_on(stash::detail::postgres_connection const& db, std::string const& table,
                              std::string_view column, std::optional<std::string> const& text) {
  return "COMMENT ON COLUMN " + table + '.' + db.identifier(column) + " IS " + (text ? db.literal(*text) : "NULL");
}
inline std::optional<std::string> comment_for(field const& f, stash::detail::operation const& op) {
  return stash::detail::about(
      op.subject, op.name, [&] { return detail::comment_of(f); }, [&] { return "field \"" + f.id + '"'; });
}

/// An empty table in `schema`, marked unfinished, with its words; CKAN's trigger that fills `_full_text`, where there
/// is its function. Without a primary key where it is built beside the live one: an index that is made of rows at once
/// takes a quarter of the time.
inline std::string create_table_sql(datastore_session const& session, stash::detail::postgres_connection& db,
                                    std::string const& schema, fields const& columns, type_names const& types,
                                    boost::json::object const& remarks, stash::detail::operation const& op) {
  std::string const table = session.name_in(db, schema, op.subject);
  std::string sql = "CREATE TABLE " + table + " (_id serial";
  sql += schema == session.schema() ? " primary key, _full_text tsvector" : ", _full_text tsvector";
  for (field const& f : columns) sql += ", " + db.identifier(f.id) + ' ' + types.at(f.type);
  sql += ')';
  for (field const& f : columns) {
    if (auto const text = detail::comment_for(f, op)) sql += "; " + detail::comment_on(db, table, f.id, text);
  }
  for (char const* const name : detail::own_columns) {
    if (auto const text = detail::remark_on(remarks, name)) sql += "; " + detail::comment_on(db, table, name, text);
  }
  std::string mark(detail::unfinished);
  if (auto const kept = detail::remark_on_table(remarks)) mark += '\n' + *kept;
  sql += "; COMMENT ON TABLE " + table + " IS " + db.literal(mark);
  auto const trigger = session.run(db,
                                   "SELECT 1::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
                                   " WHERE n.nspname = $1::text AND p.proname = 'populate_full_text_trigger'",
                                   {session.schema()}, op);
  if (trigger.rows() > 0) {
    sql += "; CREATE TRIGGER zfulltext BEFORE INSERT OR UPDATE ON " + table + " FOR EACH ROW EXECUTE FUNCTION " +
           db.identifier(session.schema()) + ".populate_full_text_trigger()";
  }
  return sql;
}

/// For a finished table of the live schema: what makes `after` of `before`, and takes the unfinished mark away.
inline std::string words_sql(datastore_session const& session, stash::detail::postgres_connection const& db,
                             table_words const& before, table_words const& after, stash::detail::operation const& op) {
  std::string const table = session.name_of(db, op.subject);
  auto const on_table = detail::remark_on_table(after.remarks);
  std::string sql = "COMMENT ON TABLE " + table + " IS " + (on_table ? db.literal(*on_table) : "NULL");
  for (std::size_t i = 0; i < after.all.size(); ++i) {
    auto const text = detail::comment_for(after.all[i], op);
    if (text != detail::comment_for(before.all[i], op))
      sql += "; " + detail::comment_on(db, table, after.all[i].id, text);
  }
  for (char const* const name : detail::own_columns) {
    auto const text = detail::remark_on(after.remarks, name);
    if (text != detail::remark_on(before.remarks, name)) sql += "; " + detail::comment_on(db, table, name, text);
  }
  return sql;
}

/// The comment of the column `_id` of `table`, with the marks of loads.
inline std::string comment_of_key(datastore_session const& session, stash::detail::postgres_connection& db,
                                  std::string const& table, stash::detail::operation const& op) {
  return session
      .run(db,
           "SELECT coalesce(col_description(attrelid, attnum), '') FROM pg_attribute WHERE attname = '_id' AND"
           " attrelid = $1::text::regclass",
           {table}, op)
      .text(0, 0);
}

/// Throws `errc::mismatch` where a load of `table` was begun that was not finished, by whomever.
inline void require_loaded(datastore_session const& session, stash::detail::postgres_connection& db,
                           std::string const& table, stash::detail::operation const& op) {
  if (!stash::detail::postgres_load_mark::is_in(detail::comment_of_key(session, db, table, op))) return;
  detail::refuse(op, "rows were added by a loader that was not finished: call its finish() at the end of a load");
}

/// In a transaction: takes away what finished loads have noted of their rows. Before it looks, it locks the table, so
/// that no load that begins now is overlooked.
inline void forget_loads(datastore_session const& session, stash::detail::postgres_connection& db,
                         stash::detail::operation const& op) {
  auto const table = session.name_of(db, op.subject);
  session.run_all(db, "LOCK TABLE " + table + " IN SHARE UPDATE EXCLUSIVE MODE", op);
  auto const comment = detail::comment_of_key(session, db, table, op);
  using mark = stash::detail::postgres_load_mark;
  if (mark::is_in(comment) || mark::rows_in(comment) == 0) return;
  std::string const rest(mark::without_marks(comment, true));
  session.run_all(db, detail::comment_on(db, table, "_id", rest.empty() ? std::nullopt : std::optional(rest)), op);
}

/// Of the live table, finished or not.
inline std::uint64_t count_rows(datastore_session const& session, stash::detail::postgres_connection& db,
                                stash::detail::operation const& op) {
  auto const table = session.name_of(db, op.subject);
  return std::stoull(session.run(db, "SELECT count(*)::text FROM " + table, op).text(0, 0));
}

/// As `postgres_datastore::drop`, or, where people's rows are kept, `drop_half_built`.
inline void drop_table(datastore_session& session, stash::detail::operation const& op, bool keeps_rows_of_others) {
  auto& db = session.connected(op);
  session.forget_built(op.subject);
  change all{session, db, op};
  auto const found = detail::find_table(session, db, op);
  if (!found) return all.commit();
  auto const table = session.name_of(db, op.subject);
  if (found->is_unfinished && keeps_rows_of_others) {
    session.run_all(db, "LOCK TABLE " + table, op);  // nobody adds to it between the count and the drop
    auto const ours = stash::detail::postgres_load_mark::rows_in(detail::comment_of_key(session, db, table, op));
    auto const rows = detail::count_rows(session, db, op);
    if (rows > ours) {
      detail::refuse(op, "the half-built table has " + stash::detail::rows_in_words(rows - ours) +
                             " that no reload has loaded: it was left as it is; reload, which replaces them, or save"
                             " them and drop the table");
    }
  }
  session.run(db, "DROP TABLE " + table, op);
  all.commit();
}

/// CKAN since 2.12 keeps a count of rows in `_table_stats`, and counts anew where it has none.
inline void forget_count(datastore_session const& session, stash::detail::postgres_connection& db,
                         stash::detail::operation const& op) {
  std::string const counts = session.name_in(db, session.schema(), "_table_stats");
  auto const found = session.run(db, "SELECT to_regclass($1::text)::text", {counts}, op);
  if (!found.is_null(0, 0))
    session.run(db, "DELETE FROM " + counts + " WHERE resource_id = $1::text", {op.subject}, op);
}

}  // namespace stash::inline v1::ckan::detail
