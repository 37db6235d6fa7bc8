#pragma once

#include <stash/error.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string_view>

namespace stash::inline v1::detail {

/// For a table that nobody reads: what autovacuum does there is cancelled for those who wait longer than this.
inline constexpr char waits_for_autovacuum[] =
    "SELECT set_config('lock_timeout', (setting::int + 1000)::text, true) FROM pg_settings WHERE name ="
    " 'deadlock_timeout'";

/// What only passes: a lock that another has, a deadlock.
inline bool may_be_tried_again(error const& problem) {
  return problem.code() == stash::sqlstate("55P03") || problem.code() == stash::sqlstate("40P01");
}

/// What is wrong with a statement, or with what it is about; not that the disk is full, or that somebody cancels it.
inline bool is_about_the_statement(error const& problem) {
  if (problem.code().category() != postgres_category()) return false;
  constexpr std::string_view before = "SQLSTATE ";
  auto const state = problem.code().message().substr(before.size());
  for (std::string_view const one : {"0A", "22", "23", "2B", "2F", "38", "39", "3F", "42", "44", "55", "P0"}) {
    if (state.starts_with(one)) return true;
  }
  return false;
}

}  // namespace stash::inline v1::detail
