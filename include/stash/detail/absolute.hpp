#pragma once

#include <boost/filesystem/operations.hpp>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <stash/detail/directory.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// The directory that a storage was constructed with, from where the process is now. Throws EINVAL for one that is
/// empty or has a NUL in it.
inline boost::filesystem::path absolute(boost::filesystem::path directory, std::string_view operation_name) {
  operation const op{operation_name, {}};
  if (directory.empty()) op.fail(EINVAL, "directory", "\"\"");
  if (directory.native().find('\0') != std::string::npos) op.fail(EINVAL, "directory", directory.native());
  boost::system::error_code failed;
  directory = boost::filesystem::absolute(directory, failed);
  if (failed) op.fail(failed.value(), "getcwd for", directory.native());
  // "link/" and "link/." would be followed where "link" is refused.
  while (directory.has_parent_path() && (directory.filename() == "." || directory.filename().empty())) {
    directory = directory.parent_path();
  }
  return directory;
}

}  // namespace stash::inline v1::detail
