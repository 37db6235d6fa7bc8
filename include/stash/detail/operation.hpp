#pragma once

#include <boost/system/error_code.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <stash/detail/system/sleep.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// What is being done, for the errors that end it.
struct operation {
  std::string_view name, subject;

  [[noreturn]] void fail(int os_error, std::string_view call, std::string_view path) const {
    throw error{{os_error, boost::system::system_category()},
                std::string(name),
                std::string(subject),
                std::string(call).append(" ").append(path)};
  }
  [[noreturn]] void fail(errc code, std::string_view path, std::string_view why) const {
    throw error{code, std::string(name), std::string(subject), std::string(path).append(": ").append(why)};
  }
};

/// Calls again as long as a signal interrupted, for two seconds: then it is no signal but a filter of system calls, or
/// a file system, that always says so.
template <class Call>
auto retried(Call call) {
  std::chrono::steady_clock::time_point start;
  for (bool is_first = true;; is_first = false) {
    auto const result = call();
    if (result != -1 || errno != EINTR) return result;
    if (is_first) start = std::chrono::steady_clock::now();
    if (detail::since(start) >= std::chrono::seconds(2)) return result;
  }
}

/// For a name that nobody else has; `path` is of the file or the directory.
template <class Ops>
std::uint64_t random_number(Ops const& ops, operation const& op, std::string_view path) {
  std::uint64_t n = 0;
  if (retried([&] { return ops.random(&n, sizeof n); }) != 0) op.fail(errno, "getentropy", path);
  return n;
}

/// What an error says, with the place of the record or field that it says it of.
inline std::string with_place(std::string what, std::string const& place) {
  return place.empty() ? what : std::move(what) + ", at " + place;
}

/// Calls `f`; an error that names no subject yet gets this one, `operation`, and the place that `where` tells.
template <class F, class Where>
decltype(auto) about(std::string_view subject, std::string_view operation, F f, Where where) {
  try {
    return f();
  } catch (error const& e) {
    if (!e.subject().empty()) throw;
    throw error{e.code(), std::string(operation), std::string(subject), detail::with_place(e.detail(), where())};
  }
}

}  // namespace stash::inline v1::detail
