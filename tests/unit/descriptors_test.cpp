// Descriptors: which numbers ours have, and what becomes of them in the program's hands.
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <stash/detail/system/standard_descriptors.hpp>
#include <stash/storage/journal.hpp>
#include <stash/storage/sqlite.hpp>
#include <thread>

#include "support.hpp"

namespace descriptors_test {

using namespace std::chrono_literals;
using stash::record;
using stash::time_point;
using support::names;
namespace fs = boost::filesystem;

namespace {

record const first{"first", time_point{1us}};
constexpr std::array standard{0, 1, 2};

void close_standard_descriptors() {
  for (int const fd : standard) ::close(fd);
}
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }
fs::path what_is(int fd) {
  boost::system::error_code ignored;
  return fs::read_symlink("/proc/thread-self/fd/" + std::to_string(fd), ignored);
}

/// Nothing that is written to a standard descriptor arrives anywhere, at no moment.
class noise {
 public:
  bool has_hit() {
    is_done_ = true;
    thread_.join();
    return has_hit_;
  }

 private:
  std::atomic<bool> is_done_ = false, has_hit_ = false;
  std::thread thread_{[this] {
    while (!is_done_) {
      for (int const fd : standard) {
        if (::write(fd, "log line\n", 9) > 0) has_hit_ = true;
      }
    }
  }};
};

struct fixture : support::scratch {
  fs::path const target = dir() / "k.stash";

  /// What a daemon that has closed its standard descriptors gets of a storage, while it writes to them.
  template <class Storage>
  int in_a_daemon(Storage make(fs::path const&)) const {
    return support::in_child([&] {
      close_standard_descriptors();
      // Clang's sanitizers look at memory through pipes of their own, which get these numbers while they are free.
      if (support::has_address_sanitizer) stash::detail::occupy_standard_descriptors();
      noise lines;
      bool is_low = false;
      for (int i = 0; i < 40; ++i) {  // each opens all anew
        Storage s = make(dir());
        stash::key const k{std::to_string(i)};
        auto const lock = s.try_lock(k);
        s.put(k, first);
        s.put("aside", first);
        s.set_aside("aside", "x");
        for (int const fd : standard) is_low |= what_is(fd) != "/";
      }
      if (lines.has_hit()) return 1;
      if (is_low) return 2;
      auto const all = make(dir()).entries();
      for (auto const& e : all) {
        if (make(dir()).get(e.key) != first) return 3;
      }
      return all.size() == 40 ? 0 : 4;
    });
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(descriptors, fixture)

// 0, 1 and 2

BOOST_AUTO_TEST_CASE(what_a_daemon_writes_to_descriptors_that_it_has_closed_goes_into_no_file_of_ours) {
  BOOST_TEST(in_a_daemon(+[](fs::path const& d) { return stash::atomic_file_storage{d}; }) == 0);
  fs::remove_all(dir());
  BOOST_TEST(in_a_daemon(+[](fs::path const& d) {
               return stash::atomic_file_storage{d, {.durability = stash::durability::process_crash}};
             }) == 0);
  fs::remove_all(dir());
  BOOST_TEST(in_a_daemon(+[](fs::path const& d) { return stash::journal_storage{d}; }) == 0);
  fs::remove_all(dir());
  BOOST_TEST(in_a_daemon(+[](fs::path const& d) { return stash::sqlite_storage{d / "stash.sqlite"}; }) == 0);
}

BOOST_AUTO_TEST_CASE(their_places_are_taken_before_a_file_is_opened_that_lines_could_go_into) {
  int const status = support::in_child([&] {
    close_standard_descriptors();
    stash::posix_file_ops const ops;
    int const fd = ops.open(AT_FDCWD, (root / "file").c_str(), O_WRONLY | O_CREAT, 0600);
    for (int const low : standard) {
      if (what_is(low) != "/") return 1;
    }
    return fd > STDERR_FILENO ? 0 : 2;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(a_directory_that_is_only_looked_into_stays_where_it_got_one_of_their_numbers) {
  stash::atomic_file_storage{dir()}.put("k", first);
  int const status = support::in_child([&] {
    close_standard_descriptors();
    stash::atomic_file_storage const files{dir()};
    if (files.get("k") != first) return 1;
    for (int const fd : standard) {
      char byte = 0;
      if (!is_open(fd) || ::write(fd, "x", 1) != -1 || errno != EBADF || ::read(fd, &byte, 1) != -1) return 2;
      if ((::fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) return 3;
    }
    auto const before = names("/proc/self/fd");
    return files.get("k") == first && names("/proc/self/fd") == before ? 0 : 4;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_only_read_has_none_of_their_numbers_either) {
  support::write(root / "file", "read");
  int const status = support::in_child([&] {
    stash::posix_file_ops const ops;
    int const directory = ops.open(AT_FDCWD, root.c_str(), O_RDONLY | O_DIRECTORY);
    close_standard_descriptors();
    int const fd = ops.open(directory, "file", O_RDONLY);
    char text[4] = {};
    return fd > STDERR_FILENO && ops.read(fd, text, 4) == 4 && std::string_view(text, 4) == "read" ? 0 : 1;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(nor_does_a_thread_that_opens_directories_leave_their_places_to_another) {
  bool is_low = false;
  for (int i = 0; i < 100 && !support::has_address_sanitizer; ++i) {  // whose pipes take them
    is_low |= support::in_child([&] {
                std::atomic<bool> is_done = false;
                close_standard_descriptors();
                std::thread opening{[&] {
                  stash::posix_file_ops const ops;
                  while (!is_done) ops.close(ops.open(AT_FDCWD, root.c_str(), O_RDONLY | O_DIRECTORY));
                }};
                stash::detail::occupy_standard_descriptors();
                int const opened = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
                is_done = true;
                opening.join();
                return opened;
              }) <= STDERR_FILENO;
  }
  BOOST_TEST(!is_low);
}

BOOST_AUTO_TEST_CASE(what_takes_their_places_can_neither_be_read_nor_written_and_is_gone_in_another_program) {
  int const status = support::in_child([&] {
    close_standard_descriptors();
    stash::atomic_file_storage{dir()}.put("k", first);
    for (int const fd : standard) {
      char byte = 0;
      if (!is_open(fd) || ::write(fd, "x", 1) != -1 || errno != EBADF || ::read(fd, &byte, 1) != -1) return 1;
      if ((::fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) return 2;
    }
    auto const before = names("/proc/self/fd");
    stash::atomic_file_storage{dir()}.put("k", first);
    return names("/proc/self/fd") == before ? 0 : 3;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(what_the_program_has_there_is_left_alone) {
  for (int const closed : standard) {
    int const status = support::in_child([&] {
      std::array<fs::path, 3> before;
      for (int const fd : standard) before.at(static_cast<std::size_t>(fd)) = what_is(fd);
      ::close(closed);
      stash::atomic_file_storage{dir()}.put("k", first);
      for (int const fd : standard) {
        if (what_is(fd) != (fd == closed ? fs::path("/") : before.at(static_cast<std::size_t>(fd)))) return 1;
      }
      return 0;
    });
    BOOST_TEST(status == 0);
  }
}

BOOST_AUTO_TEST_CASE(one_that_got_such_a_number_is_moved_up) {
  using stash::detail::above_standard_descriptors;
  int const status = support::in_child([&] {
    ::close(1);
    int const low = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    int const moved = above_standard_descriptors(low);
    if (low != 1 || moved <= 2 || is_open(1) || what_is(moved) != "/dev/null") return 1;
    if ((::fcntl(moved, F_GETFD) & FD_CLOEXEC) == 0) return 2;
    if (above_standard_descriptors(moved) != moved || above_standard_descriptors(-1) != -1) return 3;
    rlimit const none{3, 3};
    ::setrlimit(RLIMIT_NOFILE, &none);
    bool const is_refused = above_standard_descriptors(::open("/dev/null", O_WRONLY)) == -1 && errno != 0;
    return is_refused && !is_open(1) ? 0 : 4;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(sqlite_looks_after_its_own_files) {
  int const status = support::in_child([&] {
    close_standard_descriptors();
    sqlite3* db = nullptr;
    int const failed =
        ::sqlite3_open((root / "db").c_str(), &db) +
        ::sqlite3_exec(db, "PRAGMA journal_mode=WAL; CREATE TABLE t (i); SELECT * FROM t", nullptr, nullptr, nullptr);
    for (int const fd : standard) {
      if (what_is(fd).parent_path() == fs::canonical(root)) return 1;
    }
    ::sqlite3_close(db);
    return failed;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(nor_are_they_there_for_a_moment) {
  int const status = support::in_child([&] {
    close_standard_descriptors();
    stash::detail::sqlite_connection const db{(root / "db").native()};
    return what_is(0) == "/" && what_is(1) == "/" && what_is(2) == "/" ? 0 : 1;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace descriptors_test
