"""Adds up JUnit XML files, lists what failed and what was skipped, and closes with one line.

usage: count.py STATUS DIRECTORY...

STATUS is not 0 where something that ran said that it failed; if no file tells of it, that is one failure more.
"""
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path


def is_not_chosen(case):
    """Boost.Test lists what its command line leaves out, too. That is no part of the run, unlike what a precondition skips."""
    return "- reason: 'disabled'" in (case.findtext("system-out") or "")


status, directories = int(sys.argv[1]), [Path(d) for d in sys.argv[2:]]
counts, failures, skips = Counter(), [], Counter()
for directory in directories:
    files = sorted(directory.glob("*.xml"))
    if not files:
        counts["failed"] += 1
        failures.append(f"{directory}: nothing was run")
    for file in files:
        # Boost.Test copies what a test prints as it is; control bytes have no place in XML.
        text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "?", file.read_text(encoding="utf-8", errors="replace"))
        for case in ET.fromstring(text.encode()).iter("testcase"):
            name = f'{file.stem}: {case.get("classname")}/{case.get("name")}'
            if case.find("failure") is not None or case.find("error") is not None:
                counts["failed"] += 1
                failures.append(name)
            elif case.find("skipped") is not None:
                if is_not_chosen(case):
                    continue
                counts["skipped"] += 1
                skips[name] += 1
            else:
                counts["passed"] += 1
if status != 0 and counts["failed"] == 0:
    counts["failed"] = 1
    failures.append("a test program failed or died without saying in which test")
for name in sorted(skips):
    print("skipped", name)
for name in failures:
    print("failed", name)
skipped = f', {counts["skipped"]} skipped' if counts["skipped"] else ""
print(f'{counts["passed"]} passed, {counts["failed"]} failed{skipped}')
sys.exit(1 if counts["failed"] else 0)
