#pragma once

#include <utility>

namespace stash::inline v1::detail {

/// An open descriptor.
template <class Ops>
class descriptor {
 public:
  descriptor(Ops const& ops, int fd) noexcept : ops_(&ops), fd_(fd) {}
  descriptor(descriptor&& other) noexcept : ops_(other.ops_), fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&&) = delete;
  ~descriptor() {
    if (fd_ >= 0) ops_->close(fd_);
  }
  int get() const noexcept { return fd_; }
  /// -1 and `errno`: what was written may be lost. The descriptor is gone either way.
  int close() noexcept { return ops_->close(std::exchange(fd_, -1)); }
  /// It is not ours any more.
  void release() noexcept { fd_ = -1; }

 private:
  Ops const* ops_;
  int fd_;
};

}  // namespace stash::inline v1::detail
