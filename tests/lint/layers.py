"""Which header may include which: those of its own room, and those of the layers before its own."""
import re

# From the ground up. A room is a folder, but for the headers that are named before it.
LAYERS = [
    "version.hpp",
    "detail/text/",
    "place/left_behind.hpp",
    "error.hpp key.hpp record.hpp event.hpp clock.hpp concepts.hpp fwd.hpp file_options.hpp guard_options.hpp"
    " recover_options.hpp",
    "detail/system/ detail/values/",
    "detail/",
    # What a storage of one's own needs, and what the storages are told.
    "storage/posix_file_ops.hpp storage/default_directory.hpp storage/key_locks.hpp storage/sqlstate.hpp"
    " storage/journal_options.hpp storage/sqlite_options.hpp storage/postgres_options.hpp"
    " place/postgres_table_options.hpp",
    "detail/record/",
    "detail/files/ detail/storage/",
    "detail/journal/ detail/sqlite/ detail/postgres/",
    "storage/",
    "json_serializer.hpp",
    "basic_stash.hpp",
    "detail/guard/",
    "place/",
    "delete_guard.hpp delete_guards.hpp replace_guard.hpp recover.hpp recover_places.hpp",
    "stash.hpp",
    "ckan/data_dictionary.hpp ckan/column_comment.hpp ckan/swap.hpp ckan/datastore.hpp"
    " ckan/recreate.hpp ckan/reload_options.hpp ckan/api_options.hpp ckan/http_status.hpp",
    "detail/ckan/",
    "ckan/",
    "testing/ testing/checks/",
]


def place_of(header):
    """The number of its layer, and its room there. KeyError for one that has none."""
    folder = header.rpartition("/")[0]
    for layer, rooms in enumerate(LAYERS):
        if header in rooms.split():
            return layer, folder
    for layer, rooms in enumerate(LAYERS):
        if f"{folder}/" in rooms.split():
            return layer, "testing" if folder.startswith("testing") else folder
    raise KeyError(f"{header} stands in no layer of {__name__}.py")


def arrows_upwards(include):
    """Lines like "detail/a.hpp includes storage/b.hpp"."""
    found = []
    for path in sorted((include / "stash").rglob("*.hpp")):
        header = path.relative_to(include / "stash").as_posix()
        layer, room = place_of(header)
        for other in re.findall(r"^#include <stash/([^>]+)>", path.read_text(encoding="utf-8"), re.MULTILINE):
            other_layer, other_room = place_of(other)
            if other_layer > layer or (other_layer == layer and other_room != room):
                found.append(f"{header} includes {other}")
    return found
