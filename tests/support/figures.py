"""Prints what the tests noted of how much they tried as one table (Markdown).

usage: figures.py FILE

FILE has a line for each part of a test: test, what it tried, how many, how many of these failed, with tabs between.
Lines of the same test and trial are added up. The exit code is 1 where something failed, or nothing was noted.
"""
import sys
from pathlib import Path

rows = {}
for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    test, tried, count, failed = line.split("\t")
    sums = rows.setdefault((test, tried), [0, 0])
    sums[0] += int(count)
    sums[1] += int(failed)

cells = [("test", "tried", "how many", "failed"), ("---", "---", "---:", "---:")]
cells += [(test, tried, f"{count:,}", f"{failed:,}") for (test, tried), (count, failed) in rows.items()]
for row in cells:
    print("| " + " | ".join(row) + " |")
sys.exit(1 if not rows or any(failed for _, failed in rows.values()) else 0)
