#pragma once

#include <atomic>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stash/detail/files/byte_locks.hpp>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/directory_lifetime.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// A key's lock: a byte of the directory's lock file. Movable; the destructor releases it. In a forked child
/// an inherited one is not held, and its destructor does nothing.
template <class Ops>
class file_lock {
 public:
  /// The byte that `name` stands for.
  static off_t byte_of(std::string_view name) noexcept { return static_cast<off_t>(xxh64::hash(name) >> 2); }

  /// The lock that `name` stands for in the directory `path`, which is made; nullopt: another has it. Throws
  /// whatever keeps it from telling. When it is released, what `made` counts of the directory is
  /// removed if it is unused.
  static std::optional<file_lock> try_take(Ops const& ops, boost::filesystem::path const& path, bool durable,
                                           std::string_view name, operation const& op,
                                           made_levels const& made = nullptr) {
    std::vector<file_lock> taken;
    off_t const byte = byte_of(name);
    try_take_all(ops, path, durable, {&byte, 1}, op, taken, made);
    if (taken.empty()) return std::nullopt;
    return std::move(taken.front());
  }

  /// As `try_take` for who only reads in `dir`: makes nothing. nullopt also where `failed` is not 0 then: nobody has a
  /// lock there, for there is no lock file (ENOENT), or nobody may write there (EROFS).
  static std::optional<file_lock> try_take_existing(Ops const& ops, directory<Ops> const& dir, std::string_view name,
                                                    int& failed, operation const& op) {
    off_t const byte = byte_of(name);
    for (int tries = 0; tries < 100; ++tries) {
      auto file = byte_locks<Ops>::open_existing(ops, dir, failed, op);
      if (!file || file->lock({&byte, 1}, op) == 0) return std::nullopt;
      if (file->stands()) return file_lock{std::move(file), byte};
    }
    op.fail(ESTALE, "lock", dir.path_of(lock_file_name));
  }

  /// Takes these in their order, until another has one, and appends them to `taken`: the last of which, in the same
  /// directory, they share a descriptor with, unless they are many.
  static void try_take_all(Ops const& ops, boost::filesystem::path const& path, bool durable,
                           std::span<off_t const> bytes, operation const& op, std::vector<file_lock>& taken,
                           made_levels const& made = nullptr) {
    taken.reserve(taken.size() + bytes.size());
    bool const joins = !taken.empty() && bytes.size() < byte_locks<Ops>::many && taken.back().file_->stands();
    auto file = joins ? taken.back().file_ : byte_locks<Ops>::open(ops, path, durable, op, made);
    for (int tries = 0; tries < 100; ++tries) {
      std::size_t const count = file->lock(bytes, op);
      if (count == 0) return;
      if (file->stands()) {
        for (std::size_t i = 0; i < count; ++i) taken.push_back(file_lock{file, bytes[i]});
        return;
      }
      // It was deleted just now, and others lock another file. First it goes, for it may take the directory along.
      file.reset();
      file = byte_locks<Ops>::open(ops, path, durable, op, made);
    }
    op.fail(ESTALE, "lock", (path / lock_file_name).native());
  }

  /// Releases all at once, which is cheaper than one after the other, unless others share a descriptor with them.
  static void release_all(std::vector<file_lock>& all) noexcept {
    for (auto& one : all) one.file_.reset();
    all.clear();
  }

  file_lock(file_lock&& other) noexcept = default;
  file_lock& operator=(file_lock&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(byte_, other.byte_);
    return *this;
  }
  ~file_lock() {
    if (file_ && is_shared() && !file_->is_inherited()) file_->unlock(byte_);  // else the file releases it
  }

  /// Whether others who come now would meet this lock: false where the lock file was deleted, or the directory
  /// replaced, or where that cannot be seen. Of many that share a descriptor it is not asked whether the kernel has
  /// forgotten one, for that costs as much time as there are locks.
  bool held() const noexcept {
    return file_ && file_->stands() && (file_.use_count() >= few || file_->lock_again(byte_));
  }

 private:
  static constexpr long few = 16;

  file_lock(std::shared_ptr<byte_locks<Ops>> file, off_t byte) noexcept : file_(std::move(file)), byte_(byte) {}

  bool is_shared() const noexcept { return file_.use_count() > 1; }

  std::shared_ptr<byte_locks<Ops>> file_;
  off_t byte_;
};

}  // namespace stash::inline v1::detail
