#pragma once

#include <set>
#include <stash/detail/files/directory_lifetime.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <stash/storage/journal.hpp>
#include <tuple>
#include <unordered_map>

#include "figures.hpp"
#include "model_file_system.hpp"
#include "support.hpp"

// Every state that a power cut may leave, at every step of every short history, on a model of a file system.
//
// A history is a row of operations, of which one may meet a fault: a SIGKILL at any step (the cache survives, and
// another process goes on), or a sync that fails. At every step of it the power is cut, in every way that
// `model_file_system` knows; in each state that this leaves, what was acknowledged must be there, `recover` and a
// retry must work, and the power is cut once more at every step of theirs.
namespace support {

using stash::errc;
using stash::record_state;
using namespace std::string_literals;

char const directory[] = "/srv/etl/stash";
inline boost::filesystem::path const directory_path{directory};
char const key[] = "k";
char const bystander[] = "other";
char const second[] = "second";  // which is saved and cleared with it

inline std::string const absent = "absent", corrupt = "corrupt", anything = "anything";

/// What the job destroys and builds. Its drop is durable at once, its making when it is synced.
struct resource {
  std::optional<std::string> now;
  std::set<std::optional<std::string>> on_disk{now};
  void drop() {
    now.reset();
    on_disk.clear();  // g++ 16 takes a copy of what was just reset for one of a string that was never set
    on_disk.emplace();
  }
  void create(std::string const& words) {
    now = words;
    on_disk.insert(now);
  }
  void sync() { on_disk = {now}; }
  bool is_synced() const { return on_disk.size() == 1; }
};

/// What was acknowledged.
struct oracle {
  std::set<std::string> record{absent};     ///< what may stand under the key
  std::set<std::set<std::string>> words{};  ///< of each set one must be somewhere: live, stashed or set aside
  bool is_certain() const {
    return !record.contains(absent) && !record.contains(corrupt) && !record.contains(anything);
  }
  void need(std::set<std::string> const& one_of) { words.insert(one_of); }
  /// The caller destroys the record: what only it has is no longer needed.
  void release_record() {
    std::erase_if(words, [&](auto const& one_of) {
      return std::any_of(one_of.begin(), one_of.end(), [&](auto const& w) { return record.contains(w); });
    });
  }
};

struct world {
  model_file_system files{};
  resource table{};
  oracle promised{};
  int values = 0;
  bool has_bystander = false;
  std::string history{};
};

enum class operation {
  save,
  save_without_sync,
  save_many,
  clear,
  set_aside,
  commit,
  commit_many,
  roll_back,
  roll_back_and_clear,
  recover
};
constexpr std::string_view name_of(operation o) {
  constexpr std::string_view names[] = {
      "save",        "save_without_sync", "save_many",           "clear",  "set_aside", "commit",
      "commit_many", "roll_back",         "roll_back_and_clear", "recover"};
  return names[static_cast<int>(o)];
}
// Those of many keys apart: each unsynced change of a name more doubles the states.
inline std::vector<operation> const every_operation{
    operation::save,      operation::save_without_sync,   operation::clear,  operation::set_aside, operation::commit,
    operation::roll_back, operation::roll_back_and_clear, operation::recover};
inline std::vector<operation> const of_many_keys{operation::save_many, operation::commit_many};

struct violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};
inline void require(bool holds, std::string const& what) {
  if (!holds) throw violation(what);
}

/// What is special to a storage.
template <class Storage>
struct traits {
  static constexpr bool is_open_between_calls = false;
  static constexpr std::string_view unread = {};
  static Storage make(model_ops ops, stash::durability d = stash::durability::power_loss) {
    return Storage{directory, {.durability = d}, ops};
  }
  static bool has_temporaries(Storage const& s) { return !s.temporaries().empty(); }
  static std::string payload_of(model_file_system const& files, Storage const&, stash::entry const& e) {
    return stash::detail::parse_record(files.at(files.find(e.where)).bytes, e.key, "look", [&] { return e.where; })
        .payload;
  }
};

template <>
struct traits<stash::basic_journal_storage<model_ops>> {
  using storage = stash::basic_journal_storage<model_ops>;
  static constexpr bool is_open_between_calls = true;  // by one object at a time
  static constexpr std::string_view unread = ".stash.journal.tmp";
  static storage make(model_ops ops, stash::durability d = stash::durability::power_loss) {
    return storage{directory, {.durability = d, .chunk = 128}, ops};  // small: so that it grows and is compacted
  }
  static bool has_temporaries(storage const&) { return false; }  // one, which no reader looks at
  static std::string payload_of(model_file_system const&, storage const& s, stash::entry const& e) {
    return s.aside(e.where)->payload;
  }
};

/// One process: runs an operation from a world on, and notes the world after each step.
template <class Storage>
class process {
 public:
  process(world const& start, variant const& v, int syncs_until_failure = -1) : now_(start) {
    machine_.files = start.files;
    machine_.variant = v;
    machine_.syncs_until_failure = syncs_until_failure;
    machine_.after_step = [this](char const* call) {
      if (is_running_) step(call);
    };
  }

  /// From the first call of the process to its end.
  void run(operation o) {
    is_running_ = true;
    bool const fault_is_planned = machine_.syncs_until_failure >= 0;
    now_.history.append(", ").append(name_of(o));
    if (fault_is_planned) now_.history += " (sync " + std::to_string(machine_.syncs_until_failure + 1) + " fails)";
    try {
      perform(o);
    } catch (stash::error const& problem) {
      if (!fault_is_planned || machine_.syncs_until_failure >= 0)
        throw violation(std::string("threw ") + problem.what());
    }
    step("return");
    if (kind::is_open_between_calls) {
      store_.reset();
      step("close");
    }
    is_running_ = false;
    require(machine_.all_closed(), "a descriptor leaked");
  }

  /// What stands under the key: a value, `absent` or `corrupt`.
  std::string found(char const* k = key) {
    auto const r = store().template look_up<std::string>(k);
    if (r.state == record_state::absent) return absent;
    return r.state == record_state::corrupt ? corrupt : *r.value;
  }
  /// Everywhere that words can be.
  std::set<std::string> all_words() {
    std::set<std::string> result{found()};
    if (now_.table.now) result.insert(*now_.table.now);
    for (auto const& e : store().set_aside_entries()) {
      if (e.state != record_state::intact || !(e.key == key)) continue;
      auto const payload = kind::payload_of(machine_.files, store().storage(), e);
      result.insert(store().serializer().template deserialize<std::string>(payload));
    }
    return result;
  }
  bool has_temporaries() { return kind::has_temporaries(store().storage()); }

  std::vector<world> const& steps() const { return steps_; }
  bool fault_happened() const { return machine_.syncs_until_failure < 0; }
  stash::recovery_report const& report() const { return report_; }

 private:
  using kind = traits<Storage>;
  using stash_type = stash::basic_stash<Storage, stash::json_serializer, stash::manual_clock>;
  stash_type& store() {
    if (!store_) store_.emplace(kind::make(model_ops{machine_}));
    return *store_;
  }
  oracle& promised() { return now_.promised; }
  resource& table() { return now_.table; }

  void step(char const* call) {
    world& w = steps_.emplace_back(now_);
    w.files = machine_.files;
    w.history.append(" [").append(call).append("]");
  }
  std::string new_words() { return "typed by hand, number " + std::to_string(++now_.values); }

  void perform(operation o) {
    switch (o) {
      case operation::save:
        return save();
      case operation::save_without_sync:
        return save_without_sync();
      case operation::save_many:
        return save_many();
      case operation::clear:
        return clear();
      case operation::set_aside:
        return set_aside();
      case operation::commit:
        return guarded([this](auto& guard, auto* value) { this->rebuild(guard, value); }, false);
      case operation::commit_many:
        return guarded<true>([this](auto& guard, auto* value) { this->rebuild(guard, value); }, false);
      case operation::roll_back:
        return guarded([this](auto&, auto*) { table().drop(), step("drop table"); }, false);
      case operation::roll_back_and_clear:
        return guarded([this](auto&, auto*) { table().drop(), step("drop table"); }, true);
      case operation::recover:
        return recover();
    }
  }

  /// Runs what changes the record: `during` may be seen until it returns, `after` when it has. An error leaves what
  /// was before, unless it says that nobody knows.
  template <class F>
  void changing(std::set<std::string> const& during, std::set<std::string> const& after, F f) {
    auto const before = promised().record;
    promised().record.insert(during.begin(), during.end());
    try {
      f();
    } catch (stash::error const& problem) {
      if (problem.code() != errc::indeterminate) promised().record = before;
      throw;
    }
    promised().record = after;
  }

  void save() {
    auto const words = new_words();
    promised().release_record();
    changing({words}, {words}, [&] { store().save(key, words); });
  }
  void save_without_sync() {
    promised().release_record();
    auto const words = new_words();
    changing({anything}, {anything},
             [&] { stash_type{kind::make(model_ops{machine_}, stash::durability::process_crash)}.save(key, words); });
    require(found() == words, "a save without sync is not to be had");
  }
  /// With a record of another resource, before or behind it.
  void save_many() {
    auto const words = new_words();
    promised().release_record();
    changing({words}, {words}, [&] {
      store().save_all(std::vector<std::pair<std::string, std::string>>{{key, words}, {second, "of the second"}});
    });
  }
  void clear() {
    promised().release_record();
    changing({absent}, {absent}, [&] { store().clear(key); });
  }
  void set_aside() {
    auto const visible = found();
    if (visible == absent) return;
    auto const lock = store().storage().try_lock(key);
    if (promised().is_certain()) promised().need(promised().record);
    changing({absent}, {absent}, [&] { store().storage().set_aside(key, "test"); });
    if (visible != corrupt) promised().need({visible});
  }

  void restore(std::string const& words) {
    if (!table().now) {
      table().create(words);
      step("create table");
    }
    table().sync();
    step("sync table");
  }

  template <bool Many = false, class F>
  void guarded(F work, bool clear) {
    auto const live = table().now;
    auto const visible = found();
    if (promised().is_certain()) promised().need(promised().record);
    if (live) {
      if (table().is_synced()) promised().need({*live});
      promised().record.insert({absent, *live});
    }
    if (visible == corrupt) promised().record.insert(absent);
    bool cleared = clear;
    stash::guard_options const options{.clear_after_restore = clear, .observer = [&](stash::event const& e) {
                                         if (e.kind == stash::event_kind::clear_failed) cleared = false;
                                       }};
    auto const inside = [&](auto& guard, std::string const* value) {
      if (visible != absent && visible != corrupt) promised().need({visible});
      if (value != nullptr) {
        promised().need({*value});
        promised().record = {*value};
      } else if (visible == corrupt) {
        promised().record = {absent};
      }
      require(live || visible == corrupt || (value == nullptr) == (visible == absent), "not adopted");
      require(value == nullptr || *value == live.value_or(visible), "another value");
      cleared = cleared && value != nullptr;
      step("guarded");
      if (cleared) promised().record.insert(absent);
      work(guard, value);
    };
    if constexpr (Many) {
      stash::delete_guards guard{store(), std::vector<stash::key>{key, second},
                                 [&](stash::key const& k) { return k == key ? live : std::optional("of the second"s); },
                                 [this](stash::key const& k, std::string const& w) {
                                   if (k == key) restore(w);
                                 },
                                 options};
      inside(guard, guard.value(key));
    } else {
      stash::delete_guard guard{store(), key, [&] { return live; }, [this](std::string const& w) { restore(w); },
                                options};
      inside(guard, guard.value());
    }
    if (cleared) promised().record = {absent};
  }
  template <class Guard>
  void rebuild(Guard& guard, std::string const* value) {
    table().drop();
    step("drop table");
    table().create(value != nullptr ? *value : new_words());
    step("create table");
    table().sync();
    step("sync table");
    changing({absent}, {absent}, [&] { guard.commit(); });
  }

  void recover() {
    auto const visible = found();
    bool const restores = !table().now && visible != absent && visible != corrupt;
    if (restores) {
      if (promised().is_certain()) promised().need(promised().record);
      promised().record.insert(absent);
    }
    report_ = stash::recover<std::string>(
        store(), [&](stash::key const& k) { return k != key || table().now; },
        [&](stash::key const&, std::string const& words) { restore(words); }, {.observer = stash::silent});
    if (report_.restored == 1) promised().need({visible});
    if (report_.restored == 1 && report_.failed.empty()) promised().record = {absent};
    bool const failed = !report_.failed.empty();
    require(report_.restored == (restores ? 1U : 0U) || failed, "not restored");
    if (failed) std::rethrow_exception(report_.failed.front().second);
  }

  world now_;
  model_machine machine_;
  std::vector<world> steps_;
  bool is_running_ = false;
  std::optional<stash_type> store_;
  stash::recovery_report report_{};
};

enum class beginning {
  any,                   ///< no directory yet; a live table; an orphan; a live table and a record of other words
  unsynced_directory,    ///< one that somebody else made, in a parent that is on disk
  unsynced_directories,  ///< and its parent is not
};

struct limits {
  int operations = 2;           ///< in a row
  int faults = 1;               ///< in a history: SIGKILLs and failed syncs
  int cuts_in_recovery = 1;     ///< after the first cut, one more at each step of what follows; so often
  bool torn_is_absent = false;  ///< a first record that was not acknowledged may be torn
  bool syncs_fail = true;       ///< false: of the faults, only SIGKILLs
  bool stop_at_first = false;
  std::vector<operation> which = every_operation;
  beginning start = beginning::any;
  support::variant variant{};
};

using model_files = stash::basic_atomic_file_storage<model_ops>;
using model_journal = stash::basic_journal_storage<model_ops>;

template <class Storage>
class explorer {
 public:
  explicit explorer(limits l) : limits_(l) {}

  void explore() {
    auto const from = limits_.start == beginning::any ? starts() : std::vector{unsynced(limits_.start)};
    for (world const& start : from) continue_from(start, limits_.operations, limits_.faults);
  }

  std::uint64_t distinct_states() const { return seen_.size(); }
  std::uint64_t cuts() const { return cuts_; }
  std::uint64_t histories() const { return histories_; }
  std::vector<std::string> const& violations() const { return violations_; }
  std::uint64_t bad_states() const { return bad_states_; }

 private:
  using run = process<Storage>;

  static world bare() {
    world w;
    w.files.create(model_file_system::root, "srv", true);
    w.files.sync(model_file_system::root);
    w.table.create("typed by hand at first");
    w.table.sync();
    w.history = "no directory";
    return w;
  }
  static world unsynced(beginning start) {
    world w = bare();
    int const parent = w.files.create(w.files.find("/srv"), "etl", true);
    if (start == beginning::unsynced_directory) w.files.sync(w.files.find("/srv"));
    w.files.create(parent, "stash", true);
    w.history = "unsynced directory";
    return w;
  }
  static std::vector<world> starts() {
    world const bare = explorer::bare();
    world live = bare;
    {
      model_machine m;
      m.files = bare.files;
      stash::basic_stash<Storage, stash::json_serializer, stash::manual_clock> s{traits<Storage>::make(model_ops{m})};
      s.save(bystander, std::string("of another key"));
      live.files = m.files;
      live.has_bystander = true;
      live.history = "live";
      s.save(key, std::string("typed by hand, number 1"));
      world orphan = live;
      orphan.files = m.files;
      orphan.values = 1;
      orphan.promised.record = {"typed by hand, number 1"};
      world both = orphan;
      orphan.table.drop();
      orphan.history = "orphan";
      both.history = "live and another record";
      return {bare, live, orphan, both};
    }
  }

  void continue_from(world const& start, int operations, int faults) {
    for (operation const o : limits_.which) {
      if (limits_.stop_at_first && bad_states_ > 0) return;
      for (int failing = -1; failing < (faults > 0 && limits_.syncs_fail ? 20 : 0); ++failing) {
        run r{start, limits_.variant, failing};
        if (!attempt(start, [&] { r.run(o); })) break;
        if (failing >= 0 && !r.fault_happened()) break;  // it has no more syncs
        ++histories_;
        int const left = faults - (failing >= 0 ? 1 : 0);
        for (world const& w : r.steps()) cut(w, limits_.cuts_in_recovery);
        if (operations <= 1) continue;
        continue_from(r.steps().back(), operations - 1, left);
        if (left <= 0) continue;
        for (auto killed = r.steps().begin(); killed + 1 != r.steps().end(); ++killed) {
          world w = *killed;
          w.history += " SIGKILL";
          continue_from(w, operations - 1, left - 1);
        }
      }
    }
  }

  void cut(world const& w, int further_cuts) {
    w.files.for_each_cut(
        [&](model_file_system const& files) {
          for (auto const& table : w.table.on_disk) {
            ++cuts_;
            visit(w, files, table, further_cuts);
          }
        },
        traits<Storage>::unread);
  }

  void visit(world const& before, model_file_system const& files, std::optional<std::string> const& table,
             int further_cuts) {
    auto const [place, is_new] = seen_.try_emplace(fingerprint(files, table, before.promised), further_cuts);
    if (!is_new && place->second >= further_cuts) return;
    place->second = further_cuts;
    world w = before;
    w.files = files;
    w.table = {table, {table}};
    w.history += " CUT";
    if (!attempt(w, [&] { settle(w); })) return;
    for (operation const next : {operation::recover, operation::commit}) {
      run r{w, limits_.variant};
      attempt(w, [&] {
        r.run(next);
        check_end(r, next);
      });
      if (further_cuts <= 0) continue;
      for (world const& step : r.steps()) cut(step, further_cuts - 1);
    }
  }

  /// Checks what the cut has left; from here on that is what there is.
  void settle(world& w) {
    run look{w, limits_.variant};
    auto const found = look.found();
    bool const torn_first = limits_.torn_is_absent && found == corrupt && w.promised.record.contains(absent);
    require(torn_first || w.promised.record.contains(found) || w.promised.record.contains(anything),
            "the record is " + found);
    require_words(look, w);
    w.promised.record = {found};
  }
  static void require_words(run& look, world const& w) {
    auto const there = look.all_words();
    for (auto const& one_of : w.promised.words) {
      bool const kept =
          std::any_of(one_of.begin(), one_of.end(), [&](auto const& words) { return there.contains(words); });
      require(kept, "lost: " + *one_of.begin());
    }
    require(!w.has_bystander || look.found(bystander) == "of another key", "the record of another key is lost");
  }
  static void check_end(run& r, operation o) {
    world const end = r.steps().back();
    require_words(r, end);
    if (o == operation::recover) {
      require(!r.has_temporaries(), "temporaries were not swept");
    } else {
      require(r.found() == absent, "a record after a commit");
      require(end.table.now.has_value(), "no table after a commit");
    }
  }

  template <class F>
  bool attempt(world const& w, F f) {
    try {
      f();
      return true;
    } catch (std::exception const& problem) {
      ++bad_states_;
      if (violations_.size() < 1000) violations_.push_back(w.history + ": " + problem.what());
      return false;
    }
  }

  /// Without what is random, and the time.
  static std::string shape_of_journal(std::string_view bytes) {
    std::string shape;
    auto const file_head = stash::detail::journal_head::decode(bytes.substr(0, stash::detail::journal_header_size));
    std::uint64_t const salt = file_head ? file_head->salt : 0;
    std::uint64_t at = stash::detail::journal_header_size;
    while (at < bytes.size()) {
      auto const head = stash::detail::frame_head::decode(bytes.substr(at), at, salt);
      if (!head || head->end() > bytes.size()) break;
      std::string_view body = bytes.substr(head->body_at(), head->body_size);
      bool const is_whole = stash::detail::xxh64::hash(body, salt) == head->body_hash;
      if (head->kind != stash::detail::frame_kind::put) body = body.substr(0, body.find('-'));
      for (auto const n : {static_cast<std::uint64_t>(head->kind), head->sequence, head->synced}) {
        shape += std::to_string(n) + ' ';
      }
      shape.append(head->key).append(is_whole ? " whole " : " torn ").append(body);
      at = head->end();
    }
    for (; at < bytes.size(); at += 8) {
      shape += bytes.substr(at, 8).find_first_not_of('\0') == bytes.npos ? '0' : 'x';
    }
    return shape;
  }
  /// Names without their random and time parts.
  static std::uint64_t fingerprint(model_file_system const& files, std::optional<std::string> const& table,
                                   oracle const& promised) {
    std::set<std::string> lines;
    int const d = files.find(directory);
    if (d != model_file_system::nothing) {
      for (auto const& [name, n] : files.at(d).entries) {
        std::string shape = name;
        std::string bytes = files.at(n).bytes;
        if (stash::detail::key_of_temporary(name)) shape = "temporary";
        if (auto const aside = stash::detail::parse_set_aside(name)) shape = name.substr(0, name.find('-'));
        if (name == ".stash.journal.tmp") bytes.clear();
        if (name == "stash.journal") bytes = shape_of_journal(bytes);
        lines.insert(shape + ": " + bytes + '\0');
      }
    }
    std::string all(1, d == model_file_system::nothing ? '-' : '+');
    if (d == model_file_system::nothing) all += std::to_string(files.find("/srv/etl") != model_file_system::nothing);
    for (auto const& one : lines) all += one;
    all += "table " + table.value_or(absent) + " record";
    for (auto const& one : promised.record) all += ' ' + one;
    for (auto const& one_of : promised.words) {
      all += " words";
      for (auto const& one : one_of) all += ' ' + one;
    }
    return stash::detail::xxh64::hash(all);
  }

  limits limits_;
  std::unordered_map<std::uint64_t, int> seen_;  // the fingerprints, and how many further cuts were tried from there
  std::uint64_t cuts_ = 0, histories_ = 0, bad_states_ = 0;
  std::vector<std::string> violations_;
};

/// What the explorer says first of a storage that it finds guilty.
template <class Storage>
std::string guilt(limits l) {
  l.cuts_in_recovery = 0;
  l.stop_at_first = true;
  explorer<Storage> e{l};
  e.explore();
  return e.violations().empty() ? "" : e.violations().front();
}
inline bool says(std::string const& text, std::string_view part) { return text.find(part) != text.npos; }

/// How many in a row: one more where `tests/run.sh --long` runs it.
inline int operations() { return is_long() ? 3 : 2; }

inline void explore_files(variant const& tried, std::string const& of_what, std::uint64_t at_least) {
  explorer<model_files> e{{.operations = operations(), .variant = tried}};
  e.explore();
  for (auto const& v : e.violations()) BOOST_ERROR(v);
  BOOST_TEST(e.bad_states() == 0U);
  BOOST_TEST(e.distinct_states() >= at_least);
  support::figure("power cut, on a model",
                  "distinct states " + of_what + "after a cut: " + std::to_string(operations()) +
                      " operations in a row, one fault, " + std::to_string(e.histories()) +
                      " histories, a second cut in the recovery",
                  e.distinct_states(), e.bad_states());
}

}  // namespace support
