#pragma once

#include <cstddef>
#include <cstdint>
#include <stash/detail/journal/content.hpp>
#include <stash/detail/journal/file.hpp>
#include <stash/detail/journal/format.hpp>
#include <stash/detail/journal/index.hpp>
#include <stash/detail/journal/replay.hpp>
#include <stash/detail/operation.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Whether a file that ends at `end` is worth being written anew. (After one that failed, `journal::should_compact`
/// waits until the file has grown.)
inline bool is_mostly_dead(std::uint64_t end, std::uint64_t live_bytes, std::uint64_t chunk) noexcept {
  return end > 4 * chunk && end > 2 * live_bytes;
}

/// Copies what an index says from one file into another, and makes the index of that.
template <class Ops>
class journal_copier {
 public:
  journal_copier(journal_file<Ops>& to, journal_file<Ops> const* from, journal_index& fresh, operation const& op)
      : to_(to), from_(from), visit_{fresh, op}, op_(op) {}

  void all(journal_index const& old) {
    // The damage between what it makes doubtful and what came after it.
    for (auto const& [k, place] : old.records()) {
      if (old.is_doubtful(place)) record(k, place);
    }
    for (auto const& one : old.unknown()) add(frame_kind::damage, {}, {}, content(one.place).payload);
    for (auto const& [k, place] : old.records()) {
      if (!old.is_doubtful(place)) record(k, place);
    }
    for (auto const& [name, one] : old.kept()) {
      auto const found = content(one.place);
      add(found.is_intact ? frame_kind::kept : frame_kind::corrupt_kept, one.key.str(), one.place.saved_at,
          kept_body::joined(one.when, name, found.payload));
    }
    flush();
  }

 private:
  void record(key const& k, journal_place const& place) {
    if (place.size == 0) {
      if (place.at > 0) add(frame_kind::erase, k.str(), {}, {});
      return;
    }
    auto found = content(place);
    add(found.is_intact ? frame_kind::put : frame_kind::corrupt, k.str(), place.saved_at, std::move(found.payload));
  }
  journal_content content(journal_place const& place) const {
    return detail::content_of(from_->read(place.at, place.size, op_), place, from_->salt());
  }

  void add(frame_kind kind, std::string_view k, time_point saved_at, std::string body) {
    bytes_ += body.size();
    bodies_.push_back(std::move(body));
    frames_.push_back({.head = {.kind = kind, .saved_at = saved_at, .key = k}});
    if (frames_.size() == 256 || bytes_ > (1U << 20)) flush();
  }
  void flush() {
    if (frames_.empty()) return;
    for (std::size_t i = 0; i < frames_.size(); ++i) frames_[i].body = bodies_[i];
    to_.prepare(frames_);
    to_.append(frames_, to_.parts_of(frames_), op_);
    for (std::size_t i = 0; i < frames_.size(); ++i) visit_.frame(frames_[i].head, bodies_[i]);
    frames_.clear();
    bodies_.clear();
    bytes_ = 0;
  }

  journal_file<Ops>& to_;
  journal_file<Ops> const* from_;
  journal_replayer visit_;
  operation const& op_;
  std::vector<new_frame> frames_;
  std::vector<std::string> bodies_;
  std::size_t bytes_ = 0;
};

}  // namespace stash::inline v1::detail
