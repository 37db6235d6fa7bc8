#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/belongings.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/failure_kinds.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Statements of a transaction that may fail, and the reasons of those that did. Not thread safe.
class postgres_attempts {
 public:
  struct failure {
    postgres_belonging what;
    std::string why;
  };
  struct making {
    postgres_belonging const* what;
    std::optional<std::string> statements;
  };
  static constexpr char no_way[] = "there is no statement that would make it anew";

  postgres_attempts(postgres_connection& db, operation const& op) : db_(db), op_(op) {}

  /// For what may take hours, in which the server says nothing; that it is gone, the connection notices.
  static deadline forever() { return detail::deadline_in(std::chrono::hours(24)); }
  void execute(std::string const& statements) const { db_.execute(statements, op_, forever()); }

  /// Whether it was done; else all but that is as before, and it is among the failed.
  bool attempt(postgres_belonging const& one, std::optional<std::string> const& statements) {
    if (!statements) {
      failed_.push_back({one, no_way});
      return false;
    }
    auto const why = why_not(*statements);
    if (why) failed_.push_back({one, *why});
    return !why;
  }
  /// Whether one was done. In one round trip where all succeed; so for what is done at once, or it may be done twice.
  bool attempt(std::vector<making> const& all) {
    std::string together;
    bool have_all = true;
    for (auto const& one : all) {
      have_all = have_all && one.statements;
      together += one.statements.value_or("") + "; ";
    }
    if (have_all && all.size() > 1 && !why_not(together + "SELECT")) return true;
    bool is_changed = false;
    for (auto const& one : all) is_changed |= attempt(*one.what, one.statements);
    return is_changed;
  }

  void add(postgres_belonging const& one, std::string why) { failed_.push_back({one, std::move(why)}); }
  std::vector<failure> const& failed() const noexcept { return failed_; }
  void reset(std::vector<failure> to = {}) { failed_ = std::move(to); }
  bool has_failed(postgres_belonging const& one) const {
    return std::any_of(failed_.begin(), failed_.end(), [&](auto const& f) { return f.what.is_same(one); });
  }
  std::vector<left_behind> left() const {
    std::vector<left_behind> result;
    for (auto const& [one, why] : failed_) {
      result.push_back({one.what(), why, one.ddl ? *one.ddl : one.make.value_or("")});
    }
    return result;
  }

  /// What is wrong with a statement, where that is so; else throws it.
  static std::string reason(postgres_connection const& db, error const& problem) {
    if (db.is_lost() || detail::may_be_tried_again(problem) || !detail::is_about_the_statement(problem)) throw problem;
    return problem.detail();
  }

 private:
  std::optional<std::string> why_not(std::string const& statements) const {
    std::string why;
    try {
      execute("SAVEPOINT stash; " + statements + "; RELEASE stash");
      return std::nullopt;
    } catch (error const& problem) {
      why = reason(db_, problem);
    }
    execute("ROLLBACK TO stash; RELEASE stash");
    return why;
  }

  postgres_connection& db_;
  operation op_;
  std::vector<failure> failed_;
};

}  // namespace stash::inline v1::detail
