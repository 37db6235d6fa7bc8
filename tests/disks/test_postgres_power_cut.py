"""Real power cuts of a table of a PostgreSQL server that is replaced: see test_real_power_cut.py. The server's data and the
stash are on the image. Its sessions commit without waiting for the disk, unless they say that they do."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "servers"))
import postgres_cluster  # noqa: E402
from test_real_power_cut import (IS_LONG, KINDS, NOTHING_MORE, PLACE_WORKLOADS, TIMEOUT, Disk, note, places_cut_everywhere,  # noqa: E402
                                 require_mounts, worker_in)
from test_write_log import LoggedDisk, judged, require_log  # noqa: E402

FILE_SYSTEMS = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"]}
SIZE = 600 << 20  # most of it a hole


class DiskOfAServer(Disk):
    """With a server on it, which dies with it and recovers when it comes back."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.server = postgres_cluster.Cluster(self.directory / "server", synchronous_commit="off", wal_writer_delay="10s",
                                               autovacuum="off")
        self.server.own()

    def make_server(self):
        super().mount()
        self.server.data = self.mounted / "data"
        self.server.data.mkdir(mode=0o700)
        shutil.chown(self.server.data, *(postgres_cluster.NOBODY[each] for each in ("user", "group")))
        self.server.init()
        self.unmount()

    def mount(self):
        super().mount()
        self.start_server()

    def start_server(self):
        self.server.start()
        os.environ["STASH_POSTGRES"] = self.server.uri()

    def unmount(self):
        self.server.stop(signal.SIGKILL)
        deadline = time.monotonic() + TIMEOUT
        while self.is_mounted:
            try:
                super().unmount()
            except OSError:  # a process of the server's is not quite dead
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


class LoggedDiskOfAServer(LoggedDisk, DiskOfAServer):
    def run_whole(self, program, export):
        self.start_server()
        super().run_whole(program, export)


@contextlib.contextmanager
def made(kind, name):
    """Skips where there is no server, or no image can be mounted."""
    require_mounts(name)
    if postgres_cluster.programs() is None:
        pytest.skip("there is no PostgreSQL server to run")
    worker = worker_in("STASH_POWER_CUT_POSTGRES_WORKER")
    directory = Path(tempfile.mkdtemp(prefix="stash-power-cut."))  # which the server's user can reach, unlike pytest's
    directory.chmod(0o755)
    disk = kind(name, directory, worker, SIZE, FILE_SYSTEMS[name])
    try:
        try:
            Disk.mount(disk)
            disk.shut_down(NOTHING_MORE)
        except OSError as refused:
            pytest.skip(f"no {name} image can be mounted and shut down here: {refused}")
        finally:
            Disk.unmount(disk)
        disk.make_server()
        yield disk
    finally:
        disk.unmount()
        shutil.rmtree(directory)


@pytest.fixture
def disk(request):
    with made(DiskOfAServer, request.param) as disk:
        disk.mount()
        yield disk


@pytest.fixture
def logged(request):
    require_log()
    with made(LoggedDiskOfAServer, request.param) as disk:
        disk.keep_clean()
        yield disk


CUTS = [(file_system, kind, workload) for file_system in FILE_SYSTEMS for kind in KINDS for workload in PLACE_WORKLOADS
        if kind != "half written"  # of files that the worker writes
        and (IS_LONG or (file_system, kind, workload) == ("ext4", KINDS[0], "commit"))]


@pytest.mark.parametrize("disk, kind, workload", CUTS, indirect=["disk"])
def test_after_a_power_cut_at_any_call_the_old_table_or_the_new_one_is_there_whole(disk, kind, workload):
    # A cut takes half a second: --long tries each call in the first way on ext4, and one of five otherwise.
    stride = 7 if not IS_LONG else 1 if disk.name == "ext4" and kind == KINDS[0] else 5
    wrong = [one for _, one in places_cut_everywhere(disk, "table", kind, workload, stride=stride)]
    note(disk, "table of PostgreSQL", len(wrong), sum(map(bool, wrong)), stride)
    assert not any(wrong), [one for one in wrong if one]


@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
def test_these_cuts_find_steps_that_do_not_wait_for_the_disk_guilty(disk):
    tries = places_cut_everywhere(disk, "table", KINDS[0], "commit", "no file sync", stride=7)
    assert any(wrong for _, wrong in tries)


@pytest.mark.skipif(not IS_LONG, reason="each state takes half a second: with STASH_LONG only")
@pytest.mark.parametrize("workload", PLACE_WORKLOADS)
@pytest.mark.parametrize("logged", FILE_SYSTEMS, indirect=True)
def test_whatever_a_disk_kept_of_what_was_not_flushed_the_old_table_or_the_new_one_is_there_whole(logged, workload):
    states = list(judged(logged, "table of PostgreSQL", workload, stride=7))
    failures = [(cut.acknowledged, cut.flushed, wrong) for cut, wrong in states if wrong]
    note(logged, "table of PostgreSQL, a disk that keeps what was flushed", len(states), len(failures), 7)
    assert not failures
    assert len(states) > 10
