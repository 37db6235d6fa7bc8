"""What can be said of the sources without running them. (That each header compiles alone and what stash.hpp brings in,
tests/compile says.)"""
import pathlib
import re
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "compile"), str(HERE.parent / "mutants")]
import layers  # noqa: E402
import mutants  # noqa: E402
import unqualified_calls  # noqa: E402
from compiling import HEADERS, INCLUDE, TOP, includes, package_flags, run, succeed  # noqa: E402

SOURCES = sorted(path for folder in ["include", "tests", "benchmarks"] for suffix in ["*.hpp", "*.cpp"]
                 for path in (TOP / folder).rglob(suffix))
assert SOURCES


def test_sources_are_formatted():
    """By comparing: the comment behind `namespace stash::inline v1` it would replace by itself, and complain of that."""
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    if succeed("clang-format-14", *SOURCES) != "".join(texts):
        assert [path for path, text in zip(SOURCES, texts) if succeed("clang-format-14", path) != text] == []


def test_every_public_name_has_its_comment(tmp_path):
    said = run("doxygen", HERE / "Doxyfile", cwd=TOP, env_add={"STASH_DOXYGEN_OUTPUT": str(tmp_path)})
    assert said.returncode == 0 and said.stderr == "", said.stderr


def test_doxygen_would_notice_a_name_without_a_comment(tmp_path):
    shutil.copytree(INCLUDE, tmp_path / "include")
    key = tmp_path / "include/stash/key.hpp"
    text = key.read_text(encoding="utf-8")
    assert text.count("\n private:\n") == 1
    key.write_text(text.replace("\n private:\n", "\n  void nobody_says_what_this_is();\n\n private:\n"))
    said = run("doxygen", HERE / "Doxyfile", cwd=tmp_path, env_add={"STASH_DOXYGEN_OUTPUT": str(tmp_path)})
    assert said.returncode != 0 and "nobody_says_what_this_is" in said.stderr


# In parts, for more cores than one.
OF_DATABASES = [h for h in HEADERS if "postgres" in h or "sqlite" in h or "/ckan/" in h]


@pytest.mark.parametrize("part", ["core", "databases"])
def test_clang_tidy_is_silent(part, tmp_path):
    file = tmp_path / "headers.cpp"
    file.write_text({
        "core": includes(h for h in HEADERS if h not in OF_DATABASES)
            + f'#include "{TOP}/tests/compile/public_api.cpp"  // NOLINT\n',  # templates with arguments
        "databases": includes(OF_DATABASES),
    }[part])
    said = run("clang-tidy-19", "--quiet", f"--config-file={TOP}/.clang-tidy", file, "--", "-std=c++20", f"-I{INCLUDE}",
               *package_flags("--cflags"))
    assert said.returncode == 0 and said.stdout == "", said.stdout


def unqualified_calls_in(source, include):
    tree = succeed("clang++-19", "-std=c++20", f"-I{INCLUDE}", *package_flags("--cflags"), "-fsyntax-only", "-Xclang",
                   "-ast-dump=json", "-Xclang", "-ast-dump-filter=stash::", "-x", "c++", source)
    return unqualified_calls.findings(tree, include)


def test_no_call_of_ours_can_be_captured_by_the_namespace_of_an_argument(tmp_path):
    source = tmp_path / "headers.cpp"
    source.write_text(includes(HEADERS))
    assert unqualified_calls_in(source, INCLUDE) == []


def test_a_call_that_can_be_captured_is_found(tmp_path):
    source = tmp_path / "captured.hpp"
    source.write_text("#include <stash/recover.hpp>\nnamespace stash::inline v1::detail {\n"
                      "inline std::string f(std::string const& text) { return quoted(text); }\n"
                      "template <class S> std::string g(S const& s, key const& k) { return place_of(s, k); }\n"
                      "inline std::string h(std::string const& text) { return detail::quoted(text); }\n}\n")
    assert unqualified_calls_in(source, tmp_path) == ["captured.hpp:3: quoted", "captured.hpp:4: place_of"]


def test_includes_run_one_way():
    assert layers.arrows_upwards(INCLUDE) == []


def test_an_include_of_a_layer_above_is_found(tmp_path):
    shutil.copytree(INCLUDE, tmp_path / "include")
    for header, included in [("detail/files/owner.hpp", "storage/memory.hpp"), ("detail/sqlite/view.hpp",
                                                                                "detail/journal/format.hpp")]:
        with open(tmp_path / "include/stash" / header, "a", encoding="utf-8") as file:
            file.write(f"#include <stash/{included}>\n")
    assert layers.arrows_upwards(tmp_path / "include") == [
        "detail/files/owner.hpp includes storage/memory.hpp", "detail/sqlite/view.hpp includes detail/journal/format.hpp"]


@pytest.mark.parametrize("folder, most", [("include", 300), ("tests/unit", 500)])
def test_no_file_is_too_long_to_read(folder, most):
    files = [path for path in SOURCES if path.is_relative_to(TOP / folder)]
    assert files
    long = {path.name: count for path in files if (count := len(path.read_text(encoding="utf-8").splitlines())) > most}
    assert long == {}


def test_spelling():
    texts = [TOP / name for name in ["include", "tests", "benchmarks", "README.md", "meson.build", ".ci", ".cmake",
                                     ".clang-tidy"]]
    # What is data, or no English: corpora, sample data, results.
    skipped = "*/fuzz/corpus/*,*/data/*,*/results/*,*/__pycache__/*"
    assert succeed("codespell", "--check-hidden", "--skip", skipped, "--ignore-words-list", "te,edn,postgress", *texts) == ""


def test_every_mutant_still_stands_in_the_sources(tmp_path):
    """They are run by themselves, and seldom; one whose text is gone would go unnoticed until then."""
    include = tmp_path / "include"
    shutil.copytree(INCLUDE, include)
    gone = []
    for m in mutants.mutants + mutants.equivalents:
        if problem := mutants.apply(m, include):
            gone.append(f"{m.file}: {m.name}: {problem}")
        elif (INCLUDE / "stash" / m.file).exists():
            shutil.copy(INCLUDE / "stash" / m.file, include / "stash" / m.file)
    assert gone == []


def test_top_level_holds_what_it_should():
    tracked = {path.split("/")[0] for path in succeed("git", "-C", TOP, "ls-files").splitlines()} if (TOP / ".git").exists() \
        else {path.name for path in TOP.iterdir()}
    assert {name for name in tracked if not name.startswith(".")} == \
        {"include", "tests", "benchmarks", "meson.build", "README.md", "LICENSE"}
