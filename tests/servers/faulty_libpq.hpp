#pragma once

#include <dlfcn.h>
#include <libpq-fe.h>
#include <poll.h>

#include <boost/system/error_code.hpp>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "support.hpp"

namespace support {

/// While it lives, `before` is asked ahead of each call of libpq, and of poll, with the call's name and, where it sends
/// any, its SQL or its bytes: true makes it fail as it does when memory or the connection is gone. What `before` itself
/// calls does not fail. One at a time.
class faulty_libpq {
 public:
  using hook = std::function<bool(std::string_view call, std::string_view sql)>;
  explicit faulty_libpq(hook before) { before_ = std::move(before); }
  faulty_libpq(faulty_libpq const&) = delete;
  faulty_libpq& operator=(faulty_libpq const&) = delete;
  ~faulty_libpq() { before_ = nullptr; }

  /// The SQL of a plan, which is the same in each session.
  static void note_plan(char const* name, char const* sql) {
    std::lock_guard const alone{plans_mutex_};
    plans_[name] = sql;
  }
  static std::string plan(char const* name) {
    std::lock_guard const alone{plans_mutex_};
    return plans_[name];
  }

  /// While it lives, nothing fails.
  class pause {
   public:
    pause() : asked_(std::exchange(before_, nullptr)) {}
    pause(pause const&) = delete;
    pause& operator=(pause const&) = delete;
    ~pause() { before_ = asked_; }

   private:
    hook const asked_;
  };

  static bool fails(char const* call, std::string_view sql = "") {
    if (!before_) return false;
    hook const asked = before_;
    pause const meanwhile;
    return asked(call, sql);
  }

 private:
  static inline hook before_;
  static inline std::mutex plans_mutex_;
  static inline std::map<std::string, std::string> plans_;
};

/// No failure: asked after a PQflush that left nothing; true makes it say that something is left.
constexpr char rest_to_flush[] = "rest to flush";

/// ENOMEM for what is thrown where libpq had no memory.
template <class F>
boost::system::error_code code_of_any(F f) {
  try {
    return code_of(f);
  } catch (std::bad_alloc const&) {
    return os(ENOMEM);
  }
}

template <class F>
F* real(F*, char const* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace support

// In front of libpq's and the C library's own, for all that the program calls.
#define REAL(name) support::real(&::name, #name)

extern "C" {

[[gnu::weak]] PQconninfoOption* PQconninfoParse(char const* info, char** problem) {
  if (support::faulty_libpq::fails("PQconninfoParse")) return *problem = nullptr, nullptr;
  return REAL(PQconninfoParse)(info, problem);
}
[[gnu::weak]] PQconninfoOption* PQconninfo(PGconn* c) {
  return support::faulty_libpq::fails("PQconninfo") ? nullptr : REAL(PQconninfo)(c);
}
[[gnu::weak]] PGconn* PQconnectStartParams(char const* const* names, char const* const* values, int expand) {
  return support::faulty_libpq::fails("PQconnectStartParams") ? nullptr
                                                              : REAL(PQconnectStartParams)(names, values, expand);
}
[[gnu::weak]] PostgresPollingStatusType PQconnectPoll(PGconn* c) {
  return support::faulty_libpq::fails("PQconnectPoll") ? PGRES_POLLING_FAILED : REAL(PQconnectPoll)(c);
}
[[gnu::weak]] ConnStatusType PQstatus(PGconn const* c) {
  return support::faulty_libpq::fails("PQstatus") ? CONNECTION_BAD : REAL(PQstatus)(c);
}
[[gnu::weak]] char const* PQparameterStatus(PGconn const* c, char const* name) {
  return support::faulty_libpq::fails("PQparameterStatus", name) ? nullptr : REAL(PQparameterStatus)(c, name);
}
[[gnu::weak]] char* PQescapeIdentifier(PGconn* c, char const* text, std::size_t size) {
  return support::faulty_libpq::fails("PQescapeIdentifier") ? nullptr : REAL(PQescapeIdentifier)(c, text, size);
}
[[gnu::weak]] char* PQescapeLiteral(PGconn* c, char const* text, std::size_t size) {
  return support::faulty_libpq::fails("PQescapeLiteral") ? nullptr : REAL(PQescapeLiteral)(c, text, size);
}
[[gnu::weak]] int PQsendQueryParams(PGconn* c, char const* sql, int n, Oid const* types, char const* const* values,
                                    int const* sizes, int const* formats, int format) {
  if (support::faulty_libpq::fails("PQsendQueryParams", sql)) return 0;
  return REAL(PQsendQueryParams)(c, sql, n, types, values, sizes, formats, format);
}
[[gnu::weak]] int PQsendPrepare(PGconn* c, char const* name, char const* sql, int n, Oid const* types) {
  support::faulty_libpq::note_plan(name, sql);
  if (support::faulty_libpq::fails("PQsendPrepare", sql)) return 0;
  return REAL(PQsendPrepare)(c, name, sql, n, types);
}
[[gnu::weak]] int PQsendQueryPrepared(PGconn* c, char const* name, int n, char const* const* values, int const* sizes,
                                      int const* formats, int format) {
  if (support::faulty_libpq::fails("PQsendQueryPrepared", support::faulty_libpq::plan(name))) return 0;
  return REAL(PQsendQueryPrepared)(c, name, n, values, sizes, formats, format);
}
[[gnu::weak]] int PQenterPipelineMode(PGconn* c) {
  return support::faulty_libpq::fails("PQenterPipelineMode") ? 0 : REAL(PQenterPipelineMode)(c);
}
[[gnu::weak]] int PQexitPipelineMode(PGconn* c) {
  return support::faulty_libpq::fails("PQexitPipelineMode") ? 0 : REAL(PQexitPipelineMode)(c);
}
[[gnu::weak]] int PQpipelineSync(PGconn* c) {
  if (support::faulty_libpq::fails("PQpipelineSync")) return 0;
  support::faulty_libpq::pause const within;  // it calls PQflush, through which nothing may be thrown
  return REAL(PQpipelineSync)(c);
}
[[gnu::weak]] int PQsendQuery(PGconn* c, char const* sql) {
  return support::faulty_libpq::fails("PQsendQuery", sql) ? 0 : REAL(PQsendQuery)(c, sql);
}
[[gnu::weak]] int PQflush(PGconn* c) {
  if (support::faulty_libpq::fails("PQflush")) return -1;
  int const rest = REAL(PQflush)(c);
  return rest == 0 && support::faulty_libpq::fails(support::rest_to_flush) ? 1 : rest;
}
[[gnu::weak]] int PQconsumeInput(PGconn* c) {
  return support::faulty_libpq::fails("PQconsumeInput") ? 0 : REAL(PQconsumeInput)(c);
}
/// As where the connection broke before the answer had come: with libpq's own words, and no SQLSTATE.
[[gnu::weak]] PGresult* PQgetResult(PGconn* c) {
  PGresult* const result = REAL(PQgetResult)(c);
  if (!support::faulty_libpq::fails("PQgetResult")) return result;
  ::PQclear(result);
  return ::PQmakeEmptyPGresult(c, PGRES_FATAL_ERROR);
}
/// As where something between keeps a transaction open, or ended one.
[[gnu::weak]] PGTransactionStatusType PQtransactionStatus(PGconn const* c) {
  auto const status = REAL(PQtransactionStatus)(c);
  if (!support::faulty_libpq::fails("PQtransactionStatus")) return status;
  return status == PQTRANS_IDLE ? PQTRANS_INTRANS : PQTRANS_IDLE;
}
[[gnu::weak]] int PQputCopyData(PGconn* c, char const* bytes, int n) {
  return support::faulty_libpq::fails("PQputCopyData", {bytes, static_cast<std::size_t>(n)})
             ? -1
             : REAL(PQputCopyData)(c, bytes, n);
}
[[gnu::weak]] int PQputCopyEnd(PGconn* c, char const* why) {
  return support::faulty_libpq::fails("PQputCopyEnd") ? -1 : REAL(PQputCopyEnd)(c, why);
}
[[gnu::weak]] int poll(pollfd* all, nfds_t n, int timeout) {
  if (!support::faulty_libpq::fails("poll")) return REAL(poll)(all, n, timeout);
  errno = ENOMEM;
  return -1;
}
}

#undef REAL
