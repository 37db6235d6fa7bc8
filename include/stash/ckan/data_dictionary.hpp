#pragma once

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <functional>
#include <iterator>
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
  /// The text that the datastore has for the column, as it stands, where it is not what info and beside would be
  /// written as: a plain remark, a number of more digits than a `double` has, another form. A datastore writes this
  /// text again, byte for byte, as long as reading it gives the info and beside that stand here, or neither stands
  /// here; else these, but refuses to lose a remark.
  std::optional<std::string> comment{};
  /// Member by member; objects are equal whatever the order of their names.
  friend bool operator==(field const&, field const&) = default;
};
/// A table's columns, in their order.
using fields = std::vector<field>;

/// Field id to info, in column order. What was written on the table itself is under `table_key`.
using data_dictionary = boost::json::object;

/// `type_override` to column type. Empty means DataPusher+'s: text, numeric, timestamp, date, each to itself.
using type_mapping = std::map<std::string, std::string, std::less<>>;

/// The name in a dictionary under which a datastore's `remarks` travel. No field is called so.
inline constexpr char table_key[] = "_table";

namespace detail {

inline constexpr char beside_key[] = "_beside";
inline constexpr char comment_key[] = "_verbatim";

/// The name in a dictionary that is set aside, under which there is what a reload could not carry over.
inline constexpr char left_behind_key[] = "_left_behind";
/// The name in a dictionary that is stashed, which says that the table it is of is not dropped by the job that saved
/// it.
inline constexpr char not_dropped_key[] = "_not_dropped";
inline bool is_of_a_field(std::string_view name) noexcept {
  return name != table_key && name != left_behind_key && name != not_dropped_key;
}

/// The name in `info` that would be taken for one of ours; null: none.
inline char const* reserved_key(boost::json::object const& info) noexcept {
  for (char const* const key : {beside_key, comment_key}) {
    if (info.contains(key)) return key;
  }
  return nullptr;
}

[[noreturn]] inline void fail(errc code, std::string_view operation, std::string_view field_id, std::string why) {
  throw error{code, std::string(operation), std::string(field_id), std::move(why)};
}

/// The column type that the info asks for; nullopt: none, or one that is not known.
inline std::optional<std::string> overridden_type(boost::json::object const& info, type_mapping const& types) {
  auto const* const wanted = info.if_contains("type_override");
  if (wanted == nullptr || !wanted->is_string()) return std::nullopt;
  std::string_view const text = wanted->get_string();
  if (types.empty()) {  // no map of ours: a guard in static storage may restore after it is gone
    constexpr std::string_view known[] = {"text", "numeric", "timestamp", "date"};
    bool const is_known = std::find(std::begin(known), std::end(known), text) != std::end(known);
    return is_known ? std::optional(std::string(text)) : std::nullopt;
  }
  auto const found = types.find(text);
  return found == types.end() ? std::nullopt : std::optional(found->second);
}

/// The columns of CKAN's own, which each resource has.
inline constexpr std::array<char const*, 2> own_columns{"_id", "_full_text"};

/// The text under `name`; nullopt: none. Throws `errc::mismatch` where something else stands there.
inline std::optional<std::string> text_in(boost::json::object const& remarks, std::string_view name) {
  auto const* const text = remarks.if_contains(name);
  if (text == nullptr) return std::nullopt;
  if (!text->is_string()) detail::fail(errc::mismatch, "remarks", name, "what is saved is no text");
  return std::string(text->get_string().data(), text->get_string().size());
}
/// What a datastore's `remarks` have for the table itself.
inline std::optional<std::string> remark_on_table(boost::json::object const& remarks) {
  return detail::text_in(remarks, "comment");
}
/// What they have for its columns that are no fields; null: nothing. Throws `errc::mismatch` where it is no object.
inline boost::json::object const* remarks_on_columns(boost::json::object const& remarks) {
  auto const* const columns = remarks.if_contains("columns");
  if (columns == nullptr) return nullptr;
  if (!columns->is_object())
    detail::fail(errc::mismatch, "remarks", {}, "what is saved of the columns is not an object");
  return &columns->get_object();
}
/// What they have for one of these.
inline std::optional<std::string> remark_on(boost::json::object const& remarks, std::string_view column) {
  auto const* const columns = detail::remarks_on_columns(remarks);
  return columns == nullptr ? std::nullopt : detail::text_in(*columns, column);
}

/// Takes what the dictionary has for one field apart again, and applies the type override.
inline void apply(field& f, boost::json::value const& saved, type_mapping const& types, std::string_view operation) {
  auto const* const object = saved.if_object();
  if (object == nullptr) detail::fail(errc::mismatch, operation, f.id, "what is saved for the field is not an object");
  auto const* const beside = object->if_contains(beside_key);
  auto const* const comment = object->if_contains(comment_key);
  if (beside != nullptr && !beside->is_object())
    detail::fail(errc::mismatch, operation, f.id, "its \"_beside\" is not an object");
  if (comment != nullptr && !comment->is_string())
    detail::fail(errc::mismatch, operation, f.id, "its \"_verbatim\" is no text");
  boost::json::object info;  // not erase(), which changes the order
  for (auto const& member : *object) {
    if (member.key() != beside_key && member.key() != comment_key) info.emplace(member.key(), member.value());
  }
  bool const has_info = !info.empty() || object->empty();
  if (auto type = detail::overridden_type(info, types)) f.type = std::move(*type);
  if (beside != nullptr) f.beside = beside->get_object();
  f.comment.reset();
  if (comment != nullptr) {
    f.comment.emplace(comment->get_string().data(), comment->get_string().size());
    f.info.reset();
  }
  if (has_info) f.info = std::move(info);
}

}  // namespace detail

/// The dictionary of those fields that have info, in their order; a non-empty `beside` travels in it as
/// "_beside", a `comment` as "_verbatim", and a field that has only these is in it too. Empty: nobody typed anything.
///
/// Throws `errc::unserializable` where an info has a "_beside" or a "_verbatim" of its own. Of two fields of one id the
/// last one counts.
inline data_dictionary dictionary_of(fields const& all) {
  data_dictionary result;
  for (field const& f : all) {
    if (!f.info && f.beside.empty() && !f.comment) continue;
    boost::json::object saved = f.info.value_or(boost::json::object{});
    if (char const* const key = detail::reserved_key(saved)) {
      detail::fail(errc::unserializable, "dictionary_of", f.id,
                   "its info has a key \"" + std::string(key) + "\", which is reserved");
    }
    if (!f.beside.empty()) saved.emplace(detail::beside_key, f.beside);
    if (f.comment) saved.emplace(detail::comment_key, *f.comment);
    result.insert_or_assign(f.id, std::move(saved));
  }
  return result;
}

/// Gives `headers` what the dictionary has for them: info, beside and comment are replaced, and the type where
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
    if (!detail::is_of_a_field(member.key())) continue;
    field f{std::string(member.key()), "text", std::nullopt, {}};
    detail::apply(f, member.value(), types, "restored_fields");
    result.push_back(std::move(f));
  }
  return result;
}

}  // namespace stash::inline v1::ckan
