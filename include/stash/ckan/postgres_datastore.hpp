#pragma once

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/system/errc.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/detail/at_fork.hpp>
#include <stash/detail/directory.hpp>
#include <stash/detail/error_context.hpp>
#include <stash/detail/postgres.hpp>
#include <stash/detail/postgres_copy.hpp>
#include <stash/detail/postgres_load_mark.hpp>
#include <stash/detail/xxh64.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan {

/// For `postgres_datastore`.
struct postgres_datastore_options {
  std::string schema = "public";              ///< where CKAN has its tables; must exist
  std::chrono::milliseconds timeout{60'000};  ///< of connecting, each statement, and each part of a load
};

/// Resources as tables of a PostgreSQL database, as CKAN's DataStore lays them out. Link with libpq.
///
/// A resource is a table of its name: `_id serial primary key`, `_full_text tsvector` (with CKAN's trigger, where the
/// database has its function), then the fields. A field's info is in its column's comment, ` {"_info":{...}}`, beside
/// what other plugins keep there (`field::beside`); comments of older CKANs, the info alone, are read, and what is no
/// JSON is no dictionary. The unfinished mark is the table's comment. (So it is in CKAN 2.11, in the DataStore's
/// backend/postgres.py.) Commits wait for the disk, and for a synchronous standby where there is one, whatever the
/// settings say; a server with `fsync` off is refused.
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
  /// Throws EINVAL for a connection string that libpq cannot read; class 08 where no server answers; the server's own
  /// SQLSTATE where it does not let us in (28P01: the password); 25006 where it is a standby; EOPNOTSUPP where its
  /// `fsync` is off.
  explicit postgres_datastore(std::string info, postgres_datastore_options options = {})
      : state_(std::make_unique<state>(std::move(info), std::move(options))) {
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
  /// no resource; and where a column's comment is a JSON object that could not be written again as it is.
  std::optional<fields> describe(std::string_view id) const {
    operation const op{"describe", id};
    auto& db = connected(op);
    // A change whose connection broke may be under way in the server still, and does not show before it is done.
    run(db, "SELECT pg_advisory_xact_lock_shared($1::text::bigint)::text", {lock_id(id)}, op);
    auto const found = look(db, op);
    if (!found || found->is_unfinished) return std::nullopt;
    return found->all;
  }

  /// Throws `errc::mismatch` for what `create` would refuse: something that is no resource in the way, a resource id or
  /// a field name that is empty, longer than 63 bytes, no UTF-8, or has a NUL; no fields; field names that begin with
  /// "_" (CKAN reserves these), or two that are equal; a type that the server does not have. Throws 42601 for what
  /// cannot be a type's name. Changes nothing.
  void check(std::string_view id, fields const& columns) const {
    operation const op{"check", id};
    auto& db = connected(op);
    check(db, op, columns);
    look(db, op);
  }

  /// Makes the table, marked unfinished, and its dictionary, in one transaction. Throws as `check`, 42P07 where the
  /// resource exists, 3F000 where the schema does not, and `errc::unserializable` for a dictionary that JSON cannot
  /// bring back.
  void create(std::string_view id, fields const& columns) {
    operation const op{"create", id};
    auto& db = connected(op);
    change all{*this, db, op};
    auto const types = check(db, op, columns);
    look(db, op);
    std::string const table = name_of(db, id);
    std::string sql = "CREATE TABLE " + table + " (_id serial primary key, _full_text tsvector";
    for (std::size_t i = 0; i < columns.size(); ++i) sql += ", " + db.identifier(columns[i].id) + ' ' + types[i];
    run(db, sql + ')', op);
    for (field const& f : columns) {
      if (f.info || !f.beside.empty()) comment(db, table, f, op);
    }
    run(db, "COMMENT ON TABLE " + table + " IS " + db.literal(unfinished), op);
    auto const trigger = run(db,
                             "SELECT 1::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
                             " WHERE n.nspname = $1::text AND p.proname = 'populate_full_text_trigger'",
                             {state_->options.schema}, op);
    if (trigger.rows() > 0) {
      run(db,
          "CREATE TRIGGER zfulltext BEFORE INSERT OR UPDATE ON " + table + " FOR EACH ROW EXECUTE FUNCTION " +
              db.identifier(state_->options.schema) + ".populate_full_text_trigger()",
          op);
    }
    all.commit();
  }

  /// Takes the unfinished mark away; where there is none, does nothing. Throws `errc::mismatch` where there is no such
  /// resource, or rows were added to it by a loader that was not finished, and no later one was.
  void finish(std::string_view id) {
    operation const op{"finish", id};
    auto& db = connected(op);
    change all{*this, db, op};
    if (!look(db, op)) refuse(op, "there is no such resource");
    if (is_loaded_in_part(db, op)) {
      refuse(op, "rows were added by a loader that was not finished: load them again, or drop it and create it anew");
    }
    run(db, "COMMENT ON TABLE " + name_of(db, id) + " IS NULL", op);
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

  /// Replaces the info of the fields that the dictionary names, all or none; what is beside it stays. Throws
  /// `errc::mismatch` where the resource is not live, has no such field, or the dictionary has something that is no
  /// object or has a "_beside".
  void annotate(std::string_view id, data_dictionary const& dictionary) {
    operation const op{"annotate", id};
    auto& db = connected(op);
    change all{*this, db, op};
    auto found = look(db, op);
    if (!found || found->is_unfinished) refuse(op, "the resource is not live");
    for (auto const& member : dictionary) {
      std::string const name(member.key());
      if (!member.value().is_object()) refuse(op, "what is given for field \"" + name + "\" is not an object");
      auto const& words = member.value().get_object();
      if (words.contains(detail::beside_key)) refuse(op, "field \"" + name + "\": \"_beside\" is reserved");
      auto const f =
          std::find_if(found->all.begin(), found->all.end(), [&](field const& one) { return one.id == name; });
      if (f == found->all.end()) refuse(op, "there is no field \"" + name + "\"");
      f->info = words;
      comment(db, name_of(db, id), *f, op);
    }
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

  std::string name_of(connection const& db, std::string_view id) const {
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
    found.is_unfinished = rows.text(0, 4) == unfinished;
    bool has_id = false;
    for (int i = 0; i < rows.rows(); ++i) {
      std::string const name = rows.text(i, 0);
      has_id = has_id || name == "_id";
      if (name.empty() || name.starts_with('_')) continue;
      found.all.push_back({name, rows.text(i, 1), std::nullopt, {}});
      if (!rows.is_null(i, 2)) read_comment(found.all.back(), rows.text(i, 2), op);
    }
    bool const is_table = rows.text(0, 3) == "r" || rows.text(0, 3) == "p";
    if (!is_table || !has_id) refuse(op, "what has its name there is no resource: it is no table with an _id");
    return found;
  }

  /// What is no JSON object is nobody's dictionary. Throws `errc::mismatch` for one that cannot be kept as it is.
  void read_comment(field& f, std::string const& text, operation const& op) const {
    boost::json::object all;
    try {
      all = json_.deserialize<boost::json::object>(text);
    } catch (error const&) {
      if (is_json_object(text)) refuse(op, "the words of field \"" + f.id + "\" could not come back as they are");
      return;
    }
    if (!text.starts_with(' ')) {  // CKAN's mark of the form since 2.11
      f.info = std::move(all);
      return;
    }
    for (auto const& member : all) {
      if (member.key() == "_info" && member.value().is_object()) {
        f.info = member.value().get_object();
      } else {
        f.beside.emplace(member.key(), member.value());
      }
    }
  }
  /// As JSON is, without the limits that our own values have.
  static bool is_json_object(std::string const& text) {
    boost::json::parse_options options;
    options.max_depth = 1000;  // a value's destructor calls itself
    boost::system::error_code failed;
    auto const value = boost::json::parse(text, failed, {}, options);
    return !failed && value.is_object();
  }
  void comment(connection& db, std::string const& table, field const& f, operation const& op) const {
    boost::json::object all;
    if (f.info) all.emplace("_info", *f.info);
    for (auto const& member : f.beside) all.emplace(member.key(), member.value());
    std::string const text = stash::detail::about(
        op.subject, op.name, [&] { return json_.serialize(all); }, [&] { return "field \"" + f.id + '"'; });
    run(db, "COMMENT ON COLUMN " + table + '.' + db.identifier(f.id) + " IS " + db.literal(' ' + text), op);
  }

  /// The columns' types as the server writes them.
  std::vector<std::string> check(connection& db, operation const& op, fields const& columns) const {
    constexpr std::size_t longest = 63;  // bytes: PostgreSQL would cut it there
    auto const check_name = [&](std::string_view name, std::string const& what) {
      if (name.empty()) refuse(op, what + " is empty");
      if (name.size() > longest) refuse(op, what + " has more than 63 bytes");
      if (name.find('\0') != name.npos || !stash::detail::is_utf8(name)) refuse(op, what + " is no text");
    };
    check_name(op.subject, "the resource id");
    if (columns.empty()) refuse(op, "no fields");
    std::vector<std::string> names, types;
    for (field const& f : columns) {
      std::string const what = "field \"" + f.id + "\"";
      check_name(f.id, what);
      if (f.id.front() == '_') refuse(op, what + ": names that begin with _ are reserved");
      names.push_back(f.id);
      types.push_back(type_of(db, f, op));
    }
    std::sort(names.begin(), names.end());
    auto const twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) refuse(op, "field \"" + *twice + "\" stands there twice");
    return types;
  }
  std::string type_of(connection& db, field const& f, operation const& op) const {
    auto const known = run(db, "SELECT format_type(to_regtype($1)::oid, -1)", {f.type}, op);
    if (known.is_null(0, 0)) refuse(op, "field \"" + f.id + "\": the server has no type \"" + f.type + "\"");
    return known.text(0, 0);
  }

  std::unique_ptr<state> state_;
  json_serializer json_;
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
