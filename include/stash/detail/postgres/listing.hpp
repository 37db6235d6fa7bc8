#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/result.hpp>
#include <stash/detail/postgres/session.hpp>
#include <stash/detail/postgres/table.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/detail/record/row.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

inline std::uint64_t number_in(std::string const& text) { return std::strtoull(text.c_str(), nullptr, 10); }

/// The row of a result that begins with version, saved_at, xxh64, payload, payload_bytes.
inline record_row row_of(postgres_result const& rows, int row) {
  return {static_cast<std::int64_t>(detail::number_in(rows.text(row, 0))), rows.view(row, 1), rows.view(row, 2),
          rows.view(row, rows.is_null(row, 3) ? 4 : 3)};
}
struct postgres_row_name {
  std::string key, set_aside;
};
struct postgres_page {
  std::vector<entry> entries;
  std::optional<postgres_row_name> last;  // nullopt: there is no more
};

/// The payloads come one by one: only one of them is in memory.
inline postgres_page page_after(postgres_table const& table, postgres_row_name const& last,
                                std::string const& rows_wanted, postgres_connection& db, operation const& op,
                                deadline until) {
  constexpr int most = 1000;
  int rows_read = 0;
  postgres_page found;
  db.run_by_row("SELECT version::text, saved_at, xxh64, payload, payload_bytes, key, set_aside, is_old::text FROM " +
                    rows_wanted + " AND (key, set_aside) > ($1, $2) ORDER BY key, set_aside LIMIT " +
                    std::to_string(most),
                {last.key, last.set_aside}, op, until, [&](postgres_result const& rows) {
                  for (int i = 0; i < rows.rows(); ++i, ++rows_read) {
                    auto const k = rows.text(i, 5), name = rows.text(i, 6);
                    auto e = detail::entry_of(detail::row_of(rows, i), k,
                                              table.shown(name.empty() ? k : name, rows.text(i, 7) == "true"));
                    if (e) found.entries.push_back(std::move(*e));
                    found.last = postgres_row_name{k, name};
                  }
                });
  if (rows_read < most) found.last.reset();
  return found;
}
/// The entries of the rows that `where` selects. In pages, between which other threads have their turn in the session.
inline std::vector<entry> list_rows(postgres_session& session, std::string_view operation_name, char const* where) {
  operation const op{operation_name, {}};
  std::vector<entry> found;
  for (std::optional<postgres_row_name> last{std::in_place}; last;) {
    postgres_page next =
        session.read_table<postgres_page>(op, [&](postgres_connection& db, auto const& table, deadline until) {
          return detail::page_after(session.table(), *last, table + where, db, op, until);
        });
    for (auto& one : next.entries) found.push_back(std::move(one));
    last = std::move(next.last);
  }
  return found;
}

}  // namespace stash::inline v1::detail
