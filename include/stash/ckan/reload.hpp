#pragma once

#include <boost/json/object.hpp>
#include <concepts>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/datastore.hpp>
#include <stash/ckan/recreate.hpp>
#include <stash/ckan/reload_options.hpp>
#include <stash/delete_guard.hpp>
#include <stash/detail/ckan/reloading.hpp>
#include <stash/detail/ckan/words_meanwhile.hpp>
#include <stash/key.hpp>

namespace stash::inline v1::ckan {

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
/// Where a process dies in it, the next `reload` adopts the record, or `ckan::recover` restores.
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
    if (!job.is_beside()) report.rows_only = job.rebuild(headers, remarks, load);
    if constexpr (detail::swaps<Datastore>) {
      if (job.is_beside()) {
        detail::words_meanwhile meanwhile{resource_id, guard.value(), guard.origin() == origin::live, given};
        job.build_and_swap(headers, remarks, load, guard, meanwhile, report);
      }
    }
  } catch (...) {
    if (job.is_beside() && guard.origin() == origin::live) {
      stash::detail::guard_access::withdraw(guard);  // words that stand where they were read need no record
    } else if (!job.is_touched()) {
      guard.release();
    } else if (guard.value() == nullptr) {
      job.remove_half_built();
    }
    throw;
  }
  detail::commit(guard, resource_id, report);
  return report;
}

/// Ends a `reload` that others' locks kept from its swap for longer than `patience` (it threw `errc::busy`), in this
/// process or a later one: what it built takes the live table's place now. With the words that stand on that now, and
/// all that hangs on it.
///
/// Throws `errc::mismatch` where no complete table stands beside the live one, and what `reload` throws from its swap
/// on: then what was built stays.
template <class Datastore, class Stash>
requires detail::swaps<Datastore> reload_report
finish_reload(Datastore& d, Stash& stash, key const& resource_id,
              reload_options options = {}) {  // NOLINT(performance-unnecessary-value-param)
  detail::reloading<Datastore> job{d, resource_id, options};
  delete_guard guard{stash, resource_id, [&] { return job.live(stash); },
                     [&](data_dictionary const& dictionary) { job.restore(dictionary); }, options.guard};
  reload_report report{guard.origin(), guard.age(), {}, {}};
  detail::words_meanwhile meanwhile{resource_id, guard.value(), guard.origin() == origin::live, std::nullopt};
  try {
    job.swap_in(guard, meanwhile, report);
  } catch (...) {
    guard.origin() == origin::live ? stash::detail::guard_access::withdraw(guard) : guard.release();
    throw;
  }
  detail::commit(guard, resource_id, report);
  return report;
}

}  // namespace stash::inline v1::ckan
