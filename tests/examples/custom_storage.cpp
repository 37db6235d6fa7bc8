// A storage of one's own (map_storage.hpp): the compiler checks its shape, check_storage() each promise of
// stash/concepts.hpp, and then guards keep their values in it.
// g++ -std=c++20 -Iinclude tests/examples/custom_storage.cpp -lboost_json -lboost_filesystem -o job && ./job
#include <iostream>
#include <stash/stash.hpp>
#include <stash/testing/storage_conformance.hpp>
#include <stdexcept>

#include "map_storage.hpp"

static_assert(stash::storage_policy<map_storage>);

namespace {

/// What check_storage() asks for storages. One whose records another process can open has again() too.
struct map_storages {
  map_storage fresh() { return {}; }
};

}  // namespace

int main() {
  map_storages factory;
  auto const report = stash::testing::check_storage(factory);
  if (!report.conforms()) {
    std::cout << report;  // a line for each check that failed, with what was expected
    return 1;
  }
  std::cout << "map_storage keeps what concepts.hpp promises\n";

  stash::basic_stash<map_storage> store;
  std::string label = "Orders, net";
  auto const live = [&] { return label.empty() ? std::nullopt : std::optional(label); };
  auto const restore = [&](std::string const& saved) { label = saved; };
  try {
    stash::delete_guard guard{store, "orders", live, restore};
    label.clear();
    throw std::runtime_error("no rows today");
  } catch (std::exception const& problem) {
    std::cout << "the reload failed: " << problem.what() << "; label: " << label << '\n';
  }
  if (label != "Orders, net") return 1;

  stash::delete_guard guard{store, "orders", live, restore};
  label.clear();
  restore(*guard.value());
  guard.commit();
  std::cout << "the reload is done; label: " << label << "; records left: " << store.entries().size() << '\n';
  return label == "Orders, net" && store.entries().empty() ? 0 : 1;
}
