#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/detail/ckan/postgres_catalog.hpp>
#include <stash/detail/ckan/postgres_rights.hpp>
#include <stash/detail/ckan/postgres_rows_meanwhile.hpp>
#include <stash/detail/ckan/postgres_session.hpp>
#include <stash/detail/ckan/postgres_words.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/belongings.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/failure_kinds.hpp>
#include <stash/detail/postgres/in_the_way.hpp>
#include <stash/detail/postgres/table_moves.hpp>
#include <stash/detail/postgres/table_swap.hpp>
#include <stash/detail/system/sleep.hpp>
#include <stash/error.hpp>
#include <stash/place/left_behind.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan::detail {

/// A resource's table that is built in a schema of ours, where nobody looks for it, to take the live one's place. A
/// session has an advisory lock of the resource from `build` on to the end, so that no other builds it too.
class postgres_beside {
 public:
  postgres_beside(datastore_session& session, stash::detail::operation const& op)
      : session_(session), db_(session.connected(op)), op_(op), id_(op.subject) {}

  /// Makes an empty table, in place of what an earlier run left. First it looks whether that could take the live
  /// table's place.
  void build(fields const& columns, type_names const& types, boost::json::object const& remarks) {
    take_lock();
    try {
      make(columns, types, remarks);
    } catch (...) {
      give_up_lock();  // or nobody could build it while this session lasts
      throw;
    }
  }

  std::vector<left_behind> swap_in(swap_options const& options) {
    take_lock();
    bool is_complete = false;
    try {
      require_built();
      note_complete();
      is_complete = true;
      auto left = swap_complete(options);
      give_up_lock();
      return left;
    } catch (...) {
      // What is complete is for whoever comes next to go on with.
      if (is_complete || session_.built(id_) == nullptr) give_up_lock();
      throw;
    }
  }

  /// Removes what was built, unless another is building it. Nothing there: does nothing.
  void discard() {
    if (session_.built(id_) == nullptr && !oid(session_.beside())) return;
    if (!has_lock() && !try_lock()) return;
    try {
      detail::datastore_transaction all{session_, db_, op_};
      drop_built();
      all.commit();
    } catch (...) {
      give_up_lock();
      throw;
    }
    give_up_lock();
  }

 private:
  // Short, so that no reader waits long behind us; and seldom enough for those that come between.
  static constexpr char short_waits[] = "SET LOCAL lock_timeout = '20ms'";
  static constexpr std::chrono::milliseconds pause{200};

  std::vector<left_behind> swap_complete(swap_options const& options) {
    auto const reader = belongings();
    auto swap = swap_with(reader);
    auto const end = std::chrono::steady_clock::now() + options.patience;
    for (int prepared = 0, wanted = 1;;) {
      try {
        for (; prepared < wanted; ++prepared) {
          swap.prepare();
          if (!oid(session_.schema())) add_key();
        }
        if (try_swap(swap, options)) break;
        if (++wanted == 6) detail::refuse(op_, "what hangs on the table changes all the time");
        continue;
      } catch (error const& problem) {
        if (!stash::detail::may_be_tried_again(problem)) throw;
        std::string const who =
            stash::detail::who_is_in_the_way(db_, session_.schema(), session_.beside(), id_, op_, session_.end());
        if (options.waiting) options.waiting(who);
        if (std::chrono::steady_clock::now() >= end) {
          throw error{errc::busy, std::string(op_.name), id_, "others have locks in the way: " + who};
        }
      }
      stash::detail::sleep_for(pause);
    }
    return swap.left();
  }

  void make(fields const& columns, type_names const& types, boost::json::object const& remarks) {
    detail::datastore_transaction all{session_, db_, op_};
    auto const live = detail::find_table(session_, db_, op_);
    detail::postgres_rights const rights{session_, db_, op_};
    rights.make_schema();
    rights.refuse_to_publish();
    drop_built();
    live ? rights.require_on_live() : rights.require_readers();
    session_.run_all(db_, detail::create_table_sql(session_, db_, session_.beside(), columns, types, remarks, op_),
                     op_);
    if (!live) refuse_taken_names();
    all.commit();
    session_.note_built(id_, {*oid(session_.beside()), detail::postgres_rows_meanwhile::noted(session_, db_, op_)});
    if (live) require_hope();
  }

  std::optional<std::string> oid(std::string const& schema) const {
    return stash::detail::oid_of(db_, schema, id_, op_, session_.end());
  }
  std::string lock_id() const { return session_.lock_id(id_, "build"); }
  bool has_lock() const {
    auto const found = session_.run(db_,
                                    "SELECT (EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid ="
                                    " pg_backend_pid() AND granted AND objsubid = 1 AND database = (SELECT oid FROM"
                                    " pg_database WHERE datname = current_database()) AND (classid::bigint << 32 |"
                                    " objid::bigint) = $1::text::bigint))::text",
                                    {lock_id()}, op_);
    return found.text(0, 0) == "true";
  }
  bool try_lock() const {
    return session_.run(db_, "SELECT pg_try_advisory_lock($1::text::bigint)::text", {lock_id()}, op_).text(0, 0) ==
           "true";
  }
  /// The server may take a moment to end a session that was lost, and to give up its locks.
  void take_lock() const {
    if (has_lock()) return;
    for (auto const end = std::chrono::steady_clock::now() + std::chrono::seconds(1);;) {
      if (try_lock()) return;
      if (std::chrono::steady_clock::now() >= end) break;
      stash::detail::sleep_for(std::chrono::milliseconds(20));
    }
    throw error{errc::busy, std::string(op_.name), id_, "another reload of it is under way"};
  }
  void give_up_lock() noexcept {
    session_.forget_built(id_);
    try {
      session_.run(db_, "SELECT pg_advisory_unlock($1::text::bigint)::text", {lock_id()}, op_);
    } catch (...) {  // a session that was lost has none
    }
  }

  /// That what stands beside the live table has all its rows, and was built by this object, or by one that gave up when
  /// it was complete.
  void require_built() {
    auto const found = detail::find_table(session_, db_, op_, session_.beside());
    if (!found) detail::refuse(op_, "nothing was built for it");
    auto const now = *oid(session_.beside());
    auto const* built = session_.built(id_);
    if (built == nullptr && found->complete_for) {
      session_.note_built(id_, {now, *found->complete_for});
      built = session_.built(id_);
    }
    if (built == nullptr || built->oid != now) detail::refuse(op_, "what was built is not complete, or another's");
    detail::require_loaded(session_, db_, session_.name_in(db_, session_.beside(), id_), op_);
  }
  /// What others have added to the live table since the new one was begun.
  std::vector<left_behind> rows_meanwhile() const {
    auto const rows = detail::postgres_rows_meanwhile::count(session_, db_, session_.built(id_)->live, op_);
    return rows == 0 ? std::vector<left_behind>{} : std::vector{stash::detail::rows_meanwhile(rows)};
  }

  /// A first table has none to carry over.
  void add_key() const {
    auto const table = session_.name_in(db_, session_.beside(), id_);
    auto const found = session_.run(
        db_, "SELECT 1::text FROM pg_index WHERE indrelid = $1::text::regclass AND indisprimary", {table}, op_);
    if (found.rows() > 0) return;
    db_.execute(std::string(stash::detail::waits_for_autovacuum) + "; ALTER TABLE " + table + " ADD PRIMARY KEY (_id)",
                op_, stash::detail::deadline_in(std::chrono::hours(24)));
  }

  void note_complete() const {
    auto const found = detail::find_table(session_, db_, op_, session_.beside());
    std::string mark(detail::complete);
    mark.append(session_.built(id_)->live).append("\n").append(detail::remark_on_table(found->remarks).value_or(""));
    detail::datastore_transaction all{session_, db_, op_};
    session_.run_all(
        db_, "COMMENT ON TABLE " + session_.name_in(db_, session_.beside(), id_) + " IS " + db_.literal(mark), op_);
    all.commit();
  }

  /// Of what comes along with a first table.
  void refuse_taken_names() const {
    auto const found = session_.run(db_,
                                    "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = "
                                    "c.relnamespace WHERE n.nspname = $1::text"
                                    " AND c.relname IN ($2::text || '_pkey', (SELECT relname FROM pg_class WHERE oid ="
                                    " pg_get_serial_sequence($3::text, '_id')::regclass))",
                                    {session_.schema(), id_, session_.name_in(db_, session_.beside(), id_)}, op_);
    if (found.rows() == 0) return;
    detail::refuse(op_, "something in schema " + session_.schema() + " has the name \"" + found.text(0, 0) +
                            "\", which the new table needs for what is its own");
  }

  void drop_built() const {
    session_.run_all(db_, "DROP TABLE IF EXISTS " + session_.name_in(db_, session_.beside(), id_), op_);
  }

  void require_hope() const {
    auto const reader = belongings();
    auto const found = swap_with(reader).hopeless();
    if (found.empty()) return;
    detail::refuse(op_, "no new table can take the place of this one: " + found[0].what +
                            " depends on it, and cannot be"
                            " made anew");
  }

  /// false: prepare anew. Throws 55P03 where another has a lock, with nothing changed.
  bool try_swap(stash::detail::postgres_table_swap& swap, swap_options const& options) {
    detail::change all{session_, db_, op_};
    auto built = detail::find_table(session_, db_, op_, session_.beside());
    if (!built) detail::refuse(op_, "what was built is gone");
    // That first: no reader waits there, but autovacuum may be at it.
    session_.run_all(db_, stash::detail::waits_for_autovacuum, op_);
    session_.run_all(db_, "LOCK TABLE " + session_.name_in(db_, session_.beside(), id_), op_);
    session_.run_all(db_, short_waits, op_);
    if (oid(session_.schema())) {
      session_.run_all(db_, "LOCK TABLE " + session_.name_of(db_, id_) + " IN ACCESS EXCLUSIVE MODE", op_);
    }
    auto const live = detail::find_table(session_, db_, op_);
    table_words const before{std::move(built->all), std::move(built->remarks)};
    table_words words = before;
    if (options.words) {
      words = options.words(before, live ? std::optional(table_words{live->all, live->remarks}) : std::nullopt);
    }
    bool const is_done = swap.run(
        options.leave_behind, live ? rows_meanwhile() : std::vector<left_behind>{},
        [&](auto const& left) {
          if (options.leaving) options.leaving(left);
        },
        [&] { session_.run_all(db_, detail::words_sql(session_, db_, before, words, op_), op_); });
    if (!is_done) return false;
    detail::forget_count(session_, db_, op_);
    all.commit();
    return true;
  }

  stash::detail::postgres_belongings_reader belongings() const {
    return {db_, stash::detail::postgres_built_by::us, op_, session_.end()};
  }
  stash::detail::postgres_table_swap swap_with(stash::detail::postgres_belongings_reader const& reader) const {
    return {db_, reader, stash::detail::postgres_built_by::us, session_.schema(), session_.beside(),
            id_, op_,    [this] { return session_.end(); }};
  }

  datastore_session& session_;
  stash::detail::postgres_connection& db_;
  stash::detail::operation op_;
  std::string id_;
};

/// As `postgres_datastore::leftovers`.
inline std::vector<std::string> leftovers(datastore_session const& session, stash::detail::postgres_connection& db,
                                          stash::detail::operation const& op) {
  auto const found = session.run(db,
                                 "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid ="
                                 " c.relnamespace WHERE n.nspname = $1::text AND c.relkind = 'r' ORDER BY 1",
                                 {session.beside()}, op);
  std::vector<std::string> result;
  for (int i = 0; i < found.rows(); ++i) result.push_back(found.text(i, 0));
  return result;
}

}  // namespace stash::inline v1::ckan::detail
