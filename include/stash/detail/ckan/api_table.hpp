#pragma once

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <stash/ckan/column_comment.hpp>
#include <stash/ckan/data_dictionary.hpp>
#include <stash/ckan/swap.hpp>
#include <stash/detail/ckan/api_site.hpp>
#include <stash/detail/ckan/field_names.hpp>
#include <stash/detail/operation.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// A resource's table, as CKAN's actions tell of it and make it.
namespace stash::inline v1::ckan::detail {

inline std::string text_of(boost::json::object const& from, std::string_view name) {
  auto const* const found = from.if_contains(name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

/// The fields' indexes, each as the names of its fields. (No action tells of what else is in one, nor which of two that
/// are on a field.)
class told_indexes {
 public:
  void add(std::string const& field, boost::json::object const& schema) {
    auto const name = detail::text_of(schema, "index_name");
    auto const* const unique = schema.if_contains("uniquekey");
    if (name.empty()) return;
    bool const is_unique = unique != nullptr && unique->is_bool() && unique->get_bool();
    auto const at = std::find_if(all_.begin(), all_.end(), [&](index const& one) { return one.name == name; });
    auto& one = at == all_.end() ? all_.emplace_back(index{name, {}, is_unique}) : *at;
    one.fields.push_back(field);
  }
  void write(boost::json::object& remarks) const {
    boost::json::array key, others;
    for (index const& one : all_) {
      if (one.is_unique && key.empty()) {
        for (auto const& field : one.fields) key.emplace_back(field);
        continue;
      }
      std::string names;
      for (auto const& field : one.fields) names += (names.empty() ? "" : ", ") + field;
      others.emplace_back(names);
    }
    if (!key.empty()) remarks["primary_key"] = std::move(key);
    if (!others.empty()) remarks["indexes"] = std::move(others);
  }

 private:
  struct index {
    std::string name;
    std::vector<std::string> fields;
    bool is_unique;
  };
  std::vector<index> all_;
};

/// What `datastore_info` says of a table. Throws `errc::mismatch` for what is none of this id, and for words that would
/// not come back.
inline table_words words_in_info(api_result const& info, std::string_view id, stash::detail::operation const& op) {
  auto const refuse = [&](std::string_view what) { op.fail(errc::mismatch, "datastore_info", what); };
  auto const* const all = info.value.if_object();
  auto const* const meta = all == nullptr ? nullptr : all->if_contains("meta");
  auto const* const columns = all == nullptr ? nullptr : all->if_contains("fields");
  if (meta == nullptr || !meta->is_object() || columns == nullptr || !columns->is_array()) refuse("no table in it");
  bool const is_table = detail::text_of(meta->get_object(), "table_type") == "BASE TABLE";
  if (!is_table || detail::text_of(meta->get_object(), "id") != id) refuse("the id is an alias, and no resource's");
  if (!info.is_exact) refuse("a number in the words has more digits than can be kept");
  table_words result;
  told_indexes indexes;
  for (auto const& column : columns->get_array()) {
    if (!column.is_object()) refuse("a field that is none");
    field f{detail::text_of(column.get_object(), "id"), detail::text_of(column.get_object(), "type"), {}};
    for (auto const& member : column.get_object()) {
      if (member.key() == "id" || member.key() == "type") continue;
      if (member.key() == "schema") {
        if (member.value().is_object()) indexes.add(f.id, member.value().get_object());
      } else if (member.key() == "info" && member.value().is_object()) {
        f.info = member.value().get_object();
      } else {
        f.beside.emplace(member.key(), member.value());
      }
    }
    result.all.push_back(std::move(f));
  }
  auto const* const aliases = meta->get_object().if_contains("aliases");
  if (aliases != nullptr && aliases->is_array() && !aliases->get_array().empty()) result.remarks["aliases"] = *aliases;
  indexes.write(result.remarks);
  return result;
}

/// How many rows a resource's table has. Throws 404 where there is none.
inline std::uint64_t rows_at(api_site& site, std::string_view id, stash::detail::operation const& op) {
  auto const found =
      site.call("datastore_search", {{"resource_id", id}, {"limit", 0}, {"include_total", true}}, asking::reads, op);
  auto const* const all = found.value.if_object();
  auto const* const total = all == nullptr ? nullptr : all->if_contains("total");
  if (total == nullptr || !total->is_int64() || total->get_int64() < 0) {
    op.fail(errc::mismatch, "datastore_search", "it does not say how many rows there are");
  }
  return static_cast<std::uint64_t>(total->get_int64());
}

/// Whether what `status_show` said is a CKAN of this version, or a newer one; nullopt: it does not tell its version, as
/// with `ckan.hide_version`. Throws `errc::mismatch` for what is no CKAN's.
inline std::optional<bool> is_version(boost::json::value const& status, long major, long minor,
                                      stash::detail::operation const& op) {
  auto const* const all = status.if_object();
  if (all == nullptr || !all->contains("site_url")) op.fail(errc::mismatch, "status_show", "it is no CKAN");
  std::string const version = detail::text_of(*all, "ckan_version");
  if (version.empty()) return std::nullopt;
  char* end = nullptr;
  long const first = std::strtol(version.c_str(), &end, 10);
  long const second = *end == '.' ? std::strtol(end + 1, nullptr, 10) : 0;
  return first > major || (first == major && second >= minor);
}

/// Whether CKAN takes it as a column's type: a name of PostgreSQL's, perhaps of an array.
inline bool is_type_of_ckan(std::string_view type) {
  constexpr std::string_view known[] = {
      "text",   "int",       "int2",        "int4",     "int8", "integer", "smallint", "bigint",
      "float",  "float4",    "float8",      "numeric",  "bool", "boolean", "date",     "time",
      "timetz", "timestamp", "timestamptz", "interval", "json", "jsonb",   "uuid",     "varchar",
      "char",   "bpchar",    "bytea",       "money",    "inet", "cidr",    "xml",      "double precision",
      "nested"};
  if (type.ends_with("[]")) type.remove_suffix(2);
  if (type.starts_with('_')) type.remove_prefix(1);
  if (type.ends_with(')')) type = type.substr(0, type.find('('));
  return std::find(std::begin(known), std::end(known), type) != std::end(known);
}

/// Throws `errc::mismatch` for what `create` does not take.
inline void check_api_fields(fields const& columns, boost::json::object const& remarks,
                             stash::detail::operation const& op) {
  constexpr std::size_t most_columns = 1598, longest_name = 63;  // PostgreSQL's 1600, without CKAN's own two; bytes
  field_rules const rules{most_columns, longest_name, [](std::string_view name) { return std::string(name); }};
  detail::check_fields(columns, remarks, rules, op.name, op.subject);
  for (field const& f : columns) {
    if (!detail::is_type_of_ckan(f.type)) {
      detail::refuse_field(f, op.name, op.subject, "CKAN knows no type \"" + f.type + '"');
    }
    if (f.comment) {
      detail::refuse_field(f, op.name, op.subject, "what is written on it cannot be written through CKAN's actions");
    }
  }
  for (auto const& member : remarks) {
    bool const is_known = member.key() == "aliases" || member.key() == "indexes" || member.key() == "primary_key";
    if (is_known && member.value().is_array()) continue;
    op.fail(errc::mismatch, "remarks",
            "\"" + std::string(member.key()) + "\" is another datastore's, and has no place in this one");
  }
}

/// Those of the remarks whose fields are all there; what is not among them is put into `others`, as a person reads it.
inline boost::json::object remarks_on(fields const& columns, boost::json::object const& remarks,
                                      std::vector<std::string>& others) {
  auto const is_there = [&](std::string_view name) {
    return std::any_of(columns.begin(), columns.end(), [&](field const& f) { return f.id == name; });
  };
  boost::json::object result = remarks;
  if (auto* const key = result.if_contains("primary_key")) {
    auto const& names = key->as_array();
    bool const fits = std::all_of(names.begin(), names.end(), [&](auto const& name) {
      return name.is_string() && is_there(std::string_view(name.get_string()));
    });
    if (!fits) {
      others.push_back("the primary key " + boost::json::serialize(*key));
      result.erase("primary_key");
    }
  }
  if (auto* const indexes = result.if_contains("indexes")) {
    boost::json::array fitting;
    for (auto const& index : indexes->as_array()) {
      std::string const names = index.is_string() ? std::string(index.get_string()) : std::string();
      bool fits = !names.empty();
      for (std::size_t begin = 0, end = 0; begin < names.size(); begin = end + 2) {
        end = std::min(names.find(", ", begin), names.size());
        fits = fits && is_there(std::string_view(names).substr(begin, end - begin));
      }
      if (fits) {
        fitting.push_back(index);
      } else {
        others.push_back("the index on " + boost::json::serialize(index));
      }
    }
    *indexes = std::move(fitting);
    if (indexes->get_array().empty()) result.erase("indexes");
  }
  return result;
}

/// The names of the fields on which not all stands that was sent, as where the plugin is gone whose keys these are.
inline std::vector<std::string> not_kept(fields const& sent, fields const& there) {
  std::vector<std::string> result;
  for (field const& f : sent) {
    auto const at = std::find_if(there.begin(), there.end(), [&](field const& one) { return one.id == f.id; });
    bool const is_kept = at != there.end() && (!f.info || at->info == f.info) &&
                         std::all_of(f.beside.begin(), f.beside.end(), [&](auto const& member) {
                           auto const* const found = at->beside.if_contains(member.key());
                           return found != nullptr && *found == member.value();
                         });
    if (!is_kept) result.push_back(f.id);
  }
  return result;
}

/// `datastore_create`, in as many requests as keep it below `longest` bytes: each one names the fields before it, too.
inline std::vector<std::string> requests_of_create(std::string_view id, fields const& columns, std::size_t longest) {
  std::vector<std::string> requests;
  boost::json::array before, now;
  std::size_t size = 0;
  auto const end_request = [&] {
    boost::json::object request{{"resource_id", id}, {"force", true}};
    boost::json::array all = before;
    all.insert(all.end(), now.begin(), now.end());
    request["fields"] = std::move(all);
    requests.push_back(boost::json::serialize(request));
    for (auto const& one : now) {
      before.push_back(boost::json::object{{"id", one.at("id")}, {"type", one.at("type")}});
    }
    now.clear();
    size = boost::json::serialize(before).size();
  };
  for (field const& f : columns) {
    boost::json::object one{{"id", f.id}, {"type", f.type}};
    if (f.info) one["info"] = *f.info;
    for (auto const& member : f.beside) one[member.key()] = member.value();
    std::size_t const more = boost::json::serialize(one).size();
    if (!now.empty() && size + more > longest) end_request();
    size += more;
    now.push_back(std::move(one));
  }
  end_request();
  return requests;
}

}  // namespace stash::inline v1::ckan::detail
