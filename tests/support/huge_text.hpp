#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <stdexcept>
#include <string_view>

namespace support {

/// More bytes than an int can count, which take no memory as long as nobody writes to them: NULs.
class huge_text {
 public:
  static constexpr std::size_t size = (std::size_t{1} << 31) + 1;
  huge_text() : at_(::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (at_ == MAP_FAILED) throw std::runtime_error("mmap");
  }
  huge_text(huge_text const&) = delete;
  huge_text& operator=(huge_text const&) = delete;
  ~huge_text() { ::munmap(at_, size); }
  std::string_view view() const { return {static_cast<char const*>(at_), size}; }

 private:
  void* at_;
};

}  // namespace support
