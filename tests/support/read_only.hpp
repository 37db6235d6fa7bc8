#pragma once

#include <sched.h>
#include <sys/mount.h>

#include "support.hpp"

namespace support {

/// In a child where `dir` cannot be written to: by a mount of its own for root, by its permissions for others.
template <class F>
int where_nothing_can_be_written(fs::path const& dir, F f) {
  if (!is_root()) {
    fs::permissions(dir, fs::owner_read | fs::owner_exe);
    int const result = in_child(f);
    fs::permissions(dir, fs::owner_all);
    return result;
  }
  return in_child([&] {
    char const* const path = dir.c_str();
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount(path, path, nullptr, MS_BIND, nullptr) != 0 ||
        ::mount(nullptr, path, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
      return -1;
    }
    return f();
  });
}
inline boost::test_tools::assertion_result may_be_kept_from_writing(boost::unit_test::test_unit_id) {
  return !is_root() || may_unshare(CLONE_NEWNS);
}

}  // namespace support
