#include <chrono>
#include <set>
#include <stash/detail/record/file_names.hpp>
#include <stash/record.hpp>
#include <string>
#include <utility>
#include <vector>

#include "fuzz_input.hpp"

// An input is two lines and what is behind them: two texts, each taken as a key and as a file name, then a
// random number, a time and a reason for setting aside.
namespace {

namespace d = stash::detail;
using fuzz::require;
using stash::errc;
using stash::key;

constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyz0123456789_";
constexpr std::string_view hex_digits = "0123456789abcdef";

bool consists_of(std::string_view text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == text.npos;
}

struct suffix {
  std::uint64_t random;
  stash::time_point when;
  std::string_view reason;
};

bool is_valid_key(std::string_view text) {
  auto const is_control_or_slash = [](char each) {
    auto const c = static_cast<unsigned char>(each);
    return c < 0x20 || c == 0x7f || c == '/' || c == '\\';
  };
  return !text.empty() && text.size() <= 200 && text != "." && text != ".." &&
         std::none_of(text.begin(), text.end(), is_control_or_slash) && fuzz::is_utf8(text);
}

/// The key that `text` is. Nullopt: it is none, or one too long for a file name.
std::optional<key> check_key(std::string_view text) {
  std::optional<key> k;
  auto const refused = fuzz::refusal([&] { k.emplace(text); });
  require(!refused || *refused == errc::invalid_key, "a text is a key or an invalid key");
  require(k.has_value() == is_valid_key(text), "exactly the valid texts are keys");
  if (!k) return std::nullopt;
  require(k->str() == text, "a key is its text");

  std::size_t length = 0;
  for (char const c : text) {
    bool const inner = (c == '-' || c == '.') && length > 0;
    length += inner || plain.find(c) != plain.npos ? std::size_t{1} : std::size_t{3};
  }
  auto const too_long = fuzz::refusal([&] { d::encoded(*k, "fuzz"); });
  require(too_long == (length > 200 ? std::optional(errc::invalid_key) : std::nullopt), "200 bytes are a file name");
  return too_long ? std::nullopt : k;
}

void check_name(key const& k) {
  static std::string const allowed = std::string(plain) + "-.%";
  std::string const name = d::encoded(k, "fuzz");
  require(consists_of(name, allowed), "a file name is safe, and the same where a directory folds case");
  require(!name.starts_with('.') && !name.starts_with('-') && name.size() <= 200,
          "a file name is no option, not hidden");
  require(d::decoded(name) == k, "a file name is of its key");
}

/// What `name` is a name of, by our own reading: each kind is made again from what was read out of it.
void check_as_file_name(std::string_view name) {
  auto const of_record = d::key_of_record(name);
  auto const of_temporary = d::key_of_temporary(name);
  auto const of_aside = d::parse_set_aside(name);
  require(of_record.has_value() + of_temporary.has_value() + of_aside.has_value() <= 1, "a name is of one kind");
  if (of_record) require(d::record_name(*of_record, "fuzz") == name, "only a record's name is one");
  if (of_temporary) {
    std::string const start = '.' + d::encoded(*of_temporary, "fuzz") + '.';
    require(name.starts_with(start) && name.size() == start.size() + 20 && name.ends_with(".tmp"),
            "a temporary's name is its key's");
    require(consists_of(name.substr(start.size(), 16), hex_digits), "only a temporary's name is one");
  }
  if (of_aside) {
    std::string const start = d::encoded(of_aside->first, "fuzz") + '.';
    std::string const when = '-' + d::to_text(of_aside->second, true) + '-';
    require(name.starts_with(start) && name.size() >= start.size() + when.size() + 16,
            "the name of a record set aside is its key's");
    std::string_view const behind_key = name.substr(start.size());
    std::string_view const random = behind_key.substr(behind_key.size() - 16);
    std::string_view const front = behind_key.substr(0, behind_key.size() - 16);
    require(front.ends_with(when) && consists_of(random, hex_digits), "only a name of a record set aside is one");
    static std::string const allowed = std::string(plain) + '%';
    require(consists_of(front.substr(0, front.size() - when.size()), allowed), "a reason is plain");
  }
}

/// Every name made of `k`, each found to be what it is.
std::vector<std::string> checked_names(key const& k, suffix const& s) {
  std::vector<std::string> const names = {d::record_name(k, "fuzz"), d::temporary_name(k, "fuzz", s.random),
                                          d::set_aside_name(k, "fuzz", s.reason, s.when, s.random)};
  require(d::key_of_record(names[0]) == k, "a record's name is of its key");
  require(d::key_of_temporary(names[1]) == k, "a temporary's name is of its key");
  require(d::parse_set_aside(names[2]) == std::pair(k, s.when), "a record set aside tells its key and time");
  for (std::string const& name : names) {
    require(name.size() <= 255 && name.find('/') == name.npos && name != d::lock_file_name, "a directory can have it");
    check_as_file_name(name);
  }
  return names;
}

std::string_view take_line(std::string_view& text) {
  auto const newline = std::min(text.find('\n'), text.size());
  std::string_view const line = text.substr(0, newline);
  text.remove_prefix(std::min(newline + 1, text.size()));
  return line;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  require(d::is_utf8(bytes) == fuzz::is_utf8(bytes), "UTF-8 is what RFC 3629 says");
  std::string_view left = bytes;
  std::string_view const texts[] = {take_line(left), take_line(left), bytes};
  fuzz::input choices{left};
  auto const random = choices.number(8);
  stash::time_point const when{std::chrono::microseconds{static_cast<std::int64_t>(choices.number(8))}};
  suffix const s{random, when, choices.rest()};

  std::set<std::string> names;
  std::set<key> keys;
  for (std::string_view const text : texts) {
    check_as_file_name(text);
    auto const k = check_key(text);
    if (!k || !keys.insert(*k).second) continue;
    check_name(*k);
    for (std::string const& name : checked_names(*k, s)) require(names.insert(name).second, "a name is of one key");
  }
  return 0;
}
