#include <csv_file.hpp>
#include <string>
#include <vector>

#include "fuzz_input.hpp"

// An input is a CSV file; what is behind its last byte 0xFF, which no UTF-8 has, are choices: where the file is
// cut, and in which of the allowed ways its rows are written again.
namespace {

using fuzz::require;
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

struct row {
  std::vector<std::optional<std::string>> fields;
  std::uint64_t line;
  friend bool operator==(row const&, row const&) = default;
};

struct reading {
  std::vector<row> rows;
  std::string error;  // empty: none
  friend bool operator==(reading const&, reading const&) = default;
};

/// Reads `text` in pieces of the sizes that `next_size` tells; what is no `input_error` ends the process.
template <class NextSize>
reading read(std::string_view text, NextSize next_size) {
  reading result;
  example::csv_reader reader{[&](example::csv_reader::row fields, std::uint64_t line) {
    result.rows.push_back({{fields.begin(), fields.end()}, line});
  }};
  try {
    while (!text.empty()) {
      std::string_view const piece = text.substr(0, next_size());
      std::vector<char> const copy(piece.begin(), piece.end());  // gone when the reader has had it
      reader.feed({copy.data(), copy.size()});
      text.remove_prefix(piece.size());
    }
    reader.finish();
  } catch (example::input_error const& e) {
    result.error = e.what();
  }
  return result;
}

reading read_at_once(std::string_view text) {
  return read(text, [&] { return text.size(); });
}

/// The line behind `text`.
std::uint64_t line_behind(std::string_view text) {
  std::uint64_t line = 1;
  for (std::size_t i = 0; i < text.size(); ++i) {
    bool const is_half_of_crlf = text[i] == '\r' && text.substr(i + 1).starts_with('\n');
    if ((text[i] == '\n' || text[i] == '\r') && !is_half_of_crlf) ++line;
  }
  return line;
}

void check_rows(std::vector<row> const& rows) {
  for (row const& r : rows) {
    require(r.fields.size() == rows[0].fields.size(), "a row has as many fields as the header");
    for (auto const& f : r.fields) {
      require(!f || (fuzz::is_utf8(*f) && f->find('\0') == f->npos), "a field is text");
    }
  }
}

/// What csv_file.hpp says that it reads, written down a second time: byte by byte, and without libcsv.
class model {
 public:
  struct wrong {
    std::uint64_t line;  // 0: the whole file
    friend bool operator==(wrong const&, wrong const&) = default;
  };
  std::vector<row> rows;
  std::optional<wrong> error;

  explicit model(std::string_view text) : text_(text) {
    if (text_.starts_with(byte_order_mark)) text_.remove_prefix(byte_order_mark.size());
    try {
      for (skip_empty_lines(); at_ < text_.size(); end_row()) read_row();
      if (rows.empty()) throw wrong{0};
    } catch (wrong const& w) {
      error = w;
    }
  }

 private:
  char next() const { return at_ < text_.size() ? text_[at_] : '\n'; }
  bool is_line_end() const { return next() == '\n' || next() == '\r'; }
  wrong wrong_here() const { return {line_behind(text_.substr(0, at_))}; }

  void skip_empty_lines() {
    while (at_ < text_.size() && is_line_end()) ++at_;
  }

  /// Behind it, an empty line is a row where a row has one field.
  void end_row() {
    at_ += text_.substr(at_).starts_with("\r\n") ? 2 : 1;
    if (rows[0].fields.size() > 1) skip_empty_lines();
  }

  void read_row() {
    row r{{}, wrong_here().line};
    for (bool more = true; more;) {
      bool const quoted = next() == '"';
      r.fields.push_back(quoted ? quoted_field(r.line) : plain_field());
      if (next() != ',' && !is_line_end()) throw wrong_here();
      more = next() == ',';
      if (more) ++at_;
    }
    if (!rows.empty() && r.fields.size() != rows[0].fields.size()) throw wrong{r.line};
    for (auto const& f : r.fields) {
      if (f && !fuzz::is_utf8(*f)) throw wrong{r.line};
    }
    rows.push_back(std::move(r));
  }

  std::optional<std::string> plain_field() {
    std::string field;
    for (; next() != ',' && !is_line_end(); field += text_[at_++]) {
      if (next() == '"' || next() == '\0') throw wrong_here();
    }
    return field.empty() ? std::nullopt : std::optional(field);
  }

  std::string quoted_field(std::uint64_t row_line) {
    std::string field;
    for (++at_; at_ < text_.size(); field += text_[at_++]) {
      if (next() == '\0') throw wrong_here();
      if (next() != '"') continue;
      ++at_;
      if (next() != '"') return field;
    }
    throw wrong{row_line};  // it does not end
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// Where a message says that something is wrong.
std::optional<model::wrong> place_of(std::string const& error) {
  if (error.empty()) return std::nullopt;
  if (error == "the file is empty: not even a header") return model::wrong{0};
  require(error.starts_with("line "), "an error says in which line");
  return model::wrong{std::strtoull(error.c_str() + 5, nullptr, 10)};
}

/// Quoted unless `plain` and it may stand without quotes.
std::string written(std::optional<std::string> const& field, bool plain) {
  if (!field) return "";
  if (plain && !field->empty() && field->find_first_of(",\"\r\n") == field->npos) return *field;
  std::string out = "\"";
  for (char const c : *field) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out += '"';
}

/// Rows written again, in a way that must read the same, come back on the lines where they were written.
void check_written_again(std::vector<row> rows, fuzz::input choices) {
  static constexpr std::string_view line_ends[] = {"\n", "\r\n", "\r"};
  // Where an empty line is a row, an LF behind a CR would be none.
  bool const has_one_field = rows[0].fields.size() == 1;
  std::string_view const only = line_ends[choices.below(3)];
  auto const line_end = [&] { return has_one_field ? only : line_ends[choices.below(3)]; };
  std::string text(choices.flag() ? byte_order_mark : "");
  if (rows[0].fields[0] && rows[0].fields[0]->starts_with(byte_order_mark)) text = byte_order_mark;
  for (row& r : rows) {
    while (!has_one_field && choices.flag()) text += line_end();  // an empty line
    r.line = line_behind(text);
    for (std::size_t i = 0; i < r.fields.size(); ++i) {
      text += (i == 0 ? "" : ",") + written(r.fields[i], choices.flag());
    }
    text += line_end();
  }
  require(read_at_once(text) == reading{rows, ""}, "rows written again are read again");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  auto const end = std::min(bytes.rfind('\xFF'), bytes.size());
  std::string_view const text = bytes.substr(0, end);
  fuzz::input const choices{bytes.substr(std::min(end + 1, bytes.size()))};

  reading const whole = read_at_once(text);
  require(read(text, [] { return std::size_t{1}; }) == whole, "a file reads the same byte by byte");
  fuzz::input sizes = choices;
  auto const next_size = [&] { return sizes.empty() ? text.size() : static_cast<std::size_t>(sizes.number(1)); };
  require(read(text, next_size) == whole, "a file reads the same however it is cut");

  model const expected(text);
  require(whole.rows == expected.rows, "the rows are those of RFC 4180");
  require(place_of(whole.error) == expected.error, "an error is where it should be");
  check_rows(whole.rows);
  if (!whole.rows.empty()) check_written_again(whole.rows, choices);
  return 0;
}
