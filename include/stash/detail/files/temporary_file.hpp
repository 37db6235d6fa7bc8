#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <stash/detail/files/descriptor.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// A file that will take another's place. One that is to be durable has no name before it is whole and synced: that is
/// one change of the directory less for the disk, and a process that dies until then leaves nothing behind. Others, and
/// all where the file system has no such files, are made under a name that was free (see detail/record/file_names.hpp).
/// The destructor removes what was not renamed. What a killed process left behind, `recover` removes: see
/// detail/guard/sweep.hpp.
template <class Ops>
class temporary_file {
 public:
  temporary_file(Ops const& ops, directory<Ops> const& dir, key const& k, bool durable, operation const& op)
      : ops_(ops), dir_(dir), op_(op), key_(k), durable_(durable) {}
  temporary_file(temporary_file const&) = delete;
  temporary_file& operator=(temporary_file const&) = delete;
  ~temporary_file() {
    if (has_name_) ops_.unlink(dir_.get(), name_.c_str());
  }

  /// Writes the parts one behind the other. They are needed until it has its name.
  void write(std::array<std::string_view, 3> parts) {
    parts_ = parts;
    // Without a sync it is the close that tells of a full disk (NFS), and that must not come after the name.
    if (!durable_ || !open_unnamed()) create_named();
    write_all();
  }
  /// Lets the disk begin, where others are to be written before the first is synced: then they share its flush.
  void start_writeback() const noexcept {
    if (durable_) ops_.start_writeback(file_->get());
  }
  /// What was written is all there; synced where `durable`. Before it is given its name.
  void finish() {
    // A sync that failed is not tried again: the kernel has marked the pages clean, and a second one lies. One that
    // a signal interrupted (FUSE) has not failed.
    if (durable_ && retried([&] { return ops_.fsync(file_->get()); }) != 0) {
      fail("fsync", name_);
    }
    if (has_name_ && file_->close() != 0) fail("close", name_);  // NFS tells here that the disk is full
  }

  /// In place of what has that name.
  void rename_to(std::string const& name) {
    if (!has_name_ && link(name)) return;
    give_name();
    if (retried([&] { return ops_.rename(dir_.get(), name_.c_str(), name.c_str()); }) != 0) {
      fail("rename", name);
    }
    keep();
  }

  /// Puts it under `name()`, for a rename.
  void give_name() {
    if (has_name_) return;
    if (link(make_name())) {
      has_name_ = true;
    } else {  // no /proc, or a file system that does not link: then this tells what is wrong, if anything
      create_named();
      write_all();
      finish();
    }
  }
  std::string const& name() const noexcept { return name_; }
  /// It has another name now.
  void keep() noexcept { has_name_ = false; }

 private:
  /// Throws what `errno` says of `call` on what has that name, or none yet.
  [[noreturn]] void fail(std::string_view call, std::string const& name) const {
    int const failed = errno;
    op_.fail(failed, std::string(call) + (name.empty() ? " a new file in" : ""), dir_.path_of(name));
  }
  bool open_unnamed() {
    int const fd = retried([&] { return ops_.open_unnamed(dir_.get()); });
    if (fd >= 0) file_.emplace(ops_, fd);
    return fd >= 0;
  }
  /// Whether it has that name now. What was given the name is looked at: /proc may have told of other descriptors than
  /// this thread's, and then it is somebody else's file.
  bool link(std::string const& name) const {
    if (retried([&] { return ops_.link_unnamed(file_->get(), dir_.get(), name.c_str()); }) != 0) return false;
    struct stat ours, found;
    bool const is_ours = ops_.fstat(file_->get(), &ours) == 0 && ops_.lstat(dir_.get(), name.c_str(), &found) == 0 &&
                         std::pair(ours.st_dev, ours.st_ino) == std::pair(found.st_dev, found.st_ino);
    if (!is_ours && retried([&] { return ops_.unlink(dir_.get(), name.c_str()); }) != 0 && errno != ENOENT) {
      op_.fail(errc::indeterminate, dir_.path_of(name), "what was linked there may be another file");
    }
    return is_ours;
  }

  std::string const& make_name() { return name_ = detail::temporary_name(key_, op_.name, dir_.random()); }

  void create_named() {
    make_name();
    int const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    int const fd = retried([&] { return ops_.open(dir_.get(), name_.c_str(), flags, 0600); });
    if (fd < 0) fail("create", name_);
    has_name_ = true;
    file_.emplace(ops_, fd);
  }

  void write_all() const {
    // The umask may have taken even our own permissions away.
    if (ops_.fchmod(file_->get(), 0600) != 0) fail("fchmod", name_);
    for (auto left = parts_;;) {
      std::array<iovec, 3> parts;
      std::size_t total = 0;
      for (std::size_t i = 0; i < left.size(); ++i) {
        parts[i] = {const_cast<char*>(left[i].data()), left[i].size()};
        total += left[i].size();
      }
      if (total == 0) return;
      auto const written = retried([&] { return ops_.writev(file_->get(), parts.data(), 3); });
      if (written == 0) errno = EIO;
      if (written <= 0) fail("write", name_);
      auto done = static_cast<std::size_t>(written);
      for (auto& part : left) {
        auto const n = std::min(done, part.size());
        part.remove_prefix(n);
        done -= n;
      }
    }
  }

  Ops const& ops_;
  directory<Ops> const& dir_;
  operation op_;
  key const& key_;
  std::string name_;  // empty: none was needed yet
  bool durable_, has_name_ = false;
  std::array<std::string_view, 3> parts_{};
  std::optional<descriptor<Ops>> file_;
};

}  // namespace stash::inline v1::detail
