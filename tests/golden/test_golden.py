"""What a released version wrote, every later one reads, and writes byte for byte as then."""
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "compile")]
from compiling import CORE_LIBRARIES, FLAGS, succeed  # noqa: E402
from kept import EXPECTED, differing, each_version, found_by, own_copy, without_close, written  # noqa: E402


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "golden"
    succeed("g++", *FLAGS, HERE / "golden.cpp", "-o", path, *CORE_LIBRARIES, "-lsqlite3")
    return [path]


pytestmark = pytest.mark.xdist_group("golden")  # in one worker: the program is compiled once


@each_version
def test_what_a_released_version_wrote_is_read(program, version, tmp_path):
    assert found_by(program, own_copy(version, tmp_path / "then")) == EXPECTED


def test_what_is_written_now_is_read_the_same(program, tmp_path):
    assert found_by(program, written(program, tmp_path / "now")) == EXPECTED


@each_version
def test_all_is_written_byte_for_byte_as_then(program, version, tmp_path):
    then = own_copy(version, tmp_path / "then")
    assert differing(written(program, tmp_path / "now", then), then, without_close) == []
