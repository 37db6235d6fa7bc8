// Disks that are full or read-only, and calls that fail, are interrupted or do half of their work.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <boost/test/data/test_case.hpp>
#include <csignal>
#include <cstddef>
#include <set>
#include <utility>

#include "atomic_file_fixture.hpp"
#include "support.hpp"

namespace atomic_file_faults_test {

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::atomic_file_storage;
using stash::errc;
using stash::record_state;
using support::code_of;
using support::names;
using support::os;
namespace utf = boost::unit_test;
namespace fs = boost::filesystem;

namespace {

using atomic_file_test::first;
using atomic_file_test::fixture;
using atomic_file_test::second;

std::size_t open_descriptors() { return names("/proc/self/fd").size(); }

}  // namespace

BOOST_FIXTURE_TEST_SUITE(atomic_file, fixture)

boost::test_tools::assertion_result may_mount(utf::test_unit_id) {
  support::scratch s;
  bool const may = ::mount("none", s.root.c_str(), "tmpfs", 0, "size=1m") == 0;
  if (may) ::umount(s.root.c_str());
  return may;
}

struct mounted {
  fs::path at;
  explicit mounted(fs::path const& p, char const* options) : at(p) {
    fs::create_directories(p);
    BOOST_REQUIRE(::mount("none", p.c_str(), "tmpfs", 0, options) == 0);
  }
  ~mounted() { ::umount(at.c_str()); }
};

BOOST_AUTO_TEST_CASE(on_a_read_only_file_system_it_can_be_read_and_saving_is_an_error, *utf::precondition(may_mount)) {
  mounted const disk{root / "disk", "mode=0700"};
  atomic_file_storage s{disk.at / "stash"};
  s.put("k", first);
  BOOST_REQUIRE(::mount("none", disk.at.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
  BOOST_TEST((s.get("k") == first));
  BOOST_TEST(code_of([&] { s.put("k", second); }) == os(EROFS));
  BOOST_TEST(code_of([&] { s.erase("k"); }) == os(EROFS));
  BOOST_TEST(code_of([&] { s.try_lock("k"); }) == os(EROFS));
  BOOST_TEST(code_of([&] { atomic_file_storage{disk.at / "new"}.put("k", first); }) == os(EROFS));
}

BOOST_AUTO_TEST_CASE(on_a_full_disk_the_old_record_stands_and_no_temporary_is_left, *utf::precondition(may_mount)) {
  for (char const* const options : {"mode=0700,size=64k", "mode=0700,nr_inodes=5"}) {  // no blocks; no inodes
    mounted const disk{root / "disk", options};
    atomic_file_storage s{disk.at / "stash"};
    s.put("k", first);
    support::write(disk.at / "filler", std::string(1 << 17, 'x'));
    BOOST_TEST(code_of([&] { s.put("k", {std::string(100'000, 'x'), {}}); }) == os(ENOSPC));
    BOOST_TEST((s.get("k") == first));
    BOOST_TEST(names(disk.at / "stash").size() == 2U);
  }
}

BOOST_AUTO_TEST_CASE(each_call_failing_with_each_errno_leaves_the_old_record_and_no_temporary_and_no_descriptor) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  auto const descriptors = open_descriptors();
  std::set<std::string> spoiled;
  for (int const error : {EIO, ENOSPC, EDQUOT, EROFS, EACCES, EMFILE, ENFILE, ENOMEM, ESTALE}) {
    for (int n = 1;; ++n) {
      int left = n;
      std::string which;
      *ops.before = [&](std::string_view call) {
        if (--left != 0) return 0;
        which = call;
        return error;
      };
      bool const complete = [&] {
        try {
          s.put("k", second);
          *ops.before = [](std::string_view) { return 0; };
          BOOST_TEST((s.get("k") == second));
          s.put("k", first);
          if (left <= 0) BOOST_TEST(which == "close", "forgives " << which);  // of what was opened to look
          return left > 0;                                                    // the call to spoil never came
        } catch (stash::error const& e) {
          BOOST_TEST(e.operation() == "put");
          BOOST_TEST(e.subject() == "k");
          BOOST_TEST(std::string(e.what()).find(dir().native()) != std::string::npos);
          bool const after_rename = e.code() == errc::indeterminate;
          if (!after_rename) BOOST_TEST(e.code() == os(error), which);
          *ops.before = [](std::string_view) { return 0; };
          BOOST_TEST((s.get("k") == (after_rename ? second : first)), which);
          s.put("k", first);
          return false;
        }
      }();
      *ops.before = [](std::string_view) { return 0; };
      spoiled.insert(which);
      BOOST_TEST(only_record_and_lock(), which);
      if (complete) break;
    }
  }
  BOOST_TEST(open_descriptors() == descriptors);
  for (char const* const call : {"open", "fstat", "random", "fchmod", "writev", "fsync", "close", "rename"}) {
    BOOST_TEST(spoiled.contains(call), call);
  }
}

BOOST_AUTO_TEST_CASE(whatever_call_of_any_operation_fails_the_record_can_still_be_had_and_no_descriptor_is_lost) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  std::vector<std::pair<char const*, std::function<void()>>> const operations{
      {"get", [&] { s.get("k"); }},
      {"entries", [&] { s.entries(); }},
      {"set_aside_entries", [&] { s.set_aside_entries(); }},
      {"temporaries", [&] { s.temporaries(); }},
      {"set_aside", [&] { s.set_aside("k", "x"); }},
      {"try_lock", [&] { s.try_lock("k"); }},
      {"sweep", [&] { s.sweep("k"); }},
      {"purge", [&] { s.purge(1h); }}};
  s.put("k", first);
  auto const descriptors = open_descriptors();
  for (auto const& [name, run] : operations) {
    for (int const error : {EIO, ENOSPC, EACCES, EMFILE, ENOMEM, ESTALE}) {
      for (int n = 1;; ++n) {
        s.put("k", first);
        int left = n;
        std::string which;
        *ops.before = [&](std::string_view call) { return --left == 0 ? (which = call, error) : 0; };
        bool threw = false;
        try {
          run();
        } catch (stash::error const& e) {
          threw = true;
          BOOST_TEST(e.operation() == name);
          BOOST_TEST((e.code() == os(error) || e.code() == errc::indeterminate), which);
        }
        *ops.before = [](std::string_view) { return 0; };
        auto const aside = files.set_aside_entries();
        BOOST_TEST((files.get("k") == first || (aside.size() == 1U && aside[0].state == record_state::intact)), which);
        if (left <= 0 && !threw) {  // what may fail unnoticed: closing what was read, a look at a file that is listed
          BOOST_TEST((which == "close" || which == "lock_byte" || which == "lstat" || which == "fstat" ||
                      name == "entries"s || name == "set_aside_entries"s),
                     name << " forgives " << which);
        }
        files.purge(0us);
        if (left > 0) break;
      }
    }
  }
  BOOST_TEST(open_descriptors() == descriptors);
}

BOOST_AUTO_TEST_CASE(interrupted_calls_are_made_again) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  int n = 0;
  *ops.before = [&](std::string_view call) {
    bool const restartable =
        call != "close" && call != "fstat" && call != "lstat" && call != "fchmod" && call != "mkdir" && call != "list";
    return restartable && ++n % 2 == 1 ? EINTR : 0;
  };
  s.put("k", first);
  BOOST_TEST((s.get("k") == first));
  BOOST_TEST(s.try_lock("k").has_value());
  s.set_aside("k", "x");
  BOOST_TEST(!s.erase("k"));
  BOOST_TEST(n > 20);
}

BOOST_AUTO_TEST_CASE(short_writes_are_continued_and_a_write_of_nothing_is_an_error) {
  struct short_writes : stash::posix_file_ops {
    explicit short_writes(std::size_t m) : most(m) {}
    std::size_t most;
    ssize_t writev(int fd, iovec const* v, int n) const noexcept {
      while (n > 1 && v->iov_len == 0) ++v, --n;
      return ::write(fd, v->iov_base, std::min(v->iov_len, most));
    }
  };
  for (std::size_t const most : {1U, 2U, 7U, 100U, 1000U}) {
    files.erase("k");
    stash::basic_atomic_file_storage<short_writes>{dir(), {}, short_writes{most}}.put("k", first);
    BOOST_TEST((files.get("k") == first));
  }
  BOOST_TEST(code_of([&] {
               stash::basic_atomic_file_storage<short_writes>{dir(), {}, short_writes{0}}.put("k", second);
             }) == os(EIO));
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
}

BOOST_AUTO_TEST_CASE(short_reads_are_continued_and_a_file_that_is_cut_meanwhile_is_corrupt) {
  struct short_reads : stash::posix_file_ops {
    ssize_t read(int fd, void* to, std::size_t size) const noexcept { return ::read(fd, to, std::min(size, most)); }
    std::size_t most = 7;
  };
  files.put("k", first);
  BOOST_TEST((stash::basic_atomic_file_storage<short_reads>{dir()}.get("k") == first));
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  *ops.before = [&](std::string_view call) { return call == "read" ? ::truncate(target.c_str(), 20) : 0; };
  BOOST_TEST(code_of([&] { s.get("k"); }) == errc::corrupt);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_opened_is_corrupt_only_where_it_is_no_regular_file) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  files.put("k", first);
  for (int const error : {ELOOP, ENXIO}) {
    int opened = 0;  // the directory, then the file
    *ops.before = [&](std::string_view call) { return call == "open" && ++opened == 2 ? error : 0; };
    BOOST_TEST(code_of([&] { s.get("k"); }) == os(error));
  }
}

BOOST_AUTO_TEST_CASE(to_a_stash_a_record_that_cannot_be_read_is_an_error_and_not_absent) {
  support::spoiled_ops ops;
  stash::basic_stash<support::spoiled_storage> store{dir(), stash::file_options{}, ops};
  store.save("k", 1);
  *ops.before = [](std::string_view call) { return call == "read" ? EIO : 0; };
  BOOST_TEST(code_of([&] { store.load<int>("k"); }) == os(EIO));
  BOOST_TEST(code_of([&] { store.look_up<int>("k"); }) == os(EIO));
  BOOST_TEST(code_of([&] { store.age("k"); }) == os(EIO));
}

BOOST_AUTO_TEST_CASE(a_listing_tells_a_bad_file_but_throws_what_the_process_lacks) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  for (int const error : {EIO, ENOMEM}) {
    *ops.before = [&](std::string_view call) { return call == "read" ? error : 0; };
    std::vector<stash::entry> listed;
    auto const code = code_of([&] { listed = s.entries(); });
    BOOST_TEST(code == (error == EIO ? boost::system::error_code{} : os(error)));
    BOOST_TEST(listed.size() == (error == EIO ? 1U : 0U));
  }
}

BOOST_AUTO_TEST_CASE(a_listing_with_no_descriptor_left_for_a_record_is_an_error_and_not_the_end) {
  files.put("k", first);
  int const status = support::in_child([&] {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    int const next = ::dup(0);
    ::close(next);
    rlimit const one{static_cast<rlim_t>(next) + 1, limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &one);
    auto const code = code_of([&] { files.entries(); });
    ::setrlimit(RLIMIT_NOFILE, &limit);
    return code == os(EMFILE) ? 0 : 1;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(a_listing_leaves_out_what_is_gone_when_it_is_looked_at) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  for (std::string_view const gone_before : {"lstat", "open"}) {
    files.put("k", first);
    support::write(target, "damaged");  // of which it tells how long it is
    bool is_listed = false;
    *ops.before = [&](std::string_view call) {
      if (is_listed && call == gone_before) fs::remove(target);
      is_listed |= call == "list";
      return 0;
    };
    BOOST_TEST(s.entries().empty(), gone_before);
    BOOST_TEST(!fs::exists(target), gone_before);
  }
}

/// From here on, reading directories fails with EIO, in this process and for good.
bool spoil_reading_directories() {
  sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getdents64, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog const program{4, filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
boost::test_tools::assertion_result may_spoil_reading_directories(utf::test_unit_id) {
  return support::in_child([] { return spoil_reading_directories() ? 0 : 1; }) == 0;
}

BOOST_AUTO_TEST_CASE(a_listing_that_breaks_off_is_an_error_and_not_the_end,
                     *utf::precondition(may_spoil_reading_directories)) {
  files.put("k", first);
  int const status = support::in_child([&] {
    spoil_reading_directories();
    return code_of([&] { files.entries(); }) == os(EIO) ? 0 : 1;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(what_a_cleaner_takes_meanwhile_is_removed_but_was_not_set_aside) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  auto const clean_before = [&](std::string_view which) {
    *ops.before = [&, which](std::string_view call) {
      for (auto const& name : names(dir())) {
        if (call == which && name != ".lock" && name != "k.stash") fs::remove(dir() / name);
      }
      return 0;
    };
  };
  s.put("k", first);
  clean_before("unlink");
  BOOST_TEST(s.erase("k"));
  BOOST_TEST(names(dir()).size() == 1U);
  s.put("k", first);
  clean_before("rename_noreplace");  // the copy is gone before it has its name
  BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(ENOENT));
  BOOST_TEST((s.get("k") == first));
  files.set_aside("k", "x");
  clean_before("unlink");
  BOOST_TEST(s.purge(0us) == 0U);
}

BOOST_AUTO_TEST_CASE(where_the_kernel_cannot_rename_without_replacing_a_link_does_it) {
  for (int const error : {ENOSYS, EINVAL}) {
    support::spoiled_ops ops;
    support::spoiled_storage s{dir(), {}, ops};
    s.put("k", first);
    *ops.before = [&](std::string_view call) { return call == "rename_noreplace" ? error : 0; };
    auto const where = s.set_aside("k", "x");
    BOOST_TEST(fs::exists(where));
    BOOST_TEST(!fs::exists(target));
    files.put("k", first);
    support::spoiled_storage fast{dir(), {.durability = stash::durability::process_crash}, ops};
    *ops.before = [&](std::string_view call) {
      return call == "rename_noreplace" ? error : call == "unlink" ? EIO : 0;
    };
    BOOST_TEST(code_of([&] { fast.set_aside("k", "x"); }) == os(EIO));  // it stands, beside what was set aside
    BOOST_TEST((files.get("k") == first));
    std::set<std::string_view> interrupted;
    *ops.before = [&](std::string_view call) {
      if (call == "rename_noreplace") return error;
      return (call == "link" || call == "unlink") && interrupted.insert(call).second ? EINTR : 0;
    };
    BOOST_TEST(fs::exists(fast.set_aside("k", "x")));
    BOOST_TEST(interrupted.size() == 2U);
    BOOST_TEST(!fs::exists(target));
  }
}

BOOST_AUTO_TEST_CASE(a_rename_that_cannot_be_done_is_an_error_and_nothing_is_written_in_place) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  for (int const error : {EXDEV, EBUSY}) {
    *ops.before = [&](std::string_view call) { return call == "rename" || call == "rename_noreplace" ? error : 0; };
    BOOST_TEST(code_of([&] { s.put("k", second); }) == os(error));
    BOOST_TEST(code_of([&] { s.set_aside("k", "x"); }) == os(error));
    BOOST_TEST((s.get("k") == first));
    BOOST_TEST(only_record_and_lock());
  }
}

BOOST_AUTO_TEST_CASE(when_the_clean_up_fails_too_the_first_error_is_told) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  s.put("k", first);
  *ops.before = [](std::string_view call) { return call == "writev" ? ENOSPC : call == "unlink" ? EIO : 0; };
  BOOST_TEST(code_of([&] { s.put("k", second); }) == os(ENOSPC));
}

BOOST_AUTO_TEST_CASE(a_file_size_limit_is_an_error) {
  files.put("k", first);
  int const status = support::in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit const limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return code_of([&] { files.put("k", {std::string(5000, 'x'), {}}); }) == os(EFBIG) ? 0 : 1;
  });
  BOOST_TEST(status == 0);
  BOOST_TEST((files.get("k") == first));
  BOOST_TEST(only_record_and_lock());
}

BOOST_AUTO_TEST_CASE(a_purge_goes_on_after_an_error_and_tells_the_first) {
  support::spoiled_ops ops;
  support::spoiled_storage s{dir(), {}, ops};
  int syncs = 0;
  auto const purge = [&](std::vector<int> errors, int sync_error) {  // of the unlinks and of the sync
    *ops.before = [](std::string_view) { return 0; };
    s.purge(0us);
    for (std::size_t i = 0; i < errors.size(); ++i) {
      s.put("k", first);
      s.set_aside("k", "x");
    }
    syncs = 0;
    std::size_t unlinks = 0;
    *ops.before = [&, unlinks](std::string_view call) mutable {
      if (call == "fsync") return ++syncs, sync_error;
      return call == "unlink" ? errors.at(unlinks++) : 0;
    };
    return code_of([&] { s.purge(0us); });
  };
  BOOST_TEST(purge({EIO, EACCES, 0}, 0) == os(EIO));
  BOOST_TEST(files.set_aside_entries().size() == 2U);
  BOOST_TEST(purge({EIO, 0}, EROFS) == os(EIO));
  BOOST_TEST(files.set_aside_entries().size() == 1U);
  BOOST_TEST(purge({0, 0}, EIO) == errc::indeterminate);
  BOOST_TEST(syncs == 1);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace atomic_file_faults_test
