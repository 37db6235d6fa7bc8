// A fleet in simulation: jobs that reload tables and die, machines and a server that go down, persons who type at any
// moment, and operators who recover, move records by hand and bring back yesterday's backup. What a person typed and
// saw acknowledged is live, in a record or set aside, unless the same person typed something newer.
//
// A seed makes the same history each time, and $STASH_SEED prints that one. One that ends badly is made as short as can
// be.
#include <chrono>
#include <iostream>
#include <stash/stash.hpp>

#include "figures.hpp"
#include "fleet_server.hpp"

// In place of the C library's, for all of this program.
extern "C" int clock_gettime(clockid_t which, timespec* to) noexcept {
  auto const* const told = fleet::told_time;
  if (told == nullptr) return static_cast<int>(::syscall(SYS_clock_gettime, which, to));
  std::int64_t const now = told->elapsed + (which == CLOCK_REALTIME ? told->wall_at_start : 0);
  *to = {now / 1'000'000'000, now % 1'000'000'000};
  return 0;
}
extern "C" int nanosleep(timespec const* pause, timespec* rest) {
  if (fleet::told_time == nullptr) return static_cast<int>(::syscall(SYS_nanosleep, pause, rest));
  fleet::told_time->elapsed += pause->tv_sec * 1'000'000'000 + pause->tv_nsec;
  return 0;
}

namespace fleet_test {

using fleet::fleet_ops;
using fleet::model_file_system;
using fleet::process;
using fleet::server;
using fleet::server_storage;
using fleet::source;
using fleet::words;
using fleet::world;

namespace {

constexpr char directory[] = "/srv/etl/stash";
constexpr char lock_file[] = "/srv/etl/stash/.lock";
using file_storage = stash::basic_atomic_file_storage<fleet_ops>;

/// Calls `f` with a stash of the process.
template <class F>
void with_stash(world& w, process& me, F f) {
  if (w.is_stash_on_server) {
    stash::basic_stash<server_storage> store{server_storage{me, w.has_locks}};
    f(store);
  } else {
    stash::basic_stash<file_storage> store{file_storage{directory, {}, fleet_ops{me}}};
    f(store);
  }
}

/// nullopt: there is no table, or nobody's words are in it.
std::optional<words> words_in(server const& s, std::string const& k) {
  auto const found = s.tables.find(k);
  return found == s.tables.end() || found->second.empty() ? std::nullopt : std::optional(found->second);
}

/// Makes the table where there is none, and fills in the words of those persons who have typed nothing since.
void build(process& me, std::string const& k, words const& saved) {
  me.ask([&](server& s) { return s.tables.try_emplace(k).second; });
  bool const is_there = me.ask([&](server& s) {
    auto const found = s.tables.find(k);
    if (found == s.tables.end()) return false;
    found->second.insert(saved.begin(), saved.end());
    return true;
  });
  if (!is_there) throw std::runtime_error("the table is gone again");
}

/// All intact payloads, set aside or moved by hand or not, by the name of what they are in.
std::map<std::string, std::string> payloads(world const& w) {
  std::map<std::string, std::string> all;
  for (auto const* records : {&w.server.records, &w.server.aside}) {
    for (auto const& [name, r] : *records) all.emplace(name, r.payload);
  }
  auto const& files = w.machine.files;
  int const d = files.find(directory);
  if (d == model_file_system::nothing) return all;
  for (auto const& [name, n] : files.at(d).entries) {
    auto const whole = name.starts_with('.') ? std::nullopt : stash::detail::split(files.at(n).bytes);
    if (whole) all.emplace(name, whole->payload);
  }
  return all;
}
bool has_record(world const& w, std::string const& k) {
  return payloads(w).contains(w.is_stash_on_server ? k : k + ".stash");
}

/// Drops the table, unless somebody has typed something new, and builds it anew; now and then it fails.
void reload(world& w, process& me, std::string const& k) {
  with_stash(w, me, [&](auto& store) {
    std::optional<words> seen;
    auto const live = [&] {
      me.amid.insert(k);
      return seen = me.ask([&](server& s) { return words_in(s, k); });
    };
    auto const restore = [&](words const& saved) { build(me, k, saved); };
    stash::delete_guard guard{store, k, live, restore, {.observer = stash::silent}};
    me.amid.erase(k);
    if (!seen && guard.value() == nullptr && has_record(w, k))
      w.wrong = me.name() + " adopted nothing, though there was a record";
    ++w.happened[guard.origin() == stash::origin::live      ? "guards that saved"
                 : guard.origin() == stash::origin::adopted ? "guards that adopted a record"
                                                            : "guards that found nothing"];
    // A lock that is lost between the guard and the drop protects nobody: here the drop asks for it.
    bool const is_dropped = me.ask([&](server& s) {
      return words_in(s, k) == seen && me.holds(k, lock_file) &&
             (s.tables.erase(k), w.note(me.name() + " dropped"), true);
    });
    if (!is_dropped) throw std::runtime_error("somebody typed something new, or the lock was lost");
    me.is_doomed = w.goes_wrong(5);
    if (w.goes_wrong(5)) throw std::runtime_error("no rows today");
    build(me, k, guard.value_or({}));
    w.note(me.name() + " built");
    if (w.goes_wrong(9)) throw std::runtime_error("no more rows today");
    me.amid.insert(k);
    guard.commit();
    w.note(me.name() + " committed");
  });
}

void recover(world& w, process& me) {
  with_stash(w, me, [&](auto& store) {
    auto const report = stash::recover<words>(
        store,
        [&](stash::key const& k) {
          me.amid.insert(k.string());
          return me.ask([&](server& s) { return words_in(s, k.string()).has_value(); });
        },
        [&](stash::key const& k, words const& saved) { build(me, k.string(), saved); }, {.observer = stash::silent});
    w.note(me.name() + " restored " + std::to_string(report.restored));
    if (!w.is_calm) return;
    if (report.busy > 0 || !report.failed.empty()) w.wrong = me.name() + " left some out";
    for (auto const& e : store.entries()) {
      if (e.state == stash::record_state::intact && !words_in(w.server, e.key.string()))
        w.wrong = me.name() + " did not restore " + e.key.string();
    }
  });
}

/// What a history lacks that must be found guilty.
enum class lack { nothing, locks, syncs_of_files };

class history {
 public:
  history(source& draw, lack of) : world_{draw} {
    fleet::told_time = &world_.clock;
    world_.is_stash_on_server = draw.once_in(3);
    world_.has_locks = of != lack::locks;
    world_.machine.variant.syncs_files = of != lack::syncs_of_files;
    auto& files = world_.machine.files;
    // Only the stash's own directory is made by a job: who finds one above it takes it for synced.
    int const srv = files.create(model_file_system::root, "srv", true);
    files.create(srv, "etl", true);
    files.sync(srv);
    files.sync(model_file_system::root);
    bool const is_large = draw.once_in(100);
    keys_ = is_large ? 24 : 1 + draw.below(2);
    left_ = is_large ? 200 : 2 + draw.below(10);
    at_once_ = is_large ? 40 : 1 + draw.below(6);
    for (unsigned k = 0; k < keys_; ++k) {
      world_.server.tables.try_emplace(name_of(k));
      type(name_of(k));
    }
  }
  history(history const&) = delete;
  history& operator=(history const&) = delete;
  ~history() {
    for (auto& one : running_) one->kill();
    fleet::told_time = nullptr;
  }

  /// What is lost or went wrong; empty: nothing.
  std::string run() {
    while (left_ > 0 || !running_.empty()) {
      step();
      if (auto lost = found(); !lost.empty()) return lost;
    }
    world_.server.is_down = false;
    world_.is_calm = true;
    process last{world_, "the last recover", [this](process& me) { recover(world_, me); }};
    while (!last.is_over()) last.step();
    return found();
  }
  std::vector<std::string> const& told() const { return world_.history; }
  std::map<std::string, std::uint64_t> const& happened() const { return world_.happened; }

 private:
  static std::string name_of(unsigned k) { return "table" + std::to_string(k); }

  void step() {
    auto& draw = world_.draw;
    world_.clock.elapsed += 100'000;
    if (left_ > 0 && (running_.empty() || (running_.size() < at_once_ && draw.once_in(8)))) return start();
    if (world_.server.is_down && draw.once_in(30)) {
      world_.server.is_down = false;
      return world_.note("the server is up");
    }
    if (draw.once_in(15)) return happen();
    auto const which = running_.begin() + draw.below(static_cast<unsigned>(running_.size()));
    (*which)->step();
    if ((*which)->is_over()) {
      running_.erase(which);
    } else if ((*which)->is_doomed) {
      kill(static_cast<unsigned>(which - running_.begin()));
    }
  }
  void start() {
    --left_;
    auto const number = std::to_string(++started_);
    auto const k = name_of(world_.draw.below(keys_));
    if (world_.draw.once_in(6)) {
      world_.note("recover " + number + " starts");
      running_.push_back(
          std::make_unique<process>(world_, "recover " + number, [this](process& me) { recover(world_, me); }));
    } else {
      world_.note("job " + number + " of " + k + " starts");
      running_.push_back(
          std::make_unique<process>(world_, "job " + number, [this, k](process& me) { reload(world_, me, k); }));
    }
  }
  void happen() {
    auto& draw = world_.draw;
    switch (auto const what = draw.below(20)) {
      case 0:
        return;
      case 10:
        return cut();
      case 11:
        world_.server.is_down = true;
        return world_.note("the server is down");
      case 12:
        world_.clock.wall_at_start += (static_cast<std::int64_t>(draw.below(9)) - 4) * 86'400'000'000'000;
        return world_.note("the clock jumps");
      case 13:
        return move_by_hand();
      case 14:
        return back_up();
      case 15:
        return bring_back();
      case 16:
        ++world_.server.failovers;
        if (world_.is_stash_on_server && !running_.empty()) ++world_.happened["failovers of the stash's server"];
        world_.server.end_sessions([](std::string const&) { return true; });
        return world_.note("another server takes over");
      case 17:
      case 18:
        return remove_lock_file();
      default:
        if (what < 7) return type(name_of(draw.below(keys_)));
        return kill(draw.below(static_cast<unsigned>(running_.size())));
    }
  }
  void type(std::string const& k) {
    auto const found = world_.server.tables.find(k);
    if (world_.server.is_down || found == world_.server.tables.end()) return;  // there is nothing to type it into
    std::string const person = world_.draw.below(2) == 0 ? "Ann" : "Bob";
    auto const typed = k + " words " + std::to_string(++words_);
    found->second[person] = typed_[{k, person}] = typed;
    world_.note(person + " types " + typed);
  }
  void kill(unsigned which) {
    if (running_.empty()) return;
    world_.note(running_[which]->name() + " is killed");
    running_[which]->kill();
    running_.erase(running_.begin() + which);
  }
  void cut() {
    world_.note("the machine loses power");
    while (!running_.empty()) running_.back()->kill(), running_.pop_back();
    world_.machine.files = world_.machine.files.cut_at_random([this](unsigned n) { return world_.draw.below(n); });
  }

  // What operators do with records, but not in the instants in which a job looks and then changes what it saw. A name
  // that ends in ".moved" is what they gave one.

  static bool is_moved(std::string const& name) { return name.ends_with(".moved"); }
  static std::string moved(std::string const& name) {
    return is_moved(name) ? name.substr(0, name.size() - 6) : name + ".moved";
  }
  /// Of the key that the record of this name is of.
  bool is_anyone_amid(std::string const& name) const {
    return std::any_of(running_.begin(), running_.end(),
                       [k = name.substr(0, name.find('.'))](auto const& one) { return one->amid.contains(k); });
  }
  /// A record gets another name; or one that did gets its own back.
  void move_by_hand() {
    auto const all = payloads(world_);
    if (all.empty()) return;
    auto const from = std::next(all.begin(), world_.draw.below(static_cast<unsigned>(all.size())))->first;
    auto const to = moved(from);
    if (all.contains(to) || is_anyone_amid(from)) return;
    auto& s = world_.server;
    if (s.aside.contains(from) && !is_moved(from)) return;
    ++world_.happened["records that operators moved or brought back"];
    world_.note(from + " is moved to " + to);
    if (world_.is_stash_on_server) {
      auto one = (is_moved(from) ? s.aside : s.records).extract(from);
      one.key() = to;
      (is_moved(to) ? s.aside : s.records).insert(std::move(one));
      return;
    }
    auto& files = world_.machine.files;
    int const d = files.find(directory);
    files.change(d, {{from, model_file_system::nothing}, {to, files.find(d, from)}});
    files.sync(d);
  }
  void back_up() {
    world_.note("a backup is made");
    auto const& files = world_.machine.files;
    records_backed_up_ = world_.server.records;
    files_backed_up_.clear();
    for (auto const& one : payloads(world_)) {
      int const n = files.find(directory + ("/" + one.first));
      if (n != model_file_system::nothing) files_backed_up_.emplace(one.first, files.at(n).bytes);
    }
  }
  /// As cp -n and ON CONFLICT DO NOTHING do it: what stands there is newer.
  void bring_back() {
    world_.note("yesterday's backup is brought back");
    auto& brought = world_.happened["records that operators moved or brought back"];
    for (auto const& one : records_backed_up_) {
      if (!is_anyone_amid(one.first)) brought += world_.server.records.insert(one).second;
    }
    auto& files = world_.machine.files;
    int const d = files.find(directory);
    if (d == model_file_system::nothing) return;
    for (auto const& [name, bytes] : files_backed_up_) {
      if (files.find(d, name) != model_file_system::nothing || is_anyone_amid(name)) continue;
      ++brought;
      int const n = files.create(d, name, false);
      files.append(n, bytes);
      files.sync(n);
    }
    files.sync(d);
  }
  void remove_lock_file() {
    auto& files = world_.machine.files;
    bool const is_anyone_amid_a_change =
        std::any_of(running_.begin(), running_.end(), [](auto const& one) { return !one->amid.empty(); });
    if (is_anyone_amid_a_change || files.find(lock_file) == model_file_system::nothing) return;
    world_.note("the lock file is removed");
    if (!world_.locks.empty()) ++world_.happened["lock files removed under a lock"];
    int const d = files.find(directory);
    files.change(d, {{".lock", model_file_system::nothing}});
    files.sync(d);
  }

  std::string found() const {
    if (!world_.wrong.empty()) return world_.wrong;
    std::optional<std::map<std::string, std::string>> kept;
    for (auto const& [place, text] : typed_) {
      auto const& [k, person] = place;
      auto const table = world_.server.tables.find(k);
      if (table != world_.server.tables.end()) {
        auto const live = table->second.find(person);
        if (live != table->second.end() && live->second == text) continue;
      }
      if (!kept) kept = payloads(world_);
      if (std::none_of(kept->begin(), kept->end(), [quoted = '"' + text + '"'](auto const& one) {
            return one.second.find(quoted) != one.second.npos;
          }))
        return "lost: " + text;
    }
    return {};
  }

  world world_;
  unsigned keys_ = 0, left_ = 0, at_once_ = 0, started_ = 0, words_ = 0;
  std::map<std::pair<std::string, std::string>, std::string> typed_{};  // by table and person
  std::map<std::string, std::string> files_backed_up_{};
  std::map<std::string, stash::record> records_backed_up_{};
  std::vector<std::unique_ptr<process>> running_{};
};

std::map<std::string, std::uint64_t> happened;  // in all histories

std::string outcome(source& draw, std::string* told = nullptr, lack of = lack::nothing) {
  history h{draw, of};
  auto const lost = h.run();
  for (auto const& [what, count] : h.happened()) happened[what] += count;
  if (told != nullptr) {
    for (auto const& line : h.told()) *told += line + '\n';
    *told += lost;
  }
  return lost;
}

/// Leaves out of what was drawn all without which it is lost as well, as far as that is found in some seconds.
std::vector<unsigned> shortest(std::vector<unsigned> drawn) {
  auto const until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  auto const kind_of = [](std::vector<unsigned> const& tried) {
    source draw{tried};
    return outcome(draw).substr(0, 5);
  };
  auto const is_lost = [&, kind = kind_of(drawn)](std::vector<unsigned> const& tried) {
    return kind_of(tried) == kind;
  };
  for (std::size_t size = drawn.size(); size > 0; size /= 2) {
    for (std::size_t at = 0; at < drawn.size() && std::chrono::steady_clock::now() < until;) {
      auto without = drawn;
      without.erase(without.begin() + static_cast<std::ptrdiff_t>(at),
                    without.begin() + static_cast<std::ptrdiff_t>(std::min(at + size, drawn.size())));
      if (is_lost(without)) {
        drawn = std::move(without);
        continue;
      }
      auto calm = drawn;
      std::fill(calm.begin() + static_cast<std::ptrdiff_t>(at),
                calm.begin() + static_cast<std::ptrdiff_t>(std::min(at + size, drawn.size())), 0U);
      if (calm != drawn && is_lost(calm)) drawn = std::move(calm);
      at += size;
    }
  }
  return drawn;
}

std::string told_by(source draw) {
  std::string told;
  outcome(draw, &told);
  return told;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(fleet_suite)

BOOST_AUTO_TEST_CASE(what_a_person_typed_is_never_lost) {
  char const* const seed = std::getenv("STASH_SEED");
  if (seed != nullptr) {
    std::cout << told_by(source{std::strtoull(seed, nullptr, 10)}) << '\n';
    return;
  }
  char const* const given = std::getenv("STASH_FLEET_SECONDS");
  auto const seconds = std::chrono::seconds(given != nullptr ? std::atoi(given) : 60);
  auto const start = std::chrono::steady_clock::now();
  std::uint64_t tried = 0, lost = 0;
  while (support::is_long() ? tried < 1'000'000 : std::chrono::steady_clock::now() - start < seconds) {
    source draw{tried};
    if (!outcome(draw).empty()) {
      ++lost;
      BOOST_ERROR("seed " << tried << ":\n" << told_by(source{shortest(draw.drawn())}));
      break;
    }
    ++tried;
  }
  BOOST_TEST((lost > 0 || tried > 100U));
  for (auto const& [what, count] : happened) support::figure("a fleet in simulation", what, count, 0);
  support::figure("a fleet in simulation", "histories of jobs, persons and operators, with what goes wrong", tried,
                  lost);
}

BOOST_AUTO_TEST_CASE(a_stash_without_locks_and_one_without_syncs_are_found_guilty) {
  for (lack const of : {lack::locks, lack::syncs_of_files}) {
    bool is_lost = false;
    for (std::uint64_t seed = 0; seed < 30'000 && !is_lost; ++seed) {
      source draw{seed};
      is_lost = !outcome(draw, nullptr, of).empty();
    }
    BOOST_TEST(is_lost);
  }
}

BOOST_AUTO_TEST_CASE(a_seed_makes_the_same_history_each_time) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    BOOST_TEST(told_by(source{seed}) == told_by(source{seed}));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace fleet_test
