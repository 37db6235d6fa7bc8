#pragma once

#include <algorithm>
#include <atomic>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/directory_lifetime.hpp>
#include <stash/detail/files/lock_file.hpp>
#include <stash/detail/fork.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/system/sleep.hpp>
#include <stash/error.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Locks on bytes of a directory's lock file, which it holds open. (How that is made, and with which mode: see
/// lock_file.hpp.) Its destructor releases them. They exclude whoever opened the file apart from this one, in this
/// process too. Thread safe, but for `lock`.
///
/// A forked child shares the open file description that the locks belong to: as long as it has that open, the locks of
/// a parent that died would stay. So the child closes its copy at once. (Closing, unlike unlocking, takes nothing from
/// the parent.)
template <class Ops>
class byte_locks {
 public:
  /// That of the directory `path`, which is made; with the last lock of it goes what `made` counts of the directory, if
  /// it is unused. Throws whatever keeps it from being opened.
  static std::shared_ptr<byte_locks> open(Ops const& ops, boost::filesystem::path const& path, bool durable,
                                          operation const& op, made_levels const& made) {
    for (int tries = 1;; ++tries) {
      auto const dir = directory_maker<Ops>::make(ops, path, durable, op, made.get());
      std::shared_ptr<byte_locks> const file{new byte_locks{ops, (path / lock_file_name).native(), made}};
      bool const is_open = file->open_in(dir, lock_file_flags, op);
      if (!is_open && errno == ENOENT && tries < 100) continue;  // the directory was removed just now, unused
      if (!is_open) dir.fail("open", lock_file_name);
      if ((file->mode_ & 0777) != lock_file_mode && ops.fchmod(file->fd_, lock_file_mode) != 0)
        dir.fail("fchmod", lock_file_name);
      return file;
    }
  }
  /// That of `dir` for who only reads, as it is. Null, and `failed` is ENOENT: there is none; or EROFS: nobody may
  /// write there. Throws whatever else keeps it from being opened.
  static std::shared_ptr<byte_locks> open_existing(Ops const& ops, directory<Ops> const& dir, int& failed,
                                                   operation const& op) {
    std::shared_ptr<byte_locks> file{new byte_locks{ops, dir.path_of(lock_file_name), nullptr}};
    failed = file->open_in(dir, lock_file_flags & ~O_CREAT, op) ? 0 : errno;
    if (failed == 0) return file;
    if (failed != ENOENT && failed != EROFS) op.fail(failed, "open", dir.path_of(lock_file_name));
    return nullptr;
  }
  byte_locks(byte_locks const&) = delete;
  byte_locks& operator=(byte_locks const&) = delete;
  ~byte_locks() {
    if (!owner_.is_current()) return;
    {
      std::lock_guard const only{fork_};
      if (fd_ >= 0 && !is_foreign()) ops_.close_lock(std::exchange(fd_, -1));
    }
    if (made_) directory_maker<Ops>::remove_unused(ops_, path_, *made_);
  }

  /// Whether others who come now would open this file: false where it was deleted, or the directory replaced, where
  /// that cannot be seen, and in a forked child.
  bool stands() const noexcept {
    if (!owner_.is_current()) return false;
    struct stat ours, found;
    return ops_.fstat(fd_, &ours) == 0 && ops_.lstat(AT_FDCWD, path_.c_str(), &found) == 0 &&
           ours.st_dev == found.st_dev && ours.st_ino == found.st_ino;
  }
  bool is_inherited() const noexcept { return !owner_.is_current(); }

  /// Locks these bytes in this order, until one is locked by another. Returns how many it locked. Throws whatever keeps
  /// it from telling. Many can only be locked where none is locked yet.
  std::size_t lock(std::span<off_t const> bytes, operation const& op) {
    if (bytes.size() >= many) return lock_many(bytes, op);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (!lock_one(bytes[i], op)) return i;
    }
    return bytes.size();
  }
  /// A no-op if it is held already.
  bool lock_again(off_t byte) const noexcept {
    return retried([&] { return ops_.lock_byte(fd_, byte); }) == 0;
  }
  void unlock(off_t byte) const noexcept {
    if (!is_foreign()) ops_.unlock_bytes(fd_, byte, 1);
  }

  static constexpr std::size_t many = 64;  ///< bytes that are locked otherwise than one by one

 private:
  /// Whether the descriptor is another file's by now: a program that closes what it does not know (a daemon) may have
  /// opened something under the same number, which is not ours to unlock or to close.
  bool is_foreign() const noexcept {
    struct stat s;
    return identity_ && ops_.fstat(fd_, &s) == 0 && *identity_ != std::pair(s.st_dev, s.st_ino);
  }

  struct place {
    off_t byte;
    std::size_t index;
  };
  /// What keeps from locking: where that byte stands among those to lock; and whether it is locked in passing, by
  /// another `lock_many`.
  struct obstacle {
    std::size_t index;
    bool passes;
  };

  byte_locks(Ops const& ops, std::string path, made_levels made)
      : ops_(ops), path_(std::move(path)), made_(std::move(made)) {}

  /// false and `errno`: it cannot be opened.
  bool open_in(directory<Ops> const& dir, int flags, operation const& op) {
    {
      std::lock_guard const only{fork_};
      fd_ = retried([&] { return ops_.open_lock(dir.get(), lock_file_name, flags, lock_file_mode); });
    }
    if (fd_ < 0) return false;
    struct stat s;
    if (ops_.fstat(fd_, &s) != 0) dir.fail("fstat", lock_file_name);
    identity_.emplace(s.st_dev, s.st_ino);
    mode_ = s.st_mode;
    if (!S_ISREG(mode_)) op.fail(errc::unsafe_directory, dir.path_of(lock_file_name), "not a regular file");
    return true;
  }

  bool lock_one(off_t byte, operation const& op) const {
    auto const met = when_passed(std::chrono::steady_clock::now(), [&] { return lock_or_meet(byte, op); });
    return !met.has_value();
  }
  std::optional<obstacle> lock_or_meet(off_t byte, operation const& op) const {
    for (int tries = 0; tries < 100; ++tries) {
      if (lock_again(byte)) return std::nullopt;
      require_held_by_another(op);
      off_t start = byte, count = 1;
      if (ops_.find_lock(fd_, start, count)) return obstacle{0, count != 1};
    }
    return obstacle{0, false};  // it was released and taken again each time
  }

  /// The kernel compares each new lock with all of the file, so that n of them would cost n * n; but to unlock the
  /// bytes between two locks is cheap from the last to the first. So all that lies between is locked with them for a
  /// moment. Whoever meets that lets it pass (`when_passed`).
  std::size_t lock_many(std::span<off_t const> bytes, operation const& op) const {
    auto const start = std::chrono::steady_clock::now();
    for (std::size_t size = bytes.size();;) {
      std::vector<place> sorted;
      for (std::size_t i = 0; i < size; ++i) sorted.push_back({bytes[i], i});
      std::ranges::sort(sorted, {}, &place::byte);
      auto const met = when_passed(start, [&] {
        auto const one = lock_ranges(sorted, op);
        if (one) ops_.unlock_bytes(fd_, 0, 0);
        return one;
      });
      if (!met) return size;
      size = met->index;
    }
  }

  /// Looks before it locks: while it waits for a busy byte, nobody meets it at the others.
  std::optional<obstacle> lock_ranges(std::span<place const> all, operation const& op) const {
    std::vector<std::span<place const>> parts{all}, free;  // between locks of others, the last part first
    while (!parts.empty()) {
      auto const part = parts.back();
      parts.pop_back();
      if (part.empty()) continue;
      auto [start, count] = range_of(part);
      if (!ops_.find_lock(fd_, start, count)) {
        free.push_back(part);
        continue;
      }
      auto const first = std::ranges::lower_bound(part, start, {}, &place::byte);
      auto const last = count == 0 ? part.end() : std::ranges::lower_bound(part, start + count, {}, &place::byte);
      if (first != last) return obstacle{first->index, count != 1};
      parts.emplace_back(part.begin(), first);
      parts.emplace_back(last, part.end());
    }
    for (auto const part : free) {
      auto const range = range_of(part);
      if (retried([&] { return ops_.lock_bytes(fd_, range.first, range.second); }) == 0) continue;
      require_held_by_another(op);
      return obstacle{part.front().index, true};  // since just now
    }
    for (auto const part : free) unlock_between(part, op);
    return std::nullopt;
  }

  static std::pair<off_t, off_t> range_of(std::span<place const> part) noexcept {
    return {part.front().byte, part.back().byte - part.front().byte + 1};
  }

  void unlock_between(std::span<place const> part, operation const& op) const {
    for (std::size_t i = part.size(); i-- > 1;) {
      off_t const start = part[i - 1].byte + 1, count = part[i].byte - start;
      if (count > 0 && ops_.unlock_bytes(fd_, start, count) != 0) op.fail(errno, "unlock", path_);
    }
  }

  /// Calls `lock` until it meets nothing, or what stays, for up to a second from `start`.
  template <class Lock>
  std::optional<obstacle> when_passed(std::chrono::steady_clock::time_point start, Lock lock) const {
    for (;;) {
      auto const met = lock();
      if (!met || !met->passes || detail::since(start) >= std::chrono::seconds(1)) return met;
      detail::sleep_for(std::chrono::milliseconds(1));
    }
  }

  /// Throws where the lock that failed just now did so for another reason.
  void require_held_by_another(operation const& op) const {
    if (errno != EAGAIN && errno != EACCES) op.fail(errno, "lock", path_);
  }

  [[no_unique_address]] Ops ops_;
  std::string path_;
  made_levels made_;
  owned_by_process owner_;
  std::mutex fork_;
  int fd_ = -1;
  mode_t mode_ = 0;
  std::optional<std::pair<dev_t, ino_t>> identity_;  // of the file that we opened
  at_fork hook_{fork_, [] {},
                [this] {
                  if (fd_ >= 0 && !is_foreign()) ops_.close(std::exchange(fd_, -1));
                }};
};

}  // namespace stash::inline v1::detail
