#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <functional>
#include <map>
#include <optional>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// A CKAN resource's Data Dictionary, what people typed in about its columns (labels, notes, type overrides), and the
/// datastores that keep it beside the rows.
namespace stash::inline v1::ckan {

/// A column, as the fields of CKAN's DataStore are (https://docs.ckan.org/en/2.11/maintaining/datastore.html).
struct field {
  std::string id;    ///< the column's name
  std::string type;  ///< as the datastore names it: text, numeric, timestamp, ...
  /// The Data Dictionary's object for it: `label`, `notes`, `type_override`, ... nullopt: nobody typed anything.
  std::optional<boost::json::object> info;
  boost::json::object
      beside{};  ///< what the datastore keeps next to info (CKAN 2.11: other plugins' keys, typed by people too)
  /// Member by member; objects are equal whatever the order of their names.
  friend bool operator==(field const&, field const&) = default;
};
/// A table's columns, in their order.
using fields = std::vector<field>;

/// Field id to info, in column order.
using data_dictionary = boost::json::object;

/// `type_override` to column type. Empty means DataPusher+'s: text, numeric, timestamp, date, each to itself.
using type_mapping = std::map<std::string, std::string, std::less<>>;

namespace detail {

inline constexpr char beside_key[] = "_beside";

[[noreturn]] inline void fail(errc code, std::string_view operation, std::string_view field_id, char const* why) {
  throw error{code, std::string(operation), std::string(field_id), why};
}

/// The column type that the info asks for; nullopt: none, or one that is not known.
inline std::optional<std::string> overridden_type(boost::json::object const& info, type_mapping const& types) {
  static type_mapping const known = {
      {"text", "text"}, {"numeric", "numeric"}, {"timestamp", "timestamp"}, {"date", "date"}};
  auto const* const wanted = info.if_contains("type_override");
  if (wanted == nullptr || !wanted->is_string()) return std::nullopt;
  auto const& mapping = types.empty() ? known : types;
  auto const& text = wanted->get_string();
  auto const found = mapping.find(std::string_view(text.data(), text.size()));
  return found == mapping.end() ? std::nullopt : std::optional(found->second);
}

/// Takes what the dictionary has for one field apart again, and applies the type override.
inline void apply(field& f, boost::json::value const& saved, type_mapping const& types, std::string_view operation) {
  auto const* const object = saved.if_object();
  if (object == nullptr) fail(errc::mismatch, operation, f.id, "what is saved for the field is not an object");
  boost::json::object info = *object;
  auto const* const beside = info.if_contains(beside_key);
  bool const only_beside = beside != nullptr && info.size() == 1;
  if (beside != nullptr) {
    if (!beside->is_object()) fail(errc::mismatch, operation, f.id, "its \"_beside\" is not an object");
    f.beside = beside->get_object();
    boost::json::object rest;  // not erase(), which changes the order
    for (auto const& member : *object) {
      if (member.key() != beside_key) rest.emplace(member.key(), member.value());
    }
    info = std::move(rest);
  }
  if (auto type = overridden_type(info, types)) f.type = std::move(*type);
  if (!only_beside) f.info = std::move(info);
}

}  // namespace detail

/// The dictionary of those fields that have info, in their order; a non-empty `beside` travels in it as
/// "_beside", and a field that has only that is in it too. Empty: nobody typed anything.
///
/// Throws `errc::unserializable` where an info has a "_beside" of its own. Of two fields of one id the last one counts.
inline data_dictionary dictionary_of(fields const& all) {
  data_dictionary result;
  for (field const& f : all) {
    if (!f.info && f.beside.empty()) continue;
    boost::json::object saved = f.info.value_or(boost::json::object{});
    if (saved.contains(detail::beside_key)) {
      detail::fail(errc::unserializable, "dictionary_of", f.id, "its info has a key \"_beside\", which is reserved");
    }
    if (!f.beside.empty()) saved.emplace(detail::beside_key, f.beside);
    result.insert_or_assign(f.id, std::move(saved));
  }
  return result;
}

/// Gives `headers` what the dictionary has for them: info and beside are replaced, and the type where
/// `type_override` is one of `types`. Fields that the dictionary does not have stay as they are; its entries for
/// other fields are not used.
///
/// Throws `errc::mismatch` where an entry is no object; then some of the headers may be done.
inline void annotate(fields& headers, data_dictionary const& dictionary, type_mapping const& types = {}) {
  for (field& f : headers) {
    if (auto const* const saved = dictionary.if_contains(f.id)) detail::apply(f, *saved, types, "annotate");
  }
}

/// The fields that the dictionary tells of, in its order: each with its info, and with the type that
/// `type_override` maps to, else text. Throws `errc::mismatch` where an entry is no object.
inline fields restored_fields(data_dictionary const& dictionary, type_mapping const& types = {}) {
  fields result;
  for (auto const& member : dictionary) {
    field f{std::string(member.key()), "text", std::nullopt, {}};
    detail::apply(f, member.value(), types, "restored_fields");
    result.push_back(std::move(f));
  }
  return result;
}

}  // namespace stash::inline v1::ckan
