// Writes what each storage keeps in files, and prints what it finds there. It compiles with every released version.
//
//     golden write DIRECTORY [EARLIER]
//     golden read DIRECTORY
//     golden lock DIRECTORY
//
// With EARLIER, a directory that it wrote before, all is written at the same time as there, and with the same random
// numbers: then every byte must be the same.
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>
#include <stash/storage/atomic_file.hpp>
#include <stash/storage/journal.hpp>
#include <stash/storage/sqlite.hpp>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = boost::filesystem;

std::optional<timespec> fixed_time;
std::optional<std::uint64_t> fixed_random;

}  // namespace

// In place of the C library's, which the library asks what time it is, and for random numbers.
extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  if (clock != CLOCK_REALTIME || !fixed_time) return static_cast<int>(::syscall(SYS_clock_gettime, clock, now));
  *now = *fixed_time;
  return 0;
}
extern "C" int getentropy(void* to, std::size_t size) {
  if (!fixed_random || size != sizeof *fixed_random) {
    return ::syscall(SYS_getrandom, to, size, 0) == static_cast<long>(size) ? 0 : -1;
  }
  std::memcpy(to, &*fixed_random, size);
  return 0;
}

namespace {

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

/// The salt of the journal in `file`.
std::uint64_t salt_of(fs::path const& file) {
  unsigned char bytes[24] = {};
  if (!std::ifstream(file.native(), std::ios::binary).read(reinterpret_cast<char*>(bytes), sizeof bytes)) {
    throw std::runtime_error("no journal: " + file.native());
  }
  std::uint64_t salt = 0;
  for (int i = 23; i >= 16; --i) salt = salt << 8 | bytes[i];
  return salt;
}

/// From now on it is when `k` was set aside in `earlier`, and the random number is the one that its name has.
template <class Storage>
void repeat(Storage const& earlier, stash::key const& k) {
  for (auto const& e : earlier.set_aside_entries()) {
    if (e.key != k) continue;
    int year = 0, micros = 0;
    unsigned month = 0, day = 0, hour = 0, minute = 0, second = 0;
    unsigned long long random = 0;
    auto const at = e.where.rfind('-', e.where.rfind('-') - 1);  // of -20261201T111853.363235Z-8e77d77374df9608
    if (std::sscanf(e.where.c_str() + at, "-%4d%2u%2uT%2u%2u%2u.%6dZ-%16llx", &year, &month, &day, &hour, &minute,
                    &second, &micros, &random) != 8) {
      break;
    }
    std::chrono::sys_days const date{std::chrono::year{year} / static_cast<int>(month) / static_cast<int>(day)};
    auto const seconds = date.time_since_epoch() / std::chrono::seconds{1} + 3600L * hour + 60L * minute + second;
    fixed_time = timespec{static_cast<time_t>(seconds), micros * 1000L};
    fixed_random = random;
    return;
  }
  throw std::runtime_error("nothing was set aside of " + k.string());
}

/// As `earlier` was written, where that is not null.
template <class Storage>
void write(Storage store, Storage const* earlier) {
  for (auto const& [k, r] : records()) store.put(k, r);
  store.put("cleared", {"null", {}});
  store.erase("cleared");
  for (char const* const k : {"aside", "orders"}) {
    auto const lock = store.try_lock(k);
    store.put(k, {"\"set aside\"", {}});
    if (earlier != nullptr) repeat(*earlier, k);
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

struct storages {
  explicit storages(fs::path const& at)
      : files(at / "files"), journal(at / "journal", {.chunk = 4096}), sqlite(at / "stash.sqlite") {}
  stash::atomic_file_storage files;
  stash::journal_storage journal;
  stash::sqlite_storage sqlite;
};

}  // namespace

int main(int argc, char** argv) try {
  std::string const how = argc >= 3 ? argv[1] : "";
  if ((how != "write" || argc > 4) && ((how != "read" && how != "lock") || argc > 3)) {
    return std::cerr << "usage: golden write DIRECTORY [EARLIER] | read DIRECTORY | lock DIRECTORY\n", 2;
  }
  storages in{argv[2]};
  if (how == "read") {
    read("files", in.files);
    read("journal", in.journal);
    read("sqlite", in.sqlite);
    return 0;
  }
  if (how == "lock") {
    auto const of_files = in.files.try_lock("orders");
    auto const of_sqlite = in.sqlite.try_lock("orders");
    std::cout << (of_files ? "locked " : "busy ") << (of_sqlite ? "locked" : "busy") << std::endl;
    std::cin.get();  // until whoever started it has seen enough
    return 0;
  }
  std::optional<storages> earlier;
  if (argc == 4) {
    earlier.emplace(argv[3]);
    fixed_random = salt_of(fs::path(argv[3]) / "journal/stash.journal");
  }
  write(std::move(in.journal), earlier ? &earlier->journal : nullptr);
  write(std::move(in.files), earlier ? &earlier->files : nullptr);
  write(std::move(in.sqlite), earlier ? &earlier->sqlite : nullptr);
} catch (std::exception const& problem) {
  std::cerr << "golden: " << problem.what() << '\n';
  return 1;
}
