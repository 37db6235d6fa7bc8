#pragma once

#include <boost/system/errc.hpp>
#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/error_condition.hpp>
#include <string>

namespace stash::inline v1::ckan::detail {

/// The status codes of HTTP (RFC 9110, section 15).
class http_category_type final : public boost::system::error_category {
 public:
  constexpr http_category_type() noexcept : error_category(0x8d1f'6b27'53ac'e940ULL) {}
  char const* name() const noexcept override { return "http"; }
  std::string message(int code) const override { return "HTTP status " + std::to_string(code); }
  boost::system::error_condition default_error_condition(int code) const noexcept override {
    namespace os = boost::system::errc;
    if (code == 401 || code == 403) return os::make_error_condition(os::permission_denied);
    if (code == 404) return os::make_error_condition(os::no_such_file_or_directory);
    return error_category::default_error_condition(code);
  }
};

}  // namespace stash::inline v1::ckan::detail

namespace stash::inline v1::ckan {

/// The category of what a site answers. Thread safe; never destroyed.
inline boost::system::error_category const& http_category() noexcept {
  static constexpr detail::http_category_type instance;
  return instance;
}
/// The code of an answer: `problem.code() == stash::ckan::http_status(403)`, the token has not this right.
inline boost::system::error_code http_status(int status) noexcept { return {status, http_category()}; }

}  // namespace stash::inline v1::ckan
