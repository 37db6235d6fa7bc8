#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace support {

/// Notes how much a test tried, and how many of these failed, in the file that $STASH_FIGURES names; without it,
/// on standard output. `tests/run.sh --long` prints them as one table.
inline void figure(std::string const& test, std::string const& tried, std::uint64_t count, std::uint64_t failed) {
  char const* const path = std::getenv("STASH_FIGURES");
  std::FILE* const out = path != nullptr ? std::fopen(path, "a") : stdout;
  if (out == nullptr) return;
  std::string const line = test + '\t' + tried + '\t' + std::to_string(count) + '\t' + std::to_string(failed) + '\n';
  std::fwrite(line.data(), 1, line.size(), out);
  if (out != stdout) std::fclose(out);
}

/// Whether to try as much as `tests/run.sh --long` does.
inline bool is_long() { return std::getenv("STASH_LONG") != nullptr; }

/// From one call that fails to the next that does: $STASH_STRIDE; without it each is tried. `tests/run.sh --all` tries
/// one of three, for under the sanitizers a try takes five times as long.
inline int stride() {
  char const* const given = std::getenv("STASH_STRIDE");
  return given != nullptr ? std::max(std::atoi(given), 1) : 1;
}

}  // namespace support
