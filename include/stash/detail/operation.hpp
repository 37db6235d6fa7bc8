#pragma once

#include <boost/filesystem/path.hpp>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stash/detail/sleep.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

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
  std::optional<std::chrono::steady_clock::time_point> start;
  for (;;) {
    auto const result = call();
    if (result != -1 || errno != EINTR) return result;
    if (!start) start = std::chrono::steady_clock::now();
    if (detail::since(*start) >= std::chrono::seconds(2)) return result;
  }
}

/// For a name that nobody else has; `path` is of the file or the directory.
template <class Ops>
std::uint64_t random_number(Ops const& ops, operation const& op, std::string_view path) {
  std::uint64_t n = 0;
  if (retried([&] { return ops.random(&n, sizeof n); }) != 0) op.fail(errno, "getentropy", path);
  return n;
}

/// "link/" and "link/." would be followed where "link" is refused.
inline boost::filesystem::path without_dots_behind(boost::filesystem::path path) {
  while (path.has_parent_path() && (path.filename() == "." || path.filename().empty())) path = path.parent_path();
  return path;
}

/// An open descriptor.
template <class Ops>
class descriptor {
 public:
  descriptor(Ops const& ops, int fd) noexcept : ops_(&ops), fd_(fd) {}
  descriptor(descriptor&& other) noexcept : ops_(other.ops_), fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&&) = delete;
  ~descriptor() {
    if (fd_ >= 0) ops_->close(fd_);
  }
  int get() const noexcept { return fd_; }
  /// -1 and `errno`: what was written may be lost. The descriptor is gone either way.
  int close() noexcept { return ops_->close(std::exchange(fd_, -1)); }
  /// It is not ours any more.
  void release() noexcept { fd_ = -1; }

 private:
  Ops const* ops_;
  int fd_;
};

}  // namespace stash::inline v1::detail
