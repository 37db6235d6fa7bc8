#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
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

/// The entries of what `wanted` selects from, which ends in a condition, some pages at a time. While one is looked
/// through, the server reads the next. Payloads that are large come apart, so that what is in memory has a bound.
class postgres_lister {
 public:
  postgres_lister(postgres_table const& table, std::string const& wanted, postgres_connection& db, operation const& op,
                  deadline until)
      : table_(table), db_(db), op_(op), until_(until) {
    auto const rows = [&](std::string const& most) {
      return "SELECT " + detail::record_columns(most) +
             ", key::text COLLATE \"C\", nullif(set_aside, '')::text COLLATE \"C\" FROM " + wanted + " AND ";
    };
    // Not ordered by the column of the result that is called "key" too: that may be another order.
    page_ = rows("16384") + "(key, set_aside) > ($1, $2) ORDER BY records.key, records.set_aside LIMIT " +
            std::to_string(most_rows);
    one_ = rows("1048576") + "key = $1 AND set_aside = $2";
    any_ = rows("'infinity'::float8") + "key = $1 AND set_aside = $2";
  }

  postgres_pages after(postgres_row_name const& last) {
    postgres_pages found;
    auto next = ask(page_, {last});
    for (int left = most_pages - 1;; --left) {
      auto const rows = std::move(db_.answers(std::exchange(next, {}), op_, until_).front());
      found.last.reset();
      if (rows.rows() == most_rows) found.last = name_of(rows, most_rows - 1);
      std::vector<int> large;
      for (int i = 0; i < rows.rows(); ++i) {
        if (is_large(rows, i)) large.push_back(i);
      }
      bool const goes_on = found.last && left > 0 && large.empty();
      if (goes_on) next = ask(page_, {*found.last});
      for (int i = 0; i < rows.rows(); ++i) {
        if (!is_large(rows, i)) add(found.entries, rows, i);
      }
      add_large(found.entries, rows, large);
      if (!goes_on) return found;
    }
  }
  static bool is_before(entry const& a, entry const& b) { return a.key == b.key ? a.where < b.where : a.key < b.key; }

 private:
  static constexpr int most_rows = 500, most_pages = 16;

  static bool is_large(postgres_result const& rows, int i) { return rows.is_null(i, 3) && rows.is_null(i, 4); }
  static postgres_row_name name_of(postgres_result const& rows, int i) { return {rows.text(i, 6), rows.text(i, 7)}; }

  postgres_connection::asked ask(std::string const& sql, std::vector<postgres_row_name> const& names) {
    std::vector<postgres_question> questions;
    for (auto const& one : names) questions.push_back({sql, {one.key, one.set_aside}});
    return db_.ask_all(questions, op_, until_);
  }
  void add(std::vector<entry>& to, postgres_result const& rows, int i) const {
    auto const k = rows.view(i, 6), name = rows.view(i, 7), shown = name.empty() ? k : name;
    auto e = detail::entry_of(detail::row_of(rows, i), k, table_.shown(shown, !rows.is_null(i, 5)));
    if (e) to.push_back(std::move(*e));
  }
  /// Eight at a time of up to a megabyte, and what is larger alone. One that was removed meanwhile is not listed.
  void add_large(std::vector<entry>& to, postgres_result const& rows, std::span<int const> large) {
    constexpr std::size_t together = 8;
    for (; !large.empty(); large = large.subspan(std::min(together, large.size()))) {
      std::vector<postgres_row_name> names;
      for (int const i : large.first(std::min(together, large.size()))) names.push_back(name_of(rows, i));
      for (auto const& some : db_.answers(ask(one_, names), op_, until_)) {
        if (some.rows() == 0) continue;
        if (!is_large(some, 0)) {
          add(to, some, 0);
          continue;
        }
        auto const alone = std::move(db_.answers(ask(any_, {name_of(some, 0)}), op_, until_).front());
        if (alone.rows() > 0) add(to, alone, 0);
      }
    }
  }

  postgres_table const& table_;
  postgres_connection& db_;
  operation const& op_;
  deadline until_;
  std::string page_, one_, any_;
};
/// The entries of the rows that `where` selects. Some pages at a time, between which other threads have their turn in
/// the session.
inline std::vector<entry> list_rows(postgres_session& session, std::string_view operation_name, char const* where) {
  operation const op{operation_name, {}};
  std::vector<entry> found;
  for (std::optional<postgres_row_name> last{std::in_place}; last;) {
    postgres_pages next =
        session.read_table<postgres_pages>(op, [&](postgres_connection& db, auto const& table, deadline until) {
          return postgres_lister{session.table(), table + where, db, op, until}.after(*last);
        });
    for (auto& one : next.entries) found.push_back(std::move(one));
    last = std::move(next.last);
  }
  if (!std::is_sorted(found.begin(), found.end(), postgres_lister::is_before)) {  // the column has another order
    std::sort(found.begin(), found.end(), postgres_lister::is_before);
  }
  return found;
}

}  // namespace stash::inline v1::detail
