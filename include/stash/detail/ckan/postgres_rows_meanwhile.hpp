#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <stash/detail/ckan/postgres_session.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/system/sleep.hpp>
#include <string>

namespace stash::inline v1::ckan::detail {

/// The live table as it is while another begins to be built: so that rows are found that others add until that takes
/// its place. Where all that is added takes its `_id` from the table's own sequence, the index of `_id` tells; else
/// each row is looked at.
class postgres_rows_meanwhile {
 public:
  /// Waits for others who write to the table just now, but not for long: where one goes on, each row will be looked at.
  /// Returns a text of one line; empty: there is no table.
  static std::string noted(datastore_session const& session, stash::detail::postgres_connection& db,
                           stash::detail::operation const& op) {
    auto const found = session.run(
        db,
        "SELECT c.oid::text, coalesce(pg_relation_filenode(c.oid), 0)::text, pg_current_snapshot()::text,"
        " coalesce(pg_sequence_last_value(s.seqrelid), 0)::text, (s.seqincrement > 0 AND s.seqcache = 1 AND "
        "a.attnotnull)"
        "::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attribute a ON a.attrelid ="
        " c.oid AND a.attname = '_id' AND a.atttypid IN ('int4'::regtype, 'int8'::regtype) LEFT JOIN pg_sequence s ON"
        " s.seqrelid = pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), a.attname)::regclass"
        " WHERE n.nspname = $1::text AND c.relname = $2::text",
        {session.schema(), op.subject}, op);
    if (found.rows() == 0) return {};
    // Only now: whoever has a number up to that one, and is not there yet, is still writing.
    bool const is_quiet = nobody_writes(session, db, found.text(0, 0), op);
    std::string const last = found.text(0, 3);
    bool const is_numbered =
        is_quiet && !found.is_null(0, 4) && found.text(0, 4) == "true" && is_empty_behind(session, db, last, op);
    return found.text(0, 1) + ' ' + (is_numbered ? last : "-") + ' ' + found.text(0, 2);
  }

  /// How many rows the live table has now that it had not when `noted` was called. In a transaction that has locked it.
  static std::uint64_t count(datastore_session const& session, stash::detail::postgres_connection& db,
                             std::string const& note, stash::detail::operation const& op) {
    std::string file, last, snapshot;
    std::istringstream{note} >> file >> last >> snapshot;
    if (snapshot.empty()) return counted(session, db, session.name_of(db, op.subject), "true", op);  // there was none
    std::string const table = session.name_of(db, op.subject);
    auto const now = session.run(db, "SELECT coalesce(pg_relation_filenode($1::text::regclass), 0)::text", {table}, op);
    bool const is_same = now.text(0, 0) == file;  // else it is another one, was truncated, or rewritten
    if (is_same && last != "-") return counted(session, db, table, "_id > " + last, op);
    // Numbers of transactions are 32 bits in a row, and count from this transaction's own (age) backwards.
    std::string const ours = session.run(db, "SELECT pg_current_xact_id()::text", op).text(0, 0);
    std::string const whose = '(' + ours + " - age(xmin))";
    return counted(session, db, table,
                   "CASE WHEN " + whose + " >= " + snapshot.substr(0, snapshot.find(':')) +
                       " THEN NOT pg_visible_in_snapshot(" + whose + "::text::xid8, " + db.literal(snapshot) +
                       "::pg_snapshot) ELSE false END",
                   op);
  }

 private:
  static bool nobody_writes(datastore_session const& session, stash::detail::postgres_connection& db,
                            std::string const& oid, stash::detail::operation const& op) {
    for (auto const end = std::chrono::steady_clock::now() + std::chrono::seconds(2);;) {
      auto const found = session.run(
          db,
          "SELECT count(*)::text FROM pg_locks WHERE relation = $1::text::oid AND granted AND pid <>"
          " pg_backend_pid() AND mode = 'RowExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE"
          " datname = current_database())",
          {oid}, op);
      if (found.text(0, 0) == "0") return true;
      if (std::chrono::steady_clock::now() >= end) return false;
      stash::detail::sleep_for(std::chrono::milliseconds(50));
    }
  }
  /// Whether no row has a greater number, which somebody would have written by hand.
  static bool is_empty_behind(datastore_session const& session, stash::detail::postgres_connection& db,
                              std::string const& last, stash::detail::operation const& op) {
    auto const found = session.run(
        db, "SELECT 1::text FROM " + session.name_of(db, op.subject) + " WHERE _id > " + last + " LIMIT 1", op);
    return found.rows() == 0;
  }
  static std::uint64_t counted(datastore_session const& session, stash::detail::postgres_connection& db,
                               std::string const& table, std::string const& which, stash::detail::operation const& op) {
    auto const found = session.run(db, "SELECT count(*)::text FROM " + table + " WHERE " + which, op);
    return std::stoull(found.text(0, 0));
  }
};

}  // namespace stash::inline v1::ckan::detail
