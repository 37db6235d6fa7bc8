"""The shipped programs, as they are, where the system fails them: no seam of ours is used, and nothing is told of it.

strace makes the n-th call of a kind fail with an errno, or all from there on, or kills the program there; libfiu makes calls
of the C library fail at random; stress-ng takes memory, disk and time away beside that; libfaketime turns the clock.
Whatever comes, words and rows are whole afterwards, and the next run ends well.
"""

import os
import random
import re
import shutil
import signal
import subprocess
from typing import Callable, NamedTuple

import pytest

from job import TIMEOUT, Job

IS_LONG = "STASH_LONG" in os.environ
SOME = None if IS_LONG else 8  # so many of the faults are tried

# Not ENOENT, which says that nothing is there, and is believed; not brk, which the kernel lets fail in another way.
ERRNOS = {
    "openat": ["EACCES", "EMFILE"], "read": ["EIO"], "pread64": ["EIO"], "write": ["EIO", "ENOSPC", "EPIPE"],
    "writev": ["EIO", "ENOSPC"], "pwrite64": ["EIO", "ENOSPC"], "pwritev": ["EIO", "ENOSPC"], "pwritev2": ["EIO", "ENOSPC"],
    "fsync": ["EIO", "ENOSPC"], "fdatasync": ["EIO", "ENOSPC"], "renameat": ["EIO", "ENOSPC"], "rename": ["EIO"],
    "renameat2": ["EIO", "EINVAL", "EEXIST"], "link": ["EIO"], "linkat": ["EIO"], "unlink": ["EIO"], "unlinkat": ["EIO", "EPERM"],
    "mkdir": ["EIO", "ENOSPC"], "mkdirat": ["EIO", "ENOSPC"], "rmdir": ["EIO"], "newfstatat": ["EIO"], "statx": ["EIO"],
    "fstat": ["EIO"], "getdents64": ["EIO"], "fcntl": ["EAGAIN", "EINTR"], "ftruncate": ["EIO"], "fallocate": ["ENOSPC"],
    "fchmod": ["EPERM"], "fchown": ["EPERM"], "close": ["EIO"], "mmap": ["ENOMEM"], "munmap": ["ENOMEM"], "lseek": ["EIO"],
    "getrandom": ["EINTR"], "flock": ["EINTR"], "statfs": ["EIO"], "fstatfs": ["EIO"],
}
KILL = "signal=KILL"

OLD, NEW = [("1", "2.5"), ("2", "3")], [("1", "2.5"), ("2", "4"), ("3", "5")]
WORDS = {"price": {"label": "Net", "notes": "in EUR, without VAT"}}


def csv_of(rows):
    return "id,price\n" + "".join(",".join(row) + "\n" for row in rows)


def shown_words(job):
    return {name: info for name, info in job.show().infos.items() if info != "null"}


class Work(NamedTuple):
    """What a program is to do, in a directory that `prepare` made, and whether all is whole afterwards."""

    prepare: Callable
    command: Callable
    check: Callable


def pushing(keep, stash):
    where = {"files": "stash", "journal": "journal:journal", "sqlite": "sqlite:stash.sqlite"}[stash]

    def job_in(directory):
        job = Job(directory, "orders")
        job.stash = where if stash == "files" else where.replace(":", f":{directory}/")
        if stash == "files":
            job.stash = directory / where
        return job

    def prepare(directory):
        job = job_in(directory)
        job.file("new.csv", csv_of(NEW))
        job.push(job.file("old.csv", csv_of(OLD)))
        job.annotate(WORDS)

    def command(directory):
        return job_in(directory).command("push", "--keep", keep, directory / "new.csv")

    def check(directory, has_ended_well):
        job = job_in(directory)
        counted = job.recover()
        assert counted.get("corrupt", 0) == counted.get("failed", 0) == 0
        words = shown_words(job)
        assert set(words) == set(WORDS) and "without VAT" in words["price"]
        whole = [NEW] if has_ended_well else [OLD, NEW] if keep == "everything" else [OLD, NEW, []]
        assert job.table() in whole
        job.push(directory / "new.csv")
        assert job.table() == NEW and shown_words(job) == words
        assert job.stashes() == [] and job.beside() == []

    return Work(prepare, command, check)


def recovering():
    push = pushing("words", "files")

    def prepare(directory):
        push.prepare(directory)
        Job(directory, "orders").push(directory / "new.csv", "--keep", "words", "--crash-at", "mid-load", exits=-signal.SIGKILL)

    def command(directory):
        return Job(directory, "orders").command("recover")

    def check(directory, has_ended_well):
        job = Job(directory, "orders")
        if has_ended_well:
            assert shown_words(job)
        push.check(directory, False)

    return Work(prepare, command, check)


def annotating():
    def prepare(directory):
        pushing("everything", "files").prepare(directory)
        Job(directory, "orders").file("typed.json", '{"price": {"label": "Gross"}}')

    def command(directory):
        return Job(directory, "orders").command("annotate", directory / "typed.json")

    def check(directory, has_ended_well):
        price = shown_words(Job(directory, "orders"))["price"]
        assert "Gross" in price or not has_ended_well and "Net" in price

    return Work(prepare, command, check)


def replacing():
    """tests/examples/directory.cpp, whose last run has left a day's report."""

    def command(directory):
        return [example("directory"), directory / "at"]

    def prepare(directory):
        subprocess.run(command(directory), check=True, capture_output=True, timeout=TIMEOUT)

    def check(directory, has_ended_well):
        whole = [path for path in (directory / "at").rglob("report.csv") if re.fullmatch(r"day [13]\n", path.read_text())]
        assert whole  # in its place, or parked beside it; the program tells of what fails, and ends well all the same
        prepare(directory)
        assert (directory / "at/reports/report.csv").read_text() == "day 3\n"
        assert sorted(path.name for path in (directory / "at").iterdir()) == ["reports", "stash"]

    return Work(prepare, command, check)


WORKS = {
    "push, keep everything, files": pushing("everything", "files"),
    "push, keep words, files": pushing("words", "files"),
    "push, keep words, journal": pushing("words", "journal"),
    "push, keep words, sqlite": pushing("words", "sqlite"),
    "recover": recovering(),
    "annotate": annotating(),
    "replace a directory": replacing(),
}
each_work = pytest.mark.parametrize("work", WORKS.values(), ids=WORKS.keys())


def example(name):
    path = os.environ.get(f"STASH_EXAMPLE_{name.upper()}")
    if not path:
        pytest.fail(f"STASH_EXAMPLE_{name.upper()} is not set: it must be the path of that example's program")
    return os.path.abspath(path)


def require(tool):
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool}")


def run(command, directory):
    return subprocess.run([str(word) for word in command], cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace", timeout=6 * TIMEOUT)


class Trial:
    """Does `work` again and again, from the same beginning, and notes what became of it."""

    def __init__(self, work, directory):
        self.work, self.prepared, self.directory = work, directory / "prepared", directory / "job"
        self.prepared.mkdir()
        work.prepare(self.prepared)
        self.clean = self.run([])
        assert self.clean.returncode == 0, self.clean.stderr
        self.outcomes = {}

    def run(self, how):
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(self.prepared, self.directory, symlinks=True)
        return run([*how, *self.work.command(self.directory)], self.directory)

    def attempt(self, name, how, is_killed=False, is_mute=False):
        try:
            done = self.run(how)
        except subprocess.TimeoutExpired as problem:
            self.outcomes[name] = True, str(problem)
            return
        has_felt_it = any(getattr(done, each) != getattr(self.clean, each) for each in ("returncode", "stdout", "stderr"))
        self.outcomes[name] = has_felt_it, self.what_is_wrong(done, is_killed, is_mute)

    def what_is_wrong(self, done, is_killed, is_mute):
        """Empty: nothing."""
        # An allocation may fail before main(), where libraries make what is static: nobody could catch that.
        is_stillborn = done.returncode == -signal.SIGABRT and re.match(r"terminate called.*\n.*bad_alloc", done.stderr)
        if done.returncode < 0 and not (is_killed and done.returncode == -signal.SIGKILL) and not is_stillborn:
            return f"died of signal {-done.returncode}: {done.stderr}"
        if done.returncode > 0 and not done.stderr and not is_mute:
            return f"exit {done.returncode}, without a word"
        try:
            self.work.check(self.directory, done.returncode == 0)
            return ""
        except (AssertionError, pytest.fail.Exception, OSError, subprocess.SubprocessError) as problem:
            return f"exit {done.returncode}: {done.stderr}\nthen: {problem}"

    def judge(self, what):
        """With a line for `tests/run.sh --long`."""
        wrong = {name: why for name, (_, why) in self.outcomes.items() if why}
        if "STASH_FIGURES" in os.environ:
            with open(os.environ["STASH_FIGURES"], "a") as file:
                file.write(f"faults from outside\t{what}\t{len(self.outcomes)}\t{len(wrong)}\n")
        assert not wrong
        assert any(has_felt_it for has_felt_it, _ in self.outcomes.values())  # else nothing was injected


@pytest.fixture
def trial(work, tmp_path):
    return Trial(work, tmp_path)


def faults_of(trial, trace):
    """As strace takes them: of each call from the first on that has to do with the job."""
    done = trial.run(["strace", "-f", "-qq", "-o", trace])
    assert done.returncode == 0, done.stderr
    count, is_begun, faults = {}, False, []
    for line in trace.read_text(errors="replace").splitlines():
        found = re.match(r"\d+ +(\w+)\(", line)
        if found is None or found[1] not in ERRNOS:
            continue
        call = found[1]
        n = count[call] = count.get(call, 0) + 1
        is_begun = is_begun or str(trial.directory) in line
        if not is_begun:
            continue
        faults.append(f"{call}:{KILL}:when={n}")
        for errno in ERRNOS[call]:
            faults.append(f"{call}:error={errno}:when={n}")
            if errno not in ("EAGAIN", "EINTR"):  # which say "try again": for a lock some wait a minute
                faults.append(f"{call}:error={errno}:when={n}+")
    assert len(faults) > 100
    return faults


def inject(trial, faults):
    for fault in faults:
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", f"--trace={fault.split(':')[0]}", f"--inject={fault}"]
        trial.attempt(fault, strace, is_killed=KILL in fault, is_mute=fault.startswith("write"))


@each_work
def test_each_system_call_may_fail_or_be_the_last(trial, tmp_path):
    require("strace")
    faults = faults_of(trial, tmp_path / "trace")
    inject(trial, random.Random(1).sample(faults, SOME or len(faults)))
    trial.judge("strace: each system call fails with each errno, once or from then on, or kills the program")


@each_work
def test_calls_of_the_c_library_may_fail_at_random(trial):
    require("fiu-run")
    draw = random.Random(1)
    for number in range(300 if IS_LONG else 6):
        what, chance = draw.choice(["posix/*", "posix/io/*", "libc/*"]), draw.choice([0.002, 0.01, 0.05])
        trial.attempt((number, what, chance), ["fiu-run", "-x", "-c", f"enable_random name={what},probability={chance}"],
                      is_mute=True)
    trial.judge("libfiu: calls of the C library fail at random")


@pytest.mark.skipif(not IS_LONG, reason="it loads the machine: with STASH_LONG only")
@each_work
def test_faults_on_a_machine_that_lacks_memory_disk_and_time(trial, tmp_path):
    require("stress-ng")
    require("strace")
    faults = random.Random(2).sample(faults_of(trial, tmp_path / "trace"), 30)
    stress = subprocess.Popen(["stress-ng", "--quiet", "--temp-path", tmp_path, "--cpu", "2", "--vm", "2", "--vm-bytes", "50%",
                               "--hdd", "2", "--hdd-bytes", "256m", "--timeout", "300"])
    try:
        inject(trial, faults)
    finally:
        stress.terminate()
        stress.wait(TIMEOUT)
    trial.judge("strace, beside stress-ng")


CLOCKS = ["1971-01-01 00:00:00", "2037-12-31 23:59:59", "-400d", "+400d", "+0 x10000", "-1d x0.001"]


@pytest.mark.parametrize("then", CLOCKS)
def test_a_clock_that_was_wrong_when_a_job_died_loses_no_word(tmp_path, then):
    require("faketime")
    work = pushing("words", "files")
    work.prepare(tmp_path)
    died = run(["faketime", "-f", then, *work.command(tmp_path), "--crash-at", "mid-load"], tmp_path)
    assert died.returncode != 0 and "Killed" in died.stderr
    job = Job(tmp_path, "orders")
    [record] = job.stashes()
    assert record.state == "intact" and "-" not in record.age
    work.check(tmp_path, False)
