#pragma once

#include <pwd.h>
#include <sys/types.h>

#include <string>

namespace stash::inline v1::detail {

inline constexpr uid_t root_user = 0;

/// What user_namespaces(7) shows for every user that has no number in the namespace of this process.
inline constexpr uid_t overflow_user = 65534;

/// The name that the user database has for `user`; empty: none, or it cannot tell.
inline std::string name_of(uid_t user) {
  std::string buffer(16384, '\0');
  passwd entry = {};
  passwd* found = nullptr;
  ::getpwuid_r(user, &entry, buffer.data(), buffer.size(), &found);  // null where it fails (POSIX)
  return found != nullptr && found->pw_name != nullptr ? found->pw_name : "";
}

/// "user 1000 (etl)", for a message.
inline std::string shown_user(uid_t user) {
  std::string const name = name_of(user);
  return "user " + std::to_string(user) + (name.empty() ? "" : " (" + name + ")");
}

/// The beginning of a command that root gives to do something as `user`: "sudo -u etl", or by number where there is no
/// name.
inline std::string as_user(uid_t user) {
  std::string const name = name_of(user);
  return "sudo -u " + (name.empty() ? "'#" + std::to_string(user) + "'" : name);
}

}  // namespace stash::inline v1::detail
