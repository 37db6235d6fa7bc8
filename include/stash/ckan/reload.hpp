#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/delete_guard.hpp>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan {

/// A place where a resource is a table with a Data Dictionary. `id` is a std::string_view; failure is thrown.
///
/// | expression             | effect and result                                                                    |
/// | ---------------------- | ------------------------------------------------------------------------------------ |
/// | `d.describe(id)`       | the fields of a whole table; nullopt: there is none, or one that is marked unfinished |
/// | `d.create(id, fields)` | the table and its dictionary in one transaction, marked unfinished                   |
/// | `d.finish(id)`         | takes the mark away; durable                                                         |
/// | `d.drop(id)`           | removes the table, marked or not, with its dictionary; idempotent                    |
/// | `d.check(id, fields)`  | optional: throws where `create` would refuse the fields; changes nothing             |
/// | `d.remarks(id)`        | optional, with the next: what was written on a whole table itself, a `json::object`  |
/// | `d.create(id, fields, remarks)` | `create`, with these                                                        |
///
/// One that passes calls on to another passes on `remarks` too: what is written on a table goes with its drop.
///
/// It is as durable as the stash: a committed reload that a power cut takes back would be a loss.
template <class D>
concept datastore = requires(D& d, std::string_view id, fields const& f) {
  { d.describe(id) } -> std::same_as<std::optional<fields>>;
  d.create(id, f);
  d.finish(id);
  d.drop(id);
};

namespace detail {

template <class D>
concept keeps_remarks = requires(D& d, std::string_view id, fields const& f, boost::json::object const& remarks) {
  { d.remarks(id) } -> std::same_as<boost::json::object>;
  d.create(id, f, remarks);
};

/// All that people wrote; nullopt: there is no whole table.
template <class Datastore>
std::optional<data_dictionary> words_of(Datastore& d, std::string_view id) {
  std::optional<fields> const all = d.describe(id);
  if (!all) return std::nullopt;
  data_dictionary dictionary = ckan::dictionary_of(*all);
  if constexpr (keeps_remarks<Datastore>) {
    if (boost::json::object remarks = d.remarks(id); !remarks.empty())
      dictionary.emplace(table_key, std::move(remarks));
  }
  return dictionary;
}

/// What the dictionary has for the table itself. Throws `errc::mismatch` where it is no object.
inline boost::json::object remarks_in(data_dictionary const& dictionary, std::string_view id) {
  auto const* const remarks = dictionary.if_contains(table_key);
  if (remarks == nullptr) return {};
  if (!remarks->is_object())
    detail::fail(errc::mismatch, "remarks", id, "what is saved for the table is not an object");
  return remarks->get_object();
}

/// The columns that a new table does not have, with a remark; `table_key`: the datastore has no place for any.
template <class Datastore>
std::vector<std::string> remarks_without_place(boost::json::object const& remarks) {
  if (remarks.empty()) return {};
  if constexpr (!keeps_remarks<Datastore>) return {table_key};
  std::vector<std::string> result;
  auto const* const columns = detail::remarks_on_columns(remarks);
  if (columns == nullptr) return result;
  for (auto const& member : *columns) {
    bool const is_own = std::find(own_columns.begin(), own_columns.end(), member.key()) != own_columns.end();
    if (!is_own) result.emplace_back(member.key());
  }
  return result;
}

template <class Datastore>
void create_with(Datastore& d, std::string_view id, fields const& all, boost::json::object const& remarks) {
  if constexpr (keeps_remarks<Datastore>) {
    d.create(id, all, remarks);
  } else {
    d.create(id, all);
  }
}

}  // namespace detail

/// For `reload`.
struct reload_options {
  type_mapping types{};   ///< as `annotate` takes it
  guard_options guard{};  ///< for the guard around the drop and the load
};

/// What `reload` returns.
struct reload_report {
  stash::origin origin;                          ///< where the dictionary came from; none: there was nothing to keep
  std::optional<std::chrono::microseconds> age;  ///< of an adopted record
  /// Fields with info that the new headers do not have, and other columns of the old table with a remark; `table_key`
  /// where the datastore has no place for what was written on the table itself. Their record was set aside.
  std::vector<std::string> unplaced;
};

/// Makes an empty whole table that has the dictionary, in place of a missing or unfinished one: what `reload`
/// does on failure, and the restore to give to `stash::recover`. Idempotent.
///
/// Throws what the datastore throws, and `errc::mismatch` where an entry of the dictionary is no object (then nothing
/// was done) or something that was written on the old table has no place in this one (which is made all the same).
template <datastore Datastore>
void recreate(Datastore& d, std::string_view id, data_dictionary const& dictionary, type_mapping const& types = {}) {
  fields const restored = ckan::restored_fields(dictionary, types);
  boost::json::object const remarks = detail::remarks_in(dictionary, id);
  d.drop(id);
  detail::create_with(d, id, restored, remarks);
  d.finish(id);
  auto const left = detail::remarks_without_place<Datastore>(remarks);
  if (left.empty()) return;
  throw error{errc::mismatch, "recreate", std::string(id),
              "there is no place for what was written on \"" + left[0] + '"'};
}

namespace detail {

/// One reload, and how far it came.
template <class Datastore>
class reloading {
 public:
  reloading(Datastore& d, std::string_view id, type_mapping const& types) : datastore_(d), id_(id), types_(types) {}

  /// nullopt: no table, or one in which nobody typed anything.
  std::optional<data_dictionary> live() {
    std::optional<data_dictionary> now = detail::words_of(datastore_, id_);
    if (now && now->empty()) return std::nullopt;
    return now;
  }

  /// A live table is never touched: either the drop threw and dropped nothing, or `finish` threw and had finished.
  /// Then the words must be in it, or this throws, so that their record is kept.
  void restore(data_dictionary const& dictionary) {
    std::optional<data_dictionary> const now = detail::words_of(datastore_, id_);
    if (!now) {
      ckan::recreate(datastore_, id_, dictionary, types_);
    } else if (!has_words(*now, dictionary)) {
      throw error{errc::mismatch, "restore", std::string(id_), "the table is live, but without these words"};
    }
  }

  template <class Load>
  void rebuild(fields const& headers, boost::json::object const& remarks, Load& load) {
    drop_was_attempted_ = true;
    datastore_.drop(id_);
    detail::create_with(datastore_, id_, headers, remarks);
    load(headers);
    datastore_.finish(id_);
  }

  bool drop_was_attempted() const noexcept { return drop_was_attempted_; }

  /// After a failure where there is no dictionary to restore: leaves no half-built table.
  void remove_half_built() noexcept {
    try {
      if (!datastore_.describe(id_)) datastore_.drop(id_);
    } catch (...) {  // it is marked, so nobody takes it for live, and the next reload drops it
    }
  }

 private:
  static bool has_words(data_dictionary const& live, data_dictionary const& wanted) {
    return std::all_of(wanted.begin(), wanted.end(), [&](auto const& member) {
      auto const* const there = live.if_contains(member.key());
      return there != nullptr && *there == member.value();
    });
  }

  Datastore& datastore_;
  std::string_view id_;
  type_mapping const& types_;
  bool drop_was_attempted_ = false;
};

/// The names of what the new table has no place for.
template <class Datastore>
std::vector<std::string> missing_from(fields const& headers, data_dictionary const& dictionary,
                                      boost::json::object const& remarks) {
  std::unordered_set<std::string_view> names{table_key};
  for (field const& f : headers) names.insert(f.id);
  std::vector<std::string> result = detail::remarks_without_place<Datastore>(remarks);
  for (auto const& member : dictionary) {
    if (!names.contains(member.key())) result.emplace_back(member.key());
  }
  return result;
}

}  // namespace detail

/// Drops the table of `resource_id` and builds it anew from `headers` and `load`, keeping its Data Dictionary.
///
/// In order: describe, guard, annotate, (check), drop, create, load, finish, commit. `load(fields const&)` gets
/// the annotated fields; when it returns, the rows are durable. Two reloads of a resource exclude each other:
/// the second throws `errc::busy`.
///
/// Throws what fails, with the dictionary safe: before the drop, nothing was touched (the record stays for a
/// later run); after it, the half-built table is gone, and stands anew with zero rows and the dictionary where
/// there is one (`event_kind::restored`; or `restore_failed`, and the record is kept). A table that stands whole
/// all the same, because the drop did nothing or the reload was already finished, stays.
///
/// Where a process dies in it, the next `reload` adopts the record, or `stash::recover` with `recreate` restores.
///
/// Info for fields that `headers` does not have is not thrown away: its record is set aside on commit. Where
/// `best_effort` forgave a failed save, there is none to set aside, and that error is thrown before the drop.
///
/// What is typed into the live table between its describe and its drop goes with the table: a few milliseconds,
/// which only a datastore that compares inside its drop could close.
template <class Datastore, class Stash, class Load>
reload_report reload(Datastore& d, Stash& stash, key const& resource_id, fields headers, Load load,
                     reload_options options = {}) {  // NOLINT(performance-unnecessary-value-param): as recover's
  static_assert(datastore<Datastore>,
                "stash: the datastore needs describe, create, finish and drop (see ckan::datastore)");
  static_assert(std::invocable<Load&, fields const&>, "stash: load must be callable with the created fields");
  detail::reloading<Datastore> job{d, resource_id, options.types};
  delete_guard guard{stash, resource_id, [&] { return job.live(); },
                     [&](data_dictionary const& dictionary) { job.restore(dictionary); }, options.guard};
  reload_report report{guard.origin(), guard.age(), {}};
  try {
    boost::json::object remarks;
    if (data_dictionary const* const dictionary = guard.value()) {
      ckan::annotate(headers, *dictionary, options.types);
      remarks = detail::remarks_in(*dictionary, resource_id);
      report.unplaced = detail::missing_from<Datastore>(headers, *dictionary, remarks);
      if (!report.unplaced.empty()) stash::detail::guard_access::require_saved(guard);  // their only place to be
    }
    if constexpr (requires { d.check(resource_id.str(), headers); }) d.check(resource_id.str(), headers);
    job.rebuild(headers, remarks, load);
  } catch (...) {
    if (!job.drop_was_attempted()) {
      guard.release();
    } else if (guard.value() == nullptr) {
      job.remove_half_built();
    }
    throw;
  }
  if (report.unplaced.empty()) {
    guard.commit();
  } else {
    stash::detail::guard_access::commit_and_set_aside(guard, "unplaced");
  }
  return report;
}

}  // namespace stash::inline v1::ckan
