#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace support {

/// A file system in memory that keeps apart what a process sees (the cache) and what the medium may have, and lists
/// every state that a power cut may leave. Of what journals and disks do beyond POSIX it promises nothing:
///
/// - Of the changes of names in a directory since its last sync, any subset survives, in any order. A rename is one
///   change. A directory's own name is its parent's business.
/// - Of the bytes of a file since its last sync: any length from the old one (none, if it was truncated) up to the new
///   one, in whole blocks or one byte short; of each block that was there the new bytes or the old ones, and of each
///   new block these, zeros, or stale ones: those of the file that was freed last.
/// - A file that had no name when it was synced: the disk knows of no link to it. Names that it was given since may be
///   there or not, for a check of the file system takes away those of a file without links (ext4 without a journal).
/// - A sync that fails has written any part of that, and marks all of it as clean: a later sync says yes and does
///   nothing for it, also where it has other blocks of the file to write.
///
/// A value: copies are independent. Not modelled: permissions, owners, time, space, more than one process at once
/// (fleet.hpp adds that), a rename of which one half survives, and a file system that turns read-only after an error.
class model_file_system {
 public:
  static constexpr int root = 0;
  static constexpr std::size_t block = 64;
  static constexpr int nothing = -1;  // the inode of a name that is not there

  using names = std::map<std::string, int>;

  struct inode {
    bool is_directory = false;
    // Of a file.
    std::string bytes{};
    std::vector<std::string> bytes_on_disk{std::string()};  // one of them; a single one is certain
    std::set<std::size_t> dirty{};                          // the blocks that were written since the last sync
    bool truncated = false, resized = false;
    bool has_links = true, has_links_on_disk = true;
    bool is_dirty() const { return truncated || resized || !dirty.empty(); }
    // Of a directory.
    names entries{};
    std::set<names> entries_on_disk{names()};
    std::vector<std::vector<std::pair<std::string, int>>> unsynced{};  // each: names that change together
  };

  model_file_system() { add({.is_directory = true}); }

  inode const& at(int n) const { return *inodes_[static_cast<std::size_t>(n)]; }

  /// The inode at an absolute path; `nothing`.
  int find(std::string_view path) const {
    int n = root;
    while (!path.empty()) {
      path.remove_prefix(1);
      auto const end = std::min(path.find('/'), path.size());
      if (n == nothing || !at(n).is_directory) return nothing;
      if (end > 0) n = find(n, std::string(path.substr(0, end)));
      path.remove_prefix(end);
    }
    return n;
  }
  int find(int directory, std::string const& name) const {
    auto const found = at(directory).entries.find(name);
    return found == at(directory).entries.end() ? nothing : found->second;
  }

  /// One without a name.
  int add_file() { return add({.has_links = false, .has_links_on_disk = false}); }
  void link(int file, int directory, std::string const& name) {
    edit(file).has_links = true;
    change(directory, {{name, file}});
  }
  int create(int directory, std::string const& name, bool is_directory) {
    int const n = add({.is_directory = is_directory});
    change(directory, {{name, n}});
    return n;
  }
  /// Names that change in one step.
  void change(int directory, std::vector<std::pair<std::string, int>> const& together) {
    inode& d = edit(directory);
    for (auto const& one : together) {
      auto const old = d.entries.find(one.first);
      if (old != d.entries.end() && !at(old->second).is_directory) stale_ = at(old->second).bytes;
    }
    apply(together, d.entries);
    d.unsynced.push_back(together);
  }
  void append(int file, std::string_view bytes) { write(file, at(file).bytes.size(), bytes); }
  void write(int file, std::size_t where, std::string_view bytes) {
    inode& f = edit(file);
    if (where + bytes.size() > f.bytes.size()) {
      f.bytes.resize(where + bytes.size());
      f.resized = true;
    }
    f.bytes.replace(where, bytes.size(), bytes);
    for (auto b = where / block; b * block < where + bytes.size(); ++b) f.dirty.insert(b);
  }
  void truncate(int file) {
    inode& f = edit(file);
    f.bytes.clear();
    f.dirty.clear();
    f.truncated = true;
  }
  void sync(int n) {
    inode& i = edit(n);
    if (i.is_directory) {
      std::set<names> synced;
      for (names image : i.entries_on_disk) {
        for (auto const& together : i.unsynced) apply(together, image);
        synced.insert(std::move(image));
      }
      i.entries_on_disk = std::move(synced);
      i.unsynced.clear();
      return;
    }
    i.has_links_on_disk = i.has_links;
    if (i.is_dirty()) {
      std::set<std::string> synced;
      for (auto const& disk : i.bytes_on_disk) synced.insert(written(i, i.truncated ? "" : disk));
      i.bytes_on_disk = {synced.begin(), synced.end()};
      clean(i);
    }
  }
  /// As the kernel's "fsyncgate".
  void fail_sync(int n) {
    inode& i = edit(n);
    if (i.is_directory) {
      i.entries_on_disk = possible_entries(n);
      i.unsynced.clear();
    } else {
      i.bytes_on_disk = possible_bytes(n);
      clean(i);
    }
  }

  /// Calls `visit` with every file system that a power cut now may leave: all of it certain. Of a file under the name
  /// `ignored`, which nobody reads, the bytes are left as they are.
  void for_each_cut(std::function<void(model_file_system const&)> const& visit, std::string_view ignored = {}) const {
    model_file_system after;
    after.stale_ = stale_;
    after.random = random;
    after.inodes_.assign(inodes_.size(), std::make_shared<inode const>());
    cut({root}, after, visit, ignored);
  }

  /// One of these file systems, but for those that a check has taken names from: `below(n)` draws a number less than n.
  /// Of the changes of names since the last sync there may be so many that nobody could list all their subsets.
  model_file_system cut_at_random(std::function<unsigned(unsigned)> const& below) const {
    model_file_system after;
    after.stale_ = stale_;
    after.random = random;
    after.inodes_.assign(inodes_.size(), std::make_shared<inode const>());
    std::vector<int> open{root};
    std::set<int> settled;
    while (!open.empty()) {
      int const n = open.back();
      open.pop_back();
      if (!settled.insert(n).second) continue;
      auto& place = after.inodes_[static_cast<std::size_t>(n)];
      if (!at(n).is_directory) {
        auto const all = possible_bytes(n);
        auto const& bytes = all[below(static_cast<unsigned>(all.size()))];
        place = std::make_shared<inode const>(inode{.bytes = bytes, .bytes_on_disk = {bytes}});
        continue;
      }
      auto const& d = at(n);
      names image = *std::next(d.entries_on_disk.begin(), below(static_cast<unsigned>(d.entries_on_disk.size())));
      auto changes = d.unsynced;
      while (!changes.empty()) {
        auto const one = changes.begin() + below(2) * below(static_cast<unsigned>(changes.size()));
        if (below(2) == 0) apply(*one, image);
        changes.erase(one);
      }
      for (auto const& child : image) open.push_back(child.second);
      place = std::make_shared<inode const>(inode{.is_directory = true, .entries = image, .entries_on_disk = {image}});
    }
    return after;
  }

  std::uint64_t random = 0;

 private:
  int add(inode i) {
    inodes_.push_back(std::make_shared<inode const>(std::move(i)));
    return static_cast<int>(inodes_.size()) - 1;
  }
  /// Copies share inodes until one is changed.
  inode& edit(int n) {
    auto copy = std::make_shared<inode>(at(n));
    inode& result = *copy;
    inodes_[static_cast<std::size_t>(n)] = std::move(copy);
    return result;
  }
  static void apply(std::vector<std::pair<std::string, int>> const& together, names& image) {
    for (auto const& [name, n] : together) {
      if (n == nothing) {
        image.erase(name);
      } else {
        image[name] = n;
      }
    }
  }

  static void clean(inode& i) {
    i.dirty.clear();
    i.truncated = i.resized = false;
  }
  /// What is on the disk when the dirty blocks of `f` are written there. The others stay, whatever a failed sync has
  /// left.
  static std::string written(inode const& f, std::string disk) {
    if (f.resized || f.truncated) disk.resize(f.bytes.size());
    for (auto const b : f.dirty) {
      auto const size = std::min(block, f.bytes.size() - b * block);
      disk.resize(std::max(disk.size(), b * block + size));
      disk.replace(b * block, size, f.bytes, b * block, size);
    }
    return disk;
  }

  /// All subsets in all orders: `by_subset[s]` are the images that the changes in `s` can lead to.
  std::set<names> possible_entries(int directory) const {
    inode const& d = at(directory);
    std::vector<std::set<names>> by_subset(std::size_t{1} << d.unsynced.size());
    by_subset[0] = d.entries_on_disk;
    std::set<names> all;
    for (std::size_t s = 0; s < by_subset.size(); ++s) {
      for (std::size_t i = 0; i < d.unsynced.size(); ++i) {
        if ((s & (std::size_t{1} << i)) == 0) continue;
        for (names image : by_subset[s & ~(std::size_t{1} << i)]) {
          apply(d.unsynced[i], image);
          by_subset[s].insert(std::move(image));
        }
      }
      all.insert(by_subset[s].begin(), by_subset[s].end());
    }
    return all;
  }

  /// And those of which the names of files without links were taken away.
  std::set<names> after_a_check(std::set<names> images) const {
    std::set<names> all = images;
    for (names image : images) {
      std::erase_if(image, [&](auto const& one) { return !at(one.second).has_links_on_disk; });
      all.insert(std::move(image));
    }
    return all;
  }

  std::vector<std::string> possible_bytes(int file) const {
    inode const& f = at(file);
    if (!f.is_dirty()) return f.bytes_on_disk;
    std::set<std::string> all(f.bytes_on_disk.begin(), f.bytes_on_disk.end());
    for (auto const& disk : f.bytes_on_disk) {
      std::size_t const kept = f.truncated ? 0 : std::min(disk.size(), f.bytes.size());
      std::string const all_written = written(f, f.truncated ? "" : disk);
      for (std::size_t size = kept; size < all_written.size() + block; size = (size / block + 1) * block) {
        add_torn(f, all_written.substr(0, size), disk, kept, {}, all);
      }
      if (all_written.size() > kept) all.insert(all_written.substr(0, all_written.size() - 1));
    }
    return {all.begin(), all.end()};
  }
  /// `done` and behind it, of each further block of `wanted`, whatever it may be.
  /// The first `kept` bytes have their place on the disk, which shows nothing but what was written there.
  void add_torn(inode const& f, std::string const& wanted, std::string const& old, std::size_t kept,
                std::string const& done, std::set<std::string>& all) const {
    if (done.size() == wanted.size()) {
      all.insert(done);
      return;
    }
    auto const size = std::min(block, wanted.size() - done.size());
    auto const of = [&](std::string const& source) {
      std::string bytes = source.substr(std::min(done.size(), source.size()), size);
      return done + bytes.append(size - bytes.size(), '\0');
    };
    std::set<std::string> candidates{of(wanted)};
    if (f.dirty.contains(done.size() / block)) candidates.insert(of(old));
    if (done.size() >= kept) candidates.insert({of(old), of({}), of(stale_)});
    for (auto const& one : candidates) add_torn(f, wanted, old, kept, one, all);
  }

  /// Settles the inodes in `open`, one after the other, in each way that is possible.
  void cut(std::vector<int> open, model_file_system& after, std::function<void(model_file_system const&)> const& visit,
           std::string_view ignored) const {
    if (open.empty()) return visit(after);
    int const n = open.back();
    open.pop_back();
    auto& place = after.inodes_[static_cast<std::size_t>(n)];
    if (at(n).is_directory) {
      for (names const& image : after_a_check(possible_entries(n))) {
        place =
            std::make_shared<inode const>(inode{.is_directory = true, .entries = image, .entries_on_disk = {image}});
        auto further = open;
        for (auto const& [name, child] : image) {
          if (name == ignored)
            after.inodes_[static_cast<std::size_t>(child)] = inodes_[static_cast<std::size_t>(child)];
          if (name == ignored) continue;
          if (std::find(further.begin(), further.end(), child) == further.end()) further.push_back(child);
        }
        cut(std::move(further), after, visit, ignored);
      }
    } else {
      for (auto const& bytes : possible_bytes(n)) {
        place = std::make_shared<inode const>(inode{.bytes = bytes, .bytes_on_disk = {bytes}});
        cut(open, after, visit, ignored);
      }
    }
  }

  std::vector<std::shared_ptr<inode const>> inodes_;
  std::string stale_;  // the bytes of the file that was freed last, which an unwritten block may show
};

/// What puts the library's steps together in another way, and is found guilty.
enum class protocol {
  ours,
  writes_in_place,
  syncs_after_rename,
  /// As the library once did it: a rename, which the next save may overtake.
  sets_aside_by_rename,
  /// A rename and a flush less for a record that has no predecessor; torn, it would count as absent.
  writes_first_in_place,
  /// A flush less for a record that has no predecessor, which a reader never sees torn: it has its name when it is
  /// whole, but not yet on the disk.
  syncs_after_link,
  /// As the library once did it: a file that has no name until it is whole and synced.
  links_when_synced
};

/// What is tried instead of what the library does on Linux.
struct variant {
  bool has_renameat2 = true;  ///< a kernel that lacks it: what the library does then is not guilty either
  // What lacks one of these is.
  bool syncs_files = true, syncs_directories = true;
  bool believes_a_second_sync = false;  ///< syncs once more where that fails, and believes what it is told then
  support::protocol protocol = protocol::ours;
};

/// A machine that runs one process at a time on such a file system.
struct model_machine {
  model_file_system files;
  support::variant variant{};
  /// Called after each system call that changed something, or synced.
  std::function<void(char const* call)> after_step = [](char const*) {};
  int syncs_until_failure = -1;  // 0: the next one fails; negative: none does

  struct open_file {
    int inode = model_file_system::nothing;  // nothing: closed
    std::size_t offset = 0;
  };
  std::vector<open_file> open_files;

  bool all_closed() const {
    return std::all_of(open_files.begin(), open_files.end(),
                       [](open_file const& f) { return f.inode == model_file_system::nothing; });
  }
};

/// What `stash::posix_file_ops` does on the real one.
class model_ops {
 public:
  model_ops() = default;  // on no machine: for what only asks whether it can be made
  explicit model_ops(model_machine& m) : machine_(&m) {}

  int open(int directory, char const* name, int flags, mode_t = 0) const {
    int n = find(directory, name);
    if (n == nothing && (flags & O_CREAT) == 0) return fail(ENOENT);
    if (n != nothing && (flags & O_EXCL) != 0) return fail(EEXIST);
    if (n != nothing && (flags & O_DIRECTORY) != 0 && !files().at(n).is_directory) return fail(ENOTDIR);
    if (n == nothing) {
      auto const [parent, last] =
          directory == AT_FDCWD ? split(name) : std::pair{inode_of(directory), std::string(name)};
      n = files().create(parent, last, false);
      step("create");
    } else if ((flags & O_TRUNC) != 0) {
      files().truncate(n);
      step("truncate");
    }
    machine_->open_files.push_back({n, 0});
    return static_cast<int>(machine_->open_files.size()) - 1;
  }
  int close(int fd) const {
    file(fd).inode = nothing;
    return 0;
  }
  ssize_t read(int fd, void* to, std::size_t size) const {
    auto& f = file(fd);
    auto const& bytes = files().at(f.inode).bytes;
    size = std::min(size, bytes.size() - f.offset);
    std::memcpy(to, bytes.data() + f.offset, size);
    f.offset += size;
    return static_cast<ssize_t>(size);
  }
  ssize_t writev(int fd, iovec const* parts, int count) const {
    std::string all;
    for (int i = 0; i < count; ++i) all.append(static_cast<char const*>(parts[i].iov_base), parts[i].iov_len);
    files().append(file(fd).inode, all);
    step("writev");
    return static_cast<ssize_t>(all.size());
  }
  ssize_t pread(int fd, void* to, std::size_t size, off_t at) const {
    auto const& bytes = files().at(file(fd).inode).bytes;
    auto const from = std::min(static_cast<std::size_t>(at), bytes.size());
    size = std::min(size, bytes.size() - from);
    std::memcpy(to, bytes.data() + from, size);
    return static_cast<ssize_t>(size);
  }
  ssize_t pwritev(int fd, iovec const* parts, int count, off_t at) const {
    std::string all;
    for (int i = 0; i < count; ++i) all.append(static_cast<char const*>(parts[i].iov_base), parts[i].iov_len);
    files().write(file(fd).inode, static_cast<std::size_t>(at), all);
    step("pwritev");
    return static_cast<ssize_t>(all.size());
  }
  int fdatasync(int fd) const { return fsync(fd); }
  int fsync(int fd) const {
    auto const& variant = machine_->variant;
    bool const is_directory = files().at(file(fd).inode).is_directory;
    if (!(is_directory ? variant.syncs_directories : variant.syncs_files)) return 0;
    int const result = sync(fd);
    return result != 0 && variant.believes_a_second_sync ? sync(fd) : result;
  }
  void start_writeback(int) const {}
  int syncfs(int) const { return fail(ENOSYS); }  // only for parents that may not be read

  int fstat(int fd, struct stat* s) const { return stat_inode(file(fd).inode, s); }
  int lstat(int directory, char const* name, struct stat* s) const {
    int const n = find(directory, name);
    return n == nothing ? fail(ENOENT) : stat_inode(n, s);
  }
  int require_owner(int) const { return 0; }
  ssize_t read_link(int, char const*, char*, std::size_t) const { return fail(EINVAL); }  // there are no links
  int fchmod(int, mode_t) const { return 0; }
  int mkdir(char const* path, mode_t) const {
    auto const [parent, name] = split(path);
    if (parent == nothing) return fail(ENOENT);
    if (files().find(parent, name) != nothing) return fail(EEXIST);
    files().create(parent, name, true);
    step("mkdir");
    return 0;
  }
  int rmdir(char const* path) const {
    auto const [parent, name] = split(path);
    return rmdir_in(parent, name);
  }
  int rmdir(int directory, char const* name) const { return rmdir_in(inode_of(directory), name); }

  int rename(int directory, char const* from, char const* to) const {
    int const n = find(directory, from);
    if (n == nothing) return fail(ENOENT);
    files().change(inode_of(directory), {{from, nothing}, {to, n}});
    step("rename");
    return 0;
  }
  /// Of which one half may survive; a tree that is being removed is all that is moved so.
  int rename(int from_directory, char const* from, int directory, char const* to) const {
    if (from_directory == directory) return rename(directory, from, to);
    int const n = find(from_directory, from);
    if (n == nothing) return fail(ENOENT);
    files().change(inode_of(directory), {{to, n}});
    files().change(inode_of(from_directory), {{from, nothing}});
    step("rename");
    return 0;
  }
  int rename_noreplace(int directory, char const* from, char const* to) const {
    if (!machine_->variant.has_renameat2) return fail(ENOSYS);
    if (find(directory, to) != nothing) return fail(EEXIST);
    return rename(directory, from, to);
  }
  int link(int directory, char const* from, char const* to) const {
    int const n = find(directory, from);
    if (n == nothing || find(directory, to) != nothing) return fail(n == nothing ? ENOENT : EEXIST);
    files().change(inode_of(directory), {{to, n}});
    step("link");
    return 0;
  }
  // Which the library does not use.
  int open_unnamed(int) const {
    machine_->open_files.push_back({files().add_file(), 0});
    step("open_unnamed");
    return static_cast<int>(machine_->open_files.size()) - 1;
  }
  int link_unnamed(int fd, int directory, char const* name) const {
    if (find(directory, name) != nothing) return fail(EEXIST);
    files().link(file(fd).inode, inode_of(directory), name);
    step("link_unnamed");
    return 0;
  }
  long name_max(int) const { return 255; }
  int unlink(int directory, char const* name) const {
    int const n = find(directory, name);
    if (n == nothing) return fail(ENOENT);
    if (files().at(n).is_directory) return fail(EISDIR);
    files().change(inode_of(directory), {{name, nothing}});
    step("unlink");
    return 0;
  }
  int list(int fd, std::vector<std::string>& names) const {
    for (auto const& one : files().at(file(fd).inode).entries) names.push_back(one.first);
    return 0;
  }

  int open_lock(int directory, char const* name, int flags, mode_t mode) const {
    return open(directory, name, flags, mode);
  }
  int lock_byte(int, off_t) const { return 0; }
  int lock_bytes(int, off_t, off_t) const { return 0; }
  int unlock_bytes(int, off_t, off_t) const { return 0; }
  bool find_lock(int, off_t&, off_t&) const { return false; }
  void close_lock(int fd) const { close(fd); }
  int random(void* to, std::size_t size) const {
    std::uint64_t const n = ++files().random;
    std::memset(to, 0, size);
    std::memcpy(to, &n, std::min(size, sizeof n));
    return 0;
  }
  uid_t user() const { return owner; }
  support::protocol protocol() const { return machine_->variant.protocol; }

 private:
  static constexpr int nothing = model_file_system::nothing;
  static constexpr uid_t owner = 1000;

  static int fail(int error) {
    errno = error;
    return -1;
  }
  int rmdir_in(int parent, std::string const& name) const {
    int const n = parent == nothing ? nothing : files().find(parent, name);
    if (n == nothing) return fail(ENOENT);
    if (!files().at(n).is_directory) return fail(ENOTDIR);
    if (!files().at(n).entries.empty()) return fail(ENOTEMPTY);
    files().change(parent, {{name, nothing}});
    step("rmdir");
    return 0;
  }
  void step(char const* call) const { machine_->after_step(call); }
  int sync(int fd) const {
    bool const fails = machine_->syncs_until_failure >= 0 && machine_->syncs_until_failure-- == 0;
    if (fails) {
      files().fail_sync(file(fd).inode);
    } else {
      files().sync(file(fd).inode);
    }
    step(fails ? "fsync that fails" : "fsync");
    return fails ? fail(EIO) : 0;
  }
  model_file_system& files() const { return machine_->files; }
  model_machine::open_file& file(int fd) const { return machine_->open_files.at(static_cast<std::size_t>(fd)); }
  int inode_of(int directory) const { return directory == AT_FDCWD ? nothing : file(directory).inode; }
  int find(int directory, char const* name) const {
    return directory == AT_FDCWD ? files().find(name) : files().find(inode_of(directory), name);
  }
  std::pair<int, std::string> split(std::string const& path) const {
    auto const slash = path.rfind('/');
    return {files().find(path.substr(0, slash)), path.substr(slash + 1)};
  }
  int stat_inode(int n, struct stat* s) const {
    auto const& i = files().at(n);
    *s = {};
    s->st_ino = static_cast<ino_t>(n) + 1;
    s->st_uid = owner;
    s->st_mode = i.is_directory ? S_IFDIR | 0700 : S_IFREG | 0600;
    s->st_size = static_cast<off_t>(i.bytes.size());
    return 0;
  }

  model_machine* machine_ = nullptr;
};

}  // namespace support
