#pragma once

#include <boost/config.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/version.hpp>
#include <string>
#include <type_traits>
#include <utility>

namespace stash::inline v1 {

/// What can go wrong beside the operating system's own errors. None of these ever stands for "absent".
enum class errc {
  invalid_key = 1,   ///< the key is empty, "." or "..", too long, not UTF-8, or has a slash, backslash or control byte
  unsafe_directory,  ///< the directory is a link, belongs to somebody else, or others may write to it
  corrupt,           ///< the bytes are not a whole record of this key
  mismatch,          ///< whole bytes, but of another type or of a newer version
  unserializable,    ///< the value could not come back as it is; nothing was written
  too_large,         ///< over the storage's cap
  busy,              ///< the key's lock is held elsewhere, or was lost and the record is another's now
  indeterminate      ///< a write that failed so late that the old or the new record may stand
};

namespace detail {

class category final : public boost::system::error_category {
 public:
  // The id makes the category equal to itself across shared objects that hide their symbols.
  constexpr category() noexcept : error_category(0x57a5'4c0d'e9b1'6e02ULL) {}
  char const* name() const noexcept override { return "stash"; }
  std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
      case errc::invalid_key:
        return "invalid_key";
      case errc::unsafe_directory:
        return "unsafe_directory";
      case errc::corrupt:
        return "corrupt: not a whole record";
      case errc::mismatch:
        return "mismatch: something is not as it must be";
      case errc::unserializable:
        return "unserializable: the value could not come back as it is";
      case errc::too_large:
        return "too_large";
      case errc::busy:
        return "busy";
      case errc::indeterminate:
        return "indeterminate: the old or the new record may stand";
    }
    return "unknown stash error";
  }
};

}  // namespace detail

/// The category of `errc`. Thread safe; never destroyed.
inline boost::system::error_category const& stash_category() noexcept {
  static constexpr detail::category instance;
  return instance;
}

/// Found by argument-dependent lookup when an `errc` becomes an `error_code`.
inline boost::system::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), stash_category()}; }

}  // namespace stash::inline v1

/// So that an `errc` becomes an `error_code`, and compares with one, by itself.
template <>
struct boost::system::is_error_code_enum<stash::errc> : std::true_type {};

namespace stash::inline v1 {

/// What the library throws. `code()` is an `errc`, or the operating system's error with `system_category`.
///
/// `what()` is one line: operation, key (or path), detail (the failed call and its path) and cause.
/// (Of SQLite and PostgreSQL the code has a category of its own, which compares with `boost::system::errc` too.)
class BOOST_SYMBOL_VISIBLE error : public boost::system::system_error {
 public:
  /// For a storage or a datastore of your own, too. Each is what the accessor of its name returns, as it is given; in
  /// `what()` they are made printable.
  error(boost::system::error_code code, std::string operation, std::string subject = {}, std::string detail = {})
      : system_error(code, describe(operation, subject, detail)),
        operation_(std::move(operation)),
        subject_(std::move(subject)),
        detail_(std::move(detail)) {}

  /// What was being done: `put`, `get`, `save`, `load`, `try_lock`, ...
  std::string const& operation() const noexcept { return operation_; }
  /// The key that it was done to; for what concerns no key, a path; empty where there is neither.
  std::string const& subject() const noexcept { return subject_; }
  /// The call that failed and its path, or what is wrong with the input; may be empty.
  std::string const& detail() const noexcept { return detail_; }

 private:
  static std::string describe(std::string const& operation, std::string const& subject, std::string const& detail) {
    std::string text = operation;
    if (!subject.empty()) text += ' ' + detail::quoted(detail::printable(subject));
    constexpr std::size_t longest = 4000;  // for a list of all that stands in a swap's way
    if (!detail.empty()) text += ": " + detail::printable(detail, longest);
    return text;
  }

  std::string operation_, subject_, detail_;
};

}  // namespace stash::inline v1
