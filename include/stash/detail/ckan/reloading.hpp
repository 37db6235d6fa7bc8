#pragma once

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/system/error_code.hpp>
#include <exception>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/datastore.hpp>
#include <stash/ckan/recreate.hpp>
#include <stash/ckan/reload_options.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/delete_guard.hpp>
#include <stash/detail/ckan/words_meanwhile.hpp>
#include <stash/detail/system/standard_error.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/place/left_behind.hpp>
#include <stash/storage/sqlstate.hpp>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan::detail {

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
  bool is_beside() const noexcept {
    if constexpr (detail::swaps<Datastore>) return options_.keep == keep::everything;
    return false;
  }

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
    if (stash::detail::guard_access::has_not_saved(guard)) return;  // which `best_effort` forgave
    stash::detail::guard_access::save_again(guard, detail::marked(*saved, is_not_dropped));
  }

  /// A live table is never touched: it stands because it was not dropped yet, or because the new one was finished. Then
  /// the words must be in it, or this throws, so that their record is kept; but where nothing was done yet, what people
  /// typed there meanwhile is newer.
  void restore(data_dictionary const& dictionary) {
    std::optional<data_dictionary> const now = detail::words_of(datastore_, id_);
    if (!is_touched_ && !now) detail::refuse_deleted(id_, dictionary);
    if (!now) {
      detail::recreate(datastore_, id_, dictionary, options_.types);
    } else if (is_touched_ && !detail::has_words(*now, dictionary)) {
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
      if (!detail::is_same_text(now, old)) stash::detail::guard_access::supersede(guard, now);
    }
  }

  /// The old table is dropped first, or its rows are: then it returns true.
  template <class Load>
  bool rebuild(fields const& headers, boost::json::object const& remarks, Load& load) {
    if constexpr (detail::swaps<Datastore>) datastore_.discard(id_);  // or rows would still go there
    is_touched_ = true;
    bool stays = false;
    if constexpr (requires { datastore_.empty(id_, headers, remarks); }) {
      stays = datastore_.empty(id_, headers, remarks);
    }
    if (!stays) {
      datastore_.drop(id_);
      detail::create_with(datastore_, id_, headers, remarks);
    }
    load(headers);
    datastore_.finish(id_);
    return stays;
  }

  /// The old table stays until the new one takes its place.
  template <class Load, class Guard>
  void build_and_swap(fields const& headers, boost::json::object const& remarks, Load& load, Guard& guard,
                      words_meanwhile& meanwhile, reload_report& report) {
    is_touched_ = !is_whole_;  // nothing stood there: then what is stashed is put there, as after a drop
    try {
      datastore_.build(id_, headers, remarks);
      load(headers);
      swap_in(guard, meanwhile, report);
    } catch (error const& problem) {
      if (problem.code() != errc::busy) discard();  // what others' locks are in the way of is kept for another try
      throw;
    } catch (...) {
      discard();
      throw;
    }
  }

  template <class Guard>
  void swap_in(Guard& guard, words_meanwhile& meanwhile, reload_report& report) {
    swap_options how;
    how.leave_behind = options_.leave_behind;
    how.patience = options_.patience;
    how.waiting = [this, said = std::string()](std::string const& who) mutable { tell_waiting(who, said); };
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
      if (is_undone(problem.code())) is_touched_ = !is_whole_;
      throw;
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
      auto const saved = stash.template load<data_dictionary>(id_);
      return saved && detail::is_same_text(*saved, words);
    } catch (error const&) {  // the guard will look at it
      return false;
    }
  }

  /// Whether what failed with it was rolled back; false: who knows.
  static bool is_undone(boost::system::error_code const& code) {
    bool const is_lost = code.category() == postgres_category() && code.message().starts_with("SQLSTATE 08");
    return code != errc::indeterminate && !is_lost;
  }
  void discard() noexcept {
    try {
      datastore_.discard(id_);
    } catch (...) {  // nobody sees it, and the next reload removes it
    }
  }
  /// Once for each that is in the way.
  void tell_waiting(std::string const& who, std::string& said) const {
    if (who == std::exchange(said, who)) return;
    if (options_.waiting) return options_.waiting(who);
    stash::detail::write_to_standard_error("stash: \"" + id_.string() + "\" waits for a lock of " + who + '\n');
  }

  Datastore& datastore_;
  key const& id_;
  reload_options const& options_;
  bool is_whole_ = false;    // a table stood there when it was last looked at
  bool is_touched_ = false;  // by us, since
};

/// What `committed` tells of what was left behind.
inline std::exception_ptr told_of(key const& id, std::vector<left_behind> const& all) {
  return std::make_exception_ptr(
      error{errc::mismatch, "reload", id.string(), "left behind: " + stash::detail::list_of(all)});
}

template <class Guard>
void commit(Guard& guard, key const& id, reload_report const& report) {
  using access = stash::detail::guard_access;
  if (!report.left_behind.empty()) {
    return access::commit_and_set_aside(guard, "left_behind", detail::told_of(id, report.left_behind));
  }
  if (!report.unplaced.empty()) return access::commit_and_set_aside(guard, "unplaced");
  guard.commit();
}

}  // namespace stash::inline v1::ckan::detail
