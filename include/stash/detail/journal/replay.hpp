#pragma once

#include <cstdint>
#include <stash/detail/journal/format.hpp>
#include <stash/detail/journal/index.hpp>
#include <stash/detail/journal/reader.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/error.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// Puts what the frames of a journal say into an index.
struct journal_replayer {
  journal_index& index;
  operation const& op;

  void frame(frame_head const& head, std::string_view body) {
    switch (head.kind) {
      case frame_kind::put:
      case frame_kind::corrupt:
        return index.put(head.key, detail::place_of(head));
      case frame_kind::erase:
        return index.erase(head.key, head.offset);
      case frame_kind::set_aside: {
        kept_records row;
        row.try_emplace(std::string(body), kept_record{head.key, head.saved_at});
        return index.keep(row, head.offset);
      }
      case frame_kind::purge:
        index.purge(body);
        return;
      case frame_kind::kept:
      case frame_kind::corrupt_kept: {
        auto const parts = kept_body::split(body);
        auto place = detail::place_of(head);
        place.bytes = parts.payload.size();
        place.is_corrupt = head.kind == frame_kind::corrupt_kept;
        return index.add_kept(std::string(parts.name), {head.key, parts.when, place});
      }
      case frame_kind::damage:
        return index.damage(damaged(head.offset, head.frame_size()), 0);
      case frame_kind::synced:
      case frame_kind::made:
        return;
    }
    op.fail(errc::mismatch, "a journal", "it has frames of a newer version");
  }

  void damage(journal_damage const& found) {
    auto const place = damaged(found.at, found.size);
    if (found.head == nullptr) {
      if (!found.key || *found.key == unknown_key) return index.damage(place, found.certain_below);
      if (!found.key->empty()) index.damage(*found.key, place);
      return;
    }
    auto const& head = *found.head;
    switch (head.kind) {
      case frame_kind::purge:  // what it destroyed is there again
      case frame_kind::synced:
      case frame_kind::made:
        return;
      case frame_kind::damage:
        return index.damage(place, 0);
      case frame_kind::kept:
      case frame_kind::corrupt_kept:
        return index.add_kept(detail::kept_name(head.key, "damaged", head.saved_at, found.at),
                              {head.key, head.saved_at, place});
      default:
        index.damage(head.key, place);
    }
  }

 private:
  static journal_place damaged(std::uint64_t at, std::uint64_t size) noexcept { return {at, size, size, {}, true}; }
};

}  // namespace stash::inline v1::detail
