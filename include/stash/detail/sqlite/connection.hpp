#pragma once

#include <sqlite3.h>

#include <boost/system/errc.hpp>
#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/error_condition.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/detail/system/sleep.hpp>
#include <stash/detail/system/standard_descriptors.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/detail/text/utf8.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// SQLite's result codes (https://sqlite.org/rescode.html).
class sqlite_category_type final : public boost::system::error_category {
 public:
  constexpr sqlite_category_type() noexcept : error_category(0x57a5'4c0d'e9b1'6e03ULL) {}
  char const* name() const noexcept override { return "sqlite"; }
  std::string message(int code) const override { return ::sqlite3_errstr(code); }
  boost::system::error_condition default_error_condition(int code) const noexcept override {
    namespace os = boost::system::errc;
    int const primary = code & 0xff;  // of an extended one
    if (primary == SQLITE_FULL) return os::make_error_condition(os::no_space_on_device);
    if (primary == SQLITE_READONLY) return os::make_error_condition(os::read_only_file_system);
    if (primary == SQLITE_PERM) return os::make_error_condition(os::permission_denied);
    if (primary == SQLITE_IOERR) return os::make_error_condition(os::io_error);
    return error_category::default_error_condition(code);
  }
};

inline boost::system::error_category const& sqlite_category() noexcept {
  static constexpr sqlite_category_type instance;
  return instance;
}

/// `name` as an identifier in SQL.
inline std::string sql_name(std::string_view name) {
  std::string out = "\"";
  for (char const c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out += '"';
}

/// `file` as the path of a URI.
inline std::string uri_of(std::string_view file) {
  std::string out = "file:";
  for (char const c : file) {
    if (c == '%' || c == '?' || c == '#') {
      out += '%';
      detail::append_hex(out, static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

/// One connection. Not thread safe.
class sqlite_connection {
 public:
  /// Makes the file where there is none, unless `flags` say otherwise. `shown` is for messages, where `file` is a URI.
  explicit sqlite_connection(std::string const& file, std::string_view operation = "open",
                             int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, std::string const& shown = {})
      : file_(shown.empty() ? file : shown) {
    occupy_standard_descriptors();  // SQLite looks too (SQLITE_MINIMUM_FILE_DESCRIPTOR), but after it has opened
    int const failed = ::sqlite3_open_v2(file.c_str(), &db_, flags, nullptr);
    if (failed != SQLITE_OK) {
      std::string const why = db_ != nullptr ? ::sqlite3_errmsg(db_) : "out of memory";
      ::sqlite3_close(db_);
      throw error{{failed, sqlite_category()}, std::string(operation), file_, why};
    }
    ::sqlite3_extended_result_codes(db_, 1);
  }
  sqlite_connection(sqlite_connection&& other) noexcept
      : file_(std::move(other.file_)), db_(std::exchange(other.db_, nullptr)) {}
  sqlite_connection& operator=(sqlite_connection&&) = delete;
  ~sqlite_connection() {
    no_cancel const whole;
    ::sqlite3_close(db_);
  }

  sqlite3* get() const noexcept { return db_; }
  std::string const& file() const noexcept { return file_; }
  /// Lets go of it without closing: in a forked child, closing would take the parent's locks for its own.
  void abandon() noexcept { db_ = nullptr; }

  [[noreturn]] void fail(std::string_view operation, std::string_view subject) const {
    boost::system::error_code const code{::sqlite3_extended_errcode(db_), sqlite_category()};
    std::string const said = ::sqlite3_errmsg(db_);  // mostly more than the code says, but not always
    throw error{code, std::string(operation), std::string(subject),
                said == code.message() ? file_ : file_ + ": " + said};
  }

  void execute(std::string const& sql, std::string_view operation, std::string_view subject) const {
    if (::sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) fail(operation, subject);
  }

 private:
  std::string file_;
  sqlite3* db_ = nullptr;
};

/// A prepared statement: `bind` each parameter in order, then `step` until it says false.
class sqlite_statement {
 public:
  sqlite_statement(sqlite_connection const& db, std::string const& sql, std::string_view operation,
                   std::string_view subject)
      : db_(db), operation_(operation), subject_(subject) {
    if (::sqlite3_prepare_v2(db.get(), sql.c_str(), -1, &statement_, nullptr) != SQLITE_OK) fail();
  }
  sqlite_statement(sqlite_statement const&) = delete;
  sqlite_statement& operator=(sqlite_statement const&) = delete;
  ~sqlite_statement() { ::sqlite3_finalize(statement_); }

  /// nullopt binds NULL. The text must live until the last `step`.
  sqlite_statement& bind(std::optional<std::string_view> text) {
    return bound(text ? ::sqlite3_bind_text64(statement_, ++bound_, text->data() != nullptr ? text->data() : "",
                                              text->size(), SQLITE_STATIC, SQLITE_UTF8)
                      : ::sqlite3_bind_null(statement_, ++bound_));
  }
  /// As a blob. It must live until the last `step`.
  sqlite_statement& bind_bytes(std::string const& bytes) {
    return bound(::sqlite3_bind_blob64(statement_, ++bound_, bytes.data(), bytes.size(), SQLITE_STATIC));
  }
  sqlite_statement& bind(std::int64_t n) { return bound(::sqlite3_bind_int64(statement_, ++bound_, n)); }
  sqlite_statement& bind(double x) { return bound(::sqlite3_bind_double(statement_, ++bound_, x)); }
  /// Whether there is a row.
  bool step() {
    int const result = ::sqlite3_step(statement_);
    if (result != SQLITE_ROW && result != SQLITE_DONE) fail();
    return result == SQLITE_ROW;
  }
  /// For a statement that gives no rows; it can be bound again then.
  void run() {
    step();
    reset();
  }
  void reset() {
    ::sqlite3_reset(statement_);
    bound_ = 0;
  }
  sqlite_connection const& connection() const noexcept { return db_; }
  std::int64_t integer(int column) const { return ::sqlite3_column_int64(statement_, column); }
  /// The bytes of a text or a blob; nullopt: NULL.
  std::optional<std::string> text(int column) const {
    auto const bytes = view(column);
    return bytes ? std::optional<std::string>(*bytes) : std::nullopt;
  }
  /// As `text`, where they are until the next `step`.
  std::optional<std::string_view> view(int column) const {
    int const type = ::sqlite3_column_type(statement_, column);
    if (type == SQLITE_NULL) return std::nullopt;
    void const* const bytes =
        type == SQLITE_BLOB ? ::sqlite3_column_blob(statement_, column) : ::sqlite3_column_text(statement_, column);
    if (bytes == nullptr && ::sqlite3_errcode(db_.get()) == SQLITE_NOMEM) fail();  // else it is an empty blob
    return std::string_view(static_cast<char const*>(bytes),
                            static_cast<std::size_t>(::sqlite3_column_bytes(statement_, column)));
  }

 private:
  [[noreturn]] void fail() const { db_.fail(operation_, subject_); }
  sqlite_statement& bound(int result) {
    if (result != SQLITE_OK) fail();
    return *this;
  }

  sqlite_connection const& db_;
  std::string operation_, subject_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

/// Rolled back unless committed. Writes from its start, so that no lock has to be raised in it.
class sqlite_transaction {
 public:
  sqlite_transaction(sqlite_connection const& db, std::string_view operation, std::string_view subject)
      : db_(db), operation_(operation), subject_(subject) {
    db_.execute("BEGIN IMMEDIATE", operation_, subject_);
  }
  sqlite_transaction(sqlite_transaction const&) = delete;
  sqlite_transaction& operator=(sqlite_transaction const&) = delete;
  ~sqlite_transaction() {
    if (open_) ::sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
  void commit() {
    db_.execute("COMMIT", operation_, subject_);
    open_ = false;
  }

 private:
  sqlite_connection const& db_;
  std::string operation_, subject_;
  bool open_ = true;
};

/// Puts the file into WAL mode, if it can be; whether it is. Where several do so at once, SQLite lets all but one fail
/// without a wait: it is tried again until `wait` has passed.
inline bool turn_to_wal(sqlite_connection const& db, std::chrono::milliseconds wait, operation const& op) {
  for (auto const begin = std::chrono::steady_clock::now();;) {
    try {
      sqlite_statement mode{db, "PRAGMA journal_mode=WAL", op.name, op.subject};
      return mode.step() && mode.text(0) == "wal";
    } catch (error const& problem) {
      bool const is_over = std::chrono::steady_clock::now() - begin >= wait;
      if ((problem.code().value() & 0xff) != SQLITE_BUSY || is_over) throw;
    }
    detail::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace stash::inline v1::detail
