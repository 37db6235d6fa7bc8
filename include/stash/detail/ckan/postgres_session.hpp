#pragma once

#include <libpq-fe.h>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/lazy_session.hpp>
#include <stash/detail/postgres/name.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::ckan::detail {

/// The connection of a `postgres_datastore`, and what it builds. Not thread safe.
class datastore_session : public stash::detail::postgres_lazy_session {
 public:
  datastore_session(std::string info, std::string schema, std::chrono::milliseconds timeout)
      : postgres_lazy_session(std::move(info), timeout, "a reload"), schema_(std::move(schema)) {}

  std::string const& schema() const noexcept { return schema_; }

  stash::detail::postgres_result run(stash::detail::postgres_connection& db, std::string const& sql,
                                     stash::detail::operation const& op) const {
    return run(db, sql, {}, op);
  }
  stash::detail::postgres_result run(stash::detail::postgres_connection& db, std::string const& sql,
                                     std::initializer_list<stash::detail::postgres_parameter> parameters,
                                     stash::detail::operation const& op) const {
    return db.run(sql, parameters, op, end());
  }

  /// Statements without parameters, in one round trip; one that fails is the last. For a transaction.
  void run_all(stash::detail::postgres_connection& db, std::string const& statements,
               stash::detail::operation const& op) const {
    db.execute(statements, op, end());
  }
  /// The table of a resource, as SQL. Throws EINVAL for a name that PostgreSQL would cut: it could be another's.
  std::string name_of(stash::detail::postgres_connection const& db, std::string_view id) const {
    return name_in(db, schema_, id);
  }
  std::string name_in(stash::detail::postgres_connection const& db, std::string const& schema,
                      std::string_view id) const {
    stash::detail::check_postgres_name("name", "resource", id);
    return db.identifier(schema) + '.' + db.identifier(id);
  }
  /// Where rows of a resource go: into the table that is built for it, if one is, else into the live one. Throws
  /// `errc::mismatch` where what this object builds is gone.
  std::string name_for_load(stash::detail::postgres_connection& db, std::string_view id,
                            stash::detail::operation const& op) const {
    auto const* const ours = built(id);
    if (ours == nullptr) return name_in(db, schema_, id);
    std::string table = name_in(db, beside(), id);
    auto const now = run(db, "SELECT to_regclass($1::text)::oid::text", {table}, op);
    if (!now.is_null(0, 0) && now.text(0, 0) == ours->oid) return table;
    throw error{errc::mismatch, std::string(op.name), std::string(op.subject),
                "what was built is gone: the connection was lost, and another may have built since"};
  }
  /// The schema for tables that this role builds to take the place of those of `schema()`.
  std::string beside() const {
    constexpr std::size_t longest = 63;  // bytes: PostgreSQL would cut it there
    std::string name = "stash_beside_" + schema_ + "_" + role();
    return name.size() <= longest ? name : "stash_beside_" + stash::detail::hex16(stash::detail::xxh64::hash(name));
  }

  struct build {
    std::string oid, live;  ///< of the table; what `postgres_rows_meanwhile` has noted of the live one
  };
  /// What this object builds for a resource; null: nothing.
  build const* built(std::string_view id) const {
    auto const found = built_.find(id);
    return found == built_.end() ? nullptr : &found->second;
  }
  void note_built(std::string const& id, build one) { built_.insert_or_assign(id, std::move(one)); }
  void forget_built(std::string_view id) noexcept {
    if (auto const found = built_.find(id); found != built_.end()) built_.erase(found);
  }

  /// The number of an advisory lock of a resource.
  std::string lock_id(std::string_view id, char const* of = "resource") const {
    std::string const name = schema_ + '\0' + std::string(id) + '\0' + of;
    return std::to_string(static_cast<std::int64_t>(stash::detail::xxh64::hash(name)));
  }

 private:
  std::string const schema_;
  std::map<std::string, build, std::less<>> built_;
};

using datastore_transaction = stash::detail::postgres_durable_transaction;
/// For which `describe` waits.
class change : public datastore_transaction {
 public:
  change(datastore_session const& d, stash::detail::postgres_connection& db, stash::detail::operation const& op)
      : datastore_transaction(d, db, op) {
    d.run(db, "SELECT pg_advisory_xact_lock($1::text::bigint)::text", {d.lock_id(op.subject)}, op);
  }
};

}  // namespace stash::inline v1::ckan::detail
