#pragma once

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/system/errc.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/detail/ckan/field_names.hpp>
#include <stash/detail/ckan/postgres_beside.hpp>
#include <stash/detail/ckan/postgres_catalog.hpp>
#include <stash/detail/ckan/postgres_refused.hpp>
#include <stash/detail/ckan/postgres_session.hpp>
#include <stash/detail/ckan/postgres_words.hpp>
#include <stash/detail/fork.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/encoding.hpp>
#include <stash/detail/postgres/load_mark.hpp>
#include <stash/detail/postgres/name.hpp>
#include <stash/detail/postgres/reconnect.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan {

/// For `postgres_datastore`.
struct postgres_datastore_options {
  std::string schema = "public";              ///< where CKAN has its tables; must exist
  std::chrono::milliseconds timeout{60'000};  ///< of connecting, and of the server's silence
};

/// Resources as tables of a PostgreSQL database, as CKAN's DataStore lays them out. Link with libpq.
///
/// A resource is a table of its name: `_id serial primary key`, `_full_text tsvector` (with CKAN's trigger, where the
/// database has its function), then the fields. A field's info is in its column's comment, ` {"_info":{...}}`, beside
/// what other plugins keep there (`field::beside`); comments of older CKANs, the info alone, are read. (So it is in
/// CKAN 2.11, in the DataStore's backend/postgres.py.) A comment that we would write otherwise, a plain remark too, is
/// carried over as it stands: `field::comment`; for the table, `_id` and `_full_text`: `remarks`. The unfinished mark
/// is the first line of the table's comment, `stash: unfinished`. Commits wait for the disk, and for a synchronous
/// standby where there is one, whatever the settings say; a server with `fsync` off is refused.
///
/// One thread at a time may use an object. The connection string is libpq's; a connection that broke is made anew by
/// the next call. In a forked child an inherited one must not be used; destroying it does nothing.
///
///     stash::ckan::postgres_datastore d{"postgresql://etl@db.example.com/datastore"};
///     d.create("orders", {{"id", "text", {}}});
///     d.finish("orders");
///
/// Errors: `stash::error` with the server's words and its SQLSTATE as code, the resource as subject; then nothing was
/// changed, unless the connection broke (class 08), memory ran out or the code is `errc::indeterminate`: then all or
/// nothing was.
class postgres_datastore {
 public:
  class loader;  ///< in postgres_loader.hpp

  /// Connects; tries each host once.
  ///
  /// Throws EINVAL for a connection string that libpq cannot read, and for a schema whose name is empty, over 63 bytes,
  /// not UTF-8, or has a NUL byte; class 08 where no server answers; the server's own
  /// SQLSTATE where it does not let us in (28P01: the password); 25006 where it is a standby; EOPNOTSUPP where its
  /// `fsync` is off.
  explicit postgres_datastore(std::string info, postgres_datastore_options options = {})
      : session_(
            std::make_unique<detail::datastore_session>(std::move(info), std::move(options.schema), options.timeout)) {
    stash::detail::check_postgres_name("open", "schema", session_->schema());
    session_->connected({"open", {}});
  }
  /// Not while a loader uses the other, which may only be destroyed afterwards.
  postgres_datastore(postgres_datastore&&) noexcept = default;
  postgres_datastore& operator=(postgres_datastore&&) = delete;
  ~postgres_datastore() = default;

  /// The fields of a whole table, in column order; nullopt: none, or an unfinished one. Their types are PostgreSQL's
  /// names, with the schema where that is not pg_catalog. Waits for a change of the resource that is under way.
  ///
  /// Throws `errc::mismatch` where a table, or something else, of that name stands there that has no `_id`, and so is
  /// no resource; 22021 where a comment is no UTF-8, in a database that has no encoding.
  std::optional<fields> describe(std::string_view id) const {
    operation const op{"describe", id};
    auto& db = session_->connected(op);
    // A change whose connection broke may be under way in the server still, and does not show before it is done.
    session_->run(db, "SELECT pg_advisory_xact_lock_shared($1::text::bigint)::text", {session_->lock_id(id)}, op);
    auto found = detail::find_table(*session_, db, op);
    if (!found || found->is_unfinished) return std::nullopt;
    return std::move(found->all);
  }

  /// What stands in the comments of a whole table itself (`"comment"`), and of its columns that are no fields
  /// (`"columns"`, by name), to give to `create`. Empty: nothing. Throws as `describe`.
  boost::json::object remarks(std::string_view id) const {
    operation const op{"remarks", id};
    auto found = detail::find_table(*session_, session_->connected(op), op);
    if (!found || found->is_unfinished) return {};
    return std::move(found->remarks);
  }

  /// What is written on a table that is marked unfinished; nullopt: there is none. Throws as `describe`.
  std::optional<table_words> unfinished(std::string_view id) const {
    operation const op{"unfinished", id};
    auto found = detail::find_table(*session_, session_->connected(op), op);
    if (!found || !found->is_unfinished) return std::nullopt;
    return table_words{std::move(found->all), std::move(found->remarks)};
  }

  /// Whether CKAN has deleted the resource: there is CKAN's own table `resource` in this schema, and it has no such
  /// resource, or one whose state is "deleted". false, too: that table is in another database, where CKAN mostly has
  /// it.
  bool is_deleted(std::string_view id) const {
    operation const op{"is_deleted", id};
    return detail::is_deleted(*session_, session_->connected(op), op);
  }

  /// Throws `errc::mismatch` for what `create` would refuse: something that is no resource in the way, a resource id or
  /// a field name that is empty, longer than 63 bytes, no UTF-8, or has a NUL; two fields of one name; no fields, or
  /// more than 1,598; a comment that is no text; a type that the server does not have. And for a field name that CKAN
  /// refuses: one that begins with "_", begins or ends with white space, or has a double quote. Throws 42601 for what
  /// cannot be a type's name. Changes nothing.
  void check(std::string_view id, fields const& columns) const {
    operation const op{"check", id};
    auto& db = session_->connected(op);
    detail::check_table(*session_, db, op, columns, {});
    for (field const& f : columns) detail::refuse_field_name(f, op.name, id);
    detail::find_table(*session_, db, op);
  }

  /// Makes the table, marked unfinished, and its dictionary, in one transaction; on the table and on `_id` and
  /// `_full_text`, what `remarks` has for them. Fields that have words keep the name that they had, though CKAN would
  /// refuse it now. The number of statements does not depend on how many fields there are.
  ///
  /// Throws as `check`, 42P07 where the resource exists, 3F000 where the schema does not, and `errc::unserializable`
  /// for a dictionary that JSON cannot bring back. No fields at all are allowed where there are remarks.
  void create(std::string_view id, fields const& columns, boost::json::object const& remarks = {}) {
    operation const op{"create", id};
    auto& db = session_->connected(op);
    session_->forget_built(id);
    detail::change all{*session_, db, op};
    auto const types = detail::check_table(*session_, db, op, columns, remarks);
    detail::find_table(*session_, db, op);
    session_->run_all(db, detail::create_table_sql(*session_, db, session_->schema(), columns, types, remarks, op), op);
    all.commit();
  }

  /// Takes the unfinished mark away; where there is none, does nothing. Throws `errc::mismatch` where there is no such
  /// resource, or rows were added to it by a loader that was not finished, and no later one was.
  void finish(std::string_view id) {
    operation const op{"finish", id};
    auto& db = session_->connected(op);
    detail::change all{*session_, db, op};
    auto const found = detail::find_table(*session_, db, op);
    if (!found) detail::refuse(op, "there is no such resource");
    if (found->is_unfinished) detail::forget_loads(*session_, db, op);
    detail::require_loaded(*session_, db, session_->name_of(db, id), op);
    table_words const words{found->all, found->remarks};
    session_->run_all(db, detail::words_sql(*session_, db, words, words, op), op);
    detail::forget_count(*session_, db, op);
    all.commit();
  }

  /// Removes the table, finished or not, with its rows and its dictionary. Nothing there: does nothing. Throws as
  /// `describe`, and 2BP01 where a view depends on it.
  void drop(std::string_view id) { detail::drop_table(*session_, {"drop", id}, false); }

  /// As `drop`; but where a table that is marked unfinished has more rows than loaders have finished, people took it
  /// for one like any other, and loaded them: throws `errc::mismatch`, and it stays as it is.
  void drop_half_built(std::string_view id) { detail::drop_table(*session_, {"drop", id}, true); }

  /// Replaces the info of the fields that the dictionary names, all or none; what is beside it stays, byte for byte,
  /// and so does the form of the comment. A remark that is no info is refused (`errc::mismatch`), unless the new info
  /// has it in its `notes`.
  ///
  /// Throws `errc::mismatch` where the resource is not live, has no such field, or the dictionary has something that is
  /// no object, has a "_beside", or has a "_verbatim" that says something else (see `parse_dictionary`).
  void annotate(std::string_view id, data_dictionary const& dictionary) {
    operation const op{"annotate", id};
    auto& db = session_->connected(op);
    detail::change all{*session_, db, op};
    auto const found = detail::find_table(*session_, db, op);
    if (!found || found->is_unfinished) detail::refuse(op, "the resource is not live");
    std::unordered_map<std::string_view, field const*> by_name;
    for (field const& f : found->all) by_name.emplace(f.id, &f);
    std::string sql;
    std::string const table = session_->name_of(db, id);
    for (auto const& member : dictionary) {
      std::string const name(member.key());
      auto const f = by_name.find(name);
      if (f == by_name.end()) detail::refuse(op, "there is no field \"" + name + "\"");
      auto const comment = detail::comment_of(*f->second).value_or("");
      auto const info = stash::detail::about(
          id, op.name, [&] { return detail::info_to_write(member.value(), comment); },
          [&] { return "field \"" + name + '"'; });
      detail::require_held(*session_, db, info, op);
      sql += detail::comment_on(db, table, name, detail::with_info(comment, info)) + "; ";
    }
    if (!sql.empty()) session_->run_all(db, sql, op);
    all.commit();
  }

  /// Which of `values` a field of the type `f.type` would not take, by their places, and why, in the server's words;
  /// for a person who looks for the rows that a load was refused for. Empty: none. Changes nothing.
  ///
  /// Throws `errc::mismatch` where the server has no such type, 42601 for what is no type's name, 42501 where the role
  /// may make no temporary function, 42704 where the database has no PL/pgSQL.
  std::map<std::size_t, std::string> refused(std::string_view id, field const& f,
                                             std::span<std::optional<std::string> const> values) const {
    operation const op{"refused", id};
    return detail::refused_values(*session_, session_->connected(op), f, values, op);
  }

  /// Makes an empty table beside the live one, where nobody sees it: from here on to `swap_in` or `discard`, loaders of
  /// this object add to it. What an earlier run left there is removed. Nothing of the live one is changed, or locked.
  ///
  /// Throws as `create`, but not where the resource exists; `errc::busy` where another session builds it;
  /// `errc::mismatch` where something depends on the live table that no new one could serve; 42501 where this role may
  /// not replace the live table, may make no schema `stash_beside_<schema>_<role>`, or where CKAN's roles (those of
  /// `_table_metadata`) could not use a first table of this role's.
  void build(std::string_view id, fields const& columns, boost::json::object const& remarks = {}) {
    operation const op{"build", id};
    auto const types = detail::check_table(*session_, session_->connected(op), op, columns, remarks);
    detail::postgres_beside{*session_, op}.build(columns, types, remarks);
  }

  /// Puts what was built in the place of the live table, whole, in one transaction, in which readers wait for some
  /// milliseconds. What hangs on the live table is carried over: its owner, grants, indexes, constraints, triggers,
  /// rules, policies, statistics, publications, options, comments; and the views, materialized views, foreign keys,
  /// functions, policies and rules that depend on it. Indexes are made and the statistics of the planner taken before.
  /// Returns what was left behind.
  ///
  /// It may have been built by another object, which gave up at its swap.
  ///
  /// Throws `errc::mismatch` where nothing was built, or not to its end, rows were added by a loader that was not
  /// finished, or something cannot be carried over and `leave_behind` is not said; `errc::busy` where others have locks
  /// in the way, for longer than `patience`. Then the live table is as it was, and what was built stays, for another
  /// try or for `discard`; so it does for 23505, where its rows allow no primary key.
  std::vector<left_behind> swap_in(std::string_view id, swap_options const& options = {}) {
    operation const op{"swap", id};
    return detail::postgres_beside{*session_, op}.swap_in(options);
  }

  /// Removes what was built, by this object or by one that is gone, but not what another session builds just now.
  /// Nothing there: does nothing. Throws 2BP01 where something depends on it: then it stays.
  void discard(std::string_view id) {
    operation const op{"discard", id};
    detail::postgres_beside{*session_, op}.discard();
  }

  /// The resources for which there is a table that this role has built and not put in its place. Empty: there
  /// are none.
  std::vector<std::string> leftovers() const {
    operation const op{"leftovers", {}};
    return detail::leftovers(*session_, session_->connected(op), op);
  }

  /// How many rows the table has, finished or not: counted one by one. Throws 42P01 where there is no table.
  std::uint64_t rows(std::string_view id) const {
    operation const op{"rows", id};
    return detail::count_rows(*session_, session_->connected(op), op);
  }

 private:
  using operation = stash::detail::operation;
  using connection = stash::detail::postgres_connection;

  std::unique_ptr<detail::datastore_session> session_;
};

}  // namespace stash::inline v1::ckan

#include <stash/ckan/postgres_loader.hpp>  // its loader
