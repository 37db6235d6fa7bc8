#pragma once

#include <span>
#include <stash/testing/checks/check.hpp>
#include <stash/testing/checks/locks.hpp>
#include <stash/testing/checks/optional_members.hpp>
#include <stash/testing/checks/processes.hpp>
#include <stash/testing/checks/records.hpp>
#include <stash/testing/checks/set_aside.hpp>
#include <stash/testing/checks/stash.hpp>
#include <stash/testing/checks/tools.hpp>
#include <stash/testing/conformance_report.hpp>
#include <stash/testing/failing_storage.hpp>
#include <string_view>

namespace stash::inline v1::testing {

/// What every storage promises (`storage_policy` in concepts.hpp), as a list of checks that a storage of your own
/// can be put through, with any test framework or none.
///
///     struct my_files {
///       my_storage fresh() { return my_storage{directory = make_empty_directory()}; }
///       my_storage again() { return my_storage{directory}; }  // where another process can use the records too
///       std::string directory;
///     };
///     my_files factory;
///     auto const report = stash::testing::check_storage(factory);
///     std::cout << report;  // a line for each check that did not pass
///     return report.conforms() ? 0 : 1;
///
/// The checks call the storage as the library does, with the key's lock where it is due. The storage must take
/// payloads of 500 KB, every time_point, and a reason of any bytes. No check loops without a bound; where each put
/// waits for a disk, they take some ten seconds. Some fork: run them where no other thread is at work and SIGCHLD is
/// not ignored.
///
/// They cannot see, and the storage's own tests must show: that a record survives what the storage says; that
/// damage is `errc::corrupt`, a newer version `errc::mismatch`, a payload over the cap `errc::too_large`; that a
/// `put` that fails leaves what stood there; that a `sweep` finds leftovers.
template <storage_factory Factory>
class storage_conformance {
  using base = detail::conformance_base<Factory>;
  using records = detail::record_checks<Factory>;
  using aside = detail::set_aside_checks<Factory>;
  using locks = detail::lock_checks<Factory>;
  using processes = detail::process_checks<Factory>;
  using optional_members = detail::optional_member_checks<Factory>;
  using stashes = detail::stash_checks<Factory>;

 public:
  /// One of them.
  using check = conformance_check<Factory>;

  /// All of them; each can be run alone, in any order. In static storage.
  static std::span<check const> checks() {
    static constexpr std::string_view again = "again()";
    static constexpr check all[] = {
        {"a_fresh_storage_is_empty", "fresh", records::a_fresh_storage_is_empty},
        {"what_is_put_is_got_until_replaced", "put, get", records::what_is_put_is_got_until_replaced},
        {"any_payload_comes_back", "get: the record", records::any_payload_comes_back},
        {"any_time_comes_back", "get: the record", records::any_time_comes_back},
        {"every_key_has_a_record_of_its_own", "put, get", records::every_key_has_a_record_of_its_own},
        {"a_long_key_is_served_or_invalid", "put: throws errc::invalid_key", records::a_long_key_is_served_or_invalid},
        {"erase_tells_and_is_idempotent", "erase: was there one? Idempotent", records::erase_tells_and_is_idempotent},
        {"entries_tell_all_by_key", "entries: all that stands under keys", records::entries_tell_all_by_key},
        {"puts_from_many_threads_all_arrive", "called from many threads", records::puts_from_many_threads_all_arrive},
        {"readers_see_old_or_new", "called from many threads", records::readers_see_old_or_new},
        {"a_moved_storage_keeps_its_records", "movable", records::a_moved_storage_keeps_its_records},
        {"what_is_set_aside_is_no_record", "set_aside: out of the way", aside::what_is_set_aside_is_no_record},
        {"setting_aside_replaces_nothing", "set_aside: never onto anything", aside::setting_aside_replaces_nothing},
        {"setting_aside_nothing_is_enoent", "set_aside: throws ENOENT", aside::setting_aside_nothing_is_enoent},
        {"any_key_and_reason_is_set_aside", "set_aside, set_aside_entries", aside::any_key_and_reason_is_set_aside},
        {"purge_destroys_all_and_no_record", "purge: what was set aside; how many",
         aside::purge_destroys_all_and_no_record},
        {"purge_leaves_what_is_too_young", "purge: at least so long ago", aside::purge_leaves_what_is_too_young},
        {"purge_destroys_what_is_old_enough", "purge: at least so long ago", aside::purge_destroys_what_is_old_enough},
        {"a_lock_excludes_all_others_of_its_key", "try_lock: exclusive", locks::a_lock_excludes_all_others_of_its_key},
        {"locks_of_different_keys_do_not_meet", "try_lock: the key's lock", locks::locks_of_different_keys_do_not_meet},
        {"a_lock_ends_with_its_object", "lock: its destructor releases", locks::a_lock_ends_with_its_object},
        {"a_moved_lock_is_held_once", "lock: movable", locks::a_moved_lock_is_held_once},
        {"an_assigned_lock_is_held_once", "lock: movable", locks::an_assigned_lock_is_held_once},
        {"a_lock_outlives_a_move_of_its_storage", "movable", locks::a_lock_outlives_a_move_of_its_storage},
        {"of_many_threads_one_has_the_lock", "try_lock: exclusive among threads",
         locks::of_many_threads_one_has_the_lock},
        {"a_forked_child_neither_has_nor_takes_a_lock", "held", locks::a_forked_child_neither_has_nor_takes_a_lock},
        {"records_outlive_their_object", "again: the records", processes::records_outlive_their_object, base::has_again,
         again},
        {"another_object_sees_each_change", "again: the records", processes::another_object_sees_each_change,
         base::has_again, again},
        {"another_objects_readers_see_old_or_new", "put, get", processes::other_readers_see_old_or_new, base::has_again,
         again},
        {"a_lock_excludes_another_object", "try_lock: exclusive", processes::a_lock_excludes_another_object,
         base::has_again, again},
        {"another_process_sees_each_change", "again: the records", processes::another_process_sees_each_change,
         base::has_again, again},
        {"a_lock_excludes_another_process", "try_lock: processes", processes::a_lock_excludes_another_process,
         base::has_again, again},
        {"a_lock_ends_with_its_process", "try_lock: processes", processes::a_lock_ends_with_its_process,
         base::has_again, again},
        {"reads_create_nothing", "get, entries: creates nothing", optional_members::reads_create_nothing,
         base::has_exists, "exists()"},
        {"sweep_removes_no_record", "sweep: removes such leftovers", optional_members::sweep_removes_no_record,
         base::has_sweep, "sweep()"},
        {"check_agrees_with_put", "check: where put would refuse", optional_members::check_agrees_with_put,
         base::has_check, "check()"},
        {"where_names_a_place", "where: where a person finds it", optional_members::where_names_a_place,
         base::has_where, "where()"},
        {"all_that_are_put_together_are_got", "put_all: put for each", optional_members::all_put_together,
         base::has_put_all, "put_all()"},
        {"all_that_are_erased_together_are_gone", "erase_all: erase for each", optional_members::all_erased,
         base::has_erase_all, "erase_all()"},
        {"all_that_are_locked_together_exclude_others", "try_lock_all: try_lock for each", optional_members::all_locked,
         base::has_try_lock_all, "try_lock_all()"},
        {"a_stash_saves_loads_and_clears", "basic_stash", stashes::a_stash_saves_loads_and_clears},
        {"a_committed_guard_leaves_no_record", "delete_guard", stashes::a_committed_guard_leaves_no_record},
        {"a_guard_that_is_left_restores_once", "delete_guard", stashes::a_guard_that_is_left_restores_once},
        {"a_guard_adopts_what_was_left", "delete_guard", stashes::a_guard_adopts_what_was_left},
        {"a_guard_sets_aside_what_is_superseded", "delete_guard", stashes::a_guard_sets_aside_what_is_superseded},
        {"a_second_guard_is_busy", "delete_guard", stashes::a_second_guard_is_busy},
        {"recover_restores_orphans_only", "recover", stashes::recover_restores_orphans_only},
    };
    return all;
  }
};

/// Runs every check that applies and tells what became of it. Throws only for lack of memory.
template <storage_factory Factory>
conformance_report check_storage(Factory& factory) {
  return stash::detail::run_checks<Factory>(storage_conformance<Factory>::checks(), factory);
}

}  // namespace stash::inline v1::testing
