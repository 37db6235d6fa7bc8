#pragma once

#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace stash::inline v1::testing {

/// The negative twin of every storage: each member throws EIO. No check passes on it; and a job's own tests can see
/// with it what the job does where nothing can be stashed.
struct failing_storage {
  /// The lock of a key, of which none is ever taken.
  struct lock_type {
    /// @{
    /// Because a lock is movable.
    lock_type(lock_type&&) = default;
    lock_type& operator=(lock_type&&) = default;
    /// @}
    ~lock_type() {}  // of its own: compilers say of the library's locks that they are not used
    /// Throws EIO.
    bool held() const { fail("held"); }
  };
  /// @{
  /// Throws EIO.
  void put(key const& k, record const&) { fail("put", k.str()); }
  std::optional<record> get(key const& k) const { fail("get", k.str()); }
  bool erase(key const& k) { fail("erase", k.str()); }
  std::vector<entry> entries() const { fail("entries"); }
  std::string set_aside(key const& k, std::string_view) { fail("set_aside", k.str()); }
  std::vector<entry> set_aside_entries() const { fail("set_aside_entries"); }
  std::size_t purge(std::chrono::microseconds) { fail("purge"); }
  std::optional<lock_type> try_lock(key const& k) { fail("try_lock", k.str()); }
  bool exists() const { fail("exists"); }
  std::vector<key> temporaries() const { fail("temporaries"); }
  void sweep(key const& k) { fail("sweep", k.str()); }
  void check(key const& k, record const&) const { fail("put", k.str()); }
  std::string where(key const& k) const { fail("where", k.str()); }
  /// @}

 private:
  [[noreturn]] static void fail(std::string_view operation, std::string_view k = {}) {
    throw error{{EIO, boost::system::system_category()}, std::string(operation), std::string(k), "it always fails"};
  }
};

}  // namespace stash::inline v1::testing
