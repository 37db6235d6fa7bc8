#pragma once

#include <boost/filesystem/path.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stash/detail/fork.hpp>
#include <stash/detail/journal/batch_wait.hpp>
#include <stash/detail/journal/compaction.hpp>
#include <stash/detail/journal/file.hpp>
#include <stash/detail/journal/index.hpp>
#include <stash/detail/journal/open_journal.hpp>
#include <stash/detail/journal/request.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// A journal file, its index, and the threads that write to it: the first that comes writes and syncs for all that came
/// meanwhile. Thread safe. The file is opened when it is first needed, by one process at a time.
template <class Ops>
class journal {
 public:
  using file_type = journal_file<Ops>;

  journal(boost::filesystem::path path, bool must_exist, bool durable, std::uint64_t chunk, Ops ops)
      : open_(std::move(path), must_exist, durable, chunk, std::move(ops)) {}
  journal(journal const&) = delete;
  journal& operator=(journal const&) = delete;
  /// Notes that all is written, so that damage in the last record can be told from a torn end.
  ~journal() {
    if (!owner_.is_current() || !open_.is_settled() || poison_ != nullptr || open_.file()->ends_closed()) return;
    no_cancel const whole;
    try {
      operation const op{"close", {}};
      if (open_.is_ours()) open_.file()->close(op);
    } catch (...) {  // for want of it, nothing is lost
    }
  }

  std::string file_path() const { return open_.file_path(); }

  /// Whether there is a journal file.
  bool exists() {
    operation const op{"exists", {}};
    refuse_in_child(op);
    std::lock_guard const only{mutex_};
    return open_.exists(op);
  }

  /// No other process gets the same.
  std::uint64_t random(operation const& op) const { return open_.random(op); }

  /// Opens the file, where there is one, and keeps others out, also where there is none: then with the last lock goes
  /// what was made for it.
  void open(operation const& op) {
    refuse_in_child(op);
    std::lock_guard const only{mutex_};
    open_.lock(op);
    open_.open_to_change(false, op);
  }
  /// Whether others who would open it now would be refused. It was opened.
  bool is_held() const noexcept {
    std::lock_guard const only{mutex_};
    return open_.is_locked();
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
      open_journal<Ops>& open;
      ~at_end() { open.end_look(); }
    } const end{open_};
    if (open_.open_to_look(op)) f(std::as_const(open_.index()), std::shared_ptr<file_type const>(open_.file()));
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
    if (!open_.open_to_change(creates, op)) return;
    refuse_poisoned(poison_, op);
    journal_request mine{needs(open_.index())};
    if (mine.changes.empty()) return;
    for (auto const& one : mine.changes) {
      if (one.key != nullptr) open_.index().reserve(*one.key);
    }
    queue_.push_back(&mine);  // nothing throws any more
    others_.came(queue_.size());
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

  /// Writes for all that wait, and wakes them. Called, and returns, with the mutex locked; not meanwhile.
  void lead(std::unique_lock<std::mutex>& only) {
    is_led_ = true;
    if (open_.is_durable()) others_.wait(only, [this] { return queue_.size(); });  // else there is no flush to share
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
    others_.saw(batch.size() + queue_.size());
    if (!failure && should_compact()) compact(only);
    is_led_ = false;
    if (!queue_.empty()) queue_.front()->woken.notify_one();  // to lead, unless another comes first
  }

  /// What failed, if anything; `failed` is set where nobody knows what the disk has now.
  std::exception_ptr write(std::span<journal_request* const> batch, char const*& failed) noexcept {
    try {
      operation const op{"write", {}};
      refuse_poisoned(failed, op);  // what came while another's write failed
      if (!open_.is_ours()) open_.fail_as_lost(op);
      std::vector<new_frame> frames;
      for (auto const* const one : batch) {
        for (auto const& change : one->changes) frames.push_back(change.frame);
      }
      open_.file()->prepare(frames);
      bool is_poisoned = false;
      try {
        open_.file()->make_room(frames, open_.chunk(), is_poisoned, op);
      } catch (...) {
        if (is_poisoned) failed = "a sync";
        throw;
      }
      auto parts = file_type::parts_of(frames);
      failed = "a write or a sync";  // whatever is thrown: there may be no memory to say what failed
      try {
        open_.file()->append(frames, std::move(parts), op);
        if (open_.is_durable()) {
          open_.file()->sync(op);
          open_.file()->note_synced();
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
        return open_.index().put(*one.key, detail::place_of(head));
      case frame_kind::erase:
        return open_.index().erase(*one.key, head.offset);
      case frame_kind::set_aside:
        return open_.index().keep(one.row, head.offset);
      default:
        one.was_there = open_.index().purge(one.frame.body);
    }
  }

  bool should_compact() const noexcept {
    std::uint64_t const end = open_.file()->end();
    return end > compact_above_ && detail::is_mostly_dead(end, open_.index().live_bytes(), open_.chunk());
  }

  /// Puts a new file in the place of one that is mostly dead. Where that fails, the old one goes on.
  void compact(std::unique_lock<std::mutex>& only) noexcept {
    // A failed sync of the directory leaves open which of the two is there after a power cut. Another rename makes it
    // certain, if that can be synced.
    for (int tries = 0; tries < 2; ++tries) {
      if (compact_once(only)) return;
      if (poison_ == nullptr) break;
    }
    compact_above_ = 2 * open_.file()->end();
  }
  bool compact_once(std::unique_lock<std::mutex>& only) noexcept {
    operation const op{"compact", {}};
    try {
      auto const dir = open_.find_directory(op, access::write).value();
      journal_index const old = open_.index();
      journal_index fresh;
      only.unlock();
      auto file = open_.rewritten(dir, old, open_.file().get(), fresh, op);
      only.lock();
      if (!reserve_and_check(fresh)) {
        open_.remove_rewritten(dir);
        return false;
      }
      poison_ = open_.replace(dir, std::move(file), std::move(fresh)) ? nullptr : "a sync of the directory";
      return poison_ == nullptr;
    } catch (...) {
      if (!only.owns_lock()) only.lock();
      return false;
    }
  }
  /// What was asked for meanwhile can be put into `index` too, and the journal is ours still.
  bool reserve_and_check(journal_index& index) noexcept {
    try {
      for (auto const* const one : queue_) {
        for (auto const& change : one->changes) {
          if (change.key != nullptr) index.reserve(*change.key);
        }
      }
      return open_.is_ours();
    } catch (...) {  // no memory: the old file goes on
      return false;
    }
  }

  owned_by_process owner_;

  mutable std::mutex mutex_;
  open_journal<Ops> open_;  // its file and its index are changed by the one who leads
  std::vector<journal_request*> queue_;
  bool is_led_ = false;
  batch_wait others_;
  char const* poison_ = nullptr;  // what failed
  std::uint64_t compact_above_ = 0;
};

}  // namespace stash::inline v1::detail
