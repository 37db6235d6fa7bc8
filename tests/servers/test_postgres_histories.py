"""What jobs saw of a stash in PostgreSQL while servers died and the network lost packets, judged by linearizable.py."""

import contextlib
import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))
import linearizable  # noqa: E402
import patroni_nodes  # noqa: E402
import postgres_cluster  # noqa: E402
from postgres_job import servers  # noqa: E402,F401
from postgres_nodes import CLIENTS, PEERS, TIMEOUT, Network, Nodes, network, wait_until  # noqa: E402

IS_LONG = bool(os.environ.get("STASH_LONG"))


def note(tried, bad):
    if path := os.environ.get("STASH_FIGURES"):
        with open(path, "a") as file:
            file.write("postgresql\toperations in histories of failovers and network cuts, checked for linearizability"
                       f"\t{tried}\t{bad}\n")


@pytest.fixture(scope="module")
def wires():
    if postgres_cluster.programs() is None:
        pytest.skip("there is no PostgreSQL server to run")
    with network() as made:
        if made is None:
            pytest.skip("it takes root, nft and a network namespace")
        yield made


@pytest.fixture(scope="module")
def nodes(servers, wires):  # noqa: F811
    made = Nodes(servers / "nodes")
    yield made
    made.stop()


class Workers:
    """Processes that save, load and clear, each with two threads; and what they print."""

    numbers = itertools.count()

    def __init__(self, uri, keys, count, directory):
        path = os.environ.get("STASH_POSTGRES_WORKER")
        if not path:
            pytest.fail("STASH_POSTGRES_WORKER is not set: it must be the path of postgres_worker")
        self.path, self.uri, self.keys, self.directory = path, uri, keys, directory
        self.files, self.running = [], []
        for _ in range(count):
            self.start()

    def start(self):
        number = next(self.numbers)
        self.files.append(self.directory / f"worker-{number}")
        with self.files[-1].open("w") as out:
            self.running.append(subprocess.Popen([self.path, "history", self.uri, str(self.keys), str(number)],
                                                 stdin=subprocess.PIPE, stdout=out))

    def kill_one(self):
        process = self.running.pop(0)
        process.kill()
        process.wait()
        self.start()

    def end(self):
        for process in self.running:
            process.stdin.close()
        for process in self.running:
            assert process.wait(TIMEOUT) == 0

    def operations(self):
        return linearizable.read(line for path in self.files for line in path.read_text().splitlines(True))


@contextlib.contextmanager
def workers(nodes, directory, keys=5, count=3):
    nodes.primary.sql("DROP SCHEMA IF EXISTS stash CASCADE")  # a history begins with nothing
    made = Workers(nodes.uri(), keys, count, directory)
    try:
        yield made
    finally:
        for process in made.running:
            process.kill()
            process.wait()


def verdicts_on(operations, name, directory):
    """The history is kept for other judges: in the directory STASH_HISTORIES, or where it is guilty."""
    verdicts = linearizable.judge(operations)
    if kept := os.environ.get("STASH_HISTORIES") or verdicts and directory:
        path = Path(kept) / f"{name}.edn"
        path.write_text(linearizable.edn(operations))
        print(f"the history, as Knossos and Elle read it: {path}")
    return verdicts


def assert_explained(running, name, directory):
    operations = running.operations()
    verdicts = verdicts_on(operations, name, directory)
    note(len(operations), len(verdicts))
    how = [o.outcome for o in operations]
    print(f"{name}: {len(how)} operations: " + ", ".join(f"{how.count(each)} {each}" for each in sorted(set(how))))
    assert not verdicts, "\n".join(map(str, verdicts))
    assert how.count("ok") > 100


@pytest.fixture
def rng():
    seed = int(os.environ.get("STASH_SEED", random.randrange(1 << 30)))
    print(f"STASH_SEED={seed}")
    return random.Random(seed)


def cut_now_and_then(nodes, wires, rng):
    """Cuts of all lengths, from shorter than a client's patience (2 s) to longer, of clients or of the standbys."""
    for _ in range(rng.randint(1, 3)):
        time.sleep(rng.uniform(0.2, 0.7))
        wires.cut(nodes.primary.port, rng.choice(list(Network.WAYS)), rng.choice([CLIENTS, CLIENTS, CLIENTS, PEERS]))
        time.sleep(rng.choice([0.1, 0.3, 0.5, 0.5, 1, 2.5]))
        if rng.random() < 0.5:
            nodes.end_sessions()
        wires.heal()


def test_what_jobs_saw_amid_failovers_and_network_cuts_can_be_explained(nodes, wires, rng, tmp_path):
    with workers(nodes, tmp_path) as running:
        for turn in range(10 if IS_LONG else 2):
            cut_now_and_then(nodes, wires, rng)
            if rng.random() < 0.5:
                running.kill_one()
            time.sleep(0.5)
            nodes.fail_over(rng.choice(["killed", "killed alone", "cut off"]), wires, rng.uniform(0.1, 1.5))
        time.sleep(1)
        running.end()
    assert_explained(running, "failovers", tmp_path)


def test_what_jobs_saw_whose_sessions_end_amid_commits_can_be_explained(nodes, wires, rng, tmp_path):
    """A session ends while it waits for a standby, and its client cannot come back while the others go on: what was being
    written is written again, unless another came between."""
    port, ended = nodes.primary.port, 0
    with workers(nodes, tmp_path, keys=2, count=6) as running:
        end = time.monotonic() + (40 if IS_LONG else 5)
        while time.monotonic() < end:
            wires.cut(port, "both ways", PEERS)
            wires.cut(port, "of new connections", CLIENTS)
            time.sleep(rng.uniform(0.03, 0.1))
            ended += nodes.end_a_waiting_session()
            wires.heal()
            wires.cut(port, "of new connections", CLIENTS)
            time.sleep(rng.uniform(0.1, 0.3))
            wires.heal()
            time.sleep(rng.uniform(0.02, 0.2))
        running.end()
    assert ended > 0
    assert_explained(running, "sessions", tmp_path)


def test_this_finds_a_failover_to_a_standby_that_nobody_waited_for_guilty(nodes, wires, tmp_path):
    def is_found():
        with workers(nodes, tmp_path) as running:
            time.sleep(1)
            nodes.fail_over("killed alone", wires, 1)
            time.sleep(1)
            running.end()
        return verdicts_on(running.operations(), "guilty", None) != []

    nodes.wait_for_standbys(False)
    try:
        assert any(is_found() for _ in range(5))  # what was lost shows only where it was the last that was written
    finally:
        nodes.wait_for_standbys(True)


@pytest.mark.skipif(not IS_LONG, reason="takes minutes: with STASH_LONG only")
def test_what_jobs_saw_while_patroni_decided_can_be_explained(servers, wires, rng, tmp_path):  # noqa: F811
    if not patroni_nodes.is_there():
        pytest.skip("there is no Patroni here, with its elections by python3-pysyncobj")
    nodes = patroni_nodes.PatroniNodes(servers / "patroni")
    try:
        with workers(nodes, tmp_path) as running:
            for how in ["killed", "server killed", "cut off"] * 2:
                cut_now_and_then(nodes, wires, rng)
                nodes.fail_over(how, wires, rng.uniform(0.1, 1.5))
            time.sleep(1)
            running.end()
    except BaseException:
        nodes.print_logs()
        raise
    finally:
        nodes.stop()
    assert_explained(running, "patroni", tmp_path)
