#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stash/detail/journal/format.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <stash/key.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace stash::inline v1::detail {

/// The last frame of a journal, and where the next one is to stand.
struct journal_position {
  std::uint64_t end = journal_header_size;
  std::uint64_t sequence = 0, previous = 0;  ///< its number, and its checksum; at first the salt
  frame_kind kind = frame_kind::put;
  bool is_synced = true;
  std::string key{};

  explicit journal_position(std::uint64_t salt = 0) : previous(salt) { key.reserve(stash::key::max_size); }

  bool is_before(frame_head const& head) const noexcept {
    return head.sequence == sequence + 1 && head.previous == previous;
  }
  void advance(frame_head const& head) noexcept {
    end = head.end();
    sequence = head.sequence;
    previous = head.checksum;
    kind = head.kind;
    is_synced = head.is_synced;
    key.assign(head.kind == frame_kind::damage ? unknown_key : head.key);  // it has the room
  }
};

/// What was found in a journal's file, but for its frames.
struct journal_found {
  std::uint64_t synced = journal_header_size;  ///< what lies below was synced, as the frames say
  /// Whether nothing between the frames would look otherwise once others follow it. Else the file is to be written
  /// anew before that.
  bool is_settled = true;
  bool has_torn_end = false;  ///< behind the last frame is something that does not count
};

/// What is damaged in a journal.
struct journal_damage {
  std::uint64_t at, size;
  frame_head const* head = nullptr;       ///< of the frame; null: it is not known
  std::optional<std::string_view> key{};  ///< then: what it was about, if that can be told; empty: about no key
  std::uint64_t certain_below = 0;  ///< what stands below is not doubted for it, as it was synced and this was not
};

/// Goes through the frames of a journal's file, from front to back. Changes nothing.
///
/// A frame that is not whole is torn or damaged. Torn: a crash came before it was synced, so that nobody was told that
/// it is there, and what it was to replace stands. Damaged: it was there. Three things tell:
///
/// - A later frame says that it was synced before: it is damaged.
/// - All of it was written: it is damaged. For a write that is cut off leaves gaps of zeros: these were behind the
///   frames before, on the disk.
/// - There is a gap, and a later frame that was not to be synced (`process_crash`). If the process was killed it is
///   damaged, for nothing is behind the place where that was writing. If the power was cut it may be torn. Nobody can
///   tell; so what is known to be synced is not doubted for it, though what is lost may have replaced it.
template <class File>
class journal_reader {
 public:
  /// `size`: of the file, in bytes. `last`: of an empty journal; then of what was found.
  journal_reader(File const& file, std::uint64_t size, std::uint64_t salt, journal_position& last, operation const& op)
      : file_(file), op_(op), size_(size), salt_(salt), last_(last) {}

  /// Calls `visit.frame(head, body)` for each frame, in order, and `visit.damage(journal_damage)`.
  template <class Visitor>
  journal_found replay(Visitor& visit) {
    while (step(visit) || step_over(visit)) {
    }
    return found_;
  }

 private:
  /// What is behind a frame that is not whole.
  struct rest {
    std::uint64_t written_end;                 ///< behind it are zeros only
    std::optional<std::uint64_t> next{};       ///< where the next whole head is
    std::uint64_t sequence = 0, previous = 0;  ///< of that
    std::string previous_key{};
    std::uint64_t synced = 0;    ///< what lies below was synced, as a later frame says
    bool proves_damage = false;  ///< this was among it
    bool is_unsynced = false;    ///< a later frame was not to be synced
  };

  static constexpr std::uint64_t longest_head = frame_head::fixed_size + 2 * key::max_size;
  /// Bytes, at a multiple of which a write may end when it is cut off. Less than any sector or page: that would do.
  static constexpr std::uint64_t unit = 64;
  static constexpr std::uint64_t window_size = 1U << 20;
  static constexpr std::string_view zero{"\0", 1};

  /// The next frame; false: it is not whole.
  template <class Visitor>
  bool step(Visitor& visit) {
    auto head = head_at(last_.end);
    if (!head || !last_.is_before(*head) || head->end() > size_) return false;
    std::string const key{head->key};  // the window moves
    head->key = key;
    auto const body = bytes(head->body_at(), head->body_size);
    if (xxh64::hash(body, salt_) != head->body_hash) return false;
    visit.frame(*head, body);
    last_.advance(*head);
    found_.synced = std::max(found_.synced, head->synced);
    return true;
  }

  /// What is no whole frame; false: nothing behind it counts.
  template <class Visitor>
  bool step_over(Visitor& visit) {
    std::uint64_t const at = last_.end;
    std::string front(bytes(at, longest_head));
    auto const behind = look_behind(at);
    if (behind.written_end == at) {
      if (at >= size_) cut(visit);
      return false;
    }
    auto const head = next_head(front);
    bool const has_head = head.has_value();
    std::uint64_t const reach = has_head ? head->end() : behind.next.value_or(behind.written_end);
    std::uint64_t const end = std::min({reach, behind.next.value_or(size_), size_});
    bool const has_gap = has_unwritten(at, end, has_head ? &*head : nullptr);
    if (!behind.next && !has_gap && (has_head ? reach >= size_ : reach + 8 > size_)) {
      cut(visit);
      return false;
    }
    bool const may_be_torn =
        !behind.proves_damage && (has_gap || (!has_head && !behind.next && is_cut_short(front, end - at)));
    if (may_be_torn && !behind.next) {
      found_.has_torn_end = true;
      return false;
    }
    if (!behind.proves_damage) found_.is_settled = false;
    if (!may_be_torn || behind.is_unsynced) {
      journal_damage damage{at, end - at, has_head ? &*head : nullptr};
      if (behind.next && behind.sequence == last_.sequence + 2) damage.key = behind.previous_key;
      if (may_be_torn) damage.certain_below = std::max(found_.synced, behind.synced);
      visit.damage(damage);
    }
    if (has_head && end == reach) {
      last_.advance(*head);
      return true;
    }
    if (!behind.next) return false;
    last_.end = *behind.next;
    last_.sequence = behind.sequence - 1;
    last_.previous = behind.previous;
    return true;
  }

  /// The file was cut: it is made with zeros behind the frames. What else was there nobody knows.
  template <class Visitor>
  void cut(Visitor& visit) {
    std::uint64_t const at = std::min(last_.end, size_);
    visit.damage(journal_damage{at, size_ - at});
    found_.is_settled = false;
  }

  /// The head of the next frame, which is at the front of `front`, also where one byte of it has changed since: that is
  /// mended then.
  std::optional<frame_head> next_head(std::string& front) const {
    std::uint64_t const at = last_.end;
    if (!frame_head::may_be_one(front, last_.sequence + 1, at, last_.previous))
      return std::nullopt;  // this saves 33,000 tries
    auto const is_next = [&](auto const& head) { return head && last_.is_before(*head); };
    auto head = frame_head::decode(front, at, salt_);
    auto const try_with = [&](std::size_t place, int change) {
      char const was = front[place];
      front[place] = static_cast<char>(was ^ change);
      head = frame_head::decode(front, at, salt_);
      if (!is_next(head)) front[place] = was;
    };
    for (std::size_t bit = 0; !is_next(head) && bit < 8 * front.size(); ++bit) try_with(bit / 8, 1 << bit % 8);
    for (std::size_t one = 0; !is_next(head) && one < 255 * front.size(); ++one) {
      try_with(one / 255, static_cast<int>(one % 255) + 1);
    }
    if (!is_next(head)) return std::nullopt;
    return head;
  }

  rest look_behind(std::uint64_t at) {
    constexpr std::string_view zeros{"\0\0\0\0\0\0\0\0", 8};
    rest result{.written_end = at};
    for (std::uint64_t p = at; p < size_; p += 8) {
      auto const here = bytes(p, frame_head::fixed_size);
      auto const word = here.substr(0, 8);
      if (word == zeros.substr(0, word.size())) continue;
      result.written_end = p + word.find_last_not_of('\0') + 1;
      if (p == at || here.size() < frame_head::fixed_size || detail::number_at(here, 8) != frame_head::magic) continue;
      auto const head = head_at(p);
      if (!head || head->sequence <= last_.sequence + 1) continue;
      if (!result.next) {
        result.next = p;
        result.sequence = head->sequence;
        result.previous = head->previous;
        result.previous_key = head->previous_key;
      }
      result.synced = std::max(result.synced, head->synced);
      if (!head->is_synced) result.is_unsynced = true;
      if (head->synced <= at) continue;
      result.proves_damage = true;
      return result;
    }
    return result;
  }

  bool has_body(frame_head const& head) {
    return head.end() <= size_ && xxh64::hash(bytes(head.body_at(), head.body_size), salt_) == head.body_hash;
  }
  /// Whether some of the frame that begins at `from` was never written. A body that is as it was is all written,
  /// whatever zeros are in it; the head before it may be mended. A write that was cut off anywhere lacks the last byte.
  bool has_unwritten(std::uint64_t from, std::uint64_t to, frame_head const* head) {
    bool const has_body_still = head != nullptr && head->body_size > 0 && has_body(*head);
    if (has_body_still) to = head->body_at();
    if (head != nullptr && !has_body_still && bytes(head->body_at() + head->body_size - 1, 1) == zero) return true;
    while (from < to) {
      std::uint64_t const next = std::min(to, (from / unit + 1) * unit);
      if (bytes(from, next - from).find_first_not_of('\0') == std::string_view::npos) return true;
      from = next;
    }
    return false;
  }

  /// Whether these `size` bytes, behind which are zeros, are the beginning of a head.
  bool is_cut_short(std::string_view front, std::uint64_t size) const {
    constexpr std::uint64_t fixed = frame_head::fixed_size;
    if (size < fixed) return true;
    std::uint64_t const keys = detail::number_at(front, 80), key_size = keys & 0xffffffff;
    if (keys >> 32 != last_.key.size() || key_size > key::max_size) return false;
    return fixed + key_size + last_.key.size() > size;
  }

  std::optional<frame_head> head_at(std::uint64_t at) { return frame_head::decode(bytes(at, longest_head), at, salt_); }

  /// Up to `size` bytes, valid until the next call.
  std::string_view bytes(std::uint64_t at, std::uint64_t size) {
    std::uint64_t const left = size_ - std::min(at, size_);
    size = std::min(size, left);
    if (at < start_ || at + size > start_ + window_.size()) {
      window_ = file_.read(at, std::min(std::max(size, window_size), left), op_);
      start_ = at;
    }
    return std::string_view(window_).substr(static_cast<std::size_t>(at - start_), static_cast<std::size_t>(size));
  }

  File const& file_;
  operation const& op_;
  std::uint64_t size_, salt_;
  journal_position& last_;
  journal_found found_{};
  std::string window_;
  std::uint64_t start_ = 0;
};

}  // namespace stash::inline v1::detail
