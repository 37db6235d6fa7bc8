#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/reconnect.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// That a load of a table was begun and not finished, as the table itself knows it: a line in front of what people
/// wrote into the comment of its column `_id`, one for each such load.
///
/// While it is under way, a load has an advisory lock that it shares with others of the table. Where nobody has it, the
/// marks that are there are of loads that were given up, or died with their process, and left no rows: the next load
/// takes their place.
class postgres_load_mark {
 public:
  /// Marks `table`, in a transaction of its own: on return the mark survives a power cut. `lock` is the lock's number.
  postgres_load_mark(postgres_connection& db, std::string table, std::string const& lock, operation const& op,
                     std::function<deadline()> until)
      : db_(db), table_(std::move(table)), lock_(lock), op_(op), until_(std::move(until)) {
    run("SELECT pg_advisory_lock_shared($1::text::bigint)::text", {lock_});
    try {
      postgres_transaction all{db_, op_, until_};
      run("SELECT set_config('synchronous_commit', 'on', true)");
      std::string comment = locked_comment();
      auto const alone = run("SELECT pg_try_advisory_xact_lock($1::text::bigint)::text", {lock_});
      if (alone.text(0, 0) == "true") comment.erase(0, end_of_marks(comment));
      auto const name = run("SELECT md5(random()::text || clock_timestamp()::text || pg_backend_pid()::text)");
      line_.append(prefix).append(name.text(0, 0)).append("\n");
      write(line_ + comment);
      all.commit();
    } catch (...) {
      unlock();
      throw;
    }
  }
  postgres_load_mark(postgres_load_mark const&) = delete;
  postgres_load_mark& operator=(postgres_load_mark const&) = delete;
  /// Leaves the mark unless it was taken away.
  ~postgres_load_mark() { unlock(); }

  /// In the transaction of the rows. `rows`: how many more `rows_in` is to tell.
  void take_away(std::uint64_t rows) {
    std::string comment = locked_comment();
    if (auto const at = comment.find(line_); at != comment.npos) comment.erase(at, line_.size());
    if (rows > 0) {
      auto const end = end_of_marks(comment);
      std::string const sum = std::to_string(rows_in(comment) + rows);
      comment.replace(end, end_of_line(comment, end) - end, std::string(rows_prefix) + sum + '\n');
    }
    write(comment);
  }

  static bool is_in(std::string_view comment) noexcept { return comment.starts_with(prefix); }
  /// How many rows loads have finished that `take_away` was told of.
  static std::uint64_t rows_in(std::string_view comment) {
    auto const begin = end_of_marks(comment), end = end_of_line(comment, begin);
    if (begin == end) return 0;
    std::string const digits(comment.substr(begin + rows_prefix.size(), end - begin - rows_prefix.size()));
    return std::strtoull(digits.c_str(), nullptr, 10);
  }
  /// What people wrote behind the marks; empty: nothing. A finished table has no line of rows: one there is theirs.
  static std::string_view without_marks(std::string_view comment, bool is_unfinished) noexcept {
    auto const begin = end_of_marks(comment);
    return comment.substr(is_unfinished ? end_of_line(comment, begin) : begin);
  }

 private:
  static constexpr std::string_view prefix = "stash: a load was begun and not finished: ";
  static constexpr std::string_view rows_prefix = "stash: rows of finished loads: ";  // behind the marks

  static std::size_t end_of_marks(std::string_view comment) noexcept {
    std::size_t end = 0;
    while (is_in(comment.substr(end))) end = std::min(comment.find('\n', end), comment.size() - 1) + 1;
    return end;
  }

  /// Of the line of rows that begins at `begin`; else `begin`.
  static std::size_t end_of_line(std::string_view comment, std::size_t begin) noexcept {
    if (!comment.substr(begin).starts_with(rows_prefix)) return begin;
    auto const digits = comment.substr(begin + rows_prefix.size());
    auto const end = digits.find_first_not_of("0123456789");
    return end == digits.npos || end == 0 || digits[end] != '\n' ? begin : begin + rows_prefix.size() + end + 1;
  }

  postgres_result run(std::string const& sql, std::initializer_list<postgres_parameter> parameters = {}) const {
    return db_.run(sql, parameters, op_, until_());
  }
  /// Nobody else changes it until the transaction ends; rows may be added.
  std::string locked_comment() const {
    run("LOCK TABLE " + table_ + " IN SHARE UPDATE EXCLUSIVE MODE");
    return run("SELECT coalesce((SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attname = '_id' AND"
               " attrelid = $1::text::regclass), '')",
               {table_})
        .text(0, 0);
  }
  void write(std::string const& comment) const {
    run("COMMENT ON COLUMN " + table_ + "._id IS " + (comment.empty() ? "NULL" : db_.literal(comment)));
  }
  void unlock() noexcept {
    if (db_.is_lost()) return;
    try {
      run("SELECT pg_advisory_unlock_shared($1::text::bigint)::text", {lock_});
    } catch (...) {
      db_.give_up();
    }
  }

  postgres_connection& db_;
  std::string table_, lock_;
  operation op_;
  std::function<deadline()> until_;
  std::string line_;
};

}  // namespace stash::inline v1::detail
