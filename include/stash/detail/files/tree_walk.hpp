#pragma once

#include <cerrno>
#include <cstddef>
#include <exception>
#include <stash/detail/files/descriptor.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/error.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// A directory in a tree, open, with its path for messages.
template <class Ops>
class tree_node {
 public:
  /// Throws the system's error; `is_there()` is false where nothing has this name any more.
  tree_node(Ops const& ops, int directory, std::string const& name, std::string path, operation const& op)
      : ops_(ops), path_(std::move(path)), op_(op), fd_(ops, open(directory, name)) {}

  bool is_there() const noexcept { return fd_.get() >= 0; }
  int get() const noexcept { return fd_.get(); }
  std::string path_of(std::string const& name) const { return path_ + '/' + name; }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    if (ops_.list(get(), all) != 0) op_.fail(errno, "list", path_);
    std::erase_if(all, [](std::string const& name) { return name == "." || name == ".."; });
    return all;
  }

 private:
  int open(int directory, std::string const& name) const {
    int const fd = retried([&] { return ops_.open(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW); });
    if (fd < 0 && errno != ENOENT) op_.fail(errno, "open", path_);
    return fd;
  }

  Ops const& ops_;
  std::string path_;
  operation op_;
  descriptor<Ops> fd_;
};

/// Makes trees durable, with all that is in them: files, then the directories that they are in. Not a tree's own name,
/// which is its directory's. Follows no link. Throws the system's error.
template <class Ops>
class tree_syncer {
 public:
  tree_syncer(Ops const& ops, operation const& op) : ops_(ops), op_(op) {}

  void sync(int directory, std::string const& name, std::string const& path) {
    struct stat s;
    if (retried([&] { return ops_.lstat(directory, name.c_str(), &s); }) != 0) {
      if (errno != ENOENT) op_.fail(errno, "lstat", path);
    } else if (S_ISDIR(s.st_mode)) {
      tree_node<Ops> const node{ops_, directory, name, path, op_};
      if (!node.is_there()) return;
      for (auto const& child : node.names()) sync(node.get(), child, node.path_of(child));
      finish();
      sync(node.get(), path);
    } else if (S_ISREG(s.st_mode)) {  // all that a link, a socket or a device has is its name
      begin(directory, name, path);
    }
  }
  /// To be called in the end.
  void finish() {
    for (auto const& [file, path] : begun_) sync(file.get(), path);
    begun_.clear();
  }

 private:
  static constexpr std::size_t most_at_once = 64;

  /// So that the disk is at work on many files when the first of them is waited for: half the time.
  void begin(int directory, std::string const& name, std::string const& path) {
    int const fd = retried([&] { return ops_.open(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK); });
    if (fd < 0 && errno == ENOENT) return;  // whoever builds has removed it again
    if (fd < 0) op_.fail(errno, "open", path);
    descriptor<Ops> file{ops_, fd};
    ops_.start_writeback(fd);
    begun_.emplace_back(std::move(file), path);
    if (begun_.size() == most_at_once) finish();
  }
  void sync(int fd, std::string const& path) const {
    if (retried([&] { return ops_.fsync(fd); }) != 0) op_.fail(errno, "fsync", path);
  }

  Ops const& ops_;
  operation op_;
  std::vector<std::pair<descriptor<Ops>, std::string>> begun_;
};

/// Removes trees, of any depth with four descriptors: a directory is moved to the top of its tree before it is opened.
/// So nothing is removed of a file system that is mounted somewhere in it, for a mount point cannot be moved (EBUSY).
template <class Ops>
class tree_remover {
 public:
  tree_remover(Ops const& ops, operation const& op) : ops_(ops), op_(op) {}

  /// What is there under this name; nothing: does nothing. What cannot be removed stays, and the rest goes all the
  /// same.
  void remove(int directory, std::string const& name, std::string const& path) {
    if (is_gone(ops_.rmdir(directory, name.c_str()))) return;               // an empty one
    if (errno == EBUSY) return keep_error(directory, name, "rmdir", path);  // a mount point: what is in it is not ours
    if (!is_directory(directory, name)) {
      if (!is_removed(directory, name)) keep_error(directory, name, "unlink", path);
      return;
    }
    for (int passes = 0; passes < most_passes; ++passes) {
      attempt([&] { empty(directory, name, path); });
      if (first_ || is_gone(ops_.rmdir(directory, name.c_str()))) return;
      if (errno != ENOTEMPTY) break;  // else another that removes it has moved something to its top since
    }
    keep_error(directory, name, "rmdir", path);
  }

  /// Throws the first error.
  void finish() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  static bool is_gone(int result) noexcept { return result == 0 || errno == ENOENT; }
  bool is_removed(int directory, std::string const& name) const {
    return is_gone(retried([&] { return ops_.unlink(directory, name.c_str()); }));
  }
  bool is_directory(int directory, std::string const& name) const {
    int const failed = errno;  // EISDIR, or EPERM (POSIX), or what kept it from removing something else
    struct stat s;
    bool const result = ops_.lstat(directory, name.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
    errno = failed;
    return result;
  }

  void empty(int directory, std::string const& name, std::string const& path) {
    tree_node<Ops> const top{ops_, directory, name, path, op_};
    if (!top.is_there()) return;
    static_cast<void>(ops_.fchmod(top.get(), 0700));  // its owner may have been kept from writing to it
    moved_ = ".stash-moved-" + detail::hex16(detail::random_number(ops_, op_, path)) + '-';
    for (bool is_changed = true; is_changed;) {
      is_changed = false;
      for (auto const& one : top.names()) {
        if (is_removed(top.get(), one)) continue;
        if (!is_directory(top.get(), one)) {
          keep_error(top, one, "unlink");
        } else if (auto const now = one.starts_with(moved_) ? one : move_to_top(top, one, top); !now.empty()) {
          attempt([&] { is_changed |= flatten(top, now); });
          if (!is_gone(ops_.rmdir(top.get(), now.c_str()))) keep_error(top, now, "rmdir");
        }
      }
    }
  }
  /// Removes the files in a directory, and moves the directories in it to the top; whether there were some.
  bool flatten(tree_node<Ops> const& top, std::string const& name) {
    tree_node<Ops> const node{ops_, top.get(), name, top.path_of(name), op_};
    if (!node.is_there()) return false;
    static_cast<void>(ops_.fchmod(node.get(), 0700));
    bool is_changed = false;
    for (auto const& one : node.names()) {
      if (is_removed(node.get(), one)) continue;
      if (is_directory(node.get(), one)) {
        is_changed |= !move_to_top(node, one, top).empty();
      } else {
        keep_error(node, one, "unlink");
      }
    }
    return is_changed;
  }
  /// The name that it has there; empty: it could not be moved.
  std::string move_to_top(tree_node<Ops> const& from, std::string const& name, tree_node<Ops> const& top) {
    std::string fresh = moved_ + std::to_string(++count_);
    auto const move = [&] { return ops_.rename(from.get(), name.c_str(), top.get(), fresh.c_str()); };
    int result = move();
    if (result != 0 && errno == EACCES) {  // whoever moves a directory elsewhere writes to it, for its ".."
      attempt([&] {
        tree_node<Ops> const itself{ops_, from.get(), name, from.path_of(name), op_};
        if (itself.is_there()) static_cast<void>(ops_.fchmod(itself.get(), 0700));
      });
      result = move();
    }
    if (result == 0) return fresh;
    keep_error(from, name, "rename");
    return {};
  }

  template <class F>
  void attempt(F f) {
    try {
      f();
    } catch (error const&) {
      if (!first_) first_ = std::current_exception();
    }
  }
  /// Unless nothing has this name any more: somebody else removes it, too.
  void keep_error(int directory, std::string const& name, char const* call, std::string const& path) {
    int const failed = errno;
    struct stat s;
    if (retried([&] { return ops_.lstat(directory, name.c_str(), &s); }) != 0 && errno == ENOENT) return;
    attempt([&] { op_.fail(failed, call, path); });
  }
  void keep_error(tree_node<Ops> const& in, std::string const& name, char const* call) {
    keep_error(in.get(), name, call, in.path_of(name));
  }

  static constexpr int most_passes = 100;

  Ops const& ops_;
  operation op_;
  std::exception_ptr first_;
  std::string moved_;  // what begins so was moved to the top, and is no mount point
  unsigned long long count_ = 0;
};

}  // namespace stash::inline v1::detail
