"""What the headers promise to a compiler, a linker and a build file."""
import os
import re

import pytest
from compiling import (COMPILERS, CORE_LIBRARIES, FLAGS, HEADERS, INCLUDE, TOP, includes, package_flags, run,
                       source_of, succeed)

HERE = TOP / "tests" / "compile"
IS_LONG = "STASH_LONG" in os.environ
each_compiler = pytest.mark.parametrize("compiler", COMPILERS)
# What g++ alone compiles without STASH_LONG.
one_compiler = pytest.mark.parametrize("compiler", COMPILERS if IS_LONG else ["g++"])
# What users include; with STASH_LONG, what these include, too.
INCLUDED = [header for header in HEADERS if IS_LONG or not re.search("/(detail|checks)/", header)]


# By one compiler: what a header forgot to include another one would say, too, with the same standard library. What it warns
# of is seen where it compiles them all.
@pytest.mark.parametrize("header", INCLUDED)
def test_header_compiles_alone_and_included_twice(header):
    succeed(COMPILERS[0], *FLAGS, *package_flags("--cflags"), "-fsyntax-only", "-x", "c++", "-",
            input=includes([header] * 2))


@one_compiler
def test_all_headers_in_two_translation_units_link_and_share_one_category(compiler, tmp_path):
    there = "boost::system::error_category const& there()"
    (tmp_path / "a.cpp").write_text(
        f"{includes(HEADERS)}{there};\nint main() {{ return &there() == &stash::stash_category() ? 0 : 1; }}\n")
    (tmp_path / "b.cpp").write_text(
        f"{includes(reversed(HEADERS))}{there};\n{there} {{ return stash::stash_category(); }}\n")
    succeed(compiler, *FLAGS, *package_flags("--cflags"), tmp_path / "a.cpp", tmp_path / "b.cpp", "-o", tmp_path / "ab",
            *CORE_LIBRARIES, *package_flags("--libs"))
    succeed(tmp_path / "ab")


@one_compiler
def test_copies_of_the_library_in_one_process_agree_which_process_it_is(compiler, tmp_path):
    hidden = ["-fvisibility=hidden", "-fvisibility-inlines-hidden", "-shared", "-fPIC", "-DPLUGIN"]
    succeed(compiler, *FLAGS, *hidden, HERE / "copies.cpp", "-o", tmp_path / "early.so", *CORE_LIBRARIES)
    (tmp_path / "late.so").write_bytes((tmp_path / "early.so").read_bytes())
    succeed(compiler, *FLAGS, HERE / "copies.cpp", "-o", tmp_path / "host")
    succeed(tmp_path / "host", tmp_path / "early.so", tmp_path / "late.so", tmp_path)


@one_compiler
def test_core_builds_with_one_compiler_line_and_runs(compiler, tmp_path):
    succeed(compiler, *FLAGS, HERE / "one_line.cpp", "-o", tmp_path / "one_line", *CORE_LIBRARIES)
    succeed(tmp_path / "one_line", tmp_path / "stash")


@one_compiler
def test_public_api_is_as_designed(compiler, tmp_path):
    succeed(compiler, *FLAGS, *package_flags("--cflags"), HERE / "public_api.cpp", "-o", tmp_path / "public_api",
            *CORE_LIBRARIES, *package_flags("--libs"))
    succeed(tmp_path / "public_api")


# Some warnings are only seen where a compiler inlines much.
@pytest.mark.parametrize("optimization", ["-O3", "-O2", "-O1"] if IS_LONG else ["-O3"])
@one_compiler
def test_a_users_program_is_optimized_without_a_warning(compiler, optimization):
    succeed(compiler, *FLAGS, *package_flags("--cflags"), optimization, "-c", HERE / "optimized.cpp", "-o", "/dev/null")


def test_core_compiles_with_the_standard_library_of_clang():
    core = [header for header in HEADERS if not re.search("sqlite|postgres", header)]
    probe = run("clang++-19", "-stdlib=libc++", "-fsyntax-only", "-x", "c++", "-", input="#include <version>\n")
    if probe.returncode != 0:
        pytest.skip("libc++-19-dev is not installed")
    succeed("clang++-19", *FLAGS, "-stdlib=libc++", "-fsyntax-only", "-x", "c++", "-",
            input=includes(core) + f'#include "{HERE / "one_line.cpp"}"\n')


def test_public_api_compiles_with_the_oldest_clang_that_is_supported():
    succeed("clang++-14", *FLAGS, *package_flags("--cflags"), "-fsyntax-only", HERE / "public_api.cpp")


@each_compiler
def test_stash_hpp_brings_in_no_database_and_no_ckan(compiler):
    listed = succeed(compiler, *FLAGS, "-M", "-x", "c++", "-", input=includes(["stash/stash.hpp"])).split()
    assert any(path.endswith("/stash/delete_guard.hpp") for path in listed)
    assert [path for path in listed if re.search(r"/(sqlite3|libpq-fe)\.h$|/stash/(ckan|testing)/", path)] == []


@pytest.mark.skipif("clang++-19" not in COMPILERS, reason="clang's warning")
def test_nothing_of_ours_is_destroyed_at_exit_where_a_guard_in_static_storage_may_still_need_it():
    source = includes(HEADERS) + f'#include "{HERE / "public_api.cpp"}"\nstatic std::string of_a_user;\n'
    said = run("clang++-19", *FLAGS, "-Wno-error", *package_flags("--cflags"), "-Wexit-time-destructors",
               "-fsyntax-only", "-x", "c++", "-", input=source)
    assert said.returncode == 0, said.stderr
    found = [line for line in said.stderr.splitlines() if "exit-time destructor" in line]
    assert any(line.startswith("<stdin>") for line in found)  # it would say so
    assert [line for line in found if line.startswith(str(INCLUDE))] == []


def compiled_for_32_bits(tmp_path, headers, *options):
    """By clang alone, with the headers of 64 bits: of all that a package for 32 bits has, one empty file is missing."""
    if "clang++-19" not in COMPILERS:
        pytest.skip("clang can do it without more packages")
    (tmp_path / "gnu").mkdir()
    (tmp_path / "gnu/stubs-32.h").touch()
    said = run("clang++-19", "-E", "-v", "-x", "c++", "/dev/null").stderr
    paths = re.search(r"search starts here:\n(.*)End of search list", said, re.S).group(1).split()
    return run("clang++-19", "-m32", *FLAGS, *options, *package_flags("--cflags"), f"-I{tmp_path}",
               *(f"-isystem{path}" for path in paths), "-fsyntax-only", "-x", "c++", "-", input=includes(headers))


def test_32_bits_are_clean(tmp_path):
    done = compiled_for_32_bits(tmp_path, HEADERS, "-D_FILE_OFFSET_BITS=64")
    assert done.returncode == 0, done.stderr


def test_32_bits_of_a_file_offset_are_refused_in_words(tmp_path):
    done = compiled_for_32_bits(tmp_path, ["stash/storage/posix_file_ops.hpp"])
    assert "stash: compile with -D_FILE_OFFSET_BITS=64" in done.stderr, done.stderr


@pytest.mark.parametrize("flag, words", [("-std=c++17", "stash needs C++20: -std=c++20"), ("-U__linux__", "stash needs Linux")])
@each_compiler
def test_an_older_standard_and_another_system_are_refused_in_words(compiler, flag, words):
    done = run(compiler, *FLAGS, flag, "-fsyntax-only", "-x", "c++", "-", input=includes(["stash/stash.hpp"]))
    first = next(line for line in done.stderr.splitlines() if re.search(r"\berror: ", line))
    assert words in first, done.stderr


def test_only_posix_file_ops_includes_fcntl():
    fcntl = re.compile(r"^\s*#\s*include\s*[<\"](sys/)?fcntl\.h", re.M)
    including = {header for header in HEADERS if fcntl.search(source_of(header))}
    assert including <= {"stash/storage/posix_file_ops.hpp", "stash/detail/system/standard_descriptors.hpp"}


def test_the_demo_of_the_readme_shows_what_it_says():
    assert "every word survived" in succeed("sh", TOP / "tests" / "demo.sh").splitlines()[-1]
