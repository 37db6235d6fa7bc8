#pragma once

// The core: the stash, its guard and its recovery, kept in files or in memory, as JSON. What needs another
// library than Boost is included by its own name: stash/ckan/sqlite_datastore.hpp.
#include <stash/basic_stash.hpp>
#include <stash/clock.hpp>
#include <stash/concepts.hpp>
#include <stash/delete_guard.hpp>
#include <stash/delete_guards.hpp>
#include <stash/error.hpp>
#include <stash/event.hpp>
#include <stash/fwd.hpp>
#include <stash/json_serializer.hpp>
#include <stash/key.hpp>
#include <stash/place/tree.hpp>
#include <stash/record.hpp>
#include <stash/recover.hpp>
#include <stash/recover_places.hpp>
#include <stash/replace_guard.hpp>
#include <stash/storage/atomic_file.hpp>
#include <stash/storage/memory.hpp>
#include <stash/version.hpp>
