"""How long pusher takes to reload an annotated table, against the database's own loader into a table of the same layout,
taking turns; how much memory it takes; and how long a reader of the live table waits meanwhile.

usage: reload.py PUSHER [ROWS [ROUNDS]]

PUSHER is tests/examples/pusher.cpp, built with -O2. By default 1,000,000 rows of 10 columns (some 80 MB), 7 rounds.
"""
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.append(str(TOP / "tests/servers"))
import postgres_cluster  # noqa: E402

if len(sys.argv) not in (2, 3, 4):
    sys.exit(__doc__)
pusher = Path(sys.argv[1]).resolve()
rows, rounds = (int(given) for given in (sys.argv[2:] + ["1000000", "7"][len(sys.argv) - 2:]))
COLUMNS = [f"c{n}" for n in range(10)]


def write_rows(path):
    chosen = random.Random(1)
    with path.open("w") as file:
        file.write(",".join(COLUMNS) + "\n")
        for n in range(rows):
            file.write(f"{n},{chosen.random() * 1000:.4f},2026-{chosen.randint(1, 12):02}-{chosen.randint(1, 28):02},"
                       f"station {chosen.randint(1, 500)},{chosen.randint(0, 10 ** 6)},{chosen.random():.6f},ok,"
                       f"{chosen.randint(0, 99)},name {chosen.randint(0, 10 ** 7)},{chosen.choice(['rain', 'sun'])}\n")


def timed(command, stdin=None):
    """Seconds, and the peak memory in MB."""
    start = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               stdin=subprocess.PIPE if stdin else None, text=True)
    if stdin:
        process.stdin.write(stdin)
        process.stdin.close()
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.monotonic() - start, used.ru_maxrss / 1024


class SqliteReader(threading.Thread):
    """Two hundred selects a second, so that one falls into the swap; `longest` is how long one took."""

    def __init__(self, file):
        super().__init__()
        self.file, self.longest, self.is_over = file, 0, False

    def run(self):
        db = sqlite3.connect(self.file)
        while not self.is_over:
            start = time.monotonic()
            db.execute("SELECT * FROM pushed ORDER BY _id LIMIT 1").fetchall()
            self.longest = max(self.longest, time.monotonic() - start)
            time.sleep(0.005)


class PostgresReader(threading.Thread):
    """The same; it reads for so many seconds, for pgbench keeps a part of its log until it ends by itself."""

    def __init__(self, uri, place, seconds):
        super().__init__()
        self.longest, self.is_over = 0, False
        (place / "select.sql").write_text("SELECT * FROM pushed ORDER BY _id LIMIT 1;\n")
        self.process = subprocess.Popen([postgres_cluster.programs() / "pgbench", "-n", "-R", "200", "-T", str(seconds), "-f",
                                         place / "select.sql", "--log", "--log-prefix", place / "reader", uri],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.place = place

    def run(self):
        assert self.process.wait() == 0 and self.is_over
        for log in self.place.glob("reader.*"):
            times = [int(line.split()[2]) - int(line.split()[6]) for line in log.read_text().splitlines()]
            self.longest = max([self.longest, *(t / 1e6 for t in times)])  # but for what it was late to begin
            log.unlink()


def compare(name, theirs, ours, reader):
    timed(*theirs)  # once before it counts
    timed(*ours)
    both = []
    for n in range(rounds):
        turns = [theirs, ours] if n % 2 else [ours, theirs]
        took = {id(one): timed(*one) for one in turns}
        both.append((took[id(theirs)], took[id(ours)]))
    watching = reader(int(2 * max(o[0] for _, o in both)) + 5)
    watching.start()
    time.sleep(0.5)
    timed(*ours)
    watching.is_over = True
    watching.join()
    ratios = sorted(o[0] / t[0] for t, o in both)
    print(f"{name}: {rows} rows, {rounds} rounds: theirs {statistics.median(t[0] for t, _ in both):.2f} s, pusher"
          f" {statistics.median(o[0] for _, o in both):.2f} s; median of the ratios {statistics.median(ratios):.2f}, middle half"
          f" {ratios[len(ratios) // 4]:.2f} to {ratios[-1 - len(ratios) // 4]:.2f}; pusher's peak memory"
          f" {max(o[1] for _, o in both):.0f} MB; a reader waited {watching.longest * 1000:.0f} ms at most", flush=True)


def push(datastore, place):
    words = place / "words.json"
    words.write_text('{"c1": {"label": "a number"}, "c9": {"notes": "typed by hand"}}')
    at = ["--datastore", datastore, "--resource", "pushed"]
    command = [pusher, "push", *at, "--stash", place / "stash", place / "rows.csv"]
    timed(command)
    timed([pusher, "annotate", *at, words])
    return (command,)


with tempfile.TemporaryDirectory(prefix="stash-reload.", dir=os.environ.get("STASH_BENCHMARK_DIR", "/var/tmp")) as name:
    place = Path(name)
    place.chmod(0o755)  # the server may be another user
    csv = place / "rows.csv"
    write_rows(csv)
    # .import fills a table from its first column on: so the one that it fills has no key of its own.
    plain = "(" + ", ".join(f"{c} TEXT" for c in COLUMNS) + ")"
    script = (f"PRAGMA journal_mode=WAL;\nPRAGMA synchronous=FULL;\nDROP TABLE IF EXISTS copied;\nCREATE TABLE copied {plain};\n"
              f".import --csv --skip 1 {csv} copied\n")
    compare("SQLite", (["sqlite3", place / "theirs.sqlite"], script), push(f"sqlite:{place / 'ours.sqlite'}", place),
            lambda _: SqliteReader(place / "ours.sqlite"))
    server = postgres_cluster.Cluster(place / "server", max_wal_size="4GB").init().start()
    try:
        columns = ", ".join(f"{c} text" for c in COLUMNS)
        psql = [postgres_cluster.programs() / "psql", "-X", server.uri(), "-v", "ON_ERROR_STOP=1", "-c",
                f"DROP TABLE IF EXISTS copied; CREATE TABLE copied (_id serial primary key, _full_text tsvector, {columns})",
                "-c", f"\\copy copied ({', '.join(COLUMNS)}) from '{csv}' (format csv, header)", "-c", "ANALYZE copied"]
        compare("PostgreSQL", (psql,), push(server.uri(), place), lambda seconds: PostgresReader(server.uri(), place, seconds))
    finally:
        server.stop()
