// The same of journals, of many keys together, and of kernels that lack a call; and protocols that are found guilty.
#include "power_cut_explorer.hpp"

using namespace support;

namespace {

/// The steps of the library, put together as the machine's variant says.
class loose_storage : public model_files {
 public:
  loose_storage(char const* d, stash::file_options options, model_ops ops)
      : model_files(d, options, ops), ops_(ops), is_durable_(options.durability == stash::durability::power_loss) {}

  void put(stash::key const& k, stash::record const& r) {
    auto const path = this->path(k).native();
    switch (ops_.protocol()) {
      case protocol::writes_in_place:
        write(path, O_TRUNC, k, r, true);
        return sync(directory);
      case protocol::syncs_after_rename: {
        auto const temporary = std::string(directory) + "/" + stash::detail::temporary_name(k, "put", 1);
        write(temporary, O_TRUNC, k, r, false);
        rename(temporary, path);
        sync(path);
        return sync(directory);
      }
      case protocol::writes_first_in_place:
        if (has_record(k)) return model_files::put(k, r);
        write(path, O_EXCL, k, r, true);
        return sync(directory);
      case protocol::syncs_after_link:
        if (!is_linked(k, r, false)) return model_files::put(k, r);
        sync(path);
        return sync(directory);
      case protocol::links_when_synced:
        if (!is_linked(k, r, true)) return model_files::put(k, r);
        return sync(directory);
      default:
        return model_files::put(k, r);
    }
  }
  std::string set_aside(stash::key const& k, std::string_view reason) {
    if (ops_.protocol() != protocol::sets_aside_by_rename) return model_files::set_aside(k, reason);
    auto const path = this->path(k).native();
    auto const to = std::string(directory) + "/" + stash::detail::set_aside_name(k, "set_aside", reason, {}, 1);
    sync(path);
    rename(path, to);
    sync(directory);
    return to;
  }

 private:
  auto prepared(stash::key const& k) {
    return stash::detail::directory_maker<model_ops>::make(ops_, directory_path, true, {"put", k});
  }
  void write(std::string const& path, int flags, stash::key const& k, stash::record const& r, bool syncs) {
    prepared(k);
    int const fd = ops_.open(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | flags);
    write(fd, k, r);
    bool const synced = !syncs || !is_durable_ || ops_.fsync(fd) == 0;
    ops_.close(fd);
    if (!synced) nobody_knows();
  }
  void write(int fd, stash::key const& k, stash::record const& r) {
    std::string bytes = stash::detail::header_line(k, r) + r.payload + '\n';
    iovec const part{bytes.data(), bytes.size()};
    ops_.writev(fd, &part, 1);
  }
  void sync(std::string const& path) {
    if (!is_durable_) return;
    int const fd = ops_.open(AT_FDCWD, path.c_str(), O_RDONLY);
    bool const synced = ops_.fsync(fd) == 0;
    ops_.close(fd);
    if (!synced) nobody_knows();
  }
  void rename(std::string const& from, std::string const& to) {
    int const d = ops_.open(AT_FDCWD, directory, O_RDONLY);
    auto const name = [](std::string const& path) { return path.substr(path.rfind('/') + 1); };
    ops_.rename(d, name(from).c_str(), name(to).c_str());
    ops_.close(d);
  }
  bool has_record(stash::key const& k) {
    auto const names = prepared(k).names();
    return std::find(names.begin(), names.end(), stash::detail::record_name(k, "put")) != names.end();
  }
  /// Whether it has its name now; not where another had it.
  bool is_linked(stash::key const& k, stash::record const& r, bool syncs) {
    auto const dir = prepared(k);
    int const fd = ops_.open_unnamed(dir.get());
    write(fd, k, r);
    bool const synced = !syncs || !is_durable_ || ops_.fsync(fd) == 0;
    if (!synced) return ops_.close(fd), nobody_knows(), false;
    bool const is_new = ops_.link_unnamed(fd, dir.get(), stash::detail::record_name(k, "put").c_str()) == 0;
    ops_.close(fd);
    return is_new;
  }
  static void nobody_knows() { throw stash::error{errc::indeterminate, "put", key, directory}; }

  model_ops ops_;
  bool is_durable_;
};

std::string guilt_of(protocol p, limits l = {.torn_is_absent = true}) {
  l.variant.protocol = p;
  return guilt<loose_storage>(l);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(power_cut_variants)

// Not guilty, but another way: what the library does where there is no renameat2.
BOOST_AUTO_TEST_CASE(where_a_kernel_lacks_a_call_nothing_is_lost_either) {
  explorer<model_files> e{{.cuts_in_recovery = 0, .variant = {.has_renameat2 = false}}};
  e.explore();
  for (auto const& each : e.violations()) BOOST_ERROR(each);
  BOOST_TEST(e.bad_states() == 0U);
}

namespace {

std::uint64_t explore_a_journal(limits const& l, std::string const& what) {
  explorer<model_journal> e{l};
  e.explore();
  for (auto const& v : e.violations()) BOOST_ERROR(v);
  BOOST_TEST(e.bad_states() == 0U);
  support::figure("power cut, on a model",
                  "distinct states of a journal after a cut: " + std::to_string(l.operations) +
                      " operations in a row, one fault, " + std::to_string(e.histories()) + " histories, " + what,
                  e.distinct_states(), e.bad_states());
  return e.distinct_states();
}

}  // namespace

BOOST_AUTO_TEST_CASE(no_history_of_a_journal_loses_a_word_or_brings_a_record_back) {
  std::vector<operation> const some{operation::save,   operation::save_without_sync,
                                    operation::clear,  operation::set_aside,
                                    operation::commit, operation::recover};
  if (!support::is_long()) {
    BOOST_TEST(explore_a_journal({.cuts_in_recovery = 0, .stop_at_first = true, .which = some},
                                 "no rollback among them, one cut") >= 10'000U);
    return;
  }
  BOOST_TEST(explore_a_journal({.stop_at_first = true}, "a second cut in the recovery") >= 200'000U);
  // With a second cut in the recovery this would take a quarter of an hour, and more with rollbacks.
  BOOST_TEST(explore_a_journal({.operations = 3, .cuts_in_recovery = 0, .stop_at_first = true, .which = some},
                               "no rollback among them, one cut") >= 150'000U);
}

BOOST_AUTO_TEST_CASE(what_is_saved_or_committed_together_is_lost_no_more_than_alone) {
  explorer<model_files> in_files{{.cuts_in_recovery = 0, .which = of_many_keys}};
  in_files.explore();
  explorer<model_journal> in_a_journal{
      {.operations = support::is_long() ? 2 : 1, .cuts_in_recovery = 0, .which = of_many_keys}};
  in_a_journal.explore();
  for (auto const& v : in_files.violations()) BOOST_ERROR(v);
  for (auto const& v : in_a_journal.violations()) BOOST_ERROR(v);
  BOOST_TEST(in_files.bad_states() + in_a_journal.bad_states() == 0U);
  support::figure("power cut, on a model", "distinct states of many keys that are saved or committed together",
                  in_files.distinct_states() + in_a_journal.distinct_states(),
                  in_files.bad_states() + in_a_journal.bad_states());
}

BOOST_AUTO_TEST_CASE(a_directory_that_is_not_synced_is_found_without_the_record) {
  auto const found = guilt<model_files>({.variant = {.syncs_directories = false}});
  BOOST_TEST(says(found, "save [return] CUT: the record is absent"), found);
}
BOOST_AUTO_TEST_CASE(a_second_sync_that_is_believed_is_found_to_lie) {
  auto const found = guilt<model_files>({.variant = {.believes_a_second_sync = true}});
  BOOST_TEST(says(found, "fails)"), found);
}
BOOST_AUTO_TEST_CASE(writing_in_place_is_found_to_tear_the_old_record) {
  auto const found = guilt_of(protocol::writes_in_place);
  BOOST_TEST(says(found, "the record is corrupt"), found);
}
BOOST_AUTO_TEST_CASE(a_sync_after_the_rename_is_found_to_tear_the_old_record) {
  auto const found = guilt_of(protocol::syncs_after_rename);
  BOOST_TEST(says(found, "the record is corrupt"), found);
}
BOOST_AUTO_TEST_CASE(setting_aside_by_rename_is_found_to_be_overtaken_by_the_next_save) {
  auto const found = guilt_of(protocol::sets_aside_by_rename, {.syncs_fail = false});
  BOOST_TEST(says(found, "[rename] SIGKILL, "), found);
  BOOST_TEST(says(found, "lost: typed by hand"), found);
}
// Where a new file may show stale blocks, these may be a whole record: one that was committed or cleared.
BOOST_AUTO_TEST_CASE(a_first_record_written_in_place_is_found_to_bring_a_cleared_one_back) {
  auto const found = guilt_of(protocol::writes_first_in_place);
  BOOST_TEST(says(found, "orphan, clear [return], save [writev] CUT: the record is typed by hand, number 1"), found);
}
BOOST_AUTO_TEST_CASE(a_first_record_linked_before_its_sync_is_found_to_bring_a_cleared_one_back) {
  auto const found = guilt_of(protocol::syncs_after_link);
  BOOST_TEST(says(found, "save [link_unnamed] CUT: the record is typed by hand, number 1"), found);
}
// As on ext4 without a journal, where 10 of 40 acknowledged saves were gone after e2fsck.
BOOST_AUTO_TEST_CASE(a_file_that_is_given_its_name_when_it_is_synced_is_found_to_lose_the_name) {
  auto const found = guilt_of(protocol::links_when_synced);
  BOOST_TEST(says(found, "save [return] CUT: the record is absent"), found);
}

BOOST_AUTO_TEST_SUITE_END()
