#pragma once

#include <algorithm>
#include <cerrno>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/carry_over.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/hanging.hpp>
#include <stash/detail/sqlite/names_stay.hpp>
#include <stash/detail/sqlite/parked_texts.hpp>
#include <stash/detail/sqlite/parking.hpp>
#include <stash/detail/sqlite/sql_words.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <utility>
#include <vector>

// The steps of a table of an SQLite file as a place, a transaction each.
namespace stash::inline v1::detail {

/// What each of the others in the file says.
inline std::vector<std::string> sqlite_others(sqlite_parking const& at) {
  auto row = at.statement(
      "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema WHERE tbl_name COLLATE NOCASE NOT IN"
      " (?, ?, '_stash_parked') ORDER BY 1");
  row.bind(at.name());
  auto const parked = at.parked_name();
  row.bind(parked);
  std::vector<std::string> all;
  while (row.step()) all.push_back(row.text(0).value_or(""));
  return all;
}

inline std::string in_one_line(std::vector<std::pair<sqlite_belonging, std::string>> const& failed) {
  std::string list;
  for (auto const& [one, why] : failed) {
    list += (list.empty() ? "" : "; ") + one.type + ' ' + one.name + " (" + why + ')';
  }
  return list;
}

/// Makes on the table what was taken off it; what cannot be made stays among the texts. Returns that, as a list.
inline std::string make_whole(sqlite_parking& at, sqlite_table_text const& text) {
  auto const failed = at.make_missing(text);
  std::vector<sqlite_belonging> kept;
  for (auto const& [one, why] : failed) kept.push_back(one);
  at.texts().forget_all_but(kept);
  return detail::in_one_line(failed);
}

/// Throws `errc::mismatch` where what hangs on the table could not be made again by this connection: a function or a
/// collation may be the application's. On an empty one, for here only SQLite's understanding is in question.
inline void rehearse(sqlite_parking const& at, sqlite_table_text const& text) {
  sqlite_hanging const hanging{at.db(), at.name(), at.op()};
  at.execute("SAVEPOINT stash_rehearsal");
  if (auto const why = hanging.problem_with_running(text.sql)) at.refuse("it could not be made again: " + *why);
  auto failed = at.make_missing({text.name, text.sql, text.belongings, false});
  at.execute("ROLLBACK TO stash_rehearsal; RELEASE stash_rehearsal");
  if (!failed.empty()) at.refuse("could not be made again: " + detail::in_one_line(failed));
}

/// Frees the names of what hangs on the table, and what the planner knows of it, which goes by the name.
inline void take_off(sqlite_parking const& at, sqlite_table_text const& text) {
  for (auto const& one : text.belongings) at.execute("DROP " + one.type + ' ' + detail::sql_name(one.name));
  for (std::string const statistics : {"sqlite_stat1", "sqlite_stat4"}) {
    auto found = at.statement("SELECT 1 FROM sqlite_schema WHERE name = ?");
    if (!found.bind(statistics).step()) continue;
    at.statement("DELETE FROM " + statistics + " WHERE tbl = ? COLLATE NOCASE").bind(text.name).run();
  }
}

inline void park(sqlite_parking& at) {
  sqlite_names_stay const names{at.db(), at.op()};
  {
    sqlite_transaction all{at.db(), at.op().name, at.op().subject};
    auto const it = at.standing();
    if (at.parked()) {
      if (at.remove_standing()) return all.commit();
    } else if (it) {
      at.require_parkable(*it);
      auto const text = at.text_of(*it);
      auto const others = detail::sqlite_others(at);
      at.texts().add(text);  // beside those that somebody who put it back by hand has not made again
      detail::take_off(at, text);
      at.rename(it->name, at.parked_name());
      if (detail::sqlite_others(at) != others) at.refuse("this SQLite changes what others say when a table is renamed");
      detail::rehearse(at, text);
      return all.commit();
    }
  }
  at.sync_all();
}

/// With what is among the texts in the file. Not with the note's: nothing says whether that is of a table that was
/// settled, or that somebody dropped later.
inline void put_back(sqlite_parking& at) {
  sqlite_names_stay const names{at.db(), at.op()};
  std::string failed;
  {
    auto const reading_only = [&] {  // else it would wait for others, or fail, with nothing to do
      return at.standing() && !at.has_parked_name() && !at.texts().read().is_known();
    };
    if (reading_only()) return at.sync_all();
    sqlite_transaction all{at.db(), at.op().name, at.op().subject};
    auto text = at.texts().read();
    if (at.parked()) {
      bool const is_its = detail::sqlite_folded(text.name) == detail::sqlite_folded(at.name());
      at.remove_standing();
      at.rename(at.parked_name(), is_its ? text.name : at.name());
    } else if (!at.standing()) {
      if (text.sql.empty()) at.op().fail(ENOENT, "neither there nor parked:", at.db().file());
      at.execute(text.sql);
    }
    failed = detail::make_whole(at, text);
    all.commit();
  }
  static_cast<void>(at.above());  // else it is told that a power cut may undo this
  if (!failed.empty()) at.refuse("it was put back, but for " + failed + "; the texts stay in table _stash_parked");
}

/// Makes on a table what somebody who put it back by hand could not know of, or what could not be made then.
inline void finish(sqlite_parking& at) {
  auto const is_needed = [&] { return at.standing() && !at.has_parked_name() && at.texts().read().is_known(); };
  if (!is_needed()) return;
  std::string failed;
  {
    sqlite_transaction all{at.db(), at.op().name, at.op().subject};
    if (!is_needed()) return;
    failed = detail::make_whole(at, at.texts().read());
    all.commit();
  }
  if (!failed.empty()) at.refuse("its " + failed + " could not be made again; the texts stay in table _stash_parked");
}

/// What hung on the old one when it stood at the place: it is put there for a look.
inline sqlite_hung look_at_old(sqlite_parking const& at, sqlite_table_text const& text) {
  sqlite_hanging const hanging{at.db(), at.name(), at.op()};
  std::string const aside = "_stash_built_" + at.name();
  at.execute("SAVEPOINT stash_look");
  if (auto const built = at.standing(); built && built->type == "table") {
    at.rename(built->name, aside);
  } else {
    at.remove_standing();
  }
  at.rename(at.parked_name(), at.name());
  for (auto const& one : text.belongings) {
    if (one.type != "trigger") continue;
    at.execute("DROP TRIGGER IF EXISTS " + detail::sql_name(one.name));
    hanging.problem_with_running(one.sql);
  }
  auto hung = hanging.look();
  hung.broken_keys.erase(aside);  // where it refers to itself
  int number = 0;
  for (auto& [table, broken] : hung.broken_keys) {
    if (!broken.contains({-1, -1})) continue;
    // What it refers to may be unique by an index, which takes its time.
    for (auto const& one : text.belongings) {
      if (one.type != "index" || detail::place_of_name(detail::sql_words(one.sql)) != 3) continue;
      hanging.problem_with_running(detail::renamed(one.sql, "_stash_look_" + std::to_string(++number)));
    }
    broken = hanging.broken_keys_of(table);
  }
  at.execute("ROLLBACK TO stash_look; RELEASE stash_look");
  return hung;
}

/// `save(left)` as in `sqlite_carry_over::run`. `is_ending` is true where its last word, COMMIT, may have been heard.
template <class Save>
std::vector<left_behind> settle(sqlite_parking& at, bool may_leave, bool& is_ending, Save save) {
  sqlite_names_stay const names{at.db(), at.op()};
  {
    sqlite_transaction all{at.db(), at.op().name, at.op().subject};
    if (at.parked()) {
      static_cast<void>(at.above());  // a power cut would bring the old one back
      at.sync_file();                 // the job may have said synchronous = OFF
      auto const text = at.texts().read();
      auto hung = detail::look_at_old(at, text);
      auto const built = at.standing();
      hung.is_analyzed = text.is_analyzed && built && built->type == "table";
      sqlite_carry_over carry_over{at.db(), at.name(), at.op()};
      std::vector<sqlite_belonging> wanted;
      auto const there = sqlite_hanging{at.db(), at.name(), at.op()}.belongings();
      for (auto const& one : text.belongings) {
        auto const has_name = [&](auto const& other) {
          return other.type == one.type && detail::sqlite_folded(other.name) == detail::sqlite_folded(one.name);
        };
        auto const is_equal = [&](auto const& other) {
          return other.type == one.type && detail::make_the_same(other.sql, one.sql);
        };
        if (!built || std::any_of(there.begin(), there.end(), is_equal)) continue;
        if (std::any_of(there.begin(), there.end(), has_name)) {
          carry_over.lose({one.type + ' ' + one.name, "the new table has another one of this name", one.sql});
        } else {
          wanted.push_back(one);
        }
      }
      at.execute("DROP TABLE " + detail::sql_name(at.parked_name()));
      carry_over.run(hung, wanted, may_leave, save);
      at.texts().forget_all_but({});
      is_ending = true;
      all.commit();
      return carry_over.left();
    }
  }
  at.sync_all();
  return {};
}

}  // namespace stash::inline v1::detail
