#pragma once

#include <algorithm>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/row.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/session.hpp>
#include <stash/detail/sqlite/table.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// What selects one row of `select_rows`: a key, and the name it was set aside under, or "".
inline constexpr char one_sqlite_row[] = "WHERE key = ? AND set_aside = ?";
inline std::string select_rows(char const* where) {
  return std::string("SELECT key, set_aside, version, saved_at, xxh64, payload FROM stash ") + where;
}
/// A view of the row at which the statement stands.
inline record_row row_of(sqlite_statement const& row) {
  return {row.integer(2), row.view(3).value_or(""), row.view(4).value_or(""), row.view(5).value_or("")};
}

inline std::vector<entry> list_rows(sqlite_session& session, std::string_view operation_name, char const* where) {
  operation const op{operation_name, {}};
  auto result = session.read(op, std::vector<entry>(), [&](auto const& db) {
    std::vector<entry> found;
    session.require_whole(op);
    sqlite_statement row{db, detail::select_rows(where), op.name, op.subject};
    while (row.step()) {
      auto const k = row.view(0).value_or(""), name = row.view(1).value_or("");
      if (auto e = detail::entry_of(detail::row_of(row), k, session.shown(name.empty() ? k : name))) {
        found.push_back(std::move(*e));
      }
    }
    return found;
  });
  // Not by the database, which would take its index's word for what there is.
  auto const is_before = [](entry const& a, entry const& b) { return a.key < b.key; };
  if (!std::is_sorted(result.begin(), result.end(), is_before)) std::sort(result.begin(), result.end(), is_before);
  return result;
}

/// Throws unless `expected` stands in that row, and in no other; nullopt: there must be none. A trigger, a generated
/// column or a column's type may have changed what was written.
inline void check_written(sqlite_statement& row, key const& k, std::string_view name,
                          std::optional<record_row> const& expected, operation const& op) {
  bool const is_there = row.bind(k.str()).bind(name).step();
  bool const is_right = is_there == expected.has_value() &&
                        (!is_there || (row.view(0) == k.str() && detail::row_of(row) == *expected && !row.step()));
  row.reset();
  if (is_right) return;
  detail::refuse_table(row.connection(),
                       "its table did not take the record as it was sent; a trigger may have"
                       " changed it",
                       op);
}

}  // namespace stash::inline v1::detail
