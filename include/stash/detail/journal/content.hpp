#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stash/detail/journal/format.hpp>
#include <stash/detail/journal/index.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// What stands at a place in a journal.
struct journal_content {
  bool is_intact = false;
  bool is_whole = false;  ///< intact but for doubt about what came after it
  std::string payload{};  ///< where it is not intact: the bytes, whatever they are
};

/// `bytes`: what was read from there.
inline journal_content content_of(std::string bytes, journal_place const& place, std::uint64_t salt) {
  auto const head = frame_head::decode(bytes, place.at, salt);
  if (!head) return {false, false, std::move(bytes)};
  std::string_view body = std::string_view(bytes).substr(head->size());
  body = body.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(head->body_size, body.size())));
  if (xxh64::hash(body, salt) != head->body_hash) return {false, false, std::move(bytes)};
  bool const has_name = head->kind == frame_kind::kept || head->kind == frame_kind::corrupt_kept;
  if (has_name) body = kept_body::split(body).payload;
  bool const is_intact = head->kind == frame_kind::put || head->kind == frame_kind::kept;
  return {is_intact && !place.is_corrupt, is_intact, std::string(body)};
}

}  // namespace stash::inline v1::detail
