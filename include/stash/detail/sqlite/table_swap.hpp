#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/carry_over.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/detail/sqlite/hanging.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Puts a table in the place of another, with what hangs on that. In a transaction, while `sqlite_names_stay` lives.
/// Not thread safe.
class sqlite_table_swap {
 public:
  /// `columns` are those that the live table was made with, with their types.
  sqlite_table_swap(sqlite_connection const& db, std::string built, std::string live,
                    std::map<std::string, std::string> columns, operation const& op)
      : db_(db),
        hanging_(db, live, op),
        carry_over_(db, live, op),
        built_(std::move(built)),
        live_(std::move(live)),
        columns_(std::move(columns)),
        op_(op) {}

  /// `lost` are things of the live table that the new one does not have, whatever is done. For the rest see
  /// `sqlite_carry_over::run`.
  template <class Save>
  void run(bool may_leave, std::vector<left_behind> lost, Save save) {
    for (auto& one : lost) carry_over_.lose(std::move(one));
    auto const before = hanging_.look();
    auto const wanted = hanging_.belongings();
    look_at_definition();
    db_.execute("DROP TABLE IF EXISTS " + detail::sql_name(live_) + "; ALTER TABLE " + detail::sql_name(built_) +
                    " RENAME TO " + detail::sql_name(live_),
                op_.name, op_.subject);
    carry_over_.run(before, wanted, may_leave, save);
  }

  /// What was left behind.
  std::vector<left_behind> const& left() const noexcept { return carry_over_.left(); }

 private:
  /// What somebody made of the table itself cannot be made of another one.
  void look_at_definition() {
    constexpr std::array<std::string_view, 11> made_by_hand{"UNIQUE",        "CHECK",     "REFERENCES", "COLLATE",
                                                            "AUTOINCREMENT", "GENERATED", "AS",         "NOT",
                                                            "STRICT",        "WITHOUT",   "DEFAULT"};
    std::string const sql = hanging_.text_of("table", live_);
    for (auto const& word : words_of(sql)) {
      if (std::find(made_by_hand.begin(), made_by_hand.end(), word) == made_by_hand.end()) continue;
      carry_over_.lose({"definition of the table", "it says " + word + ", which somebody made of it", sql});
      return;
    }
    sqlite_statement column{db_, "SELECT name, type FROM pragma_table_info(?)", op_.name, op_.subject};
    column.bind(live_);
    while (column.step()) {
      auto const name = column.text(0).value_or(""), type = column.text(1).value_or("");
      auto const found = columns_.find(name);
      if (found != columns_.end() && (found->second == type || (found->second.empty() && type == "NUMERIC"))) continue;
      carry_over_.lose({"column " + name, "somebody made it, or gave it another type", sql});
    }
  }
  /// Those that are no names in quotes, in upper case.
  static std::vector<std::string> words_of(std::string_view sql) {
    std::vector<std::string> words(1);
    char quote = 0;
    for (char c : sql) {
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'' || c == '`' || c == '[') {
        quote = c == '[' ? ']' : c;
      } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_') {
        words.back() += c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
      } else if (!words.back().empty()) {
        words.emplace_back();
      }
    }
    return words;
  }

  sqlite_connection const& db_;
  sqlite_hanging hanging_;
  sqlite_carry_over carry_over_;
  std::string built_, live_;
  std::map<std::string, std::string> columns_;
  operation op_;
};

}  // namespace stash::inline v1::detail
