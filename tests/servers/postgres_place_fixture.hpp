#pragma once

#include <chrono>
#include <functional>
#include <stash/place/postgres_table.hpp>
#include <stash/recover_places.hpp>
#include <stash/replace_guard.hpp>
#include <string>
#include <thread>
#include <vector>

#include "postgres_swap_fixture.hpp"

namespace postgres_place_test {

using namespace postgres_swap_test;
using note = boost::json::object;

/// A table with rows, and somebody's job that says DROP TABLE IF EXISTS; CREATE TABLE; COPY through a connection of its
/// own.
struct fixture : postgres_swap_test::fixture {
  client jobs{server() + "?application_name=job"};

  ~fixture() { client{}("DROP SCHEMA IF EXISTS " + quoted(parked_schema()) + " CASCADE"); }

  std::string parked_schema() const { return "stash_parked_" + name; }
  std::string parked(std::string const& of = "orders") const { return quoted(parked_schema()) + '.' + quoted(of); }
  stash::postgres_table place(std::string const& of = "orders",
                              stash::postgres_table_options const& options = {}) const {
    return {server(), {name, of}, options};
  }

  void drop() { jobs("DROP TABLE IF EXISTS " + table()); }
  void create(std::string const& columns =
                  "id text NOT NULL, amount numeric, day date DEFAULT '2026-01-01',"
                  " double_amount numeric GENERATED ALWAYS AS (amount * 2) STORED") {
    jobs("CREATE TABLE " + table() + " (_id serial PRIMARY KEY, _full_text tsvector, " + columns + ')');
  }
  /// In a process that has no `jobs`.
  void jobs_table(client& mine, std::string const& id) const {
    mine("CREATE TABLE " + table() +
         " (_id serial PRIMARY KEY, _full_text tsvector, id text NOT NULL, amount numeric, day date DEFAULT"
         " '2026-01-01', double_amount numeric GENERATED ALWAYS AS (amount * 2) STORED)");
    mine("INSERT INTO " + table() + " (id) VALUES ('" + id + "')");
  }
  void copy(std::string const& rows = "('c', 3, '2026-11-24'), ('d', 4, '2026-11-25')") {
    jobs("INSERT INTO " + table() + " (id, amount, day) VALUES " + rows);
  }
  void job() {
    drop();
    create();
    copy();
  }
  /// The table as the job makes it, with rows of its own.
  void make_plain() {
    create();
    copy("('a', 1, '2026-11-22'), ('b', 2, '2026-11-23')");
  }
  /// An index, a grant and a view.
  void hang_some_on_it() {
    query("CREATE INDEX by_day ON " + table() + " (day)");
    query("GRANT SELECT ON " + table() + " TO " + reader.quoted);
    query("CREATE VIEW " + table("alias") + " AS SELECT id, amount FROM " + table());
  }
  std::string ids(std::string const& of = "orders") {
    return query("SELECT coalesce(string_agg(id, ',' ORDER BY id), '') FROM " + table(of));
  }
  bool is_there(std::string const& what) { return query("SELECT to_regclass($q$" + what + "$q$)::text") != ""; }
  std::string count_parked() {
    return query("SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = '" +
                 parked_schema() + "' AND relkind IN ('r', 'v', 'm', 'p')");
  }
  auto guarded(stash::postgres_table_options const& options = {}) {
    return stash::replace_guard{store, "orders", place("orders", options), {.observer = stash::silent}};
  }
  void replace(stash::postgres_table_options const& options = {}) {
    auto guard = guarded(options);
    job();
    guard.commit();
  }
};

inline auto const nobody_keeps = [](note const&) {};

/// Has a lock on a table until it is let go.
struct reader_of {
  client db{server() + "?application_name=dashboard"};
  explicit reader_of(std::string const& what) {
    db("BEGIN");
    db("LOCK TABLE " + what + " IN ACCESS SHARE MODE");
  }
  void let_go() { db("COMMIT"); }
};

}  // namespace postgres_place_test
