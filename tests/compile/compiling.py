"""What the compile tests share: the compilers, their flags, the headers, one call."""
import os
import pathlib
import shutil
import subprocess
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = TOP / "include"
HEADERS = sorted(path.relative_to(INCLUDE).as_posix() for path in (INCLUDE / "stash").rglob("*.hpp"))
assert HEADERS, f"no headers under {INCLUDE}"  # nothing to test would count as passed

COMPILERS = os.environ.get("STASH_COMPILERS", "").split() or ["g++", "clang++-19"]
STANDARD = os.environ.get("STASH_STANDARD", "c++20")
WARNINGS = [f"-std={STANDARD}", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wsign-conversion", "-Werror"]
FLAGS = [*WARNINGS, f"-I{INCLUDE}"]
CORE_LIBRARIES = ["-lboost_json", "-lboost_filesystem"]


# meson has cmake leave a file where it runs, for a moment: never among the sources, which other tests copy.
ELSEWHERE = tempfile.TemporaryDirectory()


def run(*command, env_add=None, cwd=None, **options):
    """Messages in plain English and ASCII, whatever the user's locale. A command that is not there raises."""
    return subprocess.run([str(part) for part in command], text=True, capture_output=True, cwd=cwd or ELSEWHERE.name,
                          env={**os.environ, "LC_ALL": "C", **(env_add or {})}, **options)


def sources_into(directory):
    """What a clone has, with what was changed and not committed yet."""
    return shutil.copytree(TOP, directory, ignore=shutil.ignore_patterns(".git", ".build", "build*", "__pycache__"))


def succeed(*command, **options):
    done = run(*command, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def source_of(header):
    return (INCLUDE / header).read_text(encoding="utf-8")


def includes(headers):
    return "".join(f"#include <{header}>\n" for header in headers)


def package_flags(kind):
    """For the libraries that are included by name, as far as a header does so."""
    named = {"sqlite3": "<sqlite3.h>", "libpq": "<libpq-fe.h>"}
    sources = "".join(map(source_of, HEADERS))
    used = [package for package, header in named.items() if header in sources]
    return succeed("pkg-config", kind, *used).split() if used else []
