#pragma once

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/serialize.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <stash/detail/text/decimal.hpp>
#include <stash/detail/text/nearest_double.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// As `json_builder`, and knows which numbers the value does not hold as the text has them. Fails where a name stands
/// twice in one object.
class exact_builder : public json_builder {
 public:
  /// The outermost name that was read last.
  std::string const& place() const noexcept { return outermost_; }
  /// The name that stands twice; nullopt: none.
  std::optional<std::string> const& stands_twice() const noexcept { return stands_twice_; }
  /// The outermost names with a number under them that would not come back with the value that it has in the text.
  std::set<std::string, std::less<>> const& inexact() const noexcept { return inexact_; }

  bool on_object_begin(error_code& failed) {
    names_.emplace_back();
    return json_builder::on_object_begin(failed);
  }
  bool on_object_end(std::size_t n, error_code& failed) {
    names_.pop_back();
    return json_builder::on_object_end(n, failed);
  }
  bool on_key_part(view s, std::size_t n, error_code& failed) {
    name_.append(s.data(), s.size());
    return json_builder::on_key_part(s, n, failed);
  }
  bool on_key(view s, std::size_t n, error_code& failed) {
    name_.append(s.data(), s.size());
    if (names_.size() == 1) outermost_ = name_;
    if (!names_.back().insert(name_).second) {
      stands_twice_ = name_;
      failed = boost::json::error::syntax;
      return false;
    }
    name_.clear();
    return json_builder::on_key(s, n, failed);
  }
  // The parser is given all bytes at once, and hands on a number in one piece.
  bool on_int64(std::int64_t i, view s, error_code& failed) {
    compare({s.data(), s.size()}, std::to_string(i));
    return json_builder::on_int64(i, s, failed);
  }
  bool on_double(double d, view s, error_code& failed) {
    double exact = 0;
    static_cast<void>(detail::nearest_double(std::string(s), exact));  // json_builder refuses what does not fit
    compare({s.data(), s.size()}, boost::json::serialize(boost::json::value(exact)));
    return json_builder::on_double(d, s, failed);
  }

 private:
  void compare(std::string_view text, std::string const& comes_back) {
    if (detail::normal(*detail::read_decimal(text)) != detail::normal(*detail::read_decimal(comes_back)))
      inexact_.insert(outermost_);
  }

  std::vector<std::set<std::string>> names_;  // of the objects that are open
  std::string name_, outermost_;
  std::optional<std::string> stands_twice_;
  std::set<std::string, std::less<>> inexact_;
};

struct exact_object {
  boost::json::object value;
  std::set<std::string, std::less<>> inexact;  // see exact_builder
};

/// Throws `errc::mismatch`, with the outermost name as subject where it is known, for what is no JSON object, has a
/// name twice in one object, or a number beyond what a `double` reaches.
inline exact_object read_exactly(std::string_view json) {
  boost::json::parse_options options;
  options.max_depth = json_serializer::max_depth;
  boost::json::basic_parser<exact_builder> parser{options};
  boost::system::error_code failed;
  std::size_t const used = parser.write_some(false, json.data(), json.size(), failed);
  auto const refuse = [](std::string subject, std::string why) {
    throw error{errc::mismatch, "parse", std::move(subject), std::move(why)};
  };
  auto& read = parser.handler();
  if (auto const& name = read.stands_twice()) refuse(read.place(), "\"" + *name + "\" stands there twice");
  if (failed) refuse(read.place(), "byte " + std::to_string(used) + " of the JSON: " + failed.message());
  if (used != json.size()) refuse({}, "something stands behind the JSON, at byte " + std::to_string(used));
  auto value = read.release();
  if (!value.is_object()) refuse({}, "not an object");
  return {std::move(value.get_object()), read.inexact()};
}

}  // namespace stash::inline v1::detail
