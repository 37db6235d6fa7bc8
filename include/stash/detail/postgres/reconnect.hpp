#pragma once

#include <chrono>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/transaction.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/detail/system/sleep.hpp>
#include <stash/error.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>

namespace stash::inline v1::detail {

/// Whether a server that said so may be about to come back, or another to take its place.
inline bool may_pass(boost::system::error_code const& code) {
  for (char const* const state : {"08001", "08006", "57P01", "57P02", "57P03", "53300", "25006"}) {
    if (code == stash::sqlstate(state)) return true;
  }
  return false;
}

/// Makes the connection and calls `check`, which may refuse it; where there was one before (`again`), until it works or
/// the time is over.
template <class Check>
void connect(std::optional<postgres_connection>& db, std::string const& info, bool again, operation const& op,
             deadline until, Check check) {
  for (;;) {
    try {
      db.emplace(info, op, until);
      check();
      return;
    } catch (error const& problem) {
      db.reset();
      if (!again || !detail::may_pass(problem.code()) || std::chrono::steady_clock::now() >= until) throw;
    } catch (...) {
      db.reset();
      throw;
    }
    detail::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace stash::inline v1::detail
