#pragma once

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/conversion.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/serializer.hpp>
#include <boost/json/value.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_stack.hpp>
#include <boost/json/value_to.hpp>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <stash/detail/text/nearest_double.hpp>
#include <stash/detail/text/utf8.hpp>
#include <stash/detail/values/json_convertible.hpp>
#include <stash/detail/values/parts.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace stash::inline v1 {

namespace detail {

/// What basic_parser reports, as a `json::value`. Unlike `json::parse` of Boost 1.81, whose own conversion is
/// off by one bit in about one double of ten, it reads doubles exactly.
class json_builder {
 public:
  using error_code = boost::system::error_code;
  using view = boost::json::string_view;
  static constexpr std::size_t max_object_size = boost::json::object::max_size();
  static constexpr std::size_t max_array_size = boost::json::array::max_size();
  static constexpr std::size_t max_key_size = boost::json::string::max_size();
  static constexpr std::size_t max_string_size = boost::json::string::max_size();

  boost::json::value release() { return stack_.release(); }

  bool on_document_begin(error_code&) {
    stack_.reset();
    return true;
  }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) { return true; }
  bool on_object_end(std::size_t n, error_code&) { return stack_.push_object(n), true; }
  bool on_array_begin(error_code&) { return true; }
  bool on_array_end(std::size_t n, error_code&) { return stack_.push_array(n), true; }
  bool on_key_part(view s, std::size_t, error_code&) { return stack_.push_chars(s), true; }
  bool on_key(view s, std::size_t, error_code&) { return stack_.push_key(s), true; }
  bool on_string_part(view s, std::size_t, error_code&) { return stack_.push_chars(s), true; }
  bool on_string(view s, std::size_t, error_code&) { return stack_.push_string(s), true; }
  bool on_number_part(view s, error_code&) { return digits_.append(s.data(), s.size()), true; }
  bool on_int64(std::int64_t i, view, error_code&) {
    digits_.clear();
    return stack_.push_int64(i), true;
  }
  bool on_uint64(std::uint64_t u, view, error_code&) {
    digits_.clear();
    return stack_.push_uint64(u), true;
  }
  bool on_double(double, view s, error_code& failed) {
    digits_.append(s.data(), s.size());
    double exact = 0;
    if (!detail::nearest_double(digits_, exact)) {  // out of range: not ours, we refuse infinities on save
      failed = boost::json::error::exponent_overflow;
      return false;
    }
    digits_.clear();
    return stack_.push_double(exact), true;
  }
  bool on_bool(bool b, error_code&) { return stack_.push_bool(b), true; }
  bool on_null(error_code&) { return stack_.push_null(), true; }
  bool on_comment_part(view, error_code&) { return true; }
  bool on_comment(view, error_code&) { return true; }

 private:
  boost::json::value_stack stack_;
  std::string digits_;
};

}  // namespace detail

/// Values as compact JSON (RFC 8259), without loss: what `serialize` accepts, `deserialize` gives back equal,
/// every finite double bit for bit, objects in their order. Stateless, thread safe.
///
/// For `boost::json::value`, `object`, `array` and `string`, and any `T` that `value_from` and `value_to`
/// know (BOOST_DESCRIBE_STRUCT, or a `tag_invoke` pair of your own). Such a `T` comes back as its own conversions
/// make it: a `std::variant<int, double>` of 1.0 as the int, because that alternative is tried first. Give it an `==`:
/// then a member that was forgotten in its description is found on save. Without one that member is lost unnoticed.
struct json_serializer {
  using value_type = boost::json::value;        ///< what is meant where no type is named
  static constexpr std::size_t max_depth = 64;  ///< of arrays and objects in each other

  /// Throws `errc::unserializable` for what JSON could not bring back: a NaN or an infinity, text that is not
  /// UTF-8, nesting deeper than `max_depth`, a `T` whose own conversion back fails, or gives what is not `==` (where
  /// it and its parts have one). What `value_from` of a user's type throws comes through as it is.
  template <detail::json_convertible T>
  std::string serialize(T const& v) const {
    if constexpr (detail::json_native<T>) {
      checker checked;
      checked.check(v);
      return written(v, checked.size());
    } else {
      std::string bytes = serialize(boost::json::value(boost::json::value_from(v)));
      try {
        T const back = deserialize<T>(bytes);
        if constexpr (detail::is_comparable<T>) check_equal(v, back, bytes);
      } catch (error const& problem) {
        if (problem.code() != errc::mismatch) throw;
        throw error{errc::unserializable, "serialize", {}, "the value does not convert back: " + problem.detail()};
      }
      return bytes;
    }
  }

  /// Throws `errc::mismatch`: these bytes are not JSON, or not that of a `T`. Of equal names in an object, which
  /// `serialize` never writes, the last one counts.
  template <detail::json_convertible T>
  T deserialize(std::string_view bytes) const {
    boost::json::value parsed = parse<>(bytes);  // parentheses below: braces would make an array of it in g++
    if constexpr (std::same_as<T, boost::json::value>) {
      return parsed;
    } else if constexpr (std::same_as<T, boost::json::object>) {
      if (parsed.is_object()) return std::move(parsed.get_object());
      fail("not an object");
    } else if constexpr (std::same_as<T, boost::json::array>) {
      if (parsed.is_array()) return std::move(parsed.get_array());
      fail("not an array");
    } else if constexpr (std::same_as<T, boost::json::string>) {
      if (parsed.is_string()) return std::move(parsed.get_string());
      fail("not a string");
    } else {
      try {
        return boost::json::value_to<T>(parsed);
      } catch (std::bad_alloc const&) {
        throw;
      } catch (boost::system::system_error const& problem) {
        if (problem.code() != boost::json::error::size_mismatch) fail(problem.code().message());
        fail("it has more or fewer members than the type");  // Boost's words are of an array, also where it is a struct
      } catch (std::exception const& problem) {
        fail(problem.what());
      }
    }
  }

 private:
  [[noreturn]] static void fail(std::string detail) {
    throw error{errc::mismatch, "deserialize", {}, std::move(detail)};
  }

  /// As `boost::json::serialize`, which makes its string twice as long again and again: three times faster from some
  /// 100 KB on where `expected`, in bytes, is right.
  template <class T>
  static std::string written(T const& v, std::size_t expected) {
    boost::json::serializer writer;
    writer.reset(&v);
    std::string bytes(expected, '\0');
    for (std::size_t done = 0;;) {
      done += writer.read(bytes.data() + done, bytes.size() - done).size();
      bytes.resize(writer.done() ? done : 2 * bytes.size());
      if (writer.done()) return bytes;
    }
  }

  /// `bytes` are those of `v`.
  template <class T>
  static void check_equal(T const& v, T const& back, std::string const& bytes) {
    auto const is_equal = [](T const& a, T const& b) { return static_cast<bool>(a == b); };
    if (is_equal(v, back) || !is_equal(v, v)) return;  // a NaN that is in no JSON is equal to nothing
    if constexpr (detail::has_variant<T>) {            // as another alternative, which the class comment tells of
      if (boost::json::serialize(boost::json::value_from(back)) != bytes) return;
    }
    throw error{errc::unserializable, "serialize", {}, "what comes back is not equal: is each member described?"};
  }

  /// A template so that the parser is made where something is loaded, not in every file that includes this one.
  template <class Builder = detail::json_builder>
  static boost::json::value parse(std::string_view bytes) {
    boost::json::parse_options options;
    options.max_depth = max_depth;
    boost::json::basic_parser<Builder> parser{options};
    boost::system::error_code failed;
    std::size_t const used = parser.write_some(false, bytes.data(), bytes.size(), failed);
    if (failed) fail("byte " + std::to_string(used) + " of the JSON: " + failed.message());
    if (used != bytes.size()) fail("something stands behind the JSON, at byte " + std::to_string(used));
    return parser.handler().release();
  }

  /// Walks a value: no deeper than `max_depth`.
  class checker {
   public:
    template <class T>
    void check(T const& v) {
      visit(v, 0);
    }
    /// Bytes that it has as JSON, about: more where numbers are short, fewer where much is escaped.
    std::size_t size() const noexcept { return size_; }

   private:
    void visit(boost::json::object const& o, std::size_t depth) {
      enter(depth);
      for (auto const& member : o) {
        check_text(member.key());
        visit(member.value(), depth + 1);
      }
    }
    void visit(boost::json::array const& a, std::size_t depth) {
      enter(depth);
      for (auto const& element : a) visit(element, depth + 1);
    }
    void visit(boost::json::string const& s, std::size_t) { check_text(s); }
    /// `depth`: of the arrays and objects that it is in.
    void visit(boost::json::value const& v, std::size_t depth) {
      size_ += 6;  // of "null," and the like
      if (v.is_object()) {
        visit(v.get_object(), depth);
      } else if (v.is_array()) {
        visit(v.get_array(), depth);
      } else if (v.is_string()) {
        check_text(v.get_string());
      } else if (v.is_double() && !std::isfinite(v.get_double())) {
        refuse("a number that is not finite");
      }
      if (v.is_number()) size_ += 20;
    }
    static void enter(std::size_t depth) {
      if (depth == max_depth) refuse("nested deeper than " + std::to_string(max_depth) + " levels");
    }
    void check_text(boost::json::string_view s) {
      size_ += s.size() + 4;
      if (!detail::is_utf8({s.data(), s.size()})) refuse("text that is not UTF-8");
    }
    [[noreturn]] static void refuse(std::string why) {
      throw error{errc::unserializable, "serialize", {}, std::move(why)};
    }

    std::size_t size_ = 16;
  };
};

}  // namespace stash::inline v1
