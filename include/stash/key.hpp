#pragma once

#include <algorithm>
#include <compare>
#include <concepts>
#include <cstddef>
#include <functional>
#include <ostream>
#include <stash/detail/text/print.hpp>
#include <stash/detail/text/utf8.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <type_traits>

namespace stash::inline v1 {

/// The validated id of a resource: 1 to 200 bytes of UTF-8.
///
/// Refused with `errc::invalid_key`: empty, ".", "..", a slash or backslash, control bytes (NUL too),
/// bad UTF-8, more than 200 bytes. Nothing is folded: "A" and "a", and the composed and decomposed
/// forms of a letter, are different keys. A value type; distinct objects may be used from any threads. One that was
/// moved from may only be assigned to or destroyed.
///
///     stash::key k = "orders";
class key {
 public:
  static constexpr std::size_t max_size = 200;  ///< bytes: a file name of at most 255 (NAME_MAX) has it and a suffix

  /// Implicit from whatever converts to `std::string_view`. Throws `error{errc::invalid_key}`.
  template <class S>
  requires std::convertible_to<S const&, std::string_view> &&
      (!std::same_as<std::remove_cvref_t<S>, key>)&&(!std::same_as<std::remove_cvref_t<S>, std::nullptr_t>)
          key(S const& text)
      : text_(validated(view(text))) {}
  key(std::nullptr_t) = delete;

  /// The text. Valid as long as the key, and until it is assigned to.
  std::string_view str() const noexcept { return text_; }
  /// As `str`.
  operator std::string_view() const noexcept { return text_; }
  /// A copy of the text.
  std::string string() const { return text_; }

  /// Whether the bytes are the same.
  friend bool operator==(key const& a, key const& b) noexcept { return a.text_ == b.text_; }
  /// The order of the bytes, as unsigned numbers: no locale's.
  friend std::strong_ordering operator<=>(key const& a, key const& b) noexcept {
    return a.text_.compare(b.text_) <=> 0;  // as bytes
  }

  /// Comparison with plain text, which need not be a valid key: then they are just different. A null pointer is no
  /// text.
  template <std::convertible_to<std::string_view> S>
  requires(!std::same_as<S, key>) friend bool operator==(key const& a, S const& b) {
    if constexpr (std::is_pointer_v<S>) {
      if (b == nullptr) return false;
    }
    return a.str() == std::string_view(b);
  }
  friend bool operator==(key const&, std::nullptr_t) = delete;

  /// The text as it is, without quotes, whatever width, fill and flags are left on `out`. Throws what `out` throws.
  friend std::ostream& operator<<(std::ostream& out, key const& k) { return detail::print(out, k.text_); }

 private:
  template <class S>
  static std::string_view view(S const& text) {
    if constexpr (std::is_pointer_v<S>) {
      if (text == nullptr) throw error{errc::invalid_key, "key", {}, "a null pointer"};
    }
    return text;
  }

  static std::string validated(std::string_view s) {
    char const* const wrong = what_is_wrong(s);
    if (wrong != nullptr) throw error{errc::invalid_key, "key", std::string(s.substr(0, 2 * max_size)), wrong};
    return std::string(s);
  }

  static char const* what_is_wrong(std::string_view s) noexcept {
    if (s.empty()) return "empty";
    if (s.size() > max_size) return "longer than 200 bytes";
    if (s == "." || s == "..") return "names a directory";
    if (std::any_of(s.begin(), s.end(), [](char c) { return c == '/' || c == '\\'; }))
      return "has a slash or a backslash: a key is an id and no path";
    auto const is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    if (std::any_of(s.begin(), s.end(), is_control)) return "has a control byte";
    if (!detail::is_utf8(s)) return "not UTF-8";
    return nullptr;
  }

  std::string text_;
};

}  // namespace stash::inline v1

/// For `std::unordered_map` and its like.
template <>
struct std::hash<stash::key> {
  /// As of the text.
  std::size_t operator()(stash::key const& k) const noexcept { return std::hash<std::string_view>{}(k.str()); }
};
