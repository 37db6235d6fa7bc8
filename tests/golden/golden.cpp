// Writes what each storage keeps in files, and prints what it finds there. It compiles with every released version.
//
//     golden write DIRECTORY
//     golden read DIRECTORY
#include <algorithm>
#include <iostream>
#include <stash/storage/atomic_file.hpp>
#include <stash/storage/journal.hpp>
#include <stash/storage/sqlite.hpp>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = boost::filesystem;

/// Of every length modulo 32, as the checksum takes them, and with every byte.
std::vector<std::pair<stash::key, stash::record>> records() {
  auto const at = [](std::int64_t micros) { return stash::time_point{std::chrono::microseconds{micros}}; };
  std::vector<std::pair<stash::key, stash::record>> all{
      {"orders", {R"({"price":{"label":"Net","notes":"in EUR"}})", at(1'795'444'461'123'456)}},
      {"Größe, %41", {"[1,-2.5e-3,\"\\u00e9\"]", at(0)}},
      {"before 1970", {"null", at(-1)}},
      {"the last year", {"null", at(9'223'372'036'854'775'807)}},
      {std::string(60, 'x'), {std::string(5000, '7'), at(1)}}};
  std::string bytes;
  for (int i = 0; i < 32; ++i) {
    bytes += static_cast<char>(8 * i + 3);
    all.push_back({"bytes " + std::to_string(i), {"\n" + std::string(1, '\0') + bytes, at(1'000'000LL * i)}});
  }
  return all;
}

template <class Storage>
void write(Storage store) {
  for (auto const& [k, r] : records()) store.put(k, r);
  store.put("cleared", {"null", {}});
  store.erase("cleared");
  for (char const* const k : {"aside", "orders"}) {
    auto const lock = store.try_lock(k);
    store.put(k, {"\"set aside\"", {}});
    store.set_aside(k, "superseded");
  }
  store.put("orders", records()[0].second);
}

char const* name_of(stash::record_state state) {  // whose to_string is not in every version
  return state == stash::record_state::intact ? "intact" : "corrupt";
}

std::string hex(std::string const& bytes) {
  std::string text;
  for (char const c : bytes.substr(0, 64)) {
    text += "0123456789abcdef"[static_cast<unsigned char>(c) / 16];
    text += "0123456789abcdef"[static_cast<unsigned char>(c) % 16];
  }
  return text;
}

template <class Storage>
void read(char const* name, Storage const& store) {
  for (auto const& e : store.entries()) {
    std::cout << name << ' ' << e.key << ' ' << name_of(e.state);
    auto const r = store.get(e.key);
    if (r)
      std::cout << ' ' << r->saved_at.time_since_epoch().count() << ' ' << r->payload.size() << ' ' << hex(r->payload);
    std::cout << '\n';
  }
  for (auto const& e : store.set_aside_entries()) {
    auto const reason = e.where.find("superseded") != std::string::npos ? "superseded" : "?";
    std::cout << name << " set aside: " << e.key << ' ' << name_of(e.state) << ' ' << e.bytes << ' ' << reason << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) try {
  std::string const how = argc == 3 ? argv[1] : "";
  if (how != "write" && how != "read") return std::cerr << "usage: golden write|read DIRECTORY\n", 2;
  fs::path const at = argv[2];
  stash::atomic_file_storage files{at / "files"};
  stash::journal_storage journal{at / "journal", {.chunk = 4096}};
  stash::sqlite_storage sqlite{at / "stash.sqlite"};
  if (how == "write") {
    write(std::move(files));
    write(std::move(journal));
    write(std::move(sqlite));
  } else {
    read("files", files);
    read("journal", journal);
    read("sqlite", sqlite);
  }
} catch (std::exception const& problem) {
  std::cerr << "golden: " << problem.what() << '\n';
  return 1;
}
