#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/postgres_datastore.hpp>  // NOLINT(misc-header-include-cycle): it ends with this header
#include <stash/detail/ckan/postgres_catalog.hpp>
#include <stash/detail/ckan/postgres_session.hpp>
#include <stash/detail/postgres/copy.hpp>
#include <stash/detail/postgres/load_mark.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::ckan {

/// Adds rows to a table by COPY, as they come: what the server has not taken yet is at most some 128 KB. They are
/// there, and durable, when `finish` returns; without it, none.
///
///     stash::ckan::postgres_datastore::loader rows{d, "orders", fields, [](std::uint64_t bytes) { show(bytes); }};
///     rows.add({{"1", std::nullopt}});  // or rows.add_csv(bytes), as they stand in a file
///     rows.finish();
///
/// That a load was begun and not finished stands in front of the comment of the column `_id`, so that no object and no
/// process takes the table for whole: the role must own the table. Several loaders may add to one table at a time, each
/// with a datastore of its own.
///
/// Until it is finished or destroyed, the datastore must not be used for anything else. Errors as the datastore's; then
/// no row is there.
class postgres_datastore::loader {
 public:
  /// Called with the bytes of CSV that went to the server so far, each time that some went.
  using progress = std::function<void(std::uint64_t bytes)>;

  /// For rows of `columns`, in this order, which may leave out some of the table's. Locks and marks nothing yet. The
  /// datastore must outlive it. Throws 42P01 where there is no such table, 42703 where it has no such field.
  loader(postgres_datastore& d, std::string_view id, fields const& columns, progress tell = {})
      : session_(*d.session_),
        id_(id),
        columns_(columns.size()),
        tell_(std::move(tell)),
        db_(d.session_->connected(op())),
        table_(d.session_->name_for_load(db_, id, op())) {
    for (field const& f : columns) names_ += (names_.empty() ? "" : ", ") + db_.identifier(f.id);
    d.session_->run(db_, "SELECT " + names_ + " FROM " + table_ + " LIMIT 0", op());
  }
  loader(loader const&) = delete;
  loader& operator=(loader const&) = delete;
  /// Gives up what was not finished. Where rows were added, `postgres_datastore::finish` refuses the resource then,
  /// whoever calls it, until a later loader of it is finished.
  ~loader() = default;

  /// Adds one row. nullopt is NULL; else what the column's type reads from a text.
  ///
  /// Throws `errc::mismatch` where there are not as many values as fields, or CSV that was added before ends inside
  /// quotes: the row is not added. A value that the type refuses is told by `finish`. After another error the loader is
  /// only to be destroyed.
  void add(std::span<std::optional<std::string_view> const> values) {
    if (values.size() != columns_) {
      throw error{errc::mismatch, "load", id_,
                  std::to_string(values.size()) + " values for " + std::to_string(columns_) + " fields"};
    }
    copy().add(values);
  }

  /// Rows as the server's COPY reads them (https://www.postgresql.org/docs/15/sql-copy.html): no header; nothing
  /// between two commas is NULL; in a table of one column, an empty line is a row of NULL; a byte order mark is data. A
  /// line that is only `\.` is the end for a server before 18: `finish` throws then. They may be cut anywhere. Throws
  /// as `add`.
  void add_csv(std::string_view bytes) { copy().add_csv(bytes); }

  /// On return all rows survive a power cut. More may be added then, and finished again.
  ///
  /// Throws the server's error (class 22, with the line, for a value that it refuses); `errc::mismatch` where it took
  /// fewer rows than it was given; or `errc::indeterminate`: then all rows are there or none.
  void finish() {
    try {
      copy().finish();
      mark_->take_away(is_half_built() ? copy_->rows() : 0);
      all_->commit();
    } catch (...) {
      end();
      throw;
    }
    end();
  }

 private:
  operation op() const { return {"load", id_}; }

  /// The table is marked before the first row: a load of which nothing is left must show, too.
  stash::detail::postgres_copy& copy() {
    if (copy_) return *copy_;
    session_.name_for_load(db_, id_, op());  // throws where another's table has its name now
    auto const until = [this] { return session_.end(); };
    mark_.emplace(db_, table_, session_.lock_id(id_, "load"), op(), until);
    all_.emplace(session_, db_, op());
    return copy_.emplace(db_, table_ + " (" + names_ + ')', op(), until, tell_);
  }
  /// Whether rows go into a live table that is marked unfinished: what others add to it is theirs to keep.
  bool is_half_built() const {
    if (session_.built(id_) != nullptr) return false;
    auto const found = detail::find_table(session_, db_, op());
    return found && found->is_unfinished;
  }
  void end() noexcept {
    copy_.reset();
    all_.reset();
    mark_.reset();
  }

  detail::datastore_session& session_;
  std::string id_;
  std::size_t columns_;
  progress tell_;
  connection& db_;
  std::string table_, names_;
  std::optional<stash::detail::postgres_load_mark> mark_;
  std::optional<detail::datastore_transaction> all_;
  std::optional<stash::detail::postgres_copy> copy_;
};

}  // namespace stash::inline v1::ckan
