#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/belongings_sql.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/dependents_sql.hpp>
#include <stash/detail/postgres/prepared.hpp>
#include <stash/detail/postgres/table_moves.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Something that hangs on a table and would go with it, or stay with the old one, as the statements that make it. Two
/// tables have the same where the statements are the same.
struct postgres_belonging {
  int step = 0;                       ///< in which order they are made; 0: something of another object's
  std::string kind, name;             ///< as a person knows it
  std::optional<std::string> make;    ///< nullopt: it cannot be made anew
  std::optional<std::string> unmake;  ///< takes it away from a table that must not have it, or lets go of the table
  bool comes_off_first = false;       ///< it must be unmade before another table can take the place of its own
  std::optional<std::string> ddl{};   ///< all that would make it again where it is gone, if that is more than `make`

  std::string what() const { return name.empty() ? kind : kind + ' ' + name; }
  bool is_same(postgres_belonging const& other) const { return kind == other.kind && name == other.name; }
  /// Of something that differs by its name only.
  bool is_rename() const {
    return (kind == "primary key" || kind == "sequence") && make.value_or("").find(" RENAME ") != std::string::npos;
  }
  friend bool operator==(postgres_belonging const& a, postgres_belonging const& b) {
    return a.is_same(b) && (a.make == b.make || (a.is_rename() && b.is_rename()));
  }
};
using postgres_belongings = std::vector<postgres_belonging>;

/// Those of `wanted` that `there` has not.
inline postgres_belongings missing(postgres_belongings const& wanted, postgres_belongings const& there) {
  postgres_belongings result;
  std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(result),
               [&](auto const& one) { return std::find(there.begin(), there.end(), one) == there.end(); });
  return result;
}

/// Lists what hangs on a table. Its questions take the server longer to plan than to answer, so they are prepared, not
/// in a transaction. Not thread safe.
class postgres_belongings_reader {
 public:
  postgres_belongings_reader(postgres_connection& db, postgres_built_by by, operation const& op, deadline until)
      : db_(db), by_(by) {
    std::string all = "SET plan_cache_mode = force_generic_plan; DEALLOCATE ALL";
    for (auto const& [declared, question] :
         {std::pair("stash_belongings (text, text, text, text)", postgres_belongings_sql),
          std::pair("stash_dependents (text)", postgres_dependents_sql),
          std::pair("stash_rights (text)", postgres_rights_sql),
          std::pair("stash_renames (text)", postgres_renames_sql),
          std::pair("stash_moves (text, text)", postgres_moves_sql)}) {
      all.append("; PREPARE ").append(declared).append(" AS ").append(question);
    }
    detail::fill_in(all, by, ::PQserverVersion(db.get()));
    db_.execute(all, op, until);
  }
  postgres_belongings_reader(postgres_belongings_reader const&) = delete;
  postgres_belongings_reader& operator=(postgres_belongings_reader const&) = delete;

  /// What belongs to the table `oid`, in the order in which it can be made, as statements for the table `for_table`,
  /// which is called `name` in `schema` (both as SQL).
  /// After the statements `first`.
  postgres_belongings own(std::string const& oid, std::string const& for_table, std::string const& name,
                          std::string const& schema, operation const& op, deadline until,
                          std::string const& first = {}) const {
    return own_in(db_.execute(first + "; " + own_sql(oid, for_table, name, schema), op, until));
  }

  /// GRANTs on the table `oid`, its columns, and its sequences that go with it.
  std::string rights_on(std::string const& oid, operation const& op, deadline until) const {
    return db_.execute(rights_sql(oid), op, until).text(0, 0);
  }

  /// What others have that depends on the table `oid`.
  postgres_belongings dependents(std::string const& oid, operation const& op, deadline until) const {
    return dependents_in(db_.execute(dependents_sql(oid), op, until));
  }

  /// What hangs on a table, in any way; and the statements that give it, and what is its own and would be in the way of
  /// another table's, other names.
  struct everything {
    std::string rights;
    postgres_belongings own, dependents;
    std::string renames;
  };
  /// All of that in one round trip, after the statements `first`. The rights first: so a GRANT that comes between shows
  /// as a change of them.
  everything all(std::string const& oid, std::string const& for_table, std::string const& name,
                 std::string const& schema, operation const& op, deadline until, std::string const& first) const {
    auto found = db_.execute_all(first + "; " + rights_sql(oid) + "; " + own_sql(oid, for_table, name, schema) + "; " +
                                     dependents_sql(oid) + "; " + detail::execute_sql(db_, "stash_renames", {oid}),
                                 op, until);
    auto const last = found.end();
    return {last[-4].text(0, 0), own_in(last[-3]), dependents_in(last[-2]), last[-1].text(0, 0)};
  }

 private:
  std::string own_sql(std::string const& oid, std::string const& for_table, std::string const& name,
                      std::string const& schema) const {
    return detail::execute_sql(db_, "stash_belongings", {oid, name, schema, for_table});
  }
  std::string rights_sql(std::string const& oid) const { return detail::execute_sql(db_, "stash_rights", {oid}); }
  std::string dependents_sql(std::string const& oid) const {
    return detail::execute_sql(db_, "stash_dependents", {oid});
  }
  postgres_belongings own_in(postgres_result const& found) const {
    postgres_belongings result;
    for (int i = 0; i < found.rows(); ++i) {
      postgres_belonging one{std::stoi(found.text(i, 0)), found.text(i, 1), found.text(i, 2), text(found, i, 3),
                             text(found, i, 4)};
      bool const is_given = one.kind == "grant";  // default privileges may have given more than the old one had
      if (by_ == postgres_built_by::others && !is_given) one.unmake.reset();
      result.push_back(std::move(one));
    }
    return result;
  }

  static postgres_belongings dependents_in(postgres_result const& found) {
    postgres_belongings result;
    for (int i = 0; i < found.rows(); ++i) {
      result.push_back({0, found.text(i, 0), found.text(i, 1), text(found, i, 3), text(found, i, 4),
                        found.text(i, 2) == "true", text(found, i, 5)});
    }
    return result;
  }
  static std::optional<std::string> text(postgres_result const& found, int row, int column) {
    return found.is_null(row, column) ? std::nullopt : std::optional(found.text(row, column));
  }

  postgres_connection& db_;
  postgres_built_by by_;
};

}  // namespace stash::inline v1::detail
