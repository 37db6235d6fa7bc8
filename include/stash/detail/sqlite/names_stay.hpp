#pragma once

#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>

namespace stash::inline v1::detail {

/// While it lives, a table can be dropped and another be renamed to its name, and what others say of that name means
/// the new one: with SQLite's defaults of today, views and triggers would be changed with the old table, or be in the
/// way. To be made before a transaction begins, for SQLite ignores a change of foreign_keys in one.
class sqlite_names_stay {
 public:
  sqlite_names_stay(sqlite_connection const& db, operation const& op) : db_(db), op_(op) {
    sqlite_statement now{db, "PRAGMA foreign_keys", op.name, op.subject};
    now.step();
    had_foreign_keys_ = now.integer(0) != 0;
    now.reset();
    db_.execute("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON", op.name, op.subject);
  }
  sqlite_names_stay(sqlite_names_stay const&) = delete;
  sqlite_names_stay& operator=(sqlite_names_stay const&) = delete;
  ~sqlite_names_stay() {
    ::sqlite3_exec(db_.get(), "PRAGMA legacy_alter_table = OFF", nullptr, nullptr, nullptr);
    if (had_foreign_keys_) ::sqlite3_exec(db_.get(), "PRAGMA foreign_keys = ON", nullptr, nullptr, nullptr);
  }

 private:
  sqlite_connection const& db_;
  operation op_;
  bool had_foreign_keys_ = false;
};

}  // namespace stash::inline v1::detail
