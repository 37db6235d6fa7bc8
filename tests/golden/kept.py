"""What released versions wrote, and what the tests of it share."""
import pathlib
import shutil
import struct
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compile"))
from compiling import succeed  # noqa: E402

KEPT = HERE.parent / "data/golden"
VERSIONS = sorted(path for path in KEPT.iterdir() if path.is_dir())
EXPECTED = (KEPT / "expected.txt").read_text(encoding="utf-8")
assert VERSIONS  # nothing to read would count as passed

each_version = pytest.mark.parametrize("version", VERSIONS, ids=[path.name for path in VERSIONS])


def own_copy(version, to):
    directory = shutil.copytree(version, to)
    for path in [directory, *directory.rglob("*")]:  # git keeps no such modes
        path.chmod(0o700 if path.is_dir() else 0o600)
    return directory


def found_by(program, directory):
    """What `program`, the words of a command, reads there: EXPECTED, unless something is wrong."""
    return succeed(*program, "read", directory)


def written(program, directory, *earlier):
    """What it writes: a directory. Where it knows an earlier one, with the times and the random numbers of that."""
    directory.mkdir(mode=0o700)
    succeed(*program, "write", directory, *earlier)
    return directory


def files_in(directory):
    found = {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*")
             if path.is_file() and path.name != ".lock"}
    assert sum(name.startswith("files/") for name in found) > 30
    return found


def without_close(journal):
    """Up to the frames that closed it, of which version 0.1 wrote one, and 0.2 writes two."""
    at = 64
    while journal[at + 8:at + 16] == b"stframe1" and journal[at + 16] != 5:
        body, _, key, key_before = struct.unpack_from("<QQII", journal, at + 64)
        at += (88 + key + key_before + body + 7) // 8 * 8
    return journal[:at]


def differing(directory, other, part_of_journal=lambda journal: journal):
    """The names of those files that are not the same, byte for byte."""
    here, there = files_in(directory), files_in(other)
    for files in [here, there]:
        files["journal/stash.journal"] = part_of_journal(files["journal/stash.journal"])
    if here["stash.sqlite"][96:100] != there["stash.sqlite"][96:100]:  # another SQLite may fill its pages otherwise
        here["stash.sqlite"] = there["stash.sqlite"] = b""
    return sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
