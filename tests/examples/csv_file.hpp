#pragma once

#include <csv.h>
#include <utf8.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace example {

/// The input is wrong; what() says where.
struct input_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Reads CSV (RFC 4180, UTF-8, with or without a byte order mark; lines end with LF, CRLF or CR) row by row; the
/// first row is the header. An empty line is no row; where the header has one field, it is a row of NULL, as for
/// Python's csv and PostgreSQL's COPY. libcsv parses; this class counts the lines and refuses what cannot be loaded
/// right.
class csv_reader {
 public:
  using row = std::span<std::optional<std::string_view> const>;  // nullopt: an empty field without quotes

  /// Called for each record with the line where it begins; first for the header.
  using handler = std::function<void(row, std::uint64_t line)>;

  explicit csv_reader(handler on_row) : on_row_(std::move(on_row)) {
    if (csv_init(&parser_, CSV_STRICT | CSV_STRICT_FINI | CSV_EMPTY_IS_NULL) != 0) throw std::bad_alloc{};
    csv_set_space_func(&parser_, [](unsigned char) { return 0; });  // spaces are data
  }
  csv_reader(csv_reader const&) = delete;
  csv_reader& operator=(csv_reader const&) = delete;
  ~csv_reader() { csv_free(&parser_); }

  /// The next bytes of the file, cut anywhere. Throws `input_error`, and what `on_row` throws.
  void feed(std::string_view bytes) {
    if (at_start_) {
      head_.append(bytes);
      if (head_.size() < 3 && std::string_view("\xEF\xBB\xBF").starts_with(head_)) return;
      at_start_ = false;
      std::string const head = std::move(head_);
      std::string_view text = head;
      if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
      feed_lines(text);
    } else {
      feed_lines(bytes);
    }
  }

  /// How many bytes were read, up to the end of the line that is at hand.
  std::uint64_t offset() const noexcept { return offset_; }

  /// The file ends here. Throws as `feed`, and where there was no header.
  void finish() {
    if (at_start_) {  // shorter than a byte order mark
      at_start_ = false;
      feed_lines(head_ == "\xEF\xBB" || head_ == "\xEF" ? std::string_view(head_) : std::string_view{});
    }
    if (csv_fini(&parser_, &field_ends, &row_ends, this) != 0)
      fail_in_column(row_line_, ends_.size(), "a quoted field does not end");
    deliver();
    if (columns_ == 0) throw input_error("the file is empty: not even a header");
  }

 private:
  [[noreturn]] static void fail_at(std::uint64_t line, std::string const& what) {
    throw input_error("line " + std::to_string(line) + what);
  }
  /// `before`: how many fields of the row are whole.
  [[noreturn]] static void fail_in_column(std::uint64_t line, std::size_t before, std::string const& what) {
    fail_at(line, ", column " + std::to_string(before + 1) + ": " + what);
  }

  /// One physical line at a time, so that the callbacks know on which they are.
  void feed_lines(std::string_view text) {
    while (!text.empty()) {
      // Two searches for one byte are faster than one for two, where neither has to go far.
      std::string_view line = text.substr(0, std::min<std::size_t>(text.substr(0, 4096).find('\n'), 4095));
      if (auto const cr = line.find('\r'); cr != line.npos) line = line.substr(0, cr);
      line = text.substr(0, line.size() + 1);
      text.remove_prefix(line.size());
      bool const second_half_of_crlf = after_cr_ && line == "\n";
      bool const is_empty = !in_row_ && !second_half_of_crlf && (line == "\n" || line == "\r");
      if (!in_row_) row_line_ = line_;
      std::string_view const up_to_nul = line.substr(0, line.find('\0'));  // the first error is the one to tell
      if (csv_parse(&parser_, up_to_nul.data(), up_to_nul.size(), &field_ends, &row_ends, this) != up_to_nul.size()) {
        if (csv_error(&parser_) == CSV_EPARSE) fail_in_column(line_, ends_.size(), "a quote in the middle of a field");
        throw std::runtime_error(csv_strerror(csv_error(&parser_)));
      }
      if (up_to_nul.size() < line.size()) fail_in_column(line_, ends_.size(), "a NUL byte");
      offset_ += line.size();
      in_row_ = in_row_ || (line != "\n" && line != "\r");
      deliver();
      if (is_empty && columns_ == 1) on_row_(row_of_null, row_line_);
      after_cr_ = line.ends_with('\r');
      if (after_cr_ || (line.ends_with('\n') && !second_half_of_crlf)) ++line_;
    }
  }

  // libcsv is C: nothing may be thrown through it, so what fails in a callback waits for deliver().
  static void field_ends(void* bytes, std::size_t size, void* self) noexcept {
    auto& reader = *static_cast<csv_reader*>(self);
    try {
      reader.ends_.push_back(bytes == nullptr ? null : reader.text_.size() + size);
      reader.text_.append(static_cast<char const*>(bytes), bytes == nullptr ? 0 : size) += '\0';
    } catch (...) {
      reader.failed_ = std::current_exception();
    }
  }
  static void row_ends(int, void* self) noexcept { static_cast<csv_reader*>(self)->row_is_complete_ = true; }

  void deliver() {
    if (failed_) std::rethrow_exception(failed_);
    if (!row_is_complete_) return;
    row_is_complete_ = false;
    in_row_ = false;
    if (columns_ == 0) columns_ = ends_.size();
    if (ends_.size() != columns_) {
      fail_at(row_line_,
              ": " + std::to_string(ends_.size()) + " fields where the header has " + std::to_string(columns_));
    }
    unsigned char all = 0;  // most text is ASCII
    for (char const c : text_) all |= static_cast<unsigned char>(c);
    if (all > 0x7f) refuse_no_utf8();
    views_.clear();
    std::size_t at = 0;
    for (auto const end : ends_) {
      views_.push_back(end == null ? std::nullopt : std::optional(std::string_view(text_).substr(at, end - at)));
      at = (end == null ? at : end) + 1;
    }
    on_row_(views_, row_line_);
    ends_.clear();
    text_.clear();
  }

  void refuse_no_utf8() const {
    auto const bad = utf8::find_invalid(text_.begin(), text_.end());
    if (bad == text_.end()) return;
    auto const before = std::count(text_.begin(), bad, '\0');
    fail_in_column(row_line_, static_cast<std::size_t>(before), "bytes that are not UTF-8");
  }

  handler on_row_;
  csv_parser parser_;
  std::string head_;  // the first bytes, until they are known to be a byte order mark or not
  bool at_start_ = true, after_cr_ = false, in_row_ = false, row_is_complete_ = false;
  std::uint64_t line_ = 1, row_line_ = 1, offset_ = 0;
  std::size_t columns_ = 0;
  static constexpr std::size_t null = std::string::npos;
  static constexpr std::optional<std::string_view> row_of_null[1]{};
  std::string text_;               // the row's fields, each with a NUL behind it, which no field has
  std::vector<std::size_t> ends_;  // of the fields in it
  std::vector<std::optional<std::string_view>> views_;
  std::exception_ptr failed_;
};

/// A file that is read once, from its beginning to its end: its header, and whether it has any values, are known before
/// the rest is read. Throws `input_error`, with the file's name and the line, where it cannot be read or is wrong.
class csv_file {
 public:
  /// Opens it, and reads up to the first record with a value.
  explicit csv_file(std::string const& path) : path_(path), file_(path, std::ios::binary) {
    if (!file_) throw input_error(path + ": " + std::strerror(errno));
    telling([&] {
      while (!has_values_ && feed(true)) {
      }
    });
  }

  std::vector<std::string> const& header() const noexcept { return header_; }
  std::uint64_t header_line() const noexcept { return header_line_; }
  /// Whether there is a record that is more than an empty line.
  bool has_values() const noexcept { return has_values_; }
  /// How many bytes were read, up to the end of the line that is at hand.
  std::uint64_t offset() const noexcept { return reader_.offset(); }

  /// Calls `f(row, line)` for each record. Once.
  void read(csv_reader::handler f) {
    telling([&] {
      std::optional<std::string_view> const nothing;
      for (auto const line : empty_lines_) f({&nothing, 1}, line);
      if (has_values_) {
        std::vector<std::optional<std::string_view>> const first(first_.begin(), first_.end());
        f(first, first_line_);
      }
      on_row_ = std::move(f);
      while (feed(false)) {
      }
    });
  }

 private:
  template <class F>
  void telling(F f) {
    try {
      f();
    } catch (input_error const& problem) {
      throw input_error(path_ + ": " + problem.what());
    }
  }

  /// The next line, or all that was read from the file; false: it has ended.
  bool feed(bool by_line) {
    if (rest_.empty()) {
      if (has_ended_) return false;
      file_.read(block_.data(), static_cast<std::streamsize>(block_.size()));
      if (file_.bad()) throw input_error(std::strerror(errno));
      rest_ = {block_.data(), static_cast<std::size_t>(file_.gcount())};
      has_ended_ = rest_.empty();
      if (has_ended_) reader_.finish();
      return true;
    }
    auto const size = by_line ? std::min(rest_.find_first_of("\r\n"), rest_.size() - 1) + 1 : rest_.size();
    reader_.feed(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return true;
  }

  void take(csv_reader::row row, std::uint64_t line) {
    if (on_row_) return on_row_(row, line);
    if (header_.empty()) {
      for (auto const& name : row) header_.emplace_back(name.value_or(""));
      header_line_ = line;
    } else if (row.size() == 1 && !row[0]) {
      empty_lines_.push_back(line);
    } else {
      first_.assign(row.begin(), row.end());
      first_line_ = line;
      has_values_ = true;
    }
  }

  std::string path_;
  std::ifstream file_;
  std::vector<char> block_ = std::vector<char>(1 << 16);
  std::string_view rest_;  // of the block
  bool has_ended_ = false, has_values_ = false;
  std::vector<std::string> header_;
  std::vector<std::uint64_t> empty_lines_;  // before the first record with a value
  std::vector<std::optional<std::string>> first_;
  std::uint64_t header_line_ = 1, first_line_ = 0;
  csv_reader::handler on_row_;
  csv_reader reader_{[this](csv_reader::row row, std::uint64_t line) { take(row, line); }};
};

}  // namespace example
