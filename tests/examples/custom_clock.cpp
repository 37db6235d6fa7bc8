// A clock of one's own: the time is that of the log which is replayed, not that of the wall, so that a replay tells
// the same ages each time.
// g++ -std=c++20 -Iinclude tests/examples/custom_clock.cpp -lboost_json -lboost_filesystem -o job && ./job at
#include <atomic>
#include <chrono>
#include <iostream>
#include <memory>
#include <stash/stash.hpp>
#include <string>

namespace {

using std::chrono::minutes;

/// Where the replay is. The stash keeps a copy of its clock, so copies share the time; now() is const, and may be
/// called from many threads at once.
class replay_clock {
 public:
  std::chrono::sys_seconds now() const { return std::chrono::sys_seconds{std::chrono::seconds{*seconds_}}; }
  void is_at(std::chrono::sys_seconds line) { *seconds_ = line.time_since_epoch().count(); }

 private:
  std::shared_ptr<std::atomic<std::int64_t>> seconds_ = std::make_shared<std::atomic<std::int64_t>>(0);
};
static_assert(stash::clock_policy<replay_clock>);

using replay_stash = stash::basic_stash<stash::atomic_file_storage, stash::json_serializer, replay_clock>;

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  replay_clock clock;
  replay_stash store{stash::atomic_file_storage{argv[1]}, stash::json_serializer{}, clock};
  std::chrono::sys_seconds const six = std::chrono::sys_days{std::chrono::year{2026} / 11 / 20} + std::chrono::hours{6};
  std::optional<std::string> label = "Orders, net";  // a toy: yours is in a database
  auto const live = [&] { return label; };
  auto const restore = [&](std::string const& saved) { label = saved; };

  clock.is_at(six);  // 06:00 the nightly job drops the table
  {
    stash::delete_guard guard{store, "orders", live, restore};
    label.reset();
    guard.release();  // as if the process had died here: nothing is restored
  }
  clock.is_at(six + minutes{45});  // 06:45 it is retried
  stash::delete_guard guard{store, "orders", live, restore};
  if (guard.origin() != stash::origin::adopted || !guard.age()) return 1;
  auto const age = std::chrono::duration_cast<minutes>(*guard.age());
  std::cout << "adopted \"" << *guard.value() << "\", saved " << age.count() << " min ago by the log\n";
  restore(*guard.value());
  guard.commit();

  store.save("checkpoint", boost::json::value("line 4711"));
  clock.is_at(six);  // the replay starts over: time jumps back
  auto const found = store.look_up("checkpoint");
  if (found.state != stash::record_state::intact || !found.age) return 1;
  std::cout << "after a jump back the checkpoint is " << found.age->count() << " us old: no age is negative\n";
  return label == "Orders, net" && age == minutes{45} && found.age->count() == 0 ? 0 : 1;
}
