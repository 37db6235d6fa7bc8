#pragma once

#include <libpq-fe.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/int_size.hpp>
#include <stash/detail/postgres/reconnect.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// Counts the rows of CSV as the server's COPY tells them apart, however the text is cut: a row ends at an LF, a CR or
/// a CRLF that is not in quotes. What the server reads otherwise, it refuses.
class csv_row_count {
 public:
  void look_at(std::string_view bytes) noexcept {
    for (char const c : bytes) {
      if (c == '"') is_quoted_ = !is_quoted_;
      bool const is_end = !is_quoted_ && (c == '\n' || c == '\r');
      bool const is_rest = c == '\n' && is_after_cr_;  // of a CRLF
      if (is_end && !is_rest) ++ends_;
      is_after_cr_ = is_end && c == '\r';
      is_in_row_ = !is_end;
    }
  }
  bool is_quoted() const noexcept { return is_quoted_; }
  bool is_in_row() const noexcept { return is_in_row_; }
  std::uint64_t rows() const noexcept { return ends_ + (is_in_row_ ? 1 : 0); }

 private:
  std::uint64_t ends_ = 0;
  bool is_quoted_ = false, is_after_cr_ = false, is_in_row_ = false;
};

/// One COPY FROM STDIN of CSV, which is given up unless it is finished. What the server has not taken yet is at most
/// some 128 KB, however long a row is. `until` is asked for the end of each part.
class postgres_copy {
 public:
  /// Called with the bytes of CSV that went to the server so far, each time that some went.
  using progress = std::function<void(std::uint64_t bytes)>;

  /// `into` is a table with its columns, as SQL.
  postgres_copy(postgres_connection& db, std::string const& into, operation const& op, std::function<deadline()> until,
                progress tell)
      : db_(db), op_(op), until_(std::move(until)), tell_(std::move(tell)) {
    db_.run("COPY " + into + " FROM STDIN (FORMAT csv)", {}, op_, until_());
  }
  postgres_copy(postgres_copy const&) = delete;
  postgres_copy& operator=(postgres_copy const&) = delete;
  ~postgres_copy() {
    if (!is_open_ || db_.is_lost()) return;
    bool is_done = false;
    try {
      end("given up");
    } catch (error const& problem) {
      is_done = problem.code() == stash::sqlstate("57014");  // that is how the server says so
    } catch (...) {
    }
    if (!is_done) db_.give_up();  // another connection is made
  }

  /// Throws `errc::mismatch` where the CSV before it ends inside quotes.
  void add(std::span<std::optional<std::string_view> const> values) {
    if (given_.is_quoted()) refuse("the CSV that was given before ends inside quotes");
    if (given_.is_in_row()) append("\n");
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i > 0) append(",");
      if (values[i]) append_field(*values[i]);
    }
    append("\n");
  }
  void add_csv(std::string_view bytes) { append(bytes); }

  /// That were given.
  std::uint64_t rows() const noexcept { return given_.rows(); }

  /// Throws what the server says of the rows, and `errc::mismatch` where it did not take as many as it was given.
  void finish() {
    send();
    end(nullptr);
    if (taken_ == std::to_string(rows())) return;
    refuse("the server took " + taken_ + " of the " + std::to_string(given_.rows()) +
           " rows that it was given: a line that is only \\. ends the rows for it (before PostgreSQL 18), a trigger of"
           " the table may leave some out");
  }

 private:
  static constexpr std::size_t chunk = 64 << 10;
  static constexpr std::string_view special = ",\"\r\n";

  [[noreturn]] void refuse(std::string why) const {
    throw error{errc::mismatch, std::string(op_.name), std::string(op_.subject), std::move(why)};
  }

  /// In quotes where it would mean something else without: an empty text is not NULL, and "\." not the end.
  void append_field(std::string_view value) {
    if (!value.empty() && value.front() != '\\' && value.find_first_of(special) == value.npos) {
      append(value);
      return;
    }
    append("\"");
    for (auto at = value.find('"'); at != value.npos; at = value.find('"')) {
      append(value.substr(0, at + 1));
      append("\"");
      value.remove_prefix(at + 1);
    }
    append(value);
    append("\"");
  }
  void append(std::string_view bytes) {
    for (std::size_t n = 0; !bytes.empty(); bytes.remove_prefix(n)) {
      n = std::min(bytes.size(), chunk);
      given_.look_at(bytes.substr(0, n));
      buffer_ += bytes.substr(0, n);
      if (buffer_.size() >= chunk) send();
    }
  }

  void send() {
    if (buffer_.empty()) return;
    if (::PQputCopyData(db_.get(), buffer_.data(), detail::int_size(buffer_.size(), op_)) <= 0) db_.lose(op_);
    sent_ += buffer_.size();
    buffer_.clear();
    db_.flush(op_, until_());
    if (tell_) tell_(sent_);
  }

  /// Throws what the server says of the rows: it looks at them as they come, but is asked at the end only.
  void end(char const* give_up) {
    is_open_ = false;
    if (::PQputCopyEnd(db_.get(), give_up) <= 0) db_.lose(op_);
    db_.receive(op_, until_(), [&](postgres_result const& done) { taken_ = ::PQcmdTuples(done.get()); });
  }

  postgres_connection& db_;
  operation op_;
  std::function<deadline()> until_;
  progress tell_;
  std::string buffer_;
  csv_row_count given_;
  std::string taken_;  // rows, as the server says
  std::uint64_t sent_ = 0;
  bool is_open_ = true;
};

}  // namespace stash::inline v1::detail
