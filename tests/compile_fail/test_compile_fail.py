"""Each way to get it wrong, a file: with -DWRONG the compiler must refuse it and say the `// expect:` words."""
import functools
import pathlib
import re
import shutil
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compile"))
from compiling import COMPILERS, INCLUDE, WARNINGS, run  # noqa: E402

CASES = sorted(HERE.glob("*.cpp"))
assert CASES
EXPECTED = re.compile(r"^// expect: (.+)$", re.MULTILINE)
pytestmark = pytest.mark.xdist_group("compile_fail")  # one worker: what it compiled together serves all
each_case = pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
each_compiler = pytest.mark.parametrize("compiler", COMPILERS)


@functools.cache
def precompiled(compiler):
    """The library's headers, for speed alone; a copy, so that an edit on the way does not make them out of date."""
    directory = tempfile.TemporaryDirectory()
    include = pathlib.Path(directory.name)
    shutil.copytree(INCLUDE, include, dirs_exist_ok=True)
    header = include / "precompiled.hpp"
    header.write_text("#include <stash/ckan/reload.hpp>\n#include <stash/stash.hpp>\n", encoding="utf-8")
    flags = [*WARNINGS, f"-I{include}"]
    done = run(compiler, *flags, "-x", "c++-header", header, "-o", f"{header}.gch")
    assert done.returncode == 0, done.stderr
    return directory, [*flags, "-include", header]


def compiled(compiler, case, *options):
    _, flags = precompiled(compiler)
    return run(compiler, *flags, "-fsyntax-only", *options, case)


def compiled_together(compiler, *options):
    """All in one go, each in a namespace of its own: that takes seconds, and one by one they take minutes."""
    sources = {case: case.read_text(encoding="utf-8") for case in CASES}
    include = re.compile(r"^#include .*$", re.MULTILINE)
    lines = sorted({line for source in sources.values() for line in include.findall(source)})
    lines += [f'namespace twin_{case.stem} {{\n#line 1 "{case}"\n{include.sub("", source)}\n}}'
              for case, source in sources.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as together:
        together.write("\n".join(lines))
        together.flush()
        return compiled(compiler, together.name, f"-I{HERE}", *options)


@each_compiler
def test_the_right_twins_compile(compiler):
    done = compiled_together(compiler)
    assert done.returncode == 0, done.stderr


@functools.cache
def said_of_each(compiler):
    """What the compiler says of all the wrong ones, by case. g++ names a case ahead of its errors; clang names it behind
    or in each."""
    named = re.compile(re.escape(str(HERE)) + r"/(\w+)\.cpp")
    if compiler == "g++":
        parts = compiled_together(compiler, "-DWRONG").stderr.splitlines(True)
    else:
        parts = re.split(r"^(?=.*\berror: )", compiled_together(compiler, "-DWRONG", "-ferror-limit=0").stderr, flags=re.M)
    said, case = {}, None
    for part in parts:
        found = named.search(part)
        case = found[1] if found else case
        said[case] = said.get(case, "") + part
    return said


@each_compiler
@each_case
def test_the_wrong_one_is_refused_in_words(compiler, case):
    words = EXPECTED.findall(case.read_text(encoding="utf-8"))
    assert words
    said = said_of_each(compiler).get(case.stem, "")
    if "error:" in said and all(each in said for each in words):
        return
    done = compiled(compiler, case, "-DWRONG")  # some are not refused together with others
    assert done.returncode != 0, "it compiles"
    assert [each for each in words if each not in done.stderr] == [], done.stderr


@each_compiler
def test_what_is_wrong_is_said_once_and_nothing_else(compiler):
    done = compiled(compiler, HERE / "live_returns_void.cpp", "-DWRONG")
    assert len(re.findall(r"\berror:", done.stderr)) == 1, done.stderr
