"""How long pusher takes to move a CSV file into PostgreSQL, against psql's \\copy of the same file into a table of the same
layout; taking turns, on a server of its own.

usage: copy.py PUSHER [ROWS [ROUNDS]]
"""
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.append(str(TOP / "tests/servers"))
import postgres_cluster  # noqa: E402

if len(sys.argv) not in (2, 3, 4):
    sys.exit(__doc__)
pusher = Path(sys.argv[1]).resolve()
rows, rounds = (int(given) for given in (sys.argv[2:] + ["150000", "15"][len(sys.argv) - 2:]))


def timed(*commands):
    start = time.monotonic()
    for command in commands:
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start


with tempfile.TemporaryDirectory(prefix="stash-copy.", dir="/var/tmp") as place:  # on a disk
    Path(place).chmod(0o755)  # the server may be another user
    header, *lines = (TOP / "tests/data/seattle-weather.csv").read_text().splitlines()
    csv = Path(place) / "rows.csv"
    csv.write_text("\n".join([header, *islice(cycle(lines), rows)]) + "\n")
    server = postgres_cluster.Cluster(Path(place) / "server").init().start()
    try:
        columns = ", ".join(f"{name} text" for name in header.split(","))
        psql = [postgres_cluster.programs() / "psql", "-X", server.uri(), "-v", "ON_ERROR_STOP=1", "-c",
                f"DROP TABLE IF EXISTS copied; CREATE TABLE copied (_id serial primary key, _full_text tsvector, {columns})",
                "-c", f"\\copy copied ({header}) from '{csv}' (format csv, header)"]
        push = [pusher, "push", "--datastore", server.uri(), "--stash", Path(place) / "stash", "--resource", "pushed", csv]
        timed(psql, push)  # once before it counts
        both = [(timed(psql), timed(push)) for _ in range(rounds)]
    finally:
        server.stop()
ratios = sorted(ours / theirs for theirs, ours in both)
print(f"{rows} rows, {rounds} rounds: psql \\copy {statistics.median(t for t, _ in both):.3f} s, pusher"
      f" {statistics.median(o for _, o in both):.3f} s; median of the ratios {statistics.median(ratios):.2f},"
      f" middle half {ratios[len(ratios) // 4]:.2f} to {ratios[-1 - len(ratios) // 4]:.2f}")
