"""Runs each libFuzzer target for STASH_FUZZ_SECONDS (60 where unset), from the seed corpus beside it.

STASH_FUZZ_BUILD: where to build; else pytest's own directory. STASH_FUZZ_OPTIONAL: skip where there is no clang++-19.
An input that broke is printed in base64; `base64 -d >input`, and the program that was built runs it: `csv_reader input`.
"""
import base64
import os
import pathlib
import re
import shutil
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compile"))
from compiling import INCLUDE, TOP, WARNINGS, run  # noqa: E402

COMPILER = "clang++-19"
OPTIONS = ["-O1", "-gline-tables-only", "-D_GLIBCXX_ASSERTIONS", "-fsanitize=fuzzer,address,undefined",
           "-fno-sanitize-recover=all", f"-I{INCLUDE}", f"-I{TOP / 'tests' / 'examples'}"]
LIBRARIES = {"record_reader": [], "key_codec": [], "json_round_trip": ["-lboost_json"], "csv_reader": ["-lcsv"]}
SECONDS = int(os.environ.get("STASH_FUZZ_SECONDS", "60"))
FEWEST_A_SECOND = 20  # an idle machine does thousands, a crowded one hundreds


def test_each_target_here_is_run():
    assert {path.stem for path in HERE.glob("*.cpp")} == set(LIBRARIES)


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    if shutil.which(COMPILER) is None:
        if "STASH_FUZZ_OPTIONAL" in os.environ:
            pytest.skip(f"no {COMPILER} to build fuzz targets with")
        pytest.fail(f"no {COMPILER} to build fuzz targets with; STASH_FUZZ_OPTIONAL=1 skips them", pytrace=False)
    directory = pathlib.Path(os.environ.get("STASH_FUZZ_BUILD") or tmp_path_factory.mktemp("build")).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def built(target, directory):
    program = directory / target
    done = run(COMPILER, *WARNINGS, *OPTIONS, HERE / f"{target}.cpp", "-o", program, *LIBRARIES[target])
    assert done.returncode == 0, done.stderr
    return program


def number(pattern, text):
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def note(target, seconds, executions, failed):
    if path := os.environ.get("STASH_FIGURES"):
        with open(path, "a", encoding="utf-8") as figures:
            figures.write(f"fuzz: {target}\texecutions in {seconds} s\t{executions}\t{int(failed)}\n")


def report(log, directory):
    """What libFuzzer said from the failure on, and the inputs it kept."""
    kept = "".join(f"\n{path.name}, in base64: {base64.b64encode(path.read_bytes()).decode()}\n"
                   for path in sorted(directory.iterdir()))
    lines = [line for line in log.splitlines() if not re.match(r"#\d+\s+(NEW|REDUCE|pulse|RELOAD)", line)]
    return "\n".join(lines[-100:]) + kept


@pytest.mark.parametrize("target", LIBRARIES)
def test_no_input_is_found_that_breaks(target, build, tmp_path):
    program = built(target, build)
    seeds = HERE / "corpus" / target
    found, crashes = tmp_path / "found", tmp_path / "crashes"
    found.mkdir()
    crashes.mkdir()
    started = time.monotonic()
    # The first directory is the one that libFuzzer writes to.
    done = run(program, f"-max_total_time={SECONDS}", "-print_final_stats=1", "-timeout=30", "-rss_limit_mb=2048",
               f"-artifact_prefix={crashes}/", found, seeds, errors="replace", timeout=SECONDS + 300)
    seconds = round(time.monotonic() - started)
    executions = number(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    read = number(r"seed corpus: files: (\d+)", done.stderr)
    enough = 0 < read == len(list(seeds.iterdir())) and executions >= read + FEWEST_A_SECOND * SECONDS
    failed = done.returncode != 0 or not enough
    note(target, seconds, executions, failed)
    if failed:
        pytest.fail(f"{target}: exit code {done.returncode}, {executions} executions in {seconds} s, {read} seeds read\n"
                    f"{report(done.stderr, crashes)}", pytrace=False)
