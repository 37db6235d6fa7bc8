#pragma once

#include <optional>
#include <stash/ckan/recover.hpp>
#include <stash/ckan/reload.hpp>
#include <stash/ckan/sqlite_datastore.hpp>
#include <stash/storage/atomic_file.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "cut_calls.hpp"

// An annotated table of SQLite that is reloaded, with the stash in files beside it.
namespace power_cut {

namespace ckan = stash::ckan;

/// All of it is on the file system that loses power.
struct reload_job {
  fs::path root;
  std::size_t bytes;
  powered_ops ops;
  ckan::keep keep;

  ckan::sqlite_datastore datastore() const { return ckan::sqlite_datastore{(root / "datastore.sqlite").native()}; }
  auto store() const {
    using storage = stash::basic_atomic_file_storage<powered_ops>;
    return stash::basic_stash<storage>{root / "stash", stash::file_options{}, ops};
  }
  ckan::fields fields(bool with_words) const {
    auto const info = boost::json::object{{"label", stretched("typed", bytes)}};
    return {{"word", "text", with_words ? std::optional(info) : std::nullopt}};
  }
  void load(ckan::sqlite_datastore& d, char const* word) const {
    ckan::sqlite_datastore::loader rows{d, "orders", fields(false)};
    for (int i = 0; i < 2; ++i) rows.add({{stretched(word, bytes)}});
    rows.finish();
  }

  void run(std::string const& workload) const {
    auto d = datastore();
    d.create("orders", fields(true));
    load(d, "old");
    d.finish("orders");
    auto s = store();
    mark("prepared");
    try {
      ckan::reload(d, s, "orders", fields(false),
                   [&](ckan::fields const&) {
                     load(d, "new");
                     if (workload == "fail") throw std::runtime_error("no more rows come");
                   },
                   {.guard = {.observer = stash::silent}, .keep = keep});
    } catch (std::runtime_error const&) {
    }
    say("reloaded");
    mark("acknowledged");
  }

  /// Of which load the rows are, under all the words; "empty": there are none; "stashed": nothing but the words is
  /// there.
  std::string found() const {
    auto d = datastore();
    auto const live = d.describe("orders");
    if (!live) {
      auto const kept = store().load<ckan::data_dictionary>("orders");
      return kept && kept->at("word") == *fields(true)[0].info ? "stashed" : "lost";
    }
    if (*live != fields(true)) return "without its words";
    stash::detail::sqlite_connection db{(root / "datastore.sqlite").native()};
    stash::detail::sqlite_statement row{db, "SELECT count(*), min(word), max(word) FROM orders", "check", "orders"};
    row.step();
    if (row.integer(0) == 0) return "empty";
    for (char const* const word : {"old", "new"}) {
      auto const text = stretched(word, bytes);
      if (row.integer(0) == 2 && row.text(1) == text && row.text(2) == text) return word;
    }
    return "mixture";
  }
  void check() const {
    say(found());
    auto d = datastore();
    auto s = store();
    for (auto const& [k, why] : ckan::recover(d, s, {.observer = stash::silent}).failed) std::rethrow_exception(why);
    say(found() + (d.leftovers().empty() ? "" : ", and a table beside it"));
  }
};

inline int run_reload(std::vector<std::string> const& args) {
  auto const how = args[1] == "reload" ? ckan::keep::everything : ckan::keep::words;
  reload_job j{args[2], std::stoul(args[4]), {}, how};
  if (args[0] == "check" && args.size() == 5) return j.check(), 0;
  if (args[0] != "run" || args.size() != 9) return 2;
  *j.ops.before = countdown{std::stol(args[6]), args[7] == "all"};
  j.ops.protocol = args[8];
  j.run(args[5]);
  say("ended");
  wait_for_the_end();
}

}  // namespace power_cut
