#pragma once

#include <libpq-fe.h>

#include <functional>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// Rolled back unless committed; where that fails, the connection is lost. `until` is asked for each statement's end.
class postgres_transaction {
 public:
  postgres_transaction(postgres_connection& db, operation const& op, std::function<deadline()> until)
      : db_(db), op_(op), until_(std::move(until)) {
    db_.begin(op_, until_());
  }
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
  /// Throws `errc::indeterminate` where the server warns: it may have stopped waiting for a standby.
  void commit() {
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
  bool open_ = true;
};

}  // namespace stash::inline v1::detail
