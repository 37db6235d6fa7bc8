#pragma once

#include <libpq-fe.h>
#include <netdb.h>
#include <sys/socket.h>

#include <boost/system/errc.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/error.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>

namespace stash::inline v1::detail {

/// The address of our end, "127.0.0.1 40312"; a Unix socket has none.
inline std::string own_address(PGconn const* connection) {
  sockaddr_storage at{};
  socklen_t size = sizeof at;
  char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
  auto* const any = reinterpret_cast<sockaddr*>(&at);
  ::getsockname(::PQsocket(connection), any, &size);  // of which nothing is an address where it fails
  int const failed = ::getnameinfo(any, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
  return failed != 0 ? "unknown" : std::string(host) + ' ' + port;
}

/// Before anything of the session is changed, which a pooler would hand on to its next client. Throws EOPNOTSUPP.
template <class Connection>
void refuse_pooler(Connection& db, operation const& op, deadline until) {
  auto const refuse = [&] {
    throw error{boost::system::errc::make_error_code(boost::system::errc::operation_not_supported),
                std::string(op.name), std::string(op.subject),
                "there is a pooler between: settings and locks belong to a session of the server; connect to the"
                " server itself"};
  };
  auto const found = db.run(
      "SELECT pg_catalog.pg_backend_pid()::pg_catalog.text, pg_catalog.host(pg_catalog.inet_client_addr()),"
      " pg_catalog.inet_client_port()::pg_catalog.text",
      {}, op, until);
  // pgbouncer and most others make a process id up for their clients.
  if (found.text(0, 0) != std::to_string(::PQbackendPID(db.get()))) refuse();
  // pgpool passes on the server's own. It has a connection of its own to the server, but so has what merely passes on
  // bytes: only pgpool answers this. To a server it is an error, which its log tells; so not where the server sees us.
  if (found.text(0, 1) + ' ' + found.text(0, 2) == detail::own_address(db.get())) return;
  try {
    db.execute("SHOW pool_version", op, until);  // not by the other protocol: pgpool does not look there
  } catch (error const& problem) {
    if (problem.code() == stash::sqlstate("42704")) return;
    throw;
  }
  refuse();
}

}  // namespace stash::inline v1::detail
