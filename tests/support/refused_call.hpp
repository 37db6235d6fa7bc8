#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <cstddef>

#include "support.hpp"

namespace support {

/// From here on this system call (SYS_...) fails with `error` in this process, whoever makes it: for what is not called
/// through a seam. To be called in a child, for it stays so. false: the system does not let us.
inline bool refuse_call(unsigned number, unsigned error) {
  sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog const filter{std::size(steps), steps};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}
inline boost::test_tools::assertion_result may_refuse_calls(boost::unit_test::test_unit_id) {
  return in_child([] { return refuse_call(~0U, 1) ? 0 : 1; }) == 0;
}

}  // namespace support
