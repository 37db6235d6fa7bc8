#include <chrono>
#include <stash/detail/record/format.hpp>
#include <string>
#include <variant>

#include "fuzz_input.hpp"

// Each input is read in three ways: as a record, as a header and payload that get a right checksum, and as
// choices from which a record is made and then damaged.
namespace {

namespace d = stash::detail;
using fuzz::require;
using stash::errc;
using stash::key;
using stash::record;

std::string written(key const& k, record const& r) { return d::header_line(k, r) + r.payload + '\n'; }

std::variant<record, errc> read(std::string_view bytes, key const& k) {
  std::variant<record, errc> result;
  auto const refused =
      fuzz::refusal([&] { result = d::parse_record(std::string(bytes), k, "get", [] { return "input"; }); });
  if (!refused) return result;
  require(*refused == errc::corrupt || *refused == errc::mismatch,
          "bytes are a record, corrupt, or of another version");
  return *refused;
}

bool is_corrupt(std::string_view bytes, key const& k) {
  auto const result = read(bytes, k);
  return std::holds_alternative<errc>(result) && std::get<errc>(result) == errc::corrupt;
}

/// What can be read is what would have been written.
std::variant<record, errc> checked(std::string_view bytes, key const& k) {
  auto result = read(bytes, k);
  if (auto const* const r = std::get_if<record>(&result))
    require(written(k, *r) == bytes, "a record has one form only");
  return result;
}

/// The version that a header begins with, without leading zeros; nullopt: none, or one too long to tell.
std::optional<std::string_view> version_of(std::string_view header) {
  if (!d::take(header, "{\"stash\":")) return std::nullopt;
  std::string_view digits = header.substr(0, header.find_first_not_of("0123456789"));
  if (digits.empty()) return std::nullopt;
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  return digits.size() <= 19 ? std::optional(digits) : std::nullopt;
}

/// The first line of `text` as the header of the rest, with a right checksum. Another version must be told from
/// damage: a reader sets aside what is damaged.
void check_sealed(std::string_view text, key const& k) {
  auto const newline = std::min(text.find('\n'), text.size());
  std::string_view const header = text.substr(0, newline);
  std::string_view const payload = text.substr(std::min(newline + 1, text.size()));
  std::string const prefix = std::string(header).append(d::checksum_field);
  std::string bytes = prefix + d::checksum(prefix, payload);
  bytes.append(d::header_end).append("\n").append(payload).append("\n");

  auto const result = checked(bytes, k);
  if (auto const version = version_of(header)) {
    bool const mismatch = std::holds_alternative<errc>(result) && std::get<errc>(result) == errc::mismatch;
    require(mismatch == (*version != "1"), "a mismatch is whole bytes of another version");
  }
}

key any_key(std::string_view text) {
  std::optional<key> k;
  return fuzz::refusal([&] { k.emplace(text); }) ? key{"orders"} : *k;
}

std::string damaged(std::string bytes, fuzz::input& choices) {
  auto const kind = choices.number(1) % 5;
  std::size_t const at = choices.below(bytes.size());
  auto const size = static_cast<std::size_t>(choices.number(1));
  if (kind == 0) bytes[at] = static_cast<char>(bytes[at] ^ (1 << (size % 8)));
  if (kind == 1) bytes.resize(at);
  if (kind == 2) bytes.insert(at, choices.text(size));
  if (kind == 3) bytes.erase(at, size);
  if (kind == 4) bytes += bytes.substr(at, size);
  return bytes;
}

void check_made(fuzz::input choices) {
  key const k = any_key(choices.text(choices.number(1)));
  key const other_key = any_key(choices.text(choices.number(1)));
  stash::time_point const saved_at{std::chrono::microseconds{static_cast<std::int64_t>(choices.number(8))}};
  std::string_view const other_payload = choices.text(choices.number(1));
  fuzz::input damage{choices.text(64)};
  record const r{std::string(choices.rest()), saved_at};

  std::string const bytes = written(k, r);
  auto const back = read(bytes, k);
  require(std::holds_alternative<record>(back) && std::get<record>(back) == r, "what is written is read");
  if (other_key != k) require(is_corrupt(bytes, other_key), "a record is of one key");
  if (other_payload != r.payload) {
    require(is_corrupt(d::header_line(k, r).append(other_payload) + '\n', k), "a header is of one payload");
  }
  std::string const changed = damaged(bytes, damage);
  if (changed != bytes) require(is_corrupt(changed, k), "damage is noticed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  for (key const& k : {key{"orders"}, key{"a\"b \xc3\xa9"}}) {
    checked(bytes, k);
    check_sealed(bytes, k);
  }
  check_made(fuzz::input{bytes});
  return 0;
}
