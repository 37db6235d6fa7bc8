"""Each way into somebody else's project that the README tells, from an installed copy or from the sources."""
import json
import pathlib
import re
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compile"))
from compiling import COMPILERS, CORE_LIBRARIES, INCLUDE, TOP, WARNINGS, run, source_of, sources_into, succeed  # noqa: E402

COMPILER = COMPILERS[0]
VERSION = re.search(r'^#define STASH_VERSION_STRING "(.*)"$', source_of("stash/version.hpp"), re.M)[1]


def repository_in(directory):
    """The address of one that has these sources."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    sources_into(directory)
    for command in [["init", "-q", "-b", "main"], ["add", "-A"],
                    ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "all"]]:
        succeed("git", "-C", directory, *command)
    return f"file://{directory}"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where the library was installed, to be found there by nobody who is not told."""
    at = tmp_path_factory.mktemp("installed")
    source = sources_into(at / "source")
    succeed("meson", "setup", at / "build", source, f"-Dprefix={at}/usr", env_add={"CXX": COMPILER})
    succeed("meson", "install", "-C", at / "build")
    return at / "usr"


def package_path(prefix):
    return {"PKG_CONFIG_PATH": f"{prefix}/share/pkgconfig"}


def runs(program, directory):
    """It works, and tells the version that it was built with."""
    directory.mkdir()
    return succeed(program, directory).strip() == VERSION


def test_copied_headers_and_one_compiler_line(tmp_path):
    shutil.copytree(INCLUDE / "stash", tmp_path / "stash")
    succeed(COMPILER, *WARNINGS, f"-I{tmp_path}", HERE / "job.cpp", *CORE_LIBRARIES, "-o", tmp_path / "job")
    assert runs(tmp_path / "job", tmp_path / "records")


def test_headers_alone_are_installed_among_headers_and_each_of_them(prefix):
    installed = {path.relative_to(prefix / "include") for path in (prefix / "include").rglob("*.*")}
    assert installed == {path.relative_to(INCLUDE) for path in INCLUDE.rglob("*.hpp")}


@pytest.mark.parametrize("job, packages", [("job", ["stash"]), ("job_in_databases", ["stash-sqlite", "stash-postgres", "stash-ckan-api"])])
def test_pkg_config(prefix, tmp_path, job, packages):
    flags = succeed("pkg-config", "--cflags", "--libs", *packages, env_add=package_path(prefix)).split()
    succeed(COMPILER, *WARNINGS, HERE / f"{job}.cpp", *flags, "-o", tmp_path / job)
    assert runs(tmp_path / job, tmp_path / "records")
    assert succeed("pkg-config", "--modversion", packages[0], env_add=package_path(prefix)).strip() == VERSION


def test_pkg_config_asks_for_databases_in_the_parts_that_need_them_only(prefix):
    nowhere = {"PKG_CONFIG_LIBDIR": f"{prefix}/share/pkgconfig"}
    flags = succeed("pkg-config", "--cflags", "--libs", "stash", env_add=nowhere).split()
    assert flags == [f"-I{prefix}/include", *CORE_LIBRARIES]
    for part, library in [("stash-sqlite", "sqlite3"), ("stash-postgres", "libpq"), ("stash-ckan-api", "libcurl")]:
        refused = run("pkg-config", "--libs", part, env_add=nowhere)
        assert refused.returncode != 0 and library in refused.stderr


def names_of_targets(build):
    return {target["name"] for target in json.loads(succeed("meson", "introspect", "--targets", build))}


def consumer_with_subproject(tmp_path):
    shutil.copytree(HERE, tmp_path / "consumer", ignore=shutil.ignore_patterns("__pycache__"))
    sources_into(tmp_path / "consumer/subprojects/stash")
    return tmp_path / "consumer"


def has_it_as_a_subproject(tmp_path, consumer):
    """A Meson project that has the library as a part builds, runs, and installs nothing of it."""
    said = succeed("meson", "setup", tmp_path / "build", consumer, env_add={"CXX": COMPILER})
    assert f"found stash {VERSION}\n" in said
    succeed("meson", "compile", "-C", tmp_path / "build")
    assert runs(tmp_path / "build/job", tmp_path / "records")
    assert runs(tmp_path / "build/job_in_databases", tmp_path / "more")
    assert names_of_targets(tmp_path / "build") == {"job", "job_in_databases"}, "the library builds something of its own"
    installed = json.loads(succeed("meson", "introspect", "--installed", tmp_path / "build"))
    assert installed == {}, "the library installs itself with its user"


def test_meson_subproject(tmp_path):
    has_it_as_a_subproject(tmp_path, consumer_with_subproject(tmp_path))


def test_meson_wrap(tmp_path):
    """From a repository, as the README says."""
    consumer = shutil.copytree(HERE, tmp_path / "consumer", ignore=shutil.ignore_patterns("__pycache__"))
    (consumer / "subprojects").mkdir()
    wrap = (TOP / ".meson/stash.wrap").read_text()
    assert wrap.count("\nurl = ADDRESS\n") == 1
    (consumer / "subprojects/stash.wrap").write_text(
        wrap.replace("\nurl = ADDRESS\n", f"\nurl = {repository_in(tmp_path / 'stash')}\n"))
    has_it_as_a_subproject(tmp_path, consumer)
    assert (consumer / "subprojects/stash/include").exists(), "it was not fetched"


def test_meson_subproject_needs_no_cmake_and_no_database(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in pathlib.Path("/usr/bin").iterdir():
        if program.name != "cmake":
            (programs / program.name).symlink_to(program)
    succeed("meson", "setup", tmp_path / "build", consumer_with_subproject(tmp_path),
            env_add={"PATH": str(programs), "PKG_CONFIG_LIBDIR": "/nonexistent", "CXX": COMPILER})
    assert names_of_targets(tmp_path / "build") == {"job"}


def cmake(prefix, tmp_path, *options):
    return run("cmake", "-G", "Ninja", "-S", HERE, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
               f"-DCMAKE_CXX_FLAGS={' '.join(WARNINGS)}", *options, env_add={"CXX": COMPILER})


def test_cmake(prefix, tmp_path):
    configured = cmake(prefix, tmp_path, "-DPARTS=sqlite;postgres;ckan_api")
    assert configured.returncode == 0, configured.stderr
    assert f"found stash {VERSION}\n" in configured.stdout
    succeed("cmake", "--build", tmp_path / "build")
    assert runs(tmp_path / "build/job", tmp_path / "records")
    assert runs(tmp_path / "build/job_in_databases", tmp_path / "more")


@pytest.mark.parametrize("options, words", [
    (["-DPARTS=postgres;sqlite", "-DCMAKE_DISABLE_FIND_PACKAGE_SQLite3=ON"], "stash::sqlite needs SQLite3"),
    (["-DPARTS=postgres;sqlite", "-DCMAKE_DISABLE_FIND_PACKAGE_PostgreSQL=ON"], "stash::postgres needs PostgreSQL"),
    (["-DPARTS=postgres;sqlite;ckan_api", "-DCMAKE_DISABLE_FIND_PACKAGE_CURL=ON"], "stash::ckan_api needs CURL"),
    (["-DPARTS=oracle"], "stash has no component oracle"),
])
def test_cmake_says_which_part_is_missing(prefix, tmp_path, options, words):
    configured = cmake(prefix, tmp_path, *options)
    assert configured.returncode != 0 and words in configured.stderr, configured.stdout + configured.stderr


WITHIN = """\
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES CXX)
%s
add_executable(job ../job.cpp)
target_link_libraries(job PRIVATE stash::stash)
add_executable(job_in_databases ../job_in_databases.cpp)
target_link_libraries(job_in_databases PRIVATE stash::sqlite stash::postgres stash::ckan_api)
message(STATUS "found stash ${stash_VERSION}")
install(TARGETS job DESTINATION bin)
"""


def has_it_as_a_part(tmp_path, lines, *options):
    """A project that has the library as a part builds, runs, and installs nothing of it."""
    for job in HERE.glob("job*.cpp"):
        shutil.copy(job, tmp_path)
    (tmp_path / "consumer").mkdir(exist_ok=True)
    (tmp_path / "consumer/CMakeLists.txt").write_text(WITHIN % lines)
    no_pkg_config = {"CXX": COMPILER, "PKG_CONFIG_LIBDIR": "/nonexistent"}
    succeed("cmake", "-G", "Ninja", "-S", tmp_path / "consumer", "-B", tmp_path / "build",
            f"-DCMAKE_CXX_FLAGS={' '.join(WARNINGS)}", *options, env_add=no_pkg_config)
    succeed("cmake", "--build", tmp_path / "build")
    assert runs(tmp_path / "build/job", tmp_path / "records")
    assert runs(tmp_path / "build/job_in_databases", tmp_path / "more")
    succeed("cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "usr")
    assert [path.name for path in (tmp_path / "usr").rglob("*") if path.is_file()] == ["job"]


def test_cmake_subdirectory(tmp_path):
    sources_into(tmp_path / "consumer/stash")
    has_it_as_a_part(tmp_path, "add_subdirectory(stash/.cmake)")


def test_cmake_fetch_content(tmp_path):
    """From a repository, as the README says."""
    address = repository_in(tmp_path / "stash")
    lines = (f'include(FetchContent)\nFetchContent_Declare(stash GIT_REPOSITORY "{address}" GIT_TAG main'
             ' SOURCE_SUBDIR .cmake)\nFetchContent_MakeAvailable(stash)')
    has_it_as_a_part(tmp_path, lines)


def test_cmake_part_needs_no_database(tmp_path):
    sources_into(tmp_path / "consumer/stash")
    (tmp_path / "consumer/CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(consumer LANGUAGES CXX)\nadd_subdirectory(stash/.cmake)\n"
        "foreach(part stash sqlite postgres ckan_api)\nif(TARGET stash::${part})\nmessage(STATUS \"has ${part}\")\nendif()\n"
        "endforeach()\n")
    said = succeed("cmake", "-G", "Ninja", "-S", tmp_path / "consumer", "-B", tmp_path / "build",
                   "-DCMAKE_DISABLE_FIND_PACKAGE_SQLite3=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_PostgreSQL=ON",
                   "-DCMAKE_DISABLE_FIND_PACKAGE_CURL=ON", env_add={"CXX": COMPILER})
    assert [line for line in said.splitlines() if line.startswith("-- has ")] == ["-- has stash"]


def test_cmake_include_directory_is_ours_whatever_a_package_below_sets(prefix, tmp_path):
    """Packages share PACKAGE_PREFIX_DIR: Boost's, which is found in between, may leave its own in it."""
    (tmp_path / "BoostConfigVersion.cmake").write_text("set(PACKAGE_VERSION 1.81.0)\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n")
    (tmp_path / "BoostConfig.cmake").write_text(
        "set(PACKAGE_PREFIX_DIR /opt/boost)\nforeach(part headers json filesystem)\n"
        "add_library(Boost::${part} INTERFACE IMPORTED)\nset(Boost_${part}_FOUND TRUE)\nendforeach()\n")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(consumer LANGUAGES CXX)\nfind_package(stash CONFIG REQUIRED)\n"
        "get_target_property(at stash::stash INTERFACE_INCLUDE_DIRECTORIES)\nmessage(STATUS \"at ${at}\")\n")
    said = succeed("cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
                   f"-DBoost_DIR={tmp_path}", env_add={"CXX": COMPILER})
    assert f"at {prefix}/include\n" in said


def test_cmake_core_needs_no_database(prefix, tmp_path):
    configured = cmake(prefix, tmp_path, "-DCMAKE_DISABLE_FIND_PACKAGE_SQLite3=ON",
                       "-DCMAKE_DISABLE_FIND_PACKAGE_PostgreSQL=ON")
    assert configured.returncode == 0, configured.stderr


def test_the_number_of_the_version_agrees_with_its_text():
    number = int(re.search(r"^#define STASH_VERSION (\d+)$", source_of("stash/version.hpp"), re.M)[1])
    major, minor, patch = map(int, VERSION.split("."))
    assert number == major * 10000 + minor * 100 + patch
