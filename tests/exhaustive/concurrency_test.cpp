// Many threads and processes at work on the same keys: what a reader may see, that one is inside at a time, and that
// no word is lost. What a single step does is tested in locks_test.cpp and storage_conformance_test.cpp.
//
// Everything drawn at random comes from a seed, which a failure names. $STASH_SEED runs that one alone.
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <array>
#include <atomic>
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <csignal>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <stash/storage/journal.hpp>
#include <thread>
#include <variant>

#include "figures.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using stash::errc;
using stash::time_point;
using support::code_of;
namespace bdata = boost::unit_test::data;
namespace fs = boost::filesystem;

namespace {

constexpr int max_keys = 64;

class dice {
 public:
  dice(std::uint64_t seed, std::uint64_t worker) : engine_(seed * 1'000'003 + worker) {}
  int below(int n) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(n)); }
  bool one_in(int n) { return below(n) == 0; }
  /// Lets the others come in between, in one of the ways in which a job is held up.
  void pause() {
    int const how = below(8);
    if (how == 0) std::this_thread::sleep_for(std::chrono::microseconds(below(300)));
    if (how < 4) std::this_thread::yield();
  }

 private:
  std::mt19937_64 engine_;
};

// What is saved

std::string name_of(int k) { return "key" + std::to_string(k); }

/// Every value tells whose it is, and the rest of it follows from that: a torn, mixed or misplaced one shows.
struct message {
  int key;
  std::uint64_t writer, sequence;
  friend bool operator==(message const&, message const&) = default;
};

std::string text_of(message const& m) {
  std::string text = std::to_string(m.key) + ' ' + std::to_string(m.writer) + ' ' + std::to_string(m.sequence) + ' ';
  auto const mixed = (m.sequence + 31 * m.writer) * 2654435761U;
  std::size_t const end = text.size() + mixed % 6'000 + (m.sequence % 64 == 0 ? 70'000 : 0);
  std::string filling = "abcdefghijklmnopqrstuvwxyz";
  std::rotate(filling.begin(), filling.begin() + static_cast<std::ptrdiff_t>(mixed % filling.size()), filling.end());
  while (text.size() < end) text += filling;
  text.resize(end);
  return text;
}

std::optional<message> parsed(std::string const& text) {
  message m{};
  std::istringstream in(text.substr(0, 80));
  if (!(in >> m.key >> m.writer >> m.sequence) || text_of(m) != text) return std::nullopt;
  return m;
}

// What the workers of a test share, threads and processes alike

/// A `T` that forked children share with their parent.
template <class T>
class shared {
 public:
  shared() {
    void* const memory = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap");
    object_ = new (memory) T;
  }
  shared(shared const&) = delete;
  shared& operator=(shared const&) = delete;
  ~shared() { ::munmap(object_, sizeof(T)); }
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }

 private:
  T* object_;
};

template <class T>
using per_key = std::array<std::atomic<T>, max_keys>;

/// Raises `to` to at least `value`.
void raise(std::atomic<std::int64_t>& to, std::int64_t value) {
  auto now = to.load();
  while (now < value && !to.compare_exchange_weak(now, value)) {
  }
}

/// What only the holder of a lock does. Its steps are not atomic as a whole: who is not alone is found out.
struct section {
  std::atomic<std::uint64_t> who{0}, entered{0}, intruders{0};
  void enter(std::uint64_t me) {
    who = me;
    auto const before = entered.load();
    std::this_thread::yield();
    entered = before + 1;
  }
  void expect_alone(std::uint64_t me) { intruders += who != me ? 1 : 0; }
};

struct board {
  std::uint64_t seed = 0;
  std::atomic<std::int64_t> ticks{1};
  std::atomic<std::int64_t> left{0};  // operations that nobody has begun yet
  std::atomic<std::uint64_t> done{0}, busy{0}, wrong{0}, workers{0};
  std::atomic<std::uint64_t> noted{0};        // how often it came to what the test is about
  std::atomic<std::uint64_t> turned_away{0};  // whom found a journal open in another process
  std::array<section, max_keys> sections{};
  per_key<std::uint64_t> begun{}, ended{};
  per_key<std::int64_t> acknowledged{};  // who reads from now on sees no record that was saved before this tick
  std::array<char, 2000> first_wrong{};

  bool next() { return left.fetch_sub(1) > 0; }

  void report(std::string const& what) {
    if (wrong.fetch_add(1) == 0) std::strncpy(first_wrong.data(), what.c_str(), first_wrong.size() - 1);
  }
  void require(bool holds, std::string const& what) {
    if (!holds) report(what);
  }

  /// One operation. That another has the key is an answer; whatever else is thrown is wrong, unless `is_expected`.
  template <class F, class Expected>
  void attempt(F f, Expected is_expected) noexcept {
    ++done;
    try {
      f();
    } catch (boost::system::system_error const& e) {
      if (e.code() == errc::busy) {
        ++busy;
      } else {
        require(is_expected(e), e.what());
      }
    } catch (std::exception const& e) {
      report(e.what());
    } catch (...) {
      report("not a std::exception");
    }
  }
  template <class F>
  void attempt(F f) noexcept {
    attempt(f, [](auto const&) { return false; });
  }
};

/// A clock whose every answer is later than the one before, in all threads and processes. `save` asks it with the
/// key's lock held, so the times of a key's records are in the order in which they were put; and a test may do
/// something there.
struct ticking_clock {
  std::atomic<std::int64_t>* ticks;
  static inline thread_local std::function<void()> when_asked{};
  time_point now() const {
    if (when_asked) when_asked();
    return time_point{std::chrono::microseconds{ticks->fetch_add(1)}};
  }
};

// Where and who. A storage more is a place more, a type more in `any_place`, and a line in each list that it is fit for

template <class Storage>
struct place {
  char const* name;
  int speed;  // how many operations it has time for, against the others
  Storage (*make)(fs::path const& directory);
};

using memory_place = place<stash::memory_storage>;
using file_place = place<stash::atomic_file_storage>;
using journal_place = place<stash::journal_storage>;
using any_place = std::variant<memory_place const*, file_place const*, journal_place const*>;

memory_place const memory{"memory", 20, [](fs::path const&) { return stash::memory_storage{}; }};
file_place const files{"atomic_file power_loss", 1, [](fs::path const& dir) {
                         return stash::atomic_file_storage{dir, {.durability = stash::durability::power_loss}};
                       }};
file_place const files_without_sync{
    "atomic_file process_crash", 4, [](fs::path const& dir) {
      return stash::atomic_file_storage{dir, {.durability = stash::durability::process_crash}};
    }};
// In small chunks, so that they are often written anew.
journal_place const journal{
    "journal power_loss", 1, [](fs::path const& dir) {
      return stash::journal_storage{dir, {.durability = stash::durability::power_loss, .chunk = 16U << 10}};
    }};
journal_place const journal_without_sync{
    "journal process_crash", 4, [](fs::path const& dir) {
      return stash::journal_storage{dir, {.durability = stash::durability::process_crash, .chunk = 16U << 10}};
    }};

enum class crew_kind {
  threads,    ///< that share a stash
  processes,  ///< with a stash each
  pool        ///< processes with a copy of their parent's stash, which it had used before
};
constexpr int crew = 4;  // enough to overlap, not so many that two cores only switch

struct setting {
  crew_kind who;
  any_place where;
  std::string name() const {
    return (who == crew_kind::threads ? "threads" : "processes") + std::string(" @, ") +
           std::visit([](auto const* p) { return p->name; }, where);
  }
  friend std::ostream& operator<<(std::ostream& out, setting const& s) {
    return out << (s.who == crew_kind::pool ? "pool, " : "") << s.name();
  }
};
using settings = std::vector<setting>;
settings const in_threads_on_files{{crew_kind::threads, &files}, {crew_kind::threads, &files_without_sync}};
settings const in_threads_on_journals{{crew_kind::threads, &journal}, {crew_kind::threads, &journal_without_sync}};
settings const in_turns{{crew_kind::processes, &journal}, {crew_kind::processes, &journal_without_sync}};
settings const in_processes{{crew_kind::processes, &files}, {crew_kind::processes, &files_without_sync}};
settings const in_pools{{crew_kind::pool, &files}, {crew_kind::pool, &files_without_sync}};

settings operator+(settings a, settings const& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
settings const on_files = in_threads_on_files + in_processes;
settings const everywhere = settings{{crew_kind::threads, &memory}} + on_files + in_threads_on_journals;
settings const everywhere_and_pools = everywhere + in_pools;

/// Forks. The child runs `f` and never returns; it does not outlive this process, nor run for ever.
template <class F>
pid_t forked(board& b, F f) {
  std::fflush(nullptr);
  pid_t const child = ::fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child > 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Boost.Test's handlers would go on with the next test case, in the child.
  for (int const s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM}) std::signal(s, SIG_DFL);
  ::alarm(support::is_long() ? 900 : 120);
  b.attempt(f);
  ::_exit(0);
}

int status_of(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

void expect_normal_end(board& b, pid_t child) {
  int const status = status_of(child);
  b.require(status == 0, "a process ended with status " + std::to_string(status));
}

/// A stash of one test case, the board that its workers share, and a place for both.
template <class Storage>
struct field : support::scratch {
  using stash_type = stash::basic_stash<Storage, stash::json_serializer, ticking_clock>;

  field(crew_kind w, place<Storage> const& p, std::uint64_t seed, std::int64_t operations)
      : who(w), where(p), b(*memory_) {
    b.seed = seed;
    b.left = operations;
  }
  stash_type open() { return stash_type{where.make(dir()), {}, ticking_clock{&b.ticks}}; }
  /// For other processes to work: a journal is open in one at a time.
  void close() { store = open(); }

  /// Calls `step` with a stash of this process's own for as long as `goes_on()`; where others must wait meanwhile, in
  /// turns.
  template <class GoesOn, class Step>
  void work(stash_type& own, GoesOn goes_on, Step step) {
    if constexpr (!std::is_same_v<Storage, stash::journal_storage>) {
      while (goes_on()) step();
    } else {
      while (b.left > 0) {
        if (code_of([&] { own.storage().try_lock("turn"); }) == errc::busy) {
          ++b.turned_away;
          std::this_thread::sleep_for(200us);
          continue;
        }
        for (int i = 0; i < 10 && goes_on(); ++i) step();
        own = open();
        std::this_thread::sleep_for(500us);  // which lets another in
      }
    }
  }

  /// `work(stash, i)` for each `i` below `n`, all at once.
  template <class Work>
  void run(int n, Work work) {
    b.workers = 0;
    who == crew_kind::threads ? run_threads(n, work) : run_processes(n, work);
  }

 private:
  template <class Work>
  void run_threads(int n, Work& work) {
    std::vector<std::thread> all;
    for (int i = 0; i < n; ++i) {
      all.emplace_back([&, i] { start(store, work, n, i); });
    }
    for (auto& t : all) t.join();
  }

  template <class Work>
  void run_processes(int n, Work& work) {
    std::vector<pid_t> all;
    for (int i = 0; i < n; ++i) {
      all.push_back(forked(b, [&] {
        if (who == crew_kind::pool) return start(store, work, n, i);
        auto own = open();
        start(own, work, n, i);
      }));
    }
    for (pid_t const child : all) expect_normal_end(b, child);
  }

  template <class Work>
  void start(stash_type& stash, Work& work, int n, int i) {
    ++b.workers;
    while (b.workers < static_cast<unsigned>(n)) std::this_thread::yield();
    b.attempt([&] { work(stash, i); });
  }

  shared<board> memory_;

 public:
  crew_kind who;
  place<Storage> const& where;
  board& b;
  stash_type store = open();
};

// Counting

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STASH_HAS_THREAD_SANITIZER
#endif
#endif
#ifdef STASH_HAS_THREAD_SANITIZER
char const suite[] = "concurrency, with the thread sanitizer";
#else
char const suite[] = "concurrency";
#endif

using tally = std::map<std::string, std::pair<std::uint64_t, std::uint64_t>>;
tally& tallied() {
  static tally all;
  return all;
}
void count(std::string const& row, board const& b) {
  tallied()[row].first += b.done;
  tallied()[row].second += b.wrong;
}
struct figures {
  ~figures() {
    for (auto const& [row, numbers] : tallied()) support::figure(suite, row, numbers.first, numbers.second);
  }
};

std::vector<std::uint64_t> seeds() {
  if (char const* const one = std::getenv("STASH_SEED")) return {std::strtoull(one, nullptr, 10)};
  return support::is_long() ? std::vector<std::uint64_t>{1, 2} : std::vector<std::uint64_t>{1};
}

/// Runs `test` on a field of its own for each seed: what a worker found wrong fails it.
template <class Storage, class Test>
void with_each_seed(crew_kind who, place<Storage> const& where, std::string const& row, int operations, Test test) {
  for (auto const seed : seeds()) {
    field<Storage> f{who, where, seed, operations * where.speed * (support::is_long() ? 12 : 1)};
    test(f);
    BOOST_TEST_INFO("seed " << seed << ": " << f.b.first_wrong.data());
    BOOST_TEST(f.b.wrong.load() == 0U);
    BOOST_TEST_INFO("seed " << seed << ": most found the key busy");
    BOOST_TEST(2 * f.b.busy.load() <= f.b.done.load());
    count(row, f.b);
  }
}

std::string row_of(setting const& s, std::string const& what) {
  std::string row = s.name();
  return row.replace(row.find('@'), 1, what);
}
template <class Test>
void on(setting const& s, std::string const& what, int operations, Test test) {
  std::visit([&](auto const* p) { with_each_seed(s.who, *p, row_of(s, what), operations, test); }, s.where);
}
/// For a test that makes no sense but on files.
template <class Test>
void in_files(setting const& s, std::string const& what, int operations, Test test) {
  with_each_seed(s.who, *std::get<file_place const*>(s.where), row_of(s, what), operations, test);
}

// One type of guard and of recover for all tests, whatever their functions are: this file takes long enough to compile

using live_function = std::function<std::optional<std::string>()>;
using restore_function = std::function<void(std::string const&)>;
template <class Stash>
using guard_of = stash::delete_guard<Stash, std::string, restore_function>;

template <class Stash>
stash::recovery_report recover_with(Stash& stash, std::function<bool(stash::key const&)> is_live,
                                    std::function<void(stash::key const&, std::string const&)> restore) {
  return stash::recover<std::string>(stash, std::move(is_live), std::move(restore), {.observer = stash::silent});
}

// What a reader may see

/// Reads, and holds every answer against those before: whole, of its key, none older than what was acknowledged
/// before the read began or than this reader has seen, and none again that was once seen to be gone.
class reader {
 public:
  explicit reader(board& b) : b_(b) {}

  template <class Stash>
  std::optional<message> look(Stash const& stash, int k, bool may_be_absent = true) {
    auto const i = static_cast<std::size_t>(k);
    oldest_[i] = std::max(oldest_[i], b_.acknowledged[i].load());
    auto const found = stash.template look_up<std::string>(name_of(k));
    if (found.state != stash::record_state::intact) {
      b_.require(found.state == stash::record_state::absent, "a corrupt record was read");
      b_.require(may_be_absent, "a record was not there");
      oldest_[i] = std::max(oldest_[i], newest_[i] + 1);
      return std::nullopt;
    }
    auto const saved_at = found.saved_at->time_since_epoch().count();
    b_.require(saved_at >= oldest_[i], "an older record came back");
    oldest_[i] = newest_[i] = saved_at;
    return whole(*found.value, k);
  }

  std::optional<message> whole(std::string const& text, int k) {
    auto m = parsed(text);
    b_.require(m.has_value(), "a value is torn or mixed: " + text.substr(0, 80));
    b_.require(!m || m->key == k, "a value of another key: " + text.substr(0, 80));
    return m;
  }

 private:
  board& b_;
  std::array<std::int64_t, max_keys> oldest_{}, newest_{};
};

/// How often a worker does what, in parts of 100; the rest is reading.
struct habits {
  int keys = 1;
  int saves = 0, clears = 0, guards = 0, listings = 0;
};

/// A worker that saves, loads, clears, lists and guards, and looks whether it is alone under a guard.
template <class Stash>
class worker {
 public:
  worker(Stash& stash, board& b, int id, habits h)
      : stash_(stash), b_(b), id_(static_cast<std::uint64_t>(id)), habits_(h), dice_(b.seed, id_), reader_(b) {}

  void run() {
    while (b_.next()) step();
  }
  void step() {
    b_.attempt([&] { act(dice_.below(habits_.keys), dice_.below(100)); });
  }

 private:
  void act(int k, int choice) {
    if ((choice -= habits_.saves) < 0) return save(k);
    if ((choice -= habits_.clears) < 0) return static_cast<void>(stash_.clear(name_of(k)));
    if ((choice -= habits_.guards) < 0) return guard(k);
    if ((choice -= habits_.listings) < 0) return list();
    reader_.look(stash_, k, habits_.clears + habits_.guards > 0);
  }

  message next_message(int k) { return {k, id_, ++sequence_}; }
  std::atomic<std::int64_t>& acknowledged(int k) { return b_.acknowledged[static_cast<std::size_t>(k)]; }

  void save(int k) {
    auto const before = b_.ticks.load();
    stash_.save(name_of(k), text_of(next_message(k)));
    raise(acknowledged(k), before);
  }

  void guard(int k) {
    std::optional<std::string> live;
    if (!dice_.one_in(3)) live = text_of(next_message(k));
    auto const before = b_.ticks.load();
    std::string const* guarded = nullptr;
    auto const restore = [&](std::string const& v) {
      b_.require(guarded != nullptr && v == *guarded, "restored another value than the guard's");
    };
    stash::guard_options const options{.clear_after_restore = dice_.one_in(2)};
    guard_of<Stash> g{stash_, name_of(k), live_function{[&] { return live; }}, restore, options};
    guarded = g.value();
    if (live) raise(acknowledged(k), before);
    expect_mine(k, guarded);
    dice_.pause();
    expect_mine(k, guarded);
    end(g);
  }

  /// Under a guard nobody else changes the record.
  void expect_mine(int k, std::string const* guarded) {
    auto const found = stash_.template load<std::string>(name_of(k));
    if (guarded != nullptr) reader_.whole(*guarded, k);
    b_.require(guarded != nullptr ? found == *guarded : !found, "another wrote or removed the record under a guard");
  }

  void end(guard_of<Stash>& g) {
    switch (dice_.below(4)) {
      case 0:
        return g.commit();
      case 1:
        return g.rollback();
      case 2:
        return g.release();
      default:;  // the destructor restores
    }
  }

  void list() {
    for (auto const& e : stash_.entries()) {
      b_.require(e.state == stash::record_state::intact, "a record was listed as corrupt");
    }
    for (auto const& e : stash_.set_aside_entries()) {
      b_.require(e.state == stash::record_state::intact, "what was set aside is corrupt");
    }
    stash_.purge(0us);
  }

  Stash& stash_;
  board& b_;
  std::uint64_t id_;
  habits habits_;
  dice dice_;
  reader reader_;
  std::uint64_t sequence_ = 0;
};

habits all_of_it(int keys) { return {.keys = keys, .saves = 25, .clears = 5, .guards = 20, .listings = 1}; }

/// What a parent of a pool did with its stash before it forks (all that opens or locks something).
template <class Field>
void use(Field& f) {
  f.store.save("parent", std::string("x"));
  f.store.clear("parent");
  guard_of<typename Field::stash_type> g{f.store, "parent", live_function{[] { return "x"; }}, {}};
  g.commit();
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(figures);

BOOST_AUTO_TEST_SUITE(concurrency)

BOOST_DATA_TEST_CASE(on_one_key_every_value_is_whole_and_none_comes_back, bdata::make(everywhere_and_pools), setting) {
  on(setting, "on one key", 150, [](auto& f) {
    use(f);
    auto const kept = f.store.storage().try_lock("parents");
    f.run(crew, [&](auto& stash, int id) {
      f.b.require(!stash.storage().try_lock("parents"), "a lock of the parent was taken");
      worker{stash, f.b, id, all_of_it(1)}.run();
    });
    BOOST_TEST(kept->held());
  });
}

BOOST_DATA_TEST_CASE(on_many_keys_every_value_is_whole_and_none_comes_back, bdata::make(everywhere_and_pools),
                     setting) {
  on(setting, "on many keys", 250, [](auto& f) {
    use(f);
    f.run(crew, [&](auto& stash, int id) { worker{stash, f.b, id, all_of_it(24)}.run(); });
    auto const listed = f.store.entries();
    for (auto const& e : listed) BOOST_TEST((e.state == stash::record_state::intact));
  });
}

BOOST_DATA_TEST_CASE(a_reader_during_a_replace_always_finds_a_record, bdata::make(everywhere), setting) {
  on(setting, "on one key", 150, [](auto& f) {
    f.store.save(name_of(0), text_of({0, 99, 1}));
    f.run(crew, [&](auto& stash, int id) { worker{stash, f.b, id, {.saves = id < 2 ? 50 : 0}}.run(); });
  });
}

namespace {

/// Clears, and tells before and after that it does. In between it waits for more saves to begin than there are threads
/// or processes: then at least one begins and ends without a clear under way.
template <class Stash>
void clear_now_and_then(Stash& stash, board& b, int id) {
  dice d{b.seed, static_cast<std::uint64_t>(id)};
  while (b.left > 0) {
    b.attempt([&] {
      ++b.begun[0];
      stash.clear(name_of(0));
    });
    ++b.ended[0];
    auto const enough = b.left - crew - 1 - d.below(10);
    while (b.left > 0 && b.left > enough) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

/// Saves; where no clear was under way meanwhile, there must be a record then.
template <class Stash>
void save_and_look(Stash& stash, board& b, int id) {
  reader r{b};
  dice d{b.seed, static_cast<std::uint64_t>(id)};
  for (std::uint64_t n = 1; b.next(); ++n) {
    std::this_thread::sleep_for(std::chrono::microseconds(d.below(3000)));  // else a clear waits all the time
    b.attempt([&] {
      auto const ended = b.ended[0].load(), begun = b.begun[0].load();
      auto const before = b.ticks.load();
      stash.save(name_of(0), text_of({0, static_cast<std::uint64_t>(id), n}));
      raise(b.acknowledged[0], before);
      bool const is_there = r.look(stash, 0).has_value();
      if (ended != begun || b.begun[0] != begun) return;
      b.require(is_there, "a clear that had ended before took a record away");
      ++b.noted;
    });
  }
}

}  // namespace

BOOST_DATA_TEST_CASE(a_clear_takes_only_what_was_saved_before_it_ended, bdata::make(everywhere), setting) {
  on(setting, "on one key", 100, [](auto& f) {
    f.run(crew,
          [&](auto& stash, int id) { id == 0 ? clear_now_and_then(stash, f.b, id) : save_and_look(stash, f.b, id); });
    BOOST_TEST(f.b.noted > 0U);
  });
}

BOOST_DATA_TEST_CASE(recoverers_at_once_restore_each_record_once, bdata::make(everywhere), setting) {
  on(setting, "on many keys", 40, [](auto& f) {
    constexpr int records = 10;
    std::uint64_t rounds = 0;
    for (; f.b.left > 0; f.b.left -= records, ++rounds) {
      for (int k = 0; k < records; ++k) f.store.save(name_of(k), text_of({k, 1, rounds}));
      f.run(crew, [&](auto& stash, int id) {
        dice d{f.b.seed + rounds, static_cast<std::uint64_t>(id)};
        auto const restore = [&](stash::key const& k, std::string const& saved) {
          auto const m = parsed(saved);
          f.b.require(m && name_of(m->key) == k && m->sequence == rounds, "restored what was not saved there");
          d.pause();
          if (m) ++f.b.begun[static_cast<std::size_t>(m->key)];
        };
        auto const report = recover_with(
            stash, [](auto const&) { return false; }, restore);
        f.b.noted += report.restored;
        f.b.require(report.failed.empty() && report.corrupt == 0, "recover failed");
      });
      for (int k = 0; k < records; ++k) BOOST_TEST(f.b.begun[static_cast<std::size_t>(k)] == rounds + 1);
      BOOST_TEST(f.store.entries().empty());
      f.b.done += records;
    }
    BOOST_TEST(f.b.noted == rounds * records);
  });
}

namespace {

/// A job that is inside its section as long as its guard lives, and leaves its record behind.
template <class Stash>
void guard_and_release(Stash& stash, board& b, int id, dice& d) {
  int const k = 1 + d.below(3);
  auto const me = static_cast<std::uint64_t>(id);
  auto& here = b.sections[static_cast<std::size_t>(k)];
  auto const live = [&] {
    here.enter(me);
    return text_of({k, me, 1});
  };
  guard_of<Stash> g{stash, name_of(k), live_function{live}, [](auto const&) {}, {.wait_for_lock = 1s}};
  d.pause();
  here.expect_alone(me);
  here.who = 0;
  g.release();
}

template <class Stash>
void recover_what_nobody_guards(Stash& stash, board& b) {
  auto const restore = [&](stash::key const& k, std::string const& saved) {
    auto const m = parsed(saved);
    b.require(m && m->key != 0 && name_of(m->key) == k, "restored a record whose guard lives");
    if (m) b.require(b.sections[static_cast<std::size_t>(m->key)].who == 0, "restored under a live guard");
    ++b.noted;
  };
  auto const report = recover_with(
      stash, [](auto const&) { return false; }, restore);
  b.require(report.busy >= 1, "a live guard was not reported as busy");
  b.left = 0;
}

}  // namespace

BOOST_DATA_TEST_CASE(recover_leaves_alone_what_a_live_guard_holds, bdata::make(everywhere), setting) {
  on(setting, "on many keys", 1, [](auto& f) {
    f.b.left = 1;
    bool restored = false;
    stash::delete_guard g{f.store, name_of(0),
                          [] {
                            return text_of({0, 1, 1});
                          },
                          [&](std::string const&) { restored = true; }};
    for (int k = 1; k < 4; ++k) f.store.save(name_of(k), text_of({k, 1, 1}));
    f.run(crew, [&](auto& stash, int id) {
      dice d{f.b.seed, static_cast<std::uint64_t>(id)};
      if (id == 0) return recover_what_nobody_guards(stash, f.b);
      while (f.b.left > 0) f.b.attempt([&] { guard_and_release(stash, f.b, id, d); });
    });
    BOOST_TEST(f.b.noted > 0U);
    for (auto const& s : f.b.sections) BOOST_TEST(s.intruders == 0U);
    BOOST_TEST(f.store.template load<std::string>(name_of(0)).value() == text_of({0, 1, 1}));
    g.commit();
    BOOST_TEST(!restored);
  });
}

BOOST_DATA_TEST_CASE(guards_that_a_pool_inherits_do_nothing_in_it_and_hold_on_in_the_parent, bdata::make(in_pools),
                     setting) {
  in_files(setting, "on many keys", 100, [](auto& f) {
    constexpr int guarded = 3;
    using guard = guard_of<typename std::decay_t<decltype(f)>::stash_type>;
    std::vector<std::unique_ptr<guard>> guards;
    for (int k = 0; k < guarded; ++k) {
      live_function const live = [k] { return text_of({k, 1, 1}); };
      guards.emplace_back(new guard{f.store, name_of(k), live, [&](auto const&) { ++f.b.noted; }});
    }
    f.run(crew, [&](auto& stash, int id) {
      f.b.require(code_of([&] { guards[0]->commit(); }) == errc::busy, "an inherited guard was committed");
      f.b.require(code_of([&] { guards[1]->rollback(); }) == errc::busy, "an inherited guard was rolled back");
      guards.clear();
      for (int k = 0; k < guarded; ++k) {
        f.b.require(!stash.storage().try_lock(name_of(k)), "a guard's lock was free in a child");
      }
      habits const of_others = {.keys = guarded, .saves = 0};  // readers, that find what the guards saved
      while (f.b.left > 0) {
        worker{stash, f.b, id, of_others}.step();
        f.b.attempt([&] {
          auto const m = parsed(stash.template load<std::string>(name_of(id % guarded)).value());
          f.b.require(m == message{id % guarded, 1, 1}, "the record of a guard changed");
        });
        f.b.left -= 2;
      }
    });
    BOOST_TEST(f.b.noted == 0U);
    for (auto const& g : guards) g->commit();
    BOOST_TEST(f.b.noted == 0U);
    BOOST_TEST(f.store.entries().empty());
  });
}

namespace {

/// Async-signal-safe, for a child of many threads.
bool has_open(struct stat const& file) {
  for (int fd = 0; fd < 1024; ++fd) {
    struct stat s;
    if (::fstat(fd, &s) == 0 && s.st_dev == file.st_dev && s.st_ino == file.st_ino) return true;
  }
  return false;
}

}  // namespace

BOOST_DATA_TEST_CASE(a_child_forked_while_threads_lock_has_none_of_their_locks_open,
                     bdata::make(in_threads_on_files + in_threads_on_journals), setting) {
  on(setting, "on many keys", 100, [](auto& f) {
    use(f);
    struct stat lock_file;
    BOOST_REQUIRE(::stat((f.dir() / ".lock").c_str(), &lock_file) == 0);
    std::thread busy([&] {
      f.run(crew - 1, [&](auto& stash, int id) { worker{stash, f.b, id, all_of_it(3)}.run(); });
    });
    while (f.b.left > 0) {
      pid_t const child = ::fork();
      if (child == 0) ::_exit(has_open(lock_file) ? 1 : 0);
      f.b.require(status_of(child) == 0, "a child has a lock descriptor of its parent");
      ++f.b.noted;
    }
    busy.join();
    BOOST_TEST(f.b.noted > 0U);
  });
}

namespace {

/// The names under which many processes make files.
struct name_list {
  static constexpr std::size_t capacity = 200'000;
  std::atomic<std::size_t> size{0};
  std::array<std::size_t, capacity> hashes{};
  /// Of `.<key>.<random>.tmp` and `<key>.<reason>-<time>-<random>`, what was drawn for it.
  void add(std::string_view name) {
    if (name.ends_with(".tmp")) name.remove_suffix(4);
    auto const i = size.fetch_add(1);
    if (i < capacity) hashes[i] = std::hash<std::string_view>{}(name.substr(name.size() - 16));
  }
};

struct noting_ops : stash::posix_file_ops {
  name_list* names = nullptr;
  noting_ops() = default;
  explicit noting_ops(name_list* n) : names(n) {}
  int open(int directory, char const* name, int flags, mode_t mode = 0) const {
    if ((flags & O_EXCL) != 0) names->add(name);
    return posix_file_ops::open(directory, name, flags, mode);
  }
  int rename_noreplace(int directory, char const* from, char const* to) const {
    names->add(to);
    return posix_file_ops::rename_noreplace(directory, from, to);
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(no_two_forked_workers_ever_choose_the_same_temporary_or_set_aside_name) {
  support::scratch place;
  shared<board> b;
  shared<name_list> names;
  stash::basic_stash<stash::basic_atomic_file_storage<noting_ops>> store{
      place.dir(), stash::file_options{.durability = stash::durability::process_crash}, noting_ops{&*names}};
  int const each = support::is_long() ? 10'000 : 300;
  store.save("parent", 0);  // what the parent drew, its children must not draw again
  std::vector<pid_t> children;
  for (int id = 0; id < crew; ++id) {
    children.push_back(forked(*b, [&] {
      for (int i = 0; i < each; ++i) {
        b->attempt([&] {
          store.save(name_of(id), i);
          store.storage().set_aside(name_of(id), "superseded");
        });
      }
    }));
  }
  for (pid_t const child : children) expect_normal_end(*b, child);
  auto const n = names->size.load();
  BOOST_REQUIRE(n < name_list::capacity);
  BOOST_TEST(n == static_cast<std::size_t>(1 + 2 * crew * each));
  std::sort(names->hashes.begin(), names->hashes.begin() + static_cast<std::ptrdiff_t>(n));
  auto const end = names->hashes.begin() + static_cast<std::ptrdiff_t>(n);
  BOOST_TEST((std::adjacent_find(names->hashes.begin(), end) == end));
  BOOST_TEST_INFO(b->first_wrong.data());
  BOOST_TEST(b->wrong.load() == 0U);
  count(std::string("processes on many keys, ") + files_without_sync.name, *b);
}

BOOST_DATA_TEST_CASE(a_program_that_is_started_while_threads_work_gets_no_descriptor,
                     bdata::make(in_threads_on_files + in_threads_on_journals), setting) {
  on(setting, "on many keys", 200, [](auto& f) {
    std::thread busy([&] {
      f.run(crew - 1, [&](auto& stash, int id) { worker{stash, f.b, id, all_of_it(3)}.run(); });
    });
    while (f.b.left > 0) {
      // popen does not run the handlers of fork, which close locks in a child: close-on-exec alone must do.
      std::FILE* const listing = ::popen("exec ls -l /proc/self/fd", "r");
      f.b.require(listing != nullptr, "popen");
      if (listing == nullptr) break;
      std::array<char, 1000> line;
      while (std::fgets(line.data(), static_cast<int>(line.size()), listing) != nullptr) {
        ++f.b.noted;
        bool const is_ours = std::string_view(line.data()).find(f.root.native()) != std::string_view::npos;
        f.b.require(!is_ours, std::string("inherited: ") + line.data());
      }
      f.b.require(::pclose(listing) == 0, "ls failed");
    }
    busy.join();
    BOOST_TEST(f.b.noted > 3U);
  });
}

namespace {

extern "C" void ignore_signal(int) {}

/// Signals to the threads of `running` for as long as it is there, none of which restarts a call.
class storm {
 public:
  storm() {
    struct sigaction empty = {}, old = {};
    empty.sa_handler = ignore_signal;
    ::sigaction(SIGUSR1, &empty, &old);
    before_ = old;
  }
  storm(storm const&) = delete;
  storm& operator=(storm const&) = delete;
  ~storm() { ::sigaction(SIGUSR1, &before_, nullptr); }

  void blow(std::vector<std::thread>& at, std::atomic<int> const& still_running) {
    while (still_running > 0) {
      for (auto& t : at) ::pthread_kill(t.native_handle(), SIGUSR1);
      std::this_thread::sleep_for(50us);
    }
  }

 private:
  struct sigaction before_;
};

/// A third of the calls that a signal may interrupt are. On a local file system the kernel hardly ever does it.
struct interruptions {
  std::atomic<std::uint64_t> calls{0}, interrupted{0};
  int operator()(std::string_view call) {
    static constexpr std::array<std::string_view, 8> may_be = {"open",  "open_lock", "read",   "writev",
                                                               "fsync", "lock_byte", "random", "rename"};
    if (std::find(may_be.begin(), may_be.end(), call) == may_be.end() || ++calls % 3 != 0) return 0;
    ++interrupted;
    return EINTR;
  }
};

}  // namespace

BOOST_DATA_TEST_CASE(no_signal_ever_shows, bdata::make(in_threads_on_files), setting) {
  in_files(setting, "on many keys", 200, [](auto& f) {
    interruptions hit;
    support::spoiled_ops ops;
    *ops.before = [&hit](std::string_view call) { return hit(call); };
    auto const option = &f.where == &files ? stash::durability::power_loss : stash::durability::process_crash;
    stash::basic_stash<support::spoiled_storage, stash::json_serializer, ticking_clock> stash{
        support::spoiled_storage{f.dir(), {.durability = option}, ops}, {}, ticking_clock{&f.b.ticks}};
    storm signals;
    std::atomic<int> running{crew};
    std::vector<std::thread> workers;
    for (int id = 0; id < crew; ++id) {
      workers.emplace_back([&, id] {
        worker{stash, f.b, id, all_of_it(4)}.run();
        --running;
      });
    }
    signals.blow(workers, running);
    for (auto& w : workers) w.join();
    BOOST_TEST(hit.interrupted > 100U);
  });
}

namespace {

/// Works where somebody deletes files, so that locks are lost: nothing is promised of the order of things, but that
/// values are whole, errors say what they are, and no guard ends in silence.
template <class Stash>
class unlucky_worker {
 public:
  using forgives = bool (*)(boost::system::system_error const&);
  unlucky_worker(Stash& stash, board& b, int id, forgives is_expected)
      : stash_(stash), b_(b), id_(static_cast<std::uint64_t>(id)), is_expected_(is_expected), dice_(b.seed, id_) {}

  void run() {
    while (b_.next()) b_.attempt([&] { act(dice_.below(3), dice_.below(100)); }, is_expected_);
  }

 private:
  void act(int k, int choice) {
    if (choice < 25) return stash_.save(name_of(k), text_of({k, id_, ++sequence_}));
    if (choice < 30) return static_cast<void>(stash_.clear(name_of(k)));
    if (choice < 50) return guard(k);
    if (choice < 52) return recover_and_list();
    auto const found = stash_.template look_up<std::string>(name_of(k));
    b_.require(found.state != stash::record_state::corrupt, "a corrupt record was read");
    if (found.value) whole(name_of(k), *found.value);
  }

  void whole(stash::key const& k, std::string const& text) {
    auto const m = parsed(text);
    b_.require(m && name_of(m->key) == k, "a value is torn, mixed, or of another key: " + text.substr(0, 80));
  }

  void guard(int k) {
    std::string const value = text_of({k, id_, ++sequence_});
    int restored = 0, refused = 0, cleared = 0;
    bool const rolls_back = dice_.one_in(2);
    auto const observe = [&](stash::event const& e) {
      refused += e.kind == stash::event_kind::restore_failed || e.kind == stash::event_kind::clear_failed;
      cleared += e.kind == stash::event_kind::committed;
    };
    auto const restore = [&](std::string const& v) {
      whole(name_of(k), v);
      ++restored;
    };
    {
      guard_of<Stash> g{stash_, name_of(k), live_function{[&] { return value; }}, restore, {.observer = observe}};
      dice_.pause();
      if (!rolls_back) b_.attempt([&] { g.commit(); }, is_expected_);
    }
    b_.require(restored + cleared + refused == 1, "a guard did not say how it ended");
    b_.require(rolls_back ? cleared == 0 : restored == 0, "a guard ended as it was not told to");
  }

  void recover_and_list() {
    recover_with(
        stash_, [](auto const&) { return false; }, [&](auto const& k, auto const& saved) { whole(k, saved); });
    for (auto const& e : stash_.set_aside_entries()) {
      b_.require(e.state == stash::record_state::intact, "what was set aside is corrupt");
    }
    stash_.purge(0us);
  }

  Stash& stash_;
  board& b_;
  std::uint64_t id_;
  forgives is_expected_;
  dice dice_;
  std::uint64_t sequence_ = 0;
};

/// What may come of it when a name vanishes between two calls.
bool is_of_a_vanished_name(boost::system::system_error const& e) {
  auto const* const ours = dynamic_cast<stash::error const*>(&e);
  if (ours == nullptr || ours->operation().empty() || ours->detail().empty()) return false;
  return e.code() == support::os(ENOENT) || e.code() == support::os(ESTALE);
}

void delete_something(fs::path const& dir, dice& d) {
  boost::system::error_code ignored;
  if (d.one_in(20)) return static_cast<void>(fs::remove_all(dir, ignored));
  std::vector<fs::path> all;
  for (fs::directory_iterator it(dir, ignored), end; !ignored && it != end; it.increment(ignored)) {
    all.push_back(it->path());
  }
  if (!all.empty()) fs::remove(all[static_cast<std::size_t>(d.below(static_cast<int>(all.size())))], ignored);
}

template <class Field, class Delete>
void work_where_files_vanish(Field& f, Delete remove) {
  f.run(crew, [&](auto& stash, int id) {
    if (id > 0) return unlucky_worker{stash, f.b, id, is_of_a_vanished_name}.run();
    dice d{f.b.seed, 0};
    while (f.b.left > 0) {
      remove(d);
      std::this_thread::sleep_for(std::chrono::microseconds(d.below(2000)));
    }
  });
  f.store.save("afterwards", std::string("works"));
  BOOST_TEST((f.store.template load<std::string>("afterwards") == "works"));
}

}  // namespace

BOOST_DATA_TEST_CASE(where_a_cleaner_deletes_files_errors_are_worded_and_values_whole, bdata::make(on_files), setting) {
  in_files(setting, "on many keys", 200,
           [](auto& f) { work_where_files_vanish(f, [&](dice& d) { delete_something(f.dir(), d); }); });
}

BOOST_DATA_TEST_CASE(where_the_lock_file_is_deleted_no_value_is_torn_and_no_guard_ends_in_silence,
                     bdata::make(on_files), setting) {
  in_files(setting, "on many keys", 200, [](auto& f) {
    work_where_files_vanish(f, [&](dice&) {
      boost::system::error_code ignored;
      fs::remove(f.dir() / ".lock", ignored);
    });
  });
}

namespace {

/// Runs `f` as process 1 of a process id namespace of its own.
template <class F>
int as_pid_1(F f) {
  if (::unshare(CLONE_NEWPID) != 0) return 98;
  return support::in_child([&] {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    return ::getpid() == 1 ? f() : 97;
  });
}

boost::test_tools::assertion_result with_own_process_ids(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result can{support::in_child([] { return as_pid_1([] { return 0; }); }) == 0};
  can.message() << "process id namespaces may not be made here";
  return can;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(as_process_1, *boost::unit_test::precondition(with_own_process_ids))

BOOST_DATA_TEST_CASE(a_child_with_its_parents_process_id_holds_none_of_its_locks, bdata::make(in_processes), setting) {
  in_files(setting, "on one key", 1, [](auto& f) {
    auto const parent = [&] {
      int restored = 0;
      stash::delete_guard g{f.store, "k", [] { return 1; }, [&](int) { ++restored; }};
      auto lock = f.store.storage().try_lock("other");
      int const in_child = as_pid_1([&] {
        bool const inert = code_of([&] { g.commit(); }) == errc::busy && !lock->held();
        lock.reset();
        return inert && !f.store.storage().try_lock("k") && !f.store.storage().try_lock("other") ? 0 : 1;
      });
      bool const held = lock->held() && f.store.template load<int>("k") == 1;
      g.commit();
      return in_child != 0 ? in_child : held && restored == 0 ? 0 : 2;
    };
    BOOST_TEST(support::in_child([&] { return as_pid_1(parent); }) == 0);
  });
}

BOOST_DATA_TEST_CASE(processes_that_are_all_process_1_keep_each_other_out, bdata::make(in_processes), setting) {
  in_files(setting, "on one key", 100, [](auto& f) {
    f.run(crew, [&](auto& stash, int id) {
      int const ended = as_pid_1([&] {
        worker{stash, f.b, id, all_of_it(1)}.run();
        return 0;
      });
      f.b.require(ended == 0, "as process 1: " + std::to_string(ended));
    });
  });
}

BOOST_AUTO_TEST_SUITE_END()

namespace {

/// What saves that were killed have left behind, beside a journal: there it is replaced.
template <class Stash>
std::size_t leftovers(Stash const& store) {
  if constexpr (requires { store.storage().temporaries(); }) {
    return store.storage().temporaries().size();
  } else {
    return 0;
  }
}

/// Where saves have temporaries, stops these processes at a moment when there is one; after a second without one they
/// run on. A kill at a random moment meets none for seconds where a sync takes no time.
template <class Stash>
void hold_amid_a_save(Stash const& store, std::array<pid_t, 2> const& all, dice& d) {
  if constexpr (requires { store.storage().temporaries(); }) {
    auto const patience = std::chrono::steady_clock::now() + std::chrono::seconds{1};
    while (std::chrono::steady_clock::now() < patience) {
      for (pid_t const p : all) {
        ::kill(p, SIGSTOP);
        ::waitpid(p, nullptr, WUNTRACED);
      }
      if (leftovers(store) > 0) return;
      for (pid_t const p : all) ::kill(p, SIGCONT);
      std::this_thread::sleep_for(std::chrono::microseconds(d.below(300)));
    }
  }
}

}  // namespace

BOOST_DATA_TEST_CASE(after_a_kill_locks_are_free_records_whole_and_leftovers_swept,
                     bdata::make(in_processes + in_turns), setting) {
  on(setting, "on many keys", 400, [](auto& f) {
    constexpr int keys = 3;
    dice d{f.b.seed, 0};
    reader all_along{f.b};
    // Some are killed amid a save, or wait for their turn: it goes on until one was.
    auto const one_was = [&] { return f.b.noted + f.b.turned_away > 0U; };
    auto const enough = std::chrono::steady_clock::now() + std::chrono::seconds{5};
    while (f.b.left > 0 || (!one_was() && std::chrono::steady_clock::now() < enough)) {
      auto const before = f.b.done.load();
      std::array<pid_t, 2> killed;
      for (int i = 0; i < 2; ++i) {
        killed[static_cast<std::size_t>(i)] = forked(f.b, [&] {
          auto own = f.open();
          // A durable save has no temporary file while it writes; a removal has one during its sync.
          worker w{own, f.b, 1 + i, {.keys = keys, .saves = 45, .clears = 35, .guards = 20}};
          f.work(
              own, [] { return true; }, [&] { w.step(); });
        });
      }
      auto const patience = std::chrono::steady_clock::now() + std::chrono::seconds{10};
      while (f.b.done < before + 4 && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
      bool const got_on = f.b.done >= before + 4;
      std::this_thread::sleep_for(std::chrono::microseconds(d.below(3000)));
      if (d.one_in(2)) hold_amid_a_save(f.store, killed, d);
      for (pid_t const p : killed) ::kill(p, SIGKILL);
      for (pid_t const p : killed) BOOST_TEST(WTERMSIG(status_of(p)) == SIGKILL);
      BOOST_TEST_REQUIRE(got_on, "no process gets on");
      for (int k = 0; k < keys; ++k) {
        f.b.require(f.store.storage().try_lock(name_of(k)).has_value(), "a dead process holds a lock");
        all_along.look(f.store, k);
      }
      f.b.noted += leftovers(f.store);
      auto const report = recover_with(
          f.store, [](auto const&) { return true; }, [](auto const&, auto const&) {});
      f.b.require(report.failed.empty() && report.corrupt == 0 && report.busy == 0, "recover failed");
      f.b.require(leftovers(f.store) == 0, "a temporary file was left");
      f.b.left -= static_cast<std::int64_t>(f.b.done - before);
      f.close();
    }
    BOOST_TEST(one_was());
  });
}

namespace {

/// Comes to the section of key 0 in each of the ways in which the library holds a key's lock.
template <class Stash>
class visitor {
 public:
  visitor(Stash& stash, board& b, int id)
      : stash_(stash), b_(b), me_(static_cast<std::uint64_t>(id) + 1), here_(b.sections[0]), dice_(b.seed, me_) {}

  void run() {
    while (b_.next()) b_.attempt([&] { me_ % 2 == 0 ? save() : guard(); });
  }
  /// With a recover at times, for whatever the guards left.
  void run_and_recover() {
    while (b_.next()) {
      b_.attempt([&] { dice_.one_in(5) ? recover() : guard(); });
    }
  }

 private:
  void enter() {
    ++b_.noted;
    here_.enter(me_);
  }
  void save() {
    ticking_clock::when_asked = [&] {
      enter();
      dice_.pause();
      here_.expect_alone(me_);
    };
    struct reset {
      ~reset() { ticking_clock::when_asked = nullptr; }
    } const at_end;
    stash_.save(name_of(0), text_of({0, me_, ++sequence_}));
  }
  void guard() {
    auto const live = [&] {
      enter();
      return text_of({0, me_, ++sequence_});
    };
    auto const restore = [&](std::string const&) { here_.expect_alone(me_); };
    guard_of<Stash> g{stash_, name_of(0), live_function{live}, restore, {.wait_for_lock = 100ms}};
    here_.expect_alone(me_);  // between its look at the record and this, it set another's aside
    dice_.pause();
    if (!dice_.one_in(3)) g.release();
  }
  void recover() {
    auto const is_live = [&](auto const&) {
      enter();
      dice_.pause();
      return dice_.one_in(2);
    };
    recover_with(stash_, is_live, [&](auto const&, auto const&) { here_.expect_alone(me_); });
  }

  Stash& stash_;
  board& b_;
  std::uint64_t me_;
  section& here_;
  dice dice_;
  std::uint64_t sequence_ = 0;
};

}  // namespace

BOOST_DATA_TEST_CASE(one_is_inside_at_a_time_be_it_a_save_a_guard_or_recover, bdata::make(everywhere), setting) {
  on(setting, "on one key", 100, [](auto& f) {
    f.run(crew, [&](auto& stash, int id) {
      visitor v{stash, f.b, id};
      id == 0 ? v.run_and_recover() : v.run();
    });
    BOOST_TEST(f.b.sections[0].intruders == 0U);
    BOOST_TEST(f.b.sections[0].entered == f.b.noted);
    f.store.purge(0us);
  });
}

// What it is all for: jobs that drop and rebuild, fail, and are killed, and no word is lost
namespace {

struct job_failed {};

/// Resources that outlive the processes that work on them. Each is gone, or half-built, or whole: then it has the
/// words of a version, by a writer. The words of a version that was once whole must never be lost.
struct catalog {
  static constexpr std::uint64_t gone = 0, half_built = 1;
  per_key<std::uint64_t> resources{}, versions{};

  std::atomic<std::uint64_t>& resource(int k) { return resources[static_cast<std::size_t>(k)]; }
  std::atomic<std::uint64_t>& version(int k) { return versions[static_cast<std::size_t>(k)]; }
  bool is_whole(int k) { return resource(k) > half_built; }
  std::optional<std::string> words(int k) {
    auto const r = resource(k).load();
    if (r <= half_built) return std::nullopt;
    return text_of({k, r & 0xffffffff, r >> 32});
  }
  void build(message const& m) { resource(m.key) = m.sequence << 32 | m.writer; }
  /// People have typed something new: it counts from when the resource is whole.
  void build_anew(message const& m) {
    build(m);
    version(m.key) = m.sequence;
  }
};

/// A worker whose jobs drop resources and build them anew, with one more word each time.
template <class Stash>
class rebuilder {
 public:
  rebuilder(Stash& stash, board& b, catalog& c, int id)
      : stash_(stash), b_(b), catalog_(c), me_(static_cast<std::uint64_t>(id) + 1), dice_(b.seed, me_) {}

  void run(int keys) {
    while (b_.next()) step(keys);
  }
  void step(int keys) {
    b_.attempt([&] { act(dice_.below(keys)); });
  }

  /// As at the start of a service, when nothing fails any more.
  void recover_all() {
    fails_ = false;
    recover();
  }

 private:
  void act(int k) {
    if (dice_.one_in(50)) return recover();
    if (dice_.one_in(100)) return static_cast<void>(stash_.purge(0us));  // only what was superseded is there
    if (dice_.one_in(2)) return look(k);
    try {
      job(k);
    } catch (job_failed const&) {
    }
  }

  void look(int k) {
    auto const found = stash_.template look_up<std::string>(name_of(k));
    b_.require(found.state != stash::record_state::corrupt, "a corrupt record was read");
    if (found.value) whole(k, *found.value);
  }

  message whole(int k, std::string const& text) {
    auto const m = parsed(text);
    b_.require(m && m->key == k, "a value is torn, mixed, or of another key: " + text.substr(0, 80));
    return m.value_or(message{k, 0, 0});
  }

  void may_fail(int one_in = 12) {
    dice_.pause();
    if (fails_ && dice_.one_in(one_in)) throw job_failed{};
  }

  section& inside(int k) { return b_.sections[static_cast<std::size_t>(k)]; }

  std::optional<std::string> live(int k) {
    inside(k).enter(me_);
    may_fail(30);
    return catalog_.words(k);
  }

  /// Leaves a whole resource whole.
  void restore(int k, std::string const& saved) {
    inside(k).expect_alone(me_);
    may_fail();
    auto const m = whole(k, saved);
    if (catalog_.is_whole(k)) return;
    b_.require(m.sequence >= catalog_.version(k), "older words came back: " + saved.substr(0, 80));
    catalog_.build(m);
  }

  void job(int k) {
    stash::guard_options const options{.clear_after_restore = dice_.one_in(2),
                                       .wait_for_lock = std::chrono::milliseconds(dice_.below(60))};
    guard_of<Stash> g{stash_, name_of(k), live_function{[&] { return live(k); }}, [&](auto const& v) { restore(k, v); },
                      options};
    b_.require(g.value() != nullptr, "words were lost");
    if (g.value() == nullptr) throw job_failed{};
    auto const words = whole(k, *g.value());
    b_.require(words.sequence >= catalog_.version(k), "words of an older version: " + g.value()->substr(0, 80));
    may_fail();
    catalog_.resource(k) = catalog::gone;
    may_fail();
    if (dice_.one_in(20)) return g.release();
    if (dice_.one_in(20)) return g.rollback();
    catalog_.resource(k) = catalog::half_built;
    may_fail();
    catalog_.build_anew({k, me_, words.sequence + 1});
    may_fail();
    inside(k).expect_alone(me_);
    ++b_.noted;
    g.commit();
  }

  void recover() {
    auto const is_live = [&](stash::key const& k) {
      inside(index_of(k)).enter(me_);
      return catalog_.is_whole(index_of(k));
    };
    auto const report =
        recover_with(stash_, is_live, [&](auto const& k, auto const& saved) { restore(index_of(k), saved); });
    b_.require(report.corrupt == 0, "recover found a corrupt record");
    b_.require(fails_ || (report.failed.empty() && report.busy == 0), "the last recover failed");
  }

  static int index_of(stash::key const& k) { return std::stoi(std::string(k.str().substr(name_of(0).size() - 1))); }

  Stash& stash_;
  board& b_;
  catalog& catalog_;
  std::uint64_t me_;
  dice dice_;
  bool fails_ = true;
};

constexpr int resources = 3;

template <class Field>
void build_first(Field& f, catalog& c) {
  for (int k = 0; k < resources; ++k) c.build_anew({k, 0, 1});
  use(f);
  f.close();
}

template <class Field>
void expect_no_word_lost(Field& f, catalog& c) {
  rebuilder{f.store, f.b, c, 1'000'000}.recover_all();
  std::uint64_t built = 0;
  for (int k = 0; k < resources; ++k) {
    BOOST_TEST(c.is_whole(k));
    BOOST_TEST((c.resource(k) >> 32) >= c.version(k));
    BOOST_TEST(f.b.sections[static_cast<std::size_t>(k)].intruders == 0U);
    built += c.version(k) - 1;
  }
  BOOST_TEST(built > 0U);
  BOOST_TEST(f.b.noted > 0U);
}

}  // namespace

BOOST_DATA_TEST_CASE(where_jobs_drop_rebuild_and_fail_no_word_is_lost, bdata::make(everywhere_and_pools), setting) {
  on(setting, "that drop and rebuild", 150, [](auto& f) {
    shared<catalog> c;
    build_first(f, *c);
    f.run(crew, [&](auto& stash, int id) { rebuilder{stash, f.b, *c, id}.run(resources); });
    expect_no_word_lost(f, *c);
  });
}

BOOST_DATA_TEST_CASE(where_jobs_drop_rebuild_fail_and_are_killed_no_word_is_lost, bdata::make(in_processes + in_turns),
                     setting) {
  on(setting, "that drop and rebuild and are killed", 400, [](auto& f) {
    shared<catalog> c;
    build_first(f, *c);
    dice d{f.b.seed, 0};
    int born = 0;
    auto const start = [&] {
      return forked(f.b, [&f, &c, id = born++] {
        auto own = f.open();
        rebuilder r{own, f.b, *c, id};
        f.work(
            own, [&f] { return f.b.next(); }, [&] { r.step(resources); });
      });
    };
    std::vector<pid_t> workers;
    for (int i = 0; i < crew; ++i) workers.push_back(start());
    int killed = 0;
    while (f.b.left > 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(1000 + d.below(6000)));
      auto& victim = workers[static_cast<std::size_t>(d.below(crew))];
      ::kill(victim, SIGKILL);
      int const status = status_of(victim);
      bool const was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
      f.b.require(status == 0 || was_killed, "a worker ended with status " + std::to_string(status));
      killed += was_killed ? 1 : 0;
      victim = start();
    }
    for (pid_t const w : workers) expect_normal_end(f.b, w);
    BOOST_TEST(killed > 0);
    expect_no_word_lost(f, *c);
  });
}

BOOST_AUTO_TEST_SUITE_END()
