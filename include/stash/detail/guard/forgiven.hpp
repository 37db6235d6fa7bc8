#pragma once

#include <boost/system/error_code.hpp>
#include <cerrno>
#include <exception>
#include <stash/error.hpp>

namespace stash::inline v1::detail {

/// Whether no lock can be made here at all, so that `best_effort` may go on without one.
inline bool no_lock_can_be_made(boost::system::error_code const& code) {
  namespace os = boost::system::errc;
  if (code == errc::unsafe_directory) return true;
  if (code.category() != boost::system::system_category()) return false;  // of a server: others may have the lock
  for (auto const one : {os::read_only_file_system, os::permission_denied, os::operation_not_permitted,
                         os::no_space_on_device, os::not_a_directory}) {
    if (code == one) return true;
  }
  return code == boost::system::error_code(EDQUOT, boost::system::system_category());
}

inline bool no_lock_can_be_made(std::exception_ptr const& problem) {
  try {
    std::rethrow_exception(problem);
  } catch (boost::system::system_error const& e) {
    return detail::no_lock_can_be_made(e.code());
  } catch (...) {
    return false;
  }
}

inline bool is_busy(std::exception_ptr const& problem) {
  try {
    std::rethrow_exception(problem);
  } catch (boost::system::system_error const& e) {
    return e.code() == errc::busy;
  } catch (...) {
    return false;
  }
}

}  // namespace stash::inline v1::detail
