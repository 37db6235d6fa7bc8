#pragma once

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/system/errc.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/field_names.hpp>
#include <stash/detail/error_context.hpp>
#include <stash/detail/fork.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/copy.hpp>
#include <stash/detail/postgres/encoding.hpp>
#include <stash/detail/postgres/load_mark.hpp>
#include <stash/detail/postgres/name.hpp>
#include <stash/detail/postgres/reconnect.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
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
  class loader;

  /// Connects; tries each host once.
  ///
  /// Throws EINVAL for a connection string that libpq cannot read, and for a schema whose name is empty, over 63 bytes,
  /// not UTF-8, or has a NUL byte; class 08 where no server answers; the server's own
  /// SQLSTATE where it does not let us in (28P01: the password); 25006 where it is a standby; EOPNOTSUPP where its
  /// `fsync` is off.
  explicit postgres_datastore(std::string info, postgres_datastore_options options = {})
      : state_(std::make_unique<state>(std::move(info), std::move(options))) {
    stash::detail::check_postgres_name("open", "schema", state_->options.schema);
    connected({"open", {}});
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
    auto& db = connected(op);
    // A change whose connection broke may be under way in the server still, and does not show before it is done.
    run(db, "SELECT pg_advisory_xact_lock_shared($1::text::bigint)::text", {lock_id(id)}, op);
    auto found = look(db, op);
    if (!found || found->is_unfinished) return std::nullopt;
    return std::move(found->all);
  }

  /// What stands in the comments of a whole table itself (`"comment"`), and of its columns that are no fields
  /// (`"columns"`, by name), to give to `create`. Empty: nothing. Throws as `describe`.
  boost::json::object remarks(std::string_view id) const {
    operation const op{"remarks", id};
    auto found = look(connected(op), op);
    if (!found || found->is_unfinished) return {};
    return std::move(found->remarks);
  }

  /// Throws `errc::mismatch` for what `create` would refuse: something that is no resource in the way, a resource id or
  /// a field name that is empty, longer than 63 bytes, no UTF-8, or has a NUL; two fields of one name; no fields, or
  /// more than 1,598; a comment that is no text; a type that the server does not have. And for a field name that CKAN
  /// refuses: one that begins with "_", begins or ends with white space, or has a double quote. Throws 42601 for what
  /// cannot be a type's name. Changes nothing.
  void check(std::string_view id, fields const& columns) const {
    operation const op{"check", id};
    auto& db = connected(op);
    check(db, op, columns, {});
    for (field const& f : columns) detail::refuse_field_name(f, op.name, id);
    look(db, op);
  }

  /// Makes the table, marked unfinished, and its dictionary, in one transaction; on the table and on `_id` and
  /// `_full_text`, what `remarks` has for them. Fields that have words keep the name that they had, though CKAN would
  /// refuse it now. The number of statements does not depend on how many fields there are.
  ///
  /// Throws as `check`, 42P07 where the resource exists, 3F000 where the schema does not, and `errc::unserializable`
  /// for a dictionary that JSON cannot bring back. No fields at all are allowed where there are remarks.
  void create(std::string_view id, fields const& columns, boost::json::object const& remarks = {}) {
    operation const op{"create", id};
    auto& db = connected(op);
    change all{*this, db, op};
    auto const types = check(db, op, columns, remarks);
    look(db, op);
    std::string const table = name_of(db, id);
    std::string sql = "CREATE TABLE " + table + " (_id serial primary key, _full_text tsvector";
    for (field const& f : columns) sql += ", " + db.identifier(f.id) + ' ' + types.at(f.type);
    sql += ')';
    for (field const& f : columns) {
      if (auto const text = stash::detail::about(
              id, op.name, [&] { return detail::comment_of(f); }, [&] { return "field \"" + f.id + '"'; })) {
        sql += comment_on(db, table, f.id, *text);
      }
    }
    for (char const* const name : detail::own_columns) {
      if (auto const text = detail::remark_on(remarks, name)) sql += comment_on(db, table, name, *text);
    }
    std::string mark(unfinished);
    if (auto const kept = detail::remark_on_table(remarks)) mark += '\n' + *kept;
    sql += "; COMMENT ON TABLE " + table + " IS " + db.literal(mark);
    auto const trigger = run(db,
                             "SELECT 1::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
                             " WHERE n.nspname = $1::text AND p.proname = 'populate_full_text_trigger'",
                             {state_->options.schema}, op);
    if (trigger.rows() > 0) {
      sql += "; CREATE TRIGGER zfulltext BEFORE INSERT OR UPDATE ON " + table + " FOR EACH ROW EXECUTE FUNCTION " +
             db.identifier(state_->options.schema) + ".populate_full_text_trigger()";
    }
    run_all(db, sql, op);
    all.commit();
  }

  /// Takes the unfinished mark away; where there is none, does nothing. Throws `errc::mismatch` where there is no such
  /// resource, or rows were added to it by a loader that was not finished, and no later one was.
  void finish(std::string_view id) {
    operation const op{"finish", id};
    auto& db = connected(op);
    change all{*this, db, op};
    auto const found = look(db, op);
    if (!found) refuse(op, "there is no such resource");
    if (is_loaded_in_part(db, op)) {
      refuse(op, "rows were added by a loader that was not finished: load them again, or drop it and create it anew");
    }
    auto const text = detail::remark_on_table(found->remarks);
    run(db, "COMMENT ON TABLE " + name_of(db, id) + " IS " + (text ? db.literal(*text) : "NULL"), op);
    all.commit();
  }

  /// Removes the table, finished or not, with its rows and its dictionary. Nothing there: does nothing. Throws as
  /// `describe`, and 2BP01 where a view depends on it.
  void drop(std::string_view id) {
    operation const op{"drop", id};
    auto& db = connected(op);
    change all{*this, db, op};
    if (look(db, op)) run(db, "DROP TABLE " + name_of(db, id), op);
    all.commit();
  }

  /// Replaces the info of the fields that the dictionary names, all or none; what is beside it stays, byte for byte,
  /// and so does the form of the comment. A remark that is no info is refused (`errc::mismatch`), unless the new info
  /// has it in its `notes`.
  ///
  /// Throws `errc::mismatch` where the resource is not live, has no such field, or the dictionary has something that is
  /// no object, has a "_beside", or has a "_verbatim" that says something else (see `parse_dictionary`).
  void annotate(std::string_view id, data_dictionary const& dictionary) {
    operation const op{"annotate", id};
    auto& db = connected(op);
    change all{*this, db, op};
    auto const found = look(db, op);
    if (!found || found->is_unfinished) refuse(op, "the resource is not live");
    std::unordered_map<std::string_view, field const*> by_name;
    for (field const& f : found->all) by_name.emplace(f.id, &f);
    std::string sql;
    for (auto const& member : dictionary) {
      std::string const name(member.key());
      auto const f = by_name.find(name);
      if (f == by_name.end()) refuse(op, "there is no field \"" + name + "\"");
      auto const comment = detail::comment_of(*f->second).value_or("");
      auto const info = stash::detail::about(
          id, op.name, [&] { return detail::info_to_write(member.value(), comment); },
          [&] { return "field \"" + name + '"'; });
      require_held(db, info, op);
      sql += comment_on(db, name_of(db, id), name, detail::with_info(comment, info));
    }
    if (!sql.empty()) run_all(db, sql.substr(2), op);
    all.commit();
  }

  /// How many rows the table has, finished or not: counted one by one. Throws 42P01 where there is no table.
  std::uint64_t rows(std::string_view id) const {
    operation const op{"rows", id};
    auto& db = connected(op);
    return std::stoull(run(db, "SELECT count(*)::text FROM " + name_of(db, id), op).text(0, 0));
  }

 private:
  using operation = stash::detail::operation;
  using connection = stash::detail::postgres_connection;
  using result = stash::detail::postgres_result;
  using parameter = stash::detail::postgres_parameter;

  static constexpr std::string_view unfinished = "stash: unfinished";

  /// Stays where it is, for `hook` knows where that is.
  struct state {
    state(std::string i, postgres_datastore_options o) : info(std::move(i)), options(std::move(o)) {}
    std::string const info;
    postgres_datastore_options const options;
    std::optional<connection> db;
    bool was_connected = false;
    std::mutex for_hook;
    stash::detail::at_fork hook{for_hook, [] {},
                                [this] {
                                  if (db) db->abandon();
                                  db.reset();
                                }};
  };

  /// A table as it is found, with an unfinished mark or without.
  struct found_table {
    bool is_unfinished = false;
    fields all;
    boost::json::object remarks;
  };

  /// Commits wait for the disk.
  class transaction : public stash::detail::postgres_transaction {
   public:
    transaction(postgres_datastore const& d, connection& db, operation const& op)
        : postgres_transaction(db, op, [&d] { return d.end(); }) {
      d.run(db, "SELECT set_config('synchronous_commit', 'on', true)", op);
    }
  };
  /// For which `describe` waits.
  class change : public transaction {
   public:
    change(postgres_datastore const& d, connection& db, operation const& op) : transaction(d, db, op) {
      d.run(db, "SELECT pg_advisory_xact_lock($1::text::bigint)::text", {d.lock_id(op.subject)}, op);
    }
  };

  std::string lock_id(std::string_view id, char const* of = "resource") const {
    std::string const name = state_->options.schema + '\0' + std::string(id) + '\0' + of;
    return std::to_string(static_cast<std::int64_t>(stash::detail::xxh64::hash(name)));
  }

  stash::detail::deadline end() const { return stash::detail::deadline_in(state_->options.timeout); }

  connection& connected(operation const& op) const {
    auto& db = state_->db;
    if (db && db->is_lost()) db.reset();
    if (db) return *db;
    stash::detail::connect(db, state_->info, std::exchange(state_->was_connected, true), op, end(), [&] {
      auto const found = run(*db, "SELECT pg_is_in_recovery()::text, current_setting('fsync')", op);
      if (found.text(0, 0) != "false") db->fail("25006", "the server is a standby", op);
      if (found.text(0, 1) != "off") return;
      throw error{boost::system::errc::make_error_code(boost::system::errc::operation_not_supported),
                  std::string(op.name), std::string(op.subject),
                  "the server has fsync off: a reload would not survive a power cut"};
    });
    return *db;
  }

  result run(connection& db, std::string const& sql, operation const& op) const { return run(db, sql, {}, op); }
  result run(connection& db, std::string const& sql, std::initializer_list<parameter> parameters,
             operation const& op) const {
    return db.run(sql, parameters, op, end());
  }

  /// Statements without parameters, in one round trip; one that fails is the last. For a transaction.
  void run_all(connection& db, std::string const& statements, operation const& op) const {
    if (::PQsendQuery(db.get(), statements.c_str()) == 0) db.lose(op);
    db.receive(op, end(), [](result const&) {});
  }
  /// A further one of these.
  static std::string comment_on(connection const& db, std::string const& table, std::string_view column,
                                std::string_view text) {
    return "; COMMENT ON COLUMN " + table + '.' + db.identifier(column) + " IS " + db.literal(text);
  }

  std::string name_of(connection const& db, std::string_view id) const {
    stash::detail::check_postgres_name("name", "resource", id);  // else it could be another's
    return db.identifier(state_->options.schema) + '.' + db.identifier(id);
  }

  [[noreturn]] void refuse(operation const& op, std::string why) const {
    throw error{errc::mismatch, std::string(op.name), std::string(op.subject), std::move(why)};
  }

  /// Whether a load was begun that was not finished, by whomever.
  bool is_loaded_in_part(connection& db, operation const& op) const {
    auto const comment = run(db,
                             "SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attname = '_id' AND"
                             " attrelid = $1::text::regclass",
                             {name_of(db, op.subject)}, op);
    return stash::detail::postgres_load_mark::is_in(comment.text(0, 0));
  }

  /// nullopt: nothing of that name.
  std::optional<found_table> look(connection& db, operation const& op) const {
    auto const rows = run(db,
                          "SELECT a.attname::text, CASE WHEN tn.nspname = 'pg_catalog' THEN t.typname::text"
                          " ELSE format_type(t.oid, NULL) END, col_description(c.oid, a.attnum), c.relkind::text,"
                          " obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n"
                          " ON n.oid = c.relnamespace LEFT JOIN (pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
                          " JOIN pg_namespace tn ON tn.oid = t.typnamespace)"
                          " ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
                          " WHERE n.nspname = $1::text AND c.relname = $2::text ORDER BY a.attnum",
                          {state_->options.schema, op.subject}, op);
    if (rows.rows() == 0) return std::nullopt;
    found_table found;
    if (!rows.is_null(0, 4)) take_table_comment(found, rows.text(0, 4));
    bool has_id = false;
    boost::json::object others;
    for (int i = 0; i < rows.rows(); ++i) {
      std::string const name = rows.text(i, 0);
      has_id = has_id || name == "_id";
      std::optional<std::string> text;
      if (!rows.is_null(i, 2)) text = rows.text(i, 2);
      if (name.empty() || name.starts_with('_')) {
        // The mark of a load is the table's own: carried over, it would stand in the way of the new one.
        if (!text) continue;
        auto const remark = stash::detail::postgres_load_mark::without_marks(*text);
        if (!remark.empty()) others.emplace(name, remark);
        continue;
      }
      found.all.push_back({name, rows.text(i, 1), std::nullopt, {}});
      if (text) detail::take_comment(found.all.back(), std::move(*text));
    }
    if (!others.empty()) found.remarks.emplace("columns", std::move(others));
    bool const is_table = rows.text(0, 3) == "r" || rows.text(0, 3) == "p";
    if (!is_table || !has_id) refuse(op, "what has its name there is no resource: it is no table with an _id");
    return found;
  }
  /// The mark alone, or the mark and behind it what `finish` leaves.
  static void take_table_comment(found_table& found, std::string_view text) {
    if (text.starts_with(unfinished)) {
      auto const rest = text.substr(unfinished.size());
      found.is_unfinished = rest.empty() || rest.front() == '\n';
      if (rest.empty()) return;
      if (found.is_unfinished) text = rest.substr(1);
    }
    found.remarks.emplace("comment", text);
  }

  using type_names = std::map<std::string, std::string, std::less<>>;

  /// The types as the server writes them, by the names that the fields have for them.
  type_names check(connection& db, operation const& op, fields const& columns,
                   boost::json::object const& remarks) const {
    constexpr std::size_t longest = 63;     // bytes: PostgreSQL would cut it there
    constexpr std::size_t most = 1600 - 2;  // PostgreSQL's MaxHeapAttributeNumber, and there are _id and _full_text
    auto const check_name = [&](std::string_view name, std::string const& what) {
      if (name.empty()) refuse(op, what + " is empty");
      if (name.size() > longest) refuse(op, what + " has more than 63 bytes");
      check_text(name, what, op);
    };
    check_name(op.subject, "the resource id");
    if (columns.empty() && remarks.empty()) refuse(op, "no fields");
    if (columns.size() > most) refuse(op, "more than " + std::to_string(most) + " fields");
    std::vector<std::string> names;
    for (field const& f : columns) {
      check_name(f.id, "field \"" + f.id + '"');
      detail::refuse_new_field_name(f, op.name, op.subject);
      detail::refuse_lost_remark(f, op.name, op.subject);
      if (f.comment) check_text(*f.comment, "the comment of field \"" + f.id + '"', op);
      names.push_back(f.id);
    }
    detail::refuse_equal_names(names, op.name, op.subject);
    for (field const& f : columns) {
      stash::detail::about(
          op.subject, op.name, [&] { require_held(db, f.id + detail::comment_of(f).value_or(""), op); },
          [&] { return "field \"" + f.id + '"'; });
    }
    return types_of(db, columns, op);
  }
  /// Throws `errc::mismatch` where the database's encoding lacks a character, or would change one.
  void require_held(connection& db, std::string const& text, operation const& op) const {
    if (stash::detail::is_held(db, text)) return;
    try {
      if (db.run("SELECT $1::text", {text}, op, end()).text(0, 0) == text) return;
    } catch (error const& problem) {
      if (problem.code() != stash::sqlstate("22P05")) throw;  // it lacks one; a transaction of ours is over then
    }
    refuse(op, "the database's encoding " + std::string(stash::detail::encoding_of(db)) +
                   " would change a character of " + stash::detail::quoted(text));
  }
  void check_text(std::string_view text, std::string const& what, operation const& op) const {
    if (text.find('\0') != text.npos || !stash::detail::is_utf8(text)) refuse(op, what + " is no text");
  }
  type_names types_of(connection& db, fields const& columns, operation const& op) const {
    type_names types;
    boost::json::array names;
    for (field const& f : columns) {
      if (types.try_emplace(f.type).second) names.emplace_back(f.type);
    }
    auto const known = run(db,
                           "SELECT t, format_type(to_regtype(t)::oid, -1)"
                           " FROM json_array_elements_text($1::text::json) t",
                           {boost::json::serialize(names)}, op);
    for (int i = 0; i < known.rows(); ++i) types[known.text(i, 0)] = known.text(i, 1);
    for (field const& f : columns) {
      if (types[f.type].empty()) refuse(op, "field \"" + f.id + "\": the server has no type \"" + f.type + "\"");
    }
    return types;
  }

  std::unique_ptr<state> state_;
};

/// Adds rows to a table by COPY, as they come: what the server has not taken yet is at most some 128 KB. They are
/// there, and durable, when `finish` returns; without it, none.
///
///     stash::ckan::postgres_datastore::loader rows{d, "orders", fields, [](std::uint64_t bytes) { show(bytes); }};
///     rows.add({{"1", std::nullopt}});  // or rows.add_csv(bytes), as they stand in a file
///     rows.finish();
///
/// That a load was begun and not finished stands in front of the comment of the column `_id`, so that no object and no
/// process takes the table for whole: the role must own the table. Several loaders may add to one table at a time, each
/// with a datastore of its own.
///
/// Until it is finished or destroyed, the datastore must not be used for anything else. Errors as the datastore's; then
/// no row is there.
class postgres_datastore::loader {
 public:
  /// Called with the bytes of CSV that went to the server so far, each time that some went.
  using progress = std::function<void(std::uint64_t bytes)>;

  /// For rows of `columns`, in this order, which may leave out some of the table's. Locks and marks nothing yet. The
  /// datastore must outlive it. Throws 42P01 where there is no such table, 42703 where it has no such field.
  loader(postgres_datastore& d, std::string_view id, fields const& columns, progress tell = {})
      : datastore_(d),
        id_(id),
        columns_(columns.size()),
        tell_(std::move(tell)),
        db_(d.connected(op())),
        table_(d.name_of(db_, id)) {
    for (field const& f : columns) names_ += (names_.empty() ? "" : ", ") + db_.identifier(f.id);
    d.run(db_, "SELECT " + names_ + " FROM " + table_ + " LIMIT 0", op());
  }
  loader(loader const&) = delete;
  loader& operator=(loader const&) = delete;
  /// Gives up what was not finished. Where rows were added, `postgres_datastore::finish` refuses the resource then,
  /// whoever calls it, until a later loader of it is finished.
  ~loader() = default;

  /// Adds one row. nullopt is NULL; else what the column's type reads from a text.
  ///
  /// Throws `errc::mismatch` where there are not as many values as fields, or CSV that was added before ends inside
  /// quotes: the row is not added. A value that the type refuses is told by `finish`. After another error the loader is
  /// only to be destroyed.
  void add(std::span<std::optional<std::string_view> const> values) {
    if (values.size() != columns_) {
      throw error{errc::mismatch, "load", id_,
                  std::to_string(values.size()) + " values for " + std::to_string(columns_) + " fields"};
    }
    copy().add(values);
  }

  /// Rows as the server's COPY reads them (https://www.postgresql.org/docs/15/sql-copy.html): no header; nothing
  /// between two commas is NULL; in a table of one column, an empty line is a row of NULL; a byte order mark is data. A
  /// line that is only `\.` is the end for a server before 18: `finish` throws then. They may be cut anywhere. Throws
  /// as `add`.
  void add_csv(std::string_view bytes) { copy().add_csv(bytes); }

  /// On return all rows survive a power cut. More may be added then, and finished again.
  ///
  /// Throws the server's error (class 22, with the line, for a value that it refuses); `errc::mismatch` where it took
  /// fewer rows than it was given; or `errc::indeterminate`: then all rows are there or none.
  void finish() {
    try {
      copy().finish();
      mark_->take_away();
      all_->commit();
    } catch (...) {
      end();
      throw;
    }
    end();
  }

 private:
  operation op() const { return {"load", id_}; }

  /// The table is marked before the first row: a load of which nothing is left must show, too.
  stash::detail::postgres_copy& copy() {
    if (copy_) return *copy_;
    auto const until = [this] { return datastore_.end(); };
    mark_.emplace(db_, table_, datastore_.lock_id(id_, "load"), op(), until);
    all_.emplace(datastore_, db_, op());
    return copy_.emplace(db_, table_ + " (" + names_ + ')', op(), until, tell_);
  }
  void end() noexcept {
    copy_.reset();
    all_.reset();
    mark_.reset();
  }

  postgres_datastore& datastore_;
  std::string id_;
  std::size_t columns_;
  progress tell_;
  connection& db_;
  std::string table_, names_;
  std::optional<stash::detail::postgres_load_mark> mark_;
  std::optional<transaction> all_;
  std::optional<stash::detail::postgres_copy> copy_;
};

}  // namespace stash::inline v1::ckan
