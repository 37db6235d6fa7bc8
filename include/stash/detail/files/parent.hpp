#pragma once

#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <optional>
#include <stash/detail/files/descriptor.hpp>
#include <stash/detail/files/owner.hpp>
#include <stash/detail/operation.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <vector>

namespace stash::inline v1::detail {

/// The directory that somebody's file or directory is in, open. It is theirs: nothing is asked of it but what the
/// system asks of anybody who renames something in it.
template <class Ops>
class parent {
 public:
  /// nullopt: there is none.
  static std::optional<parent> find(Ops const& ops, boost::filesystem::path const& path, operation const& op) {
    int const fd = retried([&] { return ops.open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY); });
    if (fd >= 0) return parent{ops, fd, path, op};
    if (errno != ENOENT) op.fail(errno, "open", path.native());
    return std::nullopt;
  }
  static parent open(Ops const& ops, boost::filesystem::path const& path, operation const& op) {
    auto found = find(ops, path, op);
    if (!found) op.fail(ENOENT, "open", path.native());
    return std::move(*found);
  }

  int get() const noexcept { return fd_.get(); }
  std::string path_of(std::string const& name) const { return (path_ / name).native(); }

  /// Of the link itself where it is one; nullopt: nothing has this name.
  std::optional<struct stat> look(std::string const& name) const {
    struct stat s;
    if (retried([&] { return ops_->lstat(get(), name.c_str(), &s); }) == 0) return s;
    bool const is_in_no_directory = errno == ENOTDIR && name.find('/') != name.npos;  // of a name that is in another
    if (errno != ENOENT && !is_in_no_directory) fail("lstat", name);
    return std::nullopt;
  }
  /// Whether somebody may have made it here who may not move what is ours: in a sticky directory, as /tmp is.
  bool may_be_a_strangers(struct stat const& s) const {
    struct stat here;
    if (ops_->fstat(get(), &here) != 0) op_.fail(errno, "fstat", path_.native());
    bool const is_anybodys = (here.st_mode & S_ISVTX) != 0 && (here.st_mode & 022) != 0;
    return is_anybodys && s.st_uid != ops_->user() && s.st_uid != root_user && s.st_uid != here.st_uid;
  }
  bool has(std::string const& name) const { return look(name).has_value(); }

  /// Never onto anything. (Where the system has no such call it looks first: what somebody else makes in between, a
  /// file would replace.)
  void move(std::string const& from, std::string const& to) const {
    int moved = retried([&] { return ops_->rename_noreplace(get(), from.c_str(), to.c_str()); });
    if (moved != 0 && (errno == ENOSYS || errno == EINVAL)) {
      if (has(to)) op_.fail(EEXIST, "rename to", path_of(to));
      moved = retried([&] { return ops_->rename(get(), from.c_str(), to.c_str()); });
    }
    if (moved != 0) fail("rename", from);
  }
  /// For good. false: nobody knows which of the names the disk has.
  bool move_back(std::string const& from, std::string const& to) const noexcept {
    try {
      move(from, to);
      sync();
      return true;
    } catch (...) {
      return false;
    }
  }

  /// The names in it. Throws where nobody knows which of them the disk has.
  void sync() const {
    if (retried([&] { return ops_->fsync(get()); }) != 0) op_.fail(errno, "fsync", path_.native());
  }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    if (ops_->list(get(), result) != 0) op_.fail(errno, "list", path_.native());
    return result;
  }

 private:
  parent(Ops const& ops, int fd, boost::filesystem::path const& path, operation const& op)
      : ops_(&ops), fd_(ops, fd), path_(path), op_(op) {}
  [[noreturn]] void fail(char const* call, std::string const& name) const {
    int const failed = errno;
    op_.fail(failed, call, path_of(name));
  }

  Ops const* ops_;
  descriptor<Ops> fd_;
  boost::filesystem::path path_;
  operation op_;
};

}  // namespace stash::inline v1::detail
