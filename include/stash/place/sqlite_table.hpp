#pragma once

#include <sqlite3.h>
#include <sys/stat.h>

#include <boost/filesystem/path.hpp>
#include <boost/json/object.hpp>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stash/detail/files/absolute.hpp>
#include <stash/detail/fork.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/parking.hpp>
#include <stash/detail/sqlite/parking_steps.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/detail/text/utf8.hpp>
#include <stash/detail/values/left_behind_json.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// For `sqlite_table`. New members go last.
struct sqlite_table_options {
  std::chrono::milliseconds wait_for_file{10'000};  ///< for what others do in it, before SQLITE_BUSY
  bool leave_behind = false;  ///< true: what cannot be carried over goes, and its DDL is set aside with the record
};

/// A place: a table of an SQLite file, for code that drops it and builds it anew, through whichever connection.
///
///     stash::replace_guard guard{store, "orders", stash::sqlite_table{"/srv/shop.sqlite", "orders"}};
///     run("sqlite3 /srv/shop.sqlite < rebuild.sql");  // DROP TABLE IF EXISTS orders; CREATE TABLE orders ...
///     guard.commit();  // the old rows are gone now, not earlier; indexes, triggers and views are as they were
///
/// What is parked stands beside it as table `_stash_parked_<name>`, with its rows. Its indexes and triggers, whose
/// names the job may need, are dropped, and their texts are in table `_stash_parked` of the file, which is there as
/// long as it is needed. Views, triggers of other tables, and the foreign keys of others go by the table's name, and
/// mean the new one. While no job runs it is put back by hand with `sqlite3 -bail` and
///
///     PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; SELECT 1 FROM _stash_parked_orders LIMIT 0;
///     DROP TABLE IF EXISTS orders; ALTER TABLE _stash_parked_orders RENAME TO orders;
///
/// outside of a transaction (else `ON DELETE CASCADE` takes rows of other tables along), and `discard`, or the next
/// guard, makes its indexes and triggers again. Where nothing is parked the SELECT fails, and ends it. To park a table
/// takes as long as it takes to drop its indexes, and to put it back as long as it takes to make them.
///
/// `settle` carries over indexes, triggers and the planner's statistics, unless the new table has an equal one. What
/// the job's CREATE says of columns, types, defaults and constraints wins, as does its AUTOINCREMENT counter. Views
/// that worked must work, and foreign keys that held must hold.
///
/// Not parked, with `errc::mismatch`: views; virtual tables, and those that belong to one (unless SQLite does not know
/// its module); a table where something is called `_stash_parked_<name>` that was not parked; a table with a foreign
/// key to itself; one with an index that only the application can make (a function or a collation of its own); a
/// `CHECK` that says the table's name (SQLite's error). TEMP triggers and views of other connections go by the table's
/// name, too.
///
/// A job that turns SQLite's journal off, or its syncs, and dies may damage the file as a whole, and what is parked
/// with it.
///
/// Each step is one transaction, with a connection of its own, so that none is inherited by a forked child; a fork
/// waits for a step. It is on the disk when a step returns, whatever the journal mode, which stays as it is. So its
/// directory must let us read it (EACCES): else nothing is parked or settled; `put_back` does its work, and throws
/// that. The file must be there. Not thread safe.
class sqlite_table {
 public:
  /// File, table, parked name, columns, the CREATE text, and those of indexes, triggers and dependent views.
  using value_type = boost::json::object;

  /// A relative path is that from the working directory of now. Touches nothing. Throws EINVAL for a path that is
  /// empty, has a NUL or is an address; for a name that is empty, has a NUL, or is no UTF-8; and for one that begins
  /// with `sqlite_` or `_stash_`.
  explicit sqlite_table(boost::filesystem::path file, std::string name, sqlite_table_options options = {})
      : file_(detail::absolute(std::move(file), "sqlite_table")), name_(std::move(name)), options_(options) {
    auto const folded = detail::sqlite_folded(name_);
    if (name_.empty() || name_.find('\0') != name_.npos || !detail::is_utf8(name_) || folded.starts_with("sqlite_") ||
        folded.starts_with("_stash_")) {
      detail::operation{"sqlite_table", {}}.fail(EINVAL, "name", detail::printable(name_));
    }
  }

  /// The file, absolute.
  boost::filesystem::path const& file() const noexcept { return file_; }
  /// The table's name, as it was given.
  std::string const& name() const noexcept { return name_; }
  /// What a table is called while it is parked.
  std::string parked_name() const { return detail::sqlite_parking::parked_name_of(name_); }
  /// The same, for messages.
  std::string where() const { return file_.native() + ": table " + detail::sql_name(parked_name()); }

  // As a `place_policy`. Each throws SQLite's error with the file, SQLITE_BUSY where others lock it too long, and
  // then, unless it says so, nothing is changed.

  /// Throws `errc::mismatch` for what cannot be parked, EACCES where its directory may not be read. Makes no file.
  std::optional<value_type> live() const {
    return look("live", [](detail::sqlite_parking const& at) -> std::optional<value_type> {
      if (at.parked()) return std::nullopt;
      auto const it = at.standing();
      if (!it) return std::nullopt;
      at.require_parkable(*it);
      return at.note_of(it->name, at.text_of(*it));
    });
  }
  /// Of the parked table, with the texts in the file.
  std::optional<value_type> parked() const {
    return look("parked", [](detail::sqlite_parking const& at) -> std::optional<value_type> {
      auto const it = at.parked();
      if (!it) return std::nullopt;
      return at.note_of(it->name, at.texts().read());
    });
  }

  /// Throws `errc::mismatch` for what cannot be parked, or could not be put back.
  void park(value_type const&) {
    step("park", [](detail::sqlite_parking& at) { detail::park(at); });
  }

  /// Where nothing is parked and nothing stands at the place, an empty table is made of the texts in the file; ENOENT
  /// where there are none: a commit may have settled that there is no table, and died before it cleared the record. The
  /// note says what it was like. Throws `errc::mismatch` where an index or a trigger cannot be made again, because
  /// another table has one of its name now: then the table stands at its place all the same, and the text stays in the
  /// file.
  void put_back(value_type const&) {
    step("put_back", [](detail::sqlite_parking& at) { detail::put_back(at); });
  }

  /// Throws `errc::mismatch`, with nothing changed, where something that hung on the old table cannot be carried over
  /// and may not be left behind; a foreign key of another table never may. EACCES where its directory may not be read.
  /// `keep` may be empty. `errc::indeterminate`: the new table stands, but a power cut may bring the old one back.
  std::vector<left_behind> settle(value_type const& v, std::function<void(value_type const&)> const& keep) {
    std::vector<left_behind> known;
    for (int tries = 0;; ++tries) {
      try {
        return try_settle(known);
      } catch (not_kept& left) {
        if (tries == 10)
          op("settle").fail(errc::mismatch, file_.native(), "others change all the time what hangs on it");
        // Outside of the transaction: the stash may be in this very file. Then all is done again.
        value_type note = v;
        note["left_behind"] = detail::as_json(left.all);
        if (keep) keep(note);
        known = std::move(left.all);
      }
    }
  }

  /// Makes the indexes and triggers of a table that somebody put back by hand. Throws `errc::mismatch` where it cannot.
  void discard() {
    if (has_file("discard")) step("discard", [](detail::sqlite_parking& at) { detail::finish(at); });
  }

 private:
  struct not_kept {
    std::vector<left_behind> all;
  };
  /// While a step has the file open there is no fork: a child must not inherit a connection.
  struct forks {
    std::mutex wait;
    detail::at_fork hook{wait, [] {}, [] {}};
  };

  detail::operation op(std::string_view name) const { return {name, name_}; }

  bool has_file(std::string_view operation_name) const {
    struct stat s;
    if (::stat(file_.c_str(), &s) == 0) return true;
    if (errno != ENOENT && errno != ENOTDIR) op(operation_name).fail(errno, "stat", file_.native());
    return false;
  }
  template <class F>
  std::invoke_result_t<F, detail::sqlite_parking&> step(std::string_view operation_name, F f) const {
    if (!has_file(operation_name)) op(operation_name).fail(ENOENT, "stat", file_.native());
    std::lock_guard const no_fork{forks_->wait};
    detail::sqlite_parking at{file_.native(), name_, options_.wait_for_file, op(operation_name)};
    return f(at);
  }
  /// In one read transaction.
  template <class F>
  std::optional<value_type> look(std::string_view operation_name, F f) const {
    if (!has_file(operation_name)) return std::nullopt;
    return step(operation_name, [&](detail::sqlite_parking const& at) {
      at.execute("BEGIN");
      auto found = f(at);
      at.execute("COMMIT");
      return found;
    });
  }

  std::vector<left_behind> try_settle(std::vector<left_behind> const& known) {
    bool is_ending = false;
    try {
      return step("settle", [&](detail::sqlite_parking& at) {
        return detail::settle(at, options_.leave_behind, is_ending, [&](std::vector<left_behind> const& all) {
          if (all != known) throw not_kept{all};
        });
      });
    } catch (error const& problem) {
      // SQLite may have done it, but for the last sync: then it is to be done with, for nothing can be put back.
      if (!is_ending) throw;
      if (is_parked_after(problem)) throw;
      return known;
    }
  }
  /// Whether a settle that failed at its end has changed nothing. False: it is done, and on the disk.
  bool is_parked_after(error const& problem) const {
    try {
      if (parked()) return true;
      step("settle", [](detail::sqlite_parking const& at) { at.sync_all(); });
      return false;
    } catch (error const& again) {
      op("settle").fail(errc::indeterminate, file_.native(),
                        std::string(problem.what()) + ", and then " + again.what());
    }
  }

  boost::filesystem::path file_;
  std::string name_;
  sqlite_table_options options_;
  std::unique_ptr<forks> forks_ = std::make_unique<forks>();
};

}  // namespace stash::inline v1
