#pragma once

#include <atomic>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/file_lock.hpp>
#include <stash/detail/fork.hpp>
#include <stash/detail/journal/compaction.hpp>
#include <stash/detail/journal/file.hpp>
#include <stash/detail/journal/index.hpp>
#include <stash/detail/no_cancel.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

struct journal_change {
  new_frame frame{};
  stash::key const* key = nullptr;
  kept_records row{};      ///< of a set_aside
  bool was_there = false;  ///< what a purge destroyed
};

/// The changes of a thread that waits until they are on the disk. It is on that thread's stack, and belongs to the one
/// who leads, also without the mutex, until `is_done`: that is set, and the thread woken, with the mutex locked,
/// without which the thread cannot go on.
struct journal_request {
  std::span<journal_change> changes;
  bool is_done = false;
  std::exception_ptr failure{};
  std::condition_variable woken{};
};

/// A journal file, its index, and the threads that write to it: the first that comes writes and syncs for all that came
/// meanwhile. Thread safe. The file is opened when it is first needed, by one process at a time.
template <class Ops>
class journal {
 public:
  using file_type = journal_file<Ops>;

  journal(boost::filesystem::path path, bool must_exist, bool durable, std::uint64_t chunk, Ops ops)
      : ops_(std::move(ops)), path_(std::move(path)), must_exist_(must_exist), durable_(durable), chunk_(chunk) {}
  journal(journal const&) = delete;
  journal& operator=(journal const&) = delete;
  /// Notes that all is written, so that damage in the last record can be told from a torn end.
  ~journal() {
    if (!owner_.is_current() || !is_settled_ || poison_ != nullptr || file_->ends_closed()) return;
    no_cancel const whole;
    try {
      operation const op{"close", {}};
      if (is_ours()) file_->close(op);
    } catch (...) {  // for want of it, nothing is lost
    }
  }

  std::string file_path() const { return (path_ / file_type::name).native(); }

  /// Whether there is a journal file.
  bool exists() {
    operation const op{"exists", {}};
    refuse_in_child(op);
    std::lock_guard const only{mutex_};
    if (file_) return true;
    auto const dir = find_directory(op, access::read);
    return dir && is_there(*dir, file_type::name);
  }

  /// No other process gets the same.
  std::uint64_t random(operation const& op) const { return detail::random_number(ops_, op, file_path()); }

  /// Opens the file, where there is one, and keeps others out, also where there is none: then with the last lock goes
  /// what was made for it.
  void open(operation const& op) {
    refuse_in_child(op);
    std::lock_guard const only{mutex_};
    if (!lock_) take_lock(op);
    open_to_change(false, op);
  }
  /// Whether others who would open it now would be refused. It was opened.
  bool is_held() const noexcept {
    std::lock_guard const only{mutex_};
    return lock_ && lock_->held();
  }

  /// Calls `f(index, file)`; not at all where there is no file. Nothing changes meanwhile; nothing is made or written.
  ///
  /// Where it can be locked it stays open. Else, and where it is another's (whom a lock would keep out), it is read
  /// anew each time, until nobody has written meanwhile.
  template <class F>
  void look(operation const& op, F f) {
    no_cancel const whole;
    refuse_in_child(op);
    std::lock_guard const only{mutex_};
    struct at_end {
      journal& self;
      ~at_end() {
        if (self.is_view_) self.end_view();
      }
    } const end{*this};
    if (file_ || load_to_look(op)) f(std::as_const(index_), std::shared_ptr<file_type const>(file_));
  }
  /// The bytes that stand where `find(index)` says; nullopt: it says nowhere.
  template <class Find>
  std::optional<std::pair<journal_place, std::string>> read(operation const& op, Find find, std::uint64_t& salt) {
    std::optional<journal_place> place;
    std::shared_ptr<file_type const> file;
    look(op, [&](journal_index const& index, auto const& current) {
      place = find(index);
      file = current;  // which a compaction may replace, but not take from us
    });
    if (!place) return std::nullopt;
    no_cancel const whole;
    salt = file->salt();
    return std::pair{*place, file->read(place->at, place->size, op)};
  }

  /// Makes the changes, all durable when it returns. `needs(index)`, asked under the lock, makes them; none: nothing is
  /// done. Throws `errc::indeterminate` where a write or a sync failed, now or before; `errc::busy` where the lock was
  /// lost.
  template <class Needs>
  void change(operation const& op, bool creates, Needs needs) {
    no_cancel const whole;
    refuse_in_child(op);
    std::unique_lock only{mutex_};
    if (!open_to_change(creates, op)) return;
    refuse_poisoned(poison_, op);
    journal_request mine{needs(index_)};
    if (mine.changes.empty()) return;
    for (auto const& one : mine.changes) {
      if (one.key != nullptr) index_.reserve(*one.key);
    }
    queue_.push_back(&mine);  // nothing throws any more
    while (!mine.is_done) {
      if (is_led_) {
        mine.woken.wait(only);
      } else {
        lead(only);
      }
    }
    if (mine.failure) rethrow(mine.failure, op);
  }

 private:
  void refuse_in_child(operation const& op) const {
    if (!owner_.is_current()) {
      op.fail(errc::busy, file_path(), "it is open in the parent process; make a storage of your own");
    }
  }
  void refuse_poisoned(char const* poison, operation const& op) const {
    if (poison == nullptr) return;
    op.fail(errc::indeterminate, file_path(),
            std::string(poison) + " failed before: nobody knows what the disk has. A new storage object will see");
  }
  /// As what this thread was doing, with its key.
  [[noreturn]] static void rethrow(std::exception_ptr const& failure, operation const& op) {
    try {
      std::rethrow_exception(failure);
    } catch (error const& problem) {
      throw error{problem.code(), std::string(op.name), std::string(op.subject), problem.detail()};
    }
  }

  std::optional<directory<Ops>> find_directory(operation const& op, access wanted) const {
    return directory<Ops>::find(ops_, path_, op, wanted, must_exist_);
  }
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
  /// false: there is none, and none was to be made.
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
      or_removed(dir, [&] { file->rename(dir); });
      file_ = std::move(file);
      index_ = std::move(fresh);
      if (!sync_name(dir)) dir.fail("fsync");
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

  bool is_ours() const noexcept { return lock_->held() && file_->is_current(); }
  [[noreturn]] void fail_as_lost(operation const& op) const {
    op.fail(errc::busy, file_path(), "its lock or the file itself was removed");
  }

  /// Writes for all that wait, and wakes them. Called, and returns, with the mutex locked; not meanwhile.
  void lead(std::unique_lock<std::mutex>& only) {
    is_led_ = true;
    std::vector<journal_request*> batch;
    batch.swap(queue_);
    char const* failed = poison_;
    only.unlock();
    std::exception_ptr const failure = write(batch, failed);
    only.lock();
    if (failed != nullptr) poison_ = failed;
    for (auto* const one : batch) {
      for (auto& change : one->changes) {
        if (!failure) apply(change);
      }
      one->failure = failure;
      one->is_done = true;
      one->woken.notify_one();
    }
    if (!failure && is_mostly_dead()) compact(only);
    is_led_ = false;
    if (!queue_.empty()) queue_.front()->woken.notify_one();  // to lead, unless another comes first
  }

  /// What failed, if anything; `failed` is set where nobody knows what the disk has now.
  std::exception_ptr write(std::span<journal_request* const> batch, char const*& failed) noexcept {
    try {
      operation const op{"write", {}};
      refuse_poisoned(failed, op);  // what came while another's write failed
      if (!is_ours()) fail_as_lost(op);
      std::vector<new_frame> frames;
      for (auto const* const one : batch) {
        for (auto const& change : one->changes) frames.push_back(change.frame);
      }
      file_->prepare(frames);
      bool is_poisoned = false;
      try {
        file_->make_room(frames, chunk_, is_poisoned, op);
      } catch (...) {
        if (is_poisoned) failed = "a sync";
        throw;
      }
      auto parts = file_type::parts_of(frames);
      failed = "a write or a sync";  // whatever is thrown: there may be no memory to say what failed
      try {
        file_->append(frames, std::move(parts), op);
        if (durable_) {
          file_->sync(op);
          file_->note_synced();
        }
      } catch (error const& problem) {
        throw error{errc::indeterminate, {}, {}, problem.detail() + ": " + problem.code().message()};
      }
      failed = nullptr;
      auto written = frames.begin();
      for (auto* const one : batch) {
        for (auto& change : one->changes) change.frame.head = (written++)->head;
      }
    } catch (...) {
      return std::current_exception();
    }
    return nullptr;
  }

  void apply(journal_change& one) noexcept {
    auto const& head = one.frame.head;
    switch (head.kind) {
      case frame_kind::put:
        return index_.put(*one.key, detail::place_of(head));
      case frame_kind::erase:
        return index_.erase(*one.key, head.offset);
      case frame_kind::set_aside:
        return index_.keep(one.row, head.offset);
      default:
        one.was_there = index_.purge(one.frame.body);
    }
  }

  bool is_mostly_dead() const noexcept {
    return file_->end() > compact_above_ && file_->end() > 4 * chunk_ && file_->end() > 2 * index_.live_bytes();
  }

  /// Puts a new file in the place of one that is mostly dead. Where that fails, the old one goes on.
  void compact(std::unique_lock<std::mutex>& only) noexcept {
    // A failed sync of the directory leaves open which of the two is there after a power cut. Another rename makes it
    // certain, if that can be synced.
    for (int tries = 0; tries < 2; ++tries) {
      if (compact_once(only)) return;
      if (poison_ == nullptr) break;
    }
    compact_above_ = 2 * file_->end();
  }
  bool compact_once(std::unique_lock<std::mutex>& only) noexcept {
    operation const op{"compact", {}};
    try {
      auto const dir = find_directory(op, access::write).value();
      journal_index const old = index_;
      journal_index fresh;
      only.unlock();
      auto file = rewritten(dir, old, file_.get(), fresh, op);
      only.lock();
      if (!take_place(dir, *file, fresh)) return false;
      file_ = std::move(file);
      index_ = std::move(fresh);
      poison_ = sync_name(dir) ? nullptr : "a sync of the directory";
      return poison_ == nullptr;
    } catch (...) {
      if (!only.owns_lock()) only.lock();
      return false;
    }
  }
  /// false: it has not, and is gone.
  bool take_place(directory<Ops> const& dir, file_type& file, journal_index& index) {
    try {
      for (auto const* const one : queue_) {
        for (auto const& change : one->changes) {
          if (change.key != nullptr) index.reserve(*change.key);
        }
      }
      if (is_ours()) {
        file.rename(dir);
        return true;
      }
    } catch (...) {  // the old file goes on
    }
    ops_.unlink(dir.get(), file_type::temporary);
    return false;
  }

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
  /// Calls `f`, after which, if it throws, there is no new file.
  template <class F>
  auto or_removed(directory<Ops> const& dir, F f) {
    try {
      return f();
    } catch (...) {
      ops_.unlink(dir.get(), file_type::temporary);
      throw;
    }
  }

  static constexpr std::string_view lock_name = "/journal";  // no key is called so

  Ops ops_;
  boost::filesystem::path path_;
  bool must_exist_, durable_;
  std::uint64_t chunk_;
  made_levels made_ = std::make_shared<std::atomic<unsigned>>(0U);
  owned_by_process owner_;

  mutable std::mutex mutex_;
  std::optional<file_lock<Ops>> lock_;
  std::shared_ptr<file_type> file_;  // changed by the one who leads
  journal_index index_;
  journal_found found_{};
  bool is_view_ = false;     // not to be changed through: read only, without a lock, or another's
  bool is_settled_ = false;  // as `settle`
  std::vector<journal_request*> queue_;
  bool is_led_ = false;
  char const* poison_ = nullptr;  // what failed
  std::uint64_t compact_above_ = 0;
};

}  // namespace stash::inline v1::detail
