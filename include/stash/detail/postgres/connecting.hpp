#pragma once

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <stash/detail/directory.hpp>
#include <stash/detail/postgres/result.hpp>
#include <stash/detail/postgres/sqlstate.hpp>
#include <stash/detail/postgres/wait.hpp>
#include <stash/detail/standard_descriptors.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// How a connection is made: as PQconnectdb does it, but by a deadline.
class postgres_connecting {
 public:
  using connected = std::unique_ptr<PGconn, decltype(&::PQfinish)>;

  /// Tries each host of `info` in turn. The server's end of it is gone at most a minute after this machine is.
  static connected connect(std::string const& info, operation const& op, deadline until) {
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
    for (std::size_t i = 0;; ++i) {
      if (auto made = connect(host(given, i), problem, state, share(i))) return made;
      if (i + 1 >= all) {
        throw error{sqlstate(state.empty() ? "08001" : state), std::string(op.name), std::string(op.subject),
                    "connect: " + problem};
      }
    }
  }

 private:
  using settings = std::vector<std::pair<std::string, std::string>>;

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

  /// Null: `problem` and `state` say why not.
  static connected connect(settings const& given, std::string& problem, std::string& state, deadline until) {
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
    occupy_standard_descriptors();  // it makes sockets
    connected made{::PQconnectStartParams(names.data(), values.data(), 0), ::PQfinish};
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
      return made;
    }
    std::string said = one_line(::PQerrorMessage(made.get()));
    if (auto const place = said.find(" LOCATION:"); place != said.npos) said.resize(place);  // in the server's source
    if (said.ends_with(':')) said.pop_back();
    if (!problem.empty()) problem += "; ";
    if (!in_time) problem.append(::PQhost(made.get())).append(" did not answer in time: ");
    problem += said;
    if (auto found = state_in(said); !found.empty()) state = std::move(found);
    if (::PQconnectionNeedsPassword(made.get()) != 0) state = "28P01";  // none was given
    return {nullptr, ::PQfinish};
  }

  /// The SQLSTATE in a verbose message: "FATAL:  28P01: password authentication failed".
  static std::string state_in(std::string_view message) {
    for (auto at = message.find(":  "); at != message.npos; at = message.find(":  ", at + 1)) {
      auto const word = message.substr(at + 3, 5);
      if (is_sqlstate(word) && message.substr(at + 8).starts_with(": ")) return std::string(word);
    }
    return {};
  }
};

}  // namespace stash::inline v1::detail
