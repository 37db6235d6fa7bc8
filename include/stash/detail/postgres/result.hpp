#pragma once

#include <libpq-fe.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// A parameter, sent as its bytes: of a text, a bytea or, with a cast in the SQL, of whatever has that text. nullopt is
/// NULL.
using postgres_parameter = std::optional<std::string_view>;

/// Rows whose columns are all text or bytea, in binary: their bytes.
class postgres_result {
 public:
  explicit postgres_result(PGresult* result) noexcept : result_(result, ::PQclear) {}
  PGresult* get() const noexcept { return result_.get(); }
  int rows() const noexcept { return ::PQntuples(get()); }
  bool is_null(int row, int column) const noexcept { return ::PQgetisnull(get(), row, column) != 0; }
  std::string text(int row, int column) const { return std::string(view(row, column)); }
  /// As `text`, for as long as this has the result.
  std::string_view view(int row, int column) const noexcept {
    return {::PQgetvalue(get(), row, column), static_cast<std::size_t>(::PQgetlength(get(), row, column))};
  }
  /// Empty where the server did not send it.
  static std::string_view field(PGresult const* result, int which) noexcept {
    char const* const text = ::PQresultErrorField(result, which);
    return text == nullptr ? "" : text;
  }
  std::string_view field(int which) const noexcept { return field(get(), which); }

 private:
  std::unique_ptr<PGresult, decltype(&::PQclear)> result_;
};

inline std::string one_line(std::string_view text) {
  std::string out;
  for (char const c : text) out += c == '\n' || c == '\t' ? ' ' : c;
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

}  // namespace stash::inline v1::detail
