// Replaces a directory of downloaded files: what was there is parked, and comes back whole if a download fails.
// g++ -std=c++20 -Iinclude tests/examples/directory.cpp -lboost_json -lboost_filesystem -o job && ./job at
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stash/stash.hpp>

void fetch(std::filesystem::path const& into, int day) {  // stands for a download
  std::filesystem::create_directories(into);
  if (day % 2 == 0) throw std::runtime_error("503 Service Unavailable");
  std::ofstream report{into / "report.csv"};
  report << "day " << day << '\n' << std::flush;
  if (!report) throw std::runtime_error("report.csv cannot be written");  // or the guard would commit what is not there
}

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  std::filesystem::path const at = argv[1];
  stash::file_stash store{(at / "stash").native()};
  for (int const day : {1, 2, 3}) try {
      stash::replace_guard guard{store, "reports", stash::tree{(at / "reports").native()}};
      fetch(at / "reports", day);  // the directory is free; what a dead run had half-built is gone, too
      guard.commit();              // syncs what was fetched; then what was there before is destroyed
    } catch (std::runtime_error const& problem) {
      std::cout << problem.what() << "; there is still: " << std::ifstream{at / "reports/report.csv"}.rdbuf();
    }
}
