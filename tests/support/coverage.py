"""Which lines and branches of include/ no test reached, but for the exceptions below.

A branch is one outcome, true or false, of one condition that stands in the source; what a template's instantiations
reached is added up, and what no test instantiates does not count. An exception that is not needed any more is an error, as one that is missing is.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

INCLUDE = Path(__file__).resolve().parents[2] / "include"

# (file, what stands there, why no test can reach it). Of a line, its whole text or its beginning; of a branch,
# "condition is true" or "... is false".
BY_CHANCE = "by chance: "  # some runs reach it
NO_MEMORY = "only the C library's lack of memory makes it fail, and its allocations are not ours to fail"
SINGLE_PIECE = "basic_parser asks for it at compile time; it gets all bytes at once, and comments are off"
NOT_RUN = "a check that does not apply is not run; the compiler wants a body all the same"
WHILE_REWRITTEN = "only other threads' calls while a journal is written anew make it allocate: no test fails theirs alone"
TEN_SECONDS = "a child that hangs: the test would take ten seconds"
LINES = [
    ("detail/fork.hpp", "throw std::bad_alloc{};", NO_MEMORY),
    ("json_serializer.hpp", "bool on_number_part(", SINGLE_PIECE),
    ("json_serializer.hpp", "bool on_comment_part(", SINGLE_PIECE),
    ("json_serializer.hpp", "bool on_comment(", SINGLE_PIECE),
    ("testing/checks/tools.hpp", "::kill(child, SIGKILL);", TEN_SECONDS),
    ("testing/checks/tools.hpp", "::waitpid(child, &status, 0);", TEN_SECONDS),
    ("testing/checks/tools.hpp", "return false;", TEN_SECONDS),
    ("testing/checks/tools.hpp", 'throw std::logic_error("needs again()");', NOT_RUN),
    ("testing/checks/tools.hpp", 'throw std::logic_error("needs exists()");', NOT_RUN),
    ("detail/journal/journal.hpp", "} catch (...) {  // no memory: the old file goes on", WHILE_REWRITTEN),
    ("detail/journal/journal.hpp", "return false;", WHILE_REWRITTEN),
    ("testing/failing_storage.hpp", "~lock_type() {}", "try_lock always throws: nobody has such a lock"),
    ("testing/failing_storage.hpp", "bool held() const {", "try_lock always throws: nobody has such a lock"),
]
BRANCHES = [
    ("storage/default_directory.hpp", "found->pw_dir != nullptr is false",
     f"{BY_CHANCE}no user database is known that has such a row, but a process that ends amid it may count so"),
    ("detail/files/owner.hpp", "found->pw_name != nullptr is false", "no user database is known that has such a row"),
    ("detail/system/standard_descriptors.hpp", "placeholder > STDERR_FILENO is true",
     f"{BY_CHANCE}another thread puts something there in the same instant"),
    ("storage/posix_file_ops.hpp", "::lstat(path, &s) == 0 is false",
     f"{BY_CHANCE}a directory that is gone in the instant in which it was made, within one call of the seam"),
    ("storage/posix_file_ops.hpp", "::lseek(fd, 0, SEEK_SET) != 0 is true", "a directory can be read from its beginning"),
    ("detail/fork.hpp", "page == MAP_FAILED is true", NO_MEMORY),
    ("detail/journal/open_journal.hpp", "lock_ is false", "who asks has locked it"),
    ("detail/sqlite/rows.hpp", "!row.step() is false", "a table in which a key could stand twice is refused before"),
    ("detail/fork.hpp", "::pthread_atfork(", NO_MEMORY),
    ("detail/ckan/postgres_rights.hpp", "::PQserverVersion(db_.get()) < 160000 is false", "the tests' servers are older"),
    ("detail/postgres/belongings_sql.hpp", "server_version < 150000 is true", "the tests' servers are newer"),
    ("detail/postgres/belongings_sql.hpp", "server_version < 140000 is true", "the tests' servers are newer"),
    ("detail/sqlite/parking_steps.hpp", "detail::sqlite_others(at) != others is true",
     "SQLite 3.40 leaves them alone; this is for one that does not"),
    ("detail/text/nearest_double.hpp", "plain == nullptr is true", NO_MEMORY),
    ("detail/files/absolute.hpp", "path.filename().empty() is true",
     "how Boost.Filesystem 4 spells it; the tests are built with 3, the default of Boost 1.81"),
    ("testing/checks/tools.hpp", "child < 0 is true", "root may always fork"),
    ("testing/checks/tools.hpp", "waited < 10'000 is false", TEN_SECONDS),
]


# Declarations, templates' parameters and concepts alone.
WITHOUT_CODE = {"concepts.hpp", "detail/guard/liveness.hpp", "detail/postgres/dependents_sql.hpp", "detail/values/json_convertible.hpp", "detail/values/parts.hpp", "detail/storage/policy_checks.hpp",
                "ckan/api_options.hpp", "file_options.hpp", "fwd.hpp", "stash.hpp", "storage/journal_options.hpp", "storage/sqlite_options.hpp", "version.hpp"}


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True, **options).stdout


def source_lines(file, read={}):
    return read.setdefault(file, (INCLUDE / "stash" / file).read_text(encoding="utf-8").splitlines())


def under_include(path):
    """As `detail/text/time.hpp`; None for a file that is not ours."""
    path = Path(os.path.normpath(path))
    return path.relative_to(INCLUDE / "stash").as_posix() if path.is_relative_to(INCLUDE / "stash") else None


def has_something_to_run(text):
    """Not so a brace behind a call that does not return, a declaration, and a question for the compiler."""
    return not re.fullmatch(r"[\s{};)]*|\s*(struct \w+ \{|(struct \w+|sigset_t) [\w, ]+;)", text) and \
        not text.strip().startswith("if constexpr")


def counted_lines(build, counts):
    """How often each line ran, by gcov."""
    ran = defaultdict(int)
    for gcda in counts.rglob("*.gcda"):
        _, _, *parts = gcda.relative_to(counts).parts  # below WHO/gcov, by its path
        gcno = Path("/", *parts).with_suffix(".gcno")
        file = None
        for line in run("llvm-cov-19", "gcov", "-t", f"--gcno={gcno}", f"--gcda={gcda}", gcda, cwd=build).splitlines():
            count, number, text = (line.split(":", 2) + ["", ""])[:3]
            if number.strip() == "0" and text.startswith("Source:"):
                file = under_include(build / text.removeprefix("Source:"))
            elif file and number.strip().isdigit() and count.strip() not in ("-", "") and has_something_to_run(text):
                ran[file, int(number)] += int(re.sub(r"\D", "", count) or 0)  # ##### is none
    return ran


def counted_branches(build, counts):
    """How often each condition was true and false."""
    merged = counts / "merged.profdata"
    run("llvm-profdata-19", "merge", "--failure-mode=all", "-o", merged, *counts.rglob("*.profraw"))
    programs = [build / "unit_core"]
    for name in ("unit_rest", "every_call_fails", "postgres", "ckan_api", "pusher", "postgres_worker"):
        programs += ["-object", build / name]
    exported = json.loads(run("llvm-cov-19", "export", *programs, f"-instr-profile={merged}", INCLUDE))
    taken = defaultdict(lambda: [0, 0])
    for f in exported["data"][0]["files"]:
        file = under_include(f["filename"])
        for line, column, last_line, last_column, when_true, when_false, *_ in f["branches"]:
            if source_lines(file)[line - 1].endswith("= default;"):
                continue  # the compiler's, not the source's
            place = file, line, column, last_line, last_column
            taken[place][0] += when_true
            taken[place][1] += when_false
    return taken


def condition(file, line, column, last_line, last_column):
    lines = source_lines(file)[line - 1:last_line]
    lines[-1] = lines[-1][:last_column - 1]
    lines[0] = lines[0][column - 1:]
    return " ".join(text.strip() for text in lines)


def missing(ran, taken):
    """(file, line, text) of each line, and of each branch."""
    lines = [(file, line, source_lines(file)[line - 1].strip()) for (file, line), n in sorted(ran.items()) if n == 0]
    branches = [(place[0], place[1], f"{condition(*place)} is {outcome}")
                for place, both in sorted(taken.items()) for outcome, n in zip(("true", "false"), both) if n == 0]
    return lines, branches


def left_over(found, exceptions):
    """What no exception is for, and the exceptions that are not for exactly one place, or at most one by chance."""
    def is_for(exception, one):
        return exception[0] == one[0] and one[2].startswith(exception[1])

    return ([one for one in found if not any(is_for(e, one) for e in exceptions)],
            [e for e in exceptions if sum(is_for(e, one) for one in found) not in (1, 0 if e[2].startswith(BY_CHANCE) else 1)])


def report(kind, instrument, total, found, exceptions, suite):
    left, stale = left_over(found, exceptions)
    for file, text, reason in exceptions:
        print(f"excepted of the {kind}: {file}: {text}: {reason}")
    for file, line, text in left:
        print(f"not reached: {file}:{line}: {text}")
    for file, text, _ in stale:
        print(f"excepted, but reached, or gone, or in more places than one: {file}: {text}")
    case = ET.SubElement(suite, "testcase", classname="coverage", name=f"every_one_of_the_{kind}_of_include_is_reached")
    if left or stale:
        ET.SubElement(case, "failure", message=f"{len(left)} not reached, {len(stale)} excepted wrongly")
    print(f"{kind}, by {instrument}: {total - len(found)} of {total} reached, {len(found) - len(left)} excepted, "
          f"{len(left)} missing")
    if path := os.environ.get("STASH_FIGURES"):
        with open(path, "a", encoding="utf-8") as figures:
            figures.write(f"coverage of include/\t{kind}, by {instrument}, beside {len(found) - len(left)} excepted with a "
                          f"reason\t{total - len(found) + len(left)}\t{len(left) + len(stale)}\n")
    return bool(left or stale)


def main():
    parser = argparse.ArgumentParser(description="Lists what no test reached.")
    parser.add_argument("build", type=Path)
    parser.add_argument("counts", type=Path, help="a folder with what the runs counted, as coverage.sh makes it")
    parser.add_argument("--junit", metavar="FILE")
    args = parser.parse_args()
    ran, taken = counted_lines(args.build, args.counts), counted_branches(args.build, args.counts)
    if not ran or not taken:
        sys.exit("nothing was counted")
    unseen = {p.relative_to(INCLUDE / "stash").as_posix() for p in INCLUDE.rglob("*.hpp")} - {file for file, _ in ran}
    if unseen != WITHOUT_CODE:
        print("headers of which nothing was counted, though they have code, or the other way round:",
              *sorted(unseen ^ WITHOUT_CODE))
    lines, branches = missing(ran, taken)
    suite = ET.Element("testsuite", name="coverage")
    failed = unseen != WITHOUT_CODE
    failed |= report("lines", "gcov", len(ran), lines, LINES, suite)
    failed |= report("branches", "clang", 2 * len(taken), branches, BRANCHES, suite)
    if args.junit:
        ET.ElementTree(suite).write(args.junit, encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
