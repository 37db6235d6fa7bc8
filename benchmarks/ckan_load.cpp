// What it costs to load a table through CKAN's actions, beside a loop of curl's that posts the same batches:
//
//     STASH_CKAN_SITE=tests/servers/ckan_site.py benchmarks/ckan_load [ROUNDS]
//
// 100,000 rows of 10 columns into the tests' stand-in for a CKAN, taking turns in one run. By hand the batches are made
// before the clock starts; ours makes them, counts the rows before and after, and is a process of its own, whose memory
// is told.
#include <curl/curl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <stash/ckan/api_datastore.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "servers/ckan_site.hpp"

namespace {

constexpr int most_rows = 100'000, columns = 10;
constexpr char id[] = "resource";
using clock_type = std::chrono::steady_clock;

double seconds_since(clock_type::time_point start) {
  return std::chrono::duration<double>(clock_type::now() - start).count();
}
double median(std::vector<double> all) {
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

stash::ckan::fields fields() {
  stash::ckan::fields all;
  for (int c = 0; c < columns; ++c) all.push_back({"column " + std::to_string(c), "text", {}});
  return all;
}
std::string value(int row, int column) { return "value " + std::to_string(row) + " of " + std::to_string(column); }

template <class F>
void each_row(F f) {
  std::vector<std::string> texts(columns);
  std::vector<std::optional<std::string_view>> row(columns);
  for (int r = 0; r < most_rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) row[c] = texts[c] = value(r, static_cast<int>(c));
    f(row);
  }
}

/// The same as the loader's, but for the count.
std::vector<std::string> batches(stash::ckan::api_datastore_options const& o) {
  std::string const begin = std::string(R"({"resource_id":")") + id + R"(","method":"insert","force":true,"records":[)";
  std::string const end = R"(],"calculate_record_count":false})";
  std::vector<std::string> all;
  std::string now = begin;
  each_row([&](auto const& row) {
    std::string text;
    for (std::size_t c = 0; c < row.size(); ++c) {
      text += (c == 0 ? "{\"column " : ",\"column ") + std::to_string(c) + "\":\"" + std::string(*row[c]) + '"';
    }
    text += '}';
    if (now.size() + text.size() > o.batch_bytes) all.push_back(std::exchange(now, begin) + end);
    now += (now == begin ? "" : ",") + text;
  });
  all.push_back(now + end);
  return all;
}

void by_hand(std::string const& url, std::vector<std::string> const& all) {
  std::unique_ptr<CURL, decltype(&::curl_easy_cleanup)> const easy{::curl_easy_init(), ::curl_easy_cleanup};
  curl_slist* headers = ::curl_slist_append(nullptr, "Content-Type: application/json");
  headers = ::curl_slist_append(::curl_slist_append(headers, "Authorization: token"), "Expect:");
  ::curl_easy_setopt(easy.get(), CURLOPT_URL, (url + "/api/3/action/datastore_upsert").c_str());
  ::curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers);
  ::curl_easy_setopt(
      easy.get(), CURLOPT_WRITEFUNCTION, +[](char*, std::size_t, std::size_t n, void*) -> std::size_t { return n; });
  for (auto const& one : all) {
    long status = 0;
    ::curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(one.size()));
    ::curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, one.c_str());
    if (::curl_easy_perform(easy.get()) != CURLE_OK) std::abort();
    ::curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) std::abort();
  }
  ::curl_slist_free_all(headers);
}

struct measured {
  double seconds;
  long kilobytes;
};
/// In a process of its own.
measured ours(std::string const& url, stash::ckan::api_datastore_options const& options) {
  int pipe[2];
  if (::pipe(pipe) != 0) std::abort();
  auto const child = ::fork();
  if (child == 0) {
    std::string const number = std::to_string(pipe[1]), at_once = std::to_string(options.at_once);
    ::execl("/proc/self/exe", "ckan_load", "--load", url.c_str(), number.c_str(), at_once.c_str(),
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(pipe[1]);
  double seconds = 0;
  bool const is_told = ::read(pipe[0], &seconds, sizeof seconds) == sizeof seconds;
  ::close(pipe[0]);
  int status = 0;
  rusage used{};
  ::wait4(child, &status, 0, &used);
  if (!is_told || status != 0) std::abort();
  return {seconds, used.ru_maxrss};
}
int load(std::string const& url, int to, std::size_t at_once) {
  stash::ckan::api_datastore_options options;
  options.at_once = at_once;
  stash::ckan::api_datastore d{url, "token", options};
  auto const start = clock_type::now();
  stash::ckan::api_datastore::loader all{d, id, fields()};
  each_row([&](auto const& row) { all.add(row); });
  all.finish();
  double const seconds = seconds_since(start);
  return ::write(to, &seconds, sizeof seconds) == sizeof seconds ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 5 && std::string_view(argv[1]) == "--load") {
    return load(argv[2], std::atoi(argv[3]), static_cast<std::size_t>(std::atoi(argv[4])));
  }
  int const rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  support::ckan_site site;
  stash::ckan::api_datastore_options options;
  auto const all = batches(options);
  std::vector<double> hand, ratios, ratios_of_three;
  long most = 0;
  for (int i = 0; i < rounds; ++i) {
    auto const fresh = [&] {
      site.reset();
      stash::ckan::api_datastore{site.url(), "token", options}.create(id, fields());
    };
    fresh();
    auto const start = clock_type::now();
    by_hand(site.url(), all);
    hand.push_back(seconds_since(start));
    for (std::size_t const at_once : {std::size_t{1}, std::size_t{3}}) {
      fresh();
      options.at_once = at_once;
      auto const now = ours(site.url(), options);
      (at_once == 1 ? ratios : ratios_of_three).push_back(now.seconds / hand.back());
      most = std::max(most, now.kilobytes);
    }
  }
  std::cout << most_rows << " rows of " << columns << " columns, " << all.size() << " batches: by hand " << median(hand)
            << " s; ours / by hand " << median(ratios) << " (" << *std::min_element(ratios.begin(), ratios.end())
            << " to " << *std::max_element(ratios.begin(), ratios.end()) << "), three batches at one time "
            << median(ratios_of_three) << "; memory " << static_cast<double>(most) / 1024 << " MiB\n";
}
