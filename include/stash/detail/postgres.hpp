#pragma once

#include <libpq-fe.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <boost/system/errc.hpp>
#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/error_condition.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stash/detail/directory.hpp>
#include <stash/detail/lock.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// SQLSTATEs (PostgreSQL's documentation, appendix A), each five digits of base 36 as a number.
class postgres_category_type final : public boost::system::error_category {
 public:
  constexpr postgres_category_type() noexcept : error_category(0x57a5'4c0d'e9b1'6e04ULL) {}
  char const* name() const noexcept override { return "postgresql"; }
  std::string message(int code) const override { return "SQLSTATE " + text_of(code); }
  boost::system::error_condition default_error_condition(int code) const noexcept override {
    namespace os = boost::system::errc;
    if (code == code_of("53100")) return os::make_error_condition(os::no_space_on_device);
    if (code == code_of("25006")) return os::make_error_condition(os::read_only_file_system);
    if (code == code_of("42501")) return os::make_error_condition(os::permission_denied);
    return error_category::default_error_condition(code);
  }

  static constexpr int code_of(std::string_view state) noexcept {
    int code = 0;
    for (char const c : state) code = code * 36 + (c <= '9' ? c - '0' : c - 'A' + 10);
    return code;
  }
  static std::string text_of(int code) {
    std::string state(5, '0');
    for (std::size_t i = 5; i-- > 0; code /= 36) {
      state[i] = static_cast<char>(code % 36 < 10 ? '0' + code % 36 : 'A' + code % 36 - 10);
    }
    return state;
  }
};

}  // namespace stash::inline v1::detail

namespace stash::inline v1 {

/// Of SQLSTATEs. Thread safe; never destroyed.
inline boost::system::error_category const& postgres_category() noexcept {
  static constexpr detail::postgres_category_type instance;
  return instance;
}
/// The code of what PostgreSQL calls `state`: `problem.code() == stash::sqlstate("53100")`, a full disk.
inline boost::system::error_code sqlstate(std::string_view state) noexcept {
  return {detail::postgres_category_type::code_of(state), postgres_category()};
}

}  // namespace stash::inline v1

namespace stash::inline v1::detail {

inline bool is_sqlstate(std::string_view text) noexcept {
  return text.size() == 5 && text.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == text.npos;
}

using deadline = std::chrono::steady_clock::time_point;

/// A parameter, sent as its bytes: of a text, a bytea or, with a cast in the SQL, of whatever has that text. nullopt is
/// NULL.
using postgres_parameter = std::optional<std::string_view>;

/// Rows whose columns are all text or bytea, in binary: their bytes.
class postgres_result {
 public:
  explicit postgres_result(PGresult* result) noexcept : result_(result, ::PQclear) {}
  PGresult* get() const noexcept { return result_.get(); }
  int rows() const noexcept { return ::PQntuples(get()); }
  bool is_null(int row, int column) const noexcept { return ::PQgetisnull(get(), row, column) != 0; }
  std::string text(int row, int column) const {
    return {::PQgetvalue(get(), row, column), static_cast<std::size_t>(::PQgetlength(get(), row, column))};
  }
  /// Empty where the server did not send it.
  static std::string_view field(PGresult const* result, int which) noexcept {
    char const* const text = ::PQresultErrorField(result, which);
    return text == nullptr ? "" : text;
  }
  std::string_view field(int which) const noexcept { return field(get(), which); }

 private:
  std::unique_ptr<PGresult, decltype(&::PQclear)> result_;
};

/// One connection, with a deadline on every call. Not thread safe.
///
/// Where it is lost on the way, the error's code is of class 08 and `is_lost()`: then nobody knows whether what was
/// asked was done.
class postgres_connection {
 public:
  /// Tries each host of `info` in turn. The server's end of it is gone at most a minute after this machine is.
  postgres_connection(std::string const& info, operation const& op, deadline until) {
    auto given = parsed(info, op);
    std::string problem;
    std::string state;
    auto const all = hosts(given);
    if (all > 1 && std::getenv("PGTARGETSESSIONATTRS") == nullptr) {
      given.insert(given.begin(), {"target_session_attrs", "read-write"});  // what was given may say another
    }
    // A host that is dark takes its share of the time only.
    auto const share = [&](std::size_t i) {
      auto const now = std::chrono::steady_clock::now();
      return now + std::min<deadline::duration>((until - now) / (all - i), std::chrono::seconds(10));
    };
    for (std::size_t i = 0; !connect(host(given, i), problem, state, share(i)); ++i) {
      if (i + 1 >= all) {
        throw error{sqlstate(state.empty() ? "08001" : state), std::string(op.name), std::string(op.subject),
                    "connect: " + problem};
      }
    }
    ::PQsetNoticeReceiver(connection_, note, this);
    try {
      set_up(op, until);
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

  /// Calls `each(row)` for each row as it comes, one in each result, and at the end once with a result without any.
  template <class Each>
  void run_by_row(std::string const& sql, std::initializer_list<postgres_parameter> parameters, operation const& op,
                  deadline until, Each each) {
    send(sql, std::span(parameters.begin(), parameters.size()), op);
    ::PQsetSingleRowMode(connection_);
    receive(op, until, each);
  }

  void forget_warning() noexcept { has_warned_ = false; }
  /// Throws `errc::indeterminate` where the server warned since the last call, or since `forget_warning`.
  void refuse_warning(operation const& op) {
    if (!std::exchange(has_warned_, false)) return;
    throw error{errc::indeterminate, std::string(op.name), std::string(op.subject), warning_};
  }
  void give_up() noexcept { is_lost_ = true; }

  [[noreturn]] void fail(std::string_view state, std::string_view what, operation const& op) const {
    throw error{sqlstate(state), std::string(op.name), std::string(op.subject), std::string(what)};
  }
  /// Throws what libpq says of the connection, which is lost.
  [[noreturn]] void lose(operation const& op) {
    is_lost_ = true;
    fail("08006", one_line(::PQerrorMessage(connection_)), op);
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
  /// Calls `each` with the results of what was sent. Throws what is wrong with one of them, at the end.
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
  using settings = std::vector<std::pair<std::string, std::string>>;

  template <class Each>
  void receive_all(operation const& op, deadline until, Each& each) {
    std::optional<postgres_result> failed;
    for (;;) {
      auto result = next(op, until);
      if (result.get() == nullptr) break;
      auto const status = ::PQresultStatus(result.get());
      bool const is_good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_SINGLE_TUPLE ||
                           status == PGRES_COPY_IN;
      if (!is_good) {
        if (!failed) failed.emplace(std::move(result));
        if (!is_sqlstate(failed->field(PG_DIAG_SQLSTATE))) break;  // of a connection that is to be lost
      } else {
        each(std::move(result));
      }
      if (status == PGRES_COPY_IN) break;  // there is no other until the data has come
    }
    if (failed) fail(*failed, op);
  }
  void send(std::string const& sql, std::span<postgres_parameter const> parameters, operation const& op) {
    std::vector<char const*> values;
    std::vector<int> sizes, formats(parameters.size(), 1);
    for (auto const& p : parameters) {
      values.push_back(!p ? nullptr : p->data() != nullptr ? p->data() : "");
      sizes.push_back(p ? static_cast<int>(p->size()) : 0);
    }
    if (::PQsendQueryParams(connection_, sql.c_str(), static_cast<int>(parameters.size()), nullptr, values.data(),
                            sizes.data(), formats.data(), 1) == 0) {
      lose(op);
    }
  }
  template <class Each>
  void run(std::string const& sql, std::span<postgres_parameter const> parameters, operation const& op, deadline until,
           Each each) {
    send(sql, parameters, op);
    receive(op, until, each);
  }
  /// The next result of what was sent; null: there is no more.
  postgres_result next(operation const& op, deadline until) {
    flush(op, until);
    while (::PQisBusy(connection_) != 0) {
      wait(POLLIN, op, until);
      if (::PQconsumeInput(connection_) == 0) lose(op);
    }
    return postgres_result{::PQgetResult(connection_)};
  }
  [[noreturn]] void fail(postgres_result const& result, operation const& op) {
    auto const state = result.field(PG_DIAG_SQLSTATE);
    if (!is_sqlstate(state)) lose(op);  // libpq's own words: the connection broke
    std::string what(result.field(PG_DIAG_MESSAGE_PRIMARY));
    if (auto const more = result.field(PG_DIAG_MESSAGE_DETAIL); !more.empty()) what.append(": ").append(more);
    if (auto const where = result.field(PG_DIAG_CONTEXT); !where.empty()) {
      what.append(" (").append(where).append(")");
    }
    fail(state, one_line(what), op);
  }
  /// Waits until the socket is ready, or throws that the connection is lost.
  void wait(short events, operation const& op, deadline until) {
    if (wait_for(connection_, events, until)) return;
    is_lost_ = true;
    fail("08006", "the server did not answer in time", op);
  }

  static settings parsed(std::string const& info, operation const& op) {
    char* problem = nullptr;
    std::unique_ptr<PQconninfoOption, decltype(&::PQconninfoFree)> const all{::PQconninfoParse(info.c_str(), &problem),
                                                                             ::PQconninfoFree};
    std::unique_ptr<char, decltype(&::PQfreemem)> const owned{problem, ::PQfreemem};
    if (all == nullptr) {
      throw error{{EINVAL, boost::system::system_category()},
                  std::string(op.name),
                  std::string(op.subject),
                  "the connection string: " + one_line(problem == nullptr ? "out of memory" : problem)};
    }
    settings result;
    for (auto const* o = all.get(); o->keyword != nullptr; ++o) {
      if (o->val != nullptr) result.emplace_back(o->keyword, o->val);
    }
    add_hosts_of_environment(result);
    return result;
  }
  /// PGHOST and its like may name several, too.
  static void add_hosts_of_environment(settings& given) {
    auto const is_given = [&](std::string_view name) {
      return std::any_of(given.begin(), given.end(), [&](auto const& one) { return one.first == name; });
    };
    if (is_given("service")) return;
    std::unique_ptr<PQconninfoOption, decltype(&::PQconninfoFree)> const all{::PQconndefaults(), ::PQconninfoFree};
    if (all == nullptr) throw std::bad_alloc{};
    for (auto const* o = all.get(); o->keyword != nullptr; ++o) {
      std::string const name = o->keyword;
      bool const is_wanted = name == "host" || name == "hostaddr" || name == "port";
      if (is_wanted && o->val != nullptr && !is_given(name)) given.emplace_back(name, o->val);
    }
  }

  static std::vector<std::string> parts(std::string const& list) {
    std::vector<std::string> result(1);
    for (char const c : list) {
      if (c == ',') {
        result.emplace_back();
      } else {
        result.back() += c;
      }
    }
    return result;
  }
  static std::size_t hosts(settings const& given) {
    std::size_t most = 1;
    for (auto const& [name, value] : given) {
      if (name == "host" || name == "hostaddr") most = std::max(most, parts(value).size());
    }
    return most;
  }
  /// The settings with the i-th of the hosts: libpq would try all, but wait for the first without an end.
  static settings host(settings given, std::size_t i) {
    for (auto& [name, value] : given) {
      if (name != "host" && name != "hostaddr" && name != "port") continue;
      auto const all = parts(value);
      value = all[all.size() == 1 ? 0 : std::min(i, all.size() - 1)];
    }
    return given;
  }

  bool connect(settings const& given, std::string& problem, std::string& state, deadline until) {
    std::vector<char const*> names, values;
    auto const add = [&](char const* name, char const* value) {
      names.push_back(name);
      values.push_back(value);
    };
    add("application_name", "stash");  // what is given may say another
    for (auto const& [name, value] : given) add(name.c_str(), value.c_str());
    add("client_encoding", "UTF8");
    add("keepalives", "1");
    add("keepalives_idle", "20");
    add("keepalives_interval", "10");
    add("keepalives_count", "3");
    add("tcp_user_timeout", "50000");
    add(nullptr, nullptr);
    std::unique_ptr<PGconn, decltype(&::PQfinish)> made{::PQconnectStartParams(names.data(), values.data(), 0),
                                                        ::PQfinish};
    if (made == nullptr) throw std::bad_alloc{};
    ::PQsetErrorVerbosity(made.get(), PQERRORS_VERBOSE);  // with the SQLSTATE, which libpq has nowhere else here
    bool in_time = true;
    auto status = ::PQstatus(made.get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
      in_time = wait_for(made.get(), status == PGRES_POLLING_READING ? POLLIN : POLLOUT, until);
      status = in_time ? ::PQconnectPoll(made.get()) : PGRES_POLLING_FAILED;
    }
    if (status == PGRES_POLLING_OK) {
      ::PQsetErrorVerbosity(made.get(), PQERRORS_DEFAULT);
      ::PQsetnonblocking(made.get(), 1);
      connection_ = made.release();
      return true;
    }
    std::string said = one_line(::PQerrorMessage(made.get()));
    if (auto const place = said.find(" LOCATION:"); place != said.npos) said.resize(place);  // in the server's source
    if (said.ends_with(':')) said.pop_back();
    if (!problem.empty()) problem += "; ";
    if (!in_time) problem.append(::PQhost(made.get())).append(" did not answer in time: ");
    problem += said;
    if (auto found = state_in(said); !found.empty()) state = std::move(found);
    if (::PQconnectionNeedsPassword(made.get()) != 0) state = "28P01";  // none was given
    return false;
  }

  /// The SQLSTATE in a verbose message: "FATAL:  28P01: password authentication failed".
  static std::string state_in(std::string_view message) {
    for (auto at = message.find(":  "); at != message.npos; at = message.find(":  ", at + 1)) {
      auto const word = message.substr(at + 3, 5);
      if (is_sqlstate(word) && message.substr(at + 8).starts_with(": ")) return std::string(word);
    }
    return {};
  }

  /// So that the session stays as long as this process, and no longer; and means by each name what we mean.
  void set_up(operation const& op, deadline until) {
    run("SELECT pg_catalog.set_config(s.name, w.value, false) FROM pg_catalog.pg_settings s JOIN (VALUES"
        " ('search_path', 'pg_catalog'), ('default_transaction_isolation', 'read committed'),"
        " ('row_security', 'off'),"  // an error where rows would be hidden
        " ('idle_session_timeout', '0'), ('client_connection_check_interval', '1000'), ('tcp_keepalives_idle', '20'), "
        "('tcp_keepalives_interval', '10'),"
        " ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '50000')) w (name, value) ON s.name = w.name",
        {}, op, until);
  }

  static bool wait_for(PGconn* c, short events, deadline until) {
    for (;;) {
      auto const left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      pollfd one{::PQsocket(c), events, 0};
      constexpr std::chrono::milliseconds::rep longest = 1'000'000'000;
      int const ready = ::poll(&one, 1, static_cast<int>(std::clamp(left.count(), decltype(longest){0}, longest)));
      if (ready >= 0 || errno != EINTR) return ready > 0;
    }
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
      throw error{{EINVAL, boost::system::system_category()}, "quote", {}, one_line(::PQerrorMessage(connection_))};
    return text;
  }

  static std::string one_line(std::string_view text) {
    std::string out;
    for (char const c : text) out += c == '\n' || c == '\t' ? ' ' : c;
    while (out.ends_with(' ')) out.pop_back();
    return out;
  }

  PGconn* connection_ = nullptr;
  bool is_lost_ = false;
  bool has_warned_ = false;
  std::string warning_;  // what it last warned of
};

/// The point in time that is `timeout` from now; a day at most, so that it has a number.
inline deadline deadline_in(std::chrono::milliseconds timeout) {
  return std::chrono::steady_clock::now() + std::min<std::chrono::milliseconds>(timeout, std::chrono::hours(24));
}

/// Rolled back unless committed; where that fails, the connection is lost. `until` is asked for each statement's end.
class postgres_transaction {
 public:
  postgres_transaction(postgres_connection& db, operation const& op, std::function<deadline()> until)
      : db_(db), op_(op), until_(std::move(until)) {
    db_.run("BEGIN", {}, op_, until_());
  }
  postgres_transaction(postgres_transaction const&) = delete;
  postgres_transaction& operator=(postgres_transaction const&) = delete;
  ~postgres_transaction() {
    if (!open_ || db_.is_lost()) return;
    try {
      db_.run("ROLLBACK", {}, op_, until_());
    } catch (...) {
      db_.give_up();
    }
  }
  /// Throws `errc::indeterminate` where the server warns: it may have stopped waiting for a standby.
  void commit() {
    db_.forget_warning();
    auto const done = db_.run("COMMIT", {}, op_, until_());
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

/// Whether a server that said so may be about to come back, or another to take its place.
inline bool may_pass(boost::system::error_code const& code) {
  for (char const* const state : {"08001", "08006", "57P01", "57P02", "57P03", "53300", "25006"}) {
    if (code == sqlstate(state)) return true;
  }
  return false;
}

/// Makes the connection and calls `check`, which may refuse it; where there was one before (`again`), until it works or
/// the time is over.
template <class Check>
void connect(std::optional<postgres_connection>& db, std::string const& info, bool again, operation const& op,
             deadline until, Check check) {
  for (;;) {
    try {
      db.emplace(info, op, until);
      check();
      return;
    } catch (error const& problem) {
      db.reset();
      if (!again || !may_pass(problem.code()) || std::chrono::steady_clock::now() >= until) throw;
    } catch (...) {
      db.reset();
      throw;
    }
    sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace stash::inline v1::detail
