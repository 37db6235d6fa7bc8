"""Takes one protection of the library out at a time and runs the tests that should see it: one must fail then.

The mutants of include/stash/storage/memory.hpp are in storage/memory.txt beside this program. Each is a paragraph: the
protection that is taken out; what is known of it, a line each; and one or more changes.

    the sync of the directory after a removal
    seen by: locks/locks/one_case, atomic_file    tests in this order: one case of locks_test.cpp, all of another file
    and by: fleet                                 optional: one more mutant, which this test must see alone
    needs root                                    optional: skipped for anybody else
    may hang                                      optional: an end is taken out, and a test sees it by a time limit
    cannot be seen: reason                        optional: it must live, for nobody can tell it from the library
    <<<
    what stands in the header
    ===
    what takes its place
    >>>

What stands there is found whatever the white space in it, and must stand there once. A mutant that does not apply or
does not compile fails the run as one does that lives.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Overflow ends the program, as it does in the suite, which is built with this sanitizer too.
SANITIZED = {"clang++-19": ["-fsanitize=signed-integer-overflow", "-fsanitize-trap=signed-integer-overflow"],
             "g++": ["-fsanitize=signed-integer-overflow", "-fsanitize-undefined-trap-on-error"]}
COMPILER = next((c for c in SANITIZED if shutil.which(c)), "g++")  # the fastest first: it takes half the time
COMPILE = [COMPILER, "-std=c++20", "-O0", "-w", "-pthread", *SANITIZED[COMPILER], "-DBOOST_TEST_DYN_LINK",
           f"-I{ROOT}/tests/support", "-I/usr/include/postgresql"]
LINK = [*(["-fuse-ld=gold"] if shutil.which("ld.gold") else []),
        "-lboost_json", "-lboost_filesystem", "-lboost_unit_test_framework", "-lsqlite3", "-lxxhash", "-lpq",
        "-lcurl"]
OTHER_USER = {"user": 65534, "group": 65534, "extra_groups": []}  # what a permission forbids, root does not notice
# No test can see what a real disk does with a sync, but all wait for it.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.R_OK | os.W_OK | os.X_OK) else None


@dataclass
class Mutant:
    name: str  # the protection that is taken out
    file: str  # under include/stash
    tests: tuple = ()  # the likeliest to see it first
    needs_root: bool = False
    may_hang: bool = False
    reason: str = ""  # why nobody can see it
    alone: str = ""  # a test that must see it without the others
    edits: list = field(default_factory=list)  # of (text, what stands there instead)


def read(path):
    """The mutants of one file. Raises ValueError, with the line, for what is none."""
    found = []
    mutant = text = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if text is not None and line == ">>>":
            old, found_it, new = "\n".join(text + [""]).partition("\n===\n")
            if not found_it or not old.strip():
                raise ValueError(f"{path}:{number}: no text before a line of ===")
            mutant.edits.append((old, new.removesuffix("\n")))  # which would end a string amid a line
            text = None
        elif text is not None:
            text.append(line)
        elif line == "<<<" and mutant:
            text = []
        elif not line:
            mutant = None
        elif mutant is None:
            mutant = Mutant(line, path.relative_to(HERE).with_suffix(".hpp").as_posix())
            found.append(mutant)
        elif line.startswith("seen by: "):
            mutant.tests = tuple(line.removeprefix("seen by: ").split(", "))
        elif line.startswith("and by: "):
            mutant.alone = line.removeprefix("and by: ")
        elif line.startswith("cannot be seen: "):
            mutant.reason = line.removeprefix("cannot be seen: ")
        elif line in ("needs root", "may hang"):
            setattr(mutant, line.replace(" ", "_"), True)
        else:
            raise ValueError(f"{path}:{number}: {line!r}: see {Path(__file__).name}")
    for one in found:
        if not one.tests or not one.edits or text is not None:
            raise ValueError(f"{path}: {one.name}: no tests, no change, or one that does not end")
    return found + [replace(one, name=f"{one.name}, seen by {one.alone}", tests=(one.alone,)) for one in found if one.alone]


everything = [m for path in sorted(HERE.rglob("*.txt")) for m in read(path)]
mutants = [m for m in everything if not m.reason]
equivalents = [m for m in everything if m.reason]


def pattern_of(text):
    """A regular expression for `text` as clang-format may have broken it: white space between any two of its words
    and signs, at least one between two words."""
    tokens = re.findall(r"\w+|[^\w\s]", text)
    out = r"(?<!\w)" if re.match(r"\w", text) else ""
    for i, token in enumerate(tokens):
        if i > 0:
            both_words = re.match(r"\w", tokens[i - 1]) and re.match(r"\w", token)
            out += r"\s+" if both_words else r"\s*"
        out += re.escape(token)
    return out + (r"(?!\w)" if re.match(r"\w", tokens[-1]) else "")


def apply(mutant, include):
    """Changes the copy in `include`; returns what is wrong with the list, or None."""
    path = include / "stash" / mutant.file
    if not path.is_file():
        return f"does not apply: no file {mutant.file}"
    source = path.read_text()
    for old, new in mutant.edits:
        found = len(re.findall(pattern_of(old), source))
        if found != 1:
            return f"does not apply: stands {found} times in {mutant.file}: {old}"
        source = re.sub(pattern_of(old), lambda _: new, source)
    path.write_text(source)
    return None


def precompile(header):
    """What is not ours is the same for all mutants: compiled once, it saves more than half of the time. Returns how
    to use it."""
    ours = [*(ROOT / "include").rglob("*.hpp"), ROOT / "tests/support/support.hpp"]
    names = {name for file in ours for name in re.findall(r"^#include <((?!stash/).+)>", file.read_text(), re.M)}
    header.write_text("".join(f"#if __has_include(<{n}>)\n#include <{n}>\n#endif\n" for n in sorted(names)))
    is_clang = COMPILER.startswith("clang")
    precompiled = f"{header}.pch" if is_clang else f"{header}.gch"
    instantiate = ["-fpch-instantiate-templates"] if is_clang else []
    subprocess.run([*COMPILE, *instantiate, "-x", "c++-header", header, "-o", precompiled], check=True)
    return ["-include-pch", precompiled] if is_clang else ["-include", header]


def run_once(program, limit, cases, **user):
    """Returns the first failure, or None."""
    # What a killed test had mounted there cannot be removed.
    with tempfile.TemporaryDirectory(prefix="stash-mutant.", dir=IN_MEMORY, ignore_cleanup_errors=True) as scratch:
        os.chmod(scratch, 0o777)
        # A mutant's figures are not the library's.
        env = {name: value for name, value in os.environ.items() if name not in ("STASH_FIGURES", "STASH_LONG")}
        env |= {"TMPDIR": scratch, **({"HOME": scratch} if user else {})}
        process = subprocess.Popen([*program, *cases, "--color_output=no", "--log_level=error", "--report_level=no"],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                   cwd=scratch, env=env, start_new_session=True, **user)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"timeout: still running after {limit:.0f} s"
    if process.returncode == 0:
        return None
    named = re.search(r'(?:error|last checkpoint).*?in "([^"]+)"', output)
    return named[1] if named else f"status {process.returncode}"


def source_of(test):
    return next(ROOT.glob(f"tests/*/{file_of(test)}_test.cpp"))


def file_of(test):
    return test.partition("/")[0]


def is_exhaustive(test):
    return source_of(test).parent.name == "exhaustive"


def run(test, program, limit=1800):
    cases = ["--run_test=" + test.partition("/")[2]] if "/" in test else []
    if test.startswith("postgres"):  # each with a server of its own, whose settings it changes
        return run_once([sys.executable, ROOT / "tests/servers/postgres_cluster.py", program], limit, cases)
    failure = run_once([program], limit, cases)
    if failure is None and os.geteuid() == 0 and not is_exhaustive(test):
        failure = run_once([program], limit, cases, **OTHER_USER)
        failure = failure and "as another user: " + failure
    return failure


@dataclass
class Outcome:
    mutant: Mutant
    verdict: str  # caught, lives, skipped, or broken: an error of the list
    detail: str = ""


class Runner:
    def __init__(self, scratch):
        self.scratch = scratch
        self.precompiled = []
        self.main = scratch / "main.o"
        self.limits = {}

    def prepare(self, tests, jobs):
        """Without a mutant all tests must pass, else all would be caught. Returns what fails."""
        self.precompiled = precompile(self.scratch / "not_ours.hpp")
        subprocess.run([*COMPILE, "-c", f"{ROOT}/tests/unit/main.cpp", "-o", self.main], check=True)
        files = sorted({file_of(test) for test in tests})
        with ThreadPoolExecutor(jobs) as pool:
            return [why for of_file in pool.map(lambda file: self.unmutated(file, tests), files) for why in of_file]

    def build(self, test, include, program):
        """Returns what the compiler said, or None."""
        # Where a test tries everything, compiling it well saves more than it costs.
        how = ["-O2"] if is_exhaustive(test) else self.precompiled
        done = subprocess.run([*COMPILE, f"-I{include}", *how, source_of(test), self.main, "-o", program, *LINK],
                              capture_output=True, text=True)
        return None if done.returncode == 0 else "does not compile: " + done.stderr[:2000]

    def unmutated(self, file, tests):
        program = self.scratch / file
        if problem := self.build(file, ROOT / "include", program):
            return [f"{file}: {problem}"]
        failing = []
        for test in (t for t in tests if file_of(t) == file):
            start = time.monotonic()
            if failure := run(test, program):
                failing.append(f"{test}: {failure}")
            self.limits[test] = 30 + 10 * (time.monotonic() - start)
        program.unlink()
        return failing

    def outcome(self, mutant):
        if mutant.needs_root and os.geteuid() != 0:
            return Outcome(mutant, "skipped", "only root can make what the test looks at")
        with tempfile.TemporaryDirectory(dir=self.scratch) as place:
            os.chmod(place, 0o755)
            include = Path(place) / "include"
            shutil.copytree(ROOT / "include", include)
            if problem := apply(mutant, include):
                return Outcome(mutant, "broken", problem)
            for test in mutant.tests:
                program = Path(place) / "test"
                if problem := self.build(test, include, program):
                    return Outcome(mutant, "broken", problem)
                failure = run(test, program, self.limits[test])
                if failure and "timeout" in failure and not mutant.may_hang:
                    return Outcome(mutant, "broken", failure)  # a slow machine is no failed check
                if failure:
                    return Outcome(mutant, "caught", failure)
        return Outcome(mutant, "lives", "not seen by " + ", ".join(mutant.tests))


def write_junit(path, outcomes):
    suite = ET.Element("testsuite", name="mutants")
    for o in outcomes:
        case = ET.SubElement(suite, "testcase", classname="mutants", name=o.mutant.name)
        if o.verdict in ("lives", "broken"):
            ET.SubElement(case, "failure", message=f"{o.verdict}: {o.detail}")
        elif o.verdict == "skipped":
            ET.SubElement(case, "skipped", message=o.detail)
    ET.ElementTree(suite).write(path, encoding="utf-8")


def note_figure(tried, lived):
    if path := os.environ.get("STASH_FIGURES"):
        with open(path, "a") as out:
            out.write(f"mutants\tprotections taken out, one at a time\t{tried}\t{lived}\n")


def arguments():
    parser = argparse.ArgumentParser(description="Takes the library's protections out, one at a time.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a part of the names of those to run")
    parser.add_argument("--list", action="store_true", help="only name them")
    parser.add_argument("--equivalents", action="store_true", help="run those that nobody can see; they must live")
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 1) + 1, help="one more than there are cores,"
                        " because tests of waiting wait")
    parser.add_argument("--junit", metavar="FILE")
    return parser.parse_args()


def main():
    args = arguments()
    chosen = [m for m in (equivalents if args.equivalents else mutants)
              if not args.names or any(name in m.name for name in args.names)]
    if args.list:
        for m in chosen:
            print(f"{m.file}: {m.name}")
        return 0
    if not chosen:
        sys.exit("no mutant has such a name")
    with tempfile.TemporaryDirectory(prefix="stash-mutants.") as scratch:
        os.chmod(scratch, 0o755)  # where another user may run what is built
        runner = Runner(Path(scratch))
        if failing := runner.prepare(sorted({test for m in chosen for test in m.tests}), args.jobs):
            print("without any mutant these fail:", *failing, sep="\n")
            return 1
        outcomes = []
        with ThreadPoolExecutor(args.jobs) as pool:
            for o in pool.map(runner.outcome, chosen):
                outcomes.append(o)
                print(f"{o.verdict:8} {o.mutant.name} ({o.detail})", flush=True)
    return report(outcomes, args)


def report(outcomes, args):
    of = {v: [o for o in outcomes if o.verdict == v] for v in ("caught", "lives", "skipped", "broken")}
    if args.junit and not args.equivalents:
        write_junit(args.junit, outcomes)
    if args.equivalents:
        print(f'{len(of["lives"])} of {len(outcomes)} live, as they should')
        return 0 if len(of["lives"]) == len(outcomes) else 1
    stale = list_equivalents()
    for verdict in ("lives", "broken", "skipped"):
        for o in of[verdict]:
            print(f"{verdict}: {o.mutant.file}: {o.mutant.name}: {o.detail}")
    tried, lived = len(outcomes) - len(of["skipped"]), len(of["lives"]) + len(of["broken"])
    note_figure(tried, lived)
    skipped = f', {len(of["skipped"])} skipped' if of["skipped"] else ""
    print(f'caught {len(of["caught"])} of {tried}{skipped}')
    return 1 if lived or stale else 0


def list_equivalents():
    """Names those that change nothing that can be seen; returns how many do not even apply."""
    stale = 0
    for m in equivalents:
        with tempfile.TemporaryDirectory() as place:
            shutil.copytree(ROOT / "include", Path(place) / "include")
            problem = apply(m, Path(place) / "include")
        stale += problem is not None
        print(f"cannot be seen: {m.name}: {problem or m.reason}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
