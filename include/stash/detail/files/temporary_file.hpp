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

namespace stash::inline v1::detail {

/// A file that will take another's place, under a name that was free until then (see detail/record/file_names.hpp). The
/// destructor removes what was not renamed. What a killed process left behind, `recover` removes: see
/// detail/guard/sweep.hpp.
///
/// Not one without a name (O_TMPFILE) that is linked when it is synced, which is faster by some hundredths: fsync has
/// then written a file that nothing links to, and the sync of the directory writes its name alone. On ext4 without a
/// journal e2fsck takes that name away after a power cut: 10 of 40 saves were lost so that had been acknowledged.
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

  /// Writes the parts one behind the other.
  void write(std::array<std::string_view, 3> parts) {
    create();
    write_all(parts);
  }
  /// Lets the disk begin, where others are to be written before the first is synced: then they share its flush.
  void start_writeback() const noexcept {
    if (durable_) ops_.start_writeback(file_->get());
  }
  /// What was written is all there; synced where `durable`. Before it is renamed.
  void finish() {
    // A sync that failed is not tried again: the kernel has marked the pages clean, and a second one lies. One that
    // a signal interrupted (FUSE) has not failed.
    if (durable_ && retried([&] { return ops_.fsync(file_->get()); }) != 0) {
      fail("fsync", name_);
    }
    if (file_->close() != 0) fail("close", name_);  // NFS tells here that the disk is full
  }

  /// In place of what has that name.
  void rename_to(std::string const& name) {
    if (retried([&] { return ops_.rename(dir_.get(), name_.c_str(), name.c_str()); }) != 0) fail("rename", name);
    keep();
  }
  std::string const& name() const noexcept { return name_; }
  /// It has another name now.
  void keep() noexcept { has_name_ = false; }

 private:
  [[noreturn]] void fail(std::string_view call, std::string const& name) const {
    int const failed = errno;
    op_.fail(failed, call, dir_.path_of(name));
  }

  void create() {
    name_ = detail::temporary_name(key_, op_.name, dir_.random());
    int const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    int const fd = retried([&] { return ops_.open(dir_.get(), name_.c_str(), flags, 0600); });
    if (fd < 0) fail("create", name_);
    has_name_ = true;
    file_.emplace(ops_, fd);
  }

  void write_all(std::array<std::string_view, 3> left) const {
    // The umask may have taken even our own permissions away.
    if (ops_.fchmod(file_->get(), 0600) != 0) fail("fchmod", name_);
    for (;;) {
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
  std::string name_;
  bool durable_, has_name_ = false;
  std::optional<descriptor<Ops>> file_;
};

}  // namespace stash::inline v1::detail
