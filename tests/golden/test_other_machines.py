"""What one machine writes the others read, byte for byte: big-endian (s390x), arm64, and of 32 bits (i386), under
qemu-user. The unit tests run there too. Takes long."""
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "compile")]
from compiling import CORE_LIBRARIES, FLAGS, HEADERS, INCLUDE, includes, run, succeed  # noqa: E402
from kept import (EXPECTED, VERSIONS, differing, each_version, files_in, found_by, own_copy,  # noqa: E402
                  without_close, written)
from machines import MACHINES, NotToBeHad, Root  # noqa: E402

def on(*names):
    """In one worker: the tests of a machine share its libraries."""
    return pytest.mark.parametrize("machine", [
        pytest.param(machine, id=machine.name, marks=pytest.mark.xdist_group(machine.name))
        for machine in MACHINES if not names or machine.name in names])


each_machine = on()


def note(what, tried, bad):
    if path := os.environ.get("STASH_FIGURES"):
        with open(path, "a") as file:
            file.write(f"other machines\t{what}\t{tried}\t{bad}\n")


def read(program, directory):
    found = found_by(program, directory)
    note("records written on s390x, arm64, i386 or x86-64, and read on another", len(EXPECTED.splitlines()),
         len(set(EXPECTED.splitlines()) - set(found.splitlines())))
    assert found == EXPECTED


def compare(directory, other, *part_of_journal):
    names = differing(directory, other, *part_of_journal)
    note("files written there, and compared byte for byte with those of x86-64", len(files_in(other)), len(names))
    assert names == []


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Made when they are first asked for, and for a machine that cannot be had only once."""
    directory, made = tmp_path_factory.mktemp("roots"), {}

    def root_of(machine):
        if machine not in made:
            try:
                made[machine] = Root(machine, directory / machine.name)
            except NotToBeHad as reason:
                made[machine] = reason
        if isinstance(made[machine], NotToBeHad):
            pytest.skip(str(made[machine]))
        return made[machine]
    yield root_of
    shutil.rmtree(directory)


@pytest.fixture
def root(roots, machine):
    return roots(machine)


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    path = tmp_path_factory.mktemp("native") / "golden"
    succeed("g++", *FLAGS, HERE / "golden.cpp", "-o", path, *CORE_LIBRARIES, "-lsqlite3")
    return [path]


@pytest.fixture
def foreign(root):
    return root.golden


@pytest.fixture(scope="module")
def then(tmp_path_factory):
    """Of the latest version that is kept: its times and random numbers are written again."""
    return own_copy(VERSIONS[-1], tmp_path_factory.mktemp("then") / "kept")


@each_machine
@each_version
def test_what_a_released_version_wrote_is_read(foreign, version, tmp_path):
    read(foreign, own_copy(version, tmp_path / "then"))


@each_machine
@each_version
def test_all_is_written_byte_for_byte_as_then(foreign, version, tmp_path):
    kept = own_copy(version, tmp_path / "then")
    compare(written(foreign, tmp_path / "there", kept), kept, without_close)


@each_machine
def test_all_is_written_byte_for_byte_as_here(native, foreign, then, tmp_path):
    compare(written(foreign, tmp_path / "there", then), written(native, tmp_path / "here", then))


@each_machine
def test_each_reads_what_the_other_writes(native, foreign, tmp_path):
    read(native, written(foreign, tmp_path / "there"))
    read(foreign, written(native, tmp_path / "here"))


@each_machine
@pytest.mark.parametrize("first", ["here", "there"])
def test_a_lock_that_one_has_the_other_does_not_get(first, native, foreign, tmp_path):
    takes_first, takes_second = [[*program, "lock", tmp_path / "stash"]
                                 for program in ([native, foreign] if first == "here" else [foreign, native])]
    (tmp_path / "stash").mkdir(mode=0o700)
    with subprocess.Popen(takes_first, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == "locked locked\n"
        assert succeed(*takes_second, stdin=subprocess.DEVNULL) == "busy busy\n"
        holder.stdin.close()
    assert succeed(*takes_second, stdin=subprocess.DEVNULL) == "locked locked\n"


@each_machine
def test_headers_compile_without_a_warning(root, tmp_path):
    source = tmp_path / "headers.cpp"
    source.write_text(includes(HEADERS), encoding="utf-8")
    libpq = root.directory / "usr/include/postgresql"
    succeed(root.machine.compiler, *root.flags(), *FLAGS, "-isystem", libpq, "-fsyntax-only", source)


@on("i386")
def test_where_a_file_may_have_2_gib_and_no_more_it_does_not_compile(root):
    said = run(root.machine.compiler, *root.flags(), "-U_FILE_OFFSET_BITS", *FLAGS, "-fsyntax-only",
               HERE / "golden.cpp")
    assert said.returncode != 0 and "stash: compile with -D_FILE_OFFSET_BITS=64" in said.stderr


# Without them the test might be blind: on a little-endian machine none of these changes anything.
JOURNAL, CHECKSUM = "detail/journal/format.hpp", "detail/text/xxh64.hpp"
SLIPS = {
    "a number of the journal is written as it stands in memory":
        (JOURNAL, "boost::endian::store_little_u64(bytes, n);", "__builtin_memcpy(bytes, &n, sizeof n);"),
    "a number of the journal is read as it stands in the file":
        (JOURNAL, "return boost::endian::load_little_u64(reinterpret_cast<unsigned char const*>(&bytes[at]));",
         "std::uint64_t n = 0; return __builtin_memcpy(&n, &bytes[at], sizeof n), n;"),
    "a checksum takes its words as they stand in memory":
        (CHECKSUM, "std::endian::native == std::endian::little ? n : __builtin_bswap64(n)", "n"),
    "a checksum takes its half words as they stand in memory":
        (CHECKSUM, "std::endian::native == std::endian::little ? n : __builtin_bswap32(n)", "n")}


@pytest.mark.parametrize("slip", SLIPS)
@on("s390x")
def test_a_slip_in_the_order_of_bytes_is_found(slip, root, then, tmp_path):
    include = shutil.copytree(INCLUDE, tmp_path / "include")
    file, right, wrong = SLIPS[slip]
    text = (include / "stash" / file).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (include / "stash" / file).write_text(text.replace(right, wrong), encoding="utf-8")
    program = root.compile(HERE / "golden.cpp", tmp_path / "golden", f"-I{include}")
    (tmp_path / "now").mkdir(mode=0o700)
    is_read = run(*program, "read", then).stdout == EXPECTED
    is_written = run(*program, "write", tmp_path / "now", then).returncode == 0 and \
        differing(tmp_path / "now", then, without_close) == []
    assert not (is_read and is_written)


# Of unit_rest, and why.
SLOW = "it makes a process, a thread or a database some hundred times: minutes under qemu-user"
OTHER_ROOT = "qemu-user opens the machine's libraries' directory in place of /"
LEFT_OUT = {
    "cancellation/waits_for_the_end_of_each_call_of_a_stash": SLOW,
    "cancellation/waits_for_the_end_of_each_call_of_a_guard_and_of_its_destructor": SLOW,
    "cancellation/waits_for_a_journal_to_be_closed": SLOW,
    "basic_stash/a_process_killed_anywhere_leaves_the_old_or_the_new_state_and_recover_sweeps_behind_it": SLOW,
    "sqlite_place/whichever_call_of_sqlite_fails_the_table_is_the_old_one_or_the_new_one": SLOW,
    "sqlite_place/whichever_call_of_sqlite_is_the_last_of_the_process": SLOW,
    "tree_faults/wherever_the_process_is_killed_and_again_in_the_recovery_the_old_one_or_the_new_one_is_whole": SLOW,
    "tree_jobs/whoever_is_killed_whenever_nobody_is_at_work_a_whole_tree_is_there": SLOW,
    "descriptors/what_a_daemon_writes_to_descriptors_that_it_has_closed_goes_into_no_file_of_ours": OTHER_ROOT,
    "descriptors/their_places_are_taken_before_a_file_is_opened_that_lines_could_go_into": OTHER_ROOT,
    "descriptors/what_the_program_has_there_is_left_alone": OTHER_ROOT,
    "descriptors/nor_are_they_there_for_a_moment": OTHER_ROOT,
    "directory/a_program_with_more_rights_than_its_user_asks_no_environment":
        "it executes itself, which the kernel does not know how to",
}


@pytest.mark.parametrize("part", ["core", "rest"])
@each_machine
def test_unit_tests_pass(root, part, tmp_path):
    report = tmp_path / "report.xml"
    done = run("env", "-u", "STASH_LONG", *root.unit_tests(part), f"--logger=HRF,error,stdout:JUNIT,error,{report}",
               "--color_output=no", *[f"--run_test=!{case}" for case in LEFT_OUT if part == "rest"], timeout=3600)
    ran = [case for case in ET.parse(report).iter("testcase") if case.find("skipped") is None]
    bad = [case.get("name") for case in ran if case.find("failure") is not None or case.find("error") is not None]
    note("test cases of the unit tests on s390x, arm64 and i386", len(ran), len(bad))
    assert done.returncode == 0 and bad == [], done.stdout + done.stderr
    assert len(ran) > 200


@pytest.mark.parametrize("case", LEFT_OUT)
@each_machine
def test_unit_test_is_left_out(root, case):
    """So that each is counted as skipped, and none stays here under a name that it lost."""
    assert f"{case.split('/')[-1]}*" in run(*root.unit_tests("rest"), "--list_content").stderr
    pytest.skip(LEFT_OUT[case])
