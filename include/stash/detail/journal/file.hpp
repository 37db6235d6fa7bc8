#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <stash/detail/files/descriptor.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/owner.hpp>
#include <stash/detail/journal/format.hpp>
#include <stash/detail/journal/reader.hpp>
#include <stash/detail/operation.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// The file of a journal, open: frames at its front, and zeros behind them that are on the disk already, so that a
/// frame changes nothing but bytes. One thread at a time writes; `read` may be called beside it.
template <class Ops>
class journal_file {
 public:
  static constexpr char name[] = "stash.journal";
  static constexpr char temporary[] = ".stash.journal.tmp";

  /// nullopt: there is none. Throws `errc::corrupt` where it is none, `errc::unsafe_directory`, or the system's error.
  static std::optional<journal_file> open(Ops const& ops, directory<Ops> const& dir, access wanted, bool durable,
                                          operation const& op) {
    std::string path = dir.path_of(name);  // before there is a descriptor to lose
    int const flags = (wanted == access::read ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NONBLOCK;
    int const fd = retried([&] { return ops.open(dir.get(), name, flags); });
    if (fd < 0 && errno == ENOENT) return std::nullopt;
    if (fd < 0) dir.fail("open", name);
    journal_file file{ops, fd, std::move(path), durable};
    struct stat s;
    if (ops.fstat(fd, &s) != 0) dir.fail("fstat", name);
    file.identity_.emplace(s.st_dev, s.st_ino);
    if (!S_ISREG(s.st_mode)) op.fail(errc::corrupt, file.path_, "not a regular file");
    if (s.st_uid != dir.user()) {
      op.fail(EPERM, "owned by " + detail::shown_user(s.st_uid) + ", not by " + detail::shown_user(dir.user()) + ":",
              file.path_);
    }
    file.capacity_ = static_cast<std::uint64_t>(s.st_size);
    auto const head = journal_head::decode(file.read(0, journal_header_size, op));
    if (!head) op.fail(errc::corrupt, file.path_, "no journal, or its first bytes are damaged");
    if (!head->is_this_version) op.fail(errc::mismatch, file.path_, "a journal of a newer version");
    file.start(head->salt);
    return file;
  }

  /// An empty one under a name that nobody reads, to be filled, ended by `finish` and renamed to `name`.
  static journal_file create(Ops const& ops, directory<Ops> const& dir, bool durable, operation const& op) {
    // Whoever left one there is dead: this process has the lock.
    if (ops.unlink(dir.get(), temporary) != 0 && errno != ENOENT) dir.fail("unlink", temporary);
    std::string path = dir.path_of(temporary);
    int const flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
    int const fd = retried([&] { return ops.open(dir.get(), temporary, flags, 0600); });
    if (fd < 0) dir.fail("create", temporary);
    journal_file file{ops, fd, std::move(path), durable};
    if (ops.fchmod(fd, 0600) != 0) dir.fail("fchmod", temporary);  // whatever the umask says
    struct stat s;
    if (ops.fstat(fd, &s) != 0) dir.fail("fstat", temporary);
    file.identity_.emplace(s.st_dev, s.st_ino);
    std::uint64_t const salt = dir.random();
    std::string const header = journal_header(salt);
    file.write(header, 0, op);
    file.capacity_ = header.size();
    file.start(salt);
    return file;
  }

  journal_file(journal_file&&) noexcept = default;
  ~journal_file() {
    if (file_.get() >= 0 && identity_ && is_foreign() && errno == EBADF) file_.release();
  }

  std::uint64_t end() const noexcept { return last_.end; }
  std::uint64_t salt() const noexcept { return salt_; }
  bool ends_closed() const noexcept { return last_.kind == frame_kind::synced; }
  /// Whether nothing was written to it since it was made: then nobody knows whether its name is on the disk.
  bool is_new() const noexcept { return last_.kind == frame_kind::made; }

  /// Whether the descriptor is still that of our file, and that has the name which others would open.
  bool is_current() const noexcept {
    struct stat found;
    return !is_foreign() && ops_->lstat(AT_FDCWD, path_.c_str(), &found) == 0 &&
           *identity_ == std::pair(found.st_dev, found.st_ino);
  }

  /// As `journal_reader`. What it found last, new frames follow.
  template <class Visitor>
  journal_found replay(Visitor& visit, operation const& op) {
    return journal_reader<journal_file>{*this, capacity_, salt_, last_, op}.replay(visit);
  }

  /// Makes all that was read, and the zeros behind it, certain: what a failed sync left in the page cache alone, and
  /// what the disk may have kept of writes that were cut off. Where nothing is to be synced, only what others have
  /// synced, or cut off.
  void settle(journal_found const& found, operation const& op) {
    bool const syncs = durable_ || last_.is_synced || found.has_torn_end;
    if (syncs) {
      for (std::uint64_t at = found.synced; at < end(); at += step) {
        write(read(at, std::min(step, end() - at), op), at, op);
      }
    }
    write_zeros(end(), capacity_, op);  // though they read as zeros: the disk may have something else
    if (syncs) sync(op);
    synced_ = syncs ? end() : found.synced;
  }

  /// Gives them their places, one behind the other behind what is there. Changes nothing.
  void prepare(std::span<new_frame> frames) const {
    std::uint64_t at = end(), sequence = last_.sequence, previous = last_.previous;
    std::string_view before = last_.key;
    for (auto& f : frames) {
      f.head.sequence = ++sequence;
      f.head.offset = at;
      f.head.synced = synced_;
      f.head.is_synced = durable_;
      f.head.previous = previous;
      f.head.previous_key = before;
      f.head.body_size = f.body.size();
      f.head.body_hash = xxh64::hash(f.body, salt_);
      f.bytes = f.head.encode(salt_);
      at = f.head.end();
      previous = f.head.checksum;
      before = f.head.kind == frame_kind::damage ? unknown_key : f.head.key;
    }
  }
  /// Zeros on the disk for as far as `frames` reach. Throws the system's error: then nothing was changed, unless
  /// `is_poisoned` says that a sync failed.
  void make_room(std::span<new_frame const> frames, std::uint64_t chunk, bool& is_poisoned, operation const& op) {
    std::uint64_t const needed = frames.back().head.end() + room_behind;
    if (needed <= capacity_) return;
    std::uint64_t const more = std::max(chunk, std::min(capacity_, most_room));
    std::uint64_t const target = (needed + more) / chunk * chunk;
    write_zeros(capacity_, target, op);
    is_poisoned = true;
    sync(op);  // also where no frame is: so that a torn one has zeros in it, and not what the disk had before
    is_poisoned = false;
    capacity_ = target;
  }
  /// What `append` writes for `frames`, which were prepared.
  static std::vector<iovec> parts_of(std::span<new_frame const> frames) {
    std::vector<iovec> parts;
    parts.reserve(3 * frames.size());
    auto const add = [&](std::string_view bytes) {
      if (!bytes.empty()) parts.push_back({const_cast<char*>(bytes.data()), bytes.size()});
    };
    for (auto const& f : frames) {
      add(f.bytes);
      add(f.body);
      add(f.head.padding());
    }
    return parts;
  }
  /// Any throw: nobody knows how much was written.
  void append(std::span<new_frame const> frames, std::vector<iovec> parts, operation const& op) {
    write(parts, frames.front().head.offset, op);
    capacity_ = std::max(capacity_, frames.back().head.end());
    for (auto const& f : frames) last_.advance(f.head);
  }
  void sync(operation const& op) const {
    // Never tried again: a second sync of what failed once lies. (One that a signal interrupted has not failed.)
    if (retried([&] { return ops_->fdatasync(file_.get()); }) != 0) op.fail(errno, "fdatasync", path_);
  }
  /// All that was appended is on the disk now.
  void note_synced() noexcept { synced_ = end(); }

  /// Ends a new file: zeros to its end, all synced, and a frame that says so, and that there is nothing else yet.
  void finish(std::uint64_t chunk, operation const& op) {
    std::uint64_t const target = ((end() + 2 * room_behind) / chunk + 1) * chunk;
    write_zeros(end(), target, op);
    capacity_ = target;
    sync(op);
    note_synced();
    mark(frame_kind::made, op);
    sync(op);
    note_synced();
  }
  /// Ends what was written with frames that say so: damage in the last frame of a journal is known from them, and what
  /// key it is about. There are two, and the second is in another sector.
  void close(operation const& op) {
    constexpr std::uint64_t largest_sector = 4096;
    std::uint64_t const head_end = end() + frame_head::fixed_size + last_.key.size();
    std::string const filler(static_cast<std::size_t>(largest_sector - head_end % largest_sector), '-');
    std::vector<new_frame> frames{{.head = {.kind = frame_kind::synced}, .body = filler},
                                  {.head = {.kind = frame_kind::synced}}};
    prepare(frames);
    if (frames.back().head.end() + 8 > capacity_) {
      frames.erase(frames.begin());
      prepare(frames);
    }
    if (frames.back().head.end() < capacity_) append(frames, parts_of(frames), op);
    if (durable_) sync(op);
  }
  void rename(directory<Ops> const& dir) {
    std::string path = dir.path_of(name);  // afterwards a lack of memory would hide that it is done
    if (retried([&] { return ops_->rename(dir.get(), temporary, name); }) != 0) dir.fail("rename", name);
    path_ = std::move(path);
  }

  /// Fewer bytes than asked for: the file ends there.
  std::string read(std::uint64_t at, std::uint64_t size, operation const& op) const {
    if (is_foreign()) op.fail(errno, "read", path_);
    std::string bytes(static_cast<std::size_t>(size), '\0');
    std::size_t done = 0;
    while (done < bytes.size()) {
      auto const from = static_cast<off_t>(at + done);
      auto const n = retried([&] { return ops_->pread(file_.get(), &bytes[done], bytes.size() - done, from); });
      if (n < 0) op.fail(errno, "read", path_);
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    bytes.resize(done);
    return bytes;
  }

 private:
  static constexpr std::uint64_t step = 1U << 20, most_room = 8U << 20;
  /// Zeros that stand behind the frames of a file that was not cut: enough for a frame that closes it.
  static constexpr std::uint64_t room_behind = frame_head::fixed_size + key::max_size + 16;

  journal_file(Ops const& ops, int fd, std::string path, bool durable)
      : ops_(&ops), file_(ops, fd), path_(std::move(path)), durable_(durable) {}

  void start(std::uint64_t salt) {
    salt_ = salt;
    last_ = journal_position(salt);
    synced_ = end();
  }

  /// Whether the descriptor is another file's by now, or none: a program that closes what it does not know (a daemon)
  /// may have opened something under the same number, which is not ours to read, to write or to close.
  /// Sets `errno` then.
  bool is_foreign() const noexcept {
    struct stat s;
    if (ops_->fstat(file_.get(), &s) != 0) return true;
    errno = EBADF;
    return *identity_ != std::pair(s.st_dev, s.st_ino);
  }

  void mark(frame_kind kind, operation const& op) {
    new_frame frame{.head = {.kind = kind}};
    prepare({&frame, 1});
    append({&frame, 1}, parts_of({&frame, 1}), op);
  }

  void write(std::string_view bytes, std::uint64_t at, operation const& op) {
    std::vector<iovec> parts{{const_cast<char*>(bytes.data()), bytes.size()}};
    write(parts, at, op);
  }
  void write(std::vector<iovec>& parts, std::uint64_t at, operation const& op) {
    constexpr std::size_t most = 1024;  // IOV_MAX on Linux
    for (std::size_t first = 0; first < parts.size();) {
      int const count = static_cast<int>(std::min(most, parts.size() - first));
      auto const offset = static_cast<off_t>(at);
      auto const n = retried([&] { return ops_->pwritev(file_.get(), &parts[first], count, offset); });
      if (n == 0) errno = EIO;
      if (n <= 0) op.fail(errno, "write", path_);
      at += static_cast<std::uint64_t>(n);
      for (auto left = static_cast<std::size_t>(n); left > 0;) {
        iovec& part = parts[first];
        auto const done = std::min(left, part.iov_len);
        part = {static_cast<char*>(part.iov_base) + done, part.iov_len - done};
        left -= done;
        if (part.iov_len == 0) ++first;
      }
    }
  }
  void write_zeros(std::uint64_t from, std::uint64_t to, operation const& op) {
    std::string const zeros(static_cast<std::size_t>(std::min(step, to - std::min(from, to))), '\0');
    for (; from < to; from += std::min(step, to - from)) {
      write(std::string_view(zeros).substr(0, static_cast<std::size_t>(std::min(step, to - from))), from, op);
    }
  }

  Ops const* ops_;
  descriptor<Ops> file_;
  std::string path_;
  bool durable_;
  std::optional<std::pair<dev_t, ino_t>> identity_{};  // of the file that we opened
  std::uint64_t salt_ = 0, capacity_ = 0;
  journal_position last_{};
  std::uint64_t synced_ = 0;  // what lies below is known to be on the disk
};

}  // namespace stash::inline v1::detail
