// g++ -std=c++20 one_line.cpp -lboost_json -lboost_filesystem
#include <stash/stash.hpp>

int main(int, char** arguments) {
  stash::file_stash store{arguments[1]};
  bool restored = false;
  {
    stash::delete_guard guard{store, "orders",
                              [] {
                                return boost::json::value{{"label", 1}};
                              },
                              [&](boost::json::value const&) { restored = true; }};
  }
  bool const kept = store.load("orders").has_value();
  auto const report = stash::recover(
      store, [](stash::key const&) { return false; }, [](stash::key const&, boost::json::value const&) {});
  return restored && kept && report.restored == 1 && store.entries().empty() ? 0 : 1;
}
