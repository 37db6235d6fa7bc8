#pragma once

#include <boost/system/error_code.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <span>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/read_file.hpp>
#include <stash/detail/files/temporary_file.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <string>

namespace stash::inline v1::detail {

/// From one name to another, in one directory.
struct file_move {
  std::string from, to;
  bool was_there = false;  ///< what `file_mover` found
};

/// Moves and removes files of a stash directory, for good where that is to be `durable`. What it is made with must
/// outlive it.
template <class Ops>
class file_mover {
 public:
  file_mover(Ops const& ops, directory<Ops> const& dir, bool durable, operation const& op)
      : ops_(ops), dir_(dir), op_(op), durable_(durable) {}

  /// A failed sync of a directory says nothing about which names the disk has.
  void make_durable() const {
    if (durable_ && dir_.sync() != 0) indeterminate("fsync", dir_.path(), errno);
  }

  /// A durable copy under a new name; false: what stands there is no regular file, and has no bytes. Syncing the file
  /// itself would not do: where a sync of it has failed before, another would lie.
  bool copy(std::string const& from, std::string const& to, key const& k) const {
    std::optional<std::string> bytes;
    try {
      bytes = detail::read_file(ops_, dir_, from, std::numeric_limits<std::uint64_t>::max(), op_);
    } catch (error const& problem) {
      if (problem.code() != errc::corrupt) throw;
      return false;
    }
    if (!bytes) op_.fail(ENOENT, "open", dir_.path_of(from));
    temporary_file<Ops> file{ops_, dir_, k, true, op_};
    file.write({*bytes, {}, {}});
    file.finish();
    if (!move_without_replacing(file.name(), to)) op_.fail(ENOENT, "rename", dir_.path_of(file.name()));
    file.keep();
    make_durable();
    return true;
  }

  /// The move of a record to a name that a sweep removes, which `remove` starts with.
  file_move doomed(key const& k) const {
    return {detail::record_name(k, op_.name), detail::temporary_name(k, op_.name, dir_.random())};
  }

  /// Removes durably those that are there. Throws the first error; what could be removed is removed all the same.
  void remove(std::span<file_move> all) const {
    move_away(all);
    std::exception_ptr first;
    for (file_move const& one : all) {
      if (!one.was_there || unlink(one.to) == 0 || errno == ENOENT) continue;  // ENOENT: a cleaner was faster
      attempt(first, [&, failed = errno] {
        bool const is_back = move_back(one.to, one.from) && (!durable_ || dir_.sync() == 0);
        if (!is_back) indeterminate("unlink", dir_.path_of(one.to), failed);
        op_.fail(failed, "unlink", dir_.path_of(one.to));
      });
    }
    if (first) std::rethrow_exception(first);
  }

  /// Moves durably those that are there, never onto anything; none if it throws.
  void move_away(std::span<file_move> all) const {
    try {
      for (auto& one : all) one.was_there = move_without_replacing(one.from, one.to);
      make_durable();
    } catch (...) {
      // The failed sync has marked the change clean. Left as it is, the next caller would find no record, its sync
      // would succeed falsely, and it would report a durable removal.
      for (auto const& one : all) {
        if (one.was_there) move_back(one.to, one.from);
      }
      throw;
    }
  }

  /// Removes those whose name `matches`; how many that were. Throws the first error; what could be removed is removed.
  template <class Matches>
  std::size_t remove_all(Matches matches) const {
    std::size_t removed = 0;
    std::exception_ptr first;
    for (auto const& name : dir_.names()) {
      if (!matches(name)) continue;
      attempt(first, [&] {
        if (unlink(name) == 0) {
          ++removed;
        } else if (errno != ENOENT) {
          dir_.fail("unlink", name);
        }
      });
    }
    if (removed > 0) attempt(first, [&] { make_durable(); });
    if (first) std::rethrow_exception(first);
    return removed;
  }

 private:
  [[noreturn]] void indeterminate(char const* call, std::string const& path, int error) const {
    std::string const cause = boost::system::error_code(error, boost::system::system_category()).message();
    op_.fail(errc::indeterminate, std::string(call) + " " + path, cause);
  }

  bool move_back(std::string const& from, std::string const& to) const {
    try {
      return move_without_replacing(from, to);
    } catch (...) {  // the first error is the one to report
      return false;
    }
  }

  bool move_without_replacing(std::string const& from, std::string const& to) const {
    int const moved = retried([&] { return ops_.rename_noreplace(dir_.get(), from.c_str(), to.c_str()); });
    if (moved == 0) return true;
    if (errno == ENOENT) return false;
    if (errno != ENOSYS && errno != EINVAL) dir_.fail("rename", from);
    // In two steps; dying between them leaves both names, which loses nothing.
    if (retried([&] { return ops_.link(dir_.get(), from.c_str(), to.c_str()); }) != 0) {
      if (errno == ENOENT) return false;
      dir_.fail("link", from);
    }
    if (unlink(from) != 0) dir_.fail("unlink", from);
    return true;
  }

  int unlink(std::string const& name) const {
    return retried([&] { return ops_.unlink(dir_.get(), name.c_str()); });
  }

  template <class F>
  static void attempt(std::exception_ptr& first, F f) {
    try {
      f();
    } catch (error const&) {
      if (!first) first = std::current_exception();
    }
  }

  Ops const& ops_;
  directory<Ops> const& dir_;
  operation const& op_;
  bool durable_;
};

}  // namespace stash::inline v1::detail
