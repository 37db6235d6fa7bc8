#pragma once

#include <boost/system/error_code.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/detail/files/descriptor.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/owner.hpp>
#include <stash/detail/operation.hpp>
#include <stash/error.hpp>
#include <string>
#include <utility>

namespace stash::inline v1::detail {

/// An open regular file of our own, and its size.
template <class Ops>
struct readable_file {
  descriptor<Ops> file;
  std::uint64_t size;
};

/// nullopt: there is no such name. Throws `errc::corrupt` for what is no regular file (a link is not followed, a
/// FIFO not waited for), EPERM for somebody else's, or the operating system's error.
template <class Ops>
std::optional<readable_file<Ops>> open_readable(Ops const& ops, directory<Ops> const& dir, std::string const& name,
                                                operation const& op) {
  int const fd = retried([&] { return ops.open(dir.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK); });
  int const failed = errno;
  if (fd < 0 && failed == ENOENT) return std::nullopt;
  errno = failed;
  if (fd < 0 && failed != ELOOP && failed != ENXIO) dir.fail("open", name);
  readable_file<Ops> result{{ops, fd}, 0};
  struct stat s;  // a link (ELOOP) or a socket (ENXIO) is looked at from outside
  if ((fd >= 0 ? ops.fstat(fd, &s) : ops.lstat(dir.get(), name.c_str(), &s)) != 0) dir.fail("stat", name);
  if (s.st_uid != dir.user()) {
    op.fail(
        EPERM,
        "owned by " + detail::shown_user(s.st_uid) + ", and its directory by " + detail::shown_user(dir.user()) + ":",
        dir.path_of(name));
  }
  if (!S_ISREG(s.st_mode)) op.fail(errc::corrupt, dir.path_of(name), "not a regular file");
  if (fd < 0) op.fail(failed, "open", dir.path_of(name));
  result.size = static_cast<std::uint64_t>(s.st_size);
  return result;
}

/// The bytes of `name`; nullopt: there is no such name. Throws as `open_readable`, and `errc::too_large` for a file
/// that is too long to be a record with a payload of `cap` bytes: without reading it.
template <class Ops>
std::optional<std::string> read_file(Ops const& ops, directory<Ops> const& dir, std::string const& name,
                                     std::uint64_t cap, operation const& op) {
  constexpr std::uint64_t longest_header = 1024;
  auto const opened = detail::open_readable(ops, dir, name, op);
  if (!opened) return std::nullopt;
  if (opened->size > longest_header && opened->size - longest_header > cap) {
    op.fail(
        errc::too_large, dir.path_of(name),
        "a file of " + std::to_string(opened->size) + " bytes; a payload of " + std::to_string(cap) + " is allowed");
  }
  std::string bytes(static_cast<std::size_t>(opened->size), '\0');
  std::size_t size = 0;
  while (size < bytes.size()) {
    auto const n = retried([&] { return ops.read(opened->file.get(), &bytes[size], bytes.size() - size); });
    if (n < 0) dir.fail("read", name);
    if (n == 0) break;  // it was cut: the checksum will tell
    size += static_cast<std::size_t>(n);
  }
  bytes.resize(size);
  return bytes;
}

/// Whether reading failed for what stands there, not for what the process or the machine lacks.
inline bool concerns_one_file(boost::system::error_code const& code) {
  if (code == errc::corrupt || code == errc::too_large) return true;
  for (int const one : {EPERM, EACCES, EIO}) {
    if (code == boost::system::error_code(one, boost::system::system_category())) return true;
  }
  return false;
}

}  // namespace stash::inline v1::detail
