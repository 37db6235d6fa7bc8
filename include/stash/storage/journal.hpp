#pragma once

#include <algorithm>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <stash/concepts.hpp>
#include <stash/detail/files/absolute.hpp>
#include <stash/detail/journal/content.hpp>
#include <stash/detail/journal/journal.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/check_size.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/storage/default_directory.hpp>
#include <stash/storage/journal_options.hpp>
#include <stash/storage/key_locks.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// All records in one file, `stash.journal`, to which changes are appended: for jobs that stash many keys.
///
/// A change costs one write and one sync, which threads that change something at the same time share. An acknowledged
/// one survives what `journal_options::durability` says, on a file system and a disk that honour fdatasync. The
/// directory is made by the first `put` or `try_lock`, 0700, the file 0600; an unsafe one is refused, as by the
/// atomic files. Every member may be called from many threads at once, `put`, `erase` and `set_aside` with the key's
/// lock held.
///
/// One process at a time, and one object (with what was moved from it): another gets `errc::busy` from everything. The
/// file is opened by the first call that needs it, and closed with the object and its locks. A forked child may not use
/// what it inherits (`errc::busy`); it may when the parent has closed it, with an object of its own. One that was moved
/// from may only be assigned to or destroyed.
///
/// What only reads makes, writes and erases nothing. Where nobody may write (a read-only file system), where there is
/// no lock file, and where root looks at another user's journal, it reads the file anew each time and keeps nobody out.
///
/// After a write or a sync has failed nobody knows what the disk has: from then on changes throw
/// `errc::indeterminate`, and reads tell what was acknowledged, until a new object opens the file.
///
/// Damage is `errc::corrupt` for its record, and an older one that it stood for is among `set_aside_entries`. Damage
/// that belongs to no known key makes every key that was not written since corrupt. Nothing that is whole is lost by
/// it, and no damaged byte until its record is purged.
///
/// One thing looks like damage and is taken for what a crash has left: 64 bytes or more of zeros, in the last change if
/// the journal was not closed since, or amid changes that were not synced (`process_crash`). There the older record
/// that was synced stands. Under `process_crash` a power cut may leave what was not synced corrupt.
///
/// When most of the file is dead, the living part is put in a new one; also, by the first change, what is left of a
/// file that is damaged at its end.
///
///     stash::basic_stash<stash::journal_storage> store{"/var/lib/etl/stash"};
///
/// Errors name operation, key, failed call and its path. Where nothing else is said, a throw leaves all as it was.
template <class FileOps = posix_file_ops>
class basic_journal_storage {
  using journal = detail::journal<FileOps>;
  using locks = key_locks<std::mutex>;

 public:
  /// A key's lock. Movable; the destructor releases it, but not in a forked child. May outlive the storage, and keeps
  /// the file open then.
  class lock_type {
   public:
    /// Whether it was taken in this process, and other processes are kept out still.
    bool held() const noexcept { return lock_.held() && journal_->is_held(); }

   private:
    friend basic_journal_storage;
    lock_type(std::shared_ptr<journal> j, locks::lock lock) : journal_(std::move(j)), lock_(std::move(lock)) {}
    std::shared_ptr<journal> journal_;
    locks::lock lock_;
  };

  /// Touches nothing. Throws EINVAL for a path that is empty or has a NUL in it, and what finding the working
  /// directory throws; where none is given, as `default_directory`.
  explicit basic_journal_storage(boost::filesystem::path directory = default_directory(), journal_options options = {},
                                 FileOps ops = {})
      : options_(options),
        journal_(std::make_shared<journal>(detail::absolute(std::move(directory), "journal_storage"),
                                           options.must_exist, options.durability == durability::power_loss,
                                           std::max<std::uint64_t>(options.chunk, 64), std::move(ops))) {}

  /// The path of the file that all records are in.
  std::string where(key const&) const { return journal_->file_path(); }

  /// Whether there is a file. Throws as `get` does.
  bool exists() const { return journal_->exists(); }

  /// Throws where `put` would refuse without trying: `errc::too_large`.
  void check(key const& k, record const& r) const {
    detail::check_size(r.payload.size(), options_.max_bytes, [&] { return journal_->file_path(); }, {"put", k});
  }

  /// Writes `r` in place of what stands under `k`.
  ///
  /// Throws `errc::too_large`, `errc::unsafe_directory`, `errc::busy`, or the operating system's error: the old record
  /// stands. Throws `errc::indeterminate` where a write or a sync failed: the old or the new one stands.
  void put(key const& k, record const& r) {
    check(k, r);
    auto change = putting(k, r);
    journal_->change({"put", k}, true, [&](auto const&) { return std::span(&change, 1); });
  }

  /// As `put` for each, with one write and one sync for all.
  ///
  /// Throws as `put`. Where it is `errc::indeterminate`, each key has its old record or its new one.
  void put_all(std::span<std::pair<key, record> const> all) {
    std::vector<detail::journal_change> changes;
    for (auto const& [k, r] : all) {
      check(k, r);
      changes.push_back(putting(k, r));
    }
    if (changes.empty()) return;
    journal_->change({"put_all", {}}, true, [&](auto const&) { return std::span(changes); });
  }

  /// The record of `k`; nullopt: there is none. Creates nothing.
  ///
  /// Throws `errc::corrupt`; `errc::mismatch`: the file is of a newer version; `errc::unsafe_directory`; `errc::busy`:
  /// another process has the file open; or the operating system's error.
  std::optional<record> get(key const& k) const {
    detail::operation const op{"get", k};
    auto found = content(op, [&](auto const& index) { return index.find(k); });
    if (!found) return std::nullopt;
    auto& [place, content] = *found;
    if (!content.is_intact) {
      std::string const there = std::to_string(place.size) + " bytes at " + std::to_string(place.at);
      op.fail(
          errc::corrupt, journal_->file_path(),
          there + (content.is_whole ? " are whole, but behind them are damaged ones, which may be a later record of it"
                                    : " are damaged"));
    }
    return record{std::move(content.payload), place.saved_at};
  }

  /// Removes the record of `k`, corrupt or not; false: there was none. Throws as `put`.
  bool erase(key const& k) {
    auto change = erasing(k);
    bool was_there = false;
    journal_->change({"erase", k}, false, [&](auto const& index) {
      was_there = index.find(k).has_value();
      return std::span(&change, was_there ? 1U : 0U);
    });
    return was_there;
  }

  /// As `erase` for each, with one write and one sync for all. Throws as `put_all`.
  void erase_all(std::span<key const> all) {
    std::vector<detail::journal_change> changes;
    journal_->change({"erase_all", {}}, false, [&](detail::journal_index const& index) {
      for (auto const& k : all) {
        if (index.find(k)) changes.push_back(erasing(k));
      }
      return std::span(changes);
    });
  }

  /// All records, ordered by key; empty: there are none. `where` is the file's path. Reads no file: of a record that
  /// was damaged since the file was opened, `get` tells. Throws as `get`, but not for one record's damage.
  std::vector<entry> entries() const {
    std::vector<entry> result;
    journal_->look({"entries", {}}, [&](detail::journal_index const& index, auto const&) {
      for (auto const& [k, unused] : index.records()) {
        if (auto const place = index.find(k)) result.push_back(as_entry(k, *place, journal_->file_path()));
      }
    });
    std::ranges::sort(result, {}, &entry::key);
    return result;
  }

  /// Takes the record of `k` out of the way and returns the name under which it is kept, behind the file's path:
  /// `<file>: <key>.<reason>-<UTC time>-<random>`. `aside(name)` has its bytes. As durable as `put`.
  ///
  /// Throws ENOENT where there is none, or as `put`.
  std::string set_aside(key const& k, std::string_view reason) {
    detail::operation const op{"set_aside", k};
    auto const now = detail::system_now();
    std::string where = shown("");
    std::string name;
    detail::journal_change change;
    change.key = &k;
    journal_->change(op, false, [&](auto const& index) {
      if (!index.find(k)) return std::span<detail::journal_change>();
      name = detail::kept_name(k, reason, now, journal_->random(op));
      where += name;
      change.row.try_emplace(name, detail::kept_record{k, now});
      change.frame = {.head = {.kind = detail::frame_kind::set_aside, .saved_at = now, .key = k.str()}, .body = name};
      return std::span(&change, 1);
    });
    if (name.empty()) op.fail(ENOENT, "find in", journal_->file_path());
    return where;
  }

  /// All that was set aside and not purged, by name. `state` tells whether the record was whole then. Throws
  /// as `entries`.
  std::vector<entry> set_aside_entries() const {
    std::vector<entry> result;
    journal_->look({"set_aside_entries", {}}, [&](detail::journal_index const& index, auto const&) {
      for (auto const& [name, one] : index.kept()) result.push_back(as_entry(one.key, one.place, shown(name)));
    });
    return result;
  }

  /// The record that was set aside to `where`; of a corrupt one, what bytes there are, saved at the epoch. nullopt:
  /// none is there. Throws as `get`.
  std::optional<record> aside(std::string_view where) const {
    std::string const before = shown("");
    if (!where.starts_with(before)) return std::nullopt;
    auto const name = where.substr(before.size());
    auto found = content({"aside", name}, [&](auto const& index) -> std::optional<detail::journal_place> {
      auto const row = index.kept().find(name);
      return row == index.kept().end() ? std::nullopt : std::optional(row->second.place);
    });
    if (!found) return std::nullopt;
    return record{std::move(found->second.payload), found->first.saved_at};
  }

  /// Destroys what was set aside `older_than` ago or earlier, zero or less: all of it. Returns how many. Throws as
  /// `put`.
  std::size_t purge(std::chrono::microseconds older_than) {
    auto const now = detail::system_now();
    std::vector<std::string> names;
    std::vector<detail::journal_change> changes;
    journal_->change({"purge", {}}, false, [&](detail::journal_index const& index) {
      for (auto const& [name, one] : index.kept()) {
        if (older_than.count() <= 0 || detail::age_between(one.when, now) >= older_than) names.push_back(name);
      }
      for (auto const& name : names) {
        changes.emplace_back().frame = {.head = {.kind = detail::frame_kind::purge}, .body = name};
      }
      if (index.ends_damage(names)) {
        changes.emplace_back().frame = {.head = {.kind = detail::frame_kind::purge}, .body = detail::unknown_key};
      }
      return std::span(changes);
    });
    return static_cast<std::size_t>(std::ranges::count_if(changes, [](auto const& c) { return c.was_there; }));
  }

  /// The lock of `k`, exclusive among the threads of this process; other processes are kept out of the whole journal.
  /// nullopt: another has it. Throws as `put`.
  std::optional<lock_type> try_lock(key const& k) {
    journal_->open({"try_lock", k});
    auto lock = locks::try_take(locks_, k);
    if (!lock) return std::nullopt;
    return lock_type{journal_, std::move(*lock)};
  }

 private:
  static detail::journal_change putting(key const& k, record const& r) {
    detail::journal_change change;
    change.key = &k;
    change.frame = {.head = {.kind = detail::frame_kind::put, .saved_at = r.saved_at, .key = k.str()},
                    .body = r.payload};
    return change;
  }
  static detail::journal_change erasing(key const& k) {
    detail::journal_change change;
    change.key = &k;
    change.frame = {.head = {.kind = detail::frame_kind::erase, .key = k.str()}};
    return change;
  }

  template <class Find>
  std::optional<std::pair<detail::journal_place, detail::journal_content>> content(detail::operation const& op,
                                                                                   Find find) const {
    std::uint64_t salt = 0;
    auto found = journal_->read(op, find, salt);
    if (!found) return std::nullopt;
    return std::pair{found->first, detail::content_of(std::move(found->second), found->first, salt)};
  }
  std::string shown(std::string_view name) const { return (journal_->file_path() + ": ").append(name); }
  static entry as_entry(key const& k, detail::journal_place const& place, std::string where) {
    bool const is_intact = !place.is_corrupt;
    return {k, is_intact ? record_state::intact : record_state::corrupt,
            is_intact ? std::optional(place.saved_at) : std::nullopt, place.bytes, std::move(where)};
  }

  journal_options options_;
  std::shared_ptr<journal> journal_;
  std::shared_ptr<locks> locks_ = std::make_shared<locks>();
};

/// On the real file system.
using journal_storage = basic_journal_storage<>;

}  // namespace stash::inline v1
