#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stash/detail/journal/format.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Where in a journal a record stands: a whole frame, or bytes that are damaged.
struct journal_place {
  std::uint64_t at = 0, size = 0;  ///< of the frame; size 0: there is no record
  std::uint64_t bytes = 0;         ///< of the payload
  time_point saved_at{};
  bool is_corrupt = false;
};

inline journal_place place_of(frame_head const& head) noexcept {
  return {head.offset, head.frame_size(), head.body_size, head.saved_at, head.kind == frame_kind::corrupt};
}

struct kept_record {
  stash::key key;
  time_point when;  ///< it was set aside
  journal_place place{};
};
using kept_records = std::map<std::string, kept_record, std::less<>>;  // by name

/// What a journal's frames say, one after the other. `put`, `erase`, `keep` and `forget` do not throw where `reserve`
/// was called for the key since.
class journal_index {
 public:
  std::unordered_map<key, journal_place> const& records() const noexcept { return records_; }
  kept_records const& kept() const noexcept { return kept_; }
  /// Bytes about which nobody knows which keys they concern.
  struct unknown_damage {
    journal_place place;
    std::uint64_t certain_below;  ///< what stands between this and the place is doubtful
  };
  std::vector<unknown_damage> const& unknown() const noexcept { return unknown_; }
  bool is_doubtful(journal_place const& place) const noexcept {
    return std::ranges::any_of(unknown_, [&](unknown_damage const& one) {
      return place.at == 0 || (one.certain_below <= place.at && place.at < one.place.at);
    });
  }
  std::uint64_t live_bytes() const noexcept { return live_bytes_; }

  /// nullopt: there is no record. Corrupt where it is, and where it may have been replaced by bytes that are damaged.
  std::optional<journal_place> find(key const& k) const {
    auto const row = records_.find(k);
    if (row == records_.end() || is_doubtful(row->second)) return doubtful(row);
    if (row->second.size == 0) return std::nullopt;
    return row->second;
  }

  void reserve(key const& k) { records_.try_emplace(k); }

  void put(key const& k, journal_place const& place) {
    journal_place& row = records_[k];
    live_bytes_ += place.size - row.size;
    row = place;
  }
  /// `at`: of the frame that says so.
  void erase(key const& k, std::uint64_t at) {
    put(k, {.at = at});
    if (unknown_.empty()) records_.erase(k);  // else the row says that no record is certain
  }
  /// `name` and the row for it in `row`, which is empty afterwards; what stands under the key becomes it.
  void keep(kept_records& row, std::uint64_t at) {
    auto& one = row.begin()->second;
    one.place = kept_place(one.key).value_or(journal_place{});
    live_bytes_ += one.place.size;
    key const& k = one.key;
    kept_.merge(row);
    erase(k, at);
  }
  void add_kept(std::string name, kept_record one) {
    live_bytes_ += one.place.size;
    kept_.insert_or_assign(std::move(name), std::move(one));
  }
  bool forget(std::string_view name) {
    auto const found = kept_.find(name);
    if (found == kept_.end()) return false;
    live_bytes_ -= found->second.place.size;
    kept_.erase(found);
    return true;
  }

  /// Whether, once `names` are forgotten, nothing is left of the damage about unknown keys: it was set aside, no record
  /// that it made doubtful stands, and these were all of it.
  bool ends_damage(std::vector<std::string> const& names) const {
    auto const is_of_it = [&](kept_records::value_type const& row) {
      return std::ranges::any_of(unknown_, [&](auto const& one) { return one.place.at == row.second.place.at; });
    };
    auto const is_named = [&](kept_records::value_type const& row) {
      return std::ranges::find(names, row.first) != names.end();
    };
    return std::ranges::any_of(kept_, [&](auto const& row) { return is_named(row) && is_of_it(row); }) &&
           std::ranges::none_of(kept_, [&](auto const& row) { return !is_named(row) && is_of_it(row); }) &&
           std::ranges::none_of(records_,
                                [&](auto const& row) { return row.second.size != 0 && is_doubtful(row.second); });
  }
  /// What a purge names: what was set aside, or `unknown_key`, the damage about unknown keys. Whether the former was
  /// there.
  bool purge(std::string_view name) {
    if (name != unknown_key) return forget(name);
    for (auto const& one : unknown_) live_bytes_ -= one.place.size;
    unknown_.clear();
    std::erase_if(records_, [](auto const& row) { return row.second.size == 0; });
    return false;
  }

  /// The record of `k`, or what took its place, is damaged. An earlier one may be all that is left, and is kept.
  void damage(key const& k, journal_place const& place) {
    auto const row = records_.find(k);
    if (row != records_.end() && row->second.size != 0) {
      auto const when = row->second.saved_at;
      add_kept(detail::kept_name(k, "damaged", when, place.at), {k, when, row->second});
    }
    put(k, place);
  }
  void damage(journal_place const& place, std::uint64_t certain_below) {
    unknown_.push_back({place, certain_below});
    live_bytes_ += place.size;
  }

 private:
  using rows = std::unordered_map<key, journal_place>;

  std::optional<journal_place> doubtful(rows::const_iterator row) const {
    if (unknown_.empty()) return std::nullopt;
    journal_place place = row == records_.end() || row->second.size == 0 ? unknown_.back().place : row->second;
    place.is_corrupt = true;
    return place;
  }
  /// The bytes of a doubtful record itself, which are whole.
  std::optional<journal_place> kept_place(key const& k) const {
    auto const row = records_.find(k);
    if (row != records_.end() && row->second.size != 0) return row->second;
    return find(k);
  }

  rows records_;
  kept_records kept_;
  std::vector<unknown_damage> unknown_;
  std::uint64_t live_bytes_ = 0;
};

}  // namespace stash::inline v1::detail
