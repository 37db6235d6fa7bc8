#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <stash/detail/directory.hpp>
#include <stash/detail/journal_format.hpp>
#include <stash/detail/posix_file_ops.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// A frame to write: what is set by the writer, and the bytes that become of it.
struct new_frame {
  frame_head head{};
  std::string_view body{};
  std::string bytes{};  // of the head
};

/// The file of a journal, open: frames at its front, and zeros behind them that are on the disk already, so that a
/// frame changes nothing but bytes. One thread at a time writes; `read` may be called beside it.
template <class Ops>
class journal_file {
 public:
  static constexpr char name[] = "stash.journal";
  static constexpr char temporary[] = ".stash.journal.tmp";

  /// nullopt: there is none. Throws `errc::corrupt` where it is none, `errc::unsafe_directory`, or the system's error.
  static std::optional<journal_file> open(Ops const& ops, directory<Ops> const& dir, operation const& op) {
    std::string path = dir.path_of(name);  // before there is a descriptor to lose
    int const fd = retried([&] { return ops.open(dir.get(), name, O_RDWR | O_NOFOLLOW | O_NONBLOCK); });
    if (fd < 0 && errno == ENOENT) return std::nullopt;
    if (fd < 0) dir.fail("open", name);
    journal_file file{ops, fd, std::move(path)};
    struct stat s;
    if (ops.fstat(fd, &s) != 0) dir.fail("fstat", name);
    if (!S_ISREG(s.st_mode)) op.fail(errc::corrupt, file.path_, "not a regular file");
    if (s.st_uid != ops.user()) {
      op.fail(EPERM, "owned by user " + std::to_string(s.st_uid) + ", not by us:", file.path_);
    }
    file.capacity_ = static_cast<std::uint64_t>(s.st_size);
    auto const head = journal_head::decode(file.read(0, journal_header_size, op));
    if (!head) op.fail(errc::corrupt, file.path_, "no journal, or its first bytes are damaged");
    if (!head->is_this_version) op.fail(errc::mismatch, file.path_, "a journal of a newer version");
    file.start(head->salt);
    return file;
  }

  /// An empty one under a name that nobody reads, to be filled, ended by `finish` and renamed to `name`.
  static journal_file create(Ops const& ops, directory<Ops> const& dir, operation const& op) {
    // Whoever left one there is dead: this process has the lock.
    if (ops.unlink(dir.get(), temporary) != 0 && errno != ENOENT) dir.fail("unlink", temporary);
    std::string path = dir.path_of(temporary);
    int const flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
    int const fd = retried([&] { return ops.open(dir.get(), temporary, flags, 0600); });
    if (fd < 0) dir.fail("create", temporary);
    journal_file file{ops, fd, std::move(path)};
    if (ops.fchmod(fd, 0600) != 0) dir.fail("fchmod", temporary);  // whatever the umask says
    std::uint64_t const salt = dir.random();
    std::string const header = journal_header(salt);
    file.write(header, 0, op);
    file.capacity_ = header.size();
    file.start(salt);
    return file;
  }

  journal_file(journal_file&&) noexcept = default;

  std::uint64_t end() const noexcept { return end_; }
  std::uint64_t salt() const noexcept { return salt_; }
  bool ends_synced() const noexcept { return last_kind_ == frame_kind::synced; }
  /// Whether nothing was written to it since it was made: then nobody knows whether its name is on the disk.
  bool is_new() const noexcept { return last_kind_ == frame_kind::made; }

  /// Whether it still has the name that others would open.
  bool is_current() const noexcept {
    struct stat ours, found;
    return ops_->fstat(file_.get(), &ours) == 0 && ops_->lstat(AT_FDCWD, path_.c_str(), &found) == 0 &&
           std::pair(ours.st_dev, ours.st_ino) == std::pair(found.st_dev, found.st_ino);
  }

  /// Calls `visit.frame(head, body)` for each frame, in order, and `visit.damage(offset, size, head, key)` for what is
  /// damaged below what was synced: with its head if that is whole, else with its key if it can be told (empty: it was
  /// about none), else with neither. Returns up to where the frames say that the file is synced: the rest may be on no
  /// disk yet.
  template <class Visitor>
  std::uint64_t replay(Visitor& visit, operation const& op) {
    std::uint64_t synced = journal_header_size;
    window bytes{*this, op};
    while (auto const next = step_over(bytes, visit)) {
      synced = std::max(synced, next->synced);
    }
    return synced;
  }

  /// Makes all that was read, and the zeros behind it, certain: what a failed sync left in the page cache alone, and
  /// what the disk may have kept of writes that were cut off.
  void settle(std::uint64_t synced, bool durable, operation const& op) {
    if (durable) {
      for (std::uint64_t at = synced; at < end_; at += step) {
        write(read(at, std::min(step, end_ - at), op), at, op);
      }
    }
    write_zeros(end_, capacity_, op);  // though they read as zeros: the disk may have something else
    if (durable) sync(op);
    synced_ = durable ? end_ : synced;
  }

  /// Gives them their places, one behind the other behind what is there. Changes nothing.
  void prepare(std::span<new_frame> frames) const {
    std::uint64_t at = end_, sequence = sequence_, previous = previous_;
    std::string_view before = last_key_;
    for (auto& f : frames) {
      f.head.sequence = ++sequence;
      f.head.offset = at;
      f.head.synced = synced_;
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
  void make_room(std::span<new_frame const> frames, std::uint64_t chunk, bool durable, bool& is_poisoned,
                 operation const& op) {
    std::uint64_t const needed = frames.back().head.end();
    if (needed <= capacity_) return;
    std::uint64_t const more = std::max(chunk, std::min(capacity_, most_room));
    std::uint64_t const target = (needed + more) / chunk * chunk;
    write_zeros(capacity_, target, op);
    if (durable) {
      is_poisoned = true;
      sync(op);
      is_poisoned = false;
    }
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
    for (auto const& f : frames) advance(f.head);
  }
  void sync(operation const& op) const {
    // Never tried again: a second sync of what failed once lies. (One that a signal interrupted has not failed.)
    if (retried([&] { return ops_->fdatasync(file_.get()); }) != 0) op.fail(errno, "fdatasync", path_);
  }
  /// All that was appended is on the disk now.
  void note_synced() noexcept { synced_ = end_; }

  /// Ends a new file: zeros to its end, all synced, and a frame that says so, and that there is nothing else yet.
  void finish(std::uint64_t chunk, operation const& op) {
    std::uint64_t const target = (end_ / chunk + 2) * chunk;
    write_zeros(end_, target, op);
    capacity_ = target;
    sync(op);
    note_synced();
    mark(frame_kind::made, op);
  }
  void mark_synced(operation const& op) { mark(frame_kind::synced, op); }
  void rename(directory<Ops> const& dir) {
    std::string path = dir.path_of(name);  // afterwards a lack of memory would hide that it is done
    if (retried([&] { return ops_->rename(dir.get(), temporary, name); }) != 0) dir.fail("rename", name);
    path_ = std::move(path);
  }

  /// Fewer bytes than asked for: the file ends there.
  std::string read(std::uint64_t at, std::uint64_t size, operation const& op) const {
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

  void mark(frame_kind kind, operation const& op) {
    new_frame frame{.head = {.kind = kind}};
    prepare({&frame, 1});
    if (frame.head.end() > capacity_) return;  // no room: until the next frame, damage here looks like a torn end
    append({&frame, 1}, parts_of({&frame, 1}), op);
    sync(op);
    note_synced();
  }

  /// A part of the file in memory, for who goes through it from front to back.
  class window {
   public:
    window(journal_file const& file, operation const& op) : file_(file), op_(op) {}
    /// Up to `size` bytes, valid until the next call.
    std::string_view at(std::uint64_t offset, std::uint64_t size) {
      std::uint64_t const left = file_.capacity_ - std::min(offset, file_.capacity_);
      size = std::min(size, left);
      if (offset < start_ || offset + size > start_ + bytes_.size()) {
        bytes_ = file_.read(offset, std::min(std::max(size, step), left), op_);
        start_ = offset;
      }
      return std::string_view(bytes_).substr(static_cast<std::size_t>(offset - start_), static_cast<std::size_t>(size));
    }

   private:
    journal_file const& file_;
    operation const& op_;
    std::string bytes_;
    std::uint64_t start_ = 0;
  };
  journal_file(Ops const& ops, int fd, std::string path) : ops_(&ops), file_(ops, fd), path_(std::move(path)) {}

  void start(std::uint64_t salt) {
    salt_ = previous_ = salt;
    end_ = synced_ = journal_header_size;
    last_key_.reserve(key::max_size);
  }
  void advance(frame_head const& head) noexcept {
    end_ = head.end();
    sequence_ = head.sequence;
    previous_ = head.checksum;
    last_kind_ = head.kind;
    last_key_.assign(head.kind == frame_kind::damage ? unknown_key : head.key);  // it has the room
  }

  struct stepped {
    std::uint64_t synced;
  };
  /// One frame or one damaged region; nullopt: here it ends.
  template <class Visitor>
  std::optional<stepped> step_over(window& bytes, Visitor& visit) {
    auto head = head_at(bytes, end_);
    std::string const key{head ? head->key : ""};  // the window moves
    bool const is_next = head && head->sequence == sequence_ + 1 && head->previous == previous_;
    if (is_next) {
      head->key = key;
      auto const body = bytes.at(head->body_at(), head->body_size);
      if (xxh64::hash(body, salt_) == head->body_hash) {
        visit.frame(*head, body);
        advance(*head);
        return stepped{head->synced};
      }
    }
    auto const at = next_head(bytes, end_);
    if (!at) return std::nullopt;
    auto const next = *head_at(bytes, *at);
    bool const is_one = next.sequence == sequence_ + 2;
    visit.damage(end_, *at - end_, is_next ? &*head : nullptr,
                 is_one ? std::optional(next.previous_key) : std::nullopt);
    sequence_ = next.sequence - 1;
    previous_ = next.previous;
    end_ = *at;
    return stepped{0};
  }

  std::optional<frame_head> head_at(window& bytes, std::uint64_t at) const {
    constexpr std::uint64_t longest = frame_head::fixed_size + 2 * key::max_size;
    auto const head = frame_head::decode(bytes.at(at, longest), at, salt_);
    if (!head || head->body_size > capacity_ - head->body_at()) return std::nullopt;
    return head;
  }
  /// Where the next one behind `from` stands, if that one or a later one was written when `from` was synced already:
  /// then what is between is damage. Else nullopt: it is what a crash left.
  std::optional<std::uint64_t> next_head(window& bytes, std::uint64_t from) const {
    std::optional<std::uint64_t> first;
    for (std::uint64_t at = from + 8; at + frame_head::fixed_size <= capacity_; at += 8) {
      if (detail::number_at(bytes.at(at, frame_head::fixed_size), 8) != frame_head::magic) continue;
      auto const head = head_at(bytes, at);
      if (!head || head->sequence <= sequence_ + 1) continue;
      if (!first) first = at;
      if (head->synced > from) return first;
    }
    return std::nullopt;
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
  std::uint64_t salt_ = 0, capacity_ = 0;
  std::uint64_t end_ = 0, synced_ = 0;         // of the frames, and of what is known to be on the disk
  std::uint64_t sequence_ = 0, previous_ = 0;  // of the last frame: its number, and its checksum
  std::string last_key_;
  frame_kind last_kind_ = frame_kind::put;
};

}  // namespace stash::inline v1::detail
