#pragma once

#include <sys/stat.h>

#include "support.hpp"

namespace directory_test {

inline stash::record const first{"first", stash::time_point{std::chrono::microseconds{1}}};
inline constexpr uid_t job = 12345;  // a user without a name

/// Runs `f` in a child that is `user`; whether it returned true.
template <class F>
bool as_user(uid_t user, F f) {
  return support::in_child([&] {
           if (::setgid(user) != 0 || ::setuid(user) != 0) return 2;
           return f() ? 0 : 1;
         }) == 0;
}

inline bool contains(std::string const& text, std::string const& part) { return text.find(part) != text.npos; }

struct fixture : support::scratch {
  stash::atomic_file_storage files{dir()};
  fixture() { ::chmod(root.c_str(), 0755); }

  /// A stash of the job's, with a record in it.
  void make_stash_of_job(support::fs::path const& where) {
    support::fs::create_directories(where.parent_path());
    ::mkdir(where.c_str(), 0700);
    BOOST_REQUIRE(::chown(where.c_str(), job, job) == 0);
    BOOST_REQUIRE(as_user(job, [&] {
      stash::atomic_file_storage{where}.put("k", first);
      return true;
    }));
  }
};

}  // namespace directory_test
