#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

namespace support {

/// While it lives, SQLite reaches the disk through it, and `before` is asked with the name of each call that changes
/// something (`open`, `write`, `truncate`, `sync`, `delete`, and `delete and sync`, which is of the directory): a
/// result code other than SQLITE_OK is what it fails with; a `delete` with SQLITE_IOERR_DIR_FSYNC has removed it, as it
/// would have. Without shared memory no file can be in WAL mode. One at a
/// time, and no connection may outlive it.
class faulty_vfs {
 public:
  using hook = std::function<int(std::string_view)>;

  explicit faulty_vfs(hook before, bool has_shared_memory = true) : real_(::sqlite3_vfs_find(nullptr)), shim_(*real_) {
    before_ = std::move(before);
    version_ = has_shared_memory ? 2 : 1;
    shim_.zName = "stash_test_faulty";
    shim_.pNext = nullptr;
    shim_.pAppData = real_;
    shim_.szOsFile = static_cast<int>(sizeof(file)) + real_->szOsFile;
    shim_.xOpen = open;
    shim_.xDelete = [](sqlite3_vfs* v, char const* name, int sync) {
      int const failed = before_(sync != 0 ? "delete and sync" : "delete");
      if (failed == SQLITE_IOERR_DIR_FSYNC) real(v)->xDelete(real(v), name, 0);
      return failed != SQLITE_OK ? failed : real(v)->xDelete(real(v), name, sync);
    };
    ::sqlite3_vfs_register(&shim_, 1);
  }
  faulty_vfs(faulty_vfs const&) = delete;
  faulty_vfs& operator=(faulty_vfs const&) = delete;
  ~faulty_vfs() {
    ::sqlite3_vfs_unregister(&shim_);
    ::sqlite3_vfs_register(real_, 1);
    before_ = nullptr;
  }

 private:
  struct file {
    sqlite3_file base;
    sqlite3_io_methods methods;
    sqlite3_file* inner() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };

  static sqlite3_vfs* real(sqlite3_vfs* shim) { return static_cast<sqlite3_vfs*>(shim->pAppData); }
  static sqlite3_file* inner(sqlite3_file* f) { return reinterpret_cast<file*>(f)->inner(); }

  static int open(sqlite3_vfs* shim, char const* name, sqlite3_file* opened, int flags, int* out_flags) {
    auto* const f = reinterpret_cast<file*>(opened);
    f->base.pMethods = nullptr;
    if (int const failed = before_("open"); failed != SQLITE_OK) return failed;
    int const result = real(shim)->xOpen(real(shim), name, f->inner(), flags, out_flags);
    if (f->inner()->pMethods == nullptr) return result;
    // As the file's own, each called with the inner file; those that change something ask first.
    auto& m = f->methods;
    m = *f->inner()->pMethods;
    m.xClose = [](sqlite3_file* x) { return inner(x)->pMethods->xClose(inner(x)); };
    m.xRead = [](sqlite3_file* x, void* to, int n, sqlite3_int64 at) {
      return inner(x)->pMethods->xRead(inner(x), to, n, at);
    };
    m.xWrite = [](sqlite3_file* x, void const* from, int n, sqlite3_int64 at) {
      int const failed = before_("write");
      return failed != SQLITE_OK ? failed : inner(x)->pMethods->xWrite(inner(x), from, n, at);
    };
    m.xTruncate = [](sqlite3_file* x, sqlite3_int64 n) {
      int const failed = before_("truncate");
      return failed != SQLITE_OK ? failed : inner(x)->pMethods->xTruncate(inner(x), n);
    };
    m.xSync = [](sqlite3_file* x, int how) {
      int const failed = before_("sync");
      return failed != SQLITE_OK ? failed : inner(x)->pMethods->xSync(inner(x), how);
    };
    m.xFileSize = [](sqlite3_file* x, sqlite3_int64* n) { return inner(x)->pMethods->xFileSize(inner(x), n); };
    m.xLock = [](sqlite3_file* x, int how) { return inner(x)->pMethods->xLock(inner(x), how); };
    m.xUnlock = [](sqlite3_file* x, int how) { return inner(x)->pMethods->xUnlock(inner(x), how); };
    m.xCheckReservedLock = [](sqlite3_file* x, int* held) {
      return inner(x)->pMethods->xCheckReservedLock(inner(x), held);
    };
    m.xFileControl = [](sqlite3_file* x, int what, void* with) {
      return inner(x)->pMethods->xFileControl(inner(x), what, with);
    };
    m.xSectorSize = [](sqlite3_file* x) { return inner(x)->pMethods->xSectorSize(inner(x)); };
    m.xDeviceCharacteristics = [](sqlite3_file* x) { return inner(x)->pMethods->xDeviceCharacteristics(inner(x)); };
    m.xShmMap = [](sqlite3_file* x, int page, int size, int extend, void volatile** to) {
      return inner(x)->pMethods->xShmMap(inner(x), page, size, extend, to);
    };
    m.xShmLock = [](sqlite3_file* x, int at, int n, int how) {
      return inner(x)->pMethods->xShmLock(inner(x), at, n, how);
    };
    m.xShmBarrier = [](sqlite3_file* x) { inner(x)->pMethods->xShmBarrier(inner(x)); };
    m.xShmUnmap = [](sqlite3_file* x, int remove) { return inner(x)->pMethods->xShmUnmap(inner(x), remove); };
    m.iVersion = std::min(m.iVersion, version_);  // without memory mapping
    f->base.pMethods = &m;
    return result;
  }

  static inline hook before_;
  static inline int version_ = 2;
  sqlite3_vfs* real_;
  sqlite3_vfs shim_;
};

}  // namespace support
