#pragma once

#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <optional>
#include <stash/detail/directory.hpp>
#include <stash/detail/file_name.hpp>
#include <stash/detail/process.hpp>
#include <stash/detail/xxh64.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// A key's lock: a byte of the directory's lock file. Movable; the destructor releases it. In a forked child
/// an inherited one is not held, and its destructor does nothing.
template <class Ops>
class file_lock {
 public:
  /// The lock that `name` stands for in the directory `path`, which is made; nullopt: another has it. Throws
  /// whatever keeps it from telling.
  static std::optional<file_lock> try_take(Ops const& ops, boost::filesystem::path const& path, bool durable,
                                           std::string_view name, operation const& op) {
    auto const offset = static_cast<off_t>(xxh64::hash(name) >> 2);
    for (int tries = 0; tries < 100; ++tries) {
      auto const dir = directory<Ops>::make(ops, path, durable, op);
      std::string lock_path = (path / lock_file_name).native();  // before there is a descriptor to lose
      int const fd = retried([&] { return ops.open_lock(dir.get(), lock_file_name, dir.lock_file_flags, 0600); });
      if (fd < 0) dir.fail("open", lock_file_name);
      file_lock lock{ops, std::move(lock_path), fd, offset};
      struct stat s;
      if (ops.fstat(fd, &s) != 0) dir.fail("fstat", lock_file_name);
      if (!S_ISREG(s.st_mode)) {
        op.fail(errc::unsafe_directory, dir.path_of(lock_file_name), "not a regular file");
      }
      if ((s.st_mode & 0777) != 0600 && ops.fchmod(fd, 0600) != 0) dir.fail("fchmod", lock_file_name);
      if (retried([&] { return ops.lock_byte(fd, offset); }) != 0) {
        if (errno == EAGAIN || errno == EACCES) return std::nullopt;
        dir.fail("lock", lock_file_name);
      }
      if (lock.held()) return lock;  // else it was deleted just now, and others lock another file
    }
    op.fail(ESTALE, "lock", (path / lock_file_name).native());
  }

  file_lock(file_lock&& other) noexcept
      : ops_(other.ops_),
        path_(std::move(other.path_)),
        fd_(std::exchange(other.fd_, -1)),
        offset_(other.offset_),
        owner_(other.owner_) {}
  file_lock& operator=(file_lock&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(offset_, other.offset_);
    std::swap(owner_, other.owner_);
    return *this;
  }
  ~file_lock() {
    if (fd_ >= 0 && owner_.is_current()) ops_.close_lock(fd_, offset_);
  }

  /// Whether others who come now would meet this lock: false where the lock file was deleted, or the directory
  /// replaced, or where that cannot be seen.
  bool held() const noexcept {
    if (fd_ < 0 || !owner_.is_current()) return false;
    struct stat ours, found;
    return ops_.fstat(fd_, &ours) == 0 && ops_.lstat(AT_FDCWD, path_.c_str(), &found) == 0 &&
           ours.st_dev == found.st_dev && ours.st_ino == found.st_ino &&
           retried([&] { return ops_.lock_byte(fd_, offset_); }) == 0;  // nothing new to one who has it
  }

 private:
  file_lock(Ops const& ops, std::string path, int fd, off_t offset) noexcept
      : ops_(ops), path_(std::move(path)), fd_(fd), offset_(offset) {}

  [[no_unique_address]] Ops ops_;
  std::string path_;  // of the lock file
  int fd_;
  off_t offset_;
  owned_by_process owner_;
};

}  // namespace stash::inline v1::detail
