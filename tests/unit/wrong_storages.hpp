// Storages that are wrong in one way each, and which check of the conformance suite sees it.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <span>
#include <stash/testing/storage_conformance.hpp>
#include <thread>
#include <utility>

#include "support.hpp"

namespace wrong_storages {

using namespace std::chrono_literals;
using stash::entry;
using stash::key;
using stash::record;

/// What one wrong storage is wrong in. The empty one is right.
class fault {
 public:
  fault(std::string_view name) : name_(name) {}
  bool is(std::string_view name) const { return name_ == name; }

 private:
  std::string_view name_;
};

/// What all objects of one wrong storage share.
template <class Base>
struct common {
  explicit common(Base b) : base(std::move(b)) {}
  Base base;
  pid_t process = ::getpid();
  std::mutex mutex;
  std::map<key, record> aside;
  std::vector<std::weak_ptr<std::optional<typename Base::lock_type>>> locks;
  std::vector<std::shared_ptr<void>> never_released;
  std::atomic<bool> putting{false}, locked{false};
  std::atomic<int> stamps{0}, objects{0};
};

template <class Base>
class wrong_lock {
 public:
  using inner = std::optional<typename Base::lock_type>;

  /// `token` stands for the lock where the base's own is not used.
  wrong_lock(fault f, std::shared_ptr<common<Base>> all, std::shared_ptr<inner> lock, std::shared_ptr<void> token = {})
      : fault_(f), all_(std::move(all)), lock_(std::move(lock)), token_(std::move(token)) {}
  wrong_lock(wrong_lock&& other) noexcept : fault_(other.fault_), all_(other.all_) { take(other); }
  wrong_lock& operator=(wrong_lock&& other) noexcept {
    if (fault_.is("assigning_a_lock_keeps_the_old")) all_->never_released.push_back(lock_);
    release();
    take(other);
    if (fault_.is("assigning_a_lock_drops_it")) release();
    return *this;
  }
  ~wrong_lock() {
    if (fault_.is("locks_are_never_released")) all_->never_released.push_back(lock_);
    if (fault_.is("moved_from_locks_release") && lock_) lock_->reset();
  }
  bool held() const {
    if (fault_.is("held_is_always_true")) return true;
    if (fault_.is("held_is_never_true") || moved_from_) return false;
    if (fault_.is("held_is_true_in_a_child")) return true;
    if (fault_.is("try_lock_always_succeeds")) return true;
    if (token_) return process_ == ::getpid();
    return lock_ && *lock_ && (*lock_)->held();
  }

 private:
  void release() {
    lock_.reset();
    token_.reset();
  }
  void take(wrong_lock& other) {
    moved_from_ = std::exchange(other.moved_from_, true);
    process_ = other.process_;
    token_ = std::move(other.token_);
    lock_ = fault_.is("moved_from_locks_release") ? other.lock_ : std::move(other.lock_);
  }

  fault fault_;
  std::shared_ptr<common<Base>> all_;
  std::shared_ptr<inner> lock_;
  std::shared_ptr<void> token_;
  pid_t process_ = ::getpid();
  bool moved_from_ = false;
};

/// `Base`, but for one fault.
template <class Base>
class wrong {
 public:
  using lock_type = wrong_lock<Base>;

  wrong(fault f, std::shared_ptr<common<Base>> all) : fault_(f), all_(std::move(all)), object_(++all_->objects) {}
  wrong(wrong&& other) : fault_(other.fault_), all_(other.all_), object_(other.object_), seen_(other.seen_) {
    other.moved_from_ = true;
    moved();
  }
  wrong& operator=(wrong&& other) {
    fault_ = other.fault_;
    all_ = other.all_;
    object_ = other.object_;
    seen_ = other.seen_;
    moved_from_ = std::exchange(other.moved_from_, true);
    return *this;
  }
  ~wrong() {
    if (is("records_end_with_their_object") && !moved_from_) erase_all();
  }

  void put(key const& k, record r) {
    if (is("put_forgets") || (is("put_keeps_the_first") && base().get(k))) return;
    if (is("put_forgets_in_a_child") && ::getpid() != all_->process) return;
    if (is("put_refuses_long_keys_as_too_large") && k.str().size() > 199)
      throw stash::error{stash::errc::too_large, "put"};
    if (is("put_stops_at_nul")) r.payload.resize(std::min(r.payload.find('\0'), r.payload.size()));
    if (is("put_stops_at_64_kb")) r.payload.resize(std::min<std::size_t>(r.payload.size(), 65'535));
    if (is("put_ends_lines_for_windows")) replace(r.payload, "\r\n", "\n");
    if (is("put_loses_microseconds")) r.saved_at = std::chrono::time_point_cast<std::chrono::milliseconds>(r.saved_at);
    if (is("put_loses_times_before_1970")) r.saved_at = std::max(r.saved_at, stash::time_point{});
    if (is("put_stamps_the_time_itself")) r.saved_at += ++all_->stamps * 1us;
    if (is("put_tears")) tear(k, r);
    if (is("put_loses_when_two_put")) return put_alone(k, r);
    base().put(at(k), r);
    if (is("each_object_caches")) seen_[k] = r;
  }

  std::optional<record> get(key const& k) const {
    if (is("get_is_stale") || is("each_object_caches")) return cached(k);
    if (is("get_creates") && !base().get(k)) {
      base().put(k, {});
      base().erase(k);
    }
    if (is("get_finds_what_was_set_aside") && !base().get(k) && all_->aside.contains(k)) return all_->aside.at(k);
    return base().get(at(k));
  }

  bool erase(key const& k) {
    if (is("erase_forgets")) return base().get(k).has_value();
    if (is("erase_throws_where_nothing_is") && !base().get(k)) throw stash::error{support::os(ENOENT), "erase"};
    if (is("erase_takes_a_pattern") && k == "%") erase_all();
    bool const was_there = base().erase(at(k));
    return is("erase_always_tells_true") || (was_there && !is("erase_always_tells_false"));
  }

  std::vector<entry> entries() const {
    auto found = base().entries();
    if (is("entries_are_not_ordered")) std::reverse(found.begin(), found.end());
    if (is("entries_fold_case_in_their_order")) std::sort(found.begin(), found.end(), by_folded_key);
    if (is("entries_end_at_100") && found.size() > 100) found.resize(100, found.front());
    if (is("entries_lack_the_last") && !found.empty()) found.pop_back();
    if (is("entries_have_what_was_set_aside")) append(found, base().set_aside_entries());
    return spoiled(std::move(found), "entries");
  }

  std::string set_aside(key const& k, std::string_view reason) {
    auto const r = base().get(k);
    if (!r && is("setting_aside_nothing_succeeds")) return "nowhere";
    if (!r && is("setting_aside_nothing_is_eio")) throw stash::error{support::os(EIO), "set_aside"};
    if (r) all_->aside.insert_or_assign(k, *r);
    if (is("set_aside_replaces_the_last")) base().purge(0us);
    if (is("set_aside_needs_a_reason") && reason.empty()) throw stash::error{support::os(EINVAL), "set_aside"};
    if (is("set_aside_destroys") && r) return base().erase(k), "nowhere";
    auto const where = base().set_aside(k, reason);
    if (is("set_aside_copies")) base().put(k, *r);
    return is("set_aside_tells_another_place") ? where + "x" : is("set_aside_tells_one_place") ? "aside" : where;
  }

  std::vector<entry> set_aside_entries() const {
    auto found = base().set_aside_entries();
    if (is("set_aside_entries_name_another_key")) {
      for (auto& e : found) e.key = "k";
    }
    return spoiled(std::move(found), "set_aside_entries");
  }

  std::size_t purge(std::chrono::microseconds older_than) {
    if (is("purge_ignores_age")) return base().purge(0us);
    if (is("purge_of_zero_is_none") && older_than <= 0us) return 0;
    if (is("purge_of_less_than_zero_is_none") && older_than < 0us) return 0;
    if (is("purge_counts_in_seconds") && older_than > 0us)
      older_than = std::chrono::ceil<std::chrono::seconds>(older_than);
    if (is("purge_goes_by_saved_at") && has_saved_before(stash::time_point{} + 1h)) return base().purge(0us);
    if (is("purge_destroys_records")) erase_all();
    auto const destroyed = base().purge(older_than);
    return is("purge_counts_one") ? std::min<std::size_t>(destroyed, 1) : destroyed;
  }

  std::optional<lock_type> try_lock(key const& k) {
    if (is("locks_are_markers")) return marker(k);
    if (is("locks_race")) return race();
    auto found = base().try_lock(locked_as(k));
    if (!found && !is("try_lock_always_succeeds")) return std::nullopt;
    auto lock = std::make_shared<typename lock_type::inner>(std::move(found));
    if (is("moving_the_storage_ends_its_locks")) all_->locks.push_back(lock);
    return lock_type{fault_, all_, lock};
  }

  bool exists() const requires requires(Base const& b) { b.exists(); }
  { return base().exists() && !is("exists_is_never_true"); }
  std::vector<key> temporaries() const requires requires(Base const& b) { b.temporaries(); }
  { return base().temporaries(); }
  void sweep(key const& k) requires requires(Base& b) { b.sweep(k); }
  {
    if (is("sweep_erases")) base().erase(k);
    if (is("sweep_purges")) base().purge(0us);
    base().sweep(k);
  }
  void check(key const& k, record const& r) const requires requires(Base const& b) { b.check(k, r); }
  {
    if (is("check_refuses_nothing")) return;
    if (is("check_refuses_all")) throw stash::error{stash::errc::too_large, "check"};
    base().check(k, r);
  }
  std::string where(key const& k) const requires requires(Base const& b) { b.where(k); }
  { return is("where_is_empty") ? std::string{} : base().where(k); }
  void put_all(std::span<std::pair<key, record> const> all) requires requires(Base& b) { b.put_all(all); }
  { base().put_all(is("put_all_forgets_one") && !all.empty() ? all.subspan(1) : all); }
  void erase_all(std::span<key const> all) requires requires(Base& b) { b.erase_all(all); }
  { base().erase_all(is("erase_all_forgets_one") && !all.empty() ? all.subspan(1) : all); }
  void try_lock_all(std::span<key const> all, std::vector<lock_type>& locks) requires
      requires(Base& b, std::vector<typename Base::lock_type>& inner) {
    b.try_lock_all(all, inner);
  }
  {
    for (auto const& k : all) {
      auto one = try_lock(k);
      if (one) locks.push_back(std::move(*one));
      if (!one && !is("try_lock_all_goes_past_a_busy_one")) return;
    }
  }

 private:
  bool is(std::string_view name) const { return fault_.is(name); }
  Base& base() const { return all_->base; }

  static std::string folded(std::string_view text) {
    std::string result(text);
    for (char& c : result) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return result;
  }
  static bool by_folded_key(entry const& a, entry const& b) {
    return std::pair(folded(a.key), b.key) < std::pair(folded(b.key), a.key);
  }
  static void replace(std::string& text, std::string_view what, std::string_view by) {
    for (std::size_t i = 0; (i = text.find(what, i)) != text.npos; i += by.size()) text.replace(i, what.size(), by);
  }
  static void append(std::vector<entry>& to, std::vector<entry> const& more) {
    to.insert(to.end(), more.begin(), more.end());
  }

  key at(key const& k) const {
    std::string text(k.str());
    if (is("keys_fold_case")) text = folded(text);
    if (is("keys_are_trimmed") && text.size() > 1 && text.back() == ' ') text.pop_back();
    if (is("keys_are_numbers") && text.find_first_not_of("0123456789.") == text.npos)
      text = std::to_string(std::stod(text));
    if (is("keys_are_cut")) text.resize(std::min<std::size_t>(text.size(), 199));
    if (is("keys_are_composed") && text == "e\xcc\x81") text = "\xc3\xa9";
    return text;
  }
  key locked_as(key const& k) const {
    if (is("one_lock_for_all")) return "one";
    if (is("each_thread_has_locks")) return std::string(k.str().substr(0, 100)) + thread_name();
    if (is("each_object_has_locks")) return std::string(k.str().substr(0, 100)) + ' ' + std::to_string(object_);
    if (is("each_process_has_locks")) return std::string(k.str().substr(0, 100)) + ' ' + std::to_string(::getpid());
    return k;
  }
  static std::string thread_name() { return std::to_string(std::hash<std::thread::id>{}(std::this_thread::get_id())); }

  void moved() {
    if (is("a_move_loses_the_records")) erase_all();
    for (auto const& one : all_->locks) {
      if (auto const lock = one.lock()) lock->reset();
    }
  }
  void erase_all() const {
    for (auto const& e : base().entries()) base().erase(e.key);
  }
  void tear(key const& k, record const& r) {
    auto const old = base().get(k);
    if (!old) return;
    base().put(k, {r.payload.substr(0, 10) + old->payload.substr(10), r.saved_at});
    std::this_thread::sleep_for(1ms);
  }
  void put_alone(key const& k, record const& r) {
    if (all_->putting.exchange(true)) return;
    std::this_thread::sleep_for(1ms);
    base().put(k, r);
    all_->putting = false;
  }
  std::optional<record> cached(key const& k) const {
    std::lock_guard const only{all_->mutex};
    if (!seen_[k]) seen_[k] = base().get(k);
    return seen_[k];
  }
  std::vector<entry> spoiled(std::vector<entry> list, std::string const& of) const {
    for (auto& e : list) {
      if (is(of + "_tell_no_size")) e.bytes = 0;
      if (is(of + "_tell_no_time")) e.saved_at.reset();
      if (is(of + "_say_corrupt")) e.state = stash::record_state::corrupt;
    }
    return list;
  }
  bool has_saved_before(stash::time_point t) const {
    auto const list = base().set_aside_entries();
    return std::any_of(list.begin(), list.end(), [&](entry const& e) { return e.saved_at < t; });
  }
  /// A record that says "locked": whoever drops it unlocks, in a child too, and who dies leaves it.
  std::optional<lock_type> marker(key const& k) {
    key const name = std::string(k.str()) + " is locked";
    if (base().get(name)) return std::nullopt;
    base().put(name, {});
    return lock_type{fault_, all_, nullptr, {all_.get(), [all = all_, name](void*) { all->base.erase(name); }}};
  }
  /// Looks and takes in two steps.
  std::optional<lock_type> race() {
    if (all_->locked) return std::nullopt;
    std::this_thread::sleep_for(1ms);
    all_->locked = true;
    return lock_type{fault_, all_, nullptr, {all_.get(), [all = all_](void*) { all->locked = false; }}};
  }

  fault fault_;
  std::shared_ptr<common<Base>> all_;
  int object_;
  mutable std::map<key, std::optional<record>> seen_;
  bool moved_from_ = false;
};

/// Makes storages that are as `Inner` makes them, but for one fault.
template <class Inner>
struct wrong_ones {
  using base = decltype(std::declval<Inner&>().fresh());

  explicit wrong_ones(std::string_view name) : wrong_in(name) {}
  wrong<base> fresh() {
    if (!all || !wrong_in.is("fresh_is_not_fresh")) all = std::make_shared<common<base>>(inner.fresh());
    return {wrong_in, all};
  }
  wrong<base> again() requires stash::testing::reopening_factory<Inner> { return {wrong_in, all}; }

  fault wrong_in;
  Inner inner{};
  std::shared_ptr<common<base>> all{};
};

struct twin {
  std::string_view wrong_in;
  std::string_view seen_by;
};
inline constexpr twin twins[] = {
    {"fresh_is_not_fresh", "a_fresh_storage_is_empty"},
    {"put_forgets", "what_is_put_is_got_until_replaced"},
    {"put_keeps_the_first", "what_is_put_is_got_until_replaced"},
    {"get_is_stale", "what_is_put_is_got_until_replaced"},
    {"put_stops_at_nul", "any_payload_comes_back"},
    {"put_stops_at_64_kb", "any_payload_comes_back"},
    {"put_ends_lines_for_windows", "any_payload_comes_back"},
    {"put_loses_microseconds", "any_time_comes_back"},
    {"put_loses_times_before_1970", "any_time_comes_back"},
    {"keys_fold_case", "every_key_has_a_record_of_its_own"},
    {"keys_are_trimmed", "every_key_has_a_record_of_its_own"},
    {"keys_are_numbers", "every_key_has_a_record_of_its_own"},
    {"keys_are_cut", "every_key_has_a_record_of_its_own"},
    {"keys_are_composed", "every_key_has_a_record_of_its_own"},
    {"erase_takes_a_pattern", "every_key_has_a_record_of_its_own"},
    {"put_refuses_long_keys_as_too_large", "a_long_key_is_served_or_invalid"},
    {"erase_always_tells_true", "erase_tells_and_is_idempotent"},
    {"erase_always_tells_false", "erase_tells_and_is_idempotent"},
    {"erase_throws_where_nothing_is", "erase_tells_and_is_idempotent"},
    {"erase_forgets", "erase_tells_and_is_idempotent"},
    {"entries_are_not_ordered", "entries_tell_all_by_key"},
    {"entries_fold_case_in_their_order", "entries_tell_all_by_key"},
    {"entries_lack_the_last", "entries_tell_all_by_key"},
    {"entries_tell_no_size", "entries_tell_all_by_key"},
    {"entries_tell_no_time", "entries_tell_all_by_key"},
    {"entries_say_corrupt", "entries_tell_all_by_key"},
    {"entries_end_at_100", "puts_from_many_threads_all_arrive"},
    {"put_loses_when_two_put", "puts_from_many_threads_all_arrive"},
    {"put_tears", "readers_see_old_or_new"},
    {"a_move_loses_the_records", "a_moved_storage_keeps_its_records"},
    {"set_aside_copies", "what_is_set_aside_is_no_record"},
    {"set_aside_destroys", "what_is_set_aside_is_no_record"},
    {"entries_have_what_was_set_aside", "what_is_set_aside_is_no_record"},
    {"get_finds_what_was_set_aside", "what_is_set_aside_is_no_record"},
    {"set_aside_replaces_the_last", "setting_aside_replaces_nothing"},
    {"set_aside_tells_another_place", "setting_aside_replaces_nothing"},
    {"set_aside_tells_one_place", "setting_aside_replaces_nothing"},
    {"set_aside_entries_tell_no_size", "setting_aside_replaces_nothing"},
    {"set_aside_entries_tell_no_time", "setting_aside_replaces_nothing"},
    {"set_aside_entries_say_corrupt", "setting_aside_replaces_nothing"},
    {"setting_aside_nothing_succeeds", "setting_aside_nothing_is_enoent"},
    {"setting_aside_nothing_is_eio", "setting_aside_nothing_is_enoent"},
    {"set_aside_needs_a_reason", "any_key_and_reason_is_set_aside"},
    {"set_aside_entries_name_another_key", "any_key_and_reason_is_set_aside"},
    {"purge_of_zero_is_none", "purge_destroys_all_and_no_record"},
    {"purge_of_less_than_zero_is_none", "purge_destroys_all_and_no_record"},
    {"purge_counts_one", "purge_destroys_all_and_no_record"},
    {"purge_destroys_records", "purge_destroys_all_and_no_record"},
    {"purge_ignores_age", "purge_leaves_what_is_too_young"},
    {"purge_goes_by_saved_at", "purge_leaves_what_is_too_young"},
    {"purge_counts_in_seconds", "purge_destroys_what_is_old_enough"},
    {"try_lock_always_succeeds", "a_lock_excludes_all_others_of_its_key"},
    {"each_thread_has_locks", "a_lock_excludes_all_others_of_its_key"},
    {"held_is_never_true", "a_lock_excludes_all_others_of_its_key"},
    {"one_lock_for_all", "locks_of_different_keys_do_not_meet"},
    {"locks_are_never_released", "a_lock_ends_with_its_object"},
    {"held_is_always_true", "a_moved_lock_is_held_once"},
    {"moved_from_locks_release", "a_moved_lock_is_held_once"},
    {"assigning_a_lock_keeps_the_old", "an_assigned_lock_is_held_once"},
    {"assigning_a_lock_drops_it", "an_assigned_lock_is_held_once"},
    {"moving_the_storage_ends_its_locks", "a_lock_outlives_a_move_of_its_storage"},
    {"locks_race", "of_many_threads_one_has_the_lock"},
    {"held_is_true_in_a_child", "a_forked_child_neither_has_nor_takes_a_lock"},
    {"locks_are_markers", "a_forked_child_neither_has_nor_takes_a_lock"},
    {"records_end_with_their_object", "records_outlive_their_object"},
    {"each_object_caches", "another_object_sees_each_change"},
    {"put_tears", "another_objects_readers_see_old_or_new"},
    {"each_object_has_locks", "a_lock_excludes_another_object"},
    {"put_forgets_in_a_child", "another_process_sees_each_change"},
    {"each_process_has_locks", "a_lock_excludes_another_process"},
    {"locks_are_markers", "a_lock_ends_with_its_process"},
    {"get_creates", "reads_create_nothing"},
    {"exists_is_never_true", "reads_create_nothing"},
    {"sweep_erases", "sweep_removes_no_record"},
    {"sweep_purges", "sweep_removes_no_record"},
    {"check_refuses_all", "check_agrees_with_put"},
    {"check_refuses_nothing", "check_agrees_with_put"},
    {"where_is_empty", "where_names_a_place"},
    {"put_all_forgets_one", "all_that_are_put_together_are_got"},
    {"erase_all_forgets_one", "all_that_are_erased_together_are_gone"},
    {"try_lock_all_goes_past_a_busy_one", "all_that_are_locked_together_exclude_others"},
    {"erase_forgets", "a_stash_saves_loads_and_clears"},
    {"erase_forgets", "a_committed_guard_leaves_no_record"},
    {"erase_forgets", "a_guard_that_is_left_restores_once"},
    {"put_stamps_the_time_itself", "a_guard_adopts_what_was_left"},
    {"set_aside_destroys", "a_guard_sets_aside_what_is_superseded"},
    {"try_lock_always_succeeds", "a_second_guard_is_busy"},
    {"entries_lack_the_last", "recover_restores_orphans_only"},
};

}  // namespace wrong_storages
