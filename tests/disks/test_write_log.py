"""Power cuts on a disk that keeps only what was flushed.

The images of test_real_power_cut.py keep whatever they are sent. Here the same program runs to its end on a disk that logs
each write and each flush: QEMU's blklogwrites, exported by FUSE, with a loop device on it. From the log come states in
which such a disk may be found: what was flushed, and of what was written since all up to some moment, or any part, for a
disk may write in any order, and cut a write off at any 4 KiB. Each state is mounted, checked and recovered, and judged as
in test_real_power_cut.py. When something was acknowledged stands in the log too: the program writes a sector then, which
is no file's.
"""

import os
import random
import shutil
import struct
import subprocess
import time
from typing import NamedTuple

import pytest
from test_real_power_cut import (ALL_FILE_SYSTEMS, IS_LONG, LOSSES, PLACE_WORKLOADS, PLAIN, SIZES, STORAGES, TIMEOUT, Case,
                                 Disk, Run, note, require_mounts, what_is_wrong, worker_in)

FILE_SYSTEMS = ALL_FILE_SYSTEMS | {"f2fs": (128 << 20, ["mkfs.f2fs", "-q"])}
SECTOR, PAGE = 512, 4096
FLUSHES, DISCARDS = 1, 4  # flags of an entry, as Linux has them for dm-log-writes
DRAWS = 4 if IS_LONG else 1  # of the parts of what was not flushed, after each write


class Write(NamedTuple):
    """Of `size` bytes; without data it is a discard, after which they may be zeros."""

    at: int
    size: int
    data: bytes

    def apply(self, file):
        file.seek(self.at)
        file.write(self.data or bytes(self.size))

    def torn(self, draw):
        """The first pages of it, or none."""
        pages = draw.randrange(1 + (self.size - 1) // PAGE) * PAGE
        return self._replace(size=pages, data=self.data[:pages])


def entries(log, marks_at):
    """A Write each, a mark's text, or None for a flush."""
    with open(log, "rb") as file:
        file.seek(SECTOR)  # behind the log's own header
        while head := file.read(SECTOR):
            sector, count, flags, _ = struct.unpack_from("<4Q", head)
            data = b"" if flags & DISCARDS else file.read(count * SECTOR)
            if sector * SECTOR == marks_at:
                yield data.rstrip(b"\0").decode()
            elif count > 0:
                yield Write(sector * SECTOR, count * SECTOR, data)
            if flags & FLUSHES:
                yield None


class Cut(NamedTuple):
    """What was acknowledged, what was live, and which writes had been done: all of `flushed`, and `unflushed`."""

    acknowledged: int
    live: dict
    flushed: int
    unflushed: list


def cuts(log, draw):
    """The states in which the disk may be found, from the moment that the program says that it is prepared."""
    acknowledged, live, flushed, unflushed = -1, {}, [], []
    for entry in log:
        if entry is None:
            flushed += unflushed
            unflushed = []
        elif isinstance(entry, Write):
            unflushed.append(entry)
        elif entry.startswith("live"):
            live = dict(pair.split("=") for pair in entry.split()[1:])
        else:
            acknowledged += 1
        if acknowledged < 0:
            continue
        parts = [unflushed]
        if isinstance(entry, str):
            parts.append([])
        for _ in range(DRAWS if unflushed else 0):
            some = [each for each in unflushed if draw.random() < 0.5]
            if some and draw.random() < 0.5:
                torn = draw.randrange(len(some))
                some[torn] = some[torn].torn(draw)
            parts.append(some)
        for part in parts:
            yield Cut(acknowledged, live, len(flushed), list(part))


class LoggedDisk(Disk):
    """A disk whose writes are logged while the program runs, and that is then made anew as it may be found."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.size = self.image.stat().st_size
        self.clean = self.directory / "clean"

    def keep_clean(self):
        """From here on each run begins with what there is now."""
        self.command("cp", "--sparse=always", self.image, self.clean)

    def record(self, case, *what, **how):
        """The log of a whole run."""
        recorded, log, export = (self.directory / each for each in ("recorded", "log", "export"))
        self.command("cp", "--sparse=always", self.clean, recorded)
        self.command("truncate", f"--size={self.size + PAGE}", recorded)
        log.write_bytes(b"")
        export.touch()
        server = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=disk,filename={recorded},discard=unmap",
             "--blockdev", f"driver=file,node-name=log,filename={log}",
             "--blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log,discard=unmap",
             "--export", f"type=fuse,id=export,node-name=logged,mountpoint={export},writable=on"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            until = time.monotonic() + TIMEOUT
            while export.stat().st_size == 0 and server.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            if export.stat().st_size == 0:
                server.kill()
                raise OSError(f"qemu-storage-daemon: {server.communicate()[0].strip()}")
            self.run_on(export, case, *what, **how)
        finally:
            server.terminate()
            server.communicate(timeout=TIMEOUT)
        return list(entries(log, self.size + PAGE - SECTOR))

    def run_on(self, export, case, storage, workload, protocol="ours", wrapper=()):
        device = self.command("losetup", "--find", "--show", f"--sizelimit={self.size}", export).strip()
        try:
            self.command("mount", device, self.mounted)
            self.is_mounted = True
            try:
                for each in case:
                    each.mkdir()
                place = [storage, *case, str(SIZES[0])]
                self.run_whole([*wrapper, self.worker, "run", *place, workload, str(10**9), "changes", protocol], export)
            finally:
                self.unmount()
        finally:
            self.command("losetup", "--detach", device)
            shutil.rmtree(case.resources)

    def run_whole(self, program, export):
        ran = subprocess.run(program, input="", capture_output=True, text=True, timeout=TIMEOUT,
                             env=os.environ | {"STASH_MARKS": str(export)})
        assert ran.stdout.endswith("ended\n"), f"the program died: {ran.stdout}{ran.stderr}"

    def states(self, log, draw, stride):
        """Mounts one of `stride` in turn, and the last."""
        flushed = self.directory / "flushed"
        self.command("cp", "--sparse=always", self.clean, flushed)
        writes, done = [each for each in log if isinstance(each, Write)], 0
        every = {(cut.acknowledged, *cut.live.items(), cut.flushed, *cut.unflushed): cut for cut in cuts(log, draw)}
        for cut in list(every.values())[::-stride][::-1]:
            with open(flushed, "r+b") as file:
                for each in writes[done:cut.flushed]:
                    each.apply(file)
            done = cut.flushed
            self.command("cp", "--sparse=auto", flushed, self.image)
            with open(self.image, "r+b") as file:
                for each in cut.unflushed:
                    each.apply(file)
            self.mount()
            try:
                yield cut
            finally:
                self.unmount()


def require_log():
    """Skips where no disk's writes can be logged."""
    if shutil.which("qemu-storage-daemon") is None:
        pytest.skip("there is no qemu-storage-daemon")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")


@pytest.fixture(scope="session")
def logged(request, tmp_path_factory):
    """Skips where this machine can mount no such disk."""
    name = request.param
    worker = worker_in("STASH_POWER_CUT_WORKER")
    require_log()
    if name == "f2fs" and shutil.which("mkfs.f2fs") is None:
        pytest.skip("there is no mkfs.f2fs")
    require_mounts(name if name in ALL_FILE_SYSTEMS else "ext4")
    disk = LoggedDisk(name, tmp_path_factory.mktemp(f"logged {name}"), worker, *FILE_SYSTEMS[name])
    try:
        disk.mount()
        disk.unmount()
        disk.keep_clean()
        disk.record(case_of(disk), "files", "save first")
    except OSError as refused:
        pytest.skip(f"no {name} can be mounted on a disk whose writes are logged: {refused}")
    yield disk


def case_of(disk):
    return Case(disk.mounted / "case", disk.directory / "resources")


# What may be found before the reload ends, and then.
RELOAD_WORKLOADS = {"reload": {"commit": [{"old", "new"}, {"new"}], "fail": [{"old"}, {"old"}]},
                    "reload words": {"commit": [{"old", "stashed", "new"}, {"new"}],
                                     "fail": [{"old", "stashed", "empty"}, {"empty"}]}}


def what_is_wrong_now(disk, case, storage, workload, cut):
    """The ways in which a promise was broken, in the state that is mounted; none is well."""
    try:
        found, recovered = disk.check(case, storage)
    except OSError as problem:
        return [str(problem)]
    if storage in STORAGES:  # of the run only how much was acknowledged is looked at
        run = Run([""] * cut.acknowledged, False)
        return list(what_is_wrong(STORAGES[storage][workload], run, found, recovered, cut.live, case.live()))
    if storage in RELOAD_WORKLOADS:
        states, expected = RELOAD_WORKLOADS[storage][workload], found.replace("stashed", "empty")
    else:
        states, expected = PLACE_WORKLOADS[workload], found.removeprefix("parked ")
    is_well = found in states[cut.acknowledged] and recovered == expected
    return [] if is_well else [f"found {found!r}, then {recovered!r}"]


def judged(disk, storage, workload, stride=1, **how):
    """Each state of the disk, or one of `stride`, and what is wrong with it."""
    case = case_of(disk)
    log = disk.record(case, storage, workload, **how)
    for cut in disk.states(log, random.Random(f"{storage} {workload}"), stride):
        case.resources.mkdir()
        try:
            for name, word in cut.live.items():
                (case.resources / name).write_text(word)
            case.directory.mkdir(exist_ok=True)
            yield cut, what_is_wrong_now(disk, case, storage, workload, cut)
        finally:
            shutil.rmtree(case.resources)
    workloads = STORAGES.get(storage) or RELOAD_WORKLOADS.get(storage) or PLACE_WORKLOADS
    assert cut.acknowledged == len(workloads[workload]) - 1  # the log was read to its end


JOBS = [(each, workload) for each, workloads in STORAGES.items() for workload in workloads] + \
       [(each, workload) for each in ("tree", "table") for workload in PLACE_WORKLOADS] + \
       [(each, workload) for each, workloads in RELOAD_WORKLOADS.items() for workload in workloads]
FEW = {"ext4": [("files", "set aside"), ("files", "commit"), ("journal", "commit"), ("tree", "commit"),
                ("reload", "commit"), ("reload words", "commit")], "xfs": [("files", "commit")], "btrfs": [("files", "commit")]}


def jobs_on(name):
    if not IS_LONG:
        return FEW.get(name, [])
    # Without a journal, what is renamed over a file that stands there may be under neither name; the journal and SQLite do that.
    return [job for job in JOBS if name != PLAIN or job[0] in ("files", "tree") and job[1] != "overwrite"]


@pytest.mark.parametrize("logged, storage, workload", [(name, *job) for name in FILE_SYSTEMS for job in jobs_on(name)],
                         indirect=["logged"])
def test_whatever_a_disk_kept_of_what_was_not_flushed_what_was_acknowledged_is_there_and_recovered(logged, storage, workload):
    states = list(judged(logged, storage, workload))
    failures = [(cut.acknowledged, cut.flushed, len(cut.unflushed), wrong) for cut, wrong in states if wrong]
    note(logged, f"{storage}, a disk that keeps what was flushed", len(states), len(failures))
    assert not failures
    assert len(states) > 10


@pytest.mark.parametrize("logged", ["ext4"], indirect=True)
@pytest.mark.parametrize("storage, workload", [("files", "commit"), ("journal", "commit"), ("tree", "commit")] + [
    ("sqlite", "commit"), ("table", "commit")] * IS_LONG)
def test_a_disk_whose_flushes_are_swallowed_is_found_to_lose_what_was_acknowledged(logged, storage, workload):
    if shutil.which("eatmydata") is None:
        pytest.skip("there is no eatmydata")
    assert any(wrong for cut, wrong in judged(logged, storage, workload, wrapper=["eatmydata"]) if cut.acknowledged > 0)


@pytest.mark.parametrize("logged", ["ext4"], indirect=True)
@pytest.mark.parametrize("storage, protocol, workload", [each[:3] for each in LOSSES][::1 if IS_LONG else 3])
def test_these_states_find_a_protocol_without_a_sync_guilty(logged, storage, protocol, workload):
    assert any(wrong for _, wrong in judged(logged, storage, workload, protocol=protocol))
