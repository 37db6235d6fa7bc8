#pragma once

#include <algorithm>
#include <atomic>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stash/concepts.hpp>
#include <stash/detail/files/absolute.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/directory_lifetime.hpp>
#include <stash/detail/files/file_lock.hpp>
#include <stash/detail/files/move.hpp>
#include <stash/detail/files/record_reader.hpp>
#include <stash/detail/files/record_writer.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/check_size.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/sorted.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/error.hpp>
#include <stash/file_options.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/storage/default_directory.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// One file a key in a directory of our own, replaced in one step: readers see the old record or the new one.
///
/// An acknowledged `put`, `erase` or `set_aside` survives what `file_options::durability` says, on a file
/// system and a disk that honour fsync. The directory is made by the first `put` or `try_lock`, 0700, with its
/// parents as the umask says, the files 0600; where nothing was saved, it is removed again with the lock. One that is
/// a link (but one that root made for others), is somebody else's, or that others may write to, is refused with
/// `errc::unsafe_directory`; root may read what is another user's. Every member may be called from many threads and
/// processes at once, `put`, `erase`, `set_aside` and `sweep` with the key's lock held. Nothing is kept open between
/// calls but locks, and what takes the place of 0, 1 and 2 in a program that has closed them (which may be the
/// directory, for looking into it); a forked child may use it as it is. A relative directory is taken from where the
/// process is when the storage is constructed. One that was moved from may only be assigned to or destroyed. Not for
/// NFS: a lock whose lease was lost and taken back unseen counts as held.
///
///     stash::atomic_file_storage files{"/var/lib/etl/stash"};
///     std::cout << files.path("orders");    // "/var/lib/etl/stash/orders.stash"
///
/// Errors name the operation, the key, the failed call and its path. Where nothing else is said, a throw
/// leaves everything as it was and removes the temporary file.
template <class FileOps = posix_file_ops>
class basic_atomic_file_storage {
 public:
  using lock_type = detail::file_lock<FileOps>;  ///< a key's lock, see `try_lock`

  /// Touches nothing. Throws EINVAL for a path that is empty or has a NUL in it, and what finding the working
  /// directory throws; where none is given, as `default_directory`.
  explicit basic_atomic_file_storage(boost::filesystem::path directory = default_directory(), file_options options = {},
                                     FileOps ops = {})
      : directory_(detail::absolute(std::move(directory), "atomic_file_storage")),
        options_(options),
        ops_(std::move(ops)) {}

  /// Where the record of `k` is or would be. Throws `errc::invalid_key` where its file name would be too long.
  boost::filesystem::path path(key const& k) const { return directory_ / detail::record_name(k, "path"); }
  /// The same as text, which every storage has that can say it.
  std::string where(key const& k) const { return path(k).native(); }

  /// Whether the directory is there. Throws `errc::unsafe_directory` or the operating system's error.
  bool exists() const { return open_to_read({"exists", {}}).has_value(); }

  /// Throws where `put` would refuse without trying: `errc::too_large`, `errc::invalid_key`.
  void check(key const& k, record const& r) const {
    detail::operation const op{"put", k};
    auto const name = detail::record_name(k, op.name);
    detail::check_size(
        r.payload.size(), options_.max_bytes, [&] { return (directory_ / name).native(); }, op);
  }

  /// Writes `r` in place of what stands under `k`, even if that is a link or a FIFO; never through it.
  ///
  /// Throws `errc::too_large`, `errc::invalid_key` (also where the file system allows no name so long that the record
  /// could be set aside), `errc::unsafe_directory`, or the operating system's error: the old record stands. Throws
  /// `errc::indeterminate` where the last sync failed: the old or the new one stands, and after a power cut it may be
  /// the other.
  void put(key const& k, record const& r) {
    detail::operation const op{"put", k};
    check(k, r);
    auto const dir = made(op);
    writer(dir).write(k, r, op);
    *made_ = 0;
    mover(dir, op).make_durable();
  }

  /// As `put` for each, in one pass: all are written before the first is synced, so that they share most of the
  /// flushes.
  ///
  /// Throws as `put`. Where it is `errc::too_large` or `errc::invalid_key`, all old records stand; else each key has
  /// its old or its new one, and after a power cut it may be the other.
  void put_all(std::span<std::pair<key, record> const> all) {
    detail::operation const op{"put_all", {}};
    for (auto const& [k, r] : all) check(k, r);
    if (all.empty()) return;
    auto const dir = made(op);
    *made_ = 0;  // some may be there even where this throws
    writer(dir).write_all(all, op);
    mover(dir, op).make_durable();
  }

  /// The record of `k`; nullopt: there is none. Creates nothing.
  ///
  /// Throws `errc::corrupt`: what stands there is no whole record of `k` (a link, a directory or a FIFO is
  /// none); `errc::mismatch`: of a newer version; `errc::too_large`; `errc::unsafe_directory`; EPERM where the
  /// file is somebody else's; or the operating system's error.
  std::optional<record> get(key const& k) const {
    detail::operation const op{"get", k};
    auto const name = detail::record_name(k, op.name);
    auto const dir = open(op, detail::access::read_file);
    if (!dir) return std::nullopt;
    return reader(*dir).read(name, k, op);
  }

  /// Removes the record of `k`, whatever it is but a directory (EISDIR); false: there was none. No record that was
  /// there before comes back after a power cut, not even one whose remover died before it was durable (unless a sync
  /// failed after that: then the next that succeeds proves nothing).
  ///
  /// Throws `errc::indeterminate` where the sync failed: the record stands, but a power cut may take it. (Or it is
  /// gone already: then the disk refused both to finish and to go back.)
  bool erase(key const& k) {
    detail::operation const op{"erase", k};
    static_cast<void>(detail::record_name(k, op.name));  // refused, whether there is a directory or not
    auto const dir = open(op, detail::access::write);
    if (!dir) return false;
    auto const files = mover(*dir, op);
    auto one = files.doomed(k);
    files.remove({&one, 1});
    return one.was_there;
  }

  /// As `erase` for each, with one sync for all. Throws as `erase`: then each key has its record or none. Where there
  /// is no directory, no key is looked at.
  void erase_all(std::span<key const> all) {
    detail::operation const op{"erase_all", {}};
    auto const dir = open(op, detail::access::write);
    if (!dir || all.empty()) return;
    auto const files = mover(*dir, op);
    std::vector<detail::file_move> moves;
    for (auto const& k : all) moves.push_back(files.doomed(k));
    files.remove(moves);
  }

  /// All records, ordered by key; empty: there are none. `where` is the path.
  ///
  /// What cannot be read (somebody else's, over the cap, EIO) is listed as corrupt, so that one bad file hides
  /// no other; `get` tells what it is. A whole record of a newer version is intact. Reads every file.
  std::vector<entry> entries() const {
    auto const dir = open_to_read({"entries", {}});
    return dir ? reader(*dir).list("entries", detail::key_of_record) : std::vector<entry>();
  }

  /// Moves the record of `k`, whatever it is, to `<key>.<reason>-<UTC time>-<random>` beside it, never onto
  /// anything; returns that path. Its bytes are as durable as a put, whoever wrote them.
  ///
  /// Throws ENOENT where there is none, EACCES or EPERM where a file cannot be read, so that it cannot be copied, and
  /// `errc::indeterminate` where a sync failed: the record stands, but a power cut may take it where its copy was
  /// made already. Whatever is thrown, a copy that was made stays.
  std::string set_aside(key const& k, std::string_view reason) {
    detail::operation const op{"set_aside", k};
    auto const name = detail::record_name(k, op.name);
    auto const dir = open(op, detail::access::write);
    if (!dir) op.fail(ENOENT, "open", directory_.native());
    auto const now = detail::system_now();
    std::string const aside = detail::set_aside_name(k, op.name, reason, now, dir->random(), dir->name_max());
    std::string place = dir->path_of(aside);  // now: afterwards a lack of memory would hide that it is done
    // Not by a rename: were it not yet synced when the process dies, the next save of the key could reach the disk
    // without it, and replace what it was to move.
    auto const files = mover(*dir, op);
    bool const is_copied = is_durable() && files.copy(name, aside, k);
    auto move = is_copied ? files.doomed(k) : detail::file_move{name, aside};
    is_copied ? files.remove({&move, 1}) : files.move_away({&move, 1});
    if (!move.was_there) op.fail(ENOENT, "rename", dir->path_of(name));
    return place;
  }

  /// All that was set aside and not purged, by key and then by path. `state` tells whether the bytes are whole.
  std::vector<entry> set_aside_entries() const {
    auto const dir = open_to_read({"set_aside_entries", {}});
    return dir ? reader(*dir).list("set_aside_entries", detail::key_of_set_aside) : std::vector<entry>();
  }

  /// Destroys what was set aside `older_than` ago or earlier, zero or less: all of it. Returns how many.
  /// Throws the first error; what could be removed is removed all the same. After `errc::indeterminate` it may come
  /// back in a power cut, and be there for the next purge.
  std::size_t purge(std::chrono::microseconds older_than) {
    detail::operation const op{"purge", {}};
    auto const dir = open(op, detail::access::write);
    if (!dir) return 0;
    auto const now = detail::system_now();
    auto const is_old = [&](std::string const& name) {
      auto const parsed = detail::parse_set_aside(name);
      return parsed && (older_than.count() <= 0 || detail::age_between(parsed->second, now) >= older_than);
    };
    return mover(*dir, op).remove_all(is_old);
  }

  /// The keys that have temporary files: a save or a removal of theirs is under way, or was interrupted.
  std::vector<key> temporaries() const {
    auto const dir = open_to_read({"temporaries", {}});
    std::vector<key> found;
    if (dir) {
      for (auto const& name : dir->names()) {
        if (auto k = detail::key_of_temporary(name)) found.push_back(std::move(*k));
      }
    }
    found = detail::sorted(std::move(found));
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
  }

  /// Removes the temporary files of `k`, whose lock the caller holds: what they were for was never acknowledged.
  void sweep(key const& k) { sweep_all({&k, 1}); }

  /// As `sweep` for each, with one listing and one sync for all.
  void sweep_all(std::span<key const> all) {
    detail::operation const op{"sweep", all.size() == 1 ? all[0].str() : std::string_view()};
    auto const dir = open(op, detail::access::write);
    if (!dir) return;
    auto const sorted = detail::sorted(std::vector<key>(all.begin(), all.end()));
    auto const is_theirs = [&](std::string const& name) {
      auto const k = detail::key_of_temporary(name);
      return k && std::binary_search(sorted.begin(), sorted.end(), *k);
    };
    mover(*dir, op).remove_all(is_theirs);
  }

  /// The lock of `k`, exclusive among all threads and processes that use this directory on this machine; it
  /// ends with the process. nullopt: another has it. Makes the directory.
  ///
  /// Throws whatever keeps it from telling: EMFILE, ENOLCK, EACCES, `errc::unsafe_directory`, ...
  std::optional<lock_type> try_lock(key const& k) {
    detail::operation const op{"try_lock", k};
    require_directory(op);
    return lock_type::try_take(ops_, directory_, is_durable(), detail::encoded(k, op.name), op, made_);
  }

  /// Appends the locks of `all` to `locks`, in their order, until another has one. They share a descriptor, as a rule.
  /// Where they are many it locks what lies between them, too, for some milliseconds: another `try_lock` waits that
  /// long. Throws as `try_lock`; what was appended before is kept.
  void try_lock_all(std::span<key const> all, std::vector<lock_type>& locks) {
    bool const is_one = all.size() == 1;
    detail::operation const op{is_one ? "try_lock" : "try_lock_all", is_one ? all[0].str() : std::string_view()};
    require_directory(op);
    std::vector<off_t> bytes;
    for (auto const& k : all) bytes.push_back(lock_type::byte_of(detail::encoded(k, op.name)));
    lock_type::try_take_all(ops_, directory_, is_durable(), bytes, op, locks, made_);
  }

 private:
  bool is_durable() const noexcept { return options_.durability == durability::power_loss; }

  std::optional<detail::directory<FileOps>> open(detail::operation const& op, detail::access wanted) const {
    return detail::directory<FileOps>::find(ops_, directory_, op, wanted, options_.must_exist);
  }
  std::optional<detail::directory<FileOps>> open_to_read(detail::operation const& op) const {
    return open(op, detail::access::read);
  }
  void require_directory(detail::operation const& op) const {
    if (options_.must_exist) open(op, detail::access::write);
  }
  detail::directory<FileOps> made(detail::operation const& op) const {
    require_directory(op);
    return detail::directory_maker<FileOps>::make(ops_, directory_, is_durable(), op);
  }

  detail::record_reader<FileOps> reader(detail::directory<FileOps> const& dir) const {
    return {ops_, dir, options_.max_bytes};
  }
  detail::record_writer<FileOps> writer(detail::directory<FileOps> const& dir) const {
    return {ops_, dir, is_durable()};
  }
  detail::file_mover<FileOps> mover(detail::directory<FileOps> const& dir, detail::operation const& op) const {
    return {ops_, dir, is_durable(), op};
  }

  boost::filesystem::path directory_;
  file_options options_;
  [[no_unique_address]] FileOps ops_;
  detail::made_levels made_ = std::make_shared<std::atomic<unsigned>>(0U);
};

/// On the real file system.
using atomic_file_storage = basic_atomic_file_storage<>;

}  // namespace stash::inline v1
