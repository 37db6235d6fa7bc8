#pragma once

#include <libpq-fe.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <new>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/result.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/detail/system/standard_descriptors.hpp>
#include <stash/error.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// How a connection is made: as PQconnectdb does it, but by a deadline, which libpq does not have where it does not
/// wait itself. So we go through the hosts, and the addresses of each, and give each its part of the time, or less
/// where connect_timeout says so (https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNECT-CONNECT-TIMEOUT).
///
/// No error tells what could be a piece of a password: a string that was not written as libpq reads it may have that
/// anywhere.
class postgres_connecting {
 public:
  using connected = std::unique_ptr<PGconn, decltype(&::PQfinish)>;

  /// Tries each address of each host of `info` in turn; no other where one does not let us in. The server's end of it
  /// is gone at most a minute after this machine is.
  static connected connect(std::string const& info, operation const& op, deadline until) {
    occupy_standard_descriptors();  // libpq and the resolver make sockets and open files
    auto given = parsed(info, op);
    auto const used = resolved(given, op);
    std::string problem, state;
    auto const all = places(used, op, problem);
    auto const longest = connect_timeout(used, op);
    std::erase_if(given, [](auto const& one) { return is_of_place(one.first); });
    if (parts(value(used, "host")).size() > 1 && value(used, "target_session_attrs") == "any") {
      given.emplace_back("target_session_attrs", "read-write");
    }
    for (std::size_t i = 0; i < all.size() && !state.starts_with("28"); ++i) {
      if (auto made = connect(given, all[i], problem, state, end_of(all.size() - i, longest, until))) return made;
    }
    if (could_tell_a_password(used)) {
      problem =
          "failed; why is not shown: there is an @ in the host or the database, or a : ; / in the user, and a piece of "
          "a"
          " password may be beside it (in a URI write @ as %40, / as %2F)";
    }
    throw error{stash::sqlstate(state.empty() ? "08001" : state), std::string(op.name), std::string(op.subject),
                "connect: " + problem};
  }

 private:
  using settings = std::vector<std::pair<std::string, std::string>>;

  /// One address; empty where libpq knows it, of a socket in the file system.
  struct place {
    std::string host, address, port;
  };
  static bool is_of_place(std::string_view name) { return name == "host" || name == "hostaddr" || name == "port"; }

  [[noreturn]] static void refuse(std::string const& why, operation const& op) {
    throw error{{EINVAL, boost::system::system_category()},
                std::string(op.name),
                std::string(op.subject),
                "the connection string: " + why};
  }

  /// What stands in the string itself.
  static settings parsed(std::string const& info, operation const& op) {
    char* problem = nullptr;
    std::unique_ptr<PQconninfoOption, decltype(&::PQconninfoFree)> const all{::PQconninfoParse(info.c_str(), &problem),
                                                                             ::PQconninfoFree};
    std::unique_ptr<char, decltype(&::PQfreemem)> const owned{problem, ::PQfreemem};
    if (all == nullptr) refuse(without_values(problem == nullptr ? "out of memory" : detail::one_line(problem)), op);
    return values_of(all.get());
  }
  /// libpq quotes what it could not read, which may be a password. Its own words end where something else begins.
  static std::string without_values(std::string const& said) {
    constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -";
    auto const end = said.find_first_not_of(plain);
    return end == said.npos ? said
                            : said.substr(0, end) + "... (what libpq says of it is not shown: it may be a password)";
  }
  static settings values_of(PQconninfoOption const* all) {
    settings result;
    for (auto const* o = all; o->keyword != nullptr; ++o) {
      if (o->val != nullptr) result.emplace_back(o->keyword, o->val);
    }
    return result;
  }

  /// What libpq will use, with a service file and the environment. It tells that of a connection only: here, of one
  /// that it refuses to make, before it looks for any host.
  static settings resolved(settings given, operation const& op) {
    constexpr auto refused = "none, but tell what would be used";
    given.emplace_back("sslmode", refused);
    given.emplace_back("password", "-");  // so that no password file is read
    auto const none = start(given);
    std::string const said = ::PQerrorMessage(none.get());
    if (said.find(refused) == said.npos) refuse(detail::one_line(said), op);
    std::unique_ptr<PQconninfoOption, decltype(&::PQconninfoFree)> const all{::PQconninfo(none.get()),
                                                                             ::PQconninfoFree};
    if (all == nullptr) throw std::bad_alloc{};
    return values_of(all.get());
  }
  static std::string value(settings const& all, std::string_view name) {
    auto const found = std::find_if(all.begin(), all.end(), [&](auto const& one) { return one.first == name; });
    return found == all.end() ? "" : found->second;
  }
  static bool could_tell_a_password(settings const& used) {
    auto const database = value(used, "dbname");
    auto const is_odd = [](std::string const& text) { return text.find('@', 1) != text.npos; };
    auto const user = value(used, "user");  // a role may well have an @ in its name
    return is_odd(value(used, "host")) || (is_odd(database) && database != user) ||
           user.find_first_of(":;/") != user.npos;
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

  static std::vector<place> places(settings const& used, operation const& op, std::string& problem) {
    auto const hosts = parts(value(used, "host")), addresses = parts(value(used, "hostaddr")),
               ports = parts(value(used, "port"));
    std::vector<place> result;
    for (std::size_t i = 0; i < std::max(hosts.size(), addresses.size()); ++i) {
      auto const of = [&](std::vector<std::string> const& all) { return all[std::min(i, all.size() - 1)]; };
      place const one{of(hosts), of(addresses), of(ports).empty() ? "5432" : of(ports)};
      check_port(one.port, op);
      bool const is_name =
          one.address.empty() && !one.host.empty() && one.host.front() != '/' && one.host.front() != '@';
      if (is_name) {
        add_addresses(one, result, problem);
      } else {
        result.push_back(one);
      }
    }
    return result;
  }
  static void check_port(std::string const& port, operation const& op) {
    if (port.size() > 5 || port.find_first_not_of("0123456789 ") != port.npos) {
      refuse("a port that is no number is not shown: it may be a piece of a password", op);
    }
  }
  static void add_addresses(place const& of, std::vector<place>& result, std::string& problem) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    int const failed = ::getaddrinfo(of.host.c_str(), of.port.c_str(), &hints, &found);
    if (failed != 0) {
      add(problem, "could not translate host name \"" + of.host + "\" to address: " + ::gai_strerror(failed));
      return;
    }
    std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> const all{found, ::freeaddrinfo};
    for (auto const* a = all.get(); a != nullptr; a = a->ai_next) {
      char text[NI_MAXHOST] = "";
      ::getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
      result.push_back({of.host, text, of.port});  // without an address, where it has no text: libpq finds it again
    }
  }

  /// Zero: none was given. As libpq reads it: less than nothing is none, and one second two.
  static std::chrono::seconds connect_timeout(settings const& used, operation const& op) {
    auto const given = value(used, "connect_timeout");
    char* end = nullptr;
    long const seconds = std::strtol(given.c_str(), &end, 10);
    if (std::string_view(end).find_first_not_of(' ') != std::string_view::npos) {
      refuse("connect_timeout is no number of seconds", op);
    }
    if (seconds <= 0) return std::chrono::seconds(0);
    return std::chrono::seconds(std::clamp(seconds, 2L, 24L * 60 * 60));
  }
  /// The end of the first of `left` tries: one that is dark takes its share of the time only.
  static std::chrono::steady_clock::time_point end_of(std::size_t left, std::chrono::seconds longest,
                                                      deadline const& until) {
    auto const now = std::chrono::steady_clock::now();
    if (longest.count() == 0) longest = left > 1 ? std::chrono::seconds(10) : std::chrono::hours(24);
    return now + std::min<deadline::duration>((until - now) / left, longest);
  }

  static void add(std::string& problem, std::string const& another) {
    problem.append(problem.empty() ? "" : "; ").append(another);
  }
  static connected start(settings const& all) {
    std::vector<char const*> names, values;
    for (auto const& [name, value] : all) {
      names.push_back(name.c_str());
      values.push_back(value.c_str());
    }
    names.push_back(nullptr);
    values.push_back(nullptr);
    connected made{::PQconnectStartParams(names.data(), values.data(), 0), ::PQfinish};
    if (made == nullptr) throw std::bad_alloc{};
    ::PQsetNoticeReceiver(  // libpq would write what the server tells to stderr
        made.get(), [](void*, PGresult const*) {}, nullptr);
    return made;
  }

  /// Null: `problem` and `state` say why not.
  static connected connect(settings given, place const& to, std::string& problem, std::string& state,
                           std::chrono::steady_clock::time_point until) {
    given.insert(given.begin(), {"application_name", "stash"});  // what is given may say another
    for (auto const& [name, value] :
         std::initializer_list<std::pair<char const*, std::string>>{{"host", to.host},
                                                                    {"hostaddr", to.address},
                                                                    {"port", to.port},
                                                                    {"client_encoding", "UTF8"},
                                                                    {"keepalives", "1"},
                                                                    {"keepalives_idle", "20"},
                                                                    {"keepalives_interval", "10"},
                                                                    {"keepalives_count", "3"},
                                                                    {"tcp_user_timeout", "50000"}}) {
      given.emplace_back(name, value);
    }
    auto made = start(given);
    ::PQsetErrorVerbosity(made.get(), PQERRORS_VERBOSE);  // with the SQLSTATE, which libpq has nowhere else here
    bool in_time = true;
    auto status = ::PQstatus(made.get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
      in_time = detail::wait_for(made.get(), status == PGRES_POLLING_READING ? POLLIN : POLLOUT, until);
      status = in_time ? ::PQconnectPoll(made.get()) : PGRES_POLLING_FAILED;
    }
    if (status == PGRES_POLLING_OK) {
      ::PQsetErrorVerbosity(made.get(), PQERRORS_DEFAULT);
      ::PQsetnonblocking(made.get(), 1);
      return made;
    }
    std::string said = detail::one_line(::PQerrorMessage(made.get()));
    if (auto const line = said.find(" LOCATION:"); line != said.npos) said.resize(line);  // in the server's source
    if (said.ends_with(':')) said.pop_back();
    if (auto found = state_in(said); !found.empty()) state = std::move(found);
    if (::PQconnectionNeedsPassword(made.get()) != 0) state = "28P01";  // none was given
    if (!in_time) said.insert(0, to.address + " did not answer in time: ");
    bool const is_named = to.address != to.host && !to.address.empty();
    add(problem, (is_named ? to.host + " (" + to.address + "): " : "") + said);  // libpq tells the address only
    return {nullptr, ::PQfinish};
  }

  /// The SQLSTATE in a verbose message: "FATAL:  28P01: password authentication failed".
  static std::string state_in(std::string_view message) {
    for (auto at = message.find(":  "); at != message.npos; at = message.find(":  ", at + 1)) {
      auto const word = message.substr(at + 3, 5);
      if (detail::is_sqlstate(word) && message.substr(at + 8).starts_with(": ")) return std::string(word);
    }
    return {};
  }
};

}  // namespace stash::inline v1::detail
