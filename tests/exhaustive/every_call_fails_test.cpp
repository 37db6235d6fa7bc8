// Every call fails once. Each operation of each storage is run again and again, and each time another of the things
// it asks the system for is refused: its n-th system call, with each errno; all calls from the n-th on; a sync; a
// part of a write; its n-th allocation; its life. What must hold afterwards is the same for all (see `judge`).
//
// A storage is a place more and a line in `on_each`, an operation one row more in one of the tables. The memory storage
// makes no system calls: there only allocations can fail. A program of its own, because it replaces the global operator
// new.
#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <csignal>
#include <map>
#include <new>
#include <random>
#include <set>
#include <stash/ckan/reload.hpp>
#include <stash/storage/journal.hpp>

#include "figures.hpp"
#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
using stash::errc;
using stash::origin;
using stash::record;
using stash::time_point;
using support::code_of;
using support::names;
namespace ckan = stash::ckan;
namespace fs = boost::filesystem;
namespace json = boost::json;

// Allocations

namespace {

/// The allocation that fails, of this thread; off where a test does not turn it on.
struct failing_allocation {
  long at = 0;         // which one, from 1
  bool later = false;  // those after it fail too
  long calls = 0;
  bool is_on = false;
  bool fails() noexcept {
    if (!is_on) return false;
    ++calls;
    return calls == at || (later && calls > at);
  }
};
thread_local failing_allocation allocation;

[[gnu::noinline]] void* allocate(std::size_t size, std::size_t alignment = 0) noexcept {
  if (allocation.fails()) return nullptr;
  if (alignment == 0) return std::malloc(size == 0 ? 1 : size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
[[gnu::noinline]] void release(void* p) noexcept { std::free(p); }
void* allocated(void* p) { return p != nullptr ? p : throw std::bad_alloc{}; }

}  // namespace

void* operator new(std::size_t n) { return allocated(allocate(n)); }
void* operator new[](std::size_t n) { return allocated(allocate(n)); }
void* operator new(std::size_t n, std::nothrow_t const&) noexcept { return allocate(n); }
void* operator new[](std::size_t n, std::nothrow_t const&) noexcept { return allocate(n); }
void* operator new(std::size_t n, std::align_val_t a) { return allocated(allocate(n, static_cast<std::size_t>(a))); }
void* operator new[](std::size_t n, std::align_val_t a) { return allocated(allocate(n, static_cast<std::size_t>(a))); }
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, std::nothrow_t const&) noexcept { release(p); }
void operator delete[](void* p, std::nothrow_t const&) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { release(p); }

namespace {

// System calls

/// A disk that keeps only what was synced, and whose failed syncs lose what they were for: the next one reports
/// success and does nothing for it. It looks at the directories after each call, so that it need not know the calls,
/// but for those that write in the middle of a file.
class forgetful_disk {
 public:
  explicit forgetful_disk(fs::path root) : root_(std::move(root)) {
    look();
    for (auto& [where, n] : names_) n.on_disk = n.now;
  }

  /// What changed since the last look is pending, even where a failed sync had lost an earlier change.
  void look() {
    std::map<place, id> found;
    std::set<ino_t> alive = nameless_;
    visit(root_, found, alive);
    std::erase_if(ids_, [&](auto const& one) { return !alive.contains(one.first); });
    for (auto const& [where, i] : found) names_.try_emplace(where);
    for (auto& [where, n] : names_) {
      auto const at = found.find(where);
      id const now = at == found.end() ? nothing : at->second;
      if (now != n.now) n = {now, n.on_disk, false};
    }
  }

  /// Pending too, though the same bytes may have stood there.
  void written(int fd, off_t at, std::size_t size) {
    look();
    auto const f = files_.find(id_of(fd));
    if (f != files_.end()) f->second.write(support::read("/proc/self/fd/" + std::to_string(fd)), at, size);
  }

  void synced(int fd, bool well) {
    look();
    id const i = id_of(fd);
    struct stat s {};
    ::fstat(fd, &s);
    if (S_ISREG(s.st_mode) && s.st_nlink == 0) {
      nameless_.insert(s.st_ino);
      auto now = support::read("/proc/self/fd/" + std::to_string(fd));
      files_[i].write(now, 0, now.size());
    }
    if (auto const f = files_.find(i); f != files_.end()) f->second.sync(well);
    for (auto& [where, n] : names_) {
      if (where.first != i) continue;
      if (!well) n.is_lost |= n.now != n.on_disk;
      if (!n.is_lost) n.on_disk = n.now;
    }
  }

  void closed(int fd) {
    struct stat s {};
    if (::fstat(fd, &s) == 0) nameless_.erase(s.st_ino);
  }

  /// Makes in `to` what a power cut now would leave.
  void cut(fs::path const& to) {
    look();
    struct stat s {};
    ::lstat(root_.c_str(), &s);
    make(id_of(s), to);
  }

 private:
  using id = std::uint64_t;
  static constexpr id nothing = 0;
  using place = std::pair<id, std::string>;  // a directory, and a name in it
  struct name {
    id now = nothing, on_disk = nothing;
    bool is_lost = false;
  };
  /// Each byte by itself: a disk would take along those beside one that is written again.
  struct file {
    std::string bytes{}, on_disk{};
    std::vector<bool> is_dirty{};
    void write(std::string now, off_t at, std::size_t size) {
      bytes = std::move(now);
      is_dirty.resize(bytes.size());
      std::fill_n(is_dirty.begin() + at, std::min(size, bytes.size() - static_cast<std::size_t>(at)), true);
    }
    void sync(bool well) {
      for (std::size_t i = 0; well && i < bytes.size(); ++i) {
        if (!is_dirty[i]) continue;
        on_disk.resize(std::max(on_disk.size(), i + 1));
        on_disk[i] = bytes[i];
      }
      is_dirty.assign(bytes.size(), false);
    }
  };

  /// Inode numbers are used again, ids are not.
  id id_of(struct stat const& s) {
    auto const [at, is_new] = ids_.try_emplace(s.st_ino, last_id_ + 1);
    last_id_ += is_new;
    return at->second;
  }
  id id_of(int fd) {
    struct stat s {};
    ::fstat(fd, &s);
    return id_of(s);
  }

  void visit(fs::path const& dir, std::map<place, id>& found, std::set<ino_t>& alive) {
    struct stat s {};
    if (::lstat(dir.c_str(), &s) != 0) return;
    alive.insert(s.st_ino);
    id const in = id_of(s);
    for (auto const& each : names(dir)) {
      if (::lstat((dir / each).c_str(), &s) != 0) continue;
      alive.insert(s.st_ino);
      found[{in, each}] = id_of(s);
      if (S_ISDIR(s.st_mode)) visit(dir / each, found, alive);
      if (!S_ISREG(s.st_mode)) continue;
      file& f = files_[id_of(s)];
      auto const before = f.bytes.size();
      if (before == static_cast<std::size_t>(s.st_size)) continue;
      std::string now = support::read(dir / each);
      auto const first = now.size() < before ? 0 : before;
      f.write(now, static_cast<off_t>(first), now.size());
    }
  }

  void make(id directory, fs::path const& at) {
    fs::create_directory(at);
    for (auto const& [where, n] : names_) {
      if (where.first != directory || n.on_disk == nothing) continue;
      auto const f = files_.find(n.on_disk);
      if (f == files_.end()) {
        make(n.on_disk, at / where.second);
      } else {
        support::write(at / where.second, f->second.on_disk);
      }
    }
  }

  fs::path root_;
  std::set<ino_t> nameless_;  // synced before they have a name
  std::map<ino_t, id> ids_;
  id last_id_ = nothing;
  std::map<place, name> names_;
  std::map<id, file> files_;
};

/// What goes wrong with the system calls of one run.
struct trouble {
  int at = 0;                  // which call, from 1; 0: none
  int error = 0;               // its errno
  int later = 0;               // that of all calls after it; 0: they succeed
  std::string_view only = {};  // where not empty, calls of this name alone count
  bool kills = false;          // instead of an errno
  int short_writes = 0;        // so many writes are short
  std::size_t length = 0;      // they write this many bytes
};

/// What the system calls go through: makes trouble, and notes what it saw.
class machine {
 public:
  bool has_renameat2 = true;
  std::optional<forgetful_disk> disk{};

  void start(trouble const& t) {
    plan_ = t;
    calls_ = writes_ = 0;
    longest_write_ = 0;
    spoiled_ = {};
    shortened_ = 0;
  }
  void stop() { plan_ = {}; }

  /// The errno that this call is to fail with; 0: none.
  int next(std::string_view call) {
    if (disk) disk->look();
    if (plan_.at == 0 || (!plan_.only.empty() && call != plan_.only) || ++calls_ < plan_.at) return 0;
    if (plan_.kills) ::kill(::getpid(), SIGKILL);
    if (calls_ > plan_.at) return plan_.later;
    spoiled_ = call;
    return plan_.error;
  }
  ssize_t write(int fd, iovec const* parts, int count, off_t at = at_its_end) {
    std::string bytes;
    for (int i = 0; i < count; ++i) bytes.append(static_cast<char const*>(parts[i].iov_base), parts[i].iov_len);
    ++writes_;
    longest_write_ = std::max(longest_write_, bytes.size());
    if (shortened_ < plan_.short_writes && plan_.length < bytes.size()) {
      ++shortened_;
      bytes.resize(plan_.length);
    }
    if (at == at_its_end) return ::write(fd, bytes.data(), bytes.size());
    auto const n = ::pwrite(fd, bytes.data(), bytes.size(), at);
    if (disk && n > 0) disk->written(fd, at, static_cast<std::size_t>(n));
    return n;
  }
  static constexpr off_t at_its_end = -1;

  int synced(int fd, int result) {
    if (result != 0 && errno == EINTR) return result;  // it has not failed, it has not been done
    int const error = errno;
    is_believed_ |= failed_.contains(fd);
    if (result != 0) failed_.insert(fd);
    if (disk) disk->synced(fd, result == 0);
    errno = error;
    return result;
  }
  void closed(int fd) {
    failed_.erase(fd);
    if (disk) disk->look(), disk->closed(fd);
  }
  /// Whether a descriptor that could not be synced was synced again.
  bool is_believed() const { return is_believed_; }

  std::string_view spoiled() const { return spoiled_; }  ///< the call that failed; empty: none
  bool disturbed() const { return !spoiled_.empty() || shortened_ > 0; }
  int writes() const { return writes_; }
  std::size_t longest_write() const { return longest_write_; }

 private:
  trouble plan_;
  int calls_ = 0, writes_ = 0, shortened_ = 0;
  std::size_t longest_write_ = 0;
  std::string_view spoiled_;
  std::set<int> failed_;
  bool is_believed_ = false;
};

/// The system calls of a machine. Nothing is really synced: what a sync is worth is for `forgetful_disk` to say.
struct troubled_ops : support::spoiled_ops {
  std::shared_ptr<machine> on = std::make_shared<machine>();
  troubled_ops() {
    *before = [m = on.get()](std::string_view call) { return m->next(call); };
  }
  int fsync(int fd) const {
    return on->synced(fd, call("fsync", [] { return 0; }));
  }
  int fdatasync(int fd) const { return fsync(fd); }
  int close(int fd) const {
    on->closed(fd);
    return spoiled_ops::close(fd);
  }
  int syncfs(int) const {
    return call("syncfs", [] { return 0; });
  }
  ssize_t writev(int fd, iovec const* parts, int count) const {
    return call("writev", [&] { return on->write(fd, parts, count); });
  }
  ssize_t pwritev(int fd, iovec const* parts, int count, off_t at) const {
    return call("pwritev", [&] { return on->write(fd, parts, count, at); });
  }
  int rename_noreplace(int d, char const* a, char const* b) const {
    if (on->has_renameat2) return spoiled_ops::rename_noreplace(d, a, b);
    errno = ENOSYS;
    return -1;
  }
};

// Storages

/// Two levels below a directory that stands, so that both can be missing.
struct on_disk {
  static constexpr bool is_on_disk = true;  // makes system calls, and outlives the process
  static inline auto durability = stash::durability::power_loss;
  static std::string with_durability(std::string const& name) {
    return name + (durability == stash::durability::power_loss ? ", power_loss" : ", process_crash");
  }

  support::scratch s;
  troubled_ops ops;
  fs::path const base = s.root / "base", dir = base / "level" / "stash";
  on_disk() { fs::create_directory(base); }
  machine& calls() const { return *ops.on; }
  fs::path resource() const { return s.root / "resource"; }
  /// The directory, as a power cut now would leave it.
  fs::path cut() const {
    fs::remove_all(s.root / "cut");
    calls().disk->cut(s.root / "cut");
    return s.root / "cut" / "level" / "stash";
  }
};

struct in_files : on_disk {
  using storage_type = stash::basic_atomic_file_storage<troubled_ops>;
  static constexpr bool is_one_file = false, moves_at_once = false;
  static std::string name() { return with_durability("atomic_file"); }
  static constexpr char const* constructor = "atomic_file_storage default_directory";
  static constexpr std::string_view write_call = "writev";

  storage_type open(stash::durability d = durability) const { return open_in(dir, ops, d); }
  static storage_type open_in(fs::path const& where, troubled_ops ops = {}, stash::durability d = durability) {
    return storage_type{where, {.durability = d}, std::move(ops)};
  }
  static std::string bytes_of(stash::entry const& e) { return support::read(e.where); }
  /// What is in the directory beside records, those set aside, and the lock file.
  std::vector<std::string> litter() const {
    auto found = names(dir);
    std::erase_if(found, [](std::string const& n) {
      return n == ".lock" || n.ends_with(".stash") || stash::detail::parse_set_aside(n);
    });
    return found;
  }
};

std::string bytes_and_time_of(stash::entry const& e) {
  return std::to_string(e.bytes) + " bytes of " +
         (e.saved_at ? std::to_string(e.saved_at->time_since_epoch().count()) : "nobody knows when");
}

struct in_a_journal : on_disk {
  using storage_type = stash::basic_journal_storage<troubled_ops>;
  static constexpr bool is_one_file = true, moves_at_once = true;
  static std::string name() { return with_durability("journal"); }
  static constexpr char const* constructor = "journal_storage default_directory";
  static constexpr std::string_view write_call = "pwritev";

  fs::path const file = dir / "stash.journal";

  storage_type open(stash::durability d = durability) const { return open_in(dir, ops, d); }
  /// So small that some records make it grow, and a few have it written anew.
  static storage_type open_in(fs::path const& where, troubled_ops ops = {}, stash::durability d = durability) {
    return storage_type{where, {.durability = d, .chunk = 256}, std::move(ops)};
  }
  static std::string bytes_of(stash::entry const& e) { return bytes_and_time_of(e); }
  std::vector<std::string> litter() const {
    auto found = names(dir);
    std::erase_if(found, [](std::string const& n) { return n == ".lock" || n == "stash.journal"; });
    return found;
  }
  /// On the disk too. Nobody has it open.
  void damage(std::string_view text) const {
    auto const at = static_cast<off_t>(support::read(file).find(text));
    int const fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
    ::pwrite(fd, "!", 1, at);
    if (calls().disk) calls().disk->written(fd, at, 1);
    calls().synced(fd, 0);
    ::close(fd);
  }
  /// Takes away what is behind the beginning of `text` in `all`, what the file had. On the disk too. Nobody has it
  /// open.
  void tear(std::string all, std::string_view text) const {
    auto const size = all.size();
    all.resize(all.find(text) + 1);
    all.resize(std::max<std::size_t>(size, fs::file_size(file)));
    int const fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
    ::pwrite(fd, all.data(), all.size(), 0);
    if (calls().disk) calls().disk->written(fd, 0, all.size());
    calls().synced(fd, 0);
    ::close(fd);
  }
  ino_t inode() const {
    struct stat st {};
    ::stat(file.c_str(), &st);
    return st.st_ino;
  }
};

struct in_memory {
  using storage_type = stash::memory_storage;
  static constexpr bool is_on_disk = false, is_one_file = false, moves_at_once = true;
  static std::string name() { return "memory"; }

  support::scratch s;
  machine unused;  // it makes no system calls
  storage_type open() const { return {}; }
  machine& calls() { return unused; }
  fs::path resource() const { return s.root / "resource"; }
  static std::string bytes_of(stash::entry const& e) { return bytes_and_time_of(e); }
  std::vector<std::string> litter() const { return {}; }
};

// The values all have different lengths, so that a listing tells which is which.
stash::key const k = "orders", other = "other";
std::string const old_words = R"({"day":{"label":"Old"}})";
std::string const new_words = R"({"day":{"label":"The day of it","type_override":"date"}})";
std::string const other_words = R"({"x":{"label":"somebody else's words, which nobody may touch"}})";
record const old_record{old_words, time_point{1s}};
record const new_record{new_words, time_point{2s}};
record const other_record{other_words, time_point{3s}};

/// A table whose dictionary is in a file, so that it too outlives the process; and the datastore it is in.
class resource {
 public:
  explicit resource(fs::path p) : whole_(p.native()), half_(whole_ + ".half") {}

  std::optional<std::string> words() const { return read(whole_); }
  void set(std::string_view words) {
    write(half_, words);
    finish({});
  }
  std::optional<json::object> live() const {
    auto const text = words();
    return text ? std::optional(json::parse(*text).as_object()) : std::nullopt;
  }

  std::optional<ckan::fields> describe(std::string_view) const {
    auto const found = live();
    return found ? std::optional(ckan::restored_fields(*found)) : std::nullopt;
  }
  void create(std::string_view, ckan::fields const& f) { write(half_, json::serialize(ckan::dictionary_of(f))); }
  void finish(std::string_view) { ::rename(half_.c_str(), whole_.c_str()); }
  void drop(std::string_view) {
    ::unlink(whole_.c_str());
    ::unlink(half_.c_str());
  }

 private:
  // Not with streams, which would hide that they have no memory.
  static std::optional<std::string> read(std::string const& from) {
    std::array<char, 1000> bytes;
    int const fd = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return std::nullopt;
    auto const size = ::read(fd, bytes.data(), bytes.size());
    ::close(fd);
    return std::string(bytes.data(), static_cast<std::size_t>(size));
  }
  static void write(std::string const& to, std::string_view text) {
    int const fd = ::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool const well = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(fd);
    if (!well) throw std::runtime_error("cannot write " + to);
  }

  std::string whole_, half_;
};

// What is there, for comparing

struct seen {
  std::string key, bytes, payload;
  bool is_intact;
  std::uint64_t size;
  auto operator<=>(seen const&) const = default;
};
struct snapshot {
  std::vector<seen> records, aside;
  std::optional<std::string> live;
  std::vector<seen> of_other{};   // the bystander's
  std::set<std::string> words{};  // all that may not get lost, wherever it is
  bool operator==(snapshot const&) const = default;
};

/// A stash in one of the storages, a resource, and what the operations leave for `done` to look at.
template <class Place>
struct world {
  using place_type = Place;
  using storage_type = typename Place::storage_type;
  using store_type = stash::basic_stash<storage_type, stash::json_serializer, stash::manual_clock>;
  struct from_resource {
    resource const* r;
    std::optional<json::object> operator()() const { return r->live(); }
  };
  struct into_resource {
    resource* r;
    void operator()(json::object const& words) const { r->set(json::serialize(words)); }
  };
  using guard_type = stash::delete_guard<store_type, json::object, into_resource>;

  Place place;
  stash::manual_clock clock{time_point{1000s}};
  store_type store{place.open(), {}, clock};
  resource table{place.resource()};

  std::vector<std::exception_ptr> told;  // to the observer, or in a report
  std::optional<guard_type> guard;
  std::optional<typename storage_type::lock_type> lock;
  std::optional<record> got;
  std::optional<json::value> value;
  std::vector<stash::entry> listed;
  std::vector<stash::key> keys;
  std::size_t count = 0;
  bool yes = false;
  std::optional<std::chrono::microseconds> age;
  bool is_disturbed = false;  // something was refused, so that an answer may be the cautious one
  bool may_be_busy = false;   // by EACCES, which is how fcntl may say it

  world() { told.reserve(32); }
  storage_type& storage() { return store.storage(); }
  std::optional<record> stands() { return storage().get(k); }
  std::function<void(stash::event const&)> observer() {
    return [this](stash::event const& e) {
      if (e.error && e.kind != stash::event_kind::corrupt) told.push_back(e.error);
    };
  }
  void make_guard(stash::guard_options o = {}) {
    o.observer = observer();
    guard.emplace(store, k, from_resource{&table}, into_resource{&table}, std::move(o));
  }
  /// As the next process does.
  void reopen() { store = store_type{place.open(), {}, clock}; }
  void reopen(stash::durability d) { store = store_type{place.open(d), {}, clock}; }
  void let_go() {
    if (guard) guard->release();
    guard.reset();
    lock.reset();
  }
  void reload(char const* column, bool fails = false) {
    struct job_failed {};
    try {
      ckan::reload(table, store, k, {{column, "text", std::nullopt}},
                   [&](ckan::fields const&) {
                     if (fails) throw job_failed{};
                   },
                   {.guard = {.observer = observer()}});
    } catch (job_failed) {
    }
  }
  void recover(bool clear = true) {
    auto const report = stash::recover<json::object>(
        store, [&](stash::key const& which) { return which != k || table.words().has_value(); },
        [&](stash::key const&, json::object const& words) { table.set(json::serialize(words)); },
        {.clear_after_restore = clear, .observer = observer()});
    count = report.restored;
    for (auto const& [which, problem] : report.failed) told.push_back(problem);
  }
  /// As `recover` does where every resource is live.
  void sweep() {
    auto const report = stash::recover(
        store, [](auto const&) { return true; }, [](auto const&, json::value const&) {}, {.observer = stash::silent});
    for (auto const& [which, problem] : report.failed) {
      if (code_of([&] { std::rethrow_exception(problem); }) != errc::mismatch) std::rethrow_exception(problem);
    }
  }

  snapshot look() { return look_at(store); }
  snapshot look_at(store_type const& at) const {
    snapshot result{{}, {}, table.words()};
    for (auto const& e : at.entries()) {
      auto& list = e.key == other ? result.of_other : result.records;
      list.push_back(described(e, payload_of(at.storage(), e.key)));
      result.words.insert(words_of(list.back()));
    }
    for (auto const& e : at.set_aside_entries()) {
      result.aside.push_back(described(e, {}));
      result.words.insert(words_of(result.aside.back()));
    }
    std::sort(result.aside.begin(), result.aside.end());
    if (result.live) result.words.insert(std::to_string(result.live->size()));
    return result;
  }

 private:
  static seen described(stash::entry const& e, std::string payload) {
    return {std::string(e.key.str()), Place::bytes_of(e), std::move(payload), e.saved_at.has_value(), e.bytes};
  }
  static std::string words_of(seen const& s) { return s.is_intact ? std::to_string(s.size) : s.bytes; }
  static std::string payload_of(storage_type const& storage, stash::key const& which) {
    try {
      auto const r = storage.get(which);
      return r ? r->payload : "";
    } catch (stash::error const& e) {
      return e.code().message();
    }
  }
};

// Operations

enum class promise {
  nothing_changes,  ///< whatever happens
  old_or_new,       ///< the old state where it throws, either where it throws errc::indeterminate or dies
  moves,            ///< as before, but in two steps: where the second fails, both names may stand
  words_are_kept,   ///< in the resource, under the key, or set aside
  records_stand     ///< what was set aside may be gone, for that is what was asked for
};

template <class W>
struct operation {
  char const* name;
  char const* error_names;  ///< what operation() may be of an error, in words
  promise keeps;
  void (*prepare)(W&);
  void (*run)(W&);
  bool (*done)(W&);             ///< what holds when it has told of no problem
  void (*again)(W&) = nullptr;  ///< how it is tried again; null: as `run`
  bool acknowledges = true;     ///< when it returns, what can be seen is durable
};

template <class W>
void nothing(W&) {}
template <class W>
void no_record(W& w) {
  w.storage().put(other, other_record);
}
template <class W>
void one_record(W& w) {
  no_record(w);
  w.storage().put(k, old_record);
}
template <class W>
void two_aside(W& w) {
  for (int i = 0; i < 2; ++i) {
    one_record(w);
    w.storage().set_aside(k, "superseded");
  }
}
template <class W>
void two_temporaries(W& w) {
  one_record(w);
  support::write(w.place.dir / ".orders.0123456789abcdef.tmp", "half a rec");
  support::write(w.place.dir / ".orders.1123456789abcdef.tmp", "");
}
/// Of a journal: what is damaged from now on was acknowledged.
template <class W>
void make_certain(W& w) {
  w.reopen(stash::durability::power_loss);
  static_cast<void>(w.storage().try_lock(k));  // who only reads makes nothing certain
  w.reopen();
}
template <class W>
void damaged_record(W& w) {
  one_record(w);
  if constexpr (W::place_type::is_one_file) {
    no_record(w);  // behind it: damage in the last one looks like a change that was never acknowledged
    make_certain(w);
    w.place.damage(old_words);
  } else {
    support::write(w.storage().path(k), "damaged");
  }
}
template <class W>
void newer_record(W& w) {
  one_record(w);
  auto text = "{\"stash\":2,\"key\":\"orders\""s + std::string(stash::detail::checksum_field);
  text += stash::detail::checksum(text, "x") + "\"}\nx\n";
  support::write(w.storage().path(k), text);
}
template <class W>
void unsynced_record(W& w) {
  no_record(w);
  w.reopen(stash::durability::process_crash);
  w.storage().put(k, old_record);
  w.reopen();
}
template <class W>
void old_kernel(W& w) {
  one_record(w);
  w.place.calls().has_renameat2 = false;
}

// Of a journal

/// What comes next opens it.
template <class W, void (*Records)(W&)>
void closed(W& w) {
  Records(w);
  w.reopen();
}
/// As a process that died in a save leaves it.
template <class W>
void torn_record(W& w) {
  one_record(w);
  w.reopen(stash::durability::process_crash);
  w.storage().put(k, new_record);
  auto const written = support::read(w.place.file);
  w.reopen();
  w.place.tear(written, new_words);
}
/// Made, and nothing written to it yet.
template <class W>
void empty_journal(W& w) {
  w.storage().try_lock(k);
  w.reopen();
}
/// Of each kind of frame that there is to copy, one.
template <class W>
void all_kinds(W& w) {
  std::string const bad = "words that will be damaged";
  two_aside(w);
  w.storage().put("bad", {bad, time_point{4s}});
  w.storage().put("bad, and set aside", {bad, time_point{5s}});
  one_record(w);
  make_certain(w);
  w.place.damage(bad);
  w.place.damage(bad);
  w.storage().set_aside("bad, and set aside", "corrupt");
}
/// One save more, and most of it is dead.
template <class W, void (*Records)(W&)>
void worn_out(W& w) {
  static auto const wear = [](W& to, int saves) {
    Records(to);
    while (saves-- > 0) to.storage().put(k, old_record);
    to.count = to.place.inode();
  };
  static auto const find_out = [] {
    for (int saves = 0;; ++saves) {
      W probe;
      wear(probe, saves);
      probe.storage().put(k, new_record);
      if (probe.place.inode() != probe.count) return saves;
    }
  };
  static std::map<stash::durability, int> enough;  // what a close leaves in the file is not the same for both
  auto const [row, is_new] = enough.try_emplace(on_disk::durability);
  if (is_new) row->second = find_out();
  wear(w, row->second);
}

template <class W>
void set_aside(W& w) {
  w.storage().set_aside(k, "superseded");
}
template <class W>
bool is_aside(W& w) {
  return !w.stands() && !w.storage().set_aside_entries().empty();
}
template <class W>
void set_aside_again(W& w) {
  if (w.store.look_up(k).state == stash::record_state::absent) w.storage().put(k, old_record);
  w.storage().set_aside(k, "superseded");
}

/// Of files alone, and of a journal alone.
template <class W>
std::vector<operation<W>> own_operations() requires(!W::place_type::is_one_file) {
  using enum promise;
  return {
      {"temporaries", "temporaries", nothing_changes, two_temporaries<W>,
       [](W& w) { w.keys = w.storage().temporaries(); }, [](W& w) { return w.keys.size() == 1; },
       [](W& w) {
         two_temporaries(w);
         w.keys = w.storage().temporaries();
       },
       false},
      {"sweep", "sweep", nothing_changes, two_temporaries<W>, [](W& w) { w.storage().sweep(k); },
       [](W& w) { return w.place.litter().empty(); }},
      {"sweep where there is nothing", "sweep", nothing_changes, nothing<W>, [](W& w) { w.storage().sweep(k); },
       [](W& w) { return w.place.litter().empty(); }, nullptr, false},
      {"set_aside without renameat2", "set_aside", moves, old_kernel<W>, set_aside<W>, is_aside<W>, set_aside_again<W>},
      {"erase without renameat2", "erase", moves, old_kernel<W>, [](W& w) { w.storage().erase(k); },
       [](W& w) { return !w.stands(); }},
  };
}
template <class W>
std::vector<operation<W>> own_operations() requires(W::place_type::is_one_file) {
  using enum promise;
  static auto const put = [](W& w) { w.storage().put(k, new_record); };
  static auto const is_put = [](W& w) { return w.stands() == new_record; };
  static auto const is_put_in_a_new_file = [](W& w) {
    return is_put(w) && (w.is_disturbed || w.place.inode() != w.count);
  };
  return {
      {"open for a put", "put", old_or_new, closed<W, one_record<W>>, put, is_put},
      {"open for a get", "get", nothing_changes, closed<W, one_record<W>>, [](W& w) { w.got = w.storage().get(k); },
       [](W& w) { return w.got == old_record; }},
      {"open for entries", "entries", nothing_changes, closed<W, one_record<W>>,
       [](W& w) { w.listed = w.storage().entries(); }, [](W& w) { return w.listed.size() == 2; }},
      {"open for an erase", "erase", old_or_new, closed<W, one_record<W>>, [](W& w) { w.storage().erase(k); },
       [](W& w) { return !w.stands(); }},
      {"open for a set_aside", "set_aside", old_or_new, closed<W, one_record<W>>, set_aside<W>, is_aside<W>,
       set_aside_again<W>},
      {"open for a purge", "purge", records_stand, closed<W, two_aside<W>>, [](W& w) { w.storage().purge(0us); },
       [](W& w) { return w.storage().set_aside_entries().empty(); }},
      {"open for a lock", "try_lock", nothing_changes, closed<W, one_record<W>>,
       [](W& w) { w.lock = w.storage().try_lock(k); }, [](W& w) { return w.lock.has_value(); }},
      {"open one that was not synced", "get", nothing_changes, unsynced_record<W>,
       [](W& w) { w.got = w.storage().get(k); }, [](W& w) { return w.got == old_record; }},
      {"open a torn one", "get", nothing_changes, torn_record<W>, [](W& w) { w.got = w.storage().get(k); },
       [](W& w) { return w.got == old_record; }},
      {"open an empty one", "put", old_or_new, empty_journal<W>, put, is_put},
      {"close", "close", nothing_changes, one_record<W>, [](W& w) { w.reopen(); },
       [](W& w) { return w.stands() == old_record; }},
      {"put that has it written anew", "put", old_or_new, worn_out<W, one_record<W>>, put, is_put_in_a_new_file},
      {"put that has all that counts written anew", "put", old_or_new, worn_out<W, all_kinds<W>>, put,
       is_put_in_a_new_file},
      {"purge that has it written anew", "purge", records_stand, worn_out<W, two_aside<W>>,
       [](W& w) { w.storage().purge(0us); }, [](W& w) { return w.storage().set_aside_entries().empty(); }},
  };
}

template <class W>
std::vector<operation<W>> storage_operations() {
  using enum promise;
  static constexpr promise moving = W::place_type::moves_at_once ? old_or_new : moves;
  std::vector<operation<W>> result{
      {"put a new one", "put", old_or_new, no_record<W>, [](W& w) { w.storage().put(k, new_record); },
       [](W& w) { return w.stands() == new_record; }},
      {"put in place of another", "put", old_or_new, one_record<W>, [](W& w) { w.storage().put(k, new_record); },
       [](W& w) { return w.stands() == new_record; }},
      {"put where there is nothing", "put", old_or_new, nothing<W>, [](W& w) { w.storage().put(k, new_record); },
       [](W& w) { return w.stands() == new_record; }},
      {"get", "get", nothing_changes, one_record<W>, [](W& w) { w.got = w.storage().get(k); },
       [](W& w) { return w.got == old_record; }, nullptr, false},
      {"get where there is nothing", "get", nothing_changes, nothing<W>, [](W& w) { w.got = w.storage().get(k); },
       [](W& w) { return !w.got; }, nullptr, false},
      {"erase", "erase", old_or_new, one_record<W>, [](W& w) { w.storage().erase(k); },
       [](W& w) { return !w.stands(); }},
      {"erase none", "erase", nothing_changes, no_record<W>, [](W& w) { w.yes = w.storage().erase(k); },
       [](W& w) { return !w.yes; }},
      {"erase where there is nothing", "erase", nothing_changes, nothing<W>, [](W& w) { w.yes = w.storage().erase(k); },
       [](W& w) { return !w.yes; }, nullptr, false},
      {"entries", "entries", nothing_changes, one_record<W>, [](W& w) { w.listed = w.storage().entries(); },
       [](W& w) { return w.listed.size() == 2; }, nullptr, false},
      {"entries where there is nothing", "entries", nothing_changes, nothing<W>,
       [](W& w) { w.listed = w.storage().entries(); }, [](W& w) { return w.listed.empty(); }, nullptr, false},
      {"set_aside", "set_aside", moving, one_record<W>, set_aside<W>, is_aside<W>, set_aside_again<W>},
      {"set_aside_entries", "set_aside_entries", nothing_changes, two_aside<W>,
       [](W& w) { w.listed = w.storage().set_aside_entries(); }, [](W& w) { return w.listed.size() == 2; }, nullptr,
       false},
      {"purge", "purge", records_stand, two_aside<W>, [](W& w) { w.storage().purge(0us); },
       [](W& w) { return w.storage().set_aside_entries().empty(); }, nullptr, false},
      {"purge what is too young", "purge", nothing_changes, two_aside<W>, [](W& w) { w.count = w.storage().purge(1h); },
       [](W& w) { return w.count == 0; }, nullptr, false},
      {"try_lock", "try_lock", nothing_changes, one_record<W>, [](W& w) { w.lock = w.storage().try_lock(k); },
       [](W& w) { return w.lock || w.may_be_busy; }},
      {"try_lock where there is nothing", "try_lock", nothing_changes, nothing<W>,
       [](W& w) { w.lock = w.storage().try_lock(k); }, [](W& w) { return w.lock || w.may_be_busy; }},
      {"held", "held", nothing_changes,
       [](W& w) {
         one_record(w);
         w.lock = w.storage().try_lock(k);
       },
       [](W& w) { w.yes = w.lock->held(); }, [](W& w) { return w.yes || w.is_disturbed; },
       [](W& w) {
         w.lock = w.storage().try_lock(k);
         w.yes = w.lock->held();
       }},
  };
  if constexpr (W::place_type::is_on_disk) {
    std::vector<operation<W>> const more{
        {"set_aside a damaged one", "set_aside", moving, damaged_record<W>, set_aside<W>, is_aside<W>,
         set_aside_again<W>},
        {"set_aside one that was not synced", "set_aside", moving, unsynced_record<W>, set_aside<W>, is_aside<W>,
         set_aside_again<W>},
        {"construct and default_directory", W::place_type::constructor, nothing_changes, one_record<W>,
         [](W& w) {
           stash::default_directory();
           typename W::storage_type relative{"relative/./"};
           w.yes = fs::path(relative.where(k)).is_absolute();
         },
         [](W& w) { return w.yes; }, nullptr, false},
    };
    result.insert(result.end(), more.begin(), more.end());
    auto const& own = own_operations<W>();
    result.insert(result.end(), own.begin(), own.end());
  }
  return result;
}

template <class W>
std::vector<operation<W>> stash_operations() {
  using enum promise;
  static auto const save = [](W& w) { w.store.save(k, json::parse(new_words)); };
  static auto const is_saved = [](W& w) { return w.store.load(k) == json::parse(new_words); };
  return {
      {"save a new one", "save try_lock put", old_or_new, no_record<W>, save, is_saved},
      {"save in place of another", "save try_lock put", old_or_new, one_record<W>, save, is_saved},
      {"save where there is nothing", "save try_lock put", old_or_new, nothing<W>, save, is_saved},
      {"load", "load get", nothing_changes, one_record<W>, [](W& w) { w.value = w.store.load(k); },
       [](W& w) { return w.value == json::parse(old_words); }, nullptr, false},
      {"load where there is nothing", "load get", nothing_changes, nothing<W>, [](W& w) { w.value = w.store.load(k); },
       [](W& w) { return !w.value; }, nullptr, false},
      {"look_up", "load get", nothing_changes, one_record<W>,
       [](W& w) {
         auto found = w.store.look_up(k);
         w.value = std::move(found.value);
         w.age = found.age;
       },
       [](W& w) { return w.value == json::parse(old_words) && w.age == 999s; }, nullptr, false},
      {"clear", "clear exists try_lock erase", old_or_new, one_record<W>, [](W& w) { w.store.clear(k); },
       [](W& w) { return !w.stands(); }},
      {"clear where there is nothing", "clear exists", nothing_changes, nothing<W>,
       [](W& w) { w.yes = w.store.clear(k); }, [](W& w) { return !w.yes; }, nullptr, false},
      {"age", "age get", nothing_changes, one_record<W>, [](W& w) { w.age = w.store.age(k); },
       [](W& w) { return w.age == 999s; }, nullptr, false},
      {"basic_stash::entries", "entries", nothing_changes, one_record<W>, [](W& w) { w.listed = w.store.entries(); },
       [](W& w) { return w.listed.size() == 2; }, nullptr, false},
      {"basic_stash::purge", "purge", records_stand, two_aside<W>, [](W& w) { w.store.purge(0us); },
       [](W& w) { return w.store.set_aside_entries().empty(); }, nullptr, false},
  };
}

template <class W>
bool guards_new_words(W& w) {
  auto const r = w.stands();
  return w.guard && w.guard->origin() == origin::live && r && r->payload == new_words;
}
template <class W>
void construct(W& w) {
  w.make_guard();
}
template <class W, void (*Records)(W&)>
void and_live(W& w) {
  Records(w);
  w.table.set(new_words);
}

/// The guard's table, row by row.
template <class W>
std::vector<operation<W>> guard_rows() {
  using enum promise;
  static char const* const names = "delete_guard try_lock get set_aside put";
  std::vector<operation<W>> result{
      {"guard: live, no record", names, words_are_kept, and_live<W, no_record<W>>, construct<W>, guards_new_words<W>},
      {"guard: live, nothing there", names, words_are_kept, and_live<W, nothing<W>>, construct<W>, guards_new_words<W>},
      {"guard: live, the same record", names, words_are_kept,
       [](W& w) {
         one_record(w);
         w.storage().put(k, new_record);
         w.table.set(new_words);
       },
       construct<W>, guards_new_words<W>},
      {"guard: live, another record", names, words_are_kept, and_live<W, one_record<W>>, construct<W>,
       [](W& w) { return guards_new_words(w) && !w.store.set_aside_entries().empty(); }},
      {"guard: live, best_effort", names, words_are_kept, and_live<W, one_record<W>>,
       [](W& w) { w.make_guard({.best_effort = true}); }, guards_new_words<W>},
      {"guard: not live, a record", names, words_are_kept, one_record<W>, construct<W>,
       [](W& w) { return w.guard && w.guard->origin() == origin::adopted && w.stands() == old_record; }},
      {"guard: not live, no record", names, words_are_kept, no_record<W>, construct<W>,
       [](W& w) { return w.guard && w.guard->origin() == origin::none; }},
      {"guard: not live, nothing there", names, words_are_kept, nothing<W>, construct<W>,
       [](W& w) { return w.guard && w.guard->origin() == origin::none; }},
      {"guard: live throws", names, nothing_changes, one_record<W>,
       [](W& w) {
         try {
           stash::delete_guard g{w.store, k, []() -> json::value { throw 42; }, [](json::value const&) {}};
         } catch (int) {
           w.count = 42;
         }
       },
       [](W& w) { return w.count == 42; }},
  };
  if constexpr (W::place_type::is_on_disk) {
    std::vector<operation<W>> const more{
        {"guard: live, a damaged record", names, words_are_kept, and_live<W, damaged_record<W>>, construct<W>,
         [](W& w) { return guards_new_words(w) && !w.store.set_aside_entries().empty(); }},
        {"guard: not live, a damaged record", names, words_are_kept, damaged_record<W>, construct<W>,
         [](W& w) { return w.guard && w.guard->origin() == origin::none && !w.stands(); }},
        {"guard: live, an unsynced record", names, words_are_kept, and_live<W, unsynced_record<W>>, construct<W>,
         [](W& w) { return guards_new_words(w) && !w.store.set_aside_entries().empty(); }},
        {"guard: not live, an unsynced record", names, words_are_kept, unsynced_record<W>, construct<W>,
         [](W& w) { return w.guard && w.guard->origin() == origin::adopted && w.stands() == old_record; }},
    };
    result.insert(result.end(), more.begin(), more.end());
  }
  if constexpr (W::place_type::is_on_disk && !W::place_type::is_one_file) {
    result.push_back({"guard: live, a newer version's record", names, nothing_changes, and_live<W, newer_record<W>>,
                      [](W& w) {
                        try {
                          w.make_guard();
                        } catch (stash::error const& e) {
                          if (e.code() != errc::mismatch) throw;
                          w.told.clear();
                          w.yes = true;
                        }
                      },
                      [](W& w) { return w.yes && !w.guard; }, nullptr, false});
  }
  return result;
}

/// As far as a job comes that has dropped its resource; and one that has built it anew.
template <class W>
void drop(W& w) {
  and_live<W, no_record<W>>(w);
  w.make_guard();
  w.table.drop({});
}
template <class W>
void rebuild(W& w) {
  drop(w);
  w.table.set(new_words);
}
template <class W>
bool is_restored(W& w) {
  return w.table.words() == new_words;
}

template <class W>
std::vector<operation<W>> guard_ends() {
  using enum promise;
  static auto const commit_anew = [](W& w) {
    w.make_guard();
    w.guard->commit();
  };
  static auto const roll_back_anew = [](W& w) {
    w.make_guard();
    w.guard->rollback();
  };
  static char const* const rollback_names = "rollback try_lock get erase delete_guard";
  std::vector<operation<W>> result{
      {"commit", "commit try_lock get erase", words_are_kept, rebuild<W>, [](W& w) { w.guard->commit(); },
       [](W& w) { return !w.stands() && is_restored(w); }, commit_anew},
      {"commit of an adopted record", "commit try_lock get erase", words_are_kept,
       [](W& w) {
         one_record(w);
         w.make_guard();
         w.table.set(old_words);
       },
       [](W& w) { w.guard->commit(); }, [](W& w) { return !w.stands(); }, commit_anew},
      {"commit of nothing", "commit try_lock get erase", words_are_kept,
       [](W& w) {
         no_record(w);
         w.make_guard();
       },
       [](W& w) { w.guard->commit(); }, [](W& w) { return !w.stands(); }, commit_anew},
      {"rollback", rollback_names, words_are_kept, drop<W>, [](W& w) { w.guard->rollback(); },
       [](W& w) { return w.stands() && is_restored(w); }, roll_back_anew},
      {"rollback, clear_after_restore", rollback_names, words_are_kept,
       [](W& w) {
         and_live<W, no_record<W>>(w);
         w.make_guard({.clear_after_restore = true});
         w.table.drop({});
       },
       [](W& w) { w.guard->rollback(); }, [](W& w) { return !w.stands() && is_restored(w); },
       [](W& w) {
         w.make_guard({.clear_after_restore = true});
         w.guard->rollback();
       }},
      {"the guard's destructor", rollback_names, words_are_kept, drop<W>, [](W& w) { w.guard.reset(); },
       [](W& w) { return w.stands() && is_restored(w); }, roll_back_anew},
      {"release", "release", nothing_changes, drop<W>, [](W& w) { w.guard->release(); },
       [](W& w) { return w.stands().has_value(); }, [](W& w) { w.make_guard(); }},
  };
  if constexpr (W::place_type::is_on_disk && !W::place_type::is_one_file) {
    result.push_back({"rollback when lock and record are lost", "rollback try_lock get set_aside put", words_are_kept,
                      [](W& w) {
                        drop(w);
                        fs::remove(w.place.dir / ".lock");
                        fs::remove(w.storage().path(k));
                      },
                      [](W& w) {
                        try {
                          w.guard->rollback();
                        } catch (stash::error const& e) {
                          if (e.code() != errc::busy) throw;
                          w.told.clear();
                        }
                      },
                      [](W& w) { return !w.store.set_aside_entries().empty() || w.is_disturbed; },
                      [](W& w) {
                        w.storage().put(k, new_record);
                        w.storage().set_aside(k, "unrestored");
                      },
                      false});
  }
  return result;
}

template <class W>
std::vector<operation<W>> job_operations() {
  using enum promise;
  static char const* const recover_names = "recover entries temporaries sweep try_lock get erase";
  static char const* const reload_names = "delete_guard try_lock get set_aside put commit rollback erase";
  static auto const recover = [](W& w) { w.recover(); };
  // Once it is live, its record is left alone.
  static auto const is_recovered = [](W& w) { return w.table.words() == old_words && (!w.stands() || w.count == 0); };
  std::vector<operation<W>> result{
      {"recover", recover_names, words_are_kept, one_record<W>, recover, [](W& w) { return is_recovered(w); }},
      {"recover, the record stays", recover_names, words_are_kept, one_record<W>, [](W& w) { w.recover(false); },
       [](W& w) { return w.table.words() == old_words && w.stands(); }},
      {"recover what is live", recover_names, words_are_kept, and_live<W, one_record<W>>, recover,
       [](W& w) { return w.table.words() == new_words && w.stands() == old_record; }},
      {"recover where there is nothing", recover_names, nothing_changes, nothing<W>, recover,
       [](W& w) { return w.count == 0; }, nullptr, false},
      {"reload", reload_names, words_are_kept, and_live<W, one_record<W>>, [](W& w) { w.reload("day"); },
       [](W& w) { return is_restored(w) && !w.stands() && !w.store.set_aside_entries().empty(); }},
      {"reload that fails", reload_names, words_are_kept, and_live<W, no_record<W>>,
       [](W& w) { w.reload("day", true); }, [](W& w) { return is_restored(w); }},
      {"reload of what is gone", reload_names, words_are_kept, one_record<W>, [](W& w) { w.reload("day"); },
       [](W& w) { return w.table.words() == old_words && !w.stands(); }},
      {"reload without the column", reload_names, words_are_kept, and_live<W, no_record<W>>,
       [](W& w) { w.reload("night"); },
       [](W& w) { return w.table.words() == "{}" && !w.stands() && !w.store.set_aside_entries().empty(); }},
  };
  if constexpr (W::place_type::is_on_disk) {
    result.push_back({"recover what is damaged", recover_names, nothing_changes, damaged_record<W>, recover,
                      [](W& w) { return w.count == 0; }, nullptr, false});
  }
  if constexpr (W::place_type::is_on_disk && !W::place_type::is_one_file) {
    result.push_back({"recover with temporaries", recover_names, words_are_kept, two_temporaries<W>, recover,
                      [](W& w) { return is_recovered(w) && (w.may_be_busy || w.place.litter().empty()); }});
  }
  return result;
}

template <class W>
std::vector<operation<W>> operations() {
  std::vector<operation<W>> result;
  for (auto const& table :
       {storage_operations<W>(), stash_operations<W>(), guard_rows<W>(), guard_ends<W>(), job_operations<W>()}) {
    result.insert(result.end(), table.begin(), table.end());
  }
  return result;
}

// Runs, and what must hold after each

/// How a run went that nothing disturbed.
struct reference {
  snapshot before, after;
  std::vector<std::string> litter;
  int writes = 0;
  std::size_t longest_write = 0;
};

/// What is done to a run, and what that may lead to.
struct fault {
  std::string text;         // for a person
  std::vector<int> errors;  // whose code an error may have
  bool memory = false;      // std::bad_alloc may be thrown
  bool death = false;       // the process died
  bool litters = false;     // no call works, that which removes a temporary neither
};

using problems = std::vector<std::exception_ptr>;

boost::system::error_code code_of_problem(std::exception_ptr const& p) {
  try {
    return code_of([&] { std::rethrow_exception(p); });
  } catch (std::bad_alloc const&) {
    return {};
  }
}

/// Runs it, and returns what it told and threw, in that order.
template <class W>
problems problems_of(W& w, void (*run)(W&)) {
  w.told.clear();
  std::exception_ptr thrown;
  try {
    run(w);
  } catch (...) {
    thrown = std::current_exception();
  }
  allocation.is_on = false;
  problems result = w.told;
  if (thrown) result.push_back(thrown);
  return result;
}

/// The same error, or that nobody knows what stands, because of it.
bool is_told_first(std::exception_ptr const& told, std::exception_ptr const& first) {
  auto const code = code_of_problem(told), expected = code_of_problem(first);
  if (code == expected) return true;
  std::string const text = support::message_of([&] { std::rethrow_exception(told); });
  return code == errc::indeterminate && text.find(expected.message()) != text.npos;
}

bool has_word(std::string_view words, std::string_view word) {
  return (" " + std::string(words) + " ").find(" " + std::string(word) + " ") != std::string::npos;
}
bool is_part(std::vector<seen> const& part, std::vector<seen> const& all) {
  return std::includes(all.begin(), all.end(), part.begin(), part.end());
}
/// What a dead process left of a journal half made goes when the next one is.
template <class Place>
bool is_swept(Place const& p) {
  return Place::is_one_file || p.litter().empty();
}
std::size_t open_descriptors() { return names("/proc/self/fd").size(); }

/// Checks what must hold after a run with a fault, and says what does not.
template <class W>
class judge {
 public:
  judge(W& w, operation<W> const& op, reference const& ref, fault const& f) : w_(w), op_(op), ref_(ref), fault_(f) {}

  std::string verdict(problems const& told, std::size_t descriptors_before) {
    for (auto const& p : told) check_problem(p);
    bool const is_done = told.empty() && !fault_.death;
    if (is_done) {
      require(op_.done(w_), "it told of no problem and did not do its work");
      check_disk("it told of no problem, but a power cut takes it back");
    }
    w_.let_go();
    bool const is_indeterminate =
        std::any_of(told.begin(), told.end(), [](auto const& p) { return code_of_problem(p) == errc::indeterminate; });
    check_state(is_done, is_indeterminate);
    if constexpr (W::place_type::is_on_disk) w_.reopen();
    require(descriptors_before == open_descriptors(), "a descriptor is left open");
    // Until here it answered from memory.
    if constexpr (W::place_type::is_one_file) check_state(is_done, is_indeterminate);
    // Whoever asks for a lock may sync: not before it is seen whether the operation itself does all anew.
    if (!w_.place.calls().disk) check_next_process();
    check_again();
    return wrong_;
  }

 private:
  void require(bool holds, std::string const& what) {
    if (!holds) wrong_ += (wrong_.empty() ? "" : "; ") + what;
  }

  void check_problem(std::exception_ptr const& p) {
    try {
      std::rethrow_exception(p);
    } catch (stash::error const& e) {
      check_error(e);
    } catch (std::bad_alloc const&) {
      require(fault_.memory, "std::bad_alloc was thrown");
    } catch (std::exception const& e) {
      require(false, "something else was thrown: "s + e.what());
    } catch (...) {
      require(false, "something unknown was thrown");
    }
  }

  void check_error(stash::error const& e) {
    std::string const what = e.what();
    bool const is_listing = has_word(
        "exists entries set_aside_entries temporaries purge atomic_file_storage journal_storage", e.operation());
    bool const visits_all = std::string_view(op_.error_names).starts_with("recover");
    bool const names_key =
        e.subject() == k || (is_listing && e.subject().empty()) || ((is_listing || visits_all) && e.subject() == other);
    auto const is_told = [&](std::string_view part) { return what.find(part) != what.npos; };
    auto const is_code = [&](int one) { return e.code() == support::os(one); };
    require(has_word(op_.error_names, e.operation()) && is_told(e.operation()), "another operation is named: " + what);
    require(names_key && is_told(e.subject()), "the key is not named: " + what);
    // Who is busy, and where, nobody knows.
    bool is_place = is_told(w_.place.s.root.native());
    for (auto p = w_.place.s.root; !p.empty(); p = p.parent_path()) is_place |= is_told(' ' + p.native() + ": ");
    require(e.code() == errc::busy || is_place, "no path is named: " + what);
    require(e.code() == errc::busy || e.code() == errc::indeterminate ||
                std::any_of(fault_.errors.begin(), fault_.errors.end(), is_code),
            "not the code of what went wrong: " + what);
  }

  void check_state(bool is_done, bool is_indeterminate) {
    auto const now = w_.look();
    auto const& before = ref_.before;
    bool const either = is_done || fault_.death || is_indeterminate;
    bool const kept = std::includes(now.words.begin(), now.words.end(), before.words.begin(), before.words.end());
    require(now.of_other == before.of_other, "a bystander's record was touched");
    switch (op_.keeps) {
      case promise::nothing_changes:
        require(now == before, "something changed");
        break;
      case promise::old_or_new:
        require((!is_done && now == before) || (either && now == ref_.after),
                is_done ? "it did something else" : "the earlier record does not stand as it was");
        break;
      case promise::moves:
        require((either && is_part(ref_.after.aside, now.aside)) || now.records == before.records,
                "the earlier record does not stand as it was");
        break;
      case promise::words_are_kept:
        require(kept, "words are lost");
        break;
      case promise::records_stand:
        require(now.records == before.records && is_part(now.aside, before.aside), "something else is gone");
        break;
    }
    for (auto const& one : w_.place.litter()) {
      bool const was_there = std::find(ref_.litter.begin(), ref_.litter.end(), one) != ref_.litter.end();
      require(was_there || fault_.litters, "a temporary is left: " + one);
    }
  }

  /// A new process finds the locks free, and sweeps.
  void check_next_process() {
    try {
      require(w_.storage().try_lock(k) && w_.storage().try_lock(other), "a lock is still held");
      w_.sweep();
    } catch (std::exception const& e) {
      require(false, "a new process: "s + e.what());
    }
    require(is_swept(w_.place), "recover left a temporary");
  }

  /// What failed can be done when nothing is in its way.
  void check_again() {
    w_.is_disturbed = w_.may_be_busy = false;
    auto const told = problems_of(w_, op_.again != nullptr ? op_.again : op_.run);
    for (auto const& p : told) require(false, "run again: " + support::message_of([&] { std::rethrow_exception(p); }));
    require(op_.done(w_), "run again it does not do its work");
    check_disk("run again, but a power cut takes it back");
    w_.let_go();
    check_what_follows();
    auto const now = w_.look().words;
    auto const& before = ref_.before.words;
    require(op_.keeps != promise::words_are_kept || std::includes(now.begin(), now.end(), before.begin(), before.end()),
            "run again it loses words");
  }

  /// What a failed sync has lost takes nothing along that is acknowledged later.
  void check_what_follows() {
    if (!w_.place.calls().disk) return;
    w_.storage().put("afterwards", new_record);
    check_disk("what is put afterwards is not there after a power cut");
    w_.storage().erase("afterwards");
  }

  void check_disk(std::string const& when) {
    auto& calls = w_.place.calls();
    require(!calls.is_believed(), "a descriptor whose sync failed is synced again");
    if constexpr (W::place_type::is_on_disk) {
      if (!calls.disk || !op_.acknowledges) return;
      auto const left = w_.place.cut();
      auto now = w_.look();
      auto after = w_.look_at(typename W::store_type{W::place_type::open_in(left), {}, w_.clock});
      for (auto* const aside : {&now.aside, &after.aside}) {  // the same words twice are no more than once
        aside->erase(std::unique(aside->begin(), aside->end()), aside->end());
      }
      require(now == after, when);
    }
  }

  W& w_;
  operation<W> const& op_;
  reference const& ref_;
  fault const& fault_;
  std::string wrong_;
};

template <class W>
reference reference_of(operation<W> const& op) {
  W w;
  op.prepare(w);
  auto const before = w.look();
  auto const litter = w.place.litter();
  w.place.calls().start({});
  auto const told = problems_of(w, op.run);
  auto const writes = w.place.calls().writes();
  auto const longest_write = w.place.calls().longest_write();
  for (auto const& p : told) BOOST_ERROR(op.name << ": " << support::message_of([&] { std::rethrow_exception(p); }));
  BOOST_TEST(op.done(w), op.name << " does not do its work though nothing is wrong");
  w.let_go();
  return {before, w.look(), litter, writes, longest_write};
}

/// Counts the runs with one kind of fault, and tells of those that went wrong.
struct tally {
  std::uint64_t runs = 0, failed = 0;
  void add(std::string const& storage, char const* operation, fault const& f, std::string const& wrong) {
    ++runs;
    if (wrong.empty()) return;
    if (++failed <= 40) BOOST_ERROR(storage << ": " << operation << ", " << f.text << ": " << wrong);
  }
  void publish(std::string const& tried) const {
    support::figure("every call fails", tried, runs, failed);
    BOOST_TEST(runs > 100U);
    BOOST_TEST(failed == 0U);
  }
};

/// One run in a place of its own. Returns what was told; nullopt: the trouble never came, and nothing is counted.
template <class W>
std::optional<problems> run_in_trouble(operation<W> const& op, reference const& ref, trouble const& t, fault f,
                                       tally& counted, bool forgetful = false) {
  W w;
  auto const descriptors = open_descriptors();
  if constexpr (W::place_type::is_on_disk) {
    if (forgetful) w.place.calls().disk.emplace(w.place.base);
  }
  op.prepare(w);
  auto& calls = w.place.calls();
  calls.start(t);
  auto const told = problems_of(w, op.run);
  calls.stop();
  if (!calls.disturbed()) return std::nullopt;
  w.is_disturbed = true;
  w.may_be_busy = t.error == EACCES;
  if (!calls.spoiled().empty()) f.text += " (" + std::string(calls.spoiled()) + ")";
  f.litters |= calls.spoiled() == "unlink";
  counted.add(W::place_type::name(), op.name, f, judge<W>{w, op, ref, f}.verdict(told, descriptors));
  return told;
}

/// The same, with an allocation that fails; false: there was none.
template <class W>
bool run_without_memory(operation<W> const& op, reference const& ref, long n, bool later, tally& counted) {
  W w;
  auto const descriptors = open_descriptors();
  op.prepare(w);
  allocation = {n, later, 0, true};
  auto const told = problems_of(w, op.run);
  w.is_disturbed = allocation.calls >= n;
  allocation = {};
  if (!w.is_disturbed) return false;
  fault const f{"allocation " + std::to_string(n) + (later ? " and all later ones fail" : " fails"), {ENOMEM}, true};
  counted.add(W::place_type::name(), op.name, f, judge<W>{w, op, ref, f}.verdict(told, descriptors));
  return true;
}

/// The same in a child, which dies; false: it did not.
template <class W>
bool is_killed(W& w, operation<W> const& op, int n) {
  int const status = support::in_child([&] {
    w.reopen();  // what it inherits is its parent's
    op.prepare(w);
    w.place.calls().start({.at = n, .kills = true});
    op.run(w);
    return 0;
  });
  BOOST_TEST((status == 0 || status == 256 + SIGKILL), op.name << ", killed at call " << n << ": " << status);
  return status == 256 + SIGKILL;
}

/// A new process recovers what the dead one left, and says what is wrong then.
template <class W>
std::string recovered(W& w, reference const& ref) {
  int const status = support::in_child([&] {
    w.reopen();
    w.recover();
    auto const now = w.look();
    auto const& before = ref.before;
    bool const kept = std::includes(now.words.begin(), now.words.end(), before.words.begin(), before.words.end());
    bool const had_whole_one = before.live || std::any_of(before.records.begin(), before.records.end(),
                                                          [](auto& s) { return s.key == k && s.is_intact; });
    return (w.told.empty() ? 0 : 1) + (kept ? 0 : 2) + (now.live || !had_whole_one ? 0 : 4) +
           (is_swept(w.place) ? 0 : 8);
  });
  return status == 0 ? "" : "after recovery " + std::to_string(status);
}

using files = world<in_files>;
using journal = world<in_a_journal>;
using memory = world<in_memory>;

/// The journal, which makes more calls and longer writes, is tried with all of it in the long run alone.
template <class W>
bool is_shortened() {
  return W::place_type::is_one_file && !support::is_long();
}

template <class F>
void on_each_on_disk(stash::durability d, F f) {
  on_disk::durability = d;
  f.template operator()<files>();
  if (d == stash::durability::power_loss || !is_shortened<journal>()) f.template operator()<journal>();
}
template <class F>
void on_each_durable(F f) {
  on_each_on_disk(stash::durability::power_loss, f);
}
template <class F>
void on_each_with_system_calls(F f) {
  on_each_durable(f);
  on_each_on_disk(stash::durability::process_crash, f);
}
template <class F>
void on_each(F f) {
  on_each_with_system_calls(f);
  f.template operator()<memory>();
}

std::vector<int> const few_errors{EINTR, EIO, EACCES};
// Under a sanitizer one errno of a kind: which one it is makes no difference to memory.
std::vector<int> const all_errors =
    support::has_address_sanitizer ? few_errors : std::vector<int>{EINTR,  EIO,    ENOSPC, EDQUOT, EROFS,
                                                                   EACCES, EMFILE, ENFILE, ENOMEM, ESTALE};
std::vector<int> const first_errors =
    support::has_address_sanitizer ? std::vector<int>{EIO} : std::vector<int>{EIO, ENOSPC, EMFILE};

/// The first call that fails: with a stride, any of the first, so that none is left out by all operations and errnos.
int first_call() {
  static std::minstd_rand turns;  // the same in each run
  return 1 + static_cast<int>(turns() % static_cast<unsigned>(support::stride()));
}

std::vector<int> first_of(std::vector<int> const& errors, bool alone) {
  return alone ? std::vector{errors.front()} : errors;
}

}  // namespace

// No disk is needed where nothing is synced.
struct in_main_memory {
  in_main_memory() {
    if (::access("/dev/shm", R_OK | W_OK | X_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 0);
  }
};
BOOST_TEST_GLOBAL_FIXTURE(in_main_memory);

BOOST_AUTO_TEST_SUITE(every_call_fails)

// First, before this process has its table of locks.
BOOST_AUTO_TEST_CASE(the_first_lock_of_a_process_may_have_no_memory) {
  int runs = 0;
  for (long n = 1;; ++n) {
    support::scratch s;
    int const status = support::in_child([&] {
      stash::file_stash files{s.dir()};
      stash::memory_stash in_memory;
      allocation = {n, false, 0, true};
      bool threw = false;
      try {
        in_memory.save(k, 1);
        files.save(k, 1);
      } catch (std::bad_alloc const&) {
        threw = true;
      } catch (stash::error const& e) {
        threw = e.code() == support::os(ENOMEM);
      }
      bool const fired = allocation.calls >= n;
      allocation = {};
      files.save(k, 2);
      in_memory.save(k, 2);
      return files.load<int>(k) == 2 && in_memory.load<int>(k) == 2 && threw == fired ? (fired ? 1 : 0) : 2;
    });
    BOOST_TEST((status == 0 || status == 1), "allocation " << n << " fails: " << status);
    if (status != 1) break;
    ++runs;
  }
  BOOST_TEST(runs > 20);
}

BOOST_AUTO_TEST_CASE(a_rollback_of_many_goes_on_where_there_is_no_memory_to_tell_of_one) {
  stash::memory_stash store;
  std::vector<stash::key> const keys{std::string(100, 'a'), std::string(100, 'b')};  // too long to be kept in place
  std::size_t restored = 0;
  stash::delete_guards guard{store, keys, [](stash::key const&) { return 1; },
                             [&](stash::key const& k, int) {
                               allocation.is_on = false;
                               if (k == keys[1]) {
                                 ++restored;
                                 return;
                               }
                               std::runtime_error const problem("it cannot be restored");
                               allocation = {.at = 1, .later = true, .is_on = true};
                               throw problem;
                             }};
  auto const report = guard.rollback();
  allocation = {};
  BOOST_TEST(restored == 1U);
  BOOST_TEST(report.restored == 1U);
  BOOST_REQUIRE(report.failed.size() == 1U);
  BOOST_TEST(report.failed[0].first == keys[0]);
}

BOOST_AUTO_TEST_CASE(whichever_system_call_fails_with_whichever_error) {
  tally counted;
  on_each_with_system_calls([&]<class W>() {
    for (auto const& op : operations<W>()) {
      auto const ref = reference_of(op);
      for (int const error : is_shortened<W>() ? few_errors : all_errors) {
        for (int n = first_call();; n += support::stride()) {
          fault const f{"call " + std::to_string(n) + " fails with errno " + std::to_string(error), {error}};
          if (!run_in_trouble(op, ref, {.at = n, .error = error}, f, counted)) break;
        }
      }
    }
  });
  counted.publish("each system call x " + std::to_string(all_errors.size()) + " errnos");
}

BOOST_AUTO_TEST_CASE(from_whichever_system_call_on_all_fail_and_the_first_error_is_told) {
  tally counted, alone;
  on_each_with_system_calls([&]<class W>() {
    for (auto const& op : operations<W>()) {
      auto const ref = reference_of(op);
      for (int const error : first_of(first_errors, is_shortened<W>())) {
        for (int n = first_call();; n += support::stride()) {
          auto const once = run_in_trouble(op, ref, {.at = n, .error = error}, {"", {error}}, alone);
          if (!once) break;
          fault const f{"from call " + std::to_string(n) + " on all fail", {error, EROFS}, false, false, true};
          auto const dead = run_in_trouble(op, ref, {.at = n, .error = error, .later = EROFS}, f, counted);
          if (once->empty()) continue;  // it was forgiven: what fails next is the first to be told
          // A recovery tells of each key; the observer is not told where its record could not even be read.
          std::size_t const looked_at = std::string_view(op.error_names).starts_with("recover") ? dead->size() : 1;
          auto const is_first = [&](std::exception_ptr const& told) { return is_told_first(told, once->front()); };
          bool const same =
              !dead->empty() && std::any_of(dead->begin(), dead->begin() + static_cast<int>(looked_at), is_first);
          BOOST_TEST(same, W::place_type::name()
                               << ": " << op.name << ", " << f.text << ": another error is told first");
        }
      }
    }
  });
  counted.publish("all system calls from the n-th on");
}

BOOST_AUTO_TEST_CASE(a_write_is_short_by_whatever_length_once_or_always_or_because_the_disk_is_full) {
  tally counted;
  on_each_durable([&]<class W>() {
    for (auto const& op : operations<W>()) {
      auto const ref = reference_of(op);
      std::size_t const step = is_shortened<W>() ? 61 : static_cast<std::size_t>(support::stride());
      for (std::size_t length = 0; length < ref.longest_write; length += step) {
        std::string const text = "writes of " + std::to_string(length) + " bytes";
        run_in_trouble(op, ref, {.short_writes = 1, .length = length}, {text, {EIO}}, counted);
        run_in_trouble(op, ref, {.short_writes = 10'000, .length = length}, {text + " always", {EIO}}, counted);
        trouble const full{.at = 2,
                           .error = ENOSPC,
                           .later = ENOSPC,
                           .only = W::place_type::write_call,
                           .short_writes = 1,
                           .length = length};
        run_in_trouble(op, ref, full, {text + " and then none", {ENOSPC, EIO}}, counted);
      }
    }
  });
  counted.publish("short writes of every length");
}

BOOST_AUTO_TEST_CASE(a_failed_sync_is_never_believed_later) {
  tally counted;
  on_each_durable([&]<class W>() {
    for (auto const& op : operations<W>()) {
      auto const ref = reference_of(op);
      for (int const error : first_of({EIO, ENOSPC}, is_shortened<W>())) {
        for (int const later : {0, EIO}) {
          for (int n = first_call();; n += support::stride()) {
            fault const f{"sync " + std::to_string(n) + (later == 0 ? " fails" : " and all later ones fail"),
                          {error, EIO}};
            trouble const t{.at = n, .error = error, .later = later, .only = "fsync"};
            if (!run_in_trouble(op, ref, t, f, counted, true)) break;
          }
        }
      }
    }
  });
  counted.publish("failed syncs, then a run on a disk that lost what they were for");
}

BOOST_AUTO_TEST_CASE(whichever_allocation_fails) {
  tally counted;
  on_each([&]<class W>() {
    for (auto const& op : operations<W>()) {
      BOOST_TEST_CHECKPOINT(W::place_type::name() << ": " << op.name);
      auto const ref = reference_of(op);
      for (bool const later : {false, true}) {
        for (long n = first_call(); run_without_memory(op, ref, n, later, counted); n += support::stride()) {
        }
      }
    }
  });
  counted.publish("each allocation, alone and with all later ones");
}

BOOST_AUTO_TEST_CASE(whichever_system_call_kills_the_process) {
  tally counted;
  on_each_with_system_calls([&]<class W>() {
    for (auto const& op : operations<W>()) {
      auto const ref = reference_of(op);
      for (int n = first_call();; n += support::stride()) {
        fault const f{"killed at call " + std::to_string(n), {}, false, true, true};
        auto const descriptors = open_descriptors();
        {
          W w;
          if (!is_killed(w, op, n)) break;
          counted.add(W::place_type::name(), op.name, f, judge<W>{w, op, ref, f}.verdict({}, descriptors));
        }
        if (op.keeps != promise::words_are_kept) continue;
        W w;
        is_killed(w, op, n);
        counted.add(W::place_type::name(), op.name, f, recovered(w, ref));
      }
    }
  });
  counted.publish("SIGKILL at each system call");
}

BOOST_AUTO_TEST_SUITE_END()
