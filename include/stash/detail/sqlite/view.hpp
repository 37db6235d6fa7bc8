#pragma once

#include <sys/stat.h>

#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <stash/detail/operation.hpp>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>

namespace stash::inline v1::detail {

/// How SQLite opens a file where it may make nothing beside it (https://sqlite.org/uri.html).
struct sqlite_view {
  std::string uri;
  bool is_alone;  ///< nothing stands beside it: it is read as it is, without a lock
};

/// Throws EROFS where what was saved last is in a log that SQLite cannot read without writing, or the operating
/// system's error.
inline sqlite_view sqlite_view_of(boost::filesystem::path const& file, operation const& op) {
  posix_file_ops const ops;
  auto const has_bytes = [&](char const* suffix) {
    struct stat s;
    std::string const path = file.native() + suffix;
    if (ops.lstat(AT_FDCWD, path.c_str(), &s) == 0) return s.st_size > 0;
    if (errno != ENOENT) op.fail(errno, "lstat", path);
    return false;
  };
  bool const has_log = has_bytes("-wal");
  if (has_log && !has_bytes("-shm")) {
    op.fail(EROFS,
            "what was saved last is in " + file.native() +
                "-wal, which SQLite cannot read where it may not write; copy both to a directory of yours, from",
            file.parent_path().native());
  }
  bool const is_alone = !has_log && !has_bytes("-journal");
  return {detail::uri_of(file.native()) + (is_alone ? "?immutable=1" : "?readonly_shm=1"), is_alone};
}

}  // namespace stash::inline v1::detail
