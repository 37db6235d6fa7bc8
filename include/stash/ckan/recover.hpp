#pragma once

#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/datastore.hpp>
#include <stash/ckan/recreate.hpp>
#include <stash/detail/operation.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/recover.hpp>
#include <stash/recover_options.hpp>
#include <string>
#include <utility>

namespace stash::inline v1::ckan {

/// `stash::recover` for what reloads of `d` left: where a table is gone or unfinished, makes an empty one with its
/// dictionary (`recreate`); and removes what a reload had built beside a live table.
///
/// A resource that was deleted on purpose does not come back: one that no reload has dropped, as its record says, or
/// that CKAN's own table of resources does not have any more, where the datastore can see that. Its record is set aside
/// as `deleted`, and it is among `failed` in the report, once, with an error that says where its words are: who deletes
/// a resource does not expect it to be there again, and words that were not meant to go are not lost either.
///
/// Throws as `stash::recover`.
template <datastore Datastore, class Stash>
recovery_report recover(Datastore& d, Stash& stash, recover_options options = {}, type_mapping const& types = {}) {
  auto const is_live = [&](key const& k) {
    if constexpr (detail::swaps<Datastore>) d.discard(k.str());
    return d.describe(k.str()).has_value();
  };
  auto const restore = [&](key const& k, data_dictionary const& dictionary) {
    bool is_deleted = dictionary.contains(detail::not_dropped_key);
    if constexpr (requires { d.is_deleted(k.str()); }) is_deleted = is_deleted || d.is_deleted(k.str());
    if (!is_deleted) return detail::recreate(d, k.str(), dictionary, types);
    std::string const where = stash.storage().set_aside(k, "deleted");
    throw error{errc::mismatch, "recover", k.string(),
                "the resource was deleted on purpose; what people typed is set aside at " + where};
  };
  auto report = stash::recover<data_dictionary>(stash, is_live, restore, std::move(options));
  if constexpr (requires { d.leftovers(); }) {
    for (std::string const& id : d.leftovers()) {  // of reloads that had no words to stash, or have given them back
      try {
        auto const lock = stash.storage().try_lock(key(id));
        if (lock) d.discard(id);
      } catch (error const&) {  // no reload of a stash built it, or it cannot be removed now: the next one will
      }
    }
  }
  return report;
}

}  // namespace stash::inline v1::ckan
