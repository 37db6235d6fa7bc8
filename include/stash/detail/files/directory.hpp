#pragma once

#include <algorithm>
#include <boost/filesystem/path.hpp>
#include <boost/system/error_code.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stash/detail/files/absolute.hpp>
#include <stash/detail/files/descriptor.hpp>
#include <stash/detail/files/owner.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// What a directory is opened for.
enum class access {
  read_file,  ///< as `read`, but only by the names of files: it is not listed
  read,       ///< root may then look at what is another user's
  write
};

/// A stash directory, open: ours alone, and not reached through a link in its last component but for one that only root
/// can have made. It looks at the path and the operation that it was given.
template <class Ops>
class directory {
 public:
  /// nullopt: there is none. Throws `errc::unsafe_directory` or the operating system's error.
  static std::optional<directory> open(Ops const& ops, boost::filesystem::path const& path, operation const& op,
                                       access wanted = access::write) {
    std::vector<boost::filesystem::path> links;
    int const flags = (wanted == access::read_file ? O_PATH : O_RDONLY) | O_DIRECTORY | O_NOFOLLOW;  // O_PATH is faster
    for (;;) {
      auto const& place = links.empty() ? path : links.back();
      int const fd = retried([&] { return ops.open(AT_FDCWD, place.c_str(), flags); });
      if (fd >= 0) {
        directory opened{ops, fd, path, std::move(links), op};
        opened.check(wanted);
        return opened;
      }
      int const failed = errno;
      if (failed == ENOENT && links.empty()) return std::nullopt;
      if (failed == ENOENT) {  // an error, not absence: what it leads to may not be mounted
        op.fail(errc::unsafe_directory, path.native(), "a symbolic link to " + place.native() + ", which is not there");
      }
      auto target = failed == ENOTDIR || failed == ELOOP ? target_of_link(ops, place, op) : std::nullopt;
      if (!target) op.fail(failed, "open", place.native());
      constexpr std::size_t most_links = 40;  // as for Linux itself
      if (links.size() == most_links) op.fail(ELOOP, "open", path.native());
      links.push_back(std::move(*target));
    }
  }
  static void open(Ops const&, boost::filesystem::path&&, operation const&, access = access::write) = delete;  // gone

  /// As `open`; where it `must_exist` and does not, throws ENOENT.
  static std::optional<directory> find(Ops const& ops, boost::filesystem::path const& path, operation const& op,
                                       access wanted, bool must_exist) {
    auto found = open(ops, path, op, wanted);
    if (!found && must_exist) op.fail(ENOENT, "open", path.native());
    return found;
  }

  int get() const noexcept { return fd_.get(); }
  /// The path, and where each link led, if it is one.
  std::vector<boost::filesystem::path> way() const {
    std::vector<boost::filesystem::path> all{*path_};
    for (auto const& link : links_) all.push_back(link);
    return all;
  }
  /// Whose it is, and its files must be: we, or another where root only reads.
  uid_t user() const noexcept { return user_; }
  std::string const& path() const noexcept { return path_->native(); }
  std::string path_of(std::string_view name) const { return (*path_ / std::string(name)).native(); }

  /// Throws what `errno` says of `call` on `name`.
  [[noreturn]] void fail(std::string_view call, std::string_view name = {}) const {
    int const failed = errno;
    op_.fail(failed, call, name.empty() ? path_->native() : path_of(name));
  }

  /// -1 and `errno`: nobody knows which of the changes in it are durable.
  int sync() const noexcept {
    return retried([&] { return ops_->fsync(get()); });
  }

  std::vector<std::string> names() const {
    std::vector<std::string> result;
    if (ops_->list(get(), result) != 0) fail("list");
    return result;
  }

  /// The most bytes that a name in it may have: 255, or less (143 where eCryptfs encrypts names).
  std::size_t name_max() const {
    constexpr long most = 255;
    long const told = ops_->name_max(get());
    return static_cast<std::size_t>(told > 0 ? std::min(told, most) : most);
  }
  /// Throws `errc::invalid_key` where the record of `k` could be written, but not set aside.
  void check_name(key const& k) const {
    auto const needed = detail::encoded(k, op_.name).size() + longest_behind_key;
    constexpr std::size_t nowhere_too_long = 143;  // eCryptfs allows least; to ask takes 30 µs on XFS (statfs)
    if (needed <= nowhere_too_long || needed <= name_max()) return;
    throw error{errc::invalid_key, std::string(op_.name), k.string(),
                "a file name of it may have " + std::to_string(needed) + " bytes; in " + path_->native() + " " +
                    std::to_string(name_max()) + " are allowed"};
  }

  std::uint64_t random() const { return detail::random_number(*ops_, op_, path_->native()); }

 private:
  directory(Ops const& ops, int fd, boost::filesystem::path const& path, std::vector<boost::filesystem::path> links,
            operation const& op)
      : ops_(&ops), fd_(ops, fd), path_(&path), links_(std::move(links)), op_(op) {}

  /// Where the link at `path` leads; nullopt: it is none, or cannot be looked at. Throws `errc::unsafe_directory`
  /// unless only root can have made it: it is root's, in a directory of root's to which nobody else may write.
  static std::optional<boost::filesystem::path> target_of_link(Ops const& ops, boost::filesystem::path const& path,
                                                               operation const& op) {
    auto const parent = path.parent_path();
    auto const name = path.filename();
    // O_PATH: also where one may not list.
    int const fd = retried([&] { return ops.open(AT_FDCWD, parent.c_str(), O_PATH | O_DIRECTORY); });
    if (fd < 0) return std::nullopt;
    descriptor<Ops> const above{ops, fd};  // nobody but root can exchange the link in it from here on
    struct stat in, link;
    if (ops.fstat(fd, &in) != 0 || ops.lstat(fd, name.c_str(), &link) != 0 || !S_ISLNK(link.st_mode)) {
      return std::nullopt;
    }
    bool const is_roots = link.st_uid == root_user && in.st_uid == root_user && (in.st_mode & 022) == 0;
    if (!is_roots) {
      op.fail(errc::unsafe_directory, path.native(),
              "a symbolic link that others than root could have made; name the directory that it leads to");
    }
    std::string target(static_cast<std::size_t>(link.st_size) + 1, '\0');
    auto const size = ops.read_link(fd, name.c_str(), target.data(), target.size());
    if (size <= 0) return std::nullopt;
    target.resize(static_cast<std::size_t>(size));
    return detail::without_dots_behind(target.front() == '/' ? boost::filesystem::path(target) : parent / target);
  }

  /// Throws unless it is ours, and nobody else may write to it.
  void check(access wanted) {
    struct stat s;
    if (ops_->fstat(get(), &s) != 0) fail("fstat");
    user_ = s.st_uid;
    uid_t const us = ops_->user();
    if (us == root_user && s.st_uid == us && !links_.empty()) {  // root follows one only to look at what is another's
      op_.fail(errc::unsafe_directory, path_->native(), "a symbolic link; name the directory that it leads to");
    }
    bool const is_writable = (s.st_mode & 022) != 0;
    bool const is_ours = s.st_uid == us && (us != overflow_user || is_proved_ours());
    bool const may_look = wanted != access::write && us == root_user;
    if (!is_ours && !may_look) {
      std::string why = "owned by " + shown_user(s.st_uid) + ", not by us, " + shown_user(us);
      if (is_writable) {  // the root of a volume, which cannot be made ours
        why += "; a directory below it will do: " + (*path_ / "stash").native();
      } else if (us == root_user) {
        why += "; to change something in it: " + as_user(s.st_uid);
      }
      op_.fail(errc::unsafe_directory, path_->native(), why);
    }
    if (is_writable) {
      bool const is_shared = (s.st_mode & S_ISVTX) != 0;  // as /tmp is, on purpose
      op_.fail(errc::unsafe_directory, path_->native(),
               std::string("others may write to it; ") +
                   (is_shared ? "a directory below it will do"
                              : "chmod 700 would do, or a directory below it, which others may still rename"));
    }
  }

  /// All users without a number in our user namespace look the same, and so do we where we are one of them.
  bool is_proved_ours() const {
    int const proved = retried([&] { return ops_->require_owner(get()); });
    if (proved < 0 && errno != EPERM) fail("open");
    return proved == 0;
  }

  Ops const* ops_;
  descriptor<Ops> fd_;
  uid_t user_ = 0;
  boost::filesystem::path const* path_;
  std::vector<boost::filesystem::path> links_;  // where each led
  operation op_;
};

}  // namespace stash::inline v1::detail
