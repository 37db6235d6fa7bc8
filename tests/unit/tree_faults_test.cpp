// A replace_guard of a tree, at each of whose system calls something happens: it fails, or the process is killed. After
// it the old one or the new one stands, or is parked: whole. Whoever comes next goes on from there.
#include <csignal>

#include "figures.hpp"
#include "support.hpp"

namespace tree_faults_test {

using support::names;
using support::read;
using support::write;
namespace fs = boost::filesystem;

namespace {

enum class way { commits, fails };

struct world : support::scratch {
  fs::path const place = root / "export", parked = root / ".export.stash-parked";
  support::spoiled_ops ops;
  using store_type = stash::basic_stash<support::spoiled_storage>;

  world() { build("old"); }

  auto guard(store_type& store, stash::event_kind* last = nullptr) {
    return stash::replace_guard{store,
                                "export",
                                stash::basic_tree<support::spoiled_ops>{place, {}, ops},
                                {.observer = [last](stash::event const& e) {
                                  if (last != nullptr) *last = e.kind;
                                }}};
  }
  store_type store() { return store_type{support::spoiled_storage{dir(), {}, ops}}; }
  void build(std::string const& words) {
    fs::create_directories(place / "sub");
    write(place / "f", words);
    write(place / "sub/f", words);
  }
  static std::string all_of(fs::path const& path) {
    if (!fs::exists(path)) return "nothing";
    bool const is_whole =
        names(path) == std::vector<std::string>{"f", "sub"} && read(path / "f") == read(path / "sub/f");
    return is_whole ? read(path / "f") : "a mixture";
  }
  /// What a job does. `work` is called amid it.
  void run(way how) {
    auto s = store();
    auto g = guard(s);
    build("new");
    if (how == way::commits) return g.commit();
    throw std::runtime_error("the job");
  }
  void recover() {
    auto s = store();
    auto const report =
        stash::recover_places(s,
                              [this](auto const&, auto const&) {
                                return std::optional(stash::basic_tree<support::spoiled_ops>{place, {}, ops});
                              },
                              {.observer = stash::silent});
    if (!report.failed.empty()) std::rethrow_exception(report.failed[0].second);
  }

  /// Which one there is, if all is as promised; else what is wrong.
  std::string found() const {
    std::string const stands = all_of(place), under = all_of(parked);
    if (under == "nothing") return stands;
    return under == "old" || under == "new" ? under : "parked: " + under;
  }
  /// The next run finds all that a dead one left, and goes on from there.
  std::string found_by_the_next() {
    std::string const before = found();
    {
      auto s = store();
      auto g = guard(s);
      if (all_of(place) != "nothing") return "the place is not free";
      build("half");
      fs::remove(place / "f");
    }
    std::string const after = all_of(place);
    auto left = names(root);
    std::erase(left, "stash");
    if (left != std::vector<std::string>{"export"}) return "leftovers: " + left[0];
    return before == after ? after : before + ", then " + after;
  }
};

/// Fails the n-th call from now on, or kills there. 0: neither. That nothing is there is an answer, and no failure,
/// where that is what was asked.
struct fault {
  int at, error;  // error 0: SIGKILL
  int* calls;
  support::spoiled_ops::hook hook() const {
    return [*this](std::string_view call) {
      if (++*calls != at || (error == ENOENT && (call == "lstat" || call == "open"))) return 0;
      if (error == 0) ::raise(SIGKILL);
      return error;
    };
  }
};

/// Whether a call did fail; and what is there then must be `old` unless the job returned.
bool survives(way how, int n, int error) {
  world w;
  int calls = 0;
  *w.ops.before = fault{n, error, &calls}.hook();
  bool is_done = false;
  try {
    w.run(how);
    is_done = true;
  } catch (std::exception const&) {
  }
  *w.ops.before = [](std::string_view) { return 0; };
  std::string const what = std::string(how == way::commits ? "commit" : "failure") + ", call " + std::to_string(n) +
                           " fails with " + std::to_string(error) + ": ";
  std::string const found = w.found();
  // A commit that only could not clear the record has settled.
  bool const is_right = is_done ? found == "new" : found == "old" || (how == way::commits && found == "new");
  BOOST_TEST(is_right, what << found);
  std::string const next = w.found_by_the_next();
  BOOST_TEST(next == found, what << next);
  return calls >= n;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tree_faults)

BOOST_AUTO_TEST_CASE(whichever_call_fails_the_old_one_or_the_new_one_is_whole) {
  constexpr int errors[] = {EIO,    ENOSPC, EACCES, EPERM,  EROFS, EXDEV,        EBUSY,   ENOENT, EEXIST,    EMFILE,
                            ENOMEM, EINVAL, ENOSYS, ESTALE, ELOOP, ENAMETOOLONG, ENOTDIR, EISDIR, ENOTEMPTY, EDQUOT};
  int const stride = support::is_long() ? 1 : 5;
  for (way const how : {way::commits, way::fails}) {
    int n = 1;
    for (bool is_there = true; is_there; ++n) {
      for (int each = n % stride; each < 20; each += stride) is_there = survives(how, n, errors[each]);
    }
    BOOST_TEST(n > 30);
  }
}

BOOST_AUTO_TEST_CASE(wherever_the_process_is_killed_and_again_in_the_recovery_the_old_one_or_the_new_one_is_whole) {
  for (way const how : {way::commits, way::fails}) {
    for (bool const recovers : {false, true}) {
      bool was_killed = true;
      int n = 1;
      for (; was_killed; n += support::is_long() ? 1 : 4) {
        bool was_killed_again = true;
        for (int m = 0; was_killed_again; m += support::is_long() ? 1 : 31) {
          world w;
          was_killed = support::in_child([&] {
                         int calls = 0;
                         *w.ops.before = fault{n, 0, &calls}.hook();
                         try {
                           w.run(how);
                         } catch (std::exception const&) {
                         }
                         return 0;
                       }) == 256 + SIGKILL;
          std::string const before = w.found();
          was_killed_again = m > 0 && support::in_child([&] {
                                        int calls = 0;
                                        *w.ops.before = fault{m, 0, &calls}.hook();
                                        recovers ? w.recover() : static_cast<void>(w.found_by_the_next());
                                        return 0;
                                      }) == 256 + SIGKILL;
          std::string const what = (how == way::commits ? "commit" : "failure") +
                                   std::string(recovers ? ", recover" : "") + ", killed at " + std::to_string(n) +
                                   ", and at " + std::to_string(m) + ": ";
          BOOST_TEST((before == "old" || (before == "new" && how == way::commits)), what << before);
          if (recovers) {
            w.recover();
            BOOST_TEST(!fs::exists(w.parked), what << "still parked");
          }
          std::string const next = w.found_by_the_next();
          BOOST_TEST(next == before, what << before << ", then " << next);
          if (m == 0) was_killed_again = true;
          if (!was_killed) break;
        }
      }
      BOOST_TEST(n > 30);
    }
  }
}

BOOST_AUTO_TEST_CASE(at_whatever_call_somebody_else_removes_it_too_a_discard_tells_of_no_failure) {
  for (fs::path const gone : {"", "sub", "sub/deep", "f", "sub/f"}) {
    int n = 1;
    for (bool is_there = true; is_there; ++n) {
      world w;
      fs::path const doomed = w.root / ".export.stash-doomed-0123456789abcdef";
      fs::rename(w.place, doomed);
      fs::create_directories(doomed / "sub/deep/deeper");
      write(doomed / "sub/deep/f", "f");
      int calls = 0;
      *w.ops.before = [&](std::string_view) {
        if (++calls != n) return 0;
        fs::remove_all(doomed / gone);
        for (auto const& name : names(doomed)) {  // a directory in it may have been moved there
          if (name.starts_with(".stash-moved")) fs::remove_all(doomed / name);
        }
        return 0;
      };
      stash::basic_tree<support::spoiled_ops> t{w.place, {}, w.ops};
      std::string const problem = support::message_of([&] { t.discard(); });
      BOOST_TEST(problem.empty(), gone << " at call " << n << ": " << problem);
      BOOST_TEST(!fs::exists(doomed), gone << " at call " << n);
      is_there = calls >= n;
    }
    BOOST_TEST(n > 20);
  }
}

BOOST_AUTO_TEST_CASE(
    a_directory_that_goes_before_its_mode_is_changed_is_gone_and_one_that_cannot_be_looked_at_is_told) {
  world w;
  fs::path const doomed = w.root / ".export.stash-doomed-0123456789abcdef";
  fs::rename(w.place, doomed);
  stash::basic_tree<support::spoiled_ops> t{w.place, {}, w.ops};
  *w.ops.before = [has_failed = false](std::string_view call) mutable {
    has_failed |= call == "unlink";
    return call == "unlink" || (call == "lstat" && has_failed) ? EIO : 0;
  };
  BOOST_TEST(support::code_of([&] { t.discard(); }) == support::os(EIO));
  *w.ops.before = [&](std::string_view call) {
    if (call != "rename") return 0;
    fs::remove_all(doomed / "sub");
    return EACCES;  // as where it may not be written to
  };
  t.discard();
  BOOST_TEST(!fs::exists(doomed));
  fs::create_directory(doomed);
  *w.ops.before = [](std::string_view call) { return call == "rmdir" ? ENOTEMPTY : 0; };  // somebody goes on filling it
  BOOST_TEST(support::code_of([&] { t.discard(); }) == support::os(ENOTEMPTY));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace tree_faults_test
