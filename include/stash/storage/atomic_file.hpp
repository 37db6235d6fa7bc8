#pragma once

#include <algorithm>
#include <atomic>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stash/concepts.hpp>
#include <stash/detail/files/absolute.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/file_lock.hpp>
#include <stash/detail/files/make_directory.hpp>
#include <stash/detail/files/read_file.hpp>
#include <stash/detail/files/temporary_file.hpp>
#include <stash/detail/record/format.hpp>
#include <stash/detail/record/names.hpp>
#include <stash/error.hpp>
#include <stash/file_options.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/storage/default_directory.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <string_view>
#include <tuple>
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
/// calls but locks, so a forked child may use it as it is. A relative directory is taken from where the process is when
/// the storage is constructed. One that was moved from may only be assigned to or destroyed. Not for NFS: a lock whose
/// lease was lost and taken back unseen counts as held.
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
    auto const name = detail::record_name(k, op.name);
    check(k, r);
    std::string const header = detail::header_line(k, r);
    auto const dir = made(op);
    dir.check_name(k);
    detail::temporary_file<FileOps> file{ops_, dir, k, is_durable(), op};
    file.write({header, r.payload, "\n"});
    file.finish();
    file.rename_to(name);
    *made_ = 0;
    make_durable(dir, op);
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
    for (auto const& [k, r] : all) dir.check_name(k);
    constexpr std::size_t most = 128;  // files that are open at once
    for (; !all.empty(); all = all.subspan(std::min(most, all.size()))) {
      put_some(dir, all.first(std::min(most, all.size())));
    }
    make_durable(dir, op);
  }

  /// The record of `k`; nullopt: there is none. Creates nothing.
  ///
  /// Throws `errc::corrupt`: what stands there is no whole record of `k` (a link, a directory or a FIFO is
  /// none); `errc::mismatch`: of a newer version; `errc::too_large`; `errc::unsafe_directory`; EPERM where the
  /// file is somebody else's; or the operating system's error.
  std::optional<record> get(key const& k) const {
    detail::operation const op{"get", k};
    auto const name = detail::record_name(k, op.name);
    auto const dir = open_to_read(op);
    if (!dir) return std::nullopt;
    return read(*dir, name, k, op);
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
    auto one = doomed(*dir, k, op);
    remove(*dir, {&one, 1}, op);
    return one.was_there;
  }

  /// As `erase` for each, with one sync for all. Throws as `erase`: then each key has its record or none. Where there
  /// is no directory, no key is looked at.
  void erase_all(std::span<key const> all) {
    detail::operation const op{"erase_all", {}};
    auto const dir = open(op, detail::access::write);
    if (!dir || all.empty()) return;
    std::vector<file_move> moves;
    for (auto const& k : all) moves.push_back(doomed(*dir, k, op));
    remove(*dir, moves, op);
  }

  /// All records, ordered by key; empty: there are none. `where` is the path.
  ///
  /// What cannot be read (somebody else's, over the cap, EIO) is listed as corrupt, so that one bad file hides
  /// no other; `get` tells what it is. A whole record of a newer version is intact. Reads every file.
  std::vector<entry> entries() const {
    return listed("entries", [](std::string_view name) { return detail::key_of_record(name); });
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
    auto const now = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    std::string const aside = detail::set_aside_name(k, op.name, reason, now, dir->random(), dir->name_max());
    std::string place = dir->path_of(aside);  // now: afterwards a lack of memory would hide that it is done
    // Not by a rename: were it not yet synced when the process dies, the next save of the key could reach the disk
    // without it, and replace what it was to move.
    bool const is_copied = is_durable() && copy(*dir, name, aside, k, op);
    file_move move = is_copied ? doomed(*dir, k, op) : file_move{name, aside};
    is_copied ? remove(*dir, {&move, 1}, op) : move_away(*dir, {&move, 1}, op);
    if (!move.was_there) op.fail(ENOENT, "rename", dir->path_of(name));
    return place;
  }

  /// All that was set aside and not purged, by key and then by path. `state` tells whether the bytes are whole.
  std::vector<entry> set_aside_entries() const {
    return listed("set_aside_entries", [](std::string_view name) {
      auto parsed = detail::parse_set_aside(name);
      return parsed ? std::optional<key>(std::move(parsed->first)) : std::nullopt;
    });
  }

  /// Destroys what was set aside `older_than` ago or earlier, zero or less: all of it. Returns how many.
  /// Throws the first error; what could be removed is removed all the same. After `errc::indeterminate` it may come
  /// back in a power cut, and be there for the next purge.
  std::size_t purge(std::chrono::microseconds older_than) {
    detail::operation const op{"purge", {}};
    auto const dir = open(op, detail::access::write);
    if (!dir) return 0;
    auto const now = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    auto const is_old = [&](std::string const& name) {
      auto const parsed = detail::parse_set_aside(name);
      return parsed && (older_than.count() <= 0 || detail::age_between(parsed->second, now) >= older_than);
    };
    return remove_all(*dir, is_old, op);
  }

  /// The keys that have temporary files: a save of theirs is under way, or was interrupted.
  std::vector<key> temporaries() const {
    auto const dir = open_to_read({"temporaries", {}});
    std::vector<key> found;
    if (dir) {
      for (auto const& name : dir->names()) {
        if (auto k = detail::key_of_temporary(name)) found.push_back(std::move(*k));
      }
    }
    std::sort(found.begin(), found.end(), [](key const& a, key const& b) { return a < b; });
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
    std::vector<std::string_view> names;
    for (auto const& k : all) names.push_back(k.str());
    std::sort(names.begin(), names.end());
    auto const is_theirs = [&](std::string const& name) {
      auto const k = detail::key_of_temporary(name);
      return k && std::binary_search(names.begin(), names.end(), k->str());
    };
    remove_all(*dir, is_theirs, op);
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

  /// All that `put_all` does but the sync of the directory.
  void put_some(detail::directory<FileOps> const& dir, std::span<std::pair<key, record> const> some) const {
    std::vector<std::string> headers;
    headers.reserve(some.size());
    using file = detail::temporary_file<FileOps>;
    std::vector<std::unique_ptr<file>> files;
    for (auto const& [k, r] : some) {
      headers.push_back(detail::header_line(k, r));
      files.push_back(std::make_unique<file>(ops_, dir, k, is_durable(), detail::operation{"put_all", k}));
      files.back()->write({headers.back(), r.payload, "\n"});
      files.back()->start_writeback();
    }
    for (auto const& one : files) one->finish();
    for (std::size_t i = 0; i < files.size(); ++i) files[i]->rename_to(detail::record_name(some[i].first, "put_all"));
    *made_ = 0;
  }

  /// A failed sync of a directory says nothing about which names the disk has.
  void make_durable(detail::directory<FileOps> const& dir, detail::operation const& op) const {
    if (is_durable() && dir.sync() != 0) indeterminate("fsync", directory_.native(), errno, op);
  }
  [[noreturn]] static void indeterminate(char const* call, std::string const& path, int error,
                                         detail::operation const& op) {
    std::string const cause = boost::system::error_code(error, boost::system::system_category()).message();
    op.fail(errc::indeterminate, std::string(call) + " " + path, cause);
  }

  /// A durable copy under a new name; false: what stands there is no regular file, and has no bytes. Syncing the file
  /// itself would not do: where a sync of it has failed before, another would lie.
  bool copy(detail::directory<FileOps> const& dir, std::string const& from, std::string const& to, key const& k,
            detail::operation const& op) const {
    std::optional<std::string> bytes;
    try {
      bytes = detail::read_file(ops_, dir, from, std::numeric_limits<std::uint64_t>::max(), op);
    } catch (error const& problem) {
      if (problem.code() != errc::corrupt) throw;
      return false;
    }
    if (!bytes) op.fail(ENOENT, "open", dir.path_of(from));
    detail::temporary_file<FileOps> file{ops_, dir, k, true, op};
    file.write({*bytes, {}, {}});
    file.finish();
    file.give_name();
    if (!move_without_replacing(dir, file.name(), to)) op.fail(ENOENT, "rename", dir.path_of(file.name()));
    file.keep();
    make_durable(dir, op);
    return true;
  }

  struct file_move {
    std::string from, to;
    bool was_there = false;
  };

  file_move doomed(detail::directory<FileOps> const& dir, key const& k, detail::operation const& op) const {
    return {detail::record_name(k, op.name), detail::temporary_name(k, op.name, dir.random())};
  }

  /// Removes durably those that are there. Throws the first error; what could be removed is removed all the same.
  void remove(detail::directory<FileOps> const& dir, std::span<file_move> all, detail::operation const& op) const {
    move_away(dir, all, op);
    std::exception_ptr first;
    for (file_move const& one : all) {
      if (!one.was_there || unlink(dir, one.to) == 0 || errno == ENOENT) continue;  // ENOENT: a cleaner was faster
      attempt(first, [&, failed = errno] {
        bool const is_back = move_back(dir, one.to, one.from) && (!is_durable() || dir.sync() == 0);
        if (!is_back) indeterminate("unlink", dir.path_of(one.to), failed, op);
        op.fail(failed, "unlink", dir.path_of(one.to));
      });
    }
    if (first) std::rethrow_exception(first);
  }

  /// Moves durably those that are there, never onto anything; none if it throws.
  void move_away(detail::directory<FileOps> const& dir, std::span<file_move> all, detail::operation const& op) const {
    try {
      for (auto& one : all) one.was_there = move_without_replacing(dir, one.from, one.to);
      make_durable(dir, op);
    } catch (...) {
      // Left absent, the next to find it so would sync, be told that all is well (the failed sync has marked the
      // change clean), and say that the record is gone for good.
      for (auto const& one : all) {
        if (one.was_there) move_back(dir, one.to, one.from);
      }
      throw;
    }
  }

  bool move_back(detail::directory<FileOps> const& dir, std::string const& from, std::string const& to) const {
    try {
      return move_without_replacing(dir, from, to);
    } catch (...) {  // the first error is the one to report
      return false;
    }
  }

  bool move_without_replacing(detail::directory<FileOps> const& dir, std::string const& from,
                              std::string const& to) const {
    int const moved = detail::retried([&] { return ops_.rename_noreplace(dir.get(), from.c_str(), to.c_str()); });
    if (moved == 0) return true;
    if (errno == ENOENT) return false;
    if (errno != ENOSYS && errno != EINVAL) dir.fail("rename", from);
    // In two steps; dying between them leaves both names, which loses nothing.
    if (detail::retried([&] { return ops_.link(dir.get(), from.c_str(), to.c_str()); }) != 0) {
      if (errno == ENOENT) return false;
      dir.fail("link", from);
    }
    if (unlink(dir, from) != 0) dir.fail("unlink", from);
    return true;
  }

  int unlink(detail::directory<FileOps> const& dir, std::string const& name) const {
    return detail::retried([&] { return ops_.unlink(dir.get(), name.c_str()); });
  }

  template <class F>
  static void attempt(std::exception_ptr& first, F f) {
    try {
      f();
    } catch (error const&) {
      if (!first) first = std::current_exception();
    }
  }

  template <class Matches>
  std::size_t remove_all(detail::directory<FileOps> const& dir, Matches matches, detail::operation const& op) const {
    std::size_t removed = 0;
    std::exception_ptr first;
    for (auto const& name : dir.names()) {
      if (!matches(name)) continue;
      attempt(first, [&] {
        if (unlink(dir, name) == 0) {
          ++removed;
        } else if (errno != ENOENT) {
          dir.fail("unlink", name);
        }
      });
    }
    if (removed > 0) attempt(first, [&] { make_durable(dir, op); });
    if (first) std::rethrow_exception(first);
    return removed;
  }

  std::optional<record> read(detail::directory<FileOps> const& dir, std::string const& name, key const& k,
                             detail::operation const& op) const {
    auto bytes = detail::read_file(ops_, dir, name, options_.max_bytes, op);
    if (!bytes) return std::nullopt;
    auto const where = [&] { return dir.path_of(name); };
    record result = detail::parse_record(std::move(*bytes), k, op.name, where);
    detail::check_size(result.payload.size(), options_.max_bytes, where, op);
    return result;
  }

  template <class KeyOf>
  std::vector<entry> listed(std::string_view operation, KeyOf key_of) const {
    std::vector<entry> result;
    auto const dir = open_to_read({operation, {}});
    if (!dir) return result;
    for (auto const& name : dir->names()) {
      auto k = key_of(std::string_view(name));
      if (!k) continue;
      if (auto e = examine(*dir, name, *k, operation)) result.push_back(std::move(*e));
    }
    std::sort(result.begin(), result.end(),
              [](entry const& a, entry const& b) { return std::tie(a.key, a.where) < std::tie(b.key, b.where); });
    return result;
  }

  /// nullopt: it is gone.
  std::optional<entry> examine(detail::directory<FileOps> const& dir, std::string const& name, key const& k,
                               std::string_view operation) const {
    detail::operation const op{operation, k};
    struct stat s;
    if (ops_.lstat(dir.get(), name.c_str(), &s) != 0) {
      if (errno == ENOENT) return std::nullopt;
      dir.fail("lstat", name);
    }
    entry e{k, record_state::corrupt, std::nullopt, static_cast<std::uint64_t>(s.st_size), dir.path_of(name)};
    try {
      auto const r = read(dir, name, k, op);
      if (!r) return std::nullopt;
      e.state = record_state::intact;
      e.saved_at = r->saved_at;
      e.bytes = r->payload.size();
    } catch (error const& problem) {
      if (problem.code() == errc::mismatch) {
        e.state = record_state::intact;
      } else if (!detail::concerns_one_file(problem.code())) {
        throw;
      }
    }
    return e;
  }

  boost::filesystem::path directory_;
  file_options options_;
  [[no_unique_address]] FileOps ops_;
  detail::made_levels made_ = std::make_shared<std::atomic<unsigned>>(0U);
};

/// On the real file system.
using atomic_file_storage = basic_atomic_file_storage<>;

}  // namespace stash::inline v1
