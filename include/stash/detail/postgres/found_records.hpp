#pragma once

#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/table.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <string>
#include <vector>

namespace stash::inline v1::detail {

/// What a change is about: whose record, by checksum, should stand there afterwards; nullopt: none.
struct change_of {
  key const& k;
  std::optional<std::string> after;
};
/// A record that stands there: its checksum, and which version of the row it is.
struct found_record {
  std::string checksum, version;
  friend bool operator==(found_record const&, found_record const&) = default;
};
inline std::optional<std::string> checksum_of(std::optional<found_record> const& r) {
  return r ? std::optional(r->checksum) : std::nullopt;
}
using found_records = std::vector<std::optional<found_record>>;

/// Calls `f`; where it fails since the table is none that records can be kept in, the error says so.
template <class F>
auto in_words(postgres_table const& table, postgres_connection& db, operation const& op, deadline until, F f) {
  try {
    return f();
  } catch (error const& problem) {
    if (db.is_lost() || problem.code() == errc::indeterminate) throw;
    auto const kind = table.question_of_kind();
    table.check_kind(db.run_all({&kind, 1}, op, until).front(), op);
    throw;
  }
}

/// What stands under the keys, all of them none where there is no table.
inline postgres_table::place standing(postgres_table& table, postgres_connection& db, std::vector<change_of> const& all,
                                      found_records& found, operation const& op, deadline until) {
  for (auto const& one : all) postgres_table::require_held(db, one.k, op, until);
  auto const look = [&](std::string const& rows) {
    found.clear();
    std::string const sql =
        "SELECT xxh64::text COLLATE \"C\", row_version FROM " + rows + " WHERE key = $1 AND set_aside = ''";
    std::vector<postgres_question> questions;
    for (auto const& one : all) questions.push_back({sql, {one.k.str()}});
    for (auto const& row : db.run_all(questions, op, until)) {
      found.emplace_back();
      if (row.rows() > 0) found.back().emplace(found_record{row.text(0, 0), row.text(0, 1)});
    }
  };
  found.clear();
  auto const there = detail::in_words(table, db, op, until,
                                      [&] { return table.read(db, ", r.xmin::text AS row_version", op, until, look); });
  found.resize(all.size());
  return there;
}

}  // namespace stash::inline v1::detail
