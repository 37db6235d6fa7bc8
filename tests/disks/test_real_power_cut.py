"""Real power cuts: an ext4 image (with a journal, and without), an xfs and a btrfs image, cut at each system call of a
save, a clear, a guard, a recovery, with files, with a journal, and (with STASH_LONG) with SQLite; and of a tree and a table of SQLite that are replaced.

A program works in a file system on a loop device and says what was acknowledged. At its n-th call it is stopped, the
power is cut, the image is mounted again, which replays its journal (without one, e2fsck checks it first), and what is
found must be what was acknowledged,
or that with the change under way. Then `recover` must bring the words back and leave no litter. n grows until the
program ends before it; that last cut is the one after everything was acknowledged.

What reaches the image before a cut is up to the kernel. Each kind of cut finds it at another stage, and all are legal:

- nothing more: the file system is shut down and writes nothing more, not even its log;
- log flushed: its log was flushed just before, so that names are on disk whose bytes are not;
- half written: the same, and half of each file's bytes had been written back early;
- snapshot: what the loop device was sent so far, copied: no help of the file system's is needed;
- all written (with STASH_LONG): everything was, as if the cut came half a minute later.

Without STASH_LONG all that the program does is cut in the first way, with files on ext4, and some of it in the others, with a
journal, and on xfs.

These are states that this kernel chose, a few among all that a file system may leave. Both file systems have one
journal for all names, so that syncing a directory takes along every change of names before it: a missing sync of a new
directory into its parent never shows here. And the disk below keeps all that it is sent, in order.
"""

import fcntl
import itertools
import os
import shutil
import struct
import subprocess
import time
from typing import NamedTuple

import pytest

TIMEOUT = 60
IS_LONG = "STASH_LONG" in os.environ
SIZES = [10_000]  # of a word; half of it is a whole page

PLAIN = "ext4 without a journal"
FILE_SYSTEMS = {"ext4": (32 << 20, ["mkfs.ext4", "-q"]), "xfs": (300 << 20, ["mkfs.xfs", "-q"]),
                PLAIN: (32 << 20, ["mkfs.ext4", "-q", "-O", "^has_journal"])}
# It cannot be shut down: its image is copied.
ALL_FILE_SYSTEMS = FILE_SYSTEMS | {"btrfs": (128 << 20, ["mkfs.btrfs", "-q", "-M"])}

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: _IOR('X', 125, __u32)
LOG_FLUSHED, NOTHING_MORE = 1, 2
KINDS = ["nothing more", "log flushed", "half written", "snapshot"] + ["all written"] * IS_LONG

GONE = ""
OLD = "orders=old"
NEW = "orders=new"
ASIDE = "orders.superseded=old"


def both(one, other):
    return f"{one} {other}".strip()


UNSYNCED = (OLD, "orders=corrupt", GONE)
# What must be found: before the first acknowledgement, after it, after the next ... In a tuple: one of these.
WORKLOADS = {
    "save first": [GONE, NEW],
    "save": ["other=old", both(NEW, "other=old")],
    "overwrite": [OLD, NEW],
    "clear": [OLD, GONE],
    "clear what another removed": [(OLD, GONE), GONE],
    "set aside": [(OLD, both(ASIDE, OLD)), ASIDE],
    "set aside unsynced": [(*UNSYNCED, *(both(ASIDE, each) for each in UNSYNCED)), ASIDE],
    # saved, dropped, rebuilt, committed
    "commit": [GONE, OLD, OLD, OLD, GONE],
    # saved, dropped, restored, rolled back
    "roll back": [GONE, OLD, OLD, OLD, GONE],
    # adopted, dropped, rebuilt, committed
    "adopt": [OLD, OLD, OLD, OLD, GONE],
    "adopt unsynced": [UNSYNCED, OLD, OLD, OLD, GONE],
    # superseded, saved, dropped, rebuilt, committed
    "supersede": [(OLD, both(ASIDE, OLD)), ASIDE, *[both(ASIDE, NEW)] * 3, ASIDE],
    # restored, restored, recovered: the records are removed together
    "recover": ["a=old b=new", "a=old b=new", ("a=old b=new", "a=old", "b=new"), GONE],
}
# No file of a journal's is one record's, it sets aside in one step, and it may be written anew.
JOURNAL_WORKLOADS = {name: states for name, states in WORKLOADS.items() if name != "clear what another removed"} | {
    "save often": [(both(OLD, "other=old"), both(NEW, "other=old")), both(NEW, "other=old")],
    "set aside": [OLD, ASIDE],
    "supersede": [(OLD, ASIDE), ASIDE, *[both(ASIDE, NEW)] * 3, ASIDE],
}
SQLITE_WORKLOADS = {name: states for name, states in JOURNAL_WORKLOADS.items() if name != "save often"}
STORAGES = {"files": WORKLOADS, "journal": JOURNAL_WORKLOADS} | ({"sqlite": SQLITE_WORKLOADS} if IS_LONG else {})
# What is lost without a part of the protocol.
LOSSES = [
    ("files", "no file sync", "save first", "orders=corrupt"),
    ("files", "no file sync", "set aside unsynced", "orders.superseded=corrupt"),
    ("files", "no file sync", "commit", "orders=corrupt"),
    ("files", "no directory sync", "save", "other=old"),
    ("files", "no directory sync", "clear", OLD),
    ("files", "no directory sync", "commit", GONE),
    # Of a missing directory sync nothing shows: each sync of the file takes its name along.
    ("journal", "no file sync", "save", "other=old"),
    ("journal", "no file sync", "set aside", OLD),
]


# The journal, whose calls are more and whose cuts are slower, is not tried as long.
def calls_of(storage):
    return "all" if IS_LONG and storage == "files" else "changes"


def is_tried(file_system, storage, kind, workload):
    on = (kind == KINDS[0]) + ((file_system, storage) == ("ext4", "files"))
    some = ["save", "overwrite", "set aside", "commit"]
    if file_system == PLAIN:
        return kind in KINDS[::3] if IS_LONG else kind == "snapshot" and storage == "files" and workload in some
    return IS_LONG or on == 2 or (on == 1 and workload in some)


ON_EACH = [each for storage, workloads in STORAGES.items()
           for each in itertools.product(FILE_SYSTEMS, [storage], KINDS, workloads) if is_tried(*each)]


class Run(NamedTuple):
    """How far the program came before the cut."""

    acknowledged: list
    ended: bool


class Case(NamedTuple):
    """The directories of one run of the program: on the image, and where the power is never cut."""

    directory: os.PathLike
    resources: os.PathLike

    def live(self):
        return {file.name: file.read_text() for file in self.resources.iterdir()}

    def remove(self):
        shutil.rmtree(self.directory)
        shutil.rmtree(self.resources)


class Disk:
    """An image with a file system, mounted and unmounted, and the program that works on it."""

    def __init__(self, name, directory, worker, size, mkfs):
        self.name = name
        self.worker = worker
        self.directory = directory
        self.image = directory / "image"
        self.copy = directory / "copy"
        self.mounted = directory / "mounted"
        self.is_mounted = False  # os.path.ismount() says no of a file system that was shut down
        self.numbers = itertools.count()
        self.mounted.mkdir()
        self.image.touch()
        os.truncate(self.image, size)
        self.command(*mkfs, self.image)

    def command(self, *words):
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode != 0:
            raise OSError(f"{words[0]}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def mount(self):
        if self.name == PLAIN:
            checked = subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, timeout=TIMEOUT)
            if checked.returncode > 1:  # 1: it was damaged, and is mended
                raise OSError("e2fsck could not mend it")
        self.command("mount", "-o", "loop", self.image, self.mounted)
        self.is_mounted = True

    def unmount(self):
        """Detaches the loop device too. Whoever makes a mount namespace meanwhile, as other tests do, has a copy of the
        mount, and with that the file system stays shut down, and would be mounted again as it is."""
        if self.is_mounted:
            self.command("umount", self.mounted)
            self.is_mounted = False
            deadline = time.monotonic() + TIMEOUT
            while self.command("losetup", "-j", self.image) and time.monotonic() < deadline:
                time.sleep(0.01)

    def shut_down(self, how):
        fd = os.open(self.mounted, os.O_RDONLY)
        try:
            # Were the image not mounted, this would be the machine's own file system.
            assert os.fstat(fd).st_dev != os.stat(self.directory).st_dev
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(fd)

    def new_case(self):
        number = str(next(self.numbers))
        case = Case(self.mounted / number, self.directory / number)
        case.directory.mkdir()
        case.resources.mkdir()
        return case

    def run(self, case, storage, workload, n, kind, size=SIZES[0], protocol="ours"):
        """Runs the program up to its n-th call, cuts the power, and gives it back."""
        how = kind if kind == "half written" else protocol
        place = [storage, case.directory, case.resources, str(size)]
        program = [self.worker, "run", *place, workload, str(n), calls_of(storage), how]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                said = []
                while said[-1:] not in (["stopped"], ["ended"]):
                    line = process.stdout.readline()
                    assert line, f"the program died after it had said {said}"
                    said.append(line.strip())
                self.cut(kind)
            finally:
                process.kill()
        self.come_back()
        return Run(said[:-1], said[-1] == "ended")

    def cut(self, kind):
        if kind == "snapshot":
            self.command("cp", "--sparse=always", self.image, self.copy)
            return
        if kind == "all written":
            self.command("sync", "-f", self.mounted)
        self.shut_down(LOG_FLUSHED if kind in ("log flushed", "half written") else NOTHING_MORE)

    def come_back(self):
        self.unmount()
        if self.copy.exists():
            self.copy.replace(self.image)
        self.mount()

    def check(self, case, storage, size=SIZES[0]):
        """What is in the stash, and what is in it when `recover` has run."""
        lines = self.command(self.worker, "check", storage, case.directory, case.resources, str(size)).splitlines()
        return lines[0], lines[-1]


def worker_in(variable):
    if not os.environ.get(variable):
        pytest.fail(f"{variable} is not set: it must be the path of the worker to run")
    return os.path.abspath(os.environ[variable])


@pytest.fixture(scope="session")
def worker():
    return worker_in("STASH_POWER_CUT_WORKER")


def require_mounts(name):
    """Skips where this machine can mount no image."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount an image")
    mkfs = ALL_FILE_SYSTEMS[name][1][0]
    if shutil.which(mkfs) is None:
        pytest.skip(f"there is no {mkfs}")


@pytest.fixture(scope="session")
def formatted(request, worker, tmp_path_factory):
    """Skips where this machine can mount no image, or cut none off."""
    name = request.param
    require_mounts(name)
    disk = Disk(name, tmp_path_factory.mktemp(name), worker, *ALL_FILE_SYSTEMS[name])
    try:
        disk.mount()
        if name in FILE_SYSTEMS:
            disk.shut_down(NOTHING_MORE)
    except OSError as refused:
        pytest.skip(f"no {name} image can be mounted and shut down here: {refused}")
    finally:
        disk.unmount()
    yield disk
    disk.image.unlink()


@pytest.fixture
def disk(formatted):
    formatted.mount()
    yield formatted
    formatted.unmount()


def note(disk, storage, cuts, failed, stride=1):
    """A line for `tests/run.sh --long`, which adds up those of the same test."""
    if "STASH_FIGURES" in os.environ:
        with open(os.environ["STASH_FIGURES"], "a") as file:
            calls = "each system call" if stride == 1 else f"one of {stride} system calls"
            tried = f"cuts at {calls}, each acknowledgement and the end, mounted again and recovered"
            file.write(f"real power cuts: {disk.name}, {storage}\t{tried}\t{cuts}\t{failed}\n")


def words(found, aside):
    """Of "orders=new orders.superseded=old": the records, or those set aside."""
    pairs = (part.split("=") for part in found.split() if "=" in part)
    return {name: word for name, word in pairs if ("." in name) == aside}


def without_temporaries(found):
    return " ".join(part for part in found.split() if not part.endswith(".tmp"))


def allowed(states, run):
    """What may be found: what was acknowledged, or what was under way."""
    done = len(run.acknowledged)
    return {each for state in states[done : done + 2] for each in ((state,) if isinstance(state, str) else state)}


def what_is_wrong(states, run, found, recovered, live_before, live):
    """The ways in which a promise was broken; none is well."""
    if without_temporaries(found) not in allowed(states, run):
        yield f"found {found!r}, which is none of {allowed(states, run)}"
    records = words(found, aside=False)
    whole = {key: word for key, word in records.items() if word != "corrupt"}
    if live != whole | live_before:
        yield f"{live} is live after recover found {whole} and {live_before} live"
    left = {key: word for key, word in records.items() if key in live_before or word == "corrupt"}
    expected = sorted(f"{name}={word}" for name, word in (left | words(found, aside=True)).items())
    if recovered.split() != expected:
        yield f"recover left {recovered!r} of {found!r}"


def cut_everywhere(disk, storage, workload, kind, size=SIZES[0], protocol="ours"):
    """A run, what was found after its cut, and what is wrong with that, for each call at which it can be cut."""
    states = STORAGES[storage][workload]
    for n in itertools.count(1):
        case = disk.new_case()
        run = disk.run(case, storage, workload, n, kind, size, protocol)
        live_before = case.live()
        found, recovered = disk.check(case, storage, size)
        wrong = list(what_is_wrong(states, run, found, recovered, live_before, case.live()))
        case.remove()
        yield run, found, wrong
        if run.ended:
            assert len(run.acknowledged) == len(states) - 1
            assert n > len(states)
            return


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("formatted, storage, kind, workload", ON_EACH, indirect=["formatted"])
def test_after_a_power_cut_at_any_call_what_was_acknowledged_is_there_and_recovered(
    disk, storage, workload, kind, size
):
    runs = list(cut_everywhere(disk, storage, workload, kind, size))
    failures = [(n, run, wrong) for n, (run, _, wrong) in enumerate(runs, 1) if wrong]
    note(disk, storage, len(runs), len(failures))
    assert not failures


@pytest.mark.parametrize("formatted, storage, kind", dict.fromkeys(each[:3] for each in ON_EACH), indirect=["formatted"])
def test_power_cuts_again_and_again_in_the_recovery_lose_no_word(disk, storage, kind):
    case = disk.new_case()
    for n in itertools.count(1):
        run = disk.run(case, storage, "recover" if n == 1 else "go on recovering", n, kind)
        if run.ended:
            break
    _, recovered = disk.check(case, storage)
    live = case.live()
    cuts = 2 if storage == "sqlite" else 4  # at least; SQLite changes more in one call
    is_well = n > cuts and live == {"a": "old", "b": "new"} and words(recovered, aside=False).items() <= live.items()
    note(disk, storage, n, int(not is_well))
    assert is_well, (n, live, recovered)


# A fresh loop device's data may be written back early, once in some hundred cuts; hence again.
@pytest.mark.parametrize("formatted, kind", [
    ("ext4", "nothing more"), *[("ext4", "snapshot"), ("xfs", "nothing more"), ("xfs", "snapshot")] * IS_LONG
], indirect=["formatted"])
@pytest.mark.parametrize("storage, protocol, workload, loss", LOSSES)
def test_these_cuts_find_a_protocol_without_a_sync_guilty(disk, storage, protocol, workload, loss, kind):
    tries = itertools.chain.from_iterable(
        cut_everywhere(disk, storage, workload, kind, protocol=protocol) for _ in range(5)
    )
    assert any(wrong and without_temporaries(found) == loss for _, found, wrong in tries)


# What there may be before the first acknowledgement, after it, after the next ...: of a tree or a table that is replaced,
# the old one or the new one, whole, and where it was said to be.
OLD_SOMEWHERE = {"old", "parked old"}
PLACE_WORKLOADS = {
    "commit": [OLD_SOMEWHERE, {"parked old"}, {"parked old", "new"}, {"new"}],  # parked, built, committed
    "roll back": [OLD_SOMEWHERE, {"parked old"}, OLD_SOMEWHERE, {"old"}],
    "recover": [OLD_SOMEWHERE, {"parked old"}, OLD_SOMEWHERE, {"old"}],
}
PLACES = [(file_system, place, kind, workload)
          for file_system in ALL_FILE_SYSTEMS for place in ["tree", "table"] for kind in KINDS for workload in PLACE_WORKLOADS
          if (file_system != "btrfs" or kind == "snapshot")
          and (IS_LONG or workload == "commit" and (file_system, kind) in [("ext4", KINDS[0]), ("btrfs", "snapshot")]
               or place == "tree" and kind == KINDS[0] and (workload == "commit" or file_system == "ext4" and workload == "roll back"))]


def places_cut_everywhere(disk, place, kind, workload, protocol="ours", stride=1):
    """What was found after the cut at each call, or at one of `stride`, and what is wrong with it."""
    states = PLACE_WORKLOADS[workload]
    for n in itertools.count(1, stride):
        case = disk.new_case()
        run = disk.run(case, place, workload, n, kind, protocol=protocol)
        found, recovered = disk.check(case, place)
        case.remove()
        is_well = found in states[len(run.acknowledged)] and recovered == found.removeprefix("parked ")
        yield found, "" if is_well else f"call {n}, {run.acknowledged}: found {found}, then {recovered}"
        if run.ended:
            assert len(run.acknowledged) == len(states) - 1 and n > len(states)
            return


@pytest.mark.parametrize("formatted, place, kind, workload", PLACES, indirect=["formatted"])
def test_after_a_power_cut_at_any_call_the_old_one_or_the_new_one_is_there_whole(disk, place, kind, workload):
    wrong = [one for _, one in places_cut_everywhere(disk, place, kind, workload)]
    note(disk, place, len(wrong), sum(map(bool, wrong)))
    assert not any(wrong), [one for one in wrong if one]


@pytest.mark.parametrize("place", ["tree", "table"])
@pytest.mark.parametrize("formatted", ALL_FILE_SYSTEMS if IS_LONG else ["ext4"], indirect=["formatted"])
def test_power_cuts_again_and_again_in_the_recovery_of_a_place_leave_it_whole(disk, place):
    case = disk.new_case()
    first = 30 if place == "tree" else 60  # with something parked and something half-built
    for n in itertools.count(1):
        if disk.run(case, place, "recover" if n == 1 else "go on recovering", n + first * (n == 1), "snapshot").ended:
            break
    found, recovered = disk.check(case, place)
    note(disk, place, n, int(recovered != "old"))
    assert (found, recovered) == ("old", "old")
    assert n > 2


@pytest.mark.parametrize("formatted", ["ext4"], indirect=["formatted"])
def test_these_cuts_find_a_tree_whose_files_are_not_synced(disk):
    tries = itertools.chain.from_iterable(
        places_cut_everywhere(disk, "tree", KINDS[0], "commit", "no file sync") for _ in range(5))
    assert any(found in ("mixture", "none") and wrong for found, wrong in tries)
