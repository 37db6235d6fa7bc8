"""What a released version wrote, every later one reads; and a record is written as it wrote it."""
import pathlib
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compile"))
from compiling import CORE_LIBRARIES, FLAGS, succeed  # noqa: E402

KEPT = HERE.parent / "data/golden"
VERSIONS = sorted(path for path in KEPT.iterdir() if path.is_dir())
EXPECTED = (KEPT / "expected.txt").read_text(encoding="utf-8")
assert VERSIONS  # nothing to read would count as passed


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "golden"
    succeed("g++", *FLAGS, HERE / "golden.cpp", "-o", path, *CORE_LIBRARIES, "-lsqlite3")
    return path


@pytest.fixture
def written(program, tmp_path):
    """What this version writes."""
    directory = tmp_path / "now"
    directory.mkdir(mode=0o700)
    succeed(program, "write", directory)
    return directory


def records(directory):
    return {path.name: path.read_bytes() for path in (directory / "files").glob("*.stash")}


pytestmark = pytest.mark.xdist_group("golden")  # in one worker: the program is compiled once
each_version = pytest.mark.parametrize("version", VERSIONS, ids=[path.name for path in VERSIONS])


@each_version
def test_what_a_released_version_wrote_is_read(program, version, tmp_path):
    directory = shutil.copytree(version, tmp_path / "then")
    for path in [directory, *directory.rglob("*")]:  # git keeps no such modes
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert succeed(program, "read", directory) == EXPECTED


def test_what_is_written_now_is_read_the_same(program, written):
    assert succeed(program, "read", written) == EXPECTED


@each_version
def test_a_record_is_written_byte_for_byte_as_then(written, version):
    assert len(records(version)) > 30
    assert records(written) == records(version)
