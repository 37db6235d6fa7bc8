#pragma once

#include "support.hpp"

namespace atomic_file_test {

inline stash::record const first{"first", stash::time_point{std::chrono::microseconds{1}}};
inline stash::record const second{"second", stash::time_point{std::chrono::microseconds{2}}};

struct fixture : support::scratch {
  stash::atomic_file_storage files{dir()};
  support::fs::path target = dir() / "k.stash";
  bool only_record_and_lock() const { return support::names(dir()) == std::vector<std::string>{".lock", "k.stash"}; }
};

}  // namespace atomic_file_test
