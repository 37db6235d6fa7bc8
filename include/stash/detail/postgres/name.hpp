#pragma once

#include <boost/system/error_code.hpp>
#include <cerrno>
#include <cstddef>
#include <stash/detail/text/utf8.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// Throws EINVAL where PostgreSQL would refuse `name` as an identifier, or cut it: two names would be one table then,
/// or one name two locks. `what` is for the message.
inline void check_postgres_name(std::string_view operation, std::string_view what, std::string_view name) {
  constexpr std::size_t longest = 63;  // NAMEDATALEN - 1
  auto const refuse = [&](std::string_view why) {
    throw error{{EINVAL, boost::system::system_category()},
                std::string(operation),
                std::string(name),
                std::string("the name of the ").append(what).append(" ").append(why)};
  };
  if (name.empty()) refuse("is empty");
  if (name.size() > longest) refuse("has more than 63 bytes, where PostgreSQL would cut it");
  if (name.find('\0') != name.npos) refuse("has a NUL byte");
  if (!detail::is_utf8(name)) refuse("is not UTF-8");
}

}  // namespace stash::inline v1::detail
