#include <bit>
#include <boost/json/parse.hpp>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <stash/json_serializer.hpp>
#include <string>
#include <vector>

#include "fuzz_input.hpp"

// Each input is read in two ways: as JSON, and as the steps by which a value is built.
namespace {

namespace json = boost::json;
using fuzz::require;
using stash::errc;

stash::json_serializer const z;

std::string_view view(json::string_view s) { return {s.data(), s.size()}; }

bool is_negative(json::value const& v) { return v.is_int64() && v.get_int64() < 0; }
std::uint64_t integer_bits(json::value const& v) {
  return v.is_int64() ? static_cast<std::uint64_t>(v.get_int64()) : v.get_uint64();
}

/// Equal, with the same bits in every double and members in the same order. JSON does not tell the two
/// integer types apart.
bool identical(json::value const& a, json::value const& b) {
  if (a.is_double() && b.is_double()) {
    return std::bit_cast<std::uint64_t>(a.get_double()) == std::bit_cast<std::uint64_t>(b.get_double());
  }
  if (a.is_array() && b.is_array()) {
    auto const &x = a.get_array(), &y = b.get_array();
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), identical);
  }
  if (a.is_object() && b.is_object()) {
    auto const &x = a.get_object(), &y = b.get_object();
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](auto const& p, auto const& q) {
      return p.key() == q.key() && identical(p.value(), q.value());
    });
  }
  auto const is_integer = [](json::value const& v) { return v.is_int64() || v.is_uint64(); };
  if (is_integer(a) && is_integer(b)) return is_negative(a) == is_negative(b) && integer_bits(a) == integer_bits(b);
  return a.kind() == b.kind() && a == b;
}

/// What keeps a value from being JSON that comes back.
struct obstacles {
  bool not_finite = false, not_utf8 = false, too_deep = false;
  bool any() const { return not_finite || not_utf8 || too_deep; }
};

void find_obstacles(json::value const& v, std::size_t depth, obstacles& found) {
  found.too_deep = found.too_deep || (v.is_structured() && depth == 64);
  if (v.is_double() && !std::isfinite(v.get_double())) found.not_finite = true;
  if (v.is_string() && !fuzz::is_utf8(view(v.get_string()))) found.not_utf8 = true;
  if (v.is_array()) {
    for (auto const& element : v.get_array()) find_obstacles(element, depth + 1, found);
  }
  if (v.is_object()) {
    for (auto const& member : v.get_object()) {
      if (!fuzz::is_utf8(view(member.key()))) found.not_utf8 = true;
      find_obstacles(member.value(), depth + 1, found);
    }
  }
}

/// `T` is one of the types that a value may hold: it has the bytes that the value has, and no other type has.
template <class T>
void check_typed(T const* held, std::string const& bytes) {
  if (held != nullptr) {
    require(z.serialize(*held) == bytes, "a value has the bytes of what it holds");
    require(identical(z.deserialize<T>(bytes), *held), "what a value holds comes back");
  } else {
    auto const refused = fuzz::refusal([&] { z.deserialize<T>(bytes); });
    require(refused == errc::mismatch, "bytes of another type are a mismatch");
  }
}

void check_comes_back(json::value const& v) {
  std::string const bytes = z.serialize(v);
  require(fuzz::is_utf8(bytes), "JSON is UTF-8");
  json::value const back = z.deserialize<json::value>(bytes);
  require(identical(back, v), "a value comes back");
  require(z.serialize(back) == bytes, "a value that came back has the same bytes");
  check_typed(v.if_object(), bytes);
  check_typed(v.if_array(), bytes);
  check_typed(v.if_string(), bytes);
}

/// Whether a number of that JSON is out of a double's range, as the C library sees it.
bool has_number_out_of_range(std::string const& text) {
  bool in_string = false;
  for (char const* p = text.c_str(); *p != '\0'; ++p) {
    if (*p == '"') in_string = !in_string;
    if (in_string && *p == '\\') ++p;
    if (in_string || (*p != '-' && (*p < '0' || *p > '9'))) continue;
    char* end = nullptr;
    errno = 0;
    std::strtod(p, &end);
    if (errno == ERANGE) return true;
    p = end - 1;
  }
  return false;
}

/// Any bytes are a value that comes back, or a mismatch; Boost.JSON's own parser agrees which.
void check_bytes(std::string_view bytes) {
  json::parse_options options;
  options.max_depth = 64;
  boost::system::error_code is_no_json;
  static_cast<void>(json::parse({bytes.data(), bytes.size()}, is_no_json, {}, options));
  json::value v;
  if (auto const refused = fuzz::refusal([&] { v = z.deserialize<json::value>(bytes); })) {
    require(*refused == errc::mismatch, "bytes that are no JSON are a mismatch");
    require(is_no_json || has_number_out_of_range(std::string(bytes)), "JSON is read, unless a number is out of range");
    return;
  }
  require(!is_no_json, "what is read is JSON");
  require(fuzz::is_utf8(bytes), "JSON is UTF-8");
  obstacles found;
  find_obstacles(v, 0, found);
  require(!found.any(), "what is read could have been saved");
  if (v.is_double()) {
    require(identical(v, std::strtod(std::string(bytes).c_str(), nullptr)), "a double is the nearest to its digits");
  }
  check_comes_back(v);
}

/// Takes the last `size` values off the list into an array, or with names into an object.
json::value gathered(std::vector<json::value>& values, std::size_t size, bool named, fuzz::input& choices) {
  auto const first = values.end() - static_cast<std::ptrdiff_t>(std::min(size, values.size()));
  json::object o;
  json::array a;
  for (auto each = first; each != values.end(); ++each) {
    if (named) {
      o.insert_or_assign(choices.text(choices.number(1) % 8), std::move(*each));
    } else {
      a.push_back(std::move(*each));
    }
  }
  values.erase(first, values.end());
  return named ? json::value(std::move(o)) : json::value(std::move(a));
}

json::value leaf(std::size_t kind, fuzz::input& choices) {
  switch (kind) {
    case 0:
      return nullptr;
    case 1:
      return choices.flag();
    case 2:
      return static_cast<std::int64_t>(choices.number(8));
    case 3:
      return choices.number(8);
    case 4:
      return std::bit_cast<double>(choices.number(8));
    case 5:
      return static_cast<double>(static_cast<std::int64_t>(choices.number(4))) / 1000;
    default:
      return json::value(choices.text(choices.number(1)));
  }
}

/// Step by step on a list: a leaf is added, the last ones are gathered, or the last one is wrapped many times.
json::value built(fuzz::input choices) {
  constexpr std::size_t leaves = 7;
  std::uint64_t may_wrap = 140;  // levels, for we look into values by recursion
  std::vector<json::value> values;
  while (!choices.empty()) {
    auto const step = static_cast<std::size_t>(choices.number(1)) % (leaves + 3);
    if (step < leaves) {
      values.push_back(leaf(step, choices));
    } else if (step < leaves + 2) {
      auto const size = static_cast<std::size_t>(choices.number(1) % 8);
      values.push_back(gathered(values, size, step == leaves, choices));
    } else if (!values.empty()) {
      auto const levels = std::min(choices.number(1) % 70, may_wrap);
      may_wrap -= levels;
      for (std::uint64_t i = 0; i < levels; ++i) values.push_back(gathered(values, 1, i % 3 == 0, choices));
    }
  }
  return values.size() == 1 ? json::value(std::move(values.front())) : gathered(values, values.size(), false, choices);
}

/// A value comes back, or is refused for a reason that it has.
void check_value(json::value const& v) {
  obstacles found;
  find_obstacles(v, 0, found);
  if (!found.any()) return check_comes_back(v);
  try {
    z.serialize(v);
    require(false, "what could not come back is refused");
  } catch (stash::error const& e) {
    require(e.code() == errc::unserializable, "what could not come back is unserializable");
    require((found.too_deep && e.detail() == "nested deeper than 64 levels") ||
                (found.not_finite && e.detail() == "a number that is not finite") ||
                (found.not_utf8 && e.detail() == "text that is not UTF-8"),
            "it is refused for a reason that it has");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  check_bytes(bytes);
  check_value(built(fuzz::input{bytes}));
  return 0;
}
