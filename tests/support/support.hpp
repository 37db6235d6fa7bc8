#pragma once

#include <sched.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/filesystem/directory.hpp>
#include <boost/filesystem/operations.hpp>
#include <boost/filesystem/path.hpp>
#include <boost/json/parse.hpp>
#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <iomanip>
#include <ios>
#include <locale>
#include <memory>
#include <optional>
#include <ostream>
#include <sstream>
#include <stash/stash.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace support {

namespace fs = boost::filesystem;

#if defined(__SANITIZE_ADDRESS__)  // as g++ says it
inline constexpr bool has_address_sanitizer = true;
#elif defined(__has_feature)
inline constexpr bool has_address_sanitizer = __has_feature(address_sanitizer);
#else
inline constexpr bool has_address_sanitizer = false;
#endif

inline bool is_root() { return ::geteuid() == 0; }
inline boost::test_tools::assertion_result as_root(boost::unit_test::test_unit_id) { return is_root(); }
inline boost::test_tools::assertion_result without_root(boost::unit_test::test_unit_id) { return !is_root(); }

/// A directory as a stash's must be.
inline void make_private(fs::path const& path) {
  fs::create_directory(path);
  fs::permissions(path, fs::owner_all);
}

/// A directory of its own for each test, gone afterwards.
struct scratch {
  scratch() {
    char const* const tmp = std::getenv("TMPDIR");
    std::string name = std::string(tmp != nullptr ? tmp : "/tmp") + "/stash-test.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
    root = name;
  }
  ~scratch() {
    boost::system::error_code ignored;
    for (fs::recursive_directory_iterator it(root, ignored), end; it != end; it.increment(ignored)) {
      if (fs::is_directory(it->symlink_status())) fs::permissions(it->path(), fs::owner_all, ignored);
    }
    fs::remove_all(root, ignored);
  }
  fs::path root;
  fs::path dir() const { return root / "stash"; }
};

/// For what a test is about: where it cannot be done, the test would show nothing.
inline void set_mode(fs::path const& path, mode_t mode) {
  BOOST_REQUIRE_MESSAGE(::chmod(path.c_str(), mode) == 0, "chmod " << path);
}

inline std::string read(fs::path const& file) {
  std::ostringstream bytes;
  bytes << std::ifstream(file.native(), std::ios::binary).rdbuf();
  return bytes.str();
}
inline void write(fs::path const& file, std::string const& bytes) {
  std::ofstream(file.native(), std::ios::binary) << bytes;
}
/// The names in a directory, sorted; none where there is no directory.
inline std::vector<std::string> names(fs::path const& dir) {
  std::vector<std::string> result;
  if (!fs::exists(dir)) return result;
  for (auto const& e : fs::directory_iterator(dir)) result.push_back(e.path().filename().native());
  std::sort(result.begin(), result.end());
  return result;
}

/// The code of the system_error that `f` throws; no code where it throws none.
template <class F>
boost::system::error_code code_of(F f) {
  try {
    f();
  } catch (boost::system::system_error const& e) {
    return e.code();
  }
  return {};
}
inline boost::system::error_code os(int error) { return {error, boost::system::system_category()}; }

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (std::exception const& e) {
    return e.what();
  }
  return {};
}

/// What is printed on a stream where everything is left that bends a text or a number.
template <class T>
std::string printed_on_a_bent_stream(T const& what) {
  struct thousands : std::numpunct<char> {
    char do_thousands_sep() const override { return '_'; }
    std::string do_grouping() const override { return "\1"; }
    std::string do_truename() const override { return "ja"; }
  };
  std::ostringstream out;
  out.imbue(std::locale(std::locale::classic(), new thousands));
  out << std::hex << std::showbase << std::showpos << std::uppercase << std::left << std::boolalpha << std::scientific
      << std::setprecision(1) << std::setfill('*') << std::setw(400);
  auto const flags = out.flags();
  out << what;
  if (out.flags() != flags || out.precision() != 1 || out.fill() != '*' || out.width() != 0) return "left something";
  return out.str();
}

/// Runs `f` in a forked child and returns how that ended, as waitpid tells it. The child never returns here.
template <class F>
int in_child(F f) {
  ::fflush(nullptr);
  pid_t const child = ::fork();
  if (child == 0) {
    int result = 99;
    try {
      result = f();
    } catch (std::exception const& e) {
      ::dprintf(2, "in a child: %s\n", e.what());
    } catch (...) {
    }
    ::_exit(result);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/// Whether a process of ours may have namespaces of its own, of this kind (CLONE_NEWNS, ...).
inline bool may_unshare(int kind) {
  return in_child([&] { return ::unshare(kind) == 0 ? 0 : 1; }) == 0;
}

/// The system calls, of which a test may spoil some: `before` is asked with the call's name before each, and a
/// number other than 0 is the errno that it fails with. Copies share it.
struct spoiled_ops {
  using hook = std::function<int(std::string_view)>;
  std::shared_ptr<hook> before = std::make_shared<hook>([](std::string_view) { return 0; });
  stash::posix_file_ops real{};

  template <class F>
  auto call(char const* name, F f) const -> decltype(f()) {
    int const failure = (*before)(name);
    if (failure == 0) return f();
    errno = failure;
    return -1;
  }
  int open(int d, char const* n, int flags, mode_t m = 0) const {
    return call("open", [&] { return real.open(d, n, flags, m); });
  }
  int close(int fd) const {
    int const failure = (*before)("close");  // the descriptor is gone all the same
    int const result = real.close(fd);
    if (failure == 0) return result;
    errno = failure;
    return -1;
  }
  ssize_t read(int fd, void* to, std::size_t n) const {
    return call("read", [&] { return real.read(fd, to, n); });
  }
  ssize_t writev(int fd, iovec const* v, int n) const {
    return call("writev", [&] { return real.writev(fd, v, n); });
  }
  ssize_t pread(int fd, void* to, std::size_t n, off_t at) const {
    return call("pread", [&] { return real.pread(fd, to, n, at); });
  }
  ssize_t pwritev(int fd, iovec const* v, int n, off_t at) const {
    return call("pwritev", [&] { return real.pwritev(fd, v, n, at); });
  }
  int fsync(int fd) const {
    return call("fsync", [&] { return real.fsync(fd); });
  }
  int fdatasync(int fd) const {
    return call("fdatasync", [&] { return real.fdatasync(fd); });
  }
  void start_writeback(int fd) const { real.start_writeback(fd); }
  int syncfs(int fd) const {
    return call("syncfs", [&] { return real.syncfs(fd); });
  }
  int fstat(int fd, struct stat* s) const {
    return call("fstat", [&] { return real.fstat(fd, s); });
  }
  int lstat(int d, char const* n, struct stat* s) const {
    return call("lstat", [&] { return real.lstat(d, n, s); });
  }
  int require_owner(int fd) const {
    return call("require_owner", [&] { return real.require_owner(fd); });
  }
  ssize_t read_link(int d, char const* n, char* to, std::size_t size) const {
    return call("read_link", [&] { return real.read_link(d, n, to, size); });
  }
  int fchmod(int fd, mode_t m) const {
    return call("fchmod", [&] { return real.fchmod(fd, m); });
  }
  int mkdir(char const* p, mode_t m) const {
    return call("mkdir", [&] { return real.mkdir(p, m); });
  }
  int rename(int d, char const* a, char const* b) const {
    return call("rename", [&] { return real.rename(d, a, b); });
  }
  int rename(int from, char const* a, int d, char const* b) const {
    return call("rename", [&] { return real.rename(from, a, d, b); });
  }
  int rename_noreplace(int d, char const* a, char const* b) const {
    return call("rename_noreplace", [&] { return real.rename_noreplace(d, a, b); });
  }
  int link(int d, char const* a, char const* b) const {
    return call("link", [&] { return real.link(d, a, b); });
  }
  long name_max(int fd) const { return real.name_max(fd); }
  int unlink(int d, char const* n) const {
    return call("unlink", [&] { return real.unlink(d, n); });
  }
  int rmdir(char const* p) const {
    return call("rmdir", [&] { return real.rmdir(p); });
  }
  int rmdir(int d, char const* n) const {
    return call("rmdir", [&] { return real.rmdir(d, n); });
  }
  int list(int fd, std::vector<std::string>& names) const {
    return call("list", [&] { return real.list(fd, names); });
  }
  int open_lock(int d, char const* n, int flags, mode_t m) const {
    return call("open_lock", [&] { return real.open_lock(d, n, flags, m); });
  }
  int lock_byte(int fd, off_t o) const {
    return call("lock_byte", [&] { return real.lock_byte(fd, o); });
  }
  int lock_bytes(int fd, off_t o, off_t n) const {
    return call("lock_bytes", [&] { return real.lock_bytes(fd, o, n); });
  }
  int unlock_bytes(int fd, off_t o, off_t n) const {
    return call("unlock_bytes", [&] { return real.unlock_bytes(fd, o, n); });
  }
  bool find_lock(int fd, off_t& o, off_t& n) const { return real.find_lock(fd, o, n); }
  void close_lock(int fd) const noexcept { real.close_lock(fd); }
  int random(void* to, std::size_t n) const {
    return call("random", [&] { return real.random(to, n); });
  }
  uid_t user() const { return real.user(); }
};

using spoiled_storage = stash::basic_atomic_file_storage<spoiled_ops>;

/// Events as text, one word each: "superseded saved".
struct event_log {
  std::vector<std::string> lines;
  std::string kinds;
  std::function<void(stash::event const&)> observer() {
    return [this](stash::event const& e) {
      std::ostringstream line;
      line << e;
      lines.push_back(line.str());
      kinds += (kinds.empty() ? "" : " ") + std::string(to_string(e.kind));
    };
  }
};

}  // namespace support

namespace stash {
inline std::ostream& boost_test_print_type(std::ostream& out, errc e) { return out << make_error_code(e).message(); }
inline std::ostream& boost_test_print_type(std::ostream& out, record_state s) { return out << static_cast<int>(s); }
inline std::ostream& boost_test_print_type(std::ostream& out, origin o) { return out << static_cast<int>(o); }
}  // namespace stash
