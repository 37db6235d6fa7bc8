#pragma once

// How the program whose power is cut is stopped before its N-th call.

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <stash/storage/posix_file_ops.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

#include "support.hpp"

namespace power_cut {

namespace fs = boost::filesystem;
using support::names;

/// A word as long as the test wants it.
inline std::string stretched(std::string const& word, std::size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += word;
  return out.substr(0, bytes);
}

inline void say(std::string const& line) {
  std::string const text = line + '\n';
  if (::write(STDOUT_FILENO, text.data(), text.size()) != static_cast<ssize_t>(text.size())) ::_exit(3);
}

/// Where the disk below logs each write (see test_write_log.py), the log is to tell when this was: `what` is written
/// into the last sector of $STASH_MARKS, which is that disk and stays open, for closing it would flush it.
inline void mark(std::string const& what) {
  static char const* const disk = std::getenv("STASH_MARKS");
  if (disk == nullptr) return;
  static int const fd = ::open(disk, O_WRONLY | O_CLOEXEC);
  char sector[512] = {};
  what.copy(sector, sizeof sector - 1);
  if (::pwrite(fd, sector, sizeof sector, ::lseek(fd, -off_t{sizeof sector}, SEEK_END)) != sizeof sector) ::_exit(3);
}

/// Nothing of this process runs any more, destructors neither; it ends when the test does or says so.
[[noreturn]] inline void wait_for_the_end() {
  char ignored = 0;
  while (::read(STDIN_FILENO, &ignored, 1) > 0) {
  }
  ::_exit(0);
}

class countdown {
 public:
  countdown(long calls, bool all) : left_(calls), all_(all) {}
  int operator()(std::string_view call) {
    static std::set<std::string_view> const changes{"acknowledged",   "create",
                                                    "open_lock",      "writev",
                                                    "pwritev",        "fsync",
                                                    "fdatasync",      "syncfs",
                                                    "fchmod",         "mkdir",
                                                    "rename",         "rename_noreplace",
                                                    "link",           "unlink",
                                                    "rmdir",          "write",
                                                    "sync",           "truncate",
                                                    "delete",  // these are SQLite's
                                                    "PQsendQuery",    "PQsendQueryParams",
                                                    "PQpipelineSync", "PQsendQueryPrepared",
                                                    "PQgetResult"};
    bool const counts = all_ || changes.contains(call);
    if (!counts || --left_ != 0) return 0;
    say("stopped");
    wait_for_the_end();
  }

 private:
  long left_;
  bool all_;
};

struct powered_ops : support::spoiled_ops {
  std::string protocol;

  int open(int d, char const* n, int flags, mode_t m = 0) const {
    if ((flags & O_CREAT) == 0) return spoiled_ops::open(d, n, flags, m);
    return call("create", [&] { return real.open(d, n, flags, m); });
  }
  int fsync(int fd) const {
    struct stat s;
    if (::fstat(fd, &s) != 0) return -1;
    if (protocol == (S_ISDIR(s.st_mode) ? "no directory sync" : "no file sync")) return 0;
    return spoiled_ops::fsync(fd);
  }
  int fdatasync(int fd) const { return protocol == "no file sync" ? 0 : spoiled_ops::fdatasync(fd); }
  void start_writeback(int fd) const {
    if (protocol != "no file sync") spoiled_ops::start_writeback(fd);
  }
  ssize_t writev(int fd, iovec const* v, int n) const { return half_written(fd, 0, spoiled_ops::writev(fd, v, n)); }
  ssize_t pwritev(int fd, iovec const* v, int n, off_t at) const {
    return half_written(fd, at, spoiled_ops::pwritev(fd, v, n, at));
  }

 private:
  ssize_t half_written(int fd, off_t at, ssize_t written) const {
    unsigned const now = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    bool const is_asked = written > 0 && protocol == "half written";
    return is_asked && ::sync_file_range(fd, at, written / 2, now) != 0 ? -1 : written;
  }
};

}  // namespace power_cut
