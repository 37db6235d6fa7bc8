// Deletes downloaded files and fetches them again; which ones somebody chose, their times and permissions, is kept.
// g++ -std=c++20 -Iinclude tests/examples/directory.cpp -lboost_json -lboost_filesystem -o job && ./job at
#include <fcntl.h>
#include <unistd.h>

#include <boost/filesystem.hpp>
#include <fstream>
#include <iostream>
#include <map>
#include <stash/stash.hpp>

namespace fs = boost::filesystem;
using listing = std::map<std::string, std::tuple<std::uint64_t, std::int64_t, int>>;   // name: size, mtime, permissions
fs::path const reports = "reports", doomed = "reports.doomed", next = "reports.next";  // only the first is ever live

void sync(fs::path const& path) {  // a file's bytes and times; a directory's names
  int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  bool const done = fd >= 0 && ::fsync(fd) == 0;
  if (::close(fd) != 0 || !done) throw std::runtime_error("cannot sync " + path.string());
}
void write(fs::path const& path, std::string const& text) {
  if (!(std::ofstream{path.string()} << text << std::flush)) throw std::runtime_error("cannot write " + path.string());
}
void build(auto fill) {  // live in one step, when all of it is on the disk
  fs::remove_all(next);
  fs::create_directory(next);
  fill();
  for (auto const& file : fs::directory_iterator{next}) sync(file);
  sync(next);
  fs::rename(next, reports);
  sync(".");
}
std::optional<listing> live() {
  if (!fs::exists(reports)) return std::nullopt;
  if (std::ifstream restored{(reports / "MANIFEST").string()}) {  // the files that are still to be fetched
    return stash::json_serializer{}.deserialize<listing>(std::string{std::istreambuf_iterator{restored}, {}});
  }
  listing found;
  for (auto const& f : fs::directory_iterator{reports}) {
    found[f.path().filename().string()] = {fs::file_size(f), fs::last_write_time(f), f.status().permissions()};
  }
  return found;
}
void restore(listing const& saved) {  // if it is there, it is whole: not renamed yet, or built again
  if (!fs::exists(reports)) build([&] { write(next / "MANIFEST", stash::json_serializer{}.serialize(saved)); });
}
void refresh(stash::file_stash& store, bool source_is_up) {
  stash::delete_guard guard{store, "reports", live, restore};
  fs::remove_all(doomed);  // what a killed run left
  if (fs::exists(reports)) fs::rename(reports, doomed);
  sync(".");  // from here on it is not live, whatever happens: now its files may go one by one
  fs::remove_all(doomed);
  build([&] {
    for (auto const& [name, info] : guard.value() != nullptr ? *guard.value() : listing{}) {
      if (!source_is_up) throw std::runtime_error(name + ": 503 Service Unavailable");
      write(next / name, "fetched\n");
      fs::last_write_time(next / name, std::get<1>(info));
      fs::permissions(next / name, static_cast<fs::perms>(std::get<2>(info)));
    }
  });
  guard.commit();
}

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: ./job DIRECTORY\n", 2;
  if (fs::is_directory(argv[1]) || fs::create_directory(argv[1])) fs::current_path(argv[1]);
  stash::file_stash store{"stash"};
  listing const chosen{{"april.csv", {8, 1'775'000'000, 0600}}, {"may.csv", {8, 1'777'000'000, 0440}}};
  restore(chosen);
  refresh(store, true);  // now they are files
  try {
    refresh(store, false);
  } catch (std::runtime_error const& problem) {
    std::cout << "failed: " << problem.what() << '\n';
  }
  if (live() != chosen) return 1;
  std::cout << "the listing is back: " << stash::json_serializer{}.serialize(*live()) << '\n';
  refresh(store, true);
  return live() == chosen && fs::exists(reports / "may.csv") && store.entries().empty() ? 0 : 1;
}
