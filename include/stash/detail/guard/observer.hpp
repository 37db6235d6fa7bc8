#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <stash/detail/system/standard_error.hpp>
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

/// Whether it is to be heard where there is no observer. (A `save_failed` that the guard's constructor throws is heard
/// anyway: detail/guard/guarded_key.hpp does not tell it here then.)
constexpr bool is_heard_by_default(event_kind kind) noexcept {
  return kind == event_kind::corrupt || kind == event_kind::save_failed || kind == event_kind::restore_failed ||
         kind == event_kind::clear_failed || kind == event_kind::left_behind;
}

/// What the observer throws is dropped: telling must not change what happens. The line's text is `line_of` in
/// event.hpp.
inline void tell(observer const& to, event_kind kind, key const& k, event_details const& d = {}) noexcept {
  try {
    event const e{kind, k, d.age, d.where, d.error};
    if (to) return to(e);
    bool const is_loss = kind == event_kind::committed && d.error;
    if (!detail::is_heard_by_default(kind) && !is_loss) return;
    detail::write_to_standard_error(detail::line_of(e) + '\n');
  } catch (...) {
  }
}

}  // namespace stash::inline v1::detail
