#pragma once

#include <boost/filesystem/path.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stash/detail/sqlite/connection.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/storage/atomic_file.hpp>
#include <stash/storage/journal.hpp>
#include <stash/storage/memory.hpp>
#include <stash/storage/sqlite.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#ifdef STASH_HAS_LEVELDB
#include <leveldb/db.h>
#include <leveldb/write_batch.h>
#endif
#ifdef STASH_HAS_ROCKSDB
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>
#endif
#ifdef STASH_HAS_LMDB
#include <lmdb.h>
#endif
#ifdef STASH_HAS_POSTGRES
#include <libpq-fe.h>

#include <cstdlib>
#include <stash/storage/postgres.hpp>
#endif
#ifdef STASH_HAS_PYTHON
#include <boost/process/child.hpp>
#include <boost/process/io.hpp>
#include <boost/process/pipe.hpp>
#include <boost/process/search_path.hpp>
#endif

// Contestants (see work.hpp): the library's storages, and other people's. Each is as durable as it is told.
namespace bench {

namespace fs = boost::filesystem;
using pairs_view = std::span<std::pair<stash::key, stash::record> const>;

struct journal : stash::journal_storage {
  static constexpr char name[] = "stash: journal";
  journal(fs::path const& dir, stash::durability d) : basic_journal_storage(dir, {.durability = d}) {}
};
struct files : stash::atomic_file_storage {
  static constexpr char name[] = "stash: atomic files";
  files(fs::path const& dir, stash::durability d) : basic_atomic_file_storage(dir, {.durability = d}) {}
};
struct sqlite : stash::sqlite_storage {
  static constexpr char name[] = "stash: SQLite";
  sqlite(fs::path const& dir, stash::durability d) : sqlite_storage(dir / "stash.sqlite", {.durability = d}) {}
};
struct memory : stash::memory_storage {
  static constexpr char name[] = "stash: memory";
  memory(fs::path const&, stash::durability) {}
};

/// What memory_storage is more than.
class locked_map {
 public:
  static constexpr char name[] = "unordered_map under a mutex";
  locked_map(fs::path const&, stash::durability) {}
  void put(stash::key const& k, stash::record const& r) {
    std::lock_guard const only{mutex_};
    map_[k] = r.payload;
  }
  std::string get(stash::key const& k) {
    std::lock_guard const only{mutex_};
    return map_[k];
  }
  void erase(stash::key const& k) {
    std::lock_guard const only{mutex_};
    map_.erase(k);
  }

 private:
  std::mutex mutex_;
  std::unordered_map<stash::key, std::string> map_;
};

/// LevelDB, and RocksDB, which has its interface.
template <class Api>
class lsm_store {
 public:
  static constexpr auto& name = Api::name;
  lsm_store(fs::path const& dir, stash::durability d) {
    typename Api::options options;
    options.create_if_missing = true;
    typename Api::db* db = nullptr;
    must(Api::db::Open(options, dir.native(), &db));
    db_.reset(db);
    write_.sync = d == stash::durability::power_loss;
  }
  void put(stash::key const& k, stash::record const& r) { must(db_->Put(write_, slice(k), slice(r.payload))); }
  std::string get(stash::key const& k) const {
    std::string found;
    must(db_->Get({}, slice(k), &found));
    return found;
  }
  void erase(stash::key const& k) { must(db_->Delete(write_, slice(k))); }
  void put_all(pairs_view all) {
    typename Api::write_batch batch;
    for (auto const& [k, r] : all) batch.Put(slice(k), slice(r.payload));
    must(db_->Write(write_, &batch));
  }

 private:
  static typename Api::slice slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
  template <class Status>
  static void must(Status const& status) {
    if (!status.ok()) throw std::runtime_error(status.ToString());
  }

  std::unique_ptr<typename Api::db> db_;
  typename Api::write_options write_;
};

/// One of which the library was not there.
template <class Api>
struct missing {
  static constexpr auto& name = Api::name;
};

struct leveldb_api {
  static constexpr char name[] = "LevelDB";
#ifdef STASH_HAS_LEVELDB
  using db = leveldb::DB;
  using options = leveldb::Options;
  using write_options = leveldb::WriteOptions;
  using write_batch = leveldb::WriteBatch;
  using slice = leveldb::Slice;
};
using leveldb_store = lsm_store<leveldb_api>;
#else
};
using leveldb_store = missing<leveldb_api>;
#endif

struct rocksdb_api {
  static constexpr char name[] = "RocksDB";
#ifdef STASH_HAS_ROCKSDB
  using db = rocksdb::DB;
  using options = rocksdb::Options;
  using write_options = rocksdb::WriteOptions;
  using write_batch = rocksdb::WriteBatch;
  using slice = rocksdb::Slice;
};
using rocksdb_store = lsm_store<rocksdb_api>;
#else
};
using rocksdb_store = missing<rocksdb_api>;
#endif

struct lmdb_api {
  static constexpr char name[] = "LMDB";
};
#ifdef STASH_HAS_LMDB
class lmdb_store {
 public:
  static constexpr auto& name = lmdb_api::name;
  lmdb_store(fs::path const& dir, stash::durability d) {
    MDB_env* env = nullptr;
    must(::mdb_env_create(&env));
    env_.reset(env);
    must(::mdb_env_set_mapsize(env, std::size_t{4} << 30));
    must(::mdb_env_open(env, dir.c_str(), d == stash::durability::power_loss ? 0 : MDB_NOSYNC, 0600));
    transaction t{env, 0};
    must(::mdb_dbi_open(t.get(), nullptr, 0, &table_));
    t.commit();
  }
  void put(stash::key const& k, stash::record const& r) {
    transaction t{env_.get(), 0};
    put(t, k, r);
    t.commit();
  }
  std::string get(stash::key const& k) const {
    transaction const t{env_.get(), MDB_RDONLY};
    MDB_val key = value(k), found{};
    must(::mdb_get(t.get(), table_, &key, &found));
    return {static_cast<char const*>(found.mv_data), found.mv_size};
  }
  void erase(stash::key const& k) {
    transaction t{env_.get(), 0};
    MDB_val key = value(k);
    must(::mdb_del(t.get(), table_, &key, nullptr));
    t.commit();
  }
  void put_all(pairs_view all) {
    transaction t{env_.get(), 0};
    for (auto const& [k, r] : all) put(t, k, r);
    t.commit();
  }

 private:
  static void must(int failed) {
    if (failed != 0) throw std::runtime_error(::mdb_strerror(failed));
  }
  static MDB_val value(std::string_view bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }

  class transaction {
   public:
    transaction(MDB_env* env, unsigned flags) { must(::mdb_txn_begin(env, nullptr, flags, &t_)); }
    transaction(transaction const&) = delete;
    transaction& operator=(transaction const&) = delete;
    ~transaction() { ::mdb_txn_abort(t_); }
    MDB_txn* get() const { return t_; }
    void commit() { must(::mdb_txn_commit(std::exchange(t_, nullptr))); }

   private:
    MDB_txn* t_ = nullptr;
  };
  struct closer {
    void operator()(MDB_env* env) const { ::mdb_env_close(env); }
  };

  void put(transaction& t, stash::key const& k, stash::record const& r) {
    MDB_val key = value(k), bytes = value(r.payload);
    must(::mdb_put(t.get(), table_, &key, &bytes, 0));
  }

  std::unique_ptr<MDB_env, closer> env_;
  MDB_dbi table_ = 0;
};
#else
using lmdb_store = missing<lmdb_api>;
#endif

/// Where it need not survive a power cut, neither mode syncs anything.
class sqlite_store {
 public:
  sqlite_store(fs::path const& dir, char const* mode, char const* level, stash::durability d)
      : db_((dir / "db").native()) {
    std::string const synchronous = d == stash::durability::power_loss ? level : "OFF";
    db_.execute(std::string("PRAGMA journal_mode=") + mode + "; PRAGMA synchronous=" + synchronous +
                    "; CREATE TABLE record(key TEXT PRIMARY KEY, bytes TEXT) WITHOUT ROWID",
                "open", {});
    put_.emplace(db_, "INSERT OR REPLACE INTO record VALUES(?, ?)", "put", "");
    get_.emplace(db_, "SELECT bytes FROM record WHERE key = ?", "get", "");
    erase_.emplace(db_, "DELETE FROM record WHERE key = ?", "erase", "");
  }
  void put(stash::key const& k, stash::record const& r) { put_->bind(k.str()).bind(r.payload).run(); }
  std::string get(stash::key const& k) {
    get_->bind(k.str()).step();
    std::string found = get_->text(0).value();
    get_->reset();
    return found;
  }
  void erase(stash::key const& k) { erase_->bind(k.str()).run(); }
  void put_all(pairs_view all) {
    stash::detail::sqlite_transaction t{db_, "put_all", {}};
    for (auto const& [k, r] : all) put(k, r);
    t.commit();
  }

 private:
  stash::detail::sqlite_connection db_;
  std::optional<stash::detail::sqlite_statement> put_, get_, erase_;
};
struct sqlite_wal : sqlite_store {
  static constexpr char name[] = "SQLite WAL, FULL";
  sqlite_wal(fs::path const& dir, stash::durability d) : sqlite_store(dir, "WAL", "FULL", d) {}
};
struct sqlite_delete : sqlite_store {
  static constexpr char name[] = "SQLite DELETE, EXTRA";
  sqlite_delete(fs::path const& dir, stash::durability d) : sqlite_store(dir, "DELETE", "EXTRA", d) {}
};

struct postgres_api {
  static constexpr char name[] = "stash: PostgreSQL";
};
struct libpq_api {
  static constexpr char name[] = "PostgreSQL: prepared INSERT, libpq";
};
#ifdef STASH_HAS_POSTGRES
/// A session of the server that run.sh started, as durable as `d`.
inline std::string server(stash::durability d) {
  char const* const started = std::getenv("STASH_POSTGRES");
  if (started == nullptr) throw std::runtime_error("skipped: no server");
  return started + std::string(d == stash::durability::power_loss ? "" : "?options=-csynchronous_commit%3Doff");
}
inline std::string new_table() {
  static int made = 0;
  return "contestant_" + std::to_string(++made);
}

struct postgres : stash::postgres_storage {
  static constexpr auto& name = postgres_api::name;
  postgres(fs::path const&, stash::durability d)
      : postgres_storage(server(d), {.durability = d, .table = new_table()}) {}
};

class libpq_store {
 public:
  static constexpr auto& name = libpq_api::name;
  libpq_store(fs::path const&, stash::durability d) : db_(::PQconnectdb(server(d).c_str()), ::PQfinish) {
    std::string const table = new_table();
    run("CREATE TABLE " + table + " (key text PRIMARY KEY, bytes text)");
    prepare("put", "INSERT INTO " + table + " VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET bytes = excluded.bytes");
    prepare("get", "SELECT bytes FROM " + table + " WHERE key = $1");
    prepare("erase", "DELETE FROM " + table + " WHERE key = $1");
  }
  void put(stash::key const& k, stash::record const& r) { ask("put", {k.str().data(), r.payload.c_str()}); }
  std::string get(stash::key const& k) { return ::PQgetvalue(ask("get", {k.str().data()}).get(), 0, 0); }
  void erase(stash::key const& k) { ask("erase", {k.str().data()}); }
  void put_all(pairs_view all) {
    run("BEGIN");
    for (auto const& [k, r] : all) put(k, r);
    run("COMMIT");
  }

 private:
  using result = std::unique_ptr<PGresult, decltype(&::PQclear)>;

  result checked(PGresult* r) {
    auto const status = ::PQresultStatus(r);
    result owned{r, ::PQclear};
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) throw std::runtime_error(::PQerrorMessage(db_.get()));
    return owned;
  }
  void run(std::string const& sql) { checked(::PQexec(db_.get(), sql.c_str())); }
  void prepare(char const* statement, std::string const& sql) {
    checked(::PQprepare(db_.get(), statement, sql.c_str(), 0, nullptr));
  }
  result ask(char const* statement, std::vector<char const*> const& values) {
    return checked(
        ::PQexecPrepared(db_.get(), statement, static_cast<int>(values.size()), values.data(), nullptr, nullptr, 0));
  }

  std::unique_ptr<PGconn, decltype(&::PQfinish)> db_;
};
#else
using postgres = missing<postgres_api>;
using libpq_store = missing<libpq_api>;
#endif

struct python_api {
  static constexpr char name[] = "Python: json.dump, os.replace";
};
#ifdef STASH_HAS_PYTHON
/// A process that times itself (worker.py), so that nothing of the pipe to it is counted.
class python_store {
 public:
  static constexpr auto& name = python_api::name;
  python_store(fs::path const& dir, stash::durability d)
      : process_(boost::process::search_path("python3"), STASH_PYTHON_WORKER, dir.native(),
                 d == stash::durability::power_loss ? "power_loss" : "process_crash",
                 boost::process::std_in<to_, boost::process::std_out> from_) {}
  ~python_store() {
    to_.close();
    to_.pipe().close();
    process_.wait();
  }
  double put(stash::key const& k, stash::record const& r) { return ask("put", k, std::to_string(r.payload.size())); }
  double get(stash::key const& k) { return ask("get", k, "0"); }

 private:
  double ask(char const* what, stash::key const& k, std::string const& size) {
    double seconds = 0;
    to_ << what << ' ' << k << ' ' << size << std::endl;
    if (!(from_ >> seconds)) throw std::runtime_error("the worker process ended");
    return seconds;
  }

  boost::process::opstream to_;
  boost::process::ipstream from_;
  boost::process::child process_;
};
#else
using python_store = missing<python_api>;
#endif

}  // namespace bench
