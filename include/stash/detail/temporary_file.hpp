#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <stash/detail/directory.hpp>
#include <stash/detail/file_name.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

/// A file that will take another's place: made under a name that was free, removed again unless renamed.
template <class Ops>
class temporary_file {
 public:
  temporary_file(Ops const& ops, directory<Ops> const& dir, key const& k, operation const& op)
      : ops_(ops), dir_(dir), name_(temporary_name(k, op.name, dir.random())), file_(ops, create()) {}
  temporary_file(temporary_file const&) = delete;
  temporary_file& operator=(temporary_file const&) = delete;
  ~temporary_file() {
    if (!renamed_) ops_.unlink(dir_.get(), name_.c_str());
  }

  /// Writes the parts one behind the other, and closes; synced before that where `durable`.
  void write(std::array<std::string_view, 3> parts, bool durable) {
    // The umask may have taken even our own permissions away.
    if (ops_.fchmod(file_.get(), 0600) != 0) dir_.fail("fchmod", name_);
    write_all(parts);
    // A sync that failed is not tried again: the kernel has marked the pages clean, and a second one lies. One that
    // a signal interrupted (FUSE) has not failed.
    if (durable && retried([&] { return ops_.fsync(file_.get()); }) != 0) {
      dir_.fail("fsync", name_);
    }
    if (file_.close() != 0) dir_.fail("close", name_);  // NFS tells here that the disk is full
  }

  void rename_to(std::string const& name) {
    if (retried([&] { return ops_.rename(dir_.get(), name_.c_str(), name.c_str()); }) != 0) {
      dir_.fail("rename", name);
    }
    keep();
  }

  std::string const& name() const noexcept { return name_; }
  /// It has another name now.
  void keep() noexcept { renamed_ = true; }

 private:
  int create() {
    int const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    int const fd = retried([&] { return ops_.open(dir_.get(), name_.c_str(), flags, 0600); });
    if (fd < 0) dir_.fail("create", name_);
    return fd;
  }

  void write_all(std::array<std::string_view, 3> left) {
    for (;;) {
      std::array<iovec, 3> parts;
      std::size_t total = 0;
      for (std::size_t i = 0; i < left.size(); ++i) {
        parts[i] = {const_cast<char*>(left[i].data()), left[i].size()};
        total += left[i].size();
      }
      if (total == 0) return;
      auto const written = retried([&] { return ops_.writev(file_.get(), parts.data(), 3); });
      if (written == 0) errno = EIO;
      if (written <= 0) dir_.fail("write", name_);
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
  std::string name_;
  bool renamed_ = false;
  descriptor<Ops> file_;
};

}  // namespace stash::inline v1::detail
