"""Makes one table (Markdown) and the plots of what one run measured.

usage: report.py MEASURED RESULTS STAMP

MEASURED has Google Benchmark's JSON files; table.md and the SVG files go to RESULTS. STAMP says where, when and of what
the run was. The exit code is 1 where a contestant failed, and 3 where the machine was not quiet: where the floor, which
is one flush, took half as long again in one quarter of its rounds as in another.
"""
import json
import statistics
import subprocess
import sys
from pathlib import Path

measured, results, stamp = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
JOURNAL, FILES, MEMORY = "stash: journal", "stash: atomic files", "stash: memory"
TREE = "stash: replace_guard of a tree"
SQLITE, POSTGRES = "stash: SQLite", "stash: PostgreSQL"
FLOOR = "raw: pwrite to a preallocated log, fdatasync"
SHARED = "raw: one pwrite each, a shared fdatasync"
CAREFUL = "raw: temporary, fsync, rename, sync directory"
WITH_HEADER = "raw: the same, with a header"
UNNAMED = "not safe: O_TMPFILE, fsync, link, sync directory"
READ_CHECKED = "raw: the same, its directory opened and checked"
UNDER_LOCKS = "raw: the same, under locks"
BOOST = "Boost.JSON and Boost.Filesystem"
FOREIGN = "all that stash.hpp includes"

seconds = {}  # name: [of each round]
heap = {}  # name: bytes
failures = {}  # name: why


def read(file):
    for b in json.loads(file.read_text(encoding="utf-8"))["benchmarks"]:
        if b["run_type"] != "iteration":
            continue
        name = b["name"].split("/iterations:")[0]
        if "error_message" in b:
            failures[name] = b["error_message"]
            continue
        seconds.setdefault(name, []).append(b["real_time"] * SECONDS[b["time_unit"]])
        if "bytes" in b:
            heap[name] = b["bytes"]


for file in sorted(measured.glob("*.json")):
    read(file)
median = {name: statistics.median(of) for name, of in seconds.items()}

N, F, S, JOB = "neighbours/power_loss/", "files/power_loss/", "scale/", "jobs/drop and rebuild/"
COMPILERS = [c for c in ("g++", "clang++-19", "clang++") if f"compile/{c}/{BOOST}" in seconds]
RATIOS = [  # what, numerator, denominator, target; at most unless `at_least`
    ("journal save / raw preallocated write + fdatasync", N + "save new/" + JOURNAL, N + "save new/" + FLOOR, 1.15),
    ("journal save / LevelDB, sync", N + "save new/" + JOURNAL, N + "save new/LevelDB", 0.95),
    ("journal save / SQLite WAL, FULL", N + "save new/" + JOURNAL, N + "save new/SQLite WAL, FULL", 0.70),
    ("journal save / LMDB", N + "save new/" + JOURNAL, N + "save new/LMDB", 0.60),
    # Saves a second against saves a second: the seconds of a save the other way round.
    ("journal / RocksDB, saves a second, 16 threads", S + "power_loss/threads/16/RocksDB",
     S + "power_loss/threads/16/" + JOURNAL, 1.5),
    ("journal / one pwrite each and a shared fdatasync, saves a second, 16 threads",
     S + "power_loss/threads/16/" + SHARED, S + "power_loss/threads/16/" + JOURNAL, None),
    ("the floor of that: one pwrite each and a shared fdatasync / RocksDB, saves a second",
     S + "power_loss/threads/16/RocksDB", S + "power_loss/threads/16/" + SHARED, None),
    ("journal batch of 100, a key / LevelDB WriteBatch", N + "batch of 100, a key/" + JOURNAL,
     N + "batch of 100, a key/LevelDB", 0.7),
    ("journal batch of 100, a key / one pwrite each and one fdatasync", N + "batch of 100, a key/" + JOURNAL,
     N + "batch of 100, a key/" + FLOOR, None),
    ("the floor of that: one pwrite each and one fdatasync / LevelDB WriteBatch", N + "batch of 100, a key/" + FLOOR,
     N + "batch of 100, a key/LevelDB", None),
    ("file save of a new key / temporary, fsync, rename, sync directory", F + "save new/" + FILES,
     F + "save new/" + CAREFUL, 0.9),
    ("file save of a new key / the same, with a header", F + "save new/" + FILES, F + "save new/" + WITH_HEADER, 1.05),
    ("the floor of that: the same, with a header / temporary, fsync, rename, sync directory",
     F + "save new/" + WITH_HEADER, F + "save new/" + CAREFUL, None),
    ("not safe: O_TMPFILE, fsync, link, sync directory / temporary, fsync, rename, sync directory",
     F + "save new/" + UNNAMED, F + "save new/" + CAREFUL, None),
    ("file overwrite / temporary, fsync, rename, sync directory", F + "overwrite/" + FILES, F + "overwrite/" + CAREFUL,
     1.05),
    ("file overwrite / the same, with a header", F + "overwrite/" + FILES, F + "overwrite/" + WITH_HEADER, 1.05),
    ("the floor of that: an overwrite with a header / temporary, fsync, rename, sync directory",
     F + "overwrite/" + WITH_HEADER, F + "overwrite/" + CAREFUL, None),
    ("file clear / unlink, sync directory", F + "clear/" + FILES, F + "clear/raw: unlink, sync directory", 1.05),
    ("file clear / rename, sync directory, unlink", F + "clear/" + FILES,
     F + "clear/raw: rename, sync directory, unlink", 1.05),
    ("the floor of that: rename, sync directory, unlink / unlink, sync directory",
     F + "clear/raw: rename, sync directory, unlink", F + "clear/raw: unlink, sync directory", None),
    ("file load / open, read, parse by hand", N + "load/" + FILES, N + "load/raw: open, read, parse by hand", 1.15),
    ("file load / the same, its directory opened and checked", N + "load/" + FILES, N + "load/" + READ_CHECKED, 1.15),
    ("the floor of that: the same, its directory opened and checked / open, read, parse by hand", N + "load/" + READ_CHECKED,
     N + "load/raw: open, read, parse by hand", None),
    ("file save, 1,000,000 keys present / 1,000", S + "power_loss/files/save/1000000", S + "power_loss/files/save/1000",
     1.2),
    ("journal save, 1,000,000 keys present / 1,000", S + "power_loss/journal/save/1000000",
     S + "power_loss/journal/save/1000", 1.2),
    ("memory save, 1,000,000 keys present / 1,000", S + "memory/memory/save/1000000", S + "memory/memory/save/1000",
     ("unordered_map under a mutex", S + "memory/unordered_map/save/1000000", S + "memory/unordered_map/save/1000")),
    ("guards of 10,000 keys, files, a key / of 100 keys", "jobs/guards/stash: 10000 keys", "jobs/guards/stash: 100 keys",
     1.2),
    ("the floor of that: the same files by hand, 10,000 / 100", "jobs/guards/raw: 10000 files",
     "jobs/guards/raw: 100 files", None),
    ("guards of 10,000 keys, files / the same files by hand", "jobs/guards/stash: 10000 keys",
     "jobs/guards/raw: 10000 files", None),
    ("recover of 100,000 orphans, files / open, read, parse, unlink by hand", "jobs/recover/stash: recover",
     "jobs/recover/raw: open, read, parse, unlink", 1.5),
    ("recover of 100,000 orphans, files / the same, under locks", "jobs/recover/stash: recover", "jobs/recover/" + UNDER_LOCKS, 1.5),
    ("the floor of that: the same, under locks / open, read, parse, unlink by hand", "jobs/recover/" + UNDER_LOCKS,
     "jobs/recover/raw: open, read, parse, unlink", None),
    ("entries() of 1,000,000 files / open, read, parse by hand", S + "listing/files/entries/1000000",
     S + "listing/files/by hand/1000000", 1.2),
    ("entries() of 1,000,000 keys, journal / of a map in memory, with its path", S + "listing/journal/entries/1000000",
     S + "listing/journal/by hand/1000000", 1.2),
    ("entries() of 1,000,000 keys, memory / of a map in memory", S + "listing/memory/entries/1000000",
     S + "listing/memory/by hand/1000000", 1.2),
    ("entries() of 1,000,000 rows, SQLite / the plain query", S + "listing/sqlite/entries/1000000",
     S + "listing/sqlite/plain/1000000", 1.2),
    ("the floor of that: the plain query, each row checked and its entry kept / the plain query, SQLite",
     S + "listing/sqlite/checked/1000000", S + "listing/sqlite/plain/1000000", None),
    ("entries() of 1,000,000 rows, SQLite / the plain query, each row checked and its entry kept",
     S + "listing/sqlite/entries/1000000", S + "listing/sqlite/checked/1000000", None),
    ("entries() of 1,000,000 rows, PostgreSQL / the plain query", S + "listing/postgres/entries/1000000",
     S + "listing/postgres/plain/1000000", 1.2),
    ("the floor of that: the plain query, each row checked and its entry kept / the plain query, PostgreSQL",
     S + "listing/postgres/checked/1000000", S + "listing/postgres/plain/1000000", None),
    ("entries() of 1,000,000 rows, PostgreSQL / the plain query, each row checked and its entry kept",
     S + "listing/postgres/entries/1000000", S + "listing/postgres/checked/1000000", None),
    ("life of a guard in memory but for its serialization, µs", "guard/memory/life of a guard", None, 1.0),
    ("a job that drops and rebuilds, delete_guard, journal / words in a file, each step synced by hand",
     JOB + "stash: delete_guard, journal", JOB + "words in a file, each step synced by hand", None),
    ("the same, files", JOB + "stash: delete_guard, files", JOB + "words in a file, each step synced by hand", None),
    ("the same, files / nothing is kept", JOB + "stash: delete_guard, files", JOB + "nothing is kept", None),
    ("the same, replace_guard of the table, files / a copy of the table before, dropped after",
     JOB + "stash: replace_guard of the table, files", JOB + "a copy of the table before, dropped after", None),
    ("SQLite save / SQLite alone, WAL, FULL", N + "save new/" + SQLITE, N + "save new/SQLite WAL, FULL", None),
    ("PostgreSQL save / one prepared INSERT", N + "save new/" + POSTGRES,
     N + "save new/PostgreSQL: prepared INSERT, libpq", None),
    ("replace_guard of a tree, an empty one / the same flushes by hand", "trees/replace, an empty one/" + TREE,
     "trees/replace, an empty one/raw: the same flushes", 1.1),
    ("until its constructor returns, 100,000 files in the tree / 1", "trees/park/100000 files", "trees/park/1 file", 1.1),
    ("guard and commit of 10,000 files that are built anew / cp -a before, rm -r after",
     "trees/replace, 10000 files/stash: guard and commit", "trees/replace, 10000 files/cp -a before, rm -r after", None),
    ("the same, sync_new = false", "trees/replace, 10000 files/stash: guard and commit, sync_new = false",
     "trees/replace, 10000 files/cp -a before, rm -r after", None),
    ("memory put and get / unordered_map under a mutex", "neighbours/memory/put and get/" + MEMORY,
     "neighbours/memory/put and get/unordered_map under a mutex", 1.3),
] + [
    (f"save on {name[7:]} / serialize and put alone", f"parts/{name}/{name}", f"parts/{name}/serialize and put alone",
     1.1)
    for name in (JOURNAL, FILES, MEMORY)
] + [
    (f"including stash.hpp / {BOOST}, {compiler}", f"compile/{compiler}/stash.hpp",
     f"compile/{compiler}/{BOOST}", 1.2)
    for compiler in COMPILERS
] + [
    (f"the floor of that: {FOREIGN} / {BOOST}, {compiler}", f"compile/{compiler}/{FOREIGN}",
     f"compile/{compiler}/{BOOST}", None)
    for compiler in COMPILERS
]
AT_LEAST = {"journal / RocksDB, saves a second, 16 threads"}


def table(header, rows):
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)] + rows
    return "".join("| " + " | ".join(row) + " |\n" for row in lines) + "\n"


def middle(values):
    """The median, and the bounds of the middle half."""
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return statistics.median(values), low, high


def ratios(numerator, denominator):
    if denominator is None:
        return [value * 1e6 for value in seconds[numerator]]
    return [a / b for a, b in zip(seconds[numerator], seconds[denominator])]


def ratio_row(what, numerator, denominator, target):
    """How many times the target it takes, for the order; and the row."""
    wanted = ""
    if isinstance(target, tuple):  # to be no more than the ratio of another
        name, *others = target
        target = statistics.median(ratios(*others)) if all(one in seconds for one in others) else None
        wanted = f", as {name}"
    goal = f"{'≥' if what in AT_LEAST else '≤'} {target:.3g}{wanted}" if target else ""
    absent = [name for name in (numerator, denominator) if name is not None and name not in seconds]
    if absent:
        return -1, [what, "", "", goal, "not measured: " + failures.get(absent[0], "not in this run"), ""]
    ratio, low, high = middle(ratios(numerator, denominator))
    times = 0 if not target else target / ratio if what in AT_LEAST else ratio / target
    bar = "█" * min(round(10 * times), 40)
    reached = "" if not target else "yes" if times <= 1 else "**no**"
    return times, [what, f"{ratio:.2f}", f"{low:.2f} to {high:.2f}", goal, reached, bar]


def figure(value, scale):
    value *= scale
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cell(name, scale):
    return figure(median[name], scale) if name in median else ""


def pivot(prefix, row, column):
    """Medians whose names begin with `prefix`, as rows and columns by what stands at these places of the rest."""
    cells = {}
    for name, value in median.items():
        if name.startswith(prefix):
            rest = name[len(prefix):].split("/")
            cells.setdefault(rest[row], {})[rest[column]] = value
    columns = list(dict.fromkeys(c for of in cells.values() for c in of))
    return columns, cells


def pivot_table(corner, prefix, row, column, scale):
    columns, cells = pivot(prefix, row, column)
    return table([corner] + columns, [[r] + [figure(of[c], scale) if c in of else "" for c in columns]
                                      for r, of in cells.items()])


def write_data(name, prefix, row, column, value):
    """For gnuplot: a row a line."""
    columns, cells = pivot(prefix, row, column)
    lines = ["\t".join(["-"] + columns)]
    lines += ["\t".join([r] + [str(value(of[c])) if c in of else "NaN" for c in columns]) for r, of in cells.items()]
    (measured / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def micros(value):
    return value * 1e6


def write_bars(name, prefix):
    """For gnuplot: a contestant a line, the fastest first."""
    bars = sorted((value, key[len(prefix):]) for key, value in median.items() if key.startswith(prefix))
    lines = [f"{contestant}\t{micros(value)}\n" for value, contestant in bars]
    (measured / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")


DURABILITY = {
    "power_loss": "durability power_loss: survives a power cut",
    "process_crash": "durability process_crash: survives kill -9, nothing is synced",
    "memory": "survives exceptions only",
}
out = ["# What one run measured\n\n", stamp + "\n\n",
       "Times are medians of rounds in which all contestants of a table took turns. Ratios are medians of the ratios of "
       "each round. `sh benchmarks/run.sh` makes this file and the plots beside it; [README.md](../README.md) says what is "
       "measured.\n\n"]
out += ["## What must be reached\n\nPayload 4 KiB, durability power_loss, but for what is in memory. The storages' own "
        "`put`, `get`, `erase` against the stores.\n\n",
        "The worst first. The bar is what it takes, of which ten parts are the target.\n\n",
        table(["ratio", "median", "middle half", "target", "reached", ""],
              [row for _, row in sorted((ratio_row(*r) for r in RATIOS), key=lambda r: -r[0])])]
OPERATIONS = ["save new", "overwrite", "load", "clear", "batch of 100, a key"]
STORAGES = {  # for who has to choose
    **{f"{storage[7:]}, {durability}": f"{durability}/{{}}/{storage}"
       for durability in ("power_loss", "process_crash") for storage in (FILES, JOURNAL, SQLITE, POSTGRES)},
    "memory": f"memory/{{}}/{MEMORY}",
}
if floor := median.get(N + "save new/" + FLOOR):
    out += [f"## Storages: multiples of the floor, which is one flush: {figure(floor, 1e6)} µs, 4 KiB\n\n",
            table(["storage"] + OPERATIONS,
                  [[storage] + [cell("neighbours/" + path.format(o), 1 / floor) for o in OPERATIONS]
                   for storage, path in STORAGES.items()])]
out += [f"## Files against system calls: µs, 4 KiB, {DURABILITY['power_loss']}\n\n",
        pivot_table("who", "files/power_loss/", 1, 0, 1e6)]
for durability in ("power_loss", "process_crash", "memory"):
    out += [f"## Neighbours: µs, 4 KiB, {DURABILITY[durability]}\n\n",
            pivot_table("store", f"neighbours/{durability}/", 1, 0, 1e6)]
for durability in ("power_loss", "process_crash", "memory"):
    for size in ("1 KB", "15 KB", "150 KB"):
        out += [f"## Policies: µs, dictionaries of {size}, {DURABILITY[durability]}\n\n",
                pivot_table("policy", f"policies/{durability}/{size}/", 1, 0, 1e6)]
threads_columns, threads = pivot("scale/power_loss/threads/", 0, 1)
out += [f"## Threads: saves a second, 4 KiB, {DURABILITY['power_loss']}\n\n",
        table(["threads"] + threads_columns,
              [[n] + [f"{1 / of[c]:,.0f}" if c in of else "" for c in threads_columns] for n, of in threads.items()])]
for policy, durability in (("journal", "power_loss"), ("files", "power_loss"), ("memory", "memory")):
    out += [f"## Keys present, {policy}: µs, saves of 4 KiB, loads of the 100 bytes that each has, {DURABILITY[durability]}\n\n",
            pivot_table("keys", f"scale/{durability}/{policy}/", 1, 0, 1e6)]
out += ["## A job that drops a table of 1,000 rows and builds it anew, SQLite, WAL, FULL: µs\n\n",
        table(["what is kept of it", "µs"],
              [[name[len(JOB):], figure(value, 1e6)] for name, value in median.items() if name.startswith(JOB)])]
out += ["## Trees: µs\n\n", pivot_table("who", "trees/", 1, 0, 1e6)]
out += ["## Memory of an open journal\n\n",
        table(["keys", "bytes", "bytes a key"],
              [[n.split("/")[-1], f"{b:,.0f}", f"{b / int(n.split('/')[-1]):,.0f}"] for n, b in heap.items()])]
out += ["## Including it: CPU seconds\n\n", pivot_table("compiler", "compile/", 0, -1, 1)]
skipped = sorted({name.split("/")[-1] for name, why in failures.items() if why.startswith("skipped")})
failed = {name: why for name, why in failures.items() if not why.startswith("skipped")}
out.append("Skipped, for the library or program was not there: " + (", ".join(skipped) or "none") + ".\n")
out += [f"\nFailed: {name}: {why}\n" for name, why in failed.items()]
(results / "table.md").write_text("".join(out), encoding="utf-8")

floors = {}
for durability in ("power_loss", "process_crash"):
    write_data(f"policies-{durability}", f"policies/{durability}/15 KB/", 0, 1, micros)
    write_bars(f"neighbours-{durability}", f"neighbours/{durability}/save new/")
    floors[f"policies_{durability}"] = micros(median.get(f"policies/{durability}/15 KB/save new/{FLOOR}", 0))
    floors[f"neighbours_{durability}"] = micros(median.get(f"neighbours/{durability}/save new/{FLOOR}", 0))
write_data("policies-memory", "policies/memory/15 KB/", 0, 1, micros)
write_data("threads", "scale/power_loss/threads/", 0, 1, lambda value: 1 / value)
for durability, policy in (("power_loss", "journal"), ("power_loss", "files"), ("memory", "memory")):
    write_data(f"keys-{policy}", f"scale/{durability}/{policy}/", 1, 0, micros)
settings = "".join(f"{name} = {value}; " for name, value in floors.items())
stashes = [c for c in pivot("policies/power_loss/15 KB/", 0, 1)[0] if c.startswith("stash")]
settings += f"policies = {1 + len(stashes)}; columns = {1 + len(threads_columns)}; measured = '{measured}'; results = '{results}'; stamp = '{stamp}'"
subprocess.run(["gnuplot", "-e", settings, Path(__file__).with_name("plots.gp")], check=True)
_, low, high = middle(seconds[N + "save new/" + FLOOR])
is_quiet = high <= 1.5 * low
print(f"the floor, one flush: {figure(low, 1e6)} to {figure(high, 1e6)} µs in the middle half of its rounds")
sys.exit(1 if failed else 0 if is_quiet else 3)
