#pragma once

#include <cstdint>
#include <stash/storage/journal.hpp>
#include <utility>

#include "support.hpp"

namespace journal_test {

using stash::errc;
using stash::journal_storage;
using stash::record;
using stash::record_state;
using stash::detail::frame_head;
using stash::detail::frame_kind;
namespace fs = boost::filesystem;

using spoiled_journal = stash::basic_journal_storage<support::spoiled_ops>;

inline record some(std::string payload, int time = 1) {
  return {std::move(payload), stash::time_point{std::chrono::microseconds{time}}};
}
inline record const first = some("first"), second = some("second"), third = some("third");

struct frame_seen {
  frame_kind kind;
  std::uint64_t at, size, body_at;
  std::string key;
};

struct fixture : support::scratch {
  fs::path const file = dir() / "stash.journal";
  support::spoiled_ops ops{};

  journal_storage open(stash::journal_options o = {}) const { return journal_storage{dir(), o}; }
  spoiled_journal spoiled(stash::journal_options o = {}) const { return spoiled_journal{dir(), o, ops}; }
  /// The n-th call of that name from now on fails, once.
  void fail(std::string const& call, int error, int n = 1) {
    *ops.before = [=, left = n](std::string_view name) mutable { return name == call && --left == 0 ? error : 0; };
  }
  void fail_always(std::string const& call, int error) {
    *ops.before = [=](std::string_view name) { return name == call ? error : 0; };
  }
  /// Calls `work` with the n of `fail` until all calls of that name have failed once.
  void each_failing(std::string const& call, int error, std::function<void(int)> const& work) {
    for (int n = 1;; ++n) {
      auto const happened = std::make_shared<bool>(false);
      *ops.before = [=, left = n](std::string_view name) mutable {
        if (name != call || --left != 0) return 0;
        *happened = true;
        return error;
      };
      work(n);
      if (!*happened) return;
    }
  }
  void fail_nothing() {
    *ops.before = [](std::string_view) { return 0; };
  }

  std::string bytes() const { return support::read(file); }
  std::vector<frame_seen> frames() const {
    std::vector<frame_seen> result;
    auto const all = bytes();
    auto const salt = stash::detail::journal_head::decode(std::string_view(all).substr(0, 64))->salt;
    for (std::uint64_t at = 64;;) {
      auto const head = frame_head::decode(std::string_view(all).substr(at), at, salt);
      if (!head) return result;
      result.push_back({head->kind, at, head->frame_size(), head->body_at(), std::string(head->key)});
      at = head->end();
    }
  }
  frame_seen frame_of(std::string const& key, int n = 1) const {
    for (auto const& f : frames()) {
      if (f.key == key && --n == 0) return f;
    }
    throw std::runtime_error("no frame of " + key);
  }
  void overwrite(std::uint64_t at, std::string const& with) const {
    std::fstream out(file.native(), std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(static_cast<std::streamoff>(at));
    out << with;
  }
  /// Their two frames, one behind the other: nobody can tell any more which keys they were about.
  void zero_x_and_y() const {
    auto const x = frame_of("x"), y = frame_of("y");
    overwrite(x.at, std::string(x.size + y.size, '\0'));
  }
  void flip(std::uint64_t at) const { overwrite(at, std::string(1, static_cast<char>(bytes()[at] ^ 0x10))); }
  /// As a process that ends in the middle of its work: nothing is noted as closed.
  void crash_with(std::function<void(journal_storage&)> const& work, stash::journal_options o = {}) const {
    int const status = support::in_child([&] {
      auto s = open(o);
      work(s);
      ::_exit(0);
      return 0;
    });
    BOOST_REQUIRE(status == 0);
  }
};

template <class Storage>
std::string got(Storage const& s, stash::key const& k) {
  try {
    auto const r = s.get(k);
    return r ? r->payload : "absent";
  } catch (stash::error const& problem) {
    return problem.code() == errc::corrupt ? "corrupt" : problem.what();
  }
}
template <class Storage>
std::string states(Storage const& s) {
  std::string result;
  for (auto const& e : s.entries()) {
    result += std::string(e.key.str()) + (e.state == record_state::intact ? " intact " : " corrupt ");
  }
  return result;
}

}  // namespace journal_test
