#pragma once

#include <memory>
#include <optional>
#include <stash/detail/fork.hpp>
#include <stash/detail/postgres/session.hpp>
#include <stash/key.hpp>
#include <utility>

namespace stash::inline v1::detail {

/// A key's lock. Movable; the destructor releases it, but not in a forked child. May outlive the storage.
class postgres_lock {
 public:
  /// The lock of `k`; nullopt: another has it. Throws as `postgres_session::try_lock`.
  static std::optional<postgres_lock> try_take(std::shared_ptr<postgres_session> const& session, key const& k) {
    postgres_lock lock{k};
    auto const taken = session->try_lock(k, {"try_lock", k});
    if (!taken) return std::nullopt;
    lock.taken_ = *taken;
    lock.session_ = session;
    return lock;
  }
  /// The other holds nothing then.
  postgres_lock(postgres_lock&&) noexcept = default;
  /// Exchanges the two: what this one had is released with the other.
  postgres_lock& operator=(postgres_lock&& other) noexcept {
    std::swap(session_, other.session_);
    std::swap(key_, other.key_);
    std::swap(taken_, other.taken_);
    std::swap(owner_, other.owner_);
    return *this;
  }
  ~postgres_lock() {
    if (session_ && owner_.is_current()) session_->unlock(key_, taken_);
  }
  /// Whether the session in which it was taken lives, which the server is asked for.
  bool held() const noexcept { return session_ && owner_.is_current() && session_->is_held(taken_); }

 private:
  explicit postgres_lock(key k) : key_(std::move(k)) {}

  std::shared_ptr<postgres_session> session_;
  key key_;
  postgres_session::generation taken_ = 0;
  owned_by_process owner_;
};

}  // namespace stash::inline v1::detail
