#pragma once

#include <libpq-fe.h>
#include <poll.h>
#include <unistd.h>

#include <boost/system/errc.hpp>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <chrono>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/connecting.hpp>
#include <stash/detail/postgres/plans.hpp>
#include <stash/detail/postgres/pooler.hpp>
#include <stash/detail/postgres/result.hpp>
#include <stash/detail/postgres/settings.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// One connection, with a deadline on every call. Not thread safe.
///
/// Where it is lost on the way, the error's code is of class 08 and `is_lost()`: then nobody knows whether what was
/// asked was done. After each answer it looks whether the server is in a transaction, and is lost where that is not so
/// as it must be: what was written in a transaction that something between left open is not there yet.
class postgres_connection {
 public:
  /// Tries each host of `info` in turn. The server's end of it is gone at most a minute after this machine is.
  postgres_connection(std::string const& info, operation const& op, deadline until)
      : connection_(postgres_connecting::connect(info, op, until).release()) {
    ::PQsetNoticeReceiver(connection_, note, this);
    try {
      detail::refuse_pooler(*this, op, until);
      run(set_session_settings(), {}, op, until);
    } catch (...) {
      ::PQfinish(connection_);
      throw;
    }
  }
  postgres_connection(postgres_connection&& other) = delete;
  ~postgres_connection() {
    if (connection_ != nullptr) ::PQfinish(connection_);
  }

  PGconn* get() const noexcept { return connection_; }
  bool is_lost() const noexcept { return is_lost_; }

  /// In a forked child: PQfinish would end the parent's session; but the child must not keep its socket open, or the
  /// server would not see it end with the parent.
  void abandon() noexcept {
    ::close(::PQsocket(connection_));
    connection_ = nullptr;  // its memory is lost, which is all that can be done
  }

  std::string identifier(std::string_view name) const {
    return escaped(::PQescapeIdentifier(connection_, name.data(), name.size()));
  }
  std::string literal(std::string_view text) const {
    return escaped(::PQescapeLiteral(connection_, text.data(), text.size()));
  }

  /// The rows of one statement; of COPY FROM STDIN, that the server waits for the data. Throws what the server says,
  /// with its SQLSTATE.
  postgres_result run(std::string const& sql, std::span<postgres_parameter const> parameters, operation const& op,
                      deadline until) {
    std::optional<postgres_result> last;
    run(sql, parameters, op, until, [&](postgres_result result) { last.emplace(std::move(result)); });
    return std::move(*last);
  }
  postgres_result run(std::string const& sql, std::initializer_list<postgres_parameter> parameters, operation const& op,
                      deadline until) {
    return run(sql, std::span(parameters.begin(), parameters.size()), op, until);
  }

  /// The rows of each, which go to the server together, in one round trip; one that fails is the last. Where `begins`,
  /// BEGIN goes in front of them. For what is asked often, and writes out the type and the collation of each column of
  /// its result: it would fail where those of the table's were altered.
  std::vector<postgres_result> run_all(std::span<postgres_question const> all, operation const& op, deadline until,
                                       bool begins = false) {
    return answers(ask_all(all, op, until, begins), op, until);
  }
  /// What was sent, for `answers`; where nobody reads them, the connection is lost.
  struct asked {
    struct lose {
      bool is_answered;
      void operator()(postgres_connection* db) const noexcept { db->is_lost_ = db->is_lost_ || !is_answered; }
    };
    std::unique_ptr<postgres_connection, lose> unanswered;
    postgres_plans::asked what;
    bool begins = false;
  };
  /// The two halves of `run_all`, between which nothing else may be asked.
  asked ask_all(std::span<postgres_question const> all, operation const& op, deadline until, bool begins = false) {
    for (auto const& one : all) postgres_arguments{one.parameters, op};  // throws, if at all, before anything is sent
    asked result{decltype(asked::unanswered)(this), {}, begins};
    if (begins) must_be_ = PQTRANS_INTRANS;
    bool const is_sent = ::PQenterPipelineMode(connection_) != 0 &&
                         plans_.send(connection_, all, begins, result.what, op, [&] { flush(op, until); });
    if (!is_sent || ::PQpipelineSync(connection_) == 0) lose(op);
    return result;
  }
  std::vector<postgres_result> answers(asked all, operation const& op, deadline until) {
    std::vector<postgres_result> results;
    try {
      receive(op, until, [&](postgres_result result) {
        if (all.what.is_next_a_question()) results.push_back(std::move(result));
      });
    } catch (error const& problem) {
      plans_.forget(all.what);
      bool const is_unplanned = problem.code() == stash::sqlstate("26000");  // somebody has thrown the plans away
      all.unanswered.get_deleter().is_answered = !is_unplanned;
      throw;
    }
    all.unanswered.get_deleter().is_answered = true;
    if (all.begins) results.erase(results.begin());
    return results;
  }

  /// Statements without parameters, in one round trip (the simple protocol); one that fails is the last, and without a
  /// transaction around them none is done then. The rows of the last one; of `execute_all`, those of each.
  postgres_result execute(std::string const& statements, operation const& op, deadline until) {
    return std::move(execute_all(statements, op, until).back());
  }
  std::vector<postgres_result> execute_all(std::string const& statements, operation const& op, deadline until) {
    if (::PQsendQuery(connection_, statements.c_str()) == 0) lose(op);
    std::vector<postgres_result> all;
    receive(op, until, [&](postgres_result result) { all.push_back(std::move(result)); });
    return all;
  }

  void forget_warning() noexcept { has_warned_ = false; }
  /// Throws `errc::indeterminate` where the server warned since the last call, or since `forget_warning`.
  void refuse_warning(operation const& op) {
    if (!std::exchange(has_warned_, false)) return;
    throw error{errc::indeterminate, std::string(op.name), std::string(op.subject), warning_};
  }
  void give_up() noexcept { is_lost_ = true; }

  /// From here on each answer must come from within a transaction; after `end`, from outside of one.
  void begin(operation const& op, deadline until) {
    must_be_ = PQTRANS_INTRANS;
    try {
      run("BEGIN", {}, op, until);
    } catch (...) {
      must_be_ = PQTRANS_IDLE;
      is_lost_ = true;  // who knows in what it is
      throw;
    }
  }
  /// `how` is COMMIT or ROLLBACK.
  postgres_result end(char const* how, operation const& op, deadline until) {
    must_be_ = PQTRANS_IDLE;
    return run(how, {}, op, until);
  }

  [[noreturn]] void fail(std::string_view state, std::string_view what, operation const& op) const {
    throw error{stash::sqlstate(state), std::string(op.name), std::string(op.subject), std::string(what)};
  }
  /// Throws what libpq says of the connection, which is lost; or `why`.
  [[noreturn]] void lose(operation const& op, char const* why = "") {
    is_lost_ = true;
    fail("08006", *why != '\0' ? why : detail::one_line(::PQerrorMessage(connection_)), op);
  }

  /// Sends what is still to be sent, and reads what has come meanwhile.
  void flush(operation const& op, deadline until) {
    for (;;) {
      int const rest = ::PQflush(connection_);
      if (rest < 0) lose(op);
      if (rest == 0) return;
      wait(POLLIN | POLLOUT, op, until);
      if (::PQconsumeInput(connection_) == 0) lose(op);
    }
  }
  /// Calls `each` with the results of what was sent. Throws what is wrong with one of them, at the end; and
  /// `errc::indeterminate` where nothing is, but a transaction was left open.
  template <class Each>
  void receive(operation const& op, deadline until, Each each) {
    try {
      receive_all(op, until, each);
    } catch (error const&) {
      throw;
    } catch (...) {  // memory ran out in the middle
      is_lost_ = true;
      throw;
    }
  }

 private:
  template <class Each>
  void receive_all(operation const& op, deadline until, Each& each) {
    std::optional<postgres_result> failed;
    bool is_answered = false;
    for (auto result = next(op, until); result.get() != nullptr; result = next(op, until)) {
      is_answered = true;
      auto const status = ::PQresultStatus(result.get());
      bool const is_good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_COPY_IN;
      if (!is_good) {
        if (!failed) failed.emplace(std::move(result));
        if (!detail::is_sqlstate(failed->field(PG_DIAG_SQLSTATE))) break;  // of a connection that is to be lost
      } else {
        each(std::move(result));
      }
      if (status == PGRES_COPY_IN) return;  // there is no other until the data has come
    }
    auto const state = ::PQtransactionStatus(connection_);
    bool const is_as_it_must = state == must_be_ || (failed && state == PQTRANS_INERROR && must_be_ == PQTRANS_INTRANS);
    if (!is_as_it_must) is_lost_ = true;
    if (failed) fail(*failed, op);
    if (!is_answered) lose(op, "no answer came");
    if (!is_as_it_must) {
      throw error{errc::indeterminate, std::string(op.name), std::string(op.subject),
                  must_be_ == PQTRANS_IDLE ? "the server, or what is between, left a transaction open"
                                           : "the server, or what is between, ended a transaction"};
    }
  }
  void send(std::string const& sql, std::span<postgres_parameter const> parameters, operation const& op) {
    postgres_arguments const with{parameters, op};
    if (::PQsendQueryParams(connection_, sql.c_str(), with.count(), nullptr, with.values.data(), with.sizes.data(),
                            with.formats.data(), 1) == 0) {
      lose(op);
    }
  }
  template <class Each>
  void run(std::string const& sql, std::span<postgres_parameter const> parameters, operation const& op, deadline until,
           Each each) {
    send(sql, parameters, op);
    receive(op, until, each);
  }
  /// The next result of all that was sent; null: there is no more.
  postgres_result next(operation const& op, deadline until) {
    auto result = next_or_end(op, until);
    if (::PQpipelineStatus(connection_) == PQ_PIPELINE_OFF) return result;
    if (result.get() == nullptr) result = next_or_end(op, until);  // that was the end of one statement's
    if (::PQresultStatus(result.get()) != PGRES_PIPELINE_SYNC) return result;
    if (::PQexitPipelineMode(connection_) == 0) lose(op);
    return postgres_result{nullptr};
  }
  /// The same of one statement.
  postgres_result next_or_end(operation const& op, deadline until) {
    flush(op, until);
    while (::PQisBusy(connection_) != 0) {
      wait(POLLIN, op, until);
      if (::PQconsumeInput(connection_) == 0) lose(op);
    }
    return postgres_result{::PQgetResult(connection_)};
  }
  [[noreturn]] void fail(postgres_result const& result, operation const& op) {
    auto const state = result.field(PG_DIAG_SQLSTATE);
    if (!detail::is_sqlstate(state)) lose(op);  // libpq's own words: the connection broke
    std::string what(result.field(PG_DIAG_MESSAGE_PRIMARY));
    if (auto const more = result.field(PG_DIAG_MESSAGE_DETAIL); !more.empty()) what.append(": ").append(more);
    if (auto const where = result.field(PG_DIAG_CONTEXT); !where.empty()) what.append(" (").append(where).append(")");
    fail(state, detail::one_line(what), op);
  }
  /// Waits until the socket is ready, or throws that the connection is lost.
  void wait(short events, operation const& op, deadline until) {
    if (detail::wait_for(connection_, events, std::chrono::steady_clock::now() + until.silence)) return;
    lose(op, "the server did not answer in time");
  }

  static void note(void* self, PGresult const* notice) noexcept {
    if (postgres_result::field(notice, PG_DIAG_SEVERITY_NONLOCALIZED) != "WARNING") return;
    auto& db = *static_cast<postgres_connection*>(self);
    db.has_warned_ = true;
    db.warning_.clear();
    try {
      db.warning_ = postgres_result::field(notice, PG_DIAG_MESSAGE_PRIMARY);
    } catch (...) {  // nothing may be thrown through libpq
    }
  }

  std::string escaped(char* text) const {
    std::unique_ptr<char, decltype(&::PQfreemem)> const owned{text, ::PQfreemem};
    if (text == nullptr)
      throw error{
          {EINVAL, boost::system::system_category()}, "quote", {}, detail::one_line(::PQerrorMessage(connection_))};
    return text;
  }

  PGconn* connection_;
  PGTransactionStatusType must_be_ = PQTRANS_IDLE;
  bool is_lost_ = false;
  bool has_warned_ = false;
  postgres_plans plans_;
  std::string warning_;  // what it last warned of
};

}  // namespace stash::inline v1::detail
