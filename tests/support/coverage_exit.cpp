// Linked in where coverage is measured: a child that ends with _exit would not write down what it has run.
#include <dlfcn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" {

// Of gcov's instrumentation, and of clang's own: each is there where it was compiled in.
[[gnu::weak]] void __gcov_dump();
[[gnu::weak]] int __llvm_profile_write_file();

/// gcov's fork forgets in the child what its fork handlers ran, so it is linked by the name of this one (--wrap). Not
/// by a call of fork, which would become one of gcov's.
pid_t __wrap___gcov_fork() { return reinterpret_cast<pid_t (*)()>(::dlsym(RTLD_DEFAULT, "fork"))(); }

void _exit(int status) {
  rlimit longest{};  // a child that may not write all of it would spoil what the others wrote
  if (::getrlimit(RLIMIT_FSIZE, &longest) == 0 && longest.rlim_cur == RLIM_INFINITY) {
    if (__gcov_dump != nullptr) __gcov_dump();
    if (__llvm_profile_write_file != nullptr) __llvm_profile_write_file();
  }
  for (;;) ::syscall(SYS_exit_group, status);
}
}
