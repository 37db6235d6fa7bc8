#pragma once

#include <boost/json/object.hpp>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <stash/detail/postgres/doomed.hpp>
#include <stash/detail/postgres/parking.hpp>
#include <stash/detail/postgres/place_session.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <stash/place/postgres_table_options.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// A place in a PostgreSQL database: a table. For code that says `DROP TABLE IF EXISTS x; CREATE TABLE x ...; COPY x`
/// by itself, through any other connection, between a `replace_guard`'s constructor and its `commit()`. Link with
/// libpq.
///
///     stash::postgres_table orders{"postgresql://db/shop", {"public", "orders"}};
///     stash::replace_guard guard{store, "orders", std::move(orders)};
///     run_the_job();   // as it was
///     guard.commit();  // the new table has the views, grants, indexes, ... of the old one, which is dropped
///
/// What is parked stands in the schema `stash_parked_<schema>` (with a hash for the schema's name where that would have
/// over 63 bytes) under the table's own name, and `ALTER TABLE stash_parked_public.orders SET SCHEMA public` puts it
/// back by hand, in one transaction with the DROP of what is half-built. The first use makes that schema, which nobody
/// else may look into: the role needs CREATE on the database, CREATE on the table's schema, and to be owner of the
/// table and of what depends on it, and to be a member of the role that the job builds with. That schema must be this
/// role's, or of a role of which it is a member, a superuser's, or of the owner of the table's schema or of the
/// database, and nobody else may create there; else each step throws 42501. Views of the table go on reading the old
/// rows until `settle`. But a view that the job itself replaces or makes anew (CREATE OR REPLACE VIEW) before it fails
/// reads what was half-built: it is not put back, and `discard` names it, which guards tell as `left_behind`. Rows that
/// somebody writes into the old one meanwhile go with it.
///
/// What `settle` carries over, where the new table has no equal one: the owner, grants (made equal to the old ones:
/// what default privileges or the job gave beyond is revoked), indexes, constraints, comments, triggers, rules,
/// policies, row security, replica identity, publications, statistics, storage options, tablespace, security labels;
/// and the views, materialized views, foreign keys, functions, policies, rules and defaults of others that depend on
/// it. What the new table's CREATE says is as it says: columns, types, defaults, not null, identity, generated columns,
/// collations, a primary key, a constraint of the same name; and so are comments that the job has written.
///
/// Only ordinary tables: no view, no partitioned table or partition, no foreign table. Each step is one transaction
/// that waits for the disk, and for a synchronous standby where there is one; a server with `fsync` off, a standby and
/// a pooler are refused. Connects with the first call that needs it, and anew where the connection broke; a forked
/// child leaves its parent's connection alone. One thread at a time may use an object.
///
/// Errors: `stash::error` with the server's words and its SQLSTATE as code, "schema.table" as subject, without anything
/// of the connection string; then nothing was changed, unless the connection broke (class 08), memory ran out or the
/// code is `errc::indeterminate`: then all or nothing was, and the next step sees which. `errc::busy`: others have
/// locks in the way, it says who, and nothing was changed.
class postgres_table {
 public:
  /// The names; the columns, with types, defaults and comments; the statements that make the table (`create`) and all
  /// that hangs on it (`ddl`).
  using value_type = boost::json::object;

  /// Does not connect. Throws EINVAL for a name that is empty, over 63 bytes, not UTF-8, or has a NUL byte.
  postgres_table(std::string conninfo, postgres_table_name name, postgres_table_options options = {})
      : session_(std::make_unique<detail::postgres_place_session>(std::move(conninfo), std::move(name), options)) {}

  /// Its name.
  postgres_table_name const& name() const noexcept { return session_->place(); }
  /// Where what is parked stands, as SQL: `"stash_parked_public"."orders"`.
  std::string where() const { return quoted(session_->parked()) + '.' + quoted(session_->name()); }
  /// The table that a note tells of. Throws EINVAL for what is no note of a `postgres_table`.
  static postgres_table_name name_in(value_type const& note) {
    auto const text = [&](std::string_view member) {
      auto const* const found = note.if_contains(member);
      if (found != nullptr && found->is_string()) return std::string(found->get_string());
      throw error{{EINVAL, boost::system::system_category()}, "postgres_table", {}, "note: no table in it"};
    };
    return {text("schema"), text("name")};
  }

  // As a `place_policy`.

  /// Throws `errc::mismatch` where something stands there that cannot be parked.
  std::optional<value_type> live() const { return step("live").live(); }
  /// Of what is parked, as `live()` would tell it at its place.
  std::optional<value_type> parked() const { return step("parked").parked(); }

  /// Throws 42501 where a right is missing, of these that `settle` needs too; `errc::mismatch` where something depends
  /// on the table that no new one could have (with `leave_behind`: that could not be let go of either), and where
  /// something that is no table or view has its name.
  void park(value_type const&) { step("park").park(); }

  /// Where nothing is parked and nothing stands there, and no `settle` did that, somebody has dropped both: then it
  /// makes an empty table, with all that hung on it. Throws ENOENT where the note does not tell of any.
  void put_back(value_type const& note) { step("put_back").put_back(note); }

  /// Where nothing was built, the old one goes; what depends on it cannot be carried over then. An empty table in the
  /// schema of what is parked says so, until `discard`, or the next `park` where this process was killed.
  ///
  /// Throws `errc::mismatch` where something could not be carried over, and says what and why: then the old one is
  /// parked still and the new one at its place, perhaps with some of the indexes. With `leave_behind` it returns
  /// what, why and the statements instead, and calls `keep(note)` first, where there is one: the note's member
  /// `left_behind` has the same.
  std::vector<left_behind> settle(value_type const& note, std::function<void(value_type const&)> const& keep) {
    return step("settle").settle(note, keep);
  }

  /// Drops what was half-built, of this place only. Throws 2BP01 where somebody made something that depends on it; then
  /// that one stays.
  void discard() { detail::drop_doomed(*session_, session_->op("discard")); }

 private:
  detail::postgres_parking step(std::string_view what) const { return {*session_, what}; }
  static std::string quoted(std::string const& name) {
    std::string out = "\"";
    for (char const c : name) out.append(c == '"' ? "\"\"" : std::string(1, c));
    return out + '"';
  }

  std::unique_ptr<detail::postgres_place_session> session_;  // its connection is where fork's handler knows it to be
};

}  // namespace stash::inline v1
