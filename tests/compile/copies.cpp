// Two plugins, each with a copy of the library that nobody else sees, in a forked worker of their host. With PLUGIN
// defined: a plugin.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef PLUGIN
#include <stash/stash.hpp>
#include <stash/storage/journal.hpp>
#define EXPORTED extern "C" __attribute__((visibility("default")))
namespace {
template <class Storage>
struct locking {
  static bool may_lock(void* storage) { return static_cast<Storage*>(storage)->try_lock("k").has_value(); }
  static void* lock(void* storage) {
    auto taken = static_cast<Storage*>(storage)->try_lock("k");
    return taken ? new auto(std::move(*taken)) : nullptr;
  }
  static bool held(void* lock) { return static_cast<typename Storage::lock_type*>(lock)->held(); }
  static void release(void* lock) { delete static_cast<typename Storage::lock_type*>(lock); }
};
template <class Storage>
struct all_of : locking<Storage> {
  static bool puts(void* storage) {
    try {
      static_cast<Storage*>(storage)->put("other", {"1", {}});
      return true;
    } catch (stash::error const&) {
      return false;
    }
  }
};
}  // namespace
#define OF(storage, name, ...)                                                                \
  EXPORTED void* name##_make(char const* dir) { return (void)dir, new storage{__VA_ARGS__}; } \
  EXPORTED bool name##_may_lock(void* s) { return all_of<storage>::may_lock(s); }             \
  EXPORTED void* name##_lock(void* s) { return all_of<storage>::lock(s); }                    \
  EXPORTED bool name##_held(void* l) { return all_of<storage>::held(l); }                     \
  EXPORTED void name##_release(void* l) { all_of<storage>::release(l); }                      \
  EXPORTED bool name##_puts(void* s) { return all_of<storage>::puts(s); }
OF(stash::memory_storage, memory)
OF(stash::journal_storage, journal, boost::filesystem::path{dir})
OF(stash::atomic_file_storage, file, boost::filesystem::path{dir})

#else
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

struct copy {
  explicit copy(std::string const& path) : library(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (library == nullptr) std::puts(dlerror()), std::exit(99);
  }
  template <class F>
  F* of(std::string const& storage, char const* name) const {
    return reinterpret_cast<F*>(dlsym(library, (storage + name).c_str()));
  }
  void* make(std::string const& s, std::string const& dir) const {
    return of<void*(char const*)>(s, "_make")(dir.c_str());
  }
  bool may_lock(std::string const& s, void* storage) const { return of<bool(void*)>(s, "_may_lock")(storage); }
  void* lock(std::string const& s, void* storage) const { return of<void*(void*)>(s, "_lock")(storage); }
  bool held(std::string const& s, void* lock) const { return of<bool(void*)>(s, "_held")(lock); }
  void release(std::string const& s, void* lock) const { of<void(void*)>(s, "_release")(lock); }
  bool puts(std::string const& s, void* storage) const { return of<bool(void*)>(s, "_puts")(storage); }
  void* library;
};

template <class F>
int in_child(F f) {
  pid_t const child = ::fork();
  if (child == 0) ::_exit(f());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

bool is_open(int fd) { return ::dup2(fd, fd) == fd; }

/// What one copy locks the other finds locked, and holds itself where it is given the lock.
int agree(std::string const& storage, copy const& a, copy const& b, std::string const& dir) {
  void* const s = a.make(storage, dir);
  if (!a.puts(storage, s) || !b.puts(storage, s)) return 1;
  void* const lock = a.lock(storage, s);
  if (lock == nullptr || !a.held(storage, lock) || !b.held(storage, lock)) return 2;
  if (a.may_lock(storage, s) || b.may_lock(storage, s)) return 3;
  int const child = in_child([&] {  // which has neither
    if (a.held(storage, lock) || b.held(storage, lock)) return 4;
    b.release(storage, lock);
    if (storage == "memory") return a.may_lock(storage, s) && b.may_lock(storage, s) ? 0 : 5;
    if (storage == "file") return a.may_lock(storage, s) || b.may_lock(storage, s) ? 6 : 0;
    return a.puts(storage, s) || b.puts(storage, s) ? 7 : 0;
  });
  if (child != 0) return child;
  b.release(storage, lock);
  return a.may_lock(storage, s) && b.may_lock(storage, s) ? 0 : 8;
}

/// A lock that one copy made and the other released leaves nothing to be closed in a child.
int close_nothing_of_others(copy const& a, copy const& b, std::string const& dir) {
  int const before = ::dup(0);
  ::close(before);
  b.release("file", a.lock("file", a.make("file", dir)));
  int const mine = ::dup(0);
  if (mine != before) return 9;  // it does not have the number of the lock's descriptor
  return in_child([&] { return is_open(mine) ? 0 : 10; });
}

}  // namespace

int main(int, char** argv) {
  copy const early{argv[1]};
  std::string const dir = argv[3];
  if (!early.may_lock("memory", early.make("memory", dir))) return 99;  // the host uses it before it forks
  return in_child([&] {
    copy const late{argv[2]};
    for (std::string const storage : {"memory", "journal", "file"}) {
      if (int const one = agree(storage, early, late, dir + "/1" + storage)) return 10 * one;
      if (int const one = agree(storage, late, early, dir + "/2" + storage)) return 10 * one + 1;
    }
    return close_nothing_of_others(early, late, dir + "/file");
  });
}
#endif
