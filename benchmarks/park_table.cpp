// What it costs to park and to settle a table of PostgreSQL, beside the same DDL typed by hand in one transaction:
//
//     python3 tests/servers/postgres_cluster.py benchmarks/park_table [ROUNDS]
//
// An empty table with 3 indexes, 2 grants, 2 views, taking turns in one run. By hand, each statement is sent by itself,
// as psql and most drivers do; the table's own CREATE, which somebody's job says in both, is outside of what is
// measured in ours. Connections are warm.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stash/place/postgres_table.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

class connection {
 public:
  explicit connection(std::string const& info) : db_(::PQconnectdb(info.c_str()), ::PQfinish) {}
  void operator()(std::string const& sql) {
    std::unique_ptr<PGresult, decltype(&::PQclear)> const done{::PQexec(db_.get(), sql.c_str()), ::PQclear};
    auto const status = ::PQresultStatus(done.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) throw std::runtime_error(::PQerrorMessage(db_.get()));
  }

  void one_by_one(std::string_view statements) {
    for (std::size_t end = 0; !statements.empty(); statements.remove_prefix(std::min(end + 1, statements.size()))) {
      end = std::min(statements.find(';'), statements.size());
      (*this)(std::string(statements.substr(0, end)));
    }
  }

 private:
  std::unique_ptr<PGconn, decltype(&::PQfinish)> db_;
};

constexpr char create[] = "CREATE TABLE parked.orders (id serial PRIMARY KEY, day date, amount numeric, name text);";
constexpr char all_that_hangs_on_it[] =
    "CREATE INDEX by_day ON parked.orders (day); CREATE INDEX by_amount ON parked.orders (amount);"
    "CREATE INDEX by_name ON parked.orders (lower(name));"
    "GRANT SELECT ON parked.orders TO reader; GRANT INSERT ON parked.orders TO writer;"
    "CREATE VIEW parked.a AS SELECT id, day FROM parked.orders; CREATE VIEW parked.b AS SELECT name FROM "
    "parked.orders;";

template <class F>
double microseconds(F f) {
  auto const start = clock_type::now();
  f();
  return std::chrono::duration<double, std::micro>(clock_type::now() - start).count();
}
double median(std::vector<double> all) {
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  char const* const server = std::getenv("STASH_POSTGRES");
  if (server == nullptr) return std::cerr << "STASH_POSTGRES is not set\n", 2;
  int const rounds = argc > 1 ? std::atoi(argv[1]) : 100;
  connection job{server};
  job("SET client_min_messages = warning; CREATE SCHEMA parked; CREATE ROLE reader; CREATE ROLE writer");
  job(std::string(create) + all_that_hangs_on_it);
  stash::postgres_table place{server, {"parked", "orders"}};
  std::vector<double> by_hand, live, park, settle, first;
  for (int i = -3; i < rounds; ++i) {
    auto const hand = microseconds([&] {
      job.one_by_one(std::string("BEGIN;DROP TABLE parked.orders CASCADE;") + create + all_that_hangs_on_it + "COMMIT");
    });
    stash::postgres_table::value_type note;
    auto const asked = microseconds([&] { note = *place.live(); });
    auto const parked = microseconds([&] { place.park(note); });
    job(create);
    auto const settled = microseconds([&] { place.settle(note, [](auto const&) {}); });
    place.discard();
    auto const cold = microseconds([&] {
      stash::postgres_table fresh{server, {"parked", "orders"}};
      fresh.park(*fresh.live());
      job(create);
      fresh.settle(note, [](auto const&) {});
    });
    if (i < 0) continue;
    by_hand.push_back(hand);
    live.push_back(asked);
    park.push_back(parked);
    settle.push_back(settled);
    first.push_back(cold);
  }
  auto const hand = median(by_hand), ours = median(park) + median(settle);
  std::cout << "by hand " << hand << " us; park " << median(park) << " us, settle " << median(settle) << " us: ratio "
            << ours / hand << "; with live() (" << median(live) << " us) " << (ours + median(live)) / hand
            << "; all, with a new connection and the job's CREATE, " << median(first) / hand << '\n';
}
