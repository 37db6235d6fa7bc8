#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/detail/ckan/postgres_catalog.hpp>
#include <stash/detail/ckan/postgres_session.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/encoding.hpp>
#include <string>
#include <vector>

namespace stash::inline v1::ckan::detail {

/// As a text of an array, in hexadecimal digits: so that a character which the database lacks is met value by value.
inline std::string in_hex(std::span<std::optional<std::string> const> values) {
  constexpr char digits[] = "0123456789abcdef";
  std::string result = "{";
  for (auto const& value : values) {
    result += result.size() > 1 ? "," : "";
    if (!value) {
      result += "NULL";
      continue;
    }
    result += '"';
    for (char const c : *value) {
      auto const byte = static_cast<unsigned char>(c);
      result += digits[byte >> 4U];
      result += digits[byte & 15U];
    }
    result += '"';
  }
  return result + '}';
}

/// Which of `values` a field does not take, by their place, and why. A variable takes what COPY takes: both read the
/// text as the type does (but for regclass, which knows no numbers here).
inline std::map<std::size_t, std::string> refused_values(datastore_session const& session,
                                                         stash::detail::postgres_connection& db, field const& f,
                                                         std::span<std::optional<std::string> const> values,
                                                         stash::detail::operation const& op) {
  std::string const type = detail::types_of(session, db, {f}, op)[f.type];
  if (type == "text" && stash::detail::encoding_of(db) == "UTF8") return {};
  datastore_transaction const never_committed{session, db, op};
  session.run_all(db,
                  "CREATE FUNCTION pg_temp.stash_why_refused(hex text) RETURNS text LANGUAGE plpgsql AS " +
                      db.literal("BEGIN DECLARE taken " + type +
                                 " := convert_from(decode(hex, 'hex'), 'UTF8'); BEGIN RETURN NULL; END; EXCEPTION WHEN"
                                 " data_exception OR integrity_constraint_violation OR"
                                 " syntax_error_or_access_rule_violation THEN RETURN SQLERRM; END"),
                  op);
  auto const found =
      session.run(db,
                  "SELECT (place - 1)::text, why FROM (SELECT place, pg_temp.stash_why_refused(hex) AS why"
                  " FROM unnest($1::text::text[]) WITH ORDINALITY AS given (hex, place)"
                  " WHERE hex IS NOT NULL OFFSET 0) AS tried WHERE why IS NOT NULL",
                  {detail::in_hex(values)}, op);
  std::map<std::size_t, std::string> result;
  for (int i = 0; i < found.rows(); ++i) result.emplace(std::stoull(found.text(i, 0)), found.text(i, 1));
  return result;
}

}  // namespace stash::inline v1::ckan::detail
