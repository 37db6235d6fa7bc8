#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/sqlite_datastore.hpp>  // NOLINT(misc-header-include-cycle): it ends with this header
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/table.hpp>
#include <stash/detail/text/exact_number.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace stash::inline v1::ckan {

/// Adds rows to a table. They are durable when `finish` returns; without it those since the last 10,000th are not
/// there. From the first row on until then, other writers of the file wait.
///
/// A load is a row of `_stash_load` from before its first row on until it is finished, so that no object and no process
/// takes the table for whole in between.
///
///     stash::ckan::sqlite_datastore::loader rows{d, "orders", fields};
///     rows.add({{"1", std::nullopt}});
///     rows.finish();
class sqlite_datastore::loader {
 public:
  /// For rows of `columns`, in this order, which may leave out some of the table's. Locks nothing yet. The datastore
  /// must outlive it. Throws SQLITE_ERROR where there is no such table or field.
  loader(sqlite_datastore& d, std::string_view id, fields const& columns)
      : db_(d.catalog_.db()),
        is_utf8_(d.catalog_.is_utf8()),
        id_(id),
        table_(d.table_for_load(id)),
        build_(table_ == id ? std::nullopt : std::optional(d.builds_.find(id)->second.number)),
        insert_(db_, insert_into(table_, columns), "load", id) {
    std::map<std::string, bool> keeps_texts;  // of the numeric fields
    statement numeric{db_, "SELECT name, type = '' FROM pragma_table_info(?) WHERE type IN ('', 'NUMERIC')", "load",
                      id};
    numeric.bind(table_);
    while (numeric.step()) keeps_texts.emplace(numeric.text(0).value_or(""), numeric.integer(1) != 0);
    for (field const& f : columns) {
      auto const found = keeps_texts.find(f.id);
      columns_.push_back({f.id, found != keeps_texts.end(), found == keeps_texts.end() || found->second});
      has_numeric_ = has_numeric_ || columns_.back().is_numeric;
    }
  }
  loader(loader const&) = delete;
  loader& operator=(loader const&) = delete;
  /// Gives up what was not committed. Where rows were added, `sqlite_datastore::finish` refuses the resource then,
  /// whoever calls it, until a later loader of it is finished; where 10,000 were, until it is dropped, for the later
  /// one would add them again.
  ~loader() = default;

  /// Adds one row. nullopt is NULL; else the text, which a `numeric` field makes a number where it is one that comes
  /// back exactly: an integer of 64 bits, or up to 15 significant digits times at most 10 to the 22nd (or by it). What
  /// SQLite would change stays the text that it was.
  ///
  /// Throws `errc::mismatch` where there are not as many values as fields, where the encoding of the file (UTF-16)
  /// would change a character, and where a table of an older version, whose `numeric` fields have NUMERIC affinity,
  /// would change a number: the row is not added. After SQLite's error the loader is only to be destroyed.
  void add(std::span<std::optional<std::string_view> const> values) {
    if (values.size() != columns_.size()) {
      refuse(std::to_string(values.size()) + " values for " + std::to_string(columns_.size()) + " fields");
    }
    for (std::size_t i = 0; i < values.size() && !is_utf8_; ++i) {
      if (!values[i] || stash::detail::is_held(db_, *values[i], {"load", id_})) continue;
      refuse("row " + std::to_string(rows_ + 1) + ", field \"" + columns_[i].id +
             "\": the file's encoding, UTF-16, would change a character of it");
    }
    numbers_.clear();
    for (std::size_t i = 0; i < values.size() && has_numeric_; ++i) {
      numbers_.push_back(number_of(values[i], columns_[i]));
    }
    if (!batch_) begin_batch();
    for (std::size_t i = 0; i < values.size(); ++i) {
      has_numeric_ ? bind(values[i], numbers_[i]) : static_cast<void>(insert_.bind(values[i]));
    }
    insert_.run();
    ++rows_;
    if (++in_batch_ == 10'000) commit_batch();
  }

  /// On return all rows survive a power cut. More may be added then, and finished again. Throws SQLite's error: then
  /// those since the last 10,000th are not there once it is destroyed.
  void finish() {
    if (!load_) return;
    if (!batch_) begin_batch();
    statement{db_, "DELETE FROM _stash_load WHERE load = ?", "load", id_}.bind(*load_).run();
    commit_batch();
    load_.reset();
    has_committed_ = false;
  }

 private:
  struct column {
    std::string id;
    bool is_numeric, keeps_texts;
  };

  static std::string insert_into(std::string_view id, fields const& columns) {
    std::string names, marks;
    for (field const& f : columns) {
      names += (names.empty() ? "" : ", ") + stash::detail::sql_name(f.id);
      marks += marks.empty() ? "?" : ", ?";
    }
    return "INSERT INTO " + stash::detail::sql_name(id) + " (" + names + ") VALUES (" + marks + ")";
  }

  [[noreturn]] void refuse(std::string why) const { throw error{errc::mismatch, "load", id_, std::move(why)}; }

  using number = stash::detail::number_found;
  number number_of(std::optional<std::string_view> const& value, column const& c) const {
    if (!value || !c.is_numeric) return {};
    number const found = stash::detail::exact_number(*value);
    if (c.keeps_texts || !std::holds_alternative<stash::detail::inexact_number>(found)) return found;
    refuse("row " + std::to_string(rows_ + 1) + ", field \"" + c.id +
           "\": this table, of an older version, would change " + std::string(*value) + "; create it anew");
  }
  void bind(std::optional<std::string_view> const& value, number const& n) {
    if (auto const* const integer = std::get_if<std::int64_t>(&n)) {
      insert_.bind(*integer);
    } else if (auto const* const real = std::get_if<double>(&n)) {
      insert_.bind(*real);
    } else {
      insert_.bind(value);
    }
  }

  /// Another load that begins takes the place of one whose rows are not there yet: that one cannot be under way, or it
  /// would have the file's lock. So it is looked for again when the lock is ours.
  void begin_batch() {
    for (;;) {
      if (!load_) mark();
      batch_.emplace(db_, "load", id_);
      if (build_) require_build();
      if (statement{db_, "SELECT 1 FROM _stash_load WHERE load = ?", "load", id_}.bind(*load_).step()) return;
      batch_.reset();
      load_.reset();
      if (has_committed_) refuse("the resource was dropped while it was loaded");
    }
  }
  /// Throws `errc::mismatch` where another has built anew since.
  void require_build() const {
    statement row{db_, "SELECT finished FROM _stash_resource WHERE id = ?", "load", id_};
    if (!row.bind(table_).step() || row.integer(0) != *build_)
      refuse("what was built is gone: another has built since");
  }
  void mark() {
    stash::detail::sqlite_transaction all{db_, "load", id_};
    if (build_) require_build();
    db_.execute(
        "CREATE TABLE IF NOT EXISTS _stash_load (load INTEGER PRIMARY KEY, resource_id TEXT NOT NULL,"
        " has_rows INTEGER NOT NULL)",
        "load", id_);
    statement{db_, "DELETE FROM _stash_load WHERE resource_id = ? AND has_rows = 0", "load", id_}.bind(table_).run();
    statement{db_, "INSERT INTO _stash_load VALUES (random(), ?, 0)", "load", id_}.bind(table_).run();
    load_ = ::sqlite3_last_insert_rowid(db_.get());
    all.commit();
  }
  void commit_batch() {
    if (!has_committed_) {
      statement{db_, "UPDATE _stash_load SET has_rows = 1 WHERE load = ?", "load", id_}.bind(*load_).run();
    }
    batch_->commit();
    batch_.reset();
    in_batch_ = 0;
    has_committed_ = true;
  }

  stash::detail::sqlite_connection const& db_;
  bool is_utf8_;
  std::string id_, table_;
  std::optional<std::int64_t> build_;  // the number of what is built, where rows go there
  std::vector<column> columns_;
  bool has_numeric_ = false;
  std::optional<std::int64_t> load_;  // its row of _stash_load
  bool has_committed_ = false;        // some rows of it
  std::optional<stash::detail::sqlite_transaction> batch_;
  statement insert_;
  std::vector<number> numbers_;
  std::uint64_t rows_ = 0;
  std::size_t in_batch_ = 0;
};

}  // namespace stash::inline v1::ckan
