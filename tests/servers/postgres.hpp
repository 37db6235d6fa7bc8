#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <stash/detail/postgres/reconnect.hpp>
#include <stdexcept>
#include <string>
#include <thread>

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
    stash::detail::operation const op{"test", "test"};
    if (sql == "BEGIN") return db_.begin(op, soon()), "";
    if (sql == "COMMIT" || sql == "ROLLBACK") return db_.end(sql.c_str(), op, soon()), "";
    auto const found = db_.run(sql, {}, op, soon());
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
  ~schema() {
    client{}("DROP SCHEMA " + quoted() + " CASCADE");
    client{}("DROP SCHEMA IF EXISTS " + beside() + " CASCADE");
  }
  std::string quoted() const { return quoted(name); }
  /// Where a datastore builds the tables that will take the place of those here.
  std::string beside(std::string const& role = "postgres") const { return quoted("stash_beside_" + name + '_' + role); }
  static std::string quoted(std::string const& text) {
    std::string out = "\"";
    for (char const c : text) out += c == '"' ? "\"\"" : std::string(1, c);
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

/// While it lives, each commit waits for a standby that is not there. It is seen to do so: the server takes its time.
struct missing_standby {
  client& query;
  std::atomic<bool> ended{false};
  std::future<void> probe;

  explicit missing_standby(client& q) : query(q) {
    query("SET synchronous_commit = local");
    set("'nobody'");
    probe = std::async(std::launch::async, [this] {
      client one{server() + "?application_name=probe"};
      while (!ended) one("SELECT pg_logical_emit_message(true, 'test', '')::text");
    });
    while (query("SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name ="
                 " 'probe'") != "1") {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  ~missing_standby() {
    ended = true;
    set("''");
  }
  void set(std::string const& names) {
    query("ALTER SYSTEM SET synchronous_standby_names = " + names);
    query("SELECT pg_reload_conf()::text");
  }
};

}  // namespace support
