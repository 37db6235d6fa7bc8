#pragma once

#include <pwd.h>
#include <sys/types.h>
#include <unistd.h>

#include <boost/filesystem/path.hpp>
#include <boost/system/errc.hpp>
#include <cstdlib>
#include <stash/error.hpp>
#include <string>

namespace stash::inline v1 {

/// Where a file stash keeps its records unless it is told: the first of
///
/// - `$STASH_DIR`
/// - `$STATE_DIRECTORY`, which systemd sets for a service; of several the first
/// - `$XDG_STATE_HOME/stash`
/// - `.local/state/stash` under `$HOME`, or under the home that the user database has
///
/// A variable that is empty counts as unset, and so does a relative one of the last two (XDG Base Directory
/// Specification). So do all in a program that runs with more rights than whoever started it (setuid): the environment
/// is that user's. Never the temporary directory: many machines empty it at boot. Touches nothing. Throws ENOENT where
/// there is none of these. Not to be called while another thread changes the environment.
inline boost::filesystem::path default_directory() {
  auto const variable = [](char const* name) {
    char const* const value = ::secure_getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (auto given = variable("STASH_DIR"); !given.empty()) return given;
  if (auto const state = variable("STATE_DIRECTORY"); !state.empty() && state.front() != ':') {
    return state.substr(0, state.find(':'));
  }
  if (auto const xdg = variable("XDG_STATE_HOME"); xdg.starts_with('/')) return boost::filesystem::path(xdg) / "stash";
  auto home = variable("HOME");
  if (!home.starts_with('/')) {
    std::string buffer(16384, '\0');
    passwd entry = {};
    passwd* found = nullptr;
    ::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found);  // null where it fails (POSIX)
    home = found != nullptr && found->pw_dir != nullptr ? found->pw_dir : "";
  }
  if (home.starts_with('/')) return boost::filesystem::path(home) / ".local/state/stash";
  throw error{boost::system::errc::make_error_code(boost::system::errc::no_such_file_or_directory),
              "default_directory",
              {},
              "this user has no home; set STASH_DIR"};
}

}  // namespace stash::inline v1
