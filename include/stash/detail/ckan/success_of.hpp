#pragma once

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/string_view.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace stash::inline v1::ckan::detail {

/// Of an object, what stands under "success"; nothing is kept of the rest.
class success_reader {
 public:
  using error_code = boost::system::error_code;
  using view = boost::json::string_view;
  static constexpr std::size_t any = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_object_size = any, max_array_size = any, max_key_size = any, max_string_size = any;

  bool is_success() const noexcept { return is_success_; }

  bool on_document_begin(error_code&) noexcept { return true; }
  bool on_document_end(error_code&) noexcept { return true; }
  bool on_object_begin(error_code&) noexcept { return ++depth_, true; }
  bool on_object_end(std::size_t, error_code&) noexcept { return --depth_, true; }
  bool on_array_begin(error_code&) noexcept { return ++depth_, true; }
  bool on_array_end(std::size_t, error_code&) noexcept { return --depth_, true; }
  bool on_key_part(view s, std::size_t, error_code&) { return depth_ > 1 || (begin_.append(s.data(), s.size()), true); }
  bool on_key(view s, std::size_t, error_code&) {
    if (depth_ > 1) return true;
    name_ = begin_.append(s.data(), s.size());
    begin_.clear();
    return true;
  }
  bool on_string_part(view, std::size_t, error_code&) noexcept { return true; }
  bool on_string(view, std::size_t, error_code&) noexcept { return true; }
  bool on_number_part(view, error_code&) noexcept { return true; }
  bool on_int64(std::int64_t, view, error_code&) noexcept { return true; }
  bool on_uint64(std::uint64_t, view, error_code&) noexcept { return true; }
  bool on_double(double, view, error_code&) noexcept { return true; }
  bool on_bool(bool is, error_code&) noexcept {
    if (depth_ == 1 && name_ == "success") is_success_ = is;
    return true;
  }
  bool on_null(error_code&) noexcept { return true; }
  bool on_comment_part(view, error_code&) noexcept { return true; }
  bool on_comment(view, error_code&) noexcept { return true; }

 private:
  int depth_ = 0;
  std::string begin_, name_;
  bool is_success_ = false;
};

/// Whether it is a whole JSON object that says "success": true.
inline bool is_success(std::string_view json) {
  boost::json::basic_parser<success_reader> parser{boost::json::parse_options{}};
  boost::system::error_code failed;
  std::size_t const used = parser.write_some(false, json.data(), json.size(), failed);
  return !failed && used == json.size() && parser.handler().is_success();
}

}  // namespace stash::inline v1::ckan::detail
