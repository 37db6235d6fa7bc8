#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <exception>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/datastore.hpp>
#include <stash/ckan/recreate.hpp>
#include <stash/ckan/reload_options.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/delete_guard.hpp>
#include <stash/detail/ckan/words_meanwhile.hpp>
#include <stash/detail/guard/observer.hpp>
#include <stash/error.hpp>
#include <stash/event.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan {

namespace detail {

/// The names of what the new table has no place for.
template <class Datastore>
std::vector<std::string> missing_from(fields const& headers, data_dictionary const& dictionary,
                                      boost::json::object const& remarks) {
  std::unordered_set<std::string_view> names;
  for (field const& f : headers) names.insert(f.id);
  std::vector<std::string> result = detail::remarks_without_place<Datastore>(remarks);
  for (auto const& member : dictionary) {
    if (detail::is_of_a_field(member.key()) && !names.contains(member.key())) result.emplace_back(member.key());
  }
  return result;
}

/// One reload, and how far it came.
template <class Datastore>
class reloading {
 public:
  reloading(Datastore& d, key const& id, reload_options const& options) : datastore_(d), id_(id), options_(options) {}

  /// Whether the old table stays until the swap.
  bool is_beside() const noexcept { return detail::swaps<Datastore> && options_.keep == keep::everything; }

  /// nullopt: no table, or one in which nobody typed anything. Where a record says the same, but for whether the table
  /// is dropped, it is what the record says: it is not to be set aside as another's.
  template <class Stash>
  std::optional<data_dictionary> live(Stash const& stash) {
    std::optional<data_dictionary> now = detail::words_of(datastore_, id_);
    is_whole_ = now.has_value();
    if (!now || now->empty()) return std::nullopt;
    for (bool const is_not_dropped : {is_beside(), !is_beside()}) {
      data_dictionary as_saved = detail::marked(*now, is_not_dropped);
      if (is_saved(stash, as_saved)) return as_saved;
    }
    return detail::marked(*now, is_beside());
  }

  /// For `recover`: whether a table that is not there was dropped by a reload. Before anything is done, the record says
  /// so as it will be.
  template <class Guard>
  void mark(Guard& guard) const {
    auto const* const saved = guard.value();
    bool const is_not_dropped = is_beside() && is_whole_;
    if (saved == nullptr || saved->contains(not_dropped_key) == is_not_dropped) return;
    stash::detail::guard_access::save_again(guard, detail::marked(*saved, is_not_dropped));
  }

  /// A live table is never touched: it stands because it was not dropped yet, or because the new one was finished. Then
  /// the words must be in it, or this throws, so that their record is kept.
  void restore(data_dictionary const& dictionary) {
    std::optional<data_dictionary> const now = detail::words_of(datastore_, id_);
    if (!now) {
      detail::recreate(datastore_, id_, dictionary, options_.types);
    } else if (!has_words(*now, dictionary)) {
      throw error{errc::mismatch, "restore", id_.string(), "the table is live, but without these words"};
    }
  }

  /// What stands on a table that a dead job left half-built was typed there since, or was in the record: where it is
  /// not the same, it is newer, and the record is set aside.
  template <class Guard>
  void adopt_newer(Guard& guard) {
    if constexpr (detail::tells_unfinished<Datastore>) {
      if (is_whole_) return;
      auto const found = datastore_.unfinished(id_);
      if (!found) return;
      data_dictionary const old = detail::marked(guard.value_or({}), false);
      data_dictionary const now = detail::overlaid(old, detail::dictionary_of(found->all, found->remarks));
      if (now != old) stash::detail::guard_access::supersede(guard, now);
    }
  }

  /// The old table is dropped first.
  template <class Load>
  void rebuild(fields const& headers, boost::json::object const& remarks, Load& load) {
    is_touched_ = true;
    datastore_.drop(id_);
    detail::create_with(datastore_, id_, headers, remarks);
    load(headers);
    datastore_.finish(id_);
  }

  /// The old table stays until the new one takes its place.
  template <class Load, class Guard>
  void build_and_swap(fields const& headers, boost::json::object const& remarks, Load& load, Guard& guard,
                      words_meanwhile& meanwhile, reload_report& report) {
    is_touched_ = !is_whole_;  // nothing stood there: then what is stashed is put there, as after a drop
    try {
      datastore_.build(id_, headers, remarks);
      load(headers);
    } catch (...) {
      discard();
      throw;
    }
    swap_in(guard, meanwhile, report);
  }

  /// What was built is kept where locks of others are in the way, for another try.
  template <class Guard>
  void swap_in(Guard& guard, words_meanwhile& meanwhile, reload_report& report) {
    swap_options how;
    how.leave_behind = options_.leave_behind;
    how.patience = options_.patience;
    how.waiting = [&](std::string const& who) { tell(event_kind::waiting, who); };
    how.words = [&](table_words built, std::optional<table_words> const& live) {
      table_words result = meanwhile.words(std::move(built), live);
      report.unplaced = detail::missing_from<Datastore>(result.all, meanwhile.dictionary(), result.remarks);
      // They have no other place any more when the old table is gone.
      if (!report.unplaced.empty() && meanwhile.has_changed()) {
        stash::detail::guard_access::save_again(guard, meanwhile.dictionary());
      }
      return result;
    };
    how.leaving = [&](std::vector<stash::left_behind> const& left) {
      stash::detail::guard_access::save_again(guard, meanwhile.with_left_behind(left));
    };
    try {
      is_touched_ = true;
      report.left_behind = datastore_.swap_in(id_, how);
    } catch (error const& problem) {
      if (problem.code() == errc::mismatch || problem.code() == errc::busy) is_touched_ = !is_whole_;
      if (problem.code() != errc::busy) discard();
      throw;
    } catch (...) {
      discard();
      throw;
    }
    for (auto const& one : report.left_behind) {
      tell(event_kind::left_behind, one.what,
           std::make_exception_ptr(error{errc::mismatch, "reload", id_.string(), one.why}));
    }
  }

  /// Whether the table that stood there may not stand there any more.
  bool is_touched() const noexcept { return is_touched_; }

  /// After a failure where there is no dictionary to restore: leaves no half-built table.
  void remove_half_built() noexcept {
    try {
      if (!datastore_.describe(id_)) datastore_.drop(id_);
    } catch (...) {  // it is marked, so nobody takes it for live, and the next reload drops it
    }
  }

 private:
  template <class Stash>
  bool is_saved(Stash const& stash, data_dictionary const& words) const {
    try {
      return stash.template load<data_dictionary>(id_) == words;
    } catch (error const&) {  // the guard will look at it
      return false;
    }
  }
  static bool has_words(data_dictionary const& live, data_dictionary const& wanted) {
    return std::all_of(wanted.begin(), wanted.end(), [&](auto const& member) {
      if (member.key() == left_behind_key || member.key() == not_dropped_key) return true;
      auto const* const there = live.if_contains(member.key());
      return there != nullptr && *there == member.value();
    });
  }

  void discard() noexcept {
    try {
      datastore_.discard(id_);
    } catch (...) {  // nobody sees it, and the next reload removes it
    }
  }
  void tell(event_kind kind, std::string_view where, std::exception_ptr const& problem = {}) const noexcept {
    stash::detail::tell(options_.guard.observer, kind, id_, {.where = where, .error = problem});
  }

  Datastore& datastore_;
  key const& id_;
  reload_options const& options_;
  bool is_whole_ = false;    // a table stood there when it was last looked at
  bool is_touched_ = false;  // by us, since
};

template <class Guard>
void commit(Guard& guard, reload_report const& report) {
  if (!report.left_behind.empty()) return stash::detail::guard_access::commit_and_set_aside(guard, "left_behind");
  if (!report.unplaced.empty()) return stash::detail::guard_access::commit_and_set_aside(guard, "unplaced");
  guard.commit();
}

}  // namespace detail

/// Replaces the table of `resource_id` by one that is built from `headers` and `load`, keeping its Data Dictionary,
/// and, with `keep::everything`, all that hangs on it.
///
/// `load(fields const&)` gets the annotated fields; when it returns, the rows are durable. Two reloads of a resource
/// exclude each other: the second throws `errc::busy`.
///
/// `keep::everything`, in order: describe, guard, annotate, check, build, load, swap, commit. What people type
/// meanwhile is on the new table too. Until the swap the old table is as it was, whatever fails or dies: then this
/// throws what failed, and what was built is removed, by the next reload if not by this one. `errc::busy`: others had
/// locks in the way for longer than `patience`; what was built stays then, for `finish_reload`. `errc::mismatch`:
/// something hangs on the old table that could not be carried over.
///
/// `keep::words`, in order: describe, guard, annotate, check, drop, create, load, finish, commit. Throws what fails,
/// with the dictionary safe: before the drop, nothing was touched (the record stays for a later run); after it, the
/// half-built table is gone, and stands anew with zero rows and the dictionary where there is one
/// (`event_kind::restored`; or `restore_failed`, and the record is kept). A table that stands whole all the same,
/// because the drop did nothing or the reload was already finished, stays. What is typed into the live table between
/// its describe and its drop goes with it.
///
/// What people typed into a table that a dead reload left unfinished goes before what is stashed, which is set aside.
///
/// Where a process dies in it, the next `reload` adopts the record, or `stash::recover` with `recreate` restores.
///
/// Info for fields that `headers` does not have is not thrown away: its record is set aside on commit. Where
/// `best_effort` forgave a failed save, there is none to set aside, and that error is thrown before anything is done.
template <class Datastore, class Stash, class Load>
reload_report reload(Datastore& d, Stash& stash, key const& resource_id, fields headers, Load load,
                     reload_options options = {}) {  // NOLINT(performance-unnecessary-value-param): as recover's
  static_assert(datastore<Datastore>,
                "stash: the datastore needs describe, create, finish and drop (see ckan::datastore)");
  static_assert(std::invocable<Load&, fields const&>, "stash: load must be callable with the created fields");
  detail::reloading<Datastore> job{d, resource_id, options};
  delete_guard guard{stash, resource_id, [&] { return job.live(stash); },
                     [&](data_dictionary const& dictionary) { job.restore(dictionary); }, options.guard};
  reload_report report{guard.origin(), guard.age(), {}, {}};
  try {
    fields const given = headers;
    job.adopt_newer(guard);
    job.mark(guard);
    boost::json::object remarks;
    if (data_dictionary const* const dictionary = guard.value()) {
      ckan::annotate(headers, *dictionary, options.types);
      remarks = detail::remarks_in(*dictionary, resource_id);
      report.unplaced = detail::missing_from<Datastore>(headers, *dictionary, remarks);
      if (!report.unplaced.empty()) stash::detail::guard_access::require_saved(guard);  // their only place to be
    }
    if constexpr (requires { d.check(resource_id.str(), headers); }) d.check(resource_id.str(), headers);
    if (!job.is_beside()) job.rebuild(headers, remarks, load);
    if constexpr (detail::swaps<Datastore>) {
      if (job.is_beside()) {
        detail::words_meanwhile meanwhile{resource_id, guard.value(), guard.origin() == origin::live, given};
        job.build_and_swap(headers, remarks, load, guard, meanwhile, report);
      }
    }
  } catch (...) {
    if (!job.is_touched()) {
      // Words that still stand where they were read need no record; others may need it.
      bool const are_there = guard.origin() == origin::live && job.is_beside();
      are_there ? stash::detail::guard_access::withdraw(guard) : guard.release();
    } else if (guard.value() == nullptr) {
      job.remove_half_built();
    }
    throw;
  }
  detail::commit(guard, report);
  return report;
}

}  // namespace stash::inline v1::ckan
