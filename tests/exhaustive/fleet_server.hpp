#pragma once

#include <boost/system/errc.hpp>
#include <stash/stash.hpp>

#include "fleet.hpp"

namespace fleet {

/// Records on the server, as `stash::postgres_storage` promises to keep them: a session that ends takes its locks
/// along; what got no answer is asked again in a new one, a change only if nobody else had the key's lock meanwhile.
class server_storage {
 public:
  class lock_type {
   public:
    lock_type(process& me, stash::key const& k) : me_(&me), key_(k.string()), session_(me.session()) {}
    lock_type(lock_type&& other) noexcept
        : me_(std::exchange(other.me_, nullptr)), key_(std::move(other.key_)), session_(std::move(other.session_)) {}
    lock_type& operator=(lock_type&& other) noexcept {
      release();
      me_ = std::exchange(other.me_, nullptr);
      key_ = std::move(other.key_);
      session_ = std::move(other.session_);
      return *this;
    }
    ~lock_type() { release(); }

    bool held() const {
      if (me_ == nullptr) return false;
      try {
        return me_->ask([&](server& s) { return s.locks[key_].session == session_; });
      } catch (unreachable const&) {
      } catch (no_answer const&) {
        me_->end_session();
      }
      return false;
    }

   private:
    void release() noexcept {
      if (me_ == nullptr) return;
      auto& lock = me_->server().locks[key_];
      if (lock.session == session_) lock.session.clear();
      me_ = nullptr;
    }

    process* me_;
    std::string key_, session_;
  };

  explicit server_storage(process& me, bool has_locks) : me_(&me), has_locks_(has_locks) {}

  void put(stash::key const& k, stash::record const& r) {
    change("put", k, [&](server& s) { return s.records.insert_or_assign(k.string(), r).second; });
  }
  std::optional<stash::record> get(stash::key const& k) const {
    return read("get", k.string(), [&](server& s) {
      auto const found = s.records.find(k.string());
      return found == s.records.end() ? std::nullopt : std::optional(found->second);
    });
  }
  bool erase(stash::key const& k) {
    return change("erase", k, [&](server& s) { return s.records.erase(k.string()) > 0; });
  }
  std::vector<stash::entry> entries() const {
    return read("entries", {}, [](server& s) {
      std::vector<stash::entry> all;
      for (auto const& [k, r] : s.records)
        all.push_back({stash::key{k}, stash::record_state::intact, r.saved_at, r.payload.size(), k});
      return all;
    });
  }
  std::string set_aside(stash::key const& k, std::string_view reason) {
    auto const name = k.string() + '.' + std::string(reason) + '-' + std::to_string(++me_->server().set_aside);
    bool const is_done = change("set_aside", k, [&](server& s) {
      auto const found = s.records.find(k.string());
      if (found == s.records.end()) return s.aside.contains(name);  // done before the answer was lost
      s.aside.emplace(name, found->second);
      s.records.erase(found);
      return true;
    });
    if (!is_done) fail(boost::system::errc::no_such_file_or_directory, "set_aside", k.string());
    return name;
  }
  std::vector<stash::entry> set_aside_entries() const { throw std::logic_error("no history asks for it"); }
  std::size_t purge(std::chrono::microseconds) { throw std::logic_error("no history purges"); }

  std::optional<lock_type> try_lock(stash::key const& k) {
    bool const is_taken = read("try_lock", k.string(), [&](server& s) {
      auto& lock = s.locks[k.string()];
      if (has_locks_ && !lock.session.empty()) return false;
      lock = {me_->session(), me_->name()};
      return true;
    });
    return is_taken ? std::optional<lock_type>(std::in_place, *me_, k) : std::nullopt;
  }

 private:
  [[noreturn]] static void fail(boost::system::errc::errc_t code, char const* operation, std::string const& subject) {
    throw stash::error{boost::system::errc::make_error_code(code), operation, subject};
  }
  template <class F>
  auto read(char const* operation, std::string const& subject, F f) const -> decltype(f(std::declval<server&>())) {
    for (bool is_again = false;; is_again = true) {
      try {
        return me_->ask(f);
      } catch (unreachable const&) {
        fail(boost::system::errc::host_unreachable, operation, subject);
      } catch (no_answer const&) {
        me_->end_session();
        if (is_again) fail(boost::system::errc::connection_reset, operation, subject);
      }
    }
  }
  template <class F>
  bool change(char const* operation, stash::key const& k, F f) {
    for (bool is_again = false;; is_again = true) {
      try {
        return me_->ask([&](server& s) {
          if (has_locks_ && s.locks[k.string()].last != me_->name())
            throw stash::error{stash::errc::busy, operation, k.string(), "another had its lock meanwhile"};
          return f(s);
        });
      } catch (unreachable const&) {
        if (is_again) throw stash::error{stash::errc::indeterminate, operation, k.string()};
        fail(boost::system::errc::host_unreachable, operation, k.string());
      } catch (no_answer const&) {
        me_->end_session();
        if (is_again) throw stash::error{stash::errc::indeterminate, operation, k.string()};
      }
    }
  }

  process* me_;
  bool has_locks_;
};

}  // namespace fleet
