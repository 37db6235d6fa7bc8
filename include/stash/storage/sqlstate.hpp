#pragma once

#include <boost/system/errc.hpp>
#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/error_condition.hpp>
#include <cstddef>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// SQLSTATEs (PostgreSQL's documentation, appendix A), each five digits of base 36 as a number.
class postgres_category_type final : public boost::system::error_category {
 public:
  constexpr postgres_category_type() noexcept : error_category(0x57a5'4c0d'e9b1'6e04ULL) {}
  char const* name() const noexcept override { return "postgresql"; }
  std::string message(int code) const override { return "SQLSTATE " + text_of(code); }
  boost::system::error_condition default_error_condition(int code) const noexcept override {
    namespace os = boost::system::errc;
    if (code == code_of("53100")) return os::make_error_condition(os::no_space_on_device);
    if (code == code_of("25006")) return os::make_error_condition(os::read_only_file_system);
    if (code == code_of("42501")) return os::make_error_condition(os::permission_denied);
    return error_category::default_error_condition(code);
  }

  static constexpr int code_of(std::string_view state) noexcept {
    int code = 0;
    for (char const c : state) code = code * 36 + (c <= '9' ? c - '0' : c - 'A' + 10);
    return code;
  }
  static std::string text_of(int code) {
    std::string state(5, '0');
    for (std::size_t i = 5; i-- > 0; code /= 36) {
      state[i] = static_cast<char>(code % 36 < 10 ? '0' + code % 36 : 'A' + code % 36 - 10);
    }
    return state;
  }
};

}  // namespace stash::inline v1::detail

namespace stash::inline v1 {

/// The category of SQLSTATEs. Thread safe; never destroyed. (What a server says is thrown in
/// detail/postgres/connection.hpp, while connecting in connecting.hpp.)
inline boost::system::error_category const& postgres_category() noexcept {
  static constexpr detail::postgres_category_type instance;
  return instance;
}
/// The code of what PostgreSQL calls `state`: `problem.code() == stash::sqlstate("53100")`, a full disk.
inline boost::system::error_code sqlstate(std::string_view state) noexcept {
  return {detail::postgres_category_type::code_of(state), postgres_category()};
}

}  // namespace stash::inline v1

namespace stash::inline v1::detail {

inline bool is_sqlstate(std::string_view text) noexcept {
  return text.size() == 5 && text.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == text.npos;
}

}  // namespace stash::inline v1::detail
