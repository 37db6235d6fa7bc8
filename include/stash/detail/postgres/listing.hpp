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

/// What `row_of` takes: version, saved_at, xxh64, payload and payload_bytes, which are NULL where that has more bytes
/// than `most`; and whether it is of the old table, else NULL.
inline std::string record_columns(std::string const& most) {
  return "version::text, saved_at::text COLLATE \"C\", xxh64::text COLLATE \"C\", CASE WHEN octet_length(payload) <= " +
         most + " THEN payload::text COLLATE \"C\" END, CASE WHEN octet_length(payload_bytes) <= " + most +
         " THEN payload_bytes END, CASE WHEN is_old THEN 'old' END";
}
inline record_row row_of(postgres_result const& rows, int row) {
  return {static_cast<std::int64_t>(detail::number_in(rows.text(row, 0))), rows.view(row, 1), rows.view(row, 2),
          rows.view(row, rows.is_null(row, 3) ? 4 : 3)};
}
struct postgres_row_name {
  std::string key, set_aside;
};
struct postgres_pages {
  std::vector<entry> entries;
  std::optional<postgres_row_name> last;  // nullopt: there is no more
};

/// The entries of some pages of what `wanted` selects from, which ends in a condition. While one is looked through, the
/// server reads the next. A payload that is large comes alone, so that what is in memory has a bound.
inline postgres_pages pages_after(postgres_table const& table, postgres_row_name const& last, std::string const& wanted,
                                  postgres_connection& db, operation const& op, deadline until) {
  constexpr int pages = 8, most = 1000;  // rows of a page
  std::string const from = ", key::text COLLATE \"C\", nullif(set_aside, '')::text COLLATE \"C\" FROM " + wanted,
                    one_row = "SELECT " + detail::record_columns("'infinity'::float8") + from +
                              " AND key = $1 AND set_aside = $2",
                    page = "SELECT " + detail::record_columns("8192") + from +
                           " AND (key, set_aside) > ($1, $2) ORDER BY key, set_aside LIMIT " + std::to_string(most);
  auto const ask = [&](std::string_view sql, std::string_view key, std::string_view set_aside) {
    postgres_question const question{sql, {key, set_aside}};
    return db.ask_all({&question, 1}, op);
  };
  auto const answer = [&](postgres_plans::asked asked) {
    return std::move(db.answers(std::move(asked), op, until).front());
  };
  postgres_pages found{{}, last};
  auto const add = [&](postgres_result const& rows, int i) {
    auto const k = rows.view(i, 6), name = rows.view(i, 7), shown = name.empty() ? k : name;
    auto e = detail::entry_of(detail::row_of(rows, i), k, table.shown(shown, !rows.is_null(i, 5)));
    if (e) found.entries.push_back(std::move(*e));
  };
  auto next = ask(page, last.key, last.set_aside);
  for (int left = pages - 1;; --left) {
    auto const rows = answer(std::move(next));
    auto const is_large = [&](int i) { return rows.is_null(i, 3) && rows.is_null(i, 4); };
    found.last.reset();
    if (rows.rows() == most) found.last = postgres_row_name{rows.text(most - 1, 6), rows.text(most - 1, 7)};
    bool const goes_on = found.last && left > 0;
    bool has_large = false;
    for (int i = 0; i < rows.rows(); ++i) has_large = has_large || is_large(i);
    auto const ask_next = [&] { next = ask(page, found.last->key, found.last->set_aside); };
    if (goes_on && !has_large) ask_next();
    for (int i = 0; i < rows.rows(); ++i) {  // where it throws now, the next call finds the session busy, and ends it
      if (!is_large(i)) {
        add(rows, i);
      } else if (auto const alone = answer(ask(one_row, rows.view(i, 6), rows.view(i, 7))); alone.rows() > 0) {
        add(alone, 0);
      }
    }
    if (!goes_on) return found;
    if (has_large) ask_next();
  }
}
/// The entries of the rows that `where` selects. Some pages at a time, between which other threads have their turn in
/// the session.
inline std::vector<entry> list_rows(postgres_session& session, std::string_view operation_name, char const* where) {
  operation const op{operation_name, {}};
  std::vector<entry> found;
  for (std::optional<postgres_row_name> last{std::in_place}; last;) {
    postgres_pages next =
        session.read_table<postgres_pages>(op, [&](postgres_connection& db, auto const& table, deadline until) {
          return detail::pages_after(session.table(), *last, table + where, db, op, until);
        });
    for (auto& one : next.entries) found.push_back(std::move(one));
    last = std::move(next.last);
  }
  return found;
}

}  // namespace stash::inline v1::detail
