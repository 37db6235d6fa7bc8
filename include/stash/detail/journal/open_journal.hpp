#pragma once

#include <atomic>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/directory_lifetime.hpp>
#include <stash/detail/files/file_lock.hpp>
#include <stash/detail/journal/compaction.hpp>
#include <stash/detail/journal/file.hpp>
#include <stash/detail/journal/index.hpp>
#include <stash/detail/journal/reader.hpp>
#include <stash/detail/journal/replay.hpp>
#include <stash/detail/operation.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace stash::inline v1::detail {

/// A journal's file and index, its lock, and how they come to be. Not thread safe: `journal` sees to that.
template <class Ops>
class open_journal {
 public:
  using file_type = journal_file<Ops>;

  open_journal(boost::filesystem::path path, bool must_exist, bool durable, std::uint64_t chunk, Ops ops)
      : ops_(std::move(ops)), path_(std::move(path)), must_exist_(must_exist), durable_(durable), chunk_(chunk) {}

  open_journal(open_journal const&) = delete;  // its file and its lock refer to it
  open_journal& operator=(open_journal const&) = delete;

  std::string file_path() const { return (path_ / file_type::name).native(); }
  bool is_durable() const noexcept { return durable_; }
  /// Bytes; the file grows by a multiple of it.
  std::uint64_t chunk() const noexcept { return chunk_; }
  /// No other process gets the same.
  std::uint64_t random(operation const& op) const { return detail::random_number(ops_, op, file_path()); }

  /// Null: it is not open.
  std::shared_ptr<file_type> const& file() const noexcept { return file_; }
  journal_index& index() noexcept { return index_; }
  journal_index const& index() const noexcept { return index_; }

  /// Whether there is a journal file.
  bool exists(operation const& op) const {
    if (file_) return true;
    auto const dir = find_directory(op, access::read);
    return dir && is_there(*dir, file_type::name);
  }
  std::optional<directory<Ops>> find_directory(operation const& op, access wanted) const {
    return directory<Ops>::find(ops_, path_, op, wanted, must_exist_);
  }

  /// Keeps others out, also where there is no file: then with the last lock goes what was made for it.
  void lock(operation const& op) {
    if (!lock_) take_lock(op);
  }
  /// Whether others who would open it now would be refused.
  bool is_locked() const noexcept { return lock_ && lock_->held(); }
  /// Whether the lock and the file, which is open, were not lost.
  bool is_ours() const noexcept { return lock_->held() && file_->is_current(); }
  [[noreturn]] void fail_as_lost(operation const& op) const {
    op.fail(errc::busy, file_path(), "its lock or the file itself was removed");
  }

  /// Opens the file to look; false: there is none. Nothing is made or written. Where it can be locked it stays open.
  /// Else, and where it is another's (whom a lock would keep out), it is read until nobody has written meanwhile, and
  /// `end_look` closes it.
  bool open_to_look(operation const& op) { return file_ || load_to_look(op); }
  void end_look() noexcept {
    if (is_view_) end_view();
  }
  /// Opens the file and makes certain what is in it; false: there is none, and none was to be made.
  bool open_to_change(bool creates, operation const& op) {
    if (is_settled_) return true;
    bool const had_lock = lock_.has_value();
    try {
      if (!had_lock) {
        auto const found = find_directory(op, access::write);
        if (!creates && (!found || !is_there(*found, file_type::name))) return false;
        take_lock(op);
      }
      auto const dir = find_directory(op, access::write);
      if (!dir || !lock_->held() || (file_ && !file_->is_current())) fail_as_lost(op);
      if (!file_ && !load(*dir, access::write, op) && !creates) return false;
      settle(*dir, op);
      return true;
    } catch (...) {
      forget();
      if (!had_lock) lock_.reset();  // so that no other is kept out
      throw;
    }
  }
  /// Whether `open_to_change` has opened it.
  bool is_settled() const noexcept { return is_settled_; }

  /// A new file that says what `old` does, which is in `source`; its index. Durable, but for its name.
  std::shared_ptr<file_type> rewritten(directory<Ops> const& dir, journal_index const& old, file_type const* source,
                                       journal_index& fresh, operation const& op) {
    return or_removed(dir, [&] {
      auto file = std::make_shared<file_type>(file_type::create(ops_, dir, durable_, op));
      journal_copier<Ops> copy{*file, source, fresh, op};
      copy.all(old);
      file->finish(chunk_, op);
      return file;
    });
  }

  /// Puts `file`, which `rewritten` made, and its index in the place of what is there. What `rename` throws leaves all
  /// as it was, and the new file is gone. false: a power cut may bring back the old one.
  bool replace(directory<Ops> const& dir, std::shared_ptr<file_type> file, journal_index&& fresh) {
    or_removed(dir, [&] { file->rename(dir); });
    file_ = std::move(file);
    index_ = std::move(fresh);
    return sync_name(dir);
  }
  void remove_rewritten(directory<Ops> const& dir) const noexcept { ops_.unlink(dir.get(), file_type::temporary); }

 private:
  bool is_there(directory<Ops> const& dir, char const* name) const {
    struct stat s;
    if (ops_.lstat(dir.get(), name, &s) == 0) return true;
    if (errno != ENOENT) dir.fail("lstat", name);
    return false;
  }
  /// What changes with the file. nullopt: there is none.
  using file_state = std::tuple<dev_t, ino_t, off_t, std::time_t, long>;
  std::optional<file_state> state_of_file(directory<Ops> const& dir) const {
    struct stat s;
    if (ops_.lstat(dir.get(), file_type::name, &s) == 0) {
      return file_state{s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec};
    }
    if (errno != ENOENT) dir.fail("lstat", file_type::name);
    return std::nullopt;
  }
  [[noreturn]] void fail_as_busy(operation const& op) const {
    op.fail(errc::busy, file_path(), "another process, or another storage object of this one, has it open");
  }

  /// false: there is none.
  bool load_to_look(operation const& op) {
    if (lock_ && !lock_->held()) fail_as_lost(op);
    for (int tries = 0; tries < 20; ++tries) {
      auto const dir = find_directory(op, access::read);
      auto const before = dir ? state_of_file(*dir) : std::nullopt;
      if (!before) return false;
      if (lock_) return load(*dir, access::write, op);
      int failed = 0;
      std::optional<file_lock<Ops>> lock;
      if (dir->user() == ops_.user()) {  // else its owner would be kept out
        lock = file_lock<Ops>::try_take_existing(ops_, *dir, lock_name, failed, op);
        if (!lock && failed == 0) fail_as_busy(op);
      }
      is_view_ = !lock;
      if (!load(*dir, is_view_ ? access::read : access::write, op)) continue;  // it was replaced or removed just now
      if (lock) lock_.emplace(std::move(*lock));
      if (lock_ || state_of_file(*dir) == before) return true;
      end_view();  // somebody has written meanwhile
    }
    fail_as_busy(op);
  }
  void take_lock(operation const& op) {
    if (must_exist_) find_directory(op, access::write);
    auto lock = file_lock<Ops>::try_take(ops_, path_, durable_, lock_name, op, made_);
    if (!lock) fail_as_busy(op);
    lock_.emplace(std::move(*lock));
  }
  /// false: there is no file.
  bool load(directory<Ops> const& dir, access wanted, operation const& op) {
    auto found = file_type::open(ops_, dir, wanted, durable_, op);
    if (!found) return false;
    auto const file = std::make_shared<file_type>(std::move(*found));
    journal_index index;
    journal_replayer visit{index, op};
    found_ = file->replay(visit, op);
    index_ = std::move(index);
    file_ = file;
    return true;
  }
  /// Makes certain what was found, so that changes may follow it.
  void settle(directory<Ops> const& dir, operation const& op) {
    // Whoever made a new one may have died before its name was certain; and if a sync of that has failed, a second one
    // of the same name would lie. So it is made once more.
    if (!file_ || file_->is_new() || !found_.is_settled) {
      journal_index fresh;
      auto file = rewritten(dir, index_, file_.get(), fresh, op);
      if (!replace(dir, std::move(file), std::move(fresh))) dir.fail("fsync");
      *made_ = 0;
    } else {
      file_->settle(found_, op);
      // Where no directory can be synced, process_crash made do without.
      if (durable_ && dir.sync() != 0) dir.fail("fsync");
    }
    is_settled_ = true;
  }
  void end_view() noexcept {
    forget();
    lock_.reset();
    is_view_ = false;
  }
  void forget() noexcept {
    file_.reset();
    index_ = {};
  }

  /// The file's name in the directory is certain. Also where no record need be durable: once a sync has failed of what
  /// somebody else has changed there, nothing would make it certain any more.
  bool sync_name(directory<Ops> const& dir) const noexcept {
    return dir.sync() == 0 || (!durable_ && errno == EINVAL);  // a file system that cannot sync directories
  }

  /// Calls `f`, after which, if it throws, there is no new file.
  template <class F>
  auto or_removed(directory<Ops> const& dir, F f) {
    try {
      return f();
    } catch (...) {
      remove_rewritten(dir);
      throw;
    }
  }

  static constexpr std::string_view lock_name = "/journal";  // no key is called so

  Ops ops_;
  boost::filesystem::path path_;
  bool must_exist_, durable_;
  std::uint64_t chunk_;
  made_levels made_ = std::make_shared<std::atomic<unsigned>>(0U);
  std::optional<file_lock<Ops>> lock_;
  std::shared_ptr<file_type> file_;
  journal_index index_;
  journal_found found_{};
  bool is_view_ = false;     // not to be changed through: read only, without a lock, or another's
  bool is_settled_ = false;  // as `settle`
};

}  // namespace stash::inline v1::detail
