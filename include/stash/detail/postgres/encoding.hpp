#pragma once

#include <libpq-fe.h>

#include <algorithm>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/error.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// The database's, as it was said at the start.
inline std::string_view encoding_of(postgres_connection const& db) {
  char const* const encoding = ::PQparameterStatus(db.get(), "server_encoding");
  return encoding == nullptr ? "" : encoding;
}

/// Whether the database has `text` as it is, and gives it back so. In an encoding other than UTF-8 a character may
/// have no equivalent, or two have the same.
inline bool is_held(postgres_connection const& db, std::string_view text) {
  std::string_view const encoding = detail::encoding_of(db);
  return encoding == "UTF8" || encoding == "SQL_ASCII" ||  // the latter stores bytes as they come
         std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// The same, by asking the server where only it can tell. If it lacks a character, a transaction is over then. Throws
/// what the server or the connection says besides.
inline bool comes_back(postgres_connection& db, std::string const& text, operation const& op, deadline until) {
  if (detail::is_held(db, text)) return true;
  try {
    return db.run("SELECT $1::text", {text}, op, until).text(0, 0) == text;
  } catch (error const& problem) {
    if (problem.code() != stash::sqlstate("22P05")) throw;
    return false;
  }
}

}  // namespace stash::inline v1::detail
