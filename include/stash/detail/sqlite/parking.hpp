#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <boost/filesystem/path.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <limits>
#include <optional>
#include <stash/detail/files/parent.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/hanging.hpp>
#include <stash/detail/sqlite/parked_texts.hpp>
#include <stash/detail/sqlite/sql_words.hpp>
#include <stash/detail/sqlite/table.hpp>
#include <stash/detail/sqlite/table_note.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/error.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// What stands under a name in an SQLite file.
struct sqlite_object {
  std::string type, name, sql;
};

/// A table of an SQLite file as a place, seen through a connection of its own: what stands there, what is parked, and
/// the parts of each step (detail/sqlite/parking_steps.hpp). Not thread safe.
class sqlite_parking {
 public:
  /// Throws where there is no file. SQLite's own words stay: a file that others have locked longer than `wait` is
  /// SQLITE_BUSY.
  sqlite_parking(std::string const& file, std::string const& name, std::chrono::milliseconds wait, operation const& op)
      : db_(opened(file, op)), name_(name), op_(op), texts_(db_, name, op) {
    constexpr std::chrono::milliseconds longest{std::numeric_limits<int>::max()};
    ::sqlite3_busy_timeout(db_.get(),
                           static_cast<int>(std::clamp(wait, std::chrono::milliseconds{0}, longest).count()));
    // In WAL mode it is FULL; else the directory of the journal is synced, too. The mode is the user's to choose.
    execute("PRAGMA synchronous = EXTRA");
  }

  static std::string parked_name_of(std::string_view name) { return "_stash_parked_" + std::string(name); }

  sqlite_connection const& db() const noexcept { return db_; }
  operation const& op() const noexcept { return op_; }
  std::string const& name() const noexcept { return name_; }
  std::string parked_name() const { return parked_name_of(name_); }
  sqlite_parked_texts& texts() noexcept { return texts_; }
  sqlite_parked_texts const& texts() const noexcept { return texts_; }

  void execute(std::string const& sql) const { db_.execute(sql, op_.name, op_.subject); }
  sqlite_statement statement(std::string const& sql) const { return {db_, sql, op_.name, op_.subject}; }
  [[noreturn]] void refuse(std::string const& why) const { op_.fail(errc::mismatch, db_.file(), why); }

  /// A table or a view.
  std::optional<sqlite_object> find(std::string_view name) const {
    auto row = statement(
        "SELECT type, name, sql FROM sqlite_schema WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')");
    if (!row.bind(name).step()) return std::nullopt;
    return sqlite_object{row.text(0).value_or(""), row.text(1).value_or(""), row.text(2).value_or("")};
  }
  std::optional<sqlite_object> standing() const { return find(name_); }
  /// Throws `errc::mismatch` for what is called so, and was not parked. In a transaction.
  std::optional<sqlite_object> parked() const {
    auto const name = parked_name();
    auto row = statement(
        "SELECT type, name, sql FROM sqlite_schema WHERE name = ? COLLATE NOCASE ORDER BY type = 'table' DESC");
    if (!row.bind(name).step()) return std::nullopt;
    sqlite_object it{row.text(0).value_or(""), row.text(1).value_or(""), row.text(2).value_or("")};
    auto const kind = it.type == "table" ? kind_of(it.name) : it.type;
    if (kind != "table")
      refuse('"' + it.name + "\" is where it would be parked, and is no ordinary table, but " + kind);
    if (!texts_.has_place()) {
      refuse('"' + it.name + "\" was not parked, or its texts in table _stash_parked are gone: rename it by hand");
    }
    return it;
  }
  /// Whether anything is called as a parked table is.
  bool has_parked_name() const {
    auto const name = parked_name();
    return statement("SELECT 1 FROM sqlite_schema WHERE name = ? COLLATE NOCASE").bind(name).step();
  }

  /// Throws `errc::mismatch` for what cannot be parked, and the system's error where the directory cannot be opened.
  void require_parkable(sqlite_object const& it) const {
    if (it.type == "view") refuse('"' + it.name + "\" is a view, and no table");
    if (it.sql == sqlite_table_sql) refuse('"' + it.name + "\" has the records of a stash");
    auto const type = kind_of(it.name);
    if (type != "table") refuse('"' + it.name + "\" is no ordinary table, but " + type);
    // The rows of the parked table refer to the name, and so to the new one's rows: what the job deletes of those would
    // take rows of the old one along, or, by the old ones' word, could not be deleted.
    auto key = statement("SELECT 1 FROM pragma_foreign_key_list(?1) WHERE \"table\" = ?1 COLLATE NOCASE");
    if (key.bind(it.name).step())
      refuse('"' + it.name + "\" has a foreign key to itself: parked, its rows would refer to those of the new one");
    static_cast<void>(above());
  }

  /// The table with what hangs on it.
  sqlite_table_text text_of(sqlite_object const& table) const {
    sqlite_hanging const hanging{db_, table.name, op_};
    return {table.name, table.sql, hanging.belongings(), hanging.is_analyzed()};
  }

  /// The note of a table that is called `table` now.
  boost::json::object note_of(std::string_view table, sqlite_table_text const& text) const {
    boost::json::object note{
        {"file", detail::printable(db_.file(), db_.file().size())}, {"table", text.name}, {"parked", parked_name()}};
    note["columns"] = detail::columns_of(db_, table, op_);
    detail::write_text(note, text);
    note["views"] = detail::views_of(db_, name_, op_);
    return note;
  }

  // In a transaction, while `sqlite_names_stay` lives:

  /// Removes what stands at the place; whether anything did.
  bool remove_standing() const {
    auto const it = standing();
    if (it) execute("DROP " + it->type + ' ' + detail::sql_name(it->name));
    return it.has_value();
  }
  void rename(std::string_view from, std::string_view to) const {
    execute("ALTER TABLE " + detail::sql_name(from) + " RENAME TO " + detail::sql_name(to));
  }

  /// Makes what the text says and is not there. Returns what could not be made, and why.
  std::vector<std::pair<sqlite_belonging, std::string>> make_missing(sqlite_table_text const& text) const {
    sqlite_hanging const hanging{db_, name_, op_};
    auto const there = hanging.belongings();
    std::vector<std::pair<sqlite_belonging, std::string>> failed;
    for (auto const& one : text.belongings) {
      bool const stands = std::any_of(there.begin(), there.end(), [&](auto const& other) {
        return other.type == one.type && detail::sqlite_folded(other.name) == detail::sqlite_folded(one.name) &&
               detail::make_the_same(other.sql, one.sql);
      });
      if (stands) continue;
      if (auto const why = hanging.problem_with_running(one.sql)) failed.emplace_back(one, *why);
    }
    if (text.is_analyzed) execute("ANALYZE " + detail::sql_name(name_));
    return failed;
  }

  // Not in a transaction, or before one is committed:

  /// What another connection, with whatever settings, has written to the file is on the disk.
  void sync_file() const { sync(SQLITE_FCNTL_FILE_POINTER); }
  /// What an earlier process did, that may have died before its own sync, is on the disk. It takes no lock, and writes
  /// nothing.
  void sync_all() const {
    if (::sqlite3_db_readonly(db_.get(), "main") != 0) return;
    sync(SQLITE_FCNTL_FILE_POINTER);
    sync(SQLITE_FCNTL_JOURNAL_POINTER);  // the log, in WAL mode
    above().sync();                      // a journal that was removed does not come back
  }
  /// The directory of the file. Throws the system's error where it cannot be opened: SQLite commits there all the same,
  /// and does not sync that its journal is gone, so that a power cut may undo what was done.
  parent<posix_file_ops> above() const {
    boost::filesystem::path const real{::sqlite3_db_filename(db_.get(), "main")};
    return parent<posix_file_ops>::open(ops_, real.parent_path(), op_);
  }

 private:
  /// `table`, `virtual` or `shadow`.
  std::string kind_of(std::string_view table) const {
    auto kind = statement("SELECT type FROM pragma_table_list(?) WHERE schema = 'main'");
    kind.bind(table).step();
    return kind.text(0).value_or("table");
  }
  static sqlite_connection opened(std::string const& file, operation const& op) {
    try {
      return sqlite_connection{file, op.name, SQLITE_OPEN_READWRITE};
    } catch (error const& problem) {
      throw error{problem.code(), std::string(op.name), std::string(op.subject), file + ": " + problem.detail()};
    }
  }
  void sync(int which) const {
    sqlite3_file none{};
    sqlite3_file* file = &none;
    ::sqlite3_file_control(db_.get(), "main", which, static_cast<void*>(&file));
    if (file->pMethods == nullptr) return;  // there is no journal
    int const failed = file->pMethods->xSync(file, SQLITE_SYNC_FULL);
    if (failed == SQLITE_OK) return;
    throw error{{failed, sqlite_category()}, std::string(op_.name), std::string(op_.subject), db_.file()};
  }

  [[no_unique_address]] posix_file_ops ops_;
  sqlite_connection db_;
  std::string name_;
  operation op_;
  sqlite_parked_texts texts_;
};

}  // namespace stash::inline v1::detail
