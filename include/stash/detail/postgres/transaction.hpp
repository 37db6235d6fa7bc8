#pragma once

#include <libpq-fe.h>

#include <functional>
#include <span>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Rolled back unless committed; where that fails, the connection is lost. `until` is asked for each statement's end.
class postgres_transaction {
 public:
  struct later {};

  postgres_transaction(postgres_connection& db, operation const& op, std::function<deadline()> until)
      : postgres_transaction(db, op, std::move(until), later()) {
    begin();
  }
  /// It begins with the first `run_all`, or `begin`.
  postgres_transaction(postgres_connection& db, operation const& op, std::function<deadline()> until, later)
      : db_(db), op_(op), until_(std::move(until)) {}
  postgres_transaction(postgres_transaction const&) = delete;
  postgres_transaction& operator=(postgres_transaction const&) = delete;
  ~postgres_transaction() {
    if (!open_ || db_.is_lost()) return;
    try {
      db_.end("ROLLBACK", op_, until_());
    } catch (...) {
      db_.give_up();
    }
  }
  void begin() {
    db_.begin(op_, until_());
    open_ = true;
  }
  /// As the connection's.
  std::vector<postgres_result> run_all(std::span<postgres_question const> all) {
    bool const begins = !std::exchange(open_, true);
    return db_.run_all(all, op_, until_(), begins);
  }
  /// Where it has begun. Throws `errc::indeterminate` where the server warns: it may have stopped waiting for a
  /// standby.
  void commit() {
    if (!open_) return;
    db_.forget_warning();
    auto const done = db_.end("COMMIT", op_, until_());
    open_ = false;
    if (std::string_view(::PQcmdStatus(done.get())) != "COMMIT") db_.fail("40000", "the server rolled back", op_);
    db_.refuse_warning(op_);
  }

 private:
  postgres_connection& db_;
  operation op_;
  std::function<deadline()> until_;
  bool open_ = false;
};

}  // namespace stash::inline v1::detail
