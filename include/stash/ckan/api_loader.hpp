#pragma once

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/serializer.hpp>
#include <boost/json/string_view.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <stash/ckan/api_datastore.hpp>  // NOLINT(misc-header-include-cycle): it ends with this header
#include <stash/detail/fork.hpp>
#include <stash/detail/system/no_signals.hpp>
#include <stash/detail/system/sleep.hpp>
#include <stash/detail/text/utf8.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace stash::inline v1::ckan {

/// Adds rows to a table, in batches, of which `options.at_once` are on their way while more rows are added. They are in
/// the table when `finish` returns; without it an unknown number of them is, and `api_datastore::finish` refuses the
/// resource.
///
///     stash::ckan::api_datastore::loader rows{d, id, fields};
///     rows.add({{"1", std::nullopt}});
///     rows.finish();
///
/// No batch is sent twice unless it is known that the first one was not done: where nobody knows, the rows are counted,
/// when nothing else is on its way. So nobody else may add rows to the table meanwhile; where somebody does, or of
/// several batches that nobody knows of only some are there, `errc::indeterminate` is thrown. A site that adds a batch
/// later than `options.settle` after it went unanswered adds it twice: then `finish` finds too many rows.
///
/// Its destructor waits for what is on its way, as a fork of this process does. One thread at a time may use it.
class api_datastore::loader {
 public:
  /// For rows of `columns`, in this order, which may leave out some of the table's. `told` is called with the bytes of
  /// rows that were added so far. The datastore must outlive it. Throws what keeps the rows from being counted.
  loader(api_datastore& d, std::string_view id, fields const& columns, std::function<void(std::uint64_t)> told = {})
      : d_(d), id_(id), told_(std::move(told)), rows_there_(count()) {
    for (field const& f : columns) names_.push_back(boost::json::serialize(boost::json::value(f.id)) + ':');
    for (std::size_t i = 0; i < at_once(); ++i) sites_.push_back(d_.site_->another(d_.options_));
    begin();
  }
  loader(loader const&) = delete;
  loader& operator=(loader const&) = delete;
  ~loader() {
    if (owner_.is_current()) return;
    for (auto& one : on_its_way_) [[maybe_unused]] auto* const lost = one.release();  // no such thread in a child
  }

  /// Adds one row. nullopt is NULL; else a text, which CKAN makes what the field's type is.
  ///
  /// Throws `errc::mismatch` where there are not as many values as fields, or one is no UTF-8 or has a NUL byte: the
  /// row is not added. What the site refuses is told by this call or a later one, of the batch, by the numbers of its
  /// rows (the first one that was added is 1): none of the batch was added, and the loader is only to be destroyed.
  /// (`records_row` in CKAN's words is a number within the batch; CKAN 2.10 and 2.11 tell that of the batch's last
  /// row.)
  void add(std::span<std::optional<std::string_view> const> values) {
    if (values.size() != names_.size()) {
      refuse(std::to_string(values.size()) + " values for " + std::to_string(names_.size()) + " fields");
    }
    std::string row = rows_ == 0 ? "{" : ",{";
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i > 0) row += ',';
      row += names_[i];
      if (!values[i]) {
        row += "null";
        continue;
      }
      if (is_plain(*values[i])) {
        row.append(1, '"').append(*values[i]).append(1, '"');
        continue;
      }
      if (!stash::detail::is_utf8(*values[i]) || values[i]->find('\0') != std::string_view::npos) {
        refuse("row " + std::to_string(first_ + rows_) + ", value " + std::to_string(i + 1) + " is no text");
      }
      append_as_json(row, *values[i]);
    }
    row += '}';
    bool const is_full = rows_ == d_.options_.batch_rows || batch_.size() + row.size() > d_.options_.batch_bytes;
    require_good();
    if (rows_ > 0 && is_full) {
      send(false);
      row.erase(0, 1);
    }
    batch_ += row;
    ++rows_;
    d_.loading_.insert(id_);
    is_open_ = true;
  }

  /// On return all rows are in the table, which has been counted. More may be added then, and finished again. Throws
  /// `errc::mismatch` where their number is another.
  void finish() {
    require_good();
    if (!is_open_) return;
    send(true);
    auto const now = count_until(rows_there_);
    if (now != rows_there_) {
      refuse("the table has " + std::to_string(now) + " rows in place of " + std::to_string(rows_there_));
    }
    d_.loading_.erase(id_);
    is_open_ = false;
  }

 private:
  stash::detail::operation op() const { return {"load", id_}; }
  [[noreturn]] void refuse(std::string why) const { throw error{errc::mismatch, "load", id_, std::move(why)}; }

  /// Whether it stands in JSON as it is; most text does.
  static bool is_plain(std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return c >= ' ' && c < '\x7f' && c != '"' && c != '\\'; });
  }
  void append_as_json(std::string& to, std::string_view text) {
    serializer_.reset(boost::json::string_view(text.data(), text.size()));
    for (char piece[1024]; !serializer_.done();) {
      auto const read = serializer_.read(piece);
      to.append(read.data(), read.size());
    }
  }
  /// Waits for that many rows as long as `settle`: the site may still be at them, or count in a copy that lags behind.
  std::uint64_t count_until(std::uint64_t rows) const {
    auto const settle = detail::api_site::sane(d_.options_.settle);
    auto const until = std::chrono::steady_clock::now() + settle;
    auto now = count();
    if (now < rows)
      d_.tell(id_, "waits for rows that may be on their way, up to " + std::to_string(settle.count()) + " ms");
    for (auto pause = std::min(first_pause, settle); now < rows && std::chrono::steady_clock::now() < until;
         pause = std::min(pause * 2, longest_pause)) {
      stash::detail::sleep_for(pause);
      now = count();
    }
    return now;
  }
  std::uint64_t count() const { return detail::rows_at(*d_.site_, id_, op()); }

  struct batch {
    std::string text;
    std::uint64_t first, rows;  // the number of its first row
    int tries = 0;
    std::future<void> done{};
  };
  using batch_ptr = std::unique_ptr<batch>;

  void begin() {
    batch_ = "{\"resource_id\":" + boost::json::serialize(boost::json::value(id_)) +
             ",\"method\":\"insert\",\"force\":true,\"records\":[";
    first_ += std::exchange(rows_, 0);
  }
  void require_good() const {
    if (has_failed_) refuse("rows that were added before could not be loaded");
  }
  void send(bool is_last) {
    has_failed_ = true;
    batch_ += is_last ? "],\"calculate_record_count\":true}" : "],\"calculate_record_count\":false}";
    batch_ptr now{new batch{std::move(batch_), first_, rows_}};
    begin();
    // The last one when all others are there: it has them counted.
    while (!on_its_way_.empty() && (is_last || on_its_way_.size() >= at_once())) take();
    start(std::move(now));
    if (is_last) take();
    has_failed_ = false;
  }
  std::size_t at_once() const { return std::max<std::size_t>(d_.options_.at_once, 1); }

  void start(batch_ptr now) {
    auto& site = *sites_[started_++ % sites_.size()];  // they end in this order
    ++now->tries;
    auto const work = [this, &site, &one = *now] {
      site.call("datastore_upsert", one.text, detail::asking::once, op());
    };
    on_its_way_.push_back(std::move(now));
    auto& done = on_its_way_.back()->done;
    try {
      stash::detail::no_signals const here;  // those of the program are not for such a thread
      done = std::async(std::launch::async, work);
    } catch (std::system_error const&) {  // no more threads: then `take` does it
      done = std::async(std::launch::deferred, work);
    }
  }

  /// What batches came to, but for those that were added.
  struct outcomes {
    std::vector<batch_ptr> unknown;
    std::exception_ptr why_unknown, refused;  // of the first
  };
  /// Waits for the oldest; where it was not added, for all.
  void take() {
    owner_.require_current("load", id_, "the rows that are on their way are those of the process that forked this one");
    outcomes found;
    take_one(found);
    while (!on_its_way_.empty() && (found.refused || found.why_unknown)) take_one(found);
    if (found.refused) std::rethrow_exception(found.refused);
    if (found.why_unknown) settle(std::move(found.unknown), found.why_unknown);
  }
  void take_one(outcomes& found) {
    batch_ptr one = std::move(on_its_way_.front());
    on_its_way_.pop_front();
    try {
      one->done.get();
    } catch (error const& problem) {
      if (problem.code() == errc::indeterminate) {
        if (!found.why_unknown) found.why_unknown = std::current_exception();
        return found.unknown.push_back(std::move(one));
      }
      error told{problem.code(), "load", id_, numbers(*one) + ": " + problem.detail()};
      if (!found.refused) found.refused = std::make_exception_ptr(std::move(told));
      return;
    } catch (...) {
      if (!found.refused) found.refused = std::current_exception();
      return;
    }
    added(*one);
  }
  void added(batch const& one) {
    rows_there_ += one.rows;
    bytes_ += one.text.size();
    if (told_) told_(bytes_);
  }
  static std::string numbers(batch const& one) {
    if (one.rows == 0) return "the end";
    return "rows " + std::to_string(one.first) + " to " + std::to_string(one.first + one.rows - 1);
  }
  /// Sends again what is not there. Nothing else is on its way.
  void settle(std::vector<batch_ptr> unknown, std::exception_ptr const& why) {
    if (are_there(unknown, why)) {
      for (auto const& one : unknown) added(*one);
      return;
    }
    for (auto& one : unknown) {
      if (one->tries == most_tries) std::rethrow_exception(why);
      start(std::move(one));
      take();
    }
  }
  /// Whether these batches were added, or will be: the site may still be at it. Throws `errc::indeterminate` where the
  /// count does not tell.
  bool are_there(std::vector<batch_ptr> const& unknown, std::exception_ptr const& why) const {
    std::uint64_t all = rows_there_;
    for (auto const& one : unknown) all += one->rows;
    auto const now = count_until(all);
    if (now == rows_there_) return false;
    if (now == all) return true;
    try {
      std::rethrow_exception(why);
    } catch (error const& problem) {
      op().fail(errc::indeterminate, d_.site_->url(),
                "the table has " + std::to_string(now) + " rows, and neither " + std::to_string(rows_there_) + " nor " +
                    std::to_string(all) + ", after " + problem.detail());
    }
  }

  static constexpr int most_tries = 4;
  static constexpr std::chrono::milliseconds first_pause{200}, longest_pause{5000};

  api_datastore& d_;
  std::string id_;
  std::function<void(std::uint64_t)> told_;
  std::vector<std::string> names_;                               // as JSON, with the colon
  std::uint64_t rows_there_, first_ = 1, rows_ = 0, bytes_ = 0;  // `first_`: the number of the batch's first row
  boost::json::serializer serializer_;
  std::string batch_;
  bool is_open_ = true, has_failed_ = false;
  std::vector<std::unique_ptr<detail::api_site>> sites_;  // a connection for each that is on its way
  std::size_t started_ = 0;
  std::deque<batch_ptr> on_its_way_;  // the oldest first; destroyed before what it uses
  stash::detail::owned_by_process owner_;
};

}  // namespace stash::inline v1::ckan
