// The program whose power test_real_power_cut.py cuts. It knows nothing of cuts: it works with a stash, says on
// standard output what was acknowledged, one line each, and before its N-th system call it says so and waits for its
// end.
//
//     power_cut_worker run DIRECTORY RESOURCES BYTES WORKLOAD N CALLS PROTOCOL
//         CALLS: "changes", counts only what may change or sync something; "all"
//         PROTOCOL: "ours", or the same without a part: "no file sync", "no directory sync"; or with the kernel
//         writing the first half of each file back at once: "half written"
//     power_cut_worker check DIRECTORY RESOURCES BYTES
//         prints what is in the stash, recovers, and prints what is in it then
//
// DIRECTORY is on the file system that loses power. RESOURCES is not: each resource is a file there, and changes at
// once.

#include <fcntl.h>
#include <unistd.h>

#include <map>
#include <optional>
#include <set>

#include "support.hpp"

namespace {

namespace fs = boost::filesystem;
using support::names;

/// A word as long as the test wants it.
std::string stretched(std::string const& word, std::size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += word;
  return out.substr(0, bytes);
}

void say(std::string const& line) {
  std::string const text = line + '\n';
  if (::write(STDOUT_FILENO, text.data(), text.size()) != static_cast<ssize_t>(text.size())) ::_exit(3);
}

/// Nothing of this process runs any more, destructors neither; it ends when the test does or says so.
[[noreturn]] void wait_for_the_end() {
  char ignored = 0;
  while (::read(STDIN_FILENO, &ignored, 1) > 0) {
  }
  ::_exit(0);
}

class countdown {
 public:
  countdown(long calls, bool all) : left_(calls), all_(all) {}
  int operator()(std::string_view call) {
    static std::set<std::string_view> const changes{
        "acknowledged", "create", "open_lock",        "writev", "fsync",  "syncfs", "fchmod",
        "mkdir",        "rename", "rename_noreplace", "link",   "unlink", "rmdir",  "link_unnamed"};
    bool const counts = all_ || changes.contains(call);
    if (!counts || --left_ != 0) return 0;
    say("stopped");
    wait_for_the_end();
  }

 private:
  long left_;
  bool all_;
};

struct powered_ops : support::spoiled_ops {
  std::string protocol;

  int open(int d, char const* n, int flags, mode_t m = 0) const {
    if ((flags & O_CREAT) == 0) return spoiled_ops::open(d, n, flags, m);
    return call("create", [&] { return real.open(d, n, flags, m); });
  }
  int fsync(int fd) const {
    struct stat s;
    if (::fstat(fd, &s) != 0) return -1;
    if (protocol == (S_ISDIR(s.st_mode) ? "no directory sync" : "no file sync")) return 0;
    return spoiled_ops::fsync(fd);
  }
  ssize_t writev(int fd, iovec const* v, int n) const {
    auto const written = spoiled_ops::writev(fd, v, n);
    unsigned const now = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (written > 0 && protocol == "half written" && ::sync_file_range(fd, 0, written / 2, now) != 0) return -1;
    return written;
  }
};

/// The things that people described. They survive every cut, so that a stash that lags behind them is seen.
struct catalog {
  fs::path dir;
  std::size_t bytes;

  std::string word_of(std::string const& value) const {
    for (char const* const word : {"old", "new"}) {
      if (value == stretched(word, bytes)) return word;
    }
    return "torn";
  }
  bool has(std::string_view name) const { return fs::exists(dir / std::string(name)); }
  std::optional<std::string> live(std::string const& name) const {
    if (!has(name)) return std::nullopt;
    return stretched(support::read(dir / name), bytes);
  }
  void build(std::string_view name, std::string const& value) const {
    support::write(dir / std::string(name), word_of(value));
  }
  void drop(std::string const& name) const { fs::remove(dir / name); }
};

template <class Stash>
stash::recovery_report recover(Stash& store, catalog const& resources, stash::recover_options options = {}) {
  return stash::recover<std::string>(
      store, [&](stash::key const& k) { return resources.has(k); },
      [&](stash::key const& k, std::string const& value) { resources.build(k, value); }, std::move(options));
}

struct job {
  fs::path root;
  catalog resources;
  powered_ops ops;

  /// The power may be cut before the next call, which finds more done.
  void acknowledge(std::string const& what) {
    say(what);
    (*ops.before)("acknowledged");
  }
  auto observer() {
    return [this](stash::event const& e) { acknowledge(std::string(to_string(e.kind))); };
  }

  fs::path dir() const { return root / "etl" / "stash"; }  // two levels to make
  std::string value(char const* word) const { return stretched(word, resources.bytes); }

  /// What is durable before the first call that counts.
  void prepare(std::map<std::string, char const*> const& records = {}) {
    if (!records.empty()) {
      stash::file_stash store{dir()};
      for (auto const& [k, word] : records) store.save(k, value(word));
    }
    sync();
  }
  /// As a process that died before it synced anything leaves it.
  void leave_unsynced(char const* word) {
    fs::create_directories(dir());
    fs::permissions(dir(), fs::owner_all);
    sync();
    stash::file_stash{dir(), stash::file_options{stash::durability::process_crash}}.save("orders", value(word));
  }
  void sync() const {
    int const fd = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || ::syncfs(fd) != 0) throw std::runtime_error("syncfs " + root.native());
    ::close(fd);
  }

  auto store() const {
    return stash::basic_stash<stash::basic_atomic_file_storage<powered_ops>>{dir(), stash::file_options{}, ops};
  }

  template <class Stash>
  auto guard(Stash& s) {
    return stash::delete_guard{s,
                               "orders",
                               [this] { return resources.live("orders"); },
                               [this](std::string const& saved) { resources.build("orders", saved); },
                               {.clear_after_restore = true, .observer = observer()}};
  }
  void drop() {
    resources.drop("orders");
    acknowledge("dropped");
  }
  void reload_under_a_guard() {
    auto s = store();
    auto g = guard(s);
    drop();
    resources.build("orders", *g.value());
    acknowledge("rebuilt");
    g.commit();
  }
};

void save_first(job& j) {
  j.prepare();
  j.store().save("orders", j.value("new"));
  j.acknowledge("saved");
}

void save(job& j) {
  j.prepare({{"other", "old"}});
  j.store().save("orders", j.value("new"));
  j.acknowledge("saved");
}

void overwrite(job& j) {
  j.prepare({{"orders", "old"}});
  j.store().save("orders", j.value("new"));
  j.acknowledge("saved");
}

void clear(job& j) {
  j.prepare({{"orders", "old"}});
  j.store().clear("orders");
  j.acknowledge("cleared");
}

void clear_what_another_removed(job& j) {
  j.prepare({{"orders", "old"}});
  fs::remove(j.dir() / "orders.stash");  // and died before it synced that
  j.store().clear("orders");
  j.acknowledge("cleared");
}

void move_aside(job& j) {
  auto s = j.store();
  auto const lock = s.storage().try_lock("orders");
  s.storage().set_aside("orders", "superseded");
  j.acknowledge("set aside");
}

void set_aside(job& j) {
  j.prepare({{"orders", "old"}});
  move_aside(j);
}

void set_aside_unsynced(job& j) {
  j.leave_unsynced("old");
  move_aside(j);
}

void commit(job& j) {
  j.prepare();
  j.resources.build("orders", j.value("old"));
  j.reload_under_a_guard();
}

void roll_back(job& j) {
  j.prepare();
  j.resources.build("orders", j.value("old"));
  auto s = j.store();
  auto g = j.guard(s);
  j.drop();
  g.rollback();
  j.acknowledge("rolled back");
}

void adopt(job& j) {
  j.prepare({{"orders", "old"}});
  j.reload_under_a_guard();
}

void adopt_unsynced(job& j) {
  j.leave_unsynced("old");
  j.reload_under_a_guard();
}

void supersede(job& j) {
  j.prepare({{"orders", "old"}});
  j.resources.build("orders", j.value("new"));
  j.reload_under_a_guard();
}

void go_on_recovering(job& j) {
  auto s = j.store();
  recover(s, j.resources, {.observer = j.observer()});
  j.acknowledge("recovered");
}

void recover_two(job& j) {
  j.prepare({{"a", "old"}, {"b", "new"}});
  support::write(j.dir() / ".a.0123456789abcdef.tmp", "an interrupted save");
  j.sync();
  go_on_recovering(j);
}

std::map<std::string, void (*)(job&)> const workloads{{"save first", save_first},
                                                      {"save", save},
                                                      {"overwrite", overwrite},
                                                      {"clear", clear},
                                                      {"clear what another removed", clear_what_another_removed},
                                                      {"set aside", set_aside},
                                                      {"set aside unsynced", set_aside_unsynced},
                                                      {"commit", commit},
                                                      {"roll back", roll_back},
                                                      {"adopt", adopt},
                                                      {"adopt unsynced", adopt_unsynced},
                                                      {"supersede", supersede},
                                                      {"recover", recover_two},
                                                      {"go on recovering", go_on_recovering}};

/// Of a record that was set aside: what `tail -n 1` shows of it.
std::string word_aside(catalog const& resources, fs::path const& file) {
  std::string const bytes = support::read(file);
  auto const header_end = bytes.find('\n');
  if (header_end == bytes.npos) return "torn";
  boost::system::error_code failed;
  auto const value = boost::json::parse(bytes.substr(header_end + 1), failed);
  return failed || !value.is_string() ? "torn" : resources.word_of(value.as_string().c_str());
}

/// "orders=new orders.superseded=old": the records, those set aside, and the name of whatever else is there.
std::string shown(stash::file_stash const& store, fs::path const& dir, catalog const& resources) {
  std::multiset<std::string> found;
  auto others = names(dir);
  auto const is_known = [&](fs::path const& file) { std::erase(others, file.filename().native()); };
  is_known(".lock");
  for (auto const& e : store.entries()) {
    auto const r = store.look_up<std::string>(e.key);
    found.insert(std::string(e.key.str()) + '=' + (r.value ? resources.word_of(*r.value) : "corrupt"));
    is_known(e.where);
  }
  for (auto const& e : store.set_aside_entries()) {
    fs::path const file = e.where;
    std::string const name = file.filename().native();
    bool const whole = e.state == stash::record_state::intact;
    found.insert(name.substr(0, name.find('-')) + '=' + (whole ? word_aside(resources, file) : "corrupt"));
    is_known(file);
  }
  found.insert(others.begin(), others.end());
  std::string line;
  for (auto const& each : found) line += (line.empty() ? "" : " ") + each;
  return line;
}

void check(job& j) {
  stash::file_stash store{j.dir()};
  say(shown(store, j.dir(), j.resources));
  for (auto const& [k, why] : recover(store, j.resources).failed) std::rethrow_exception(why);
  say(shown(store, j.dir(), j.resources));
}

int run(std::vector<std::string> const& args) {
  if (args.size() < 4) return 2;
  job j{args[1], {args[2], std::stoul(args[3])}, {}};
  if (args[0] == "check" && args.size() == 4) {
    check(j);
    return 0;
  }
  if (args[0] != "run" || args.size() != 8) return 2;
  *j.ops.before = countdown{std::stol(args[5]), args[6] == "all"};
  j.ops.protocol = args[7];
  workloads.at(args[4])(j);
  say("ended");
  wait_for_the_end();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (std::exception const& e) {
    ::dprintf(STDERR_FILENO, "power_cut_worker: %s\n", e.what());
    return 1;
  }
}
