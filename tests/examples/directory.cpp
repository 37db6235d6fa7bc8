// Deletes files and downloads them again. What was there (sizes, times, permissions) no server has: that is the value.
// g++ -std=c++20 -Iinclude tests/examples/directory.cpp -lboost_json -lboost_filesystem
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <stash/stash.hpp>
#include <tuple>

namespace fs = std::filesystem;
using files = std::map<std::string, std::string>;  // text by name
using listing =
    std::map<std::string, std::tuple<std::uintmax_t, std::int64_t, unsigned>>;  // bytes, nanoseconds (UTC), mode

/// On return what was done to `path` before is on the disk. (POSIX: a directory has an fsync of its own.)
void sync(fs::path const& path) {
  int const file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file == -1 || ::fsync(file) == -1 || ::close(file) == -1) throw std::runtime_error(path.string() + ": no sync");
}

std::optional<listing> live(fs::path const& at) {
  if (!fs::exists(at) || fs::exists(at / "listing.json")) return std::nullopt;  // a listing: the files are to come
  listing found;
  for (auto const& file : fs::directory_iterator(at)) {
    auto const modified = std::chrono::file_clock::to_sys(file.last_write_time()).time_since_epoch().count();
    found[file.path().filename()] = {file.file_size(), modified, static_cast<unsigned>(file.status().permissions())};
  }
  return found;
}

/// Removed in one step, after which nobody takes it for live, however far the deletion of what it had comes.
void remove_directory(fs::path const& at) {
  fs::path const doomed = at.string() + ".doomed";
  fs::remove_all(doomed);  // of a run that died here
  if (fs::exists(at)) fs::rename(at, doomed);
  sync(at.parent_path());
  fs::remove_all(doomed);
}

/// Made in one step, and durable.
void make_directory(fs::path const& at, files const& contents) {
  fs::path const half_made = at.string() + ".new";
  fs::remove_all(half_made);
  fs::create_directories(half_made);
  for (auto const& [name, text] : contents) {
    if (!(std::ofstream(half_made / name) << text).flush()) throw std::runtime_error(name + ": cannot be written");
    sync(half_made / name);
  }
  sync(half_made);
  remove_directory(at);
  fs::rename(half_made, at);
  sync(at.parent_path());
}

int main(int, char** arguments) {
  fs::path const at = fs::path(arguments[1]) / "downloads";
  make_directory(at, {{"customers.csv", "id\n1\n"}, {"orders.csv", "id,price\n1,10\n"}});
  stash::file_stash store{std::string(arguments[1]) + "/stash"};
  auto const restore = [&](listing const& saved) {
    if (!live(at)) make_directory(at, {{"listing.json", stash::json_serializer{}.serialize(saved)}});
  };
  for (bool const server_is_up : {false, true}) try {
      stash::delete_guard guard{store, "downloads", [&] { return live(at); }, restore};
      remove_directory(at);
      files downloaded;
      for (auto const& [name, info] : guard.value() ? *guard.value() : listing{}) {
        downloaded[name] = server_is_up ? "id\n2\n" : throw std::runtime_error(name + ": the server is down");
      }
      make_directory(at, downloaded);
      guard.commit();
      std::cout << "downloaded " << downloaded.size() << " files\n";
    } catch (std::exception const& problem) {
      std::cout << problem.what() << (fs::exists(at / "listing.json") ? "; the listing is kept\n" : "; FORGOTTEN\n");
    }
  return live(at) && live(at)->size() == 2 && store.entries().empty() ? 0 : 1;
}
