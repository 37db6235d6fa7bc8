// The program whose power test_real_power_cut.py cuts. It knows nothing of cuts: it works with a stash, says on
// standard output what was acknowledged, one line each, and before its N-th system call it says so and waits for its
// end.
//
//     power_cut_worker run STORAGE DIRECTORY RESOURCES BYTES WORKLOAD N CALLS PROTOCOL
//         STORAGE: "files", "journal" or "sqlite"; or "tree" or "table" (of SQLite), with the record in files;
//         or "reload" or "reload words" (of an annotated table of SQLite, with either of ckan::keep)
//         CALLS: "changes", counts only what may change or sync something; "all"
//         PROTOCOL: "ours", or the same without a part: "no file sync", "no directory sync"; or with the kernel
//         writing the first half of each file back at once: "half written"
//     power_cut_worker check STORAGE DIRECTORY RESOURCES BYTES
//         prints what is in the stash, recovers, and prints what is in it then
//
// DIRECTORY is on the file system that loses power. RESOURCES is not: each resource is a file there, and changes at
// once.

#include <map>
#include <optional>
#include <set>
#include <stash/place/sqlite_table.hpp>
#include <stash/place/tree.hpp>
#include <stash/storage/journal.hpp>
#include <stash/storage/sqlite.hpp>

#include "cut_calls.hpp"
#include "cut_places.hpp"
#include "cut_reload.hpp"
#include "faulty_vfs.hpp"
#include "support.hpp"

namespace power_cut {

namespace {

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
    mark_live();
  }
  void drop(std::string const& name) const {
    fs::remove(dir / name);
    mark_live();
  }
  void mark_live() const {
    std::string line = "live";
    for (auto const& name : names(dir)) line += ' ' + name + '=' + support::read(dir / name);
    mark(line);
  }
};

template <class Stash>
stash::recovery_report recover(Stash& store, catalog const& resources, stash::recover_options options = {}) {
  return stash::recover<std::string>(
      store, [&](stash::key const& k) { return resources.has(k); },
      [&](stash::key const& k, std::string const& value) { resources.build(k, value); }, std::move(options));
}

// What is special to a storage.

struct in_files {
  template <class Ops>
  using storage = stash::basic_atomic_file_storage<Ops>;
  static stash::file_options options(stash::durability d = stash::durability::power_loss) { return {.durability = d}; }
  static constexpr char const* interrupted = ".a.0123456789abcdef.tmp";
  static bool is_known(std::string const& name) { return name == ".lock"; }
  /// As `tail -n 1` shows it.
  template <class Storage>
  static std::string payload_aside(Storage const&, stash::entry const& e) {
    std::string const bytes = support::read(e.where);
    return bytes.substr(std::min(bytes.size(), bytes.find('\n') + 1));
  }
};

struct in_a_journal {
  template <class Ops>
  using storage = stash::basic_journal_storage<Ops>;
  /// So small that it grows.
  static stash::journal_options options(stash::durability d = stash::durability::power_loss) {
    return {.durability = d, .chunk = 4096};
  }
  static constexpr char const* interrupted = ".stash.journal.tmp";  // goes when the next one is made
  static bool is_known(std::string const& name) {
    return name == ".lock" || name == "stash.journal" || name == interrupted;
  }
  template <class Storage>
  static std::string payload_aside(Storage const& s, stash::entry const& e) {
    return s.aside(e.where)->payload;
  }
};

/// What SQLite changes goes through a seam of its own.
struct in_sqlite {
  template <class Ops>
  struct storage : stash::sqlite_storage {
    storage(fs::path const& dir, stash::sqlite_options options, Ops ops = {})
        : sqlite_storage(dir / "stash.sqlite", options) {
      if constexpr (std::is_same_v<Ops, powered_ops>) {
        static support::faulty_vfs vfs{[before = ops.before](std::string_view call) { return (*before)(call); }};
      }
    }
  };
  static stash::sqlite_options options(stash::durability d = stash::durability::power_loss) {
    return {.durability = d};
  }
  static constexpr char const* interrupted = ".lock";  // a save that is interrupted leaves nothing
  static bool is_known(std::string const& name) { return name == ".lock" || name.starts_with("stash.sqlite"); }
  template <class Storage>
  static std::string payload_aside(Storage const& s, stash::entry const& e) {
    stash::detail::sqlite_connection db{s.where(e.key)};
    std::string const name = e.where.substr(e.where.find(": ") + 2);
    stash::detail::sqlite_statement row{db, "SELECT payload FROM stash WHERE set_aside = ?", "check", name};
    row.bind(name).step();
    return row.text(0).value_or("");
  }
};

template <class Kind>
struct job {
  template <class Ops>
  using stash_type = stash::basic_stash<typename Kind::template storage<Ops>>;
  static constexpr char const* interrupted = Kind::interrupted;

  fs::path root;
  catalog resources;
  powered_ops ops;

  /// The power may be cut before the next call, which finds more done.
  void acknowledge(std::string const& what) {
    say(what);
    mark("acknowledged");
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
      auto store = plain_store();
      for (auto const& [k, word] : records) store.save(k, value(word));
    }
    sync();
    mark("prepared");
  }
  /// As a process that died before it synced anything leaves it.
  void leave_unsynced(char const* word) {
    fs::create_directories(dir());
    fs::permissions(dir(), fs::owner_all);
    sync();
    plain_store(stash::durability::process_crash).save("orders", value(word));
    mark("prepared");
  }
  void sync() const {
    int const fd = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || ::syncfs(fd) != 0) throw std::runtime_error("syncfs " + root.native());
    ::close(fd);
  }

  auto store() const { return stash_type<powered_ops>{dir(), Kind::options(), ops}; }
  auto plain_store(stash::durability d = stash::durability::power_loss) const {
    return stash_type<stash::posix_file_ops>{dir(), Kind::options(d)};
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

template <class J>
void save_first(J& j) {
  j.prepare();
  j.store().save("orders", j.value("new"));
  j.acknowledge("saved");
}

template <class J>
void save(J& j) {
  j.prepare({{"other", "old"}});
  j.store().save("orders", j.value("new"));
  j.acknowledge("saved");
}

template <class J>
void overwrite(J& j) {
  j.prepare({{"orders", "old"}});
  j.store().save("orders", j.value("new"));
  j.acknowledge("saved");
}

template <class J>
void clear(J& j) {
  j.prepare({{"orders", "old"}});
  j.store().clear("orders");
  j.acknowledge("cleared");
}

template <class J>
void clear_what_another_removed(J& j) {
  j.prepare({{"orders", "old"}});
  fs::remove(j.dir() / "orders.stash");  // and died before it synced that
  j.store().clear("orders");
  j.acknowledge("cleared");
}

template <class J>
void move_aside(J& j) {
  auto s = j.store();
  auto const lock = s.storage().try_lock("orders");
  s.storage().set_aside("orders", "superseded");
  j.acknowledge("set aside");
}

template <class J>
void set_aside(J& j) {
  j.prepare({{"orders", "old"}});
  move_aside(j);
}

template <class J>
void set_aside_unsynced(J& j) {
  j.leave_unsynced("old");
  move_aside(j);
}

template <class J>
void commit(J& j) {
  j.prepare();
  j.resources.build("orders", j.value("old"));
  j.reload_under_a_guard();
}

template <class J>
void roll_back(J& j) {
  j.prepare();
  j.resources.build("orders", j.value("old"));
  auto s = j.store();
  auto g = j.guard(s);
  j.drop();
  g.rollback();
  j.acknowledge("rolled back");
}

template <class J>
void adopt(J& j) {
  j.prepare({{"orders", "old"}});
  j.reload_under_a_guard();
}

template <class J>
void adopt_unsynced(J& j) {
  j.leave_unsynced("old");
  j.reload_under_a_guard();
}

template <class J>
void supersede(J& j) {
  j.prepare({{"orders", "old"}});
  j.resources.build("orders", j.value("new"));
  j.reload_under_a_guard();
}

template <class J>
void go_on_recovering(J& j) {
  auto s = j.store();
  recover(s, j.resources, {.observer = j.observer()});
  j.acknowledge("recovered");
}

template <class J>
void recover_two(J& j) {
  j.prepare({{"a", "old"}, {"b", "new"}});
  support::write(j.dir() / J::interrupted, "an interrupted save");
  j.sync();
  go_on_recovering(j);
}

/// So often that most of a journal is dead.
template <class J>
void save_often(J& j) {
  j.prepare({{"orders", "old"}, {"other", "old"}});
  auto s = j.store();
  for (int i = 0; i < 4; ++i) s.save("orders", j.value("new"));
  j.acknowledge("saved");
}

template <class J>
std::map<std::string, void (*)(J&)> const workloads{{"save first", save_first<J>},
                                                    {"save", save<J>},
                                                    {"save often", save_often<J>},
                                                    {"overwrite", overwrite<J>},
                                                    {"clear", clear<J>},
                                                    {"clear what another removed", clear_what_another_removed<J>},
                                                    {"set aside", set_aside<J>},
                                                    {"set aside unsynced", set_aside_unsynced<J>},
                                                    {"commit", commit<J>},
                                                    {"roll back", roll_back<J>},
                                                    {"adopt", adopt<J>},
                                                    {"adopt unsynced", adopt_unsynced<J>},
                                                    {"supersede", supersede<J>},
                                                    {"recover", recover_two<J>},
                                                    {"go on recovering", go_on_recovering<J>}};

std::string word_aside(catalog const& resources, std::string const& payload) {
  boost::system::error_code failed;
  auto const value = boost::json::parse(payload, failed);
  return failed || !value.is_string() ? "torn" : resources.word_of(value.as_string().c_str());
}

/// "orders=new orders.superseded=old": the records, those set aside, and the name of whatever else is there.
template <class Kind, class Stash>
std::string shown(Stash const& store, job<Kind> const& j) {
  std::multiset<std::string> found;
  auto others = names(j.dir());
  std::erase_if(others, Kind::is_known);
  auto const is_known = [&](fs::path const& file) { std::erase(others, file.filename().native()); };
  for (auto const& e : store.entries()) {
    auto const r = store.template look_up<std::string>(e.key);
    found.insert(std::string(e.key.str()) + '=' + (r.value ? j.resources.word_of(*r.value) : "corrupt"));
    is_known(e.where);
  }
  for (auto const& e : store.set_aside_entries()) {
    std::string const name = e.where.substr(e.where.find_last_of("/ ") + 1);
    bool const whole = e.state == stash::record_state::intact;
    auto const word = [&] { return word_aside(j.resources, Kind::payload_aside(store.storage(), e)); };
    found.insert(name.substr(0, name.find('-')) + '=' + (whole ? word() : "corrupt"));
    is_known(e.where);
  }
  found.insert(others.begin(), others.end());
  std::string line;
  for (auto const& each : found) line += (line.empty() ? "" : " ") + each;
  return line;
}

template <class Kind>
void check(job<Kind> const& j) {
  auto store = j.plain_store();
  say(shown(store, j));
  for (auto const& [k, why] : recover(store, j.resources).failed) std::rethrow_exception(why);
  say(shown(store, j));
}

template <class Kind>
int run(std::vector<std::string> const& args) {
  job<Kind> j{args[2], {args[3], std::stoul(args[4])}, {}};
  if (args[0] == "check" && args.size() == 5) {
    check(j);
    return 0;
  }
  if (args[0] != "run" || args.size() != 9) return 2;
  *j.ops.before = countdown{std::stol(args[6]), args[7] == "all"};
  j.ops.protocol = args[8];
  workloads<job<Kind>>.at(args[5])(j);
  say("ended");
  wait_for_the_end();
}

/// A directory.
struct a_tree {
  fs::path root;
  std::size_t bytes;
  powered_ops ops;

  fs::path path() const { return root / "srv" / "orders"; }
  auto place() const { return stash::basic_tree<powered_ops>{path(), {}, ops}; }
  void prepare() const {}
  void build(char const* word) const {
    fs::create_directories(path() / "sub");
    support::write(path() / "a", stretched(word, bytes));
    support::write(path() / "sub/b", stretched(word, bytes));
  }

  std::string word() const {
    auto const parked = place().parked_path();
    return fs::exists(parked) ? "parked " + word_at(parked) : word_at(path());
  }
  std::string word_at(fs::path const& at) const {
    if (!fs::exists(at)) return "none";
    for (char const* const word : {"old", "new"}) {
      auto const text = stretched(word, bytes);
      if (names(at) == std::vector<std::string>{"a", "sub"} && support::read(at / "a") == text &&
          names(at / "sub") == std::vector<std::string>{"b"} && support::read(at / "sub/b") == text) {
        return word;
      }
    }
    return "mixture";
  }
  std::vector<std::string> all() const { return names(path().parent_path()); }
};

/// A table of a SQLite file, with an index and a view.
struct a_table {
  fs::path root;
  std::size_t bytes;
  powered_ops ops;

  std::string file() const { return (root / "srv.sqlite").native(); }
  stash::sqlite_table place() const { return stash::sqlite_table{file(), "orders"}; }
  /// From here on each change of a file of SQLite's counts.
  void prepare() const {
    static support::faulty_vfs vfs{[before = ops.before](std::string_view call) { return (*before)(call); }};
  }
  void build(std::string const& word) const {
    stash::detail::sqlite_connection db{file()};
    std::string const row = "INSERT INTO orders SELECT '" + stretched(word, bytes) + "', value FROM (SELECT 1 AS value";
    db.execute("BEGIN; DROP TABLE IF EXISTS orders; CREATE TABLE orders (word, n); " + row + " UNION SELECT 2); COMMIT",
               "build", "orders");
    if (word == "old") {
      db.execute("CREATE INDEX by_n ON orders (n); CREATE VIEW IF NOT EXISTS seen AS SELECT word FROM orders", "build",
                 "orders");
    }
  }

  std::string word() const { return place().parked() ? "parked " + word_at(place().parked_name()) : word_at("orders"); }
  std::string word_at(std::string const& table) const {
    stash::detail::sqlite_connection db{file()};
    stash::detail::sqlite_statement there{db, "SELECT 1 FROM sqlite_master WHERE name = ?", "check", table};
    if (!there.bind(table).step()) return "none";
    for (char const* const word : {"old", "new"}) {
      stash::detail::sqlite_statement row{
          db, "SELECT count(*) = 2 AND min(word) = ?1 AND max(word) = ?1 AND sum(n) = 3 FROM " + table, "check", table};
      if (row.bind(stretched(word, bytes)).step() && row.integer(0) == 1) return word;
    }
    return "mixture";
  }
  /// With all that is to hang on the table, "orders" alone.
  std::vector<std::string> all() const {
    stash::detail::sqlite_connection db{file()};
    std::vector<std::string> result;
    stash::detail::sqlite_statement row{db, "SELECT name FROM sqlite_master ORDER BY name", "check", "all"};
    while (row.step()) result.push_back(row.text(0).value_or(""));
    auto const hangs = [](auto const& name) { return name == "by_n" || name == "seen"; };
    if (std::erase_if(result, hangs) != 2) result.push_back("lacks what hung on it");
    return result;
  }
};

int run(std::vector<std::string> const& args) {
  if (args.size() < 5) return 2;
  if (args[1] == "tree") return run_place<a_tree>(args);
  if (args[1] == "table") return run_place<a_table>(args);
  if (args[1].starts_with("reload")) return run_reload(args);
  if (args[1] == "files") return run<in_files>(args);
  if (args[1] == "journal") return run<in_a_journal>(args);
  return args[1] == "sqlite" ? run<in_sqlite>(args) : 2;
}

}  // namespace

}  // namespace power_cut

int main(int argc, char** argv) {
  try {
    return power_cut::run({argv + 1, argv + argc});
  } catch (std::exception const& e) {
    ::dprintf(STDERR_FILENO, "power_cut_worker: %s\n", e.what());
    return 1;
  }
}
