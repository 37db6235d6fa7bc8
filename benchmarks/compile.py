"""Measures what including the library costs, against including the Boost headers that it stands on.

usage: compile.py ROUNDS FILE

Compilers and headers take turns. CPU seconds of `-fsyntax-only`, so that other work on the machine counts less. FILE
gets them in Google Benchmark's form. The third contestant is the floor: all that stash.hpp includes and is not ours.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

include = Path(__file__).resolve().parents[1] / "include"


def foreign(header, seen):
    """What `header` and our own that it includes include of others."""
    found = set()
    for name in re.findall(r"^#include <(.+)>", (include / header).read_text(encoding="utf-8"), re.M):
        if not name.startswith("stash/"):
            found.add(name)
        elif name not in seen:
            seen.add(name)
            found |= foreign(name, seen)
    return found


headers = {
    "stash.hpp": ["stash/stash.hpp"],
    "Boost.JSON and Boost.Filesystem": ["boost/json.hpp", "boost/filesystem.hpp"],
    "all that stash.hpp includes": sorted(foreign("stash/stash.hpp", set())),
}


def seconds(compiler, source):
    command = [compiler, "-std=c++20", "-I", include, "-fsyntax-only", source]
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{compiler} cannot compile it")
    return used.ru_utime + used.ru_stime


rounds, out = int(sys.argv[1]), Path(sys.argv[2])
clang = "clang++-19" if shutil.which("clang++-19") else "clang++"  # whichever there is
compilers = [name for name in ("g++", clang) if shutil.which(name)]
if rounds == 1:  # a trial
    compilers = compilers[:1]
results = []
with tempfile.TemporaryDirectory() as directory:
    sources = {}
    for name, included in headers.items():
        sources[name] = Path(directory, f"{len(sources)}.cpp")
        sources[name].write_text("".join(f"#include <{one}>\n" for one in included), encoding="utf-8")
    for index in range(-1 if rounds > 1 else 0, rounds):  # -1: to have the files in memory
        print(f"compile, round {index + 1} of {rounds}", file=sys.stderr)
        for compiler in compilers:
            for name, source in sources.items():
                result = {"name": f"compile/{compiler}/{name}", "run_type": "iteration", "repetition_index": index}
                result |= {"real_time": seconds(compiler, source), "time_unit": "s"}
                results.append(result)
out.write_text(json.dumps({"benchmarks": [r for r in results if r["repetition_index"] >= 0]}), encoding="utf-8")
