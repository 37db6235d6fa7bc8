#pragma once

#include <cxxabi.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <map>
#include <random>
#include <set>
#include <stash/record.hpp>
#include <stdexcept>

#include "model_file_system.hpp"
#include "support.hpp"

// Many jobs at once on the model of a file system, one of which takes a step at a time: which, and what goes wrong
// there, is drawn. What was drawn tells the whole history, and makes it again.
namespace fleet {

using support::model_file_system;
using support::model_machine;
using support::model_ops;

/// Numbers from a seed, or those that were drawn before; when these are used up, 0, which is what goes wrong least.
class source {
 public:
  explicit source(std::uint64_t seed) : random_(seed) {}
  explicit source(std::vector<unsigned> drawn) : drawn_(std::move(drawn)), is_given_(true) {}
  unsigned below(unsigned n) {
    if (is_given_) return next_ < drawn_.size() ? drawn_[next_++] % n : 0;
    drawn_.push_back(static_cast<unsigned>(random_() % n));
    return drawn_.back();
  }
  /// Seldom true.
  bool once_in(unsigned n) { return below(n) == n - 1; }
  std::vector<unsigned> const& drawn() const { return drawn_; }

 private:
  std::mt19937_64 random_{};
  std::vector<unsigned> drawn_{};
  std::size_t next_ = 0;
  bool is_given_ = false;
};

/// A stack of its own, on which a function runs until it pauses. It must come to its end before this is destroyed.
class fiber {
 public:
  explicit fiber(std::function<void()> body) : body_(std::move(body)) {
    ::getcontext(&here_);
    here_.uc_stack.ss_sp = stack_.bytes();
    here_.uc_stack.ss_size = stack::size;
    here_.uc_link = &back_;
    auto const self = reinterpret_cast<std::uintptr_t>(this);
    ::makecontext(&here_, reinterpret_cast<void (*)()>(run), 2, static_cast<unsigned>(self),
                  static_cast<unsigned>(self >> 32U));
  }
  fiber(fiber const&) = delete;
  fiber& operator=(fiber const&) = delete;

  bool is_over() const { return is_over_; }
  void resume() {
    exchange_exceptions();
    ::swapcontext(&back_, &here_);
    exchange_exceptions();
  }
  void pause() { ::swapcontext(&here_, &back_); }

 private:
  /// Used again and again.
  class stack {
   public:
    static constexpr std::size_t size = 512 * 1024;
    stack() {
      if (!unused().empty()) {
        bytes_ = unused().back();
        unused().pop_back();
        return;
      }
      bytes_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (bytes_ == MAP_FAILED) throw std::bad_alloc{};
    }
    ~stack() { unused().push_back(bytes_); }
    void* bytes() const { return bytes_; }

   private:
    static std::vector<void*>& unused() {
      static std::vector<void*> all;
      return all;
    }
    void* bytes_;
  };

  static void run(unsigned low, unsigned high) {
    auto* const self = reinterpret_cast<fiber*>(std::uintptr_t{low} | std::uintptr_t{high} << 32U);
    self->body_();
    self->is_over_ = true;
  }
  /// The exceptions in flight are a thread's, and each fiber has its own (Itanium C++ ABI, __cxa_eh_globals).
  struct exceptions {
    void* caught = nullptr;
    unsigned uncaught = 0;
  };
  void exchange_exceptions() { std::swap(*reinterpret_cast<exceptions*>(abi::__cxa_get_globals()), exceptions_); }

  exceptions exceptions_{};
  std::function<void()> body_;
  stack stack_;
  ucontext_t here_{}, back_{};
  bool is_over_ = false;
};

/// The one clock of a history. In nanoseconds.
struct virtual_clock {
  std::int64_t elapsed = 0;
  std::int64_t wall_at_start = 1'500'000'000'000'000'000;  // since 1970, UTC; it may jump
};
/// That of the history that runs, which is what the system is asked for the time; null: none runs.
inline virtual_clock* told_time = nullptr;

/// The words in a table: of each person those that were typed last.
using words = std::map<std::string, std::string>;

/// A database server: the tables; and the records and locks, where the stash is there too. It answers as one that has
/// a synchronous standby: a failover loses nothing but sessions.
struct server {
  struct key_lock {
    std::string session{};  // empty: nobody has it
    std::string last{};     // the process that had it last
  };
  std::map<std::string, words> tables{};
  std::map<std::string, stash::record> records{}, aside{};  // by key; by the name that they got
  std::map<std::string, key_lock> locks{};
  unsigned failovers = 0, set_aside = 0;  // how often
  bool is_down = false;

  template <class Those>
  void end_sessions(Those those) {
    for (auto& one : locks) {
      if (those(one.second.session)) one.second.session.clear();
    }
  }
};

class process;

/// A machine with the stash's directory, a server, and a clock; all that the jobs share.
struct world {
  source& draw;
  bool is_stash_on_server = false;
  bool has_locks = true;  // false: each is granted
  bool is_calm = false;   // nothing goes wrong any more
  model_machine machine{};
  std::map<std::pair<int, off_t>, process const*> locks{};  // by inode and byte
  // Linux tells of a sync that failed whoever had the file open then, each once (vfs.rst, "Handling errors during
  // writeback"): how many did, by inode; and were told, by descriptor.
  std::map<int, unsigned> failed_syncs{}, failures_told{};
  fleet::server server{};
  virtual_clock clock{};
  std::map<std::string, std::uint64_t> happened{};  // how often, of what says how much was tried
  std::vector<std::string> history{};
  std::string wrong{};  // the first thing that a job saw and must not see; empty: none

  void note(std::string const& what) { history.push_back(what); }
  bool goes_wrong(unsigned once_in) { return !is_calm && draw.once_in(once_in); }
};

struct unreachable : std::runtime_error {
  unreachable() : runtime_error("the server cannot be reached") {}
};
struct no_answer : std::runtime_error {
  no_answer() : runtime_error("the server did not answer") {}
};

/// One that may be killed between any two of its calls. From then on its calls fail, and change nothing, so that it
/// comes to its end without a trace.
class process {
 public:
  process(world& w, std::string name, std::function<void(process&)> job)
      : name_(std::move(name)), world_(w), fiber_([this, j = std::move(job)] {
          try {
            j(*this);
          } catch (std::exception const& problem) {
            if (!is_dead_) world_.note(name_ + " failed: " + problem.what());
          }
        }) {}
  /// Runs up to its next call.
  void step() { fiber_.resume(); }
  void kill() {
    is_dead_ = true;
    std::erase_if(world_.locks, [this](auto const& one) { return one.second == this; });
    end_session();
    while (!fiber_.is_over()) fiber_.resume();
  }
  bool is_over() const { return fiber_.is_over(); }
  std::string const& name() const { return name_; }
  /// The keys of which it is between a look and the change that this is for: nothing protects these from what is moved
  /// by hand just then.
  std::set<std::string> amid{};
  /// It is to be killed after this step.
  bool is_doomed = false;
  fleet::server& server() const { return world_.server; }

  /// Before each call: another may have its turn.
  bool may_go_on() {
    if (!is_dead_) fiber_.pause();
    return !is_dead_;
  }
  /// A call of the server. It may be lost, or its answer.
  template <class F>
  auto ask(F f) -> decltype(f(std::declval<fleet::server&>())) {
    if (!may_go_on() || server().is_down) throw unreachable{};
    bool const is_answer_lost = world_.goes_wrong(100);
    auto const answer = f(server());
    if (is_answer_lost) throw no_answer{};
    return answer;
  }

  /// The stash's session with the server. One that ends loses its locks.
  std::string session() const {
    return name_ + '/' + std::to_string(sessions_) + '/' + std::to_string(server().failovers);
  }
  void end_session() {
    server().end_sessions([mine = session()](std::string const& one) { return one == mine; });
    ++sessions_;
  }

  /// Whether the key's lock is its own at this instant.
  bool holds(std::string const& key, std::string const& lock_file) const {
    if (!world_.has_locks) return true;
    if (world_.is_stash_on_server) return server().locks[key].session == session();
    int const inode = world_.machine.files.find(lock_file);
    return std::any_of(world_.locks.begin(), world_.locks.end(),
                       [&](auto const& one) { return one.first.first == inode && one.second == this; });
  }

 private:
  std::string name_;
  world& world_;
  bool is_dead_ = false;
  unsigned sessions_ = 0;
  fiber fiber_;

  friend class fleet_ops;
};

/// The system calls of a process.
class fleet_ops : public model_ops {
 public:
  fleet_ops() = default;  // on no machine: for what only asks whether it can be made
  explicit fleet_ops(process& me) : model_ops(me.world_.machine), me_(&me) {}

  int open(int d, char const* n, int flags, mode_t m = 0) const {
    return call([&] {
      int const fd = model_ops::open(d, n, flags, m);
      if (fd >= 0) me_->world_.failures_told[fd] = me_->world_.failed_syncs[inode(fd)];
      return fd;
    });
  }
  int open_lock(int d, char const* n, int flags, mode_t m) const { return open(d, n, flags, m); }
  ssize_t read(int fd, void* to, std::size_t size) const {
    return call([&] { return model_ops::read(fd, to, size); });
  }
  ssize_t writev(int fd, iovec const* parts, int count) const {
    return call([&] { return me_->world_.goes_wrong(400) ? fails(ENOSPC) : model_ops::writev(fd, parts, count); });
  }
  int fsync(int fd) const {
    return call([&] {
      auto& w = me_->world_;
      if (w.goes_wrong(100)) w.clock.elapsed += 20'000'000'000;  // a slow disk
      auto& failed = w.failed_syncs[inode(fd)];
      w.machine.syncs_until_failure = w.goes_wrong(400) ? 0 : -1;
      failed += model_ops::fsync(fd) != 0;
      w.machine.syncs_until_failure = -1;
      return std::exchange(w.failures_told[fd], failed) == failed ? 0 : fails(EIO);
    });
  }
  int fdatasync(int fd) const { return fsync(fd); }
  int lstat(int d, char const* n, struct stat* s) const {
    return call([&] { return model_ops::lstat(d, n, s); });
  }
  int mkdir(char const* path, mode_t m) const {
    return call([&] { return model_ops::mkdir(path, m); });
  }
  int rmdir(char const* path) const {
    return call([&] { return model_ops::rmdir(path); });
  }
  int rename(int d, char const* from, char const* to) const {
    return call([&] { return model_ops::rename(d, from, to); });
  }
  int rename_noreplace(int d, char const* from, char const* to) const {
    return call([&] { return model_ops::rename_noreplace(d, from, to); });
  }
  int link(int d, char const* from, char const* to) const {
    return call([&] { return model_ops::link(d, from, to); });
  }
  int unlink(int d, char const* n) const {
    return call([&] { return model_ops::unlink(d, n); });
  }
  int list(int fd, std::vector<std::string>& all) const {
    return call([&] { return model_ops::list(fd, all); });
  }

  int lock_byte(int fd, off_t at) const { return lock_bytes(fd, at, 1); }
  int lock_bytes(int fd, off_t start, off_t count) const {
    return call([&] {
      off_t first = start, some = count;
      if (me_->world_.has_locks && find_lock(fd, first, some)) return fails(EAGAIN);
      for (off_t at = start; at < start + count; ++at) locks()[{inode(fd), at}] = me_;
      return 0;
    });
  }
  int unlock_bytes(int fd, off_t start, off_t count) const {
    std::erase_if(locks(), [&](auto const& one) {
      auto const [where, at] = one.first;
      return one.second == me_ && where == inode(fd) && at >= start && (count == 0 || at < start + count);
    });
    return 0;
  }
  bool find_lock(int fd, off_t& start, off_t& count) const {
    for (auto const& [place, whose] : locks()) {
      auto const [where, at] = place;
      if (whose == me_ || where != inode(fd) || at < start || (count != 0 && at >= start + count)) continue;
      start = at, count = 1;
      return true;
    }
    return false;
  }
  void close_lock(int fd) const {
    unlock_bytes(fd, 0, 0);
    close(fd);
  }

 private:
  static int fails(int error) {
    errno = error;
    return -1;
  }
  template <class F>
  auto call(F f) const -> decltype(f()) {
    if (!me_->may_go_on()) return fails(EIO);
    return f();
  }
  std::map<std::pair<int, off_t>, process const*>& locks() const { return me_->world_.locks; }
  int inode(int fd) const { return me_->world_.machine.open_files.at(static_cast<std::size_t>(fd)).inode; }

  process* me_ = nullptr;
};

}  // namespace fleet
