#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <stash/event.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>

namespace stash::inline v1::detail {

using observer = std::function<void(event const&)>;

/// What comes with an event, beside its kind and key.
struct event_details {
  std::optional<std::chrono::microseconds> age{};
  std::string_view where{};
  std::exception_ptr error{};
};

/// What the observer throws is dropped: telling must not change what happens.
inline void tell(observer const& to, event_kind kind, key const& k, event_details const& d = {}) noexcept {
  if (!to) return;
  try {
    to(event{kind, k, d.age, d.where, d.error});
  } catch (...) {
  }
}

}  // namespace stash::inline v1::detail
