"""What the READMEs show is what runs: snippets, commands, links, and the table of errors."""
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "compile"), str(HERE.parent / "servers")]
import ckan_site  # noqa: E402
import postgres_cluster  # noqa: E402
from compiling import COMPILERS, CORE_LIBRARIES, INCLUDE, TOP, run, source_of, sources_into, succeed  # noqa: E402

FILES = [TOP / name for name in ["README.md", "include/stash/README.md", "include/stash/storage/README.md", "include/stash/place/README.md",
                                 "include/stash/ckan/README.md", "tests/README.md", "benchmarks/README.md"]]
TEXTS = {file: file.read_text(encoding="utf-8") for file in FILES}
README = TEXTS[TOP / "README.md"]
COMPILER = COMPILERS[0]
FENCED = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.M | re.S)


class Block:
    def __init__(self, file, match):
        indent, self.language, text = match.groups()
        self.place = f'{TEXTS[file].count(chr(10), 0, match.start()) + 2} "{file.relative_to(TOP)}"'
        self.text = "".join(line.removeprefix(indent) for line in text.splitlines(True))


def blocks(language):
    return [block for file, text in TEXTS.items() for match in FENCED.finditer(text)
            if (block := Block(file, match)).language == language]


def block(language, containing):
    found = [b for b in blocks(language) if containing in b.text]
    assert len(found) == 1, f"{len(found)} blocks with {containing!r}"
    return found[0]


# --- Snippets

# By what they contain: what must hold in their scope afterwards. Before each, "orders" is live with `words`, and nothing is stashed.
SNIPPETS = {
    "stash::memory_stash in_memory;": "keeps(files) && keeps(journal) && keeps(sqlite) && keeps(in_memory)",
    "listed = store.entries();": "listed.empty()",
    "stash::ckan::sqlite_datastore tables{": "live && live->at(1).info && tables.rows(\"orders\") == 1",
    "struct map_storages": "report.conforms() && keeps(store)",
    ".observer = [](": "store.entries().size() == 1",
    "problem.code() != stash::errc::busy": "alerts.size() == 1",
    "stash::delete_guards guard": "catalog.dictionary(\"orders\") == words && store.entries().empty()",
    "stash::recover(store,": "catalog.dictionary(\"customers\") == words && alerts.empty() && store.entries().empty()",
    "for (stash::entry const& e : store.entries())":
        "alerts == std::vector<std::string>{\"bad\"} && found.value == words && age && *age >= age->zero()",
    "build(\"/srv/export\");": "built() && !std::filesystem::exists(exported.parent_path() / \".export.stash-parked\")",
    "stash::recover_places(store": "report.restored == 1 && !built()",
    "struct my_prefix {": "std::is_same_v<my_prefix::value_type, std::string>",
    "stash::sqlite_table{": "run(\"SELECT price FROM orders\") == \"10\"",
    "{  // the first process": "catalog.dictionary(\"orders\") == words && store.entries().empty()",
}
BEFORE = {"stash::recover_places(store": 'stash::replace_guard{store, "export", stash::tree{exported.native()}}.release(); build(exported.native());',
          "stash::sqlite_table{": 'run("DROP TABLE IF EXISTS orders; CREATE TABLE orders (old)");',
          "stash::recover(store,": 'store.save("customers", words);',
          "for (stash::entry const& e : store.entries())":
              'store.save("orders", words); std::ofstream(store.storage().path("bad").native()) << "no record";',
          "problem.code() != stash::errc::busy": 'auto const held = store.storage().try_lock("orders");'}
IN_POSTGRES = ["stash::basic_stash<stash::postgres_storage> store{", "stash::ckan::postgres_datastore datastore{",
               "stash::postgres_table{"]
IN_CKAN = "stash::ckan::api_datastore site{"
PROGRAM = "int main(int count, char**)"
STORAGE = "class map_storage {"


def in_function(number, snippet, check, scratch):
    """The snippet as the body of a function; what the compiler says of it, it says of the README's line."""
    lines = snippet.text.replace("/var/lib/etl", str(scratch)).replace("/srv", str(scratch)).splitlines(True)
    body = "".join("\n" if line.startswith("#include") else line for line in lines)
    included = "".join(line for line in lines if line.startswith("#include"))
    return included, f'void snippet_{number}([[maybe_unused]] stash::file_stash& store) {{\n' \
        f'[[maybe_unused]] auto const live = [] {{ return catalog.dictionary("orders"); }};\n' \
        f'[[maybe_unused]] auto const restore = [](boost::json::value const& v) {{ catalog.ensure("orders", v); }};\n' \
        f'{{\n#line {snippet.place}\n{body}ok = {check};\n}}\n}}\n'


def program(snippets, scratch, main, *libraries):
    """Of pairs of a snippet and its check. Compiled in one go: that takes a fifth of the time."""
    parts = [in_function(i, snippet, check, scratch) for i, (snippet, check) in enumerate(snippets)]
    source = scratch / "snippets.cpp"
    source.write_text('#include "surroundings.hpp"\n#include "map_storage.hpp"\n' + "".join(p[0] for p in parts)
                      + "".join(p[1] for p in parts) + main, encoding="utf-8")
    succeed(COMPILER, "-std=c++20", "-Wall", "-Wextra", "-Wno-unused-variable", f"-I{INCLUDE}", f"-I{HERE}",
            f"-I{TOP}/tests/examples", source, "-o", scratch / "snippets", *CORE_LIBRARIES, *libraries)
    return scratch / "snippets"


@pytest.fixture(scope="module")
def snippets(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("snippets")
    cases = "".join(f'''    case {i}: {{ {BEFORE.get(part, "")} snippet_{i}(store); return ok ? 0 : 1; }}\n'''
                    for i, part in enumerate(SNIPPETS))
    main = f'''int main(int, char** arguments) {{
  std::filesystem::remove_all("{scratch}/stash");
  stash::file_stash store{{"{scratch}/stash"}};
  exported = "{scratch}/export";
  std::filesystem::remove_all(exported);
  std::filesystem::create_directory(exported);
  catalog.ensure("orders", words);
  switch (std::stoi(arguments[1])) {{
{cases}  }}
  return 3;
}}
'''
    pairs = [(block("cpp", part), check) for part, check in SNIPPETS.items()]
    return program(pairs, scratch, "#include <filesystem>\n" + main, "-lsqlite3")


@pytest.mark.parametrize("number", range(len(SNIPPETS)), ids=[part.split("\n")[0][:40] for part in SNIPPETS])
def test_snippet_does_what_is_said(snippets, number):
    assert run(snippets, number).returncode == 0


@pytest.fixture(scope="module")
def first_program(tmp_path_factory):
    """Pasted into job.cpp, and compiled with its own line."""
    at = tmp_path_factory.mktemp("first")
    source = block("cpp", PROGRAM).text
    (at / "job.cpp").write_text(source, encoding="utf-8")
    line = re.match(r"// (g\+\+ .*)\n", source)[1]
    succeed("sh", "-c", line.replace("-Iinclude", f"-I{INCLUDE}").replace("g++", COMPILER, 1), cwd=at)
    return at / "job"


def test_the_first_program_keeps_the_words_of_a_job_that_was_killed(first_program, tmp_path):
    assert succeed(first_program, cwd=tmp_path) == 'whole again: {"id":"Order number"}\n'
    assert run(first_program, "kill", cwd=tmp_path).returncode == -9
    assert not (tmp_path / "orders.json").exists()
    assert '{"id":"Order number"}' in (tmp_path / "stash/orders.stash").read_text()
    assert succeed(first_program, cwd=tmp_path) == 'whole again: {"id":"Order number"}\n'
    assert not (tmp_path / "stash/orders.stash").exists()


def test_the_readme_is_for_a_busy_engineer():
    lines = README.splitlines()
    assert len(lines) <= 260
    beginning = "\n".join(lines[:60])
    assert [said for said in [PROGRAM, "survives", "`live` owes", "`restore` owes", "not to use it", "storage/README.md"]
            if said not in beginning] == []


def asking(cluster):
    """The environment for psql."""
    return {"PATH": f"{postgres_cluster.programs()}:{os.environ['PATH']}", "PGHOST": "127.0.0.1",
            "PGPORT": str(cluster.port), "PGUSER": "postgres"}


def test_snippets_of_postgresql_run_against_a_server(tmp_path):
    if postgres_cluster.programs() is None:
        pytest.skip("there is no PostgreSQL server to run")
    with_server = [block("cpp", part) for part in IN_POSTGRES]
    psql = block("sh", 'psql -c "SELECT').text
    server = tempfile.TemporaryDirectory()  # the server is another user, who may not look into tmp_path
    os.chmod(server.name, 0o755)
    cluster = postgres_cluster.Cluster(pathlib.Path(server.name) / "server").init().start()
    try:
        for one in with_server:
            one.text = re.sub(r'"postgresql://[^"]*"', f'"{cluster.uri()}"', one.text)
        with_server[0].text += 'store.save("orders", words);\n'
        with_server[1].text += \
            'if (datastore.rows("5f1f1a0e-resource-id") != 2) throw std::runtime_error("not two rows");\n'
        main = 'int main() {\n  stash::file_stash store{"' + str(tmp_path / "stash") + '"};\n  snippet_0(store);\n  snippet_1(store);\n  snippet_2(store);\n}\n'
        built = program([(one, "true") for one in with_server], tmp_path, main, "-lpq", "-I/usr/include/postgresql")
        succeed(built)
        shown = succeed("sh", "-c", psql, env_add=asking(cluster) | {"PGDATABASE": "postgres"})
        assert "orders" in shown and "typed by hand" in shown
    finally:
        cluster.stop()
        server.cleanup()


def test_the_snippet_of_a_ckan_site_loads_a_table_there(tmp_path):
    resource = "5f1f1a0e-resource-id"
    one = block("cpp", IN_CKAN)
    with ckan_site.CkanSite(resources=[resource]) as site:
        one.text = one.text.replace('"https://data.example.org", token', f'"{site.url}", "token"')
        main = f'int main() {{\n  stash::file_stash store{{"{tmp_path}/stash"}};\n  snippet_0(store);\n}}\n'
        succeed(program([(one, "true")], tmp_path, main, "-lcurl"))
        assert len(site.tables[resource].rows) == 1 and not site.resources[resource]["stash_unfinished"]


def test_storage_shown_is_the_one_that_is_tested():
    assert block("cpp", STORAGE).text == (TOP / "tests/examples/map_storage.hpp").read_text(encoding="utf-8")


def test_every_snippet_is_tried():
    tried = [block("cpp", part).place for part in [*SNIPPETS, *IN_POSTGRES, IN_CKAN, STORAGE, PROGRAM]]
    assert sorted(tried) == sorted(snippet.place for snippet in blocks("cpp"))


# --- Ways into a project

@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """As the README installs it, but for where."""
    at = tmp_path_factory.mktemp("installed")
    sources_into(at / "source")
    for command in ["meson setup build", "meson install -C build"]:
        assert command in commands()
        prefix = f" -Dprefix={at}/usr" if "setup" in command else ""
        succeed("sh", "-c", command + prefix, cwd=at / "source", env_add={"CXX": COMPILER})
    return at / "usr"


def project(directory):
    """One with a job.cpp, which is the first program."""
    directory.mkdir()
    (directory / "job.cpp").write_text(block("cpp", PROGRAM).text, encoding="utf-8")
    return directory


def test_copied_as_said(tmp_path):
    at = project(tmp_path / "job")
    shutil.copytree(INCLUDE / "stash", at / "stash")
    succeed("sh", "-c", next(c for c in commands() if "-I. job.cpp" in c), cwd=at)
    succeed(at / "job", cwd=at)


def test_pkg_config_as_said(installed, tmp_path):
    at = project(tmp_path / "job")
    succeed("sh", "-c", next(c for c in commands() if "pkg-config --cflags --libs stash)" in c), cwd=at,
            env_add={"PKG_CONFIG_PATH": f"{installed}/share/pkgconfig"})
    succeed(at / "job", cwd=at)


def test_meson_as_said(tmp_path):
    at = project(tmp_path / "job")
    (at / "meson.build").write_text(block("meson", "dependency('stash')").text)
    sources_into(at / "subprojects/stash")
    succeed("meson", "setup", at / "build", at, env_add={"CXX": COMPILER})
    succeed("meson", "compile", "-C", at / "build")
    succeed(at / "build/job", cwd=at)


def test_cmake_as_said(installed, tmp_path):
    at = project(tmp_path / "job")
    (at / "CMakeLists.txt").write_text(block("cmake", "find_package(stash").text)
    succeed("sh", "-ec", next(c for c in commands() if c.startswith("cmake -B build")), cwd=at,
            env_add={"CXX": COMPILER, "CMAKE_GENERATOR": "Ninja", "CMAKE_PREFIX_PATH": str(installed)})
    succeed(at / "build/job", cwd=at)


# --- Commands

# Those that are not run here: where they are.
ELSEWHERE = {
    "git clone ADDRESS stash && cd stash": "the reader has the address",
    "sh tests/demo.sh": "tests/compile/test_compile.py runs it",
    "sh tests/run.sh": "what runs this",
    "sh tests/run.sh --all": "what runs this",
    "sh tests/run.sh --long": "a run of its own, which runs the next two",
    "sh tests/mutants.sh": "tests/run.sh --long",
    'sh tests/mutants.sh "part of its name"': "the same, of some",
    "sh tests/coverage.sh": "tests/run.sh --long",
    "sh benchmarks/run.sh": "needs a machine that does nothing else, for twenty minutes",
    "sh benchmarks/run.sh --quick": "the same, with less",
    "pusher push --datastore ckan+https://data.example.org --token-file ~/.ckan-token --stash ~/stash"
    " --resource 5f1f1a0e-id rows.csv": "tests/servers/test_pusher_ckan.py, with a site of its own",
    "apt-get install": "tests/support/packages.sh installs these packages, see below",
}
HERE_RUN = ["cmake ", "sqlite3 ", "meson ", "g++ ", "psql ", "ls ", "jq ", "tail ", "rm ", "cd ", "mv "]


def commands():
    """Those in blocks, and those in the text that begin with sh or cmake."""
    inline = [command for text in TEXTS.values() for command in re.findall(r"`((?:sh|cmake) [^`]+)`", text)]
    in_blocks = [line.split("  #")[0].strip() for b in blocks("sh") for line in b.text.splitlines() if line.strip()]
    return [*in_blocks, *inline]


def test_every_command_is_run_somewhere():
    strange = [c for c in commands() if c not in ELSEWHERE and not c.startswith("apt-get install ")
               and not c.startswith(tuple(HERE_RUN))]
    assert strange == []
    for script in (c.split()[1] for c in ELSEWHERE if c.startswith("sh ")):
        succeed("sh", "-n", TOP / script)


def test_packages_that_are_named_are_those_that_the_tests_install():
    listed = {package for c in commands() if c.startswith("apt-get") for package in c.split()[2:]}
    assert listed
    by_release = (TOP / "tests/support/packages.sh").read_text()
    assert "$boost-dev" in by_release
    installs = by_release.replace("$boost", "1.81") + by_release.replace("$boost", "") + (TOP / "tests/run.sh").read_text()
    assert [package for package in listed if not re.search(rf"(?<![\w-]){re.escape(package)}(?![\w-])", installs)] == []


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Saves a record, and sets one aside."""
    at = tmp_path_factory.mktemp("job")
    (at / "job.cpp").write_text('#include "surroundings.hpp"\nint main(int, char** arguments) {\n'
                                'stash::file_stash store{arguments[1]};\n'
                                'store.save("orders", boost::json::value{{"id", {{"label", 1}}}});\n'
                                'if (arguments[2]) store.storage().set_aside("orders", "superseded");\n}\n')
    succeed(COMPILER, "-std=c++20", f"-I{INCLUDE}", f"-I{HERE}", at / "job.cpp", "-o", at / "job", *CORE_LIBRARIES)
    return at / "job"


def test_a_record_is_looked_at_and_removed_with_the_commands_that_are_shown(job, tmp_path):
    succeed(job, tmp_path / "stash")
    script = block("sh", "ls -l /var/lib/etl/stash").text.replace("/var/lib/etl", str(tmp_path))
    said = succeed("sh", "-ec", script)
    assert "orders.stash" in said and '"key": "orders"' in said and said.endswith('{\n  "label": 1\n}\n')
    assert not (tmp_path / "stash/orders.stash").exists()


def test_a_record_set_aside_comes_back_with_the_commands_that_are_shown(job, tmp_path):
    succeed(job, tmp_path / "stash", "aside")
    assert not (tmp_path / "stash/orders.stash").exists()
    script = block("sh", "mv -n orders.superseded").text.replace("/var/lib/etl", str(tmp_path))
    script = re.sub(r"-20\d{6}T\*", "-2*", script)  # on any day
    succeed("sh", "-ec", script)
    assert '"label":1' in (tmp_path / "stash/orders.stash").read_text()
    succeed(job, tmp_path / "stash", "aside")  # the one that came back
    succeed(job, tmp_path / "stash")
    newer = (tmp_path / "stash/orders.stash").read_text()
    succeed("sh", "-c", script)
    assert (tmp_path / "stash/orders.stash").read_text() == newer


def test_what_was_left_behind_is_shown_with_the_command(tmp_path):
    (tmp_path / "stash").mkdir()
    note = {"left_behind": [{"what": "view sales", "why": "", "ddl": "CREATE VIEW sales AS SELECT 1"}]}
    (tmp_path / "stash/orders.left_behind-1").write_text("header\n" + json.dumps(note) + "\n")
    shown = succeed("sh", "-ec", block("sh", "left_behind[].ddl").text.replace("/var/lib/etl", str(tmp_path)))
    assert shown == "CREATE VIEW sales AS SELECT 1;\n"


# --- Back by hand

@pytest.fixture(scope="module")
def parks(tmp_path_factory):
    """Parks what stands at a place."""
    at = tmp_path_factory.mktemp("parks")
    (at / "parks.cpp").write_text(
        '#include <stash/place/postgres_table.hpp>\n#include <stash/place/sqlite_table.hpp>\n#include <stash/place/tree.hpp>\n'
        'template <class P> void park(P place) { place.park(*place.live()); }\n'
        'int main(int, char** a) {\n'
        'std::string const kind = a[1], where = a[2];\n'
        'if (kind == "tree") park(stash::tree{where});\n'
        'if (kind == "sqlite") park(stash::sqlite_table{where, "orders"});\n'
        'if (kind == "postgres") park(stash::postgres_table{where, {"public", "orders"}});\n}\n')
    succeed(COMPILER, "-std=c++20", f"-I{INCLUDE}", "-I/usr/include/postgresql", at / "parks.cpp", "-o", at / "parks",
            *CORE_LIBRARIES, "-lsqlite3", "-lpq")
    return at / "parks"


def by_hand(beginning, at):
    line = next(line for line in block("sh", "mv -T").text.splitlines() if line.startswith(beginning))
    return line.replace("/srv", str(at))


def assert_goes_back_by_hand(line, park, build, drop, content, **options):
    """What is parked comes back, whether something is half-built or not; where nothing is parked the line says so, and
    what stands there stays."""
    build("old")
    for half in [True, False]:
        park()
        assert content() != "old"
        build("half") if half else drop()
        succeed("sh", "-c", line, **options)
        assert content() == "old"
        refused = run("sh", "-c", line, **options)
        assert refused.returncode != 0 and "parked" in refused.stderr
        assert content() == "old"


def test_a_tree_is_put_back_by_hand_with_the_command(parks, tmp_path):
    place = tmp_path / "export"

    def build(word):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "rows").write_text(word)

    assert_goes_back_by_hand(
        by_hand("cd /srv", tmp_path), lambda: succeed(parks, "tree", place), build, lambda: None,
        lambda: (place / "rows").read_text() if place.exists() else "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


REBUILD = "DROP TABLE IF EXISTS orders; CREATE TABLE orders (word text); INSERT INTO orders VALUES ('{}')"


def test_a_table_of_sqlite_is_put_back_by_hand_with_the_command(parks, tmp_path):
    file = tmp_path / "shop.sqlite"

    def sql(text):
        return run("sqlite3", "-bail", file, text).stdout.strip()

    assert_goes_back_by_hand(
        by_hand("sqlite3", tmp_path), lambda: succeed(parks, "sqlite", file), lambda word: sql(REBUILD.format(word)),
        lambda: sql("DROP TABLE IF EXISTS orders"), lambda: sql("SELECT word FROM orders"))
    sql("CREATE INDEX by_word ON orders (word); CREATE TRIGGER t AFTER INSERT ON orders BEGIN SELECT 1; END")
    succeed(parks, "sqlite", file)
    succeed("sh", "-c", by_hand("sqlite3", tmp_path))
    texts = block("sh", "SELECT sql || ';'").text.strip().replace("/srv", str(tmp_path))
    succeed("sh", "-c", f"{texts} | sqlite3 -bail {file}")
    assert sql("SELECT name FROM sqlite_schema WHERE tbl_name = 'orders' ORDER BY name").split() == ["by_word", "orders", "t"]


def test_a_table_of_postgresql_is_put_back_by_hand_with_the_command(parks):
    if postgres_cluster.programs() is None:
        pytest.skip("there is no PostgreSQL server to run")
    with tempfile.TemporaryDirectory() as server:  # the server is another user, who may not look into tmp_path
        os.chmod(server, 0o755)
        cluster = postgres_cluster.Cluster(pathlib.Path(server) / "server").init().start()
        try:
            cluster.sql("CREATE DATABASE shop")

            def sql(text):
                return cluster.sql(text, "shop")

            assert_goes_back_by_hand(
                by_hand("psql", ""), lambda: succeed(parks, "postgres", cluster.uri("shop")),
                lambda word: sql(REBUILD.format(word)), lambda: sql("DROP TABLE IF EXISTS orders"),
                lambda: sql("SELECT word FROM orders") if sql("SELECT to_regclass('orders')") else "nothing",
                env_add=asking(cluster))
        finally:
            cluster.stop()


def test_a_record_in_sqlite_is_read_with_the_command_that_is_shown(tmp_path):
    (tmp_path / "job.cpp").write_text(
        '#include <stash/stash.hpp>\n#include <stash/storage/sqlite.hpp>\nint main(int, char** arguments) {\n'
        'stash::basic_stash<stash::sqlite_storage>{arguments[1]}.save("orders", boost::json::value("words"));\n}\n')
    succeed(COMPILER, "-std=c++20", f"-I{INCLUDE}", tmp_path / "job.cpp", "-o", tmp_path / "job", *CORE_LIBRARIES,
            "-lsqlite3")
    succeed(tmp_path / "job", tmp_path / "stash.sqlite")
    command = next(c for c in commands() if c.startswith("sqlite3 ")).replace("/var/lib/etl", str(tmp_path))
    assert re.fullmatch(r'orders\|\d{4}-.*Z\|"words"\n', succeed("sh", "-c", command))


def test_the_record_that_is_shown_is_one(tmp_path):
    shown = re.search(r'^    (\{"stash":1,.*\})\n    (\{.*\})$', TEXTS[TOP / "include/stash/storage/README.md"],
                      re.M)
    (tmp_path / "read.cpp").write_text('#include <iostream>\n#include <stash/stash.hpp>\nint main(int, char** a) {\n'
                                       'std::cout << *stash::file_stash{a[1]}.load("orders");\n}\n')
    (tmp_path / "stash").mkdir(mode=0o700)
    (tmp_path / "stash/orders.stash").write_text(f"{shown[1]}\n{shown[2]}\n")
    succeed(COMPILER, "-std=c++20", f"-I{INCLUDE}", tmp_path / "read.cpp", "-o", tmp_path / "read", *CORE_LIBRARIES)
    assert succeed(tmp_path / "read", tmp_path / "stash") == shown[2]


def test_the_journal_that_is_shown_byte_by_byte_is_one(tmp_path):
    text = (INCLUDE / "stash/detail/journal/FORMAT.md").read_text(encoding="utf-8")
    rows = re.findall(r"^    [0-9a-f]{4}: ((?:[0-9a-f]{2} )+) ", text, re.M)
    (tmp_path / "stash").mkdir(mode=0o700)
    (tmp_path / "stash/stash.journal").write_bytes(bytes.fromhex("".join(rows)).ljust(4096, b"\0"))
    (tmp_path / "read.cpp").write_text('#include <iostream>\n#include <stash/stash.hpp>\n#include <stash/storage/journal.hpp>\n'
                                       'int main(int, char** a) {\n'
                                       'stash::basic_stash<stash::journal_storage> const store{a[1]};\n'
                                       'for (auto const& e : store.entries()) std::cout << e.key << " ";\n'
                                       'auto const found = store.look_up("orders");\n'
                                       'std::cout << *found.value << " " << found.saved_at->time_since_epoch().count();\n}\n')
    succeed(COMPILER, "-std=c++20", f"-I{INCLUDE}", tmp_path / "read.cpp", "-o", tmp_path / "read", *CORE_LIBRARIES)
    assert succeed(tmp_path / "read", tmp_path / "stash") == 'orders {"id":1} 1795358661123456'


# --- What it tells

def test_every_error_is_in_the_table():
    enumeration = re.search(r"enum class errc \{(.*?)\};", source_of("stash/error.hpp"), re.S)[1]
    named = re.findall(r"^\s*(\w+)(?: = \d+)?,?\s*///<", enumeration, re.M)
    assert len(named) == 8
    assert [e for e in named if not re.search(rf"^\| `{e}` \| \S.* \| \S.* \|$", README, re.M)] == []


def test_every_event_and_option_is_named():
    events = re.search(r"enum class event_kind \{(.*?)\};", source_of("stash/event.hpp"), re.S)[1]
    options = re.search(r"struct guard_options \{(.*?)^\};", source_of("stash/guard_options.hpp"), re.S | re.M)[1]
    names = re.findall(r"^\s*(\w+),?\s*///<", events, re.M) + re.findall(r" (\w+)(?: = |\{)", options)
    assert len(names) >= 14
    section = README[README.index("## Options and events"):README.index("## Errors")]
    assert [name for name in names if not re.search(rf"`[^`\n]*\b{name}`", section)] == []


def anchors(text):
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}


def test_links_lead_somewhere():
    broken = []
    for file, text in TEXTS.items():
        links = re.findall(r"\]\(([^)]+)\)", FENCED.sub("", text))
        assert links, file
        for link in links:
            path, _, anchor = link.partition("#")
            target = (file.parent / path).resolve() if path else file
            if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
                broken.append(f"{file.relative_to(TOP)}: {link}")
    assert broken == []


def test_sections_stand_in_the_order_in_which_they_are_needed():
    assert re.findall(r"^## (.*)$", README, re.M) == [
        "See it", "What you find after a crash", "Add it to a project", "Choose a storage",
        "Guard, guards, recover", "Options and events", "Errors", "Headers", "Platforms",
        "Changes"]
