#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <boost/filesystem/directory.hpp>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <span>
#include <stash/detail/record/format.hpp>
#include <stash/file_options.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "stores.hpp"

// The system calls alone, as one would write them out by hand.
namespace bench {

template <class N>
N must(N result, char const* call) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), call);
  return result;
}

class descriptor {
 public:
  explicit descriptor(int fd) : fd_(must(fd, "open")) {}
  descriptor(descriptor const&) = delete;
  descriptor& operator=(descriptor const&) = delete;
  ~descriptor() { ::close(fd_); }
  int get() const { return fd_; }
  void write(std::string_view bytes) const { must(::write(fd_, bytes.data(), bytes.size()), "write"); }

 private:
  int fd_;
};

/// The floor: a log whose blocks are on the disk already, so that a flush is all that a save costs.
class raw_preallocated {
 public:
  static constexpr char name[] = "raw: pwrite to a preallocated log, fdatasync";
  raw_preallocated(fs::path const& dir, stash::durability d)
      : file_(::open((dir / "log").c_str(), O_RDWR | O_CREAT, 0600)), is_durable_(d == stash::durability::power_loss) {
    std::string const zeros(1U << 20, '\0');
    for (off_t at = 0; at < size; at += static_cast<off_t>(zeros.size())) file_.write(zeros);
    must(::fsync(file_.get()), "fsync");
  }
  void put(stash::key const&, stash::record const& r) {
    append(r.payload);
    sync();
  }
  void put_all(std::span<std::pair<stash::key, stash::record> const> all) {
    for (auto const& one : all) append(one.second.payload);
    sync();
  }

 private:
  static constexpr off_t size = 32 << 20;

  void append(std::string_view bytes) {
    auto const n = static_cast<off_t>(bytes.size());
    if (at_ + n > size) at_ = 0;
    must(::pwrite(file_.get(), bytes.data(), bytes.size(), at_), "pwrite");
    at_ += n;
  }
  void sync() const {
    if (is_durable_) must(::fdatasync(file_.get()), "fdatasync");
  }

  descriptor file_;
  bool is_durable_;
  off_t at_ = 0;
};

/// The same for many threads, with one flush for all that have written when it begins, in a log that grows: by zeros,
/// which are on the disk before anything is written there.
class raw_shared {
 public:
  static constexpr char name[] = "raw: one pwrite each, a shared fdatasync";
  raw_shared(fs::path const& dir, stash::durability) : file_(::open((dir / "log").c_str(), O_RDWR | O_CREAT, 0600)) {}

  void put(stash::key const&, stash::record const& r) {
    auto const n = static_cast<off_t>(r.payload.size());
    std::unique_lock lock{mutex_};
    if (at_ + n > size_) grow();
    off_t const at = std::exchange(at_, at_ + n);
    lock.unlock();
    must(::pwrite(file_.get(), r.payload.data(), r.payload.size(), at), "pwrite");
    lock.lock();
    auto const mine = ++written_;
    while (synced_ < mine) {
      if (is_syncing_) {
        ended_.wait(lock);
        continue;
      }
      is_syncing_ = true;
      auto const all = written_;
      lock.unlock();
      must(::fdatasync(file_.get()), "fdatasync");
      lock.lock();
      is_syncing_ = false;
      synced_ = all;
      ended_.notify_all();
    }
  }

 private:
  void grow() {
    for (off_t const end = size_ + (8 << 20); size_ < end; size_ += static_cast<off_t>(zeros_.size())) {
      must(::pwrite(file_.get(), zeros_.data(), zeros_.size(), size_), "pwrite");
    }
    must(::fdatasync(file_.get()), "fdatasync");
  }

  descriptor file_;
  std::string const zeros_ = std::string(1U << 20, '\0');
  std::mutex mutex_;
  std::condition_variable ended_;
  off_t at_ = 0, size_ = 0;
  std::uint64_t written_ = 0, synced_ = 0;
  bool is_syncing_ = false;
};

class raw_append {
 public:
  static constexpr char name[] = "raw: append, fdatasync";
  raw_append(fs::path const& dir, stash::durability d)
      : file_(::open((dir / "log").c_str(), O_WRONLY | O_APPEND | O_CREAT, 0600)),
        is_durable_(d == stash::durability::power_loss) {}
  void put(stash::key const&, stash::record const& r) {
    file_.write(r.payload);
    sync();
  }
  void put_all(std::span<std::pair<stash::key, stash::record> const> all) {
    for (auto const& one : all) file_.write(one.second.payload);
    sync();
  }

 private:
  void sync() const {
    if (is_durable_) must(::fdatasync(file_.get()), "fdatasync");
  }

  descriptor file_;
  bool is_durable_;
};

/// A file a key, as careful people write it.
class raw_rename {
 public:
  static constexpr char name[] = "raw: temporary, fsync, rename, sync directory";
  raw_rename(fs::path const& dir, stash::durability d)
      : directory_(::open(dir.c_str(), O_RDONLY | O_DIRECTORY)), is_durable_(d == stash::durability::power_loss) {}

  void put(stash::key const& k, stash::record const& r) {
    std::string const file(k.str()), temporary = "." + file;
    write(descriptor(::openat(at(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600)), r.payload);
    must(::renameat(at(), temporary.c_str(), at(), file.c_str()), "rename");
    sync(at());
  }

 protected:
  int at() const { return directory_.get(); }
  void write(descriptor const& file, std::string_view bytes) const {
    file.write(bytes);
    sync(file.get());
  }
  void sync(int fd) const {
    if (is_durable_) must(::fsync(fd), "fsync");
  }

 private:
  descriptor directory_;
  bool is_durable_;
};

/// With the header that the library writes, so that it is as many bytes.
class raw_record : public raw_rename {
 public:
  static constexpr char name[] = "raw: the same, with a header";
  using raw_rename::raw_rename;
  void put(stash::key const& k, stash::record const& r) {
    raw_rename::put(k, {stash::detail::header_line(k, r) + r.payload + '\n', r.saved_at});
  }
};

/// Without the name for a moment; on ext4 without a journal a power cut takes what was acknowledged.
class raw_tmpfile : public raw_rename {
 public:
  static constexpr char name[] = "not safe: O_TMPFILE, fsync, link, sync directory";
  using raw_rename::raw_rename;
  void put(stash::key const& k, stash::record const& r) {
    descriptor const file(::openat(at(), ".", O_WRONLY | O_TMPFILE, 0600));
    write(file, r.payload);
    std::string const path = "/proc/self/fd/" + std::to_string(file.get());
    must(::linkat(AT_FDCWD, path.c_str(), at(), std::string(k.str()).c_str(), AT_SYMLINK_FOLLOW), "link");
    sync(at());
  }
};

/// Removes what the library would have written: a file with a header is of two blocks.
class raw_unlink : public raw_record {
 public:
  static constexpr char name[] = "raw: unlink, sync directory";
  using raw_record::raw_record;
  void erase(stash::key const& k) {
    must(::unlinkat(at(), std::string(k.str()).c_str(), 0), "unlink");
    sync(at());
  }
};

/// A removal that no power cut and no failed sync takes back half.
class raw_rename_unlink : public raw_record {
 public:
  static constexpr char name[] = "raw: rename, sync directory, unlink";
  using raw_record::raw_record;
  void erase(stash::key const& k) {
    std::string const file(k.str()), doomed = "." + file;
    must(::renameat(at(), file.c_str(), at(), doomed.c_str()), "rename");
    sync(at());
    must(::unlinkat(at(), doomed.c_str(), 0), "unlink");
  }
};

/// The keys of the records in a directory of the library's, as the file system lists them.
inline std::vector<std::string> records_in(fs::path const& directory) {
  std::vector<std::string> keys;
  for (auto const& one : fs::directory_iterator(directory)) {
    if (one.path().extension() == ".stash") keys.push_back(one.path().stem().native());
  }
  return keys;
}

/// The library's own files, read with three system calls and as little work as finds out whether they are whole.
class raw_read : public files {
 public:
  static constexpr char name[] = "raw: open, read, parse by hand";
  raw_read(fs::path const& dir, stash::durability d) : files(dir, d), directory_(dir.native() + "/") {}

  stash::record get(stash::key const& k) const {
    return read(descriptor(::open((directory_ + std::string(k.str()) + ".stash").c_str(), O_RDONLY)));
  }

 protected:
  std::string const& directory() const { return directory_; }
  static stash::record read(descriptor const& file) {
    struct stat s;
    must(::fstat(file.get(), &s), "fstat");
    std::string bytes(static_cast<std::size_t>(s.st_size), '\0');
    must(::read(file.get(), bytes.data(), bytes.size()), "read");
    return parsed(bytes);
  }

 private:
  static stash::record parsed(std::string const& bytes) {
    int year;
    unsigned month, day, hour, minute, second, micros;
    std::uint64_t size, sum;
    char const form[] = "{\"stash\":1,\"key\":\"%*[^\"]\",\"saved_at\":\"%d-%u-%uT%u:%u:%u.%uZ\",\"bytes\":%" SCNu64
                        ",\"xxh64\":\"%" SCNx64;
    if (std::sscanf(bytes.c_str(), form, &year, &month, &day, &hour, &minute, &second, &micros, &size, &sum) != 9) {
      throw std::runtime_error("not a record");
    }
    std::size_t const newline = bytes.find('\n');
    std::string const header = bytes.substr(0, newline - 18) + "\"}";
    if (XXH64(&bytes[newline + 1], size, XXH64(header.data(), header.size(), 0)) != sum) {
      throw std::runtime_error("a damaged record");
    }
    auto const date = std::chrono::sys_days{std::chrono::year{year} / static_cast<int>(month) / static_cast<int>(day)};
    return {bytes.substr(newline + 1, size), date + std::chrono::hours{hour} + std::chrono::minutes{minute} +
                                                 std::chrono::seconds{second} + std::chrono::microseconds{micros}};
  }

  std::string directory_;
};

/// The same, once it is known that nobody else may have written it.
class raw_read_checked : public raw_read {
 public:
  static constexpr char name[] = "raw: the same, its directory opened and checked";
  using raw_read::raw_read;
  stash::record get(stash::key const& k) const {
    descriptor const at(::open(directory().c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW));
    struct stat s;
    must(::fstat(at.get(), &s), "fstat");
    if (s.st_uid != ::geteuid() || (s.st_mode & 022) != 0) throw std::runtime_error("others may write there");
    return read(descriptor(::openat(at.get(), (std::string(k.str()) + ".stash").c_str(), O_RDONLY | O_NOFOLLOW)));
  }
};

}  // namespace bench
