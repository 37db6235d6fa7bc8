#pragma once

#include <algorithm>
#include <boost/json/object.hpp>
#include <concepts>
#include <optional>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
#include <stash/place/left_behind.hpp>
#include <string>
#include <string_view>
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
/// | `d.unfinished(id)`     | optional: what is written on a marked table, `std::optional<table_words>`            |
/// | `d.build(id, fields, remarks)` | optional, with the next two: an empty table beside the live one, for the     |
/// |                        | rows that are loaded until `swap_in` or `discard`                                       |
/// | `d.swap_in(id, options)` | puts it in the live one's place in one step, with all that hangs on that; see        |
/// |                        | `swap_options`; returns what was left behind, `std::vector<left_behind>`             |
/// | `d.discard(id)`        | removes what was built; idempotent                                                   |
/// | `d.leftovers()`        | optional, for `recover`: the ids for which something is built, a vector of strings   |
/// | `d.is_deleted(id)`     | optional, for `recover`: whether people have deleted the resource                    |
/// | `d.drop_half_built(id)` | optional: as `drop`, but throws where people have loaded rows into a marked table |
/// | `d.empty(id, fields, remarks)` | optional: a table just like that stays, marked unfinished, and its rows go; |
/// |                        | false: there is none, and nothing was done                                           |
/// | `d.empty_half_built(id)` | optional, with that: the same for a marked table, whichever it is                  |
///
/// One that passes calls on to another passes on all of these: else what is written on a table goes with its drop, and
/// its rows go before the new ones are there.
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

template <class D>
concept swaps = keeps_remarks<D> && requires(D& d, std::string_view id, fields const& f,
                                             boost::json::object const& remarks, swap_options const& options) {
  d.build(id, f, remarks);
  { d.swap_in(id, options) } -> std::same_as<std::vector<left_behind>>;
  d.discard(id);
};

template <class D>
concept tells_unfinished = requires(D& d, std::string_view id) {
  { d.unfinished(id) } -> std::same_as<std::optional<table_words>>;
};

/// The dictionary of what is written on a table; where there are no words, empty.
inline data_dictionary dictionary_of(fields const& all, boost::json::object remarks) {
  data_dictionary dictionary = ckan::dictionary_of(all);
  if (!remarks.empty()) dictionary.emplace(table_key, std::move(remarks));
  return dictionary;
}

/// All that people wrote; nullopt: there is no whole table.
template <class Datastore>
std::optional<data_dictionary> words_of(Datastore& d, std::string_view id) {
  std::optional<fields> const all = d.describe(id);
  if (!all) return std::nullopt;
  if constexpr (keeps_remarks<Datastore>) return detail::dictionary_of(*all, d.remarks(id));
  return ckan::dictionary_of(*all);
}

/// With or without the mark that the table is not dropped by the job that saves this.
inline data_dictionary marked(data_dictionary const& dictionary, bool is_not_dropped) {
  data_dictionary result;
  for (auto const& member : dictionary) {  // not erase(), which changes the order
    if (member.key() != not_dropped_key) result.emplace(member.key(), member.value());
  }
  if (is_not_dropped) result.emplace(not_dropped_key, true);
  return result;
}

/// Whether they would be saved as the same bytes. (Boost.JSON 1.81 copies what `==` compares in objects, in a function
/// that ends the program where memory runs out.)
inline bool is_same_text(data_dictionary const& a, data_dictionary const& b) {
  json_serializer const json;
  return json.serialize(a) == json.serialize(b);
}

/// `newer` goes before what is in `older`.
inline data_dictionary overlaid(data_dictionary older, data_dictionary const& newer) {
  for (auto const& member : newer) older.insert_or_assign(member.key(), member.value());
  return older;
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

}  // namespace stash::inline v1::ckan
