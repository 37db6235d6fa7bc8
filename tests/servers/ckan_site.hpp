#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdlib>
#include <stash/detail/ckan/http.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace support {

/// A site that stands in for CKAN (tests/servers/ckan_site.py), as a process of its own while this lives.
class ckan_site {
 public:
  /// `arguments` are those of the program's CkanSite.
  explicit ckan_site(boost::json::object const& arguments = {}) {
    std::array<int, 2> to{}, from{};
    if (::pipe2(to.data(), O_CLOEXEC) != 0 || ::pipe2(from.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    char const* const given = std::getenv("STASH_CKAN_SITE");
    std::string const here = __FILE__;
    std::string const program = given != nullptr ? given : here.substr(0, here.rfind('/') + 1) + "ckan_site.py";
    std::string const json = boost::json::serialize(arguments);
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(to[0], STDIN_FILENO);
      ::dup2(from[1], STDOUT_FILENO);
      ::execlp("python3", "python3", program.c_str(), json.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    stdin_ = to[1];
    char c = 0;
    while (::read(from[0], &c, 1) == 1 && c != '\n') url_ += c;
    ::close(from[0]);
    if (url_.empty()) throw std::runtime_error("python3 " + program + " did not start");
  }
  ckan_site(ckan_site const&) = delete;
  ckan_site& operator=(ckan_site const&) = delete;
  ~ckan_site() {
    ::close(stdin_);
    ::waitpid(child_, nullptr, 0);
  }

  std::string const& url() const noexcept { return url_; }

  /// What it has: `resources`, `tables`, `requests`.
  boost::json::object state() { return control("state", {}); }
  void reset() { control("reset", {}); }
  /// Nothing fails from now on.
  void heal() { control("heal", {}); }
  /// At the nth request of this action from now on.
  void fail(std::string const& action, boost::json::value nth, boost::json::value kind, boost::json::object more = {}) {
    more["action"] = action;
    more["nth"] = std::move(nth);
    more["kind"] = std::move(kind);
    control("fault", more);
  }

 private:
  boost::json::object control(std::string const& what, boost::json::object const& sent) {
    auto const answer =
        http_.post(url_ + "/control/" + what, boost::json::serialize(sent), true, std::chrono::seconds(60));
    if (answer.status != 200) throw std::runtime_error("control/" + what + ": " + answer.problem + answer.body);
    return boost::json::parse(answer.body).as_object();
  }

  pid_t child_ = -1;
  int stdin_ = -1;
  std::string url_;
  stash::ckan::detail::http_client http_{
      "", {std::chrono::seconds(10), std::chrono::seconds(60), std::chrono::seconds(60)}};
};

}  // namespace support
