#pragma once

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/detail/ckan/field_names.hpp>
#include <stash/detail/ckan/postgres_session.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/encoding.hpp>
#include <stash/detail/postgres/load_mark.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::ckan::detail {

inline constexpr std::string_view unfinished = "stash: unfinished";
/// So begins the mark of a table beside the live one that has all its rows, and but needs to take that one's place.
/// Behind it is what was noted of the live table when this one was begun.
inline constexpr std::string_view complete = "stash: complete ";

/// A table as it is found, with an unfinished mark or without.
struct found_table {
  bool is_unfinished = false;
  std::optional<std::string> complete_for{};  ///< it is complete, and this was noted of the live table
  fields all;
  boost::json::object remarks;
};

[[noreturn]] inline void refuse(stash::detail::operation const& op, std::string why) {
  throw error{errc::mismatch, std::string(op.name), std::string(op.subject), std::move(why)};
}

/// The mark alone, or the mark and behind it what `finish` leaves.
inline void take_table_comment(found_table& found, std::string_view text, bool is_beside) {
  if (is_beside && text.starts_with(complete)) {
    auto const end = std::min(text.find('\n'), text.size());
    found.is_unfinished = true;
    found.complete_for = text.substr(complete.size(), end - complete.size());
    text.remove_prefix(std::min(end + 1, text.size()));
    if (text.empty()) return;
  } else if (text.starts_with(unfinished)) {
    auto const rest = text.substr(unfinished.size());
    found.is_unfinished = rest.empty() || rest.front() == '\n';
    if (rest.empty()) return;
    if (found.is_unfinished) text = rest.substr(1);
    if (text.empty()) return;
  }
  found.remarks.emplace("comment", text);
}

/// nullopt: nothing of that name in the schema; by default, the live one.
inline std::optional<found_table> find_table(datastore_session const& session, stash::detail::postgres_connection& db,
                                             stash::detail::operation const& op,
                                             std::optional<std::string> const& schema = {}) {
  auto const rows =
      session.run(db,
                  "SELECT a.attname::text, CASE WHEN tn.nspname = 'pg_catalog' THEN t.typname::text"
                  " ELSE format_type(t.oid, NULL) END, col_description(c.oid, a.attnum), c.relkind::text,"
                  " obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n"
                  " ON n.oid = c.relnamespace LEFT JOIN (pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
                  " JOIN pg_namespace tn ON tn.oid = t.typnamespace)"
                  " ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
                  " WHERE n.nspname = $1::text AND c.relname = $2::text ORDER BY a.attnum",
                  {schema.value_or(session.schema()), op.subject}, op);
  if (rows.rows() == 0) return std::nullopt;
  found_table found;
  if (!rows.is_null(0, 4)) detail::take_table_comment(found, rows.text(0, 4), schema.has_value());
  bool has_id = false;
  boost::json::object others;
  for (int i = 0; i < rows.rows(); ++i) {
    std::string const name = rows.text(i, 0);
    has_id = has_id || name == "_id";
    std::optional<std::string> text;
    if (!rows.is_null(i, 2)) text = rows.text(i, 2);
    if (name.empty() || name.starts_with('_')) {
      // The mark of a load is the table's own: carried over, it would stand in the way of the new one.
      if (!text) continue;
      auto const remark = stash::detail::postgres_load_mark::without_marks(*text, found.is_unfinished);
      if (!remark.empty()) others.emplace(name, remark);
      continue;
    }
    found.all.push_back({name, rows.text(i, 1), std::nullopt, {}});
    if (text) detail::take_comment(found.all.back(), std::move(*text));
  }
  if (!others.empty()) found.remarks.emplace("columns", std::move(others));
  bool const is_table = rows.text(0, 3) == "r" || rows.text(0, 3) == "p";
  if (!is_table || !has_id) detail::refuse(op, "what has its name there is no resource: it is no table with an _id");
  return found;
}

/// Whether CKAN's own table of resources is in the schema, and lacks this one or calls it deleted.
inline bool is_deleted(datastore_session const& session, stash::detail::postgres_connection& db,
                       stash::detail::operation const& op) {
  std::string const table = session.name_in(db, session.schema(), "resource");
  auto const found = session.run(db,
                                 "SELECT count(*)::text FROM pg_attribute WHERE attrelid = to_regclass($1::text) AND"
                                 " attname IN ('id', 'package_id', 'state') AND NOT attisdropped"
                                 " AND has_table_privilege(attrelid, 'SELECT')",
                                 {table}, op);
  if (found.text(0, 0) != "3") return false;
  auto const there = session.run(
      db, "SELECT 1::text FROM " + table + " WHERE id::text = $1::text AND state::text <> 'deleted'", {op.subject}, op);
  return there.rows() == 0;
}

using type_names = std::map<std::string, std::string, std::less<>>;

/// Throws `errc::mismatch` where the database's encoding lacks a character, or would change one.
inline void require_held(datastore_session const& session, stash::detail::postgres_connection& db,
                         std::string const& text, stash::detail::operation const& op) {
  if (stash::detail::comes_back(db, text, op, session.end())) return;
  detail::refuse(op, "the database's encoding " + std::string(stash::detail::encoding_of(db)) +
                         " would change a character of " + stash::detail::quoted(text));
}

inline type_names types_of(datastore_session const& session, stash::detail::postgres_connection& db,
                           fields const& columns, stash::detail::operation const& op) {
  type_names types;
  boost::json::array names;
  for (field const& f : columns) {
    if (types.try_emplace(f.type).second) names.emplace_back(f.type);
  }
  auto const known = session.run(db,
                                 "SELECT t, format_type(to_regtype(t)::oid, -1)"
                                 " FROM json_array_elements_text($1::text::json) t",
                                 {boost::json::serialize(names)}, op);
  for (int i = 0; i < known.rows(); ++i) types[known.text(i, 0)] = known.text(i, 1);
  for (field const& f : columns) {
    if (types[f.type].empty()) detail::refuse(op, "field \"" + f.id + "\": the server has no type \"" + f.type + "\"");
  }
  return types;
}

inline std::string as_it_is(std::string_view name) { return std::string(name); }

/// The types as the server writes them, by the names that the fields have for them.
inline type_names check_table(datastore_session const& session, stash::detail::postgres_connection& db,
                              stash::detail::operation const& op, fields const& columns,
                              boost::json::object const& remarks) {
  constexpr std::size_t longest = 63;     // bytes: PostgreSQL would cut it there
  constexpr std::size_t most = 1600 - 2;  // PostgreSQL's MaxHeapAttributeNumber, and there are _id and _full_text
  detail::refuse_no_name(op.subject, "the resource id", longest, op.name, op.subject);
  detail::check_fields(columns, remarks, {most, longest, as_it_is}, op.name, op.subject);
  for (field const& f : columns) {
    if (f.comment) detail::refuse_no_text(*f.comment, "the comment of field \"" + f.id + '"', op.name, op.subject);
  }
  for (field const& f : columns) {
    stash::detail::about(
        op.subject, op.name, [&] { detail::require_held(session, db, f.id + detail::comment_of(f).value_or(""), op); },
        [&] { return "field \"" + f.id + '"'; });
  }
  return detail::types_of(session, db, columns, op);
}

}  // namespace stash::inline v1::ckan::detail
