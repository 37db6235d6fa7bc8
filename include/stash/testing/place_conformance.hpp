#pragma once

#include <span>
#include <stash/testing/checks/check.hpp>
#include <stash/testing/checks/guarded_places.hpp>
#include <stash/testing/checks/places.hpp>
#include <stash/testing/conformance_report.hpp>
#include <string_view>

namespace stash::inline v1::testing {

/// What every place promises (`place_policy` in concepts.hpp), as a list of checks that a place of your own (an S3
/// prefix, a volume, a table of another database) can be put through, with any test framework or none.
///
///     struct my_prefixes {
///       my_prefix fresh() { return my_prefix{bucket, name = random_name()}; }
///       my_prefix again() { return my_prefix{bucket, name}; }
///       void build(std::string const& words) { bucket.put(name + "/words", words); }
///       std::optional<std::string> found() { return bucket.get(name + "/words"); }
///       std::string name;
///     };
///     my_prefixes factory;
///     auto const report = stash::testing::check_place(factory);
///     std::cout << report;  // a line for each check that did not pass
///     return report.conforms() ? 0 : 1;
///
/// They call the place as a `replace_guard` does. One forks: run it where no other thread is at work and SIGCHLD is not
/// ignored.
///
/// They cannot see, and the place's own tests must show: that each step is durable, and one step; that a step which
/// fails, or whose process dies in it, leaves the old one whole; what `settle` carries over, and that it throws where
/// it cannot.
template <place_factory Factory>
class place_conformance {
  using places = stash::detail::place_checks_list<Factory>;
  using guarded = stash::detail::guarded_place_checks<Factory>;

 public:
  /// One of them.
  using check = conformance_check<Factory>;

  /// All of them; each can be run alone, in any order. In static storage.
  static std::span<check const> checks() {
    static constexpr check all[] = {
        {"nothing_is_live_where_nothing_stands", "live: nullopt", places::nothing_is_live_where_nothing_stands},
        {"what_stands_is_live_and_looking_changes_nothing", "live: what stands, whole. Changes nothing",
         places::what_stands_is_live_and_looking_changes_nothing},
        {"what_is_parked_is_out_of_the_way", "park: the place is free then", places::what_is_parked_is_out_of_the_way},
        {"to_park_nothing_does_nothing", "park: nothing there", places::to_park_nothing_does_nothing},
        {"to_park_again_keeps_what_is_parked", "park: something is parked already",
         places::to_park_again_keeps_what_is_parked},
        {"what_is_put_back_stands_whole", "put_back: the parked one stands there",
         places::what_is_put_back_stands_whole},
        {"what_is_half_built_goes", "put_back: what stands at the place goes", places::what_is_half_built_goes},
        {"to_put_back_twice_is_to_put_back", "put_back: idempotent", places::to_put_back_twice_is_to_put_back},
        {"to_put_back_leaves_what_is_whole", "put_back: leaves what is whole",
         places::to_put_back_leaves_what_is_whole},
        {"to_put_back_without_anything_left_is_no_success", "put_back: throws where nothing is left",
         places::to_put_back_without_anything_left_is_no_success},
        {"what_is_settled_is_live", "settle: what was built is the resource", places::what_is_settled_is_live},
        {"to_settle_nothing_leaves_nothing", "settle: nothing is parked", places::to_settle_nothing_leaves_nothing},
        {"to_settle_where_nothing_is_parked_leaves_what_stands", "settle: what was built is the resource",
         places::to_settle_where_nothing_is_parked_leaves_what_stands},
        {"to_discard_destroys_nothing_that_counts", "discard: left to be removed; idempotent",
         places::to_discard_destroys_nothing_that_counts},
        {"another_object_goes_on", "another object may go on", places::another_object_goes_on},
        {"what_a_dead_process_parked_is_found", "park: durable", places::what_a_dead_process_parked_is_found},
        {"a_moved_place_is_the_same", "movable", places::a_moved_place_is_the_same},
        {"a_thing_has_the_same_note_each_time", "value_type: what is kept of it in words",
         places::a_thing_has_the_same_note_each_time},
        {"parked_tells_what_is_parked", "parked: of what is parked", places::parked_tells_what_is_parked,
         places::has_parked, "parked()"},
        {"where_names_what_is_parked", "where: where a person finds it", places::where_names_what_is_parked,
         places::has_where, "where()"},
        {"a_committed_guard_leaves_the_new_one", "replace_guard", guarded::a_committed_guard_leaves_the_new_one},
        {"a_guard_that_is_left_puts_back", "replace_guard", guarded::a_guard_that_is_left_puts_back},
        {"a_guard_adopts_what_was_left", "replace_guard", guarded::a_guard_adopts_what_was_left},
        {"a_guard_needs_no_record_to_find_it", "replace_guard", guarded::a_guard_needs_no_record_to_find_it,
         places::has_parked, "parked()"},
        {"recover_puts_back", "recover_places", guarded::recover_puts_back},
    };
    return all;
  }
};

/// Runs every check that applies and tells what became of it. Throws only for lack of memory.
template <place_factory Factory>
conformance_report check_place(Factory& factory) {
  return stash::detail::run_checks<Factory>(place_conformance<Factory>::checks(), factory);
}

}  // namespace stash::inline v1::testing
