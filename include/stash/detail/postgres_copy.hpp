#pragma once

#include <libpq-fe.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stash/detail/postgres.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// One COPY FROM STDIN of CSV, which is given up unless it is finished. What the server has not taken yet is at most
/// some 64 KB. `until` is asked for the end of each part.
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
      is_done = problem.code() == sqlstate("57014");  // that is how the server says so
    } catch (...) {
    }
    if (!is_done) db_.give_up();  // another connection is made
  }

  bool is_open() const noexcept { return is_open_; }
  bool has_rows() const noexcept { return sent_ > 0 || !buffer_.empty(); }

  void add(std::span<std::optional<std::string_view> const> values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i > 0) buffer_ += ',';
      if (values[i]) append_field(*values[i]);
    }
    buffer_ += '\n';
    if (buffer_.size() >= chunk) send();
  }
  void add_csv(std::string_view bytes) {
    for (; !bytes.empty(); bytes = bytes.substr(std::min(bytes.size(), chunk))) {
      buffer_ += bytes.substr(0, chunk);
      if (buffer_.size() >= chunk) send();
    }
  }
  void finish() {
    send();
    end(nullptr);
  }

 private:
  static constexpr std::size_t chunk = 64 << 10;
  static constexpr std::string_view special = ",\"\r\n";

  /// In quotes where it would mean something else without: an empty text is not NULL, and "\." not the end.
  void append_field(std::string_view value) {
    if (!value.empty() && value.front() != '\\' && value.find_first_of(special) == value.npos) {
      buffer_ += value;
      return;
    }
    buffer_ += '"';
    for (auto at = value.find('"'); at != value.npos; at = value.find('"')) {
      (buffer_ += value.substr(0, at + 1)) += '"';
      value.remove_prefix(at + 1);
    }
    (buffer_ += value) += '"';
  }

  void send() {
    if (buffer_.empty()) return;
    if (::PQputCopyData(db_.get(), buffer_.data(), static_cast<int>(buffer_.size())) <= 0) db_.lose(op_);
    sent_ += buffer_.size();
    buffer_.clear();
    db_.flush(op_, until_());
    if (tell_) tell_(sent_);
  }

  /// Throws what the server says of the rows: it looks at them as they come, but is asked at the end only.
  void end(char const* give_up) {
    is_open_ = false;
    if (::PQputCopyEnd(db_.get(), give_up) <= 0) db_.lose(op_);
    db_.receive(op_, until_(), [](postgres_result const&) {});
  }

  postgres_connection& db_;
  operation op_;
  std::function<deadline()> until_;
  progress tell_;
  std::string buffer_;
  std::uint64_t sent_ = 0;
  bool is_open_ = true;
};

}  // namespace stash::inline v1::detail
