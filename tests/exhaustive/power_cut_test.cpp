// What is explored of files on the model file system: the least that shows what it is about. The rest is in
// power_cut_variants_test.cpp.
#include "power_cut_explorer.hpp"

using namespace support;

BOOST_AUTO_TEST_SUITE(power_cut)

BOOST_AUTO_TEST_CASE(no_history_loses_a_word_or_brings_a_record_back) {
  explore_files({}, "", support::is_long() ? 1'000'000U : 90'000U);
}

/// What nobody can help: a change whose sync failed, and whose maker died, so that nobody knows that it must be made
/// anew. Of a save it is the directory above the stash's, made by the one that was killed.
static bool is_too_much(std::string const& history) {
  return says(history, "[fsync that fails] SIGKILL") || says(history, "SIGKILL, clear (sync 1 fails)") ||
         says(history, "[mkdir] SIGKILL, save (sync 3 fails)");
}

BOOST_AUTO_TEST_CASE(of_two_faults_only_a_kill_and_a_failed_sync_of_the_same_change_are_too_much) {
  explorer<model_files> any{{.faults = 2, .cuts_in_recovery = 0}};
  any.explore();
  explorer<model_files> saves{
      {.operations = 3, .faults = 2, .cuts_in_recovery = 0, .which = {operation::save, operation::clear}}};
  saves.explore();
  for (auto const* const e : {&any, &saves}) {
    BOOST_TEST(e->violations().size() == e->bad_states());
    for (auto const& v : e->violations()) BOOST_TEST(is_too_much(v), v);
  }
}

BOOST_AUTO_TEST_CASE(a_directory_that_somebody_else_made_is_made_durable_however_many_die_over_it) {
  explorer<model_files> e{{.operations = 3,
                           .faults = 2,
                           .cuts_in_recovery = 0,
                           .syncs_fail = false,
                           .which = {operation::save, operation::clear},
                           .start = beginning::unsynced_directories}};
  e.explore();
  for (auto const& v : e.violations()) BOOST_ERROR(v);
  BOOST_TEST(e.bad_states() == 0U);
}

BOOST_AUTO_TEST_CASE(a_sync_that_fails_of_a_directory_that_somebody_else_made_is_not_believed_later) {
  explorer<model_files> e{{.operations = 3,
                           .cuts_in_recovery = 0,
                           .which = {operation::save, operation::clear},
                           .start = beginning::unsynced_directory}};
  e.explore();
  for (auto const& v : e.violations()) BOOST_ERROR(v);
  BOOST_TEST(e.bad_states() == 0U);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_not_synced_is_found_torn) {
  BOOST_TEST(says(guilt<model_files>({.variant = {.syncs_files = false}}), "the record is corrupt"));
}

BOOST_AUTO_TEST_SUITE_END()
