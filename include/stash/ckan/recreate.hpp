#pragma once

#include <algorithm>
#include <boost/json/object.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/datastore.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1::ckan {

namespace detail {

/// Whether all that was wanted stands there.
inline bool has_words(data_dictionary const& there, data_dictionary const& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](auto const& member) {
    if (member.key() == left_behind_key || member.key() == not_dropped_key) return true;
    auto const* const found = there.if_contains(member.key());
    return found != nullptr && *found == member.value();
  });
}

/// As `ckan::recreate`, whoever removed the table.
template <class Datastore>
void recreate(Datastore& d, std::string_view id, data_dictionary const& dictionary, type_mapping const& types) {
  fields const restored = ckan::restored_fields(dictionary, types);
  boost::json::object const remarks = detail::remarks_in(dictionary, id);
  if constexpr (requires { d.empty_half_built(id); }) {  // where it has the words already, all that hangs on it stays
    auto const found = d.unfinished(id);
    bool const has = found && detail::has_words(detail::dictionary_of(found->all, found->remarks), dictionary);
    if (has && d.empty_half_built(id)) return d.finish(id);
  }
  if constexpr (requires { d.drop_half_built(id); }) {
    d.drop_half_built(id);
  } else {
    d.drop(id);
  }
  detail::create_with(d, id, restored, remarks);
  d.finish(id);
  auto const left = detail::remarks_without_place<Datastore>(remarks);
  if (left.empty()) return;
  throw error{errc::mismatch, "recreate", std::string(id),
              "there is no place for what was written on \"" + left[0] + '"'};
}

/// Throws `errc::mismatch` where the dictionary is of a table that no reload has dropped.
inline void refuse_deleted(std::string_view id, data_dictionary const& dictionary) {
  if (!dictionary.contains(not_dropped_key)) return;
  throw error{errc::mismatch, "recreate", std::string(id),
              "no reload has dropped this table: somebody deleted it since, and what people typed is all that is left"};
}

}  // namespace detail

/// Makes an empty whole table that has the dictionary, in place of a missing or unfinished one: what `reload` does on
/// failure, and the restore to give to `stash::recover` (or use `ckan::recover`). Idempotent.
///
/// Throws what the datastore throws; `errc::mismatch` where an entry of the dictionary is no object, or it was saved by
/// a reload that drops nothing, so that somebody else must have removed the table, perhaps on purpose (then nothing was
/// done), or people have loaded rows into the unfinished one; and where something that was written on the old table has
/// no place in this one (which is made all the same).
template <datastore Datastore>
void recreate(Datastore& d, std::string_view id, data_dictionary const& dictionary, type_mapping const& types = {}) {
  detail::refuse_deleted(id, dictionary);
  detail::recreate(d, id, dictionary, types);
}

}  // namespace stash::inline v1::ckan
