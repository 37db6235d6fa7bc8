#pragma once

// Declarations, for headers that only name the library's types. Never declare them yourself: they live in an
// inline namespace, and their template parameters may grow.

/// All of the library. Write `stash::`, without the `v1`: it keeps two versions in one program apart.
namespace stash::inline v1 {

enum class durability;
enum class origin;
enum class event_kind;
struct event;
struct file_options;
struct guard_options;
struct journal_options;
struct recover_options;
struct recovery_report;
struct rollback_report;
struct json_serializer;
class manual_clock;
class memory_storage;
struct posix_file_ops;
template <class FileOps>
class basic_atomic_file_storage;
template <class FileOps>
class basic_journal_storage;
template <class T>
struct lookup_result;
template <class Storage, class Serializer, class Clock>
class basic_stash;
template <class Stash, class T, class Restore>
class delete_guard;
template <class Stash, class T, class Restore>
class delete_guards;
template <class Stash, class Place>
class replace_guard;
template <class FileOps>
class basic_tree;
struct tree_options;
class sqlite_table;
struct sqlite_table_options;
class postgres_table;
struct postgres_table_options;

}  // namespace stash::inline v1
