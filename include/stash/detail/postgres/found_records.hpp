#pragma once

#include <cstddef>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/result.hpp>
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

/// A change that is tried, and tried again where nobody knows whether it was done.
struct tried_change {
  found_records before{};               ///< what stood there
  std::optional<std::string> number{};  ///< of the last try's transaction; nullopt: it has written nothing
  bool was_done = false;                ///< one of the tries was committed

  /// Of the transaction in which `postgres_table::question_of_kind` was answered so.
  void note_number(postgres_result const& kind) {
    if (kind.rows() > 0 && !kind.is_null(0, 5)) number = kind.text(0, 5);
  }
  /// Asks whether the last try was committed. After a failover in which it was lost, another may have its number: a
  /// record that is not there counts as removed then, which costs a save its second try, and nobody a word.
  void find_out(postgres_connection& db, operation const& op, deadline until) {
    if (was_done || !number) return;
    auto const found = db.run(
        "SELECT CASE WHEN n < txid_snapshot_xmax(txid_current_snapshot()) THEN txid_status(n) = 'committed' END::text"
        " FROM CAST($1::text AS bigint) n",
        {*number}, op, until);
    was_done = !found.is_null(0, 0) && found.text(0, 0) == "true";
  }
  /// Whether nobody else has changed record `i` since: it is as it was, or as we made it `after`. None may stand there
  /// because none ever did, because we removed it, or because another did: all depends on whether ours was done.
  bool is_untouched(std::size_t i, std::optional<found_record> const& now,
                    std::optional<std::string> const& after) const {
    if (now) return now == before[i] || detail::checksum_of(now) == after;
    return before[i] ? !after && was_done : !after || !was_done;
  }
};

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

/// One of the records that were to be changed, and that another changed since; null: there is none.
inline key const* changed_by_another(postgres_table& table, postgres_connection& db, std::vector<change_of> const& all,
                                     tried_change& tried, operation const& op, deadline until) {
  found_records now;
  detail::standing(table, db, all, now, op, until);
  tried.find_out(db, op, until);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!tried.is_untouched(i, now[i], all[i].after)) return &all[i].k;
  }
  return nullptr;
}

}  // namespace stash::inline v1::detail
