#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <stash/detail/postgres.hpp>
#include <stdexcept>
#include <string>

namespace support {

/// The connection string of a real server's superuser (see postgres_cluster.py).
inline std::string server() {
  char const* const given = std::getenv("STASH_POSTGRES");
  if (given == nullptr) throw std::runtime_error("STASH_POSTGRES is not set");
  return given;
}

/// A connection of the test's own.
class client {
 public:
  explicit client(std::string const& info = server() + "?application_name=test")
      : db_(info, {"connect", "test"}, soon()) {}
  std::string operator()(std::string const& sql) {
    auto const found = db_.run(sql, {}, {"test", "test"}, soon());
    return found.rows() > 0 ? found.text(0, 0) : "";
  }

 private:
  static stash::detail::deadline soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(30); }
  stash::detail::postgres_connection db_;
};

/// A schema of its own for each test, gone afterwards.
struct schema {
  std::string name;
  schema() : name("stash \"test\" " + std::to_string(::getpid()) + '.' + std::to_string(++count())) {
    client{}("CREATE SCHEMA " + quoted());
  }
  ~schema() { client{}("DROP SCHEMA " + quoted() + " CASCADE"); }
  std::string quoted() const {
    std::string out = "\"";
    for (char const c : name) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + '"';
  }
  static int& count() {
    static int n = 0;
    return n;
  }
};

/// The server's other address, and with other settings: `info("user=reader")`.
inline std::string info(std::string const& more) {
  std::string const uri = server();
  auto const port = uri.substr(uri.rfind(':') + 1, uri.rfind('/') - uri.rfind(':') - 1);
  return "host=127.0.0.1 port=" + port + " dbname=postgres " +
         (more.find("user=") == more.npos ? "user=postgres " : "") + more;
}

}  // namespace support
