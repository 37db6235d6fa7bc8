#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/belongings.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/dependents_sql.hpp>
#include <stash/detail/postgres/failure_kinds.hpp>
#include <stash/detail/postgres/in_the_way.hpp>
#include <stash/detail/postgres/lazy_session.hpp>
#include <stash/detail/postgres/name.hpp>
#include <stash/detail/postgres/place_sql.hpp>
#include <stash/detail/postgres/transaction.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/system/sleep.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <stash/error.hpp>
#include <stash/place/postgres_table_options.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// How long a step may wait for others' locks.
class postgres_patience {
 public:
  explicit postgres_patience(std::chrono::milliseconds longest)
      : longest_(longest), end_(std::chrono::steady_clock::now() + longest) {}

  bool is_over() const { return left().count() <= 0; }
  /// For the next try: shortly, while there is time to try again, and then for all that is left.
  std::string set_timeout() const {
    auto const last = std::min<std::chrono::milliseconds>(longest_ / 2, std::chrono::milliseconds(2500));
    return set(left() > last ? std::min(short_wait, left()) : left());
  }
  /// For what comes after the table is locked, when all who want it wait behind us.
  std::string set_short_timeout() const { return set(std::min(short_wait, left())); }
  /// So that those who came meanwhile go first.
  void pause() const { detail::sleep_for(std::min(std::chrono::milliseconds(100), left())); }

 private:
  static constexpr std::chrono::milliseconds short_wait{50};

  static std::string set(std::chrono::milliseconds wait) {
    auto const least = std::max<std::chrono::milliseconds::rep>(wait.count(), 1);  // zero would be: for ever
    return "SET LOCAL lock_timeout = '" + std::to_string(least) + "ms'";
  }
  std::chrono::milliseconds left() const {
    return std::chrono::ceil<std::chrono::milliseconds>(end_ - std::chrono::steady_clock::now());
  }

  std::chrono::milliseconds longest_;
  std::chrono::steady_clock::time_point end_;
};

/// The connection of a `postgres_table`, and the names that follow from its place. Not thread safe.
class postgres_place_session : public postgres_lazy_session {
 public:
  postgres_place_session(std::string info, postgres_table_name name, postgres_table_options options)
      : postgres_lazy_session(std::move(info), shorter(options.timeout) + shorter(options.lock_timeout), "a park"),
        name_(std::move(name)),
        options_(options) {
    detail::check_postgres_name("postgres_table", "schema", name_.schema);
    detail::check_postgres_name("postgres_table", "table", name_.name);
    subject_ = name_.schema + '.' + name_.name;
  }

  std::string const& schema() const noexcept { return name_.schema; }
  std::string const& name() const noexcept { return name_.name; }
  postgres_table_name const& place() const noexcept { return name_; }
  postgres_table_options const& options() const noexcept { return options_; }
  operation op(std::string_view what) const noexcept { return {what, subject_}; }

  /// Where tables of the schema are parked.
  std::string parked() const { return fitted("stash_parked_", name_.schema); }
  /// Where the new table is amid `settle`; empty before, and after. It is not made then and dropped again, because with
  /// each schema that comes or goes the server forgets its plans.
  std::string built() const { return "stash_parked_" + detail::hex16(xxh64::hash("stash: new in " + name_.schema)); }
  /// How what is to be dropped is called, in the schema where it would be parked. Its oid follows.
  std::string doomed() const { return "stash: doomed " + hash() + ' '; }

  /// The name there of an empty table that says: the commit of a park has dropped the table, and nothing was built.
  std::string dropped() const { return doomed() + "all"; }
  /// That this object has settled: the record is about to go, and nobody needs what that table says.
  void set_settled(bool has) noexcept { has_settled_ = has; }
  bool has_settled() const noexcept { return has_settled_; }

  /// Of what hangs on a table. For a step.
  postgres_belongings_reader const& reader() const noexcept { return *reader_; }

  /// The number of the lock that each step takes, so that there is one at a time; where an answer was lost, the next
  /// waits for the end of what it was about.
  std::string lock_id() const {
    return std::to_string(static_cast<std::int64_t>(xxh64::hash("stash: place " + whole_name())));
  }

  /// Calls `step(db, patience)`, a transaction that looks first what is there: so it may be called again where locks
  /// are in the way, and once more where it is not known what became of it.
  template <class Step>
  void run(operation const& op, Step step) {
    postgres_patience const patience{shorter(options_.lock_timeout)};
    for (bool was_lost = false;;) {
      auto& db = connected(op);
      try {
        prepare(db, op);
        return step(db, patience);
      } catch (error const& problem) {
        bool const is_lost = db.is_lost() || problem.code() == errc::indeterminate;
        if (is_lost && !std::exchange(was_lost, true)) continue;
        if (is_lost || !detail::may_be_tried_again(problem)) throw;
      }
      std::string const who = detail::who_is_in_the_way(db, schema(), parked(), name(), op, end());
      if (patience.is_over()) {
        throw error{errc::busy, std::string(op.name), subject_,
                    "others have locks in the way, for longer than the place's lock_timeout: " + who};
      }
      patience.pause();
    }
  }

 private:
  /// Once in a session of the server.
  void prepare(postgres_connection& db, operation const& op) {
    if (reader_ && prepared_for_ == number()) return;
    reader_.reset();
    reader_.emplace(db, postgres_built_by::others, op, end());
    std::string all;
    for (auto const& [declared, question] : {std::pair("stash_look (text, text, text, text)", postgres_look_sql),
                                             std::pair("stash_owners (text)", postgres_owners_sql)}) {
      all.append("PREPARE ").append(declared).append(" AS ").append(question).append("; ");
    }
    db.execute(all, op, end());
    prepared_for_ = number();
  }

  static std::chrono::milliseconds shorter(std::chrono::milliseconds time) {
    return std::clamp<std::chrono::milliseconds>(time, std::chrono::milliseconds(0), std::chrono::hours(12));
  }
  std::string whole_name() const { return name_.schema + '\0' + name_.name; }
  std::string hash() const { return detail::hex16(xxh64::hash(whole_name())); }
  /// Over 63 bytes PostgreSQL would cut it.
  static std::string fitted(std::string const& begin, std::string const& name) {
    constexpr std::size_t longest = 63;
    bool const fits = begin.size() + name.size() <= longest;
    return begin + (fits ? name : detail::hex16(xxh64::hash(name)));
  }

  postgres_table_name name_;
  postgres_table_options options_;
  std::string subject_;
  std::optional<postgres_belongings_reader> reader_;
  std::size_t prepared_for_ = 0;
  bool has_settled_ = false;
};

/// A step of one place. Commits wait for the disk.
class postgres_step : public postgres_transaction {
 public:
  postgres_step(postgres_place_session const& session, postgres_connection& db, postgres_patience const& patience,
                operation const& op)
      : postgres_transaction(db, op, [&session] { return session.end(); }),
        first_("SET LOCAL synchronous_commit = on; " + patience.set_timeout() + "; SELECT pg_advisory_xact_lock(" +
               session.lock_id() + "); SELECT pg_logical_emit_message(true, 'stash', ''); ") {}

  /// Its first statements, in one round trip with what looks then what is there. They wait for their turn, and write
  /// something that is to be flushed: with it goes all that was committed before, by whomever: by the job too, or by a
  /// step whose answer was lost.
  std::string const& first() const noexcept { return first_; }

 private:
  std::string first_;
};

}  // namespace stash::inline v1::detail
