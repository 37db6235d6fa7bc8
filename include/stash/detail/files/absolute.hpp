#pragma once

#include <unistd.h>

#include <algorithm>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <stash/detail/operation.hpp>
#include <stash/detail/text/address.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// "link/" and "link/." would be followed where "link" is refused.
inline boost::filesystem::path without_dots_behind(boost::filesystem::path path) {
  while (path.has_parent_path() && (path.filename() == "." || path.filename().empty())) path = path.parent_path();
  return path;
}

/// The directory that a storage was constructed with, from where the process is now. Throws EINVAL for one that is
/// empty, has a NUL in it, or looks like a URL or a connection string.
inline boost::filesystem::path absolute(boost::filesystem::path directory, std::string_view operation_name) {
  operation const op{operation_name, {}};
  if (directory.empty()) op.fail(EINVAL, "directory", "\"\"");
  if (directory.native().find('\0') != std::string::npos) op.fail(EINVAL, "directory", directory.native());
  if (auto const address = detail::address_in(directory.native())) {
    op.fail(EINVAL, "directory", *address + "...: an address, and no path");
  }
  if (directory.native().front() != '/') {
    std::string here(256, '\0');
    while (::getcwd(here.data(), here.size()) == nullptr) {
      if (errno != ERANGE) op.fail(errno, "getcwd for", directory.native());
      here.resize(2 * here.size());
    }
    directory = boost::filesystem::path(here.c_str()) / directory;
  }
  // "//x" is "/x" to the system, but the name of a network host to Boost.
  directory = directory.native().substr(std::min(directory.native().find_first_not_of('/'), directory.size()) - 1);
  return detail::without_dots_behind(std::move(directory));
}

}  // namespace stash::inline v1::detail
