#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/journal/file.hpp>
#include <stash/detail/journal/format.hpp>
#include <stash/detail/journal/index.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

inline journal_place place_of(frame_head const& head) noexcept {
  return {head.offset, head.frame_size(), head.body_size, head.saved_at, head.kind == frame_kind::corrupt};
}

/// The body of a `kept` or `corrupt_kept` frame.
struct kept_body {
  time_point when;
  std::string_view name, payload;

  static std::string joined(time_point when, std::string_view name, std::string_view payload) {
    std::string body;
    detail::append_little_endian(body, static_cast<std::uint64_t>(when.time_since_epoch().count()));
    return body.append(name).append(1, '\n').append(payload);
  }
  static kept_body split(std::string_view body) {
    auto const newline = body.find('\n', 8);
    time_point const when{std::chrono::microseconds{static_cast<std::int64_t>(detail::number_at(body, 0))}};
    return {when, body.substr(8, newline - 8), body.substr(newline + 1)};
  }
};

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
