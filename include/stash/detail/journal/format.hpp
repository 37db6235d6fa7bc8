#pragma once

#include <boost/endian/conversion.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/detail/text/xxh64.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <utility>

// A journal as bytes: twice the same 32 bytes of file header, then frames, then zeros. All numbers are little endian.
// FORMAT.md, beside this in the repository, has the grammar and an example.
namespace stash::inline v1::detail {

enum class frame_kind : std::uint32_t {
  put = 1,       ///< body: the payload
  erase,         ///< no body
  set_aside,     ///< body: the name under which the key's record is kept
  purge,         ///< no key; body: such a name
  synced,        ///< no key, no body; all before it is synced
  kept,          ///< body: such a name, a newline, and the payload
  corrupt,       ///< body: the bytes of a record that was damaged
  corrupt_kept,  ///< body: a name, a newline, and such bytes
  damage,        ///< body: the bytes of what was damaged; nobody knows which keys it was about
  made           ///< no key, no body; as `synced`, and so far the file's name may not be on the disk
};

inline constexpr std::string_view journal_name = "stash journal ", journal_version = "1\n";
inline constexpr std::size_t journal_header_size = 64;
inline constexpr std::string_view unknown_key = "/";  // no key; as `previous_key`: of damage

inline std::uint64_t number_at(std::string_view bytes, std::size_t at) noexcept {
  return boost::endian::load_little_u64(reinterpret_cast<unsigned char const*>(&bytes[at]));
}
inline void append_number(std::string& out, std::uint64_t n) {
  unsigned char bytes[sizeof n];
  boost::endian::store_little_u64(bytes, n);
  out.append(reinterpret_cast<char const*>(bytes), sizeof bytes);
}

inline std::string journal_header(std::uint64_t salt) {
  std::string one = std::string(journal_name).append(journal_version);
  detail::append_number(one, salt);
  detail::append_number(one, xxh64::hash(one));
  return one + one;
}

struct journal_head {
  bool is_this_version;
  std::uint64_t salt;

  /// Either copy will do. nullopt: neither is whole.
  static std::optional<journal_head> decode(std::string_view bytes) noexcept {
    for (; bytes.size() >= 32; bytes.remove_prefix(32)) {
      if (!bytes.starts_with(journal_name) || detail::number_at(bytes, 24) != xxh64::hash(bytes.substr(0, 24)))
        continue;
      return journal_head{bytes.substr(journal_name.size(), 2) == journal_version, detail::number_at(bytes, 16)};
    }
    return std::nullopt;
  }
};

struct frame_head {
  static constexpr std::uint64_t magic = 0x31656d6172667473;  // "stframe1"
  static constexpr std::size_t fixed_size = std::size_t{8} * 11;

  frame_kind kind = frame_kind::put;
  std::uint64_t sequence = 0;  ///< 1 for the first
  std::uint64_t offset = 0;    ///< where it stands in the file
  std::uint64_t synced = 0;    ///< what lies below was known to be synced
  std::uint64_t previous = 0;  ///< the checksum of the frame before; of the first, the salt
  time_point saved_at{};
  std::uint64_t body_size = 0;
  std::uint64_t body_hash = 0;  ///< XXH64 with the salt as its seed, see journal_file::prepare
  std::string_view key{}, previous_key{};
  bool is_synced = true;       ///< before it is acknowledged; its negation is the lowest bit of `synced` in the file
  std::uint64_t checksum = 0;  ///< set by `encode` and `decode`

  std::size_t size() const noexcept { return fixed_size + key.size() + previous_key.size(); }
  std::uint64_t body_at() const noexcept { return offset + size(); }
  std::uint64_t frame_size() const noexcept { return (size() + body_size + 7) / 8 * 8; }
  std::uint64_t end() const noexcept { return offset + frame_size(); }
  std::string_view padding() const noexcept {
    return std::string_view("\0\0\0\0\0\0\0", static_cast<std::size_t>(frame_size() - size() - body_size));
  }

  std::string encode(std::uint64_t salt) {
    std::string out(8, '\0');
    for (std::uint64_t const field :
         {magic, static_cast<std::uint64_t>(kind), sequence, offset, synced | (is_synced ? 0U : 1U), previous,
          static_cast<std::uint64_t>(saved_at.time_since_epoch().count()), body_size, body_hash,
          std::uint64_t{key.size()} | std::uint64_t{previous_key.size()} << 32}) {
      detail::append_number(out, field);
    }
    out.append(key).append(previous_key);
    checksum = xxh64::hash(std::string_view(out).substr(8), salt);
    std::string front;
    detail::append_number(front, checksum);
    return out.replace(0, 8, front);
  }

  /// Whether a frame's head of which `sequence`, offset `at` and `previous` are known may be at the front of `bytes`,
  /// with one byte of it changed.
  static bool may_be_one(std::string_view bytes, std::uint64_t sequence, std::uint64_t at,
                         std::uint64_t previous) noexcept {
    if (bytes.size() < fixed_size) return false;
    int changed = 0;
    for (auto const& [place, known] : {std::pair{8U, magic}, {24U, sequence}, {32U, at}, {48U, previous}}) {
      for (auto rest = detail::number_at(bytes, place) ^ known; rest != 0; rest >>= 8) changed += (rest & 0xff) != 0;
    }
    return changed <= 1;
  }

  /// The head at the front of `bytes`, which stand at `at`; nullopt: none stands there, or a part of it is missing.
  static std::optional<frame_head> decode(std::string_view bytes, std::uint64_t at, std::uint64_t salt) {
    if (bytes.size() < fixed_size || detail::number_at(bytes, 8) != magic || detail::number_at(bytes, 32) != at)
      return std::nullopt;
    std::uint64_t const sizes = detail::number_at(bytes, 80);
    std::uint64_t const key_bytes = sizes & 0xffffffff, previous_bytes = sizes >> 32;
    if (bytes.size() - fixed_size < key_bytes + previous_bytes) return std::nullopt;
    auto const key_size = static_cast<std::size_t>(key_bytes), previous_size = static_cast<std::size_t>(previous_bytes);
    frame_head head;
    head.kind = static_cast<frame_kind>(detail::number_at(bytes, 16));
    head.sequence = detail::number_at(bytes, 24);
    head.offset = at;
    head.synced = detail::number_at(bytes, 40) & ~std::uint64_t{1};
    head.is_synced = (detail::number_at(bytes, 40) & 1) == 0;
    head.previous = detail::number_at(bytes, 48);
    head.saved_at = time_point{std::chrono::microseconds{static_cast<std::int64_t>(detail::number_at(bytes, 56))}};
    head.body_size = detail::number_at(bytes, 64);
    head.body_hash = detail::number_at(bytes, 72);
    head.key = bytes.substr(fixed_size, key_size);
    head.previous_key = bytes.substr(fixed_size + key_size, previous_size);
    head.checksum = detail::number_at(bytes, 0);
    if (head.checksum != xxh64::hash(bytes.substr(8, head.size() - 8), salt)) return std::nullopt;
    return head;
  }
};

/// The body of a `kept` or `corrupt_kept` frame.
struct kept_body {
  time_point when;
  std::string_view name, payload;

  static std::string joined(time_point when, std::string_view name, std::string_view payload) {
    std::string body;
    detail::append_number(body, static_cast<std::uint64_t>(when.time_since_epoch().count()));
    return body.append(name).append(1, '\n').append(payload);
  }
  static kept_body split(std::string_view body) {
    auto const newline = body.find('\n', 8);
    time_point const when{std::chrono::microseconds{static_cast<std::int64_t>(detail::number_at(body, 0))}};
    return {when, body.substr(8, newline - 8), body.substr(newline + 1)};
  }
};

/// A frame to write: what is set by the writer, and the bytes that become of it.
struct new_frame {
  frame_head head{};
  std::string_view body{};
  std::string bytes{};  // of the head
};

}  // namespace stash::inline v1::detail
