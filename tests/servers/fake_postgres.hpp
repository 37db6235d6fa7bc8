#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace support {

/// A port of this machine at which calls are taken; one that waits for a call waits ten seconds.
struct listener {
  int const fd = ::socket(AF_INET, SOCK_STREAM, 0);
  std::string port;

  /// Of 127.0.0.1, or of another address of this machine.
  explicit listener(char const* address = "127.0.0.1", int number = 0) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<std::uint16_t>(number));
    BOOST_REQUIRE(::inet_pton(AF_INET, address, &at.sin_addr) == 1);
    socklen_t size = sizeof at;
    timeval const longest{10, 0};
    BOOST_REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest) == 0);
    BOOST_REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    BOOST_REQUIRE(::listen(fd, 5) == 0);
    BOOST_REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0);
    port = std::to_string(ntohs(at.sin_port));
  }
  listener(listener const&) = delete;
  listener& operator=(listener const&) = delete;
  ~listener() { ::close(fd); }
};

/// Says to each thing that it is sent the next of `answers`, and keeps what it was sent. For one connection.
struct fake_server {
  listener const place;
  std::string const info = "host=127.0.0.1 sslmode=disable gssencmode=disable user=postgres port=" + place.port;
  std::string asked;  // to be read when `end` has returned
  std::thread answering;

  explicit fake_server(std::vector<std::string> answers) {
    answering = std::thread{[this, all = std::move(answers)] {
      int const client = ::accept(place.fd, nullptr, nullptr);
      char bytes[10'000];
      for (auto const& answer : all) {
        auto const n = ::read(client, bytes, sizeof bytes);
        if (n <= 0) break;
        asked.append(bytes, static_cast<std::size_t>(n));
        if (::write(client, answer.data(), answer.size()) < 0) break;
      }
      ::close(client);
    }};
  }
  void end() {
    if (answering.joinable()) answering.join();
  }
  ~fake_server() { end(); }

  /// As the protocol frames it (https://www.postgresql.org/docs/15/protocol-message-formats.html).
  static std::string message(char type, std::string const& body) { return type + number(body.size() + 4, 4) + body; }
  static std::string fields(char type, std::initializer_list<std::string> all) {
    std::string body;
    for (auto const& one : all) body += one + '\0';
    return message(type, body + '\0');
  }
  static std::string number(std::uint64_t n, int bytes) {
    std::string out;
    for (int shift = 8 * bytes - 8; shift >= 0; shift -= 8) out += static_cast<char>(n >> shift & 0xff);
    return out;
  }
  static std::string ready() { return message('Z', "I"); }
  /// The welcome of a server's process.
  static std::string welcome(int process = 4711) {
    return message('R', number(0, 4)) + message('K', number(static_cast<std::uint64_t>(process), 4) + number(1, 4)) +
           ready();
  }
  /// The answer to a statement: one row of texts.
  static std::string row(std::initializer_list<std::string> all) {
    std::string names, values;
    for (auto const& one : all) {
      names +=
          "c" + number(0, 1) + number(0, 6) + number(25, 4) + number(0xffff, 2) + number(0xffffffff, 4) + number(1, 2);
      values += number(one.size(), 4) + one;
    }
    auto const n = number(all.size(), 2);
    return message('T', n + names) + message('D', n + values) + message('C', std::string("SELECT 1") + '\0') + ready();
  }
  /// The same to a statement that came with its parameters apart.
  static std::string row_of_query(std::initializer_list<std::string> all) {
    return message('1', "") + message('2', "") + row(all);
  }
};

}  // namespace support
