#pragma once

#include <boost/system/errc.hpp>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>
#include <stash/detail/fork.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connection.hpp>
#include <stash/detail/postgres/reconnect.hpp>
#include <stash/detail/postgres/transaction.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <string>
#include <utility>

namespace stash::inline v1::detail {

/// A connection for what must be durable: made by the first call that needs it, and anew where it broke. A forked child
/// leaves its parent's alone, and makes its own. Not thread safe.
class postgres_lazy_session {
 public:
  /// `what` is for the message about a server without fsync: "a reload".
  postgres_lazy_session(std::string info, std::chrono::milliseconds timeout, char const* what)
      : info_(std::move(info)), timeout_(timeout), what_(what) {}
  postgres_lazy_session(postgres_lazy_session const&) = delete;
  postgres_lazy_session& operator=(postgres_lazy_session const&) = delete;

  deadline end() const { return detail::deadline_in(timeout_); }

  /// Throws 25006 for a standby, EOPNOTSUPP for a server with `fsync` off or behind a pooler.
  postgres_connection& connected(operation const& op) {
    if (db_ && db_->is_lost()) db_.reset();
    if (db_) return *db_;
    detail::connect(db_, info_, made_ > 0, op, end(), [&] {
      auto const found =
          db_->run("SELECT pg_is_in_recovery()::text, current_setting('fsync'), current_user::text", {}, op, end());
      role_ = found.text(0, 2);
      if (found.text(0, 0) != "false") db_->fail("25006", "the server is a standby", op);
      if (found.text(0, 1) != "off") return;
      throw error{boost::system::errc::make_error_code(boost::system::errc::operation_not_supported),
                  std::string(op.name), std::string(op.subject),
                  std::string("the server has fsync off: ") + what_ + " would not survive a power cut"};
    });
    ++made_;
    return *db_;
  }
  /// How many connections were made: what a session of the server had is gone where it differs.
  std::size_t number() const noexcept { return made_; }
  /// Who we are on the server; empty before the first connection.
  std::string const& role() const noexcept { return role_; }

 private:
  std::string const info_;
  std::chrono::milliseconds const timeout_;
  char const* const what_;
  std::optional<postgres_connection> db_;
  std::string role_;
  std::size_t made_ = 0;
  std::mutex for_hook_;
  at_fork hook_{for_hook_, [] {},
                [this] {
                  if (db_) db_->abandon();
                  db_.reset();
                }};
};

/// Commits wait for the disk, and for a synchronous standby where there is one, whatever the settings say.
class postgres_durable_transaction : public postgres_transaction {
 public:
  postgres_durable_transaction(postgres_lazy_session const& session, postgres_connection& db, operation const& op)
      : postgres_transaction(db, op, [&session] { return session.end(); }) {
    db.run("SELECT set_config('synchronous_commit', 'on', true)", {}, op, session.end());
  }
};

}  // namespace stash::inline v1::detail
